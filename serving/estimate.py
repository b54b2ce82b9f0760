"""Risk, interval and explanation of courses at given moments, or why there is none; one code for all ways in.

A cohort file, a REST request, the Python API and MLflow's own server all end here, so that the same patient
gets the same numbers on every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import fsum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crsrisk.errors import ModelError
from crsrisk.priors import prior
from crsrisk.therapies import Therapy, therapy
from features.declare import Feature
from features.matrix import FeatureTable, compute_features
from features.registry import predictors
from serving.applicable import Applicable, columns_of
from serving.moment import (
    EXPECTED,
    GradeThen,
    analytes_behind,
    died,
    follow_up_ends,
    grades_then,
    measured,
    missing_and_stale,
)
from training.model import Predictions, RiskModel
from training.offset import sigmoid
from training.track import ModelInfo

if TYPE_CHECKING:
    import pandas as pd

    from crsrisk.cohort import Cohort

EXPLAINED_HOURS = 72.0
TOLERANCE = 1e-9

Models = Mapping[str, tuple[RiskModel, ModelInfo]]


class RiskAt(NamedTuple):
    """Risk within one horizon and its 90 % interval."""

    horizon_hours: float
    probability: float
    low: float
    high: float


class Share(NamedTuple):
    """One predictor's share of the log odds before calibration; value nan when nothing was measured."""

    feature: str
    value: float
    hours: float  # when the value was taken, from the course's index time; nan when it has no time
    log_odds: float


@dataclass(frozen=True, slots=True)
class Explained:
    """Base and shares whose sum, calibrated, is the log odds of the risk; largest share first."""

    horizon_hours: float
    base: float
    shares: tuple[Share, ...]
    intercept: float
    slope: float
    log_odds: float


@dataclass(frozen=True, slots=True)
class RowEstimate:
    """One course at one moment. Without risks, `reason` says why (CODE: sentence)."""

    course_id: str
    therapy: Therapy
    therapy_seen: bool
    info: ModelInfo | None
    dose: int
    landmark_hours: float
    as_of_hours: float
    grade: GradeThen
    reason: str | None
    notes: tuple[str, ...]
    risks: tuple[RiskAt, ...] = ()
    explained: Explained | None = None
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


