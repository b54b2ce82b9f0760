"""The published base rate as an offset: what is known of a therapy before a patient's values are looked at.

Published incidence is per patient over the whole window and all doses. The offset of a row is the logit of

    rate * (S(dose, landmark + horizon) - S(dose, landmark)) / (1 - rate * S(dose, landmark))

where S is the share of the therapy's severe onsets that lie before that time: the risk of a severe onset in
(landmark, landmark + horizon] given none before. The shares come from the training patients, smoothed towards
a lognormal curve around the expected onset of the therapy; see docs/decisions/0060 and 0171.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, log_expit

from crsrisk.priors import prior
from crsrisk.therapies import Therapy, therapy, window_hours
from training.horizons import planned_window_ends

ONSET_TO_SEVERE_HOURS = 24.0  # our convention, no source: severe CRS about a day after its onset
CLASS_ONSET_HOURS = {
    "cart": 72.0,
    "engineered_t": 72.0,
    "engager": 24.0,
}  # our convention where no onset is sourced
LOG_SPREAD = 0.7  # our convention: spread of log hours to severe CRS
THERAPY_SPREAD = 0.2  # our convention: spread between therapies of the log of onset over expected onset
DOSE_RATIO = 0.5  # our convention: severe onsets of a further dose over those of the dose before
EVEN = 0.1  # our convention: part of the lognormal curve that is spread evenly, so that it rises strictly
PSEUDO_ONSETS = 10.0  # weight of the lognormal curve against observed onsets
KNOTS = (0.0, 6.0, 12.0, 18.0, 24.0, 36.0, 48.0, 60.0, 72.0, 96.0, 120.0, 144.0, 168.0, 216.0, 264.0, 336.0)
MAX_DOSES = 6  # later doses share the curve and the share of the last one
_SMALLEST = 1e-9


def logit(p: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Log odds of a probability in (0, 1)."""
    q = np.asarray(p, dtype=np.float64)
    return np.log(q) - np.log1p(-q)


