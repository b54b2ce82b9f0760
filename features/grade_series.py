"""Grades so far as two series for the engine: the ASTCT grade at each change, and each onset of CRS."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from features.engine import Events

Floats = NDArray[np.float64]


class GradeSeries(NamedTuple):
    """Changes of grade: code of the course in `courses`, hours at which the grade was known, grade."""

    course: NDArray[np.int64]
    hours: Floats
    grade: Floats

    @property
    def onset(self) -> NDArray[np.bool_]:
        """Whether the change is an onset: grade 1 or above after 0 or after nothing."""
        crs = self.grade >= 1
        before = np.zeros(crs.size, dtype=bool)
        before[1:] = crs[:-1] & (self.course[1:] == self.course[:-1])
        onset: NDArray[np.bool_] = crs & ~before
        return onset


def grade_series(cohort: Cohort, events: Events, temperature: int) -> GradeSeries:
    """Grades of every course as they were known at each time, without states that have no grade.

    Before the first temperature is known there is no grade: fever cannot be excluded.

    Args:
        cohort: the grading engine reads its timeline.
        events: the same events as arrays.
        temperature: code of the variable temperature in `events`.
    """
    from crsrisk.grade_timeline import grade_steps

    steps = grade_steps(cohort.timeline(), cohort.courses, cohort.therapies, known=True)["ASTCT"]
    there = np.flatnonzero(~np.isnan(steps.graded.grade))
    course, hours, grade = steps.course[there], steps.hours[there], steps.graded.grade[there]
    measured = events.variable == temperature
    fever_known = np.full(len(cohort.courses), np.inf)
    np.minimum.at(fever_known, events.course[measured], events.known[measured])
    hours = np.maximum(hours, fever_known[course])
    keep = np.isfinite(hours)
    return GradeSeries(course[keep], hours[keep], grade[keep])