class Estimator:
    """Estimates with a fixed set of models; immutable, so that one answer never mixes two versions."""

    def __init__(self, models: Models) -> None:
        self._models = MappingProxyType(dict(models))
        self._wanted = {family: analytes_behind(_split_on(model)) for family, (model, _) in models.items()}
        self._features = _features(models)
        self._applicable = {family: Applicable(model) for family, (model, _) in models.items()}
        self._columns = {
            family: columns_of(model.feature_names, [f.name for f in self._features])
            for family, (model, _) in models.items()
        }

    @property
    def models(self) -> Models:
        """Model and registered version per family."""
        return self._models

    def estimate(self, cohort: Cohort, at: pd.DataFrame, *, with_quality: bool = True) -> list[RowEstimate]:
        """One estimate per row of `at`.

        Args:
            cohort: the courses.
            at: course_id, as_of_hours (from the course's index time, 0 or above).
            with_quality: also name what is missing and stale.

        Raises:
            ModelError: an explanation does not add up to its risk.
        """
        table = compute_features(cohort, at=at, with_times=True, features=self._features)
        grades, ended = grades_then(cohort, at), follow_up_ends(cohort, at)
        keys = table.rows["therapy"].tolist()
        known = {key: therapy(key, cohort.therapies) for key in set(keys)}
        rows = _Rows(table, [known[key] for key in keys], grades, died(cohort, at), ended)
        reasons = [self._reason(rows, i) for i in range(len(keys))]
        predicted = self._predict(rows, reasons, cohort.therapies)
        answered = [self._row(rows, i, reasons[i], predicted.get(i)) for i in range(len(keys))]
        if not with_quality:
            return answered
        return [self._with_quality(rows, i, row) for i, row in enumerate(answered)]

    def _reason(self, rows: _Rows, i: int) -> str | None:  # noqa: PLR0911  # one return per reason
        """Why row i gets no estimate; None when it gets one."""
        family = rows.therapies[i].family
        grade = rows.grades[i]
        if rows.died[i]:
            return "DIED: the patient died before this moment"
        if rows.as_of[i] > rows.follow_up[i]:
            return "NOT_FOLLOWED: the moment lies after the end of follow-up"
        if grade.was_severe:
            return (
                "ALREADY_SEVERE: ASTCT grade 3 or above was reached; the model estimates the risk before that"
            )
        if grade.maybe_severe:
            return (
                "MAYBE_SEVERE: grade 3 or above can't be ruled out so far; see grade and assess the patient"
            )
        if family is None:
            return "NO_FAMILY: no family covers this target; notes give the published rate of its class"
        if family not in self._models:
            return f"NO_MODEL: no model of the family {family} is loaded; train and promote one"
        applicable = self._applicable[family]
        unseen = applicable.unseen_class(rows.therapies[i])
        if unseen is not None:
            return unseen
        if not measured(rows.table, i):
            return "NO_MEASUREMENT: no vital sign, laboratory value or disease burden that a model reads"
        return applicable.outside(self._values(rows, i, family), rows.landmark[i])

    def _values(self, rows: _Rows, i: int, family: str) -> NDArray[np.float64]:
        """The predictors of the family's model in row i."""
        return rows.table.values[i, self._columns[family]]

    def _predict(
        self, rows: _Rows, reasons: Sequence[str | None], extra: Mapping[str, Therapy]
    ) -> dict[int, _Predicted]:
        """Predictions of the rows that get one, family by family."""
        found: dict[int, _Predicted] = {}
        for family, (model, _) in self._models.items():
            mine = [i for i, t in enumerate(rows.therapies) if t.family == family and reasons[i] is None]
            if mine:
                table = _take(rows.table, mine)
                predictions = model.predict(table, model.horizons, therapies=extra)
                found |= {i: _Predicted(predictions, k, model, table) for k, i in enumerate(mine)}
        return found

    def _row(self, rows: _Rows, i: int, reason: str | None, predicted: _Predicted | None) -> RowEstimate:
        used = rows.therapies[i]
        model, info = self._models.get(used.family or "", (None, None))
        risks: tuple[RiskAt, ...] = ()
        explained = None
        if predicted is not None:
            risks, explained = predicted.risks(), predicted.explained()
            if not risks:
                reason = "OUTSIDE_WINDOW: the window in which CRS counts has ended for this dose"
        return RowEstimate(
            course_id=rows.course_ids[i],
            therapy=used,
            therapy_seen=model is not None and model.seen(used.key),
            info=info,
            dose=rows.dose[i],
            landmark_hours=rows.landmark[i],
            as_of_hours=rows.as_of[i],
            grade=rows.grades[i],
            reason=reason,
            notes=_notes(used, model, reason) + self._notes_on_values(rows, i, used, risks),
            risks=risks,
            explained=explained,
        )

    def _notes_on_values(
        self, rows: _Rows, i: int, used: Therapy, risks: tuple[RiskAt, ...]
    ) -> tuple[str, ...]:
        """What a reader must know about the values behind an estimate."""
        if not risks or used.family is None:
            return ()
        return self._applicable[used.family].notes(self._values(rows, i, used.family), rows.landmark[i])

    def _with_quality(self, rows: _Rows, i: int, row: RowEstimate) -> RowEstimate:
        wanted = self._wanted.get(row.therapy.family or "", EXPECTED)
        missing, stale = missing_and_stale(rows.table, i, rows.as_of[i], wanted)
        return replace(row, missing=missing, stale=stale)


class _Rows:
    """The rows of a feature table as plain lists, with what was found out about each."""

    def __init__(
        self,
        table: FeatureTable,
        therapies: Sequence[Therapy],
        grades: Sequence[GradeThen],
        died: Sequence[bool],
        follow_up: Sequence[float],
    ) -> None:
        self.table = table
        self.therapies = therapies
        self.grades = grades
        self.died = died
        self.follow_up = follow_up
        self.course_ids: list[str] = table.rows["course_id"].tolist()
        self.dose: list[int] = table.rows["dose"].tolist()
        self.landmark: list[float] = table.rows["landmark_hours"].tolist()
        self.as_of: list[float] = table.rows["as_of_hours"].tolist()