def sigmoid(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Probability of log odds, without overflow."""
    z = np.asarray(x, dtype=np.float64)
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True)
class Within:
    """A line that moves the log odds of an onset within the horizon: who is more at risk becomes severe sooner."""

    intercept: float = 0.0
    slope: float = 0.0


@dataclass(frozen=True, eq=False)
class Start:
    """Log odds of n rows before their values are looked at, shape (n,) each.

    window: of severe CRS between the landmark and the end of the dose's window, as the schedule plans it. within: given
    that, of it within the row's horizon; infinite for the rest of the window.
    """

    window: NDArray[np.float64]
    within: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> Start:
        """Some of the rows."""
        return Start(self.window[rows], self.within[rows])

    def log_odds(
        self, trees: NDArray[np.float64] | float = 0.0, line: Within | None = None
    ) -> NDArray[np.float64]:
        """Log odds of severe CRS within the horizon; at equal trees never falling with the horizon.

        Args:
            trees: added to the log odds of `window`; shape (n,), or (k, n) for k sets of trees.
            line: how trees move `within`; None: not at all.
        """
        within = self.within if line is None else self.within + line.intercept + line.slope * trees
        log_risk = log_expit(self.window + trees) + log_expit(within)
        result: NDArray[np.float64] = log_risk - np.log(-np.expm1(log_risk))
        return result


@dataclass(frozen=True)
class BaseRate:
    """Published, shrunken incidence of severe CRS of one therapy, per patient."""

    rate: float
    logit_sd: float
    level: str
    class_: str


@dataclass(frozen=True)
class Timing:
    """How severe onsets lie around the hours that are expected: factor of the median, spread of the log."""

    factor: float = 1.0
    spread: float = LOG_SPREAD


@dataclass(frozen=True)
class OnsetShares:
    """When severe onsets happen: share per dose and, per dose, share before each knot (hours)."""

    dose_share: tuple[float, ...]
    before: tuple[tuple[float, ...], ...]
    knots: tuple[float, ...]
    onsets: int  # timed severe onsets behind it; 0: the lognormal curve alone

    def earlier(self, dose: NDArray[np.int64], hours: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of a course's severe onsets before `hours` after this dose, over all doses so far."""
        last = len(self.dose_share) - 1
        at = np.clip(dose - 1, 0, last)
        before = np.concatenate([[0.0], np.cumsum(self.dose_share)[:-1]])
        share = np.asarray(self.dose_share)
        result = np.empty(len(dose))
        for k in np.unique(at):
            mine = at == k
            result[mine] = before[k] + share[k] * np.interp(hours[mine], self.knots, self.before[k])
        return result


@dataclass(frozen=True)
class OffsetSpec:
    """Everything the offset of a row needs: base rates by therapy; onset shares by therapy, and by class for others."""

    rates: Mapping[str, BaseRate]
    shares: Mapping[str, OnsetShares]

    def rate_of(self, key: str, extra: Mapping[str, Therapy] | None = None) -> BaseRate:
        """The base rate frozen in the model, or, for a therapy it never saw, the one of the catalogue now."""
        known = self.rates.get(key)
        return known if known is not None else base_rate(therapy(key, extra))

    def shares_of(self, key: str, class_: str) -> OnsetShares:
        """Onset shares of a therapy, else of its class, else our conventions."""
        return self.shares.get(key) or self.shares.get(class_) or default_shares(class_)

    def start(
        self,
        therapies: Sequence[str],
        dose: NDArray[np.int64],
        landmark: NDArray[np.float64],
        horizon: NDArray[np.float64],
        extra: Mapping[str, Therapy] | None = None,
    ) -> Start:
        """Where each row starts from; its log odds strictly increase with the horizon inside the window."""
        rate, start, share, _, left = self._onsets(therapies, dose, landmark, horizon, extra)
        part = np.clip(np.divide(share, left, out=np.ones(len(left)), where=left > 0.0), _SMALLEST, 1.0)
        with np.errstate(divide="ignore"):
            return Start(_log_odds(rate, start, left), logit(part))

    def bounds(
        self,
        therapies: Sequence[str],
        dose: NDArray[np.int64],
        landmark: NDArray[np.float64],
        horizon: NDArray[np.float64],
        level: float,
        extra: Mapping[str, Therapy] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bound of each row's offset, as far as few onsets leave open when onsets come.

        The smooth curve with the weight of PSEUDO_ONSETS is the prior of a Dirichlet process and the onsets are its
        data (ferguson_1973), so the share of onsets that falls into a row's horizon is beta distributed: wide on the
        log odds where hardly any onset was seen. The published rate is held fixed; levels are about it.

        Args:
            therapies: of each row.
            dose: of each row, shape (n,).
            landmark: hours after the dose, shape (n,).
            horizon: hours after the landmark, shape (n,).
            level: share of the posterior between the bounds.
            extra: registered therapies outside the catalogue.
        """
        rate, start, share, onsets, _ = self._onsets(therapies, dose, landmark, horizon, extra)
        weight, inside = PSEUDO_ONSETS + onsets, np.clip(share, _SMALLEST, 1.0 - _SMALLEST)
        low, high = (
            betaincinv(weight * inside, weight * (1.0 - inside), tail)
            for tail in ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
        )
        at_most = np.maximum(np.minimum(high, 1.0 - start), share)
        return _log_odds(rate, start, np.minimum(low, share)), _log_odds(rate, start, at_most)

    def _onsets(
        self,
        therapies: Sequence[str],
        dose: NDArray[np.int64],
        landmark: NDArray[np.float64],
        horizon: NDArray[np.float64],
        extra: Mapping[str, Therapy] | None,
    ) -> NDArray[np.float64]:
        """Of each row: published rate, share of onsets before it, in its horizon, onsets behind, in its window."""
        names = np.asarray(therapies, dtype=object)
        until = landmark + horizon
        ends = np.maximum(planned_window_ends(therapies, dose, landmark, extra), until)
        result = np.empty((5, len(names)))
        for key in dict.fromkeys(names.tolist()):
            mine = np.flatnonzero(names == key)
            base = self.rate_of(key, extra)
            shares = self.shares_of(key, base.class_)
            start = shares.earlier(dose[mine], landmark[mine])
            end = shares.earlier(dose[mine], until[mine])
            last = shares.earlier(dose[mine], ends[mine])
            result[:, mine] = np.broadcast_arrays(
                base.rate, start, end - start, float(shares.onsets), last - start
            )
        return result


def _log_odds(
    rate: NDArray[np.float64], start: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log odds of a severe onset in a horizon that holds `share` of the onsets, given none in `start` before."""
    risk = rate * share / (1.0 - rate * start)
    return logit(np.clip(risk, _SMALLEST, 1.0 - _SMALLEST))


def base_rate(known: Therapy) -> BaseRate:
    """The published, shrunken rate of severe CRS of a therapy, with the level that gave it."""
    found = prior(known)
    return BaseRate(
        rate=float(found.rate), logit_sd=float(found.logit_sd), level=found.level, class_=known.class_
    )


@cache
def default_shares(class_: str, onset_hours: float | None = None, doses: int | None = None) -> OnsetShares:
    """Onset shares without data: lognormal around the expected onset plus a day; early doses carry most."""
    return onset_shares(
        class_, np.empty(0, dtype=np.int64), np.empty(0), onset_hours=onset_hours, doses=doses
    )


def common_timing(hours: NDArray[np.float64], expected: NDArray[np.float64]) -> Timing:
    """How severe onsets of several therapies lie around what is expected of each, shrunken to our conventions.

    Args:
        hours: of each severe onset after its dose, shape (n,).
        expected: hours to CRS onset that are expected of its therapy, shape (n,).
    """
    off = _log_off(hours, expected)
    weight = len(off) + PSEUDO_ONSETS
    moved = float(off.sum()) / weight
    variance = (PSEUDO_ONSETS * LOG_SPREAD**2 + float(((off - moved) ** 2).sum())) / weight
    return Timing(float(np.exp(moved)), float(np.sqrt(variance)))


def therapy_timing(common: Timing, hours: NDArray[np.float64], expected: float) -> Timing:
    """The timing of one therapy: the common one, moved as far as its own onsets justify."""
    off = _log_off(hours, np.full(len(hours), expected)) - np.log(common.factor)
    moved = float(off.sum()) / (len(off) + (common.spread / THERAPY_SPREAD) ** 2)
    return Timing(common.factor * float(np.exp(moved)), common.spread)


def _log_off(hours: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    off: NDArray[np.float64] = np.log(np.maximum(hours, 1.0)) - np.log(expected + ONSET_TO_SEVERE_HOURS)
    return off


def usual_dose_shares(dose: NDArray[np.int64], last_dose: NDArray[np.int64], doses: int) -> tuple[float, ...]:
    """Share of the severe onsets that each of `doses` doses carries, learned from therapies that have that dose.

    Each further dose carries DOSE_RATIO of the one before (our convention), as far as the onsets do not say otherwise.

    Args:
        dose: dose of each severe onset, from 1; shape (n,).
        last_dose: number of doses of its therapy, shape (n,).
        doses: number of doses wanted.
    """
    relative = [1.0]
    for k in range(2, doses + 1):
        here, before = (int(((last_dose >= k) & (dose == place)).sum()) for place in (k, k - 1))
        ratio = (here + DOSE_RATIO * PSEUDO_ONSETS) / (before + PSEUDO_ONSETS)
        relative.append(relative[-1] * ratio)
    return tuple(part / sum(relative) for part in relative)


def onset_shares(
    class_: str,
    dose: NDArray[np.int64],
    hours: NDArray[np.float64],
    *,
    onset_hours: float | None = None,
    doses: int | None = None,
    timing: Timing | None = None,
    usual: Sequence[float] | None = None,
) -> OnsetShares:
    """Onset shares from timed severe onsets of training patients of a class or of one therapy.

    Args:
        class_: cart, engager or engineered_t.
        dose: dose in whose window each severe onset lies, from 1; shape (n,).
        hours: hours of each severe onset after that dose; shape (n,).
        onset_hours: expected hours to CRS onset of the training therapies; None: our value per class.
        doses: number of doses with a curve of their own; None: as many as a step-up usually has.
        timing: how onsets lie around the expected hours; None: our conventions.
        usual: share of the onsets that each dose usually carries, see `usual_dose_shares`; None: our convention.
    """
    timing = timing or Timing()
    window = 168.0 if class_ == "engager" else 336.0
    n_doses = min(MAX_DOSES, doses or (4 if class_ == "engager" else 1))
    knots = tuple(k for k in KNOTS if k <= window)
    expected = onset_hours if onset_hours is not None else CLASS_ONSET_HOURS[class_]
    median = (expected + ONSET_TO_SEVERE_HOURS) * timing.factor
    curve = _lognormal_before(np.asarray(knots), median, timing.spread)
    at = np.clip(dose, 1, n_doses)
    expected_share = usual_dose_shares(at[:0], at[:0], n_doses) if usual is None else usual[:n_doses]
    relative = np.asarray(expected_share, dtype=np.float64)
    share = PSEUDO_ONSETS * relative / relative.sum() + np.bincount(at - 1, minlength=n_doses)
    before = []
    for k in range(1, n_doses + 1):
        mine = hours[at == k]
        counts = np.searchsorted(np.sort(mine), knots, side="right")
        blend = (PSEUDO_ONSETS * curve + counts) / (PSEUDO_ONSETS + len(mine))
        blend[-1] = 1.0
        before.append(tuple(float(x) for x in blend))
    shares = tuple(float(x) for x in share / share.sum())
    return OnsetShares(dose_share=shares, before=tuple(before), knots=knots, onsets=len(hours))


def _lognormal_before(hours: NDArray[np.float64], median: float, spread: float) -> NDArray[np.float64]:
    """Share of a lognormal curve, cut off at the last hour, before each hour; a tenth is spread evenly.

    The even part keeps the share strictly increasing where the curve is numerically flat.
    """
    from math import erf, log, sqrt

    raw = np.array(
        [0.0 if t <= 0 else 0.5 * (1 + erf((log(t) - log(median)) / (spread * sqrt(2)))) for t in hours]
    )
    blended: NDArray[np.float64] = (1.0 - EVEN) * raw / raw[-1] + EVEN * hours / hours[-1]
    return blended


def offset_to_json(spec: OffsetSpec) -> dict[str, Any]:
    """The offset as plain JSON types."""
    return {
        "rates": {
            key: {"rate": b.rate, "logit_sd": b.logit_sd, "level": b.level, "class": b.class_}
            for key, b in sorted(spec.rates.items())
        },
        "shares": {
            key: {
                "dose_share": list(s.dose_share),
                "before": [list(x) for x in s.before],
                "knots": list(s.knots),
                "onsets": s.onsets,
            }
            for key, s in sorted(spec.shares.items())
        },
    }


def offset_from_json(stored: Mapping[str, Any]) -> OffsetSpec:
    """The offset that `offset_to_json` wrote."""
    return OffsetSpec(
        rates={
            key: BaseRate(rate=b["rate"], logit_sd=b["logit_sd"], level=b["level"], class_=b["class"])
            for key, b in stored["rates"].items()
        },
        shares={
            key: OnsetShares(
                dose_share=tuple(s["dose_share"]),
                before=tuple(tuple(x) for x in s["before"]),
                knots=tuple(s["knots"]),
                onsets=int(s["onsets"]),
            )
            for key, s in stored["shares"].items()
        },
    )


def onset_hours(known: Therapy) -> float:
    """Expected hours to CRS onset of a therapy; of its class where none is stated inside the window."""
    stated = expected_onset([known])
    return CLASS_ONSET_HOURS[known.class_] if stated is None else stated


def expected_onset(known: Sequence[Therapy]) -> float | None:
    """Median of the expected onsets (hours) that therapies state inside their windows; None without any."""
    stated = [(t.expected_onset_hours, window_hours(t)) for t in known]
    inside = [hours for hours, window in stated if hours is not None and hours < window]
    return float(np.median(inside)) if inside else None
