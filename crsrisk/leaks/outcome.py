"""What happened in each course, as far as the leak report needs it: peak grade, onset, hour of grade 3.

Sources in this order, per course: adjudicated ASTCT peak, ASTCT grades over time, grades derived from events;
where none of them tells, a peak or grade of another system: whatever the system, it is the outcome.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crsrisk.cohort_frames import Cohort
from crsrisk.grade_timeline import gradable, grade_events
from crsrisk.leaks.view import Bools, Floats

SEVERE_GRADE = 3.0
ASTCT = "astct"


@dataclass(frozen=True)
class Outcome:
    """Per course, in the order of `cohort.courses`.

    grade: highest grade, nan when nothing tells. onset: hour of the first sign of CRS, inf when none.
    severe_from: hour of grade 3, inf when never; both are -inf where it happened at an unknown hour.
    """

    grade: Floats
    onset: Floats
    severe_from: Floats

    @property
    def known(self) -> Bools:
        """Courses whose outcome is known."""
        return ~np.isnan(self.grade)

    @property
    def severe(self) -> Bools:
        """Courses that became severe."""
        return self.grade >= SEVERE_GRADE

    @property
    def crs(self) -> Bools:
        """Courses with CRS of any grade."""
        return self.grade >= 1.0


@dataclass
class _Graded:
    grade: Floats
    onset: Floats
    severe_from: Floats

    def fill(self, other: "_Graded") -> None:
        """Take from `other` what is not known yet."""
        new = np.isnan(self.grade) & ~np.isnan(other.grade)
        self.grade = np.where(new, other.grade, self.grade)
        for name in ("onset", "severe_from"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, np.where(np.isnan(mine), theirs, mine))


def outcome(cohort: Cohort) -> Outcome:
    """What happened in each course; grades are nan throughout when nothing in the cohort tells."""
    nothing = np.full(len(cohort.courses), np.nan)
    found = _Graded(nothing, nothing, nothing)
    for own_system in (True, False):
        found.fill(_from_outcomes(cohort, own_system))
        found.fill(_from_grades(cohort, own_system))
        if own_system:
            found.fill(_derived(cohort))
    crs, severe = found.grade >= 1.0, found.grade >= SEVERE_GRADE
    return Outcome(
        grade=found.grade,
        onset=np.where(crs, np.nan_to_num(found.onset, nan=-np.inf), np.inf),
        severe_from=np.where(severe, np.nan_to_num(found.severe_from, nan=-np.inf), np.inf),
    )


def _from_outcomes(cohort: Cohort, own_system: bool) -> _Graded:
    n = len(cohort.courses)
    found = _Graded(*(np.full(n, np.nan) for _ in range(3)))
    if cohort.outcomes is None:
        return found
    table = cohort.outcomes
    table = table[(table["system"].str.strip().str.casefold() == ASTCT) == own_system]
    table = table.sort_values("peak_grade").drop_duplicates("course_id", keep="last")
    at = cohort.position_of(table["course_id"])
    found.grade[at] = table["peak_grade"].to_numpy(dtype=np.float64)
    found.onset[at] = table["onset_hours"].to_numpy(dtype=np.float64)
    found.severe_from[at] = table["severe_hours"].to_numpy(dtype=np.float64)
    return found


def _from_grades(cohort: Cohort, own_system: bool) -> _Graded:
    if cohort.grades is None:
        return _summary(cohort, pd.DataFrame({"course_id": [], "hours": [], "grade": []}))
    table = cohort.grades[cohort.grades["grade"].notna()]
    return _summary(cohort, table[(table["system"].str.strip().str.casefold() == ASTCT) == own_system])


def _derived(cohort: Cohort) -> _Graded:
    """By the ASTCT rules; a course without a sign after its index time tells nothing."""
    timeline = cohort.timeline()
    answer = gradable(timeline)
    if not answer.ok:
        return _summary(cohort, pd.DataFrame({"course_id": [], "hours": [], "grade": []}))
    states = grade_events(timeline, cohort.courses, cohort.therapies)
    sure = states["state"].isin(["graded", "none"])
    states = states.assign(grade=states["low"].where(sure, 0.0), hours=states["hours"].clip(lower=0.0))
    found = _summary(cohort, states)
    signs = timeline["variable"].isin(list(answer.present)) & (timeline["hours"] > 0)
    observed = np.zeros(len(cohort.courses), dtype=np.bool_)
    observed[cohort.position_of(timeline.loc[signs, "course_id"])] = True
    found.grade = np.where(observed, found.grade, np.nan)
    return found


def _summary(cohort: Cohort, grades: pd.DataFrame) -> _Graded:
    """Peak, first hour of any grade and first hour of grade 3 from grades over time."""
    n = len(cohort.courses)
    at = cohort.position_of(grades["course_id"].astype("str"))
    hours, grade = grades["hours"].to_numpy(dtype=np.float64), grades["grade"].to_numpy(dtype=np.float64)
    peak, onset, severe = np.full(n, -1.0), np.full(n, np.inf), np.full(n, np.inf)
    np.maximum.at(peak, at, grade)
    np.minimum.at(onset, at[grade >= 1.0], hours[grade >= 1.0])
    np.minimum.at(severe, at[grade >= SEVERE_GRADE], hours[grade >= SEVERE_GRADE])
    return _Graded(
        grade=np.where(peak < 0.0, np.nan, peak),
        onset=np.where(np.isinf(onset), np.nan, onset),
        severe_from=np.where(np.isinf(severe), np.nan, severe),
    )