@dataclass(frozen=True)
class _Predicted:
    """One row of the predictions of its family."""

    predictions: Predictions
    row: int
    model: RiskModel
    table: FeatureTable

    @cached_property
    def _entries(self) -> NDArray[np.int64]:
        sorted_rows = self.predictions.row
        first, last = (
            np.searchsorted(sorted_rows, self.row),
            np.searchsorted(sorted_rows, self.row, side="right"),
        )
        return np.arange(first, last)

    def risks(self) -> tuple[RiskAt, ...]:
        """Risk per horizon, shortest first; checked against their log odds."""
        p, at = self.predictions, self._entries
        if at.size and not np.allclose(p.risk[at], sigmoid(p.log_odds[at]), rtol=0.0, atol=TOLERANCE):
            raise ModelError("a risk is not what its log odds say; the answer is withheld")
        columns = (p.horizon_hours[at], p.risk[at], p.low[at], p.high[at])
        return tuple(RiskAt(*numbers) for numbers in zip(*(c.tolist() for c in columns), strict=True))

    def explained(self) -> Explained | None:
        """Explanation at 72 h, or at the longest horizon below; None when there is no horizon."""
        p, at = self.predictions, self._entries
        within = at[p.horizon_hours[at] <= EXPLAINED_HOURS]
        if not at.size:
            return None
        entry = int(within[-1] if within.size else at[0])
        horizon = float(p.horizon_hours[entry])
        contributions = p.contributions[entry]
        there = np.flatnonzero(contributions)
        order = there[np.argsort(-np.abs(contributions[there]), kind="stable")]
        explained = Explained(
            horizon_hours=horizon,
            base=float(p.base[entry]),
            shares=tuple(self._share(j, float(contributions[j]), horizon) for j in order.tolist()),
            intercept=p.intercept,
            slope=p.slope,
            log_odds=float(p.log_odds[entry]),
        )
        check(explained, float(p.risk[entry]))
        return explained

    def _share(self, j: int, log_odds: float, horizon: float) -> Share:
        name = self.predictions.names[j]
        if name == "horizon_hours":
            return Share(name, horizon, np.nan, log_odds)
        if name == "landmark_hours":
            return Share(name, float(self.table.rows["landmark_hours"].iloc[self.row]), np.nan, log_odds)
        column = _position(self.table.names)[name]
        hours = np.nan if self.table.times is None else float(self.table.times[self.row, column])
        return Share(name, float(self.table.values[self.row, column]), hours, log_odds)


@cache
def _position(names: tuple[str, ...]) -> dict[str, int]:
    return {name: j for j, name in enumerate(names)}


def check(explained: Explained, risk: float) -> None:
    """Nothing when base, shares and calibration give the risk to 1e-9.

    Raises:
        ModelError: they don't; the answer must be withheld.
    """
    margin = explained.base + fsum(share.log_odds for share in explained.shares)
    log_odds = explained.intercept + explained.slope * margin
    if abs(log_odds - explained.log_odds) > TOLERANCE or abs(float(sigmoid(log_odds)) - risk) > TOLERANCE:
        raise ModelError("the explanation does not add up to the risk; the answer is withheld")


def _split_on(model: RiskModel) -> list[str]:
    """Features on which the model's trees split."""
    if model.booster is None:
        return []
    splits = model.booster.feature_importance(importance_type="split")
    return [name for name, count in zip(model.names, splits, strict=True) if count]


def _features(models: Models) -> tuple[Feature, ...]:
    """Every feature that a model or the quality report reads, in the registry's order."""
    from features.registry import FEATURES

    needed = {name for model, _ in models.values() for name in model.feature_names}
    needed |= {f.name for f in predictors()}
    return tuple(f for f in FEATURES if f.name in needed)


def _take(table: FeatureTable, rows: list[int]) -> FeatureTable:
    if len(rows) == len(table.rows):
        return table
    times = None if table.times is None else table.times[rows]
    return FeatureTable(table.rows.iloc[rows].reset_index(drop=True), table.values[rows], table.names, times)


SIMULATED = "The model was trained on simulated patients: its numbers say nothing about a real one."


def _notes(used: Therapy, model: RiskModel | None, reason: str | None) -> tuple[str, ...]:
    """What a reader must know about the model behind the number."""
    if used.family is None or (reason or "").startswith("UNSEEN_CLASS"):
        found = prior(used)
        return (
            f"Published rate of severe CRS ({found.level}): {found.rate:.1%}, 95 % interval {found.low:.1%} "
            f"to {found.high:.1%}; not an estimate for this patient.",
        )
    if model is None:
        return ()
    notes = [SIMULATED] if model.simulated else []
    counted = f"{model.n_events} severe in {model.n_patients} patients"
    if model.strategy == "offset":
        notes.append(
            f"Insufficient events: {counted} carry no own model; the number is the published base rate of "
            "the therapy and does not depend on the patient's values."
        )
    elif model.strategy == "shared":
        notes.append(f"Few events: {counted}; the trees are shared by all families.")
    if not model.seen(used.key):
        notes.append("The model saw no patient with this therapy; the interval is wide for that reason.")
    return tuple(notes)
