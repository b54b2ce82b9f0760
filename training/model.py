"""A risk model as data: base-rate offset, trees, calibration, interval; and what it says about a patient.

The interval joins three parts: refits of the trees on bootstrap samples of the patients, the posterior of the therapy's
level, and the posterior of when its onsets come. See docs/decisions/0065 and 0210.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from crsrisk.errors import ModelError
from crsrisk.therapies import Therapy
from training.applicability import Applicability
from training.horizons import DEFAULT_HORIZONS, expand, planned_window_ends
from training.offset import OffsetSpec, Start, Within, sigmoid
from training.pooling import Levels, TherapyShift, unseen
from training.trees import FlatTrees, flat_trees

if TYPE_CHECKING:
    from lightgbm import Booster

    from features.matrix import FeatureTable

Array = NDArray[np.float64]
Strategy = Literal["own", "shared", "offset"]
TIME_FEATURES = ("landmark_hours", "horizon_hours")  # the last two columns of every design matrix
_FLAT = 1e-6  # trees that move a row by less: the chord's slope is taken over this
_FEW_ROWS = 32  # up to here walking all refits' trees at once is quicker than one LightGBM call per refit


@dataclass(frozen=True)
class Calibration:
    """Log odds of the risk = intercept + slope * (offset and trees, joined as `within` says); slope above 0."""

    intercept: float = 0.0
    slope: float = 1.0
    within: Within = field(default_factory=Within)
    events: int = 0  # severe patients behind it; 0: not fitted


@dataclass(frozen=True)
class IntervalSpec:
    """Levels of the therapies: their means move the risk, their spread widens its interval beside the refits.

    level: share of intervals that shall hold the true risk.
    """

    level: float = 0.90
    levels: Levels = field(default_factory=lambda: Levels(0.0, 0.0, {}))

    @property
    def z(self) -> float:
        """Standard deviations on either side that hold `level` of a normal distribution."""
        return float(ndtri((1.0 + self.level) / 2.0))


@dataclass(frozen=True)
class Predictions:
    """Risks of n rows x their horizons; every array has one entry per (row, horizon), sorted by both.

    log_odds equals intercept + slope * (base + contributions.sum(axis=1)) to rounding; base holds the
    offset and the expected value of the trees. low and high bound a 90 % interval of the risk.
    """

    row: NDArray[np.int64]
    horizon_hours: Array
    rest_of_window: NDArray[np.bool_]
    risk: Array
    low: Array
    high: Array
    log_odds: Array
    offset: Array
    base: Array
    contributions: Array
    names: tuple[str, ...]
    intercept: float
    slope: float

    def of_row(self, row: int) -> NDArray[np.int64]:
        """Positions of one row's horizons, shortest first."""
        return np.flatnonzero(self.row == row)


