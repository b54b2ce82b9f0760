"""The risk of severe CRS had nobody been rescued: patients not rescued stand for those who were and were like them.

Rescue is taken as censoring; each row that stays without it weighs 1 / P(no rescue so long, given its history)
(robins_2000). That holds only where, in every state, some patients go without rescue (positivity), and where the
state that the record shows is all that decided on it. The first is checked and refused; the second can't be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.crossvalidate import Prepared
from training.design import Design
from training.evaluate import averaged, cells
from training.outcomes import course_outcomes
from training.resampling import FEWEST_EVENTS, RESAMPLES
from training.rescue import WORDS, Definition, Standing, rescues, share, standing
from training.rescue_hazard import STEP_HOURS, RescueHazard, rescue_hazard

Array = NDArray[np.float64]
# All limits are our conventions.
LEAST_UNTREATED = 0.05  # of patients at grade 2 who are without rescue WATCHED_HOURS later
NEAR_CERTAIN = 0.95  # chance of rescue within WATCHED_HOURS
WATCHED_HOURS = 12.0
MOST_NEAR_CERTAIN = 0.25  # of the rescues
LEAST_EFFECTIVE = 0.20  # effective share of the patients without rescue
RECOVERED = (0.80, 1.25)  # what the weights make of the patients at risk, over their number
LARGEST_QUANTILE = 0.99  # of each landmark and horizon; heavier rows weigh as much as this one
COLUMNS = (
    "definition",
    "family",
    "landmark_hours",
    "horizon",
    "estimate",
    "value",
    "low",
    "high",
    "n",
    "events",
    "reason",
)
AS_TREATED, CENSORED, WITHOUT = "as_treated", "rescue_censored", "without_rescue"


@dataclass(frozen=True)
class Positivity:
    """Whether patients without rescue can stand for the others.

    patients: without rescue up to their first landmark. rescued: of these, later within a window.
    severe: severe without rescue before.
    untreated: share of arrivals at grade 2 still without rescue WATCHED_HOURS later (Kaplan-Meier; nan
        without arrivals).
    near_certain: share of rescues whose hazard made them all but certain within these hours.
    effective: effective over actual number of patients without rescue. effective_severe: effective number
        of the severe among them.
    recovered: sum of unstabilised, truncated weights over the number of patients. truncated: share of weights cut.
    reasons: why there is no estimate; empty where there is one.
    """

    patients: int
    rescued: int
    severe: int
    untreated: float
    near_certain: float
    effective: float
    effective_severe: float
    recovered: float
    truncated: float
    reasons: tuple[str, ...] = ()

    @property
    def estimable(self) -> bool:
        """Whether there is an estimate."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """For JSON; undefined numbers are null."""
        plain = {
            k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()
        }
        return plain | {"reasons": list(self.reasons), "estimable": self.estimable}


@dataclass(frozen=True, eq=False)
class WithoutRescue:
    """The estimate of one family, or why there is none.

    table: COLUMNS; by landmark and horizon the risk as treated, with rescue as plain censoring, and without rescue (nan
        with the reason where not estimable).
    prepared: the cohort with the rows that stay without rescue, weighted: `fit_family` and `crossvalidate` on it
        learn and judge the risk without rescue. None where not estimable.
    """

    family: str
    definition: Definition
    positivity: Positivity
    table: pd.DataFrame
    prepared: Prepared | None

    def notes(self) -> list[str]:
        """What a reader must know, in plain sentences."""
        p = self.positivity
        meant = WORDS[self.definition]
        if not p.estimable:
            return [f"{self.family}: the risk without {meant} can't be estimated: {'; '.join(p.reasons)}."]
        return [
            f"{self.family}: the risk without {meant} rests on {p.patients - p.rescued} of {p.patients} patients who "
            f"had none, weighted to stand for all (effective {p.effective:.0%}; {p.effective_severe:.0f} effective "
            "severe). It holds only if the record shows everything that decided on rescue."
        ]


def without_rescue(
    prepared: Prepared,
    family: str,
    *,
    definition: Definition = "tocilizumab",
    step_hours: float = STEP_HOURS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> WithoutRescue:
    """The risk of severe CRS of one family without rescue at grade 2 or below.

    Args:
        prepared: a cohort with its labels.
        family: whose rows.
        definition: of rescue.
        step_hours: how often the patient's state is looked at.
        resamples: bootstrap resamples of patients; they take the weights as given.
        seed: of the resampling.
    """
    known = prepared.labels.outcomes
    outcomes = course_outcomes(prepared.cohort) if known is None else known
    rescue = rescues(prepared, definition)
    rows = prepared.labels.rows
    rows = rows[(rows["family"] == family).to_numpy()].reset_index(drop=True)
    found = standing(rows, rescue, outcomes)
    free = _taken(found, found.free)
    at_risk = rows[found.free].reset_index(drop=True)
    stays = ~free.rescued
    ours = np.zeros(len(rescue.course), dtype=bool)
    ours[free.window] = True
    reasons = _too_few(at_risk, free)
    hazard = None if reasons else rescue_hazard(prepared, rescue, outcomes, ours, step_hours=step_hours)
    weight, cut = np.ones(len(at_risk)), 0.0
    measured = _Measured()
    if hazard is not None:
        dose_hour = rescue.start[free.window]
        survived = hazard.survival(free.window, free.start, free.until)
        later = at_risk["dose"].to_numpy() > 1
        plain = hazard.plain.survival(later, free.start - dose_hour, free.end - dose_hour)
        full = np.where(stays, plain / survived, 0.0)
        weight = truncated(full, at_risk, stays)
        cut = float((weight < full)[stays].mean())
        measured = _measured(at_risk, stays, weight, plain, hazard)
        reasons = _refusals(measured)
    positivity = Positivity(
        **_counts(at_risk, free)._asdict(), **measured._asdict(), truncated=cut, reasons=tuple(reasons)
    )
    weighted = at_risk.assign(weight=at_risk["weight"].to_numpy() * weight)[stays].reset_index(drop=True)
    table = _table(at_risk, stays, weighted, positivity, resamples, seed)
    usable = None
    if positivity.estimable:
        usable = replace(prepared, labels=replace(prepared.labels, rows=weighted))
    return WithoutRescue(
        family,
        definition,
        positivity,
        table.assign(definition=definition, family=family)[list(COLUMNS)],
        usable,
    )


class _Counts(NamedTuple):
    """Patients; see `Positivity`."""

    patients: int
    rescued: int
    severe: int


class _Measured(NamedTuple):
    """Diagnostics of the hazard and its weights; see `Positivity`."""

    untreated: float = np.nan
    near_certain: float = np.nan
    effective: float = np.nan
    effective_severe: float = np.nan
    recovered: float = np.nan


def _taken(found: Standing, rows: NDArray[np.bool_]) -> Standing:
    return Standing(**{f.name: getattr(found, f.name)[rows] for f in fields(found)})


def _counts(at_risk: pd.DataFrame, free: Standing) -> _Counts:
    patient = at_risk["patient_id"]
    severe = ~free.rescued & (at_risk["severe"] == 1).to_numpy()
    return _Counts(
        int(patient.nunique()), int(patient[free.rescued].nunique()), int(patient[severe].nunique())
    )


def _too_few(at_risk: pd.DataFrame, free: Standing) -> list[str]:
    """Reasons not even to fit a hazard."""
    counts = _counts(at_risk, free)
    reasons = []
    if counts.severe < FEWEST_EVENTS:
        reasons.append(
            f"{counts.severe} patients were severe without rescue before, {FEWEST_EVENTS} are needed"
        )
    if counts.rescued < FEWEST_EVENTS:
        reasons.append(f"{counts.rescued} patients were rescued, too few to say whom, and to matter much")
    return reasons


def _measured(
    at_risk: pd.DataFrame,
    stays: NDArray[np.bool_],
    weight: Array,
    plain: Array,
    hazard: RescueHazard,
) -> _Measured:
    """Diagnostics of positivity and of the weights; one row per patient and dose."""
    once = Design(at_risk, np.empty(0, dtype=np.int64), np.empty((0, 0)), ()).longest
    kept = once & stays
    severe = kept & (at_risk["severe"] == 1).to_numpy()
    rescued = hazard.rescued
    certain = 1.0 - np.exp(-hazard.rate[rescued] * WATCHED_HOURS) >= NEAR_CERTAIN
    return _Measured(
        untreated=_untreated(hazard),
        near_certain=float(certain.mean()),
        effective=effective(weight[kept]) / max(int(kept.sum()), 1),
        effective_severe=effective(weight[severe]),
        recovered=float((weight[kept] / plain[kept]).sum()) / max(int(once.sum()), 1),
    )


def _untreated(hazard: RescueHazard) -> float:
    """Share of arrivals at grade 2 without rescue WATCHED_HOURS later, severe CRS and recovery as censoring.

    A stretch at grade 2 is cut by steps of the state; its pieces are joined again.
    """
    spans, moderate = hazard.spans, hazard.grade2
    here = np.flatnonzero(moderate)
    if not len(here):
        return np.nan
    joined = np.zeros(len(here), dtype=bool)
    joined[1:] = (here[1:] == here[:-1] + 1) & (spans.start[here[1:]] == spans.stop[here[:-1]])
    joined[1:] &= spans.window[here[1:]] == spans.window[here[:-1]]
    episode = np.cumsum(~joined) - 1
    length = np.bincount(episode, weights=spans.hours[here])
    treated = np.bincount(episode, weights=hazard.rescued[here]) > 0
    share_left = 1.0
    for hour in np.unique(length[treated & (length <= WATCHED_HOURS)]):
        at_risk = float((length >= hour).sum())
        share_left *= 1.0 - float((treated & (length == hour)).sum()) / at_risk
    return share_left


def truncated(weight: Array, rows: pd.DataFrame, stays: NDArray[np.bool_]) -> Array:
    """Weights cut at the LARGEST_QUANTILE of those who stay at the same landmark and horizon.

    Args:
        weight: of each row, shape (n,).
        rows: landmark_hours, horizon_hours, rest_of_window.
        stays: rows without rescue; the others' weights do not count, shape (n,).

    Source: cole_2008 (what truncation of weights trades).
    """
    horizon = rows["horizon_hours"].mask(rows["rest_of_window"].astype(bool), np.inf)
    place = [rows["landmark_hours"].to_numpy(), horizon.to_numpy()]
    limit = pd.Series(np.where(stays, weight, np.nan)).groupby(place).transform("quantile", LARGEST_QUANTILE)
    return np.minimum(weight, limit.fillna(np.inf).to_numpy(dtype=np.float64))


def effective(weight: Array) -> float:
    """Effective number of weighted patients, (sum w)^2 / sum w^2; source: kish_1965."""
    square = float((weight**2).sum())
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def _refusals(found: _Measured) -> list[str]:
    """Why the weights can't be trusted, in words."""
    reasons = []
    if found.untreated < LEAST_UNTREATED:
        reasons.append(
            f"{found.untreated:.1%} of the patients at grade 2 are without rescue {WATCHED_HOURS:g} h later: "
            "treatment follows the grade by rule, and nobody stands for those treated"
        )
    if found.near_certain > MOST_NEAR_CERTAIN:
        reasons.append(f"{found.near_certain:.0%} of the rescues were all but certain")
    if found.effective < LEAST_EFFECTIVE:
        reasons.append(f"the weights leave an effective {found.effective:.0%} of the patients without rescue")
    if found.effective_severe < FEWEST_EVENTS:
        reasons.append(f"the severe without rescue count as {found.effective_severe:.1f} patients")
    if not RECOVERED[0] <= found.recovered <= RECOVERED[1]:
        reasons.append(
            f"the weights make {found.recovered:.2f} patients of each: the hazard of rescue is not well modelled"
        )
    return reasons


def _table(
    at_risk: pd.DataFrame,
    stays: NDArray[np.bool_],
    weighted: pd.DataFrame,
    positivity: Positivity,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Three risks at every landmark and horizon, pooled ones too."""
    given: Sequence[tuple[str, pd.DataFrame]] = (
        (AS_TREATED, at_risk),
        (CENSORED, at_risk[stays]),
        (WITHOUT, weighted),
    )
    lines = []
    for name, rows in given:
        named = averaged(rows.assign(model=name, risk=0.0)) if len(rows) else rows
        for place, part in cells(named) if len(rows) else ():
            found = share(part, resamples=resamples, seed=seed)
            line = {**place, "estimate": name, "value": found.value, "low": found.low, "high": found.high}
            line |= {"n": found.n, "events": found.events, "reason": found.reason}
            if name == WITHOUT and not positivity.estimable:
                line |= {
                    "value": np.nan,
                    "low": np.nan,
                    "high": np.nan,
                    "reason": "; ".join(positivity.reasons),
                }
            lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))
