"""What is known of a course at a moment: its grade so far, whether it ended, what was measured and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.grade_timeline import grade_steps
from features.matrix import FeatureTable
from features.registry import predictors

if TYPE_CHECKING:
    import pandas as pd

    from crsrisk.cohort import Cohort

SEVERE = 3.0
STALE_HOURS = 24.0
MEASURED_KINDS = frozenset({"vital", "chemistry", "hematology", "coagulation", "cytokine"})
DEMOGRAPHIC = frozenset({"age", "sex", "sex_female", "weight", "height", "bsab_dose", "bsab_step_index"})
SMALL = 5_000  # below this many events a list is searched faster than a column
EXPECTED = frozenset({"temperature", "crp", "ferritin", "ldh", "platelets", "creatinine"})


@dataclass(frozen=True, slots=True)
class GradeThen:
    """ASTCT grade at a moment from what was known then; grade is None unless certain."""

    grade: int | None
    state: str
    rule: str
    high: float
    was_severe: bool  # grade 3 or above was certain at some time so far
    maybe_severe: bool  # ... or could not be ruled out


NO_GRADE = GradeThen(None, "not_gradable", "nothing_recorded", 0.0, was_severe=False, maybe_severe=False)


def grades_then(cohort: Cohort, at: pd.DataFrame) -> list[GradeThen]:
    """ASTCT grade of each row of `at` from what was known by then, and whether it was severe before."""
    steps = grade_steps(cohort.timeline(), cohort.courses, cohort.therapies, known=True)["ASTCT"]
    course, hours, low, high = steps.course, steps.hours, steps.graded.low, steps.graded.high
    states, rules = steps.graded.state, steps.graded.rule
    certain = (low >= SEVERE) & np.isin(states, ("none", "graded"))
    possible = high >= SEVERE
    position = cohort.position_of(at["course_id"])
    begin, end = np.searchsorted(course, position), np.searchsorted(course, position, side="right")
    found = []
    for first, last, as_of in zip(begin.tolist(), end.tolist(), at["as_of_hours"].tolist(), strict=True):
        stop = first + int(np.searchsorted(hours[first:last], as_of, side="right"))
        if stop == first:
            found.append(NO_GRADE)
            continue
        now = stop - 1
        is_certain = low[now] == high[now] and states[now] in ("none", "graded")
        found.append(
            GradeThen(
                grade=int(low[now]) if is_certain else None,
                state=str(states[now]),
                rule=str(rules[now]),
                high=float(high[now]),
                was_severe=bool(certain[first:stop].any()),
                maybe_severe=bool(possible[first:stop].any()),
            )
        )
    return found


def died(cohort: Cohort, at: pd.DataFrame) -> list[bool]:
    """Whether each row's patient was known to be dead at that moment."""
    timeline = cohort.timeline()
    if len(timeline) < SMALL and "death" not in timeline["variable"].tolist():
        return [False] * len(at)
    dead = timeline[(timeline["variable"] == "death") & (timeline["value"] >= 1)]
    if dead.empty:
        return [False] * len(at)
    known = np.fmax(dead["hours"].to_numpy(), dead["available_hours"].to_numpy())
    when: dict[Any, float] = {}
    for course_id, hours in zip(dead["course_id"].tolist(), known.tolist(), strict=True):
        when[course_id] = min(hours, when.get(course_id, np.inf))
    rows = zip(at["course_id"].tolist(), at["as_of_hours"].tolist(), strict=True)
    return [when.get(course_id, np.inf) <= as_of for course_id, as_of in rows]


def follow_up_ends(cohort: Cohort, at: pd.DataFrame) -> list[float]:
    """Recorded end of follow-up of each row's course in hours, infinity when none is recorded."""
    hours = cohort.courses["follow_up_hours"].to_numpy(dtype=np.float64)
    ends: list[float] = np.where(np.isnan(hours), np.inf, hours)[cohort.position_of(at["course_id"])].tolist()
    return ends


# ---- what was measured


def measured(table: FeatureTable, row: int) -> bool:
    """Whether a row holds anything beyond who the patient is and which therapy was given."""
    return bool(np.isfinite(table.values[row, _measured_columns(table.names)]).any())


def analytes_behind(features: Iterable[str]) -> frozenset[str]:
    """The analytes that these features are computed from, and those that every patient should have."""
    names = set(features)
    needed = {need.analyte for f in predictors() if f.name in names for need in f.requests}
    return EXPECTED | (needed & set(analytes()) - DEMOGRAPHIC)


def missing_and_stale(
    table: FeatureTable, row: int, as_of: float, wanted: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Wanted analytes never measured, and those whose newest value is older than 24 h."""
    missing, stale = [], []
    columns = _columns_of(table.names)
    for key in sorted(wanted & set(columns)):
        at = columns[key]
        if not np.isfinite(table.values[row, at]).any():
            missing.append(key)
        elif analytes()[key].kind in MEASURED_KINDS and table.times is not None:
            newest = np.fmax.reduce(table.times[row, at])
            if isfinite(newest) and newest < as_of - STALE_HOURS:
                stale.append(key)
    return tuple(missing), tuple(stale)


@cache
def _columns_of(names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Columns of a feature table that hold values of an analyte, by analyte; a count is no value."""
    direct = {f.name: f.analyte for f in predictors() if f.derive is None and f.statistic != "count"}
    found: dict[str, list[int]] = {}
    for j, name in enumerate(names):
        key = direct.get(name, "")
        if key in analytes():
            found.setdefault(key, []).append(j)
    return {key: np.array(at, dtype=np.int64) for key, at in found.items()}


@cache
def _measured_columns(names: tuple[str, ...]) -> NDArray[np.int64]:
    columns = _columns_of(names)
    kinds = MEASURED_KINDS | {"clinical"}
    chosen = [at for key, at in columns.items() if key not in DEMOGRAPHIC and analytes()[key].kind in kinds]
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