@dataclass(frozen=True, kw_only=True)
class RiskModel:
    """One family's model, all of it data: `save_model` writes text files, `load_model` reads them."""

    family: str | None
    feature_names: tuple[str, ...]
    feature_digest: str
    strategy: Strategy
    offset: OffsetSpec
    calibration: Calibration = field(default_factory=Calibration)
    interval: IntervalSpec = field(default_factory=IntervalSpec)
    booster_text: str | None = None
    bootstrap_texts: tuple[str, ...] = ()
    landmarks: tuple[float, ...] = ()
    horizons: tuple[float | None, ...] = DEFAULT_HORIZONS
    n_patients: int = 0
    n_events: int = 0
    therapies_seen: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    simulated: bool = False  # trained on simulated patients
    notes: tuple[str, ...] = ()
    policy: Mapping[str, float] = field(default_factory=dict)  # how CRS was treated: training.policy
    applicability: Applicability = field(default_factory=Applicability)  # what training patients were like

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the design matrix: the predictors, then landmark and horizon in hours."""
        return (*self.feature_names, *TIME_FEATURES)

    @cached_property
    def booster(self) -> Booster | None:
        """The trees, parsed once; None when the model is the offset alone."""
        return None if self.booster_text is None else _booster(self.booster_text)

    @cached_property
    def _refits(self) -> FlatTrees | None:
        return flat_trees(self.bootstrap_texts) if self.bootstrap_texts else None

    @cached_property
    def _refit_boosters(self) -> list[Booster]:
        return [_booster(text) for text in self.bootstrap_texts]

    def seen(self, key: str) -> bool:
        """Whether patients with this therapy were in the training data."""
        return self.therapies_seen.get(key, 0) > 0

    @cached_property
    def classes_seen(self) -> frozenset[str]:
        """Classes (cart, engager, engineered_t) of the therapies in the training data."""
        return frozenset(self.offset.rate_of(key).class_ for key, n in self.therapies_seen.items() if n > 0)

    def predict(
        self,
        table: FeatureTable,
        horizons: Sequence[float | None] = DEFAULT_HORIZONS,
        *,
        therapies: Mapping[str, Therapy] | None = None,
        window_end_hours: Array | None = None,
    ) -> Predictions:
        """Risk, interval and explanation of every row of a feature table at every horizon that the row has.

        Args:
            table: needs rows' therapy, dose, landmark_hours and this model's features.
            horizons: hours, None for the rest of the window; those that reach beyond the window are left out.
            therapies: registered therapies outside the catalogue, by key.
            window_end_hours: end of each row's window from its dose; None: as the schedule plans it.

        Raises:
            ModelError: the table lacks features of the model.
        """
        rows = table.rows
        keys = rows["therapy"].tolist()
        dose = rows["dose"].to_numpy(dtype=np.int64)
        landmark = rows["landmark_hours"].to_numpy(dtype=np.float64)
        if window_end_hours is None:
            window_end_hours = planned_window_ends(keys, dose, landmark, therapies)
        row, hours, rest = expand(landmark, window_end_hours, horizons)
        values = self._columns(table)[row]
        design = np.concatenate([values, landmark[row, None], hours[:, None]], axis=1)
        of_rows = [keys[i] for i in row]
        asked = (of_rows, dose[row], landmark[row], hours)
        start = self.offset.start(*asked, therapies)
        early, late = self.offset.bounds(*asked, self.interval.level, therapies)
        offset = start.log_odds()
        timing = (offset - early, late - offset)
        shift = self.shift(of_rows, therapies)
        level_sd = self._level_sd(keys, therapies)[row]
        return self._explained(
            row=row,
            hours=hours,
            rest=rest,
            design=design,
            start=start,
            shift=shift,
            level_sd=level_sd,
            timing=timing,
        )

    def margins(self, design: Array, start: Start) -> Array:
        """Log odds before intercept and slope of rows of a design matrix, without explanation."""
        raw = 0.0 if self.booster is None else self.booster.predict(design, raw_score=True, num_threads=1)
        return start.log_odds(raw, self.calibration.within)

    def _columns(self, table: FeatureTable) -> Array:
        """The model's columns of a feature table in the model's order."""
        if tuple(table.names) == self.feature_names:
            return table.values
        position = {name: i for i, name in enumerate(table.names)}
        absent = [name for name in self.feature_names if name not in position]
        if absent:
            raise ModelError(
                f"features absent from the table: {absent[:5]} ({len(absent)} in all); recompute it"
            )
        return table.values[:, [position[name] for name in self.feature_names]]

    def level_of(self, key: str, extra: Mapping[str, Therapy] | None = None) -> TherapyShift:
        """The level of a therapy: what its patients told, else its published rate."""
        known = self.interval.levels.shifts.get(key)
        if known is not None:
            return known
        return unseen(self.interval.levels, self.offset.rate_of(key, extra).logit_sd)

    def shift(self, keys: Sequence[str], extra: Mapping[str, Therapy] | None = None) -> Array:
        """What each row's therapy adds to the log odds of the risk, shape (n,)."""
        mean = {key: self.level_of(key, extra).mean for key in dict.fromkeys(keys)}
        return np.array([mean[key] for key in keys], dtype=np.float64)

    def log_odds(
        self, design: Array, start: Start, keys: Sequence[str], extra: Mapping[str, Therapy] | None = None
    ) -> Array:
        """Log odds of the risk of rows of a design matrix, without explanation.

        Args:
            design: shape (n, features + 2).
            start: of each row.
            keys: therapy of each row.
            extra: registered therapies outside the catalogue.
        """
        c = self.calibration
        return c.intercept + c.slope * self.margins(design, start) + self.shift(keys, extra)

    def _level_sd(self, keys: Sequence[str], extra: Mapping[str, Therapy] | None) -> Array:
        sd = {key: self.level_of(key, extra).sd for key in dict.fromkeys(keys)}
        return np.array([sd[key] for key in keys], dtype=np.float64)

    def _explained(
        self,
        *,
        row: NDArray[np.int64],
        hours: Array,
        rest: NDArray[np.bool_],
        design: Array,
        start: Start,
        shift: Array,
        level_sd: Array,
        timing: tuple[Array, Array],
    ) -> Predictions:
        """Risks with intervals; timing is how far onsets alone may lower and raise the offset."""
        a, b = self.calibration.intercept, self.calibration.slope
        offset = start.log_odds(0.0, self.calibration.within) + shift / b
        if self.booster is None or len(row) == 0:
            base, contributions = offset, np.zeros((len(row), len(self.names)))
        else:
            explained = self.booster.predict(design, pred_contrib=True, num_threads=1)
            base, contributions = self._on_margins(start, explained)
            base = base + shift / b
        log_odds = a + b * (base + contributions.sum(axis=1))
        normal = self.interval.z**2 * (level_sd**2 + (b * self._refit_sd(design, start)) ** 2)
        # half-widths of independent parts add up as squares, below and above apart (zou_2008)
        down, up = (np.sqrt(normal + (b * part) ** 2) for part in timing)
        low, high = sigmoid(log_odds - down), sigmoid(log_odds + up)
        return Predictions(
            row=row,
            horizon_hours=hours,
            rest_of_window=rest,
            risk=_never_falling(sigmoid(log_odds), row),
            low=_never_falling(low, row),
            high=_never_falling(high, row),
            log_odds=log_odds,
            offset=offset,
            base=base,
            contributions=contributions,
            names=self.names,
            intercept=a,
            slope=b,
        )

    def _on_margins(self, start: Start, explained: Array) -> tuple[Array, Array]:
        """Base and contributions to the margins from those to the trees, which all stretch by one factor per row.

        The margin bends with the trees where risks are high or a horizon is short. The factor is the slope of the chord
        from the expected value of the trees to the row's, so that base and contributions add up to the margin exactly.
        """
        expected, contributions = explained[:, -1], explained[:, :-1]
        moved = contributions.sum(axis=1)
        far = np.where(np.abs(moved) < _FLAT, _FLAT, moved)
        base = start.log_odds(expected, self.calibration.within)
        factor = (start.log_odds(expected + far, self.calibration.within) - base) / far
        return base, np.ascontiguousarray(contributions * factor[:, None])

    def _refit_sd(self, design: Array, start: Start) -> Array:
        """Spread of the bootstrap refits' margins (log odds); 0 when there are fewer than two."""
        if self._refits is None or len(self.bootstrap_texts) < 2 or len(design) == 0:
            return np.zeros(len(design))
        if len(design) <= _FEW_ROWS:
            trees = self._refits.margins(design)
        else:
            calls = [b.predict(design, raw_score=True, num_threads=1) for b in self._refit_boosters]
            trees = np.stack(calls)
        margins = start.log_odds(trees, self.calibration.within)
        # running sums add in the same order for one row and for many, so that both give the same bits
        centre = np.cumsum(margins, axis=0)[-1] / len(margins)
        variance = np.cumsum((margins - centre) ** 2, axis=0)[-1] / (len(margins) - 1)
        spread: Array = np.sqrt(variance)
        return spread


def _never_falling(risk: Array, row: NDArray[np.int64]) -> Array:
    """Running maximum over the horizons of each row.

    Risks rise with the horizon by construction (monotone trees, rising start, slopes above 0); the bounds'
    spread is not bound to, and rounding could turn an equality around.
    """
    result = risk.copy()
    position = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    for k in range(1, int(position.max(initial=0)) + 1):
        at = np.flatnonzero(position == k)
        result[at] = np.maximum(result[at], result[at - 1])
    return result


def _booster(text: str) -> Booster:
    import lightgbm

    return lightgbm.Booster(model_str=text)
