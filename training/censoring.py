"""Weights for those who were followed, standing in for those who were lost: inverse probability of censoring.

Kaplan-Meier of the censoring time, one course one entry, per class of therapy (cells and engagers are
followed differently). A row followed from its landmark to the end of its horizon, or to severe CRS, counts
1 / P(followed).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from training.horizons import closing_hours
from training.outcomes import CourseOutcomes

Array = NDArray[np.float64]
LEAST_PROBABILITY = 0.05  # weights stop at 20: a single patient must not carry a horizon


def inverse_weights(
    cohort: Cohort, outcomes: CourseOutcomes, doses: pd.DataFrame, rows: pd.DataFrame
) -> Array:
    """Weight of each row, 1 where nobody is lost.

    Args:
        cohort: whose courses `outcomes` describes.
        outcomes: follow-up and severe CRS per course.
        doses: course_id, dose_hours, window_end_hours; the last window ends what has to be followed.
        rows: course (row number), class_, dose_hours, landmark_hours,
            horizon_hours, window_end, severe.
    """
    course_end = np.zeros(len(cohort.courses))
    ends = (doses["dose_hours"] + doses["window_end_hours"]).to_numpy(dtype=np.float64)
    np.maximum.at(course_end, cohort.position_of(doses["course_id"]), ends)
    known = cohort.therapy_by_course()
    class_ = np.array([known[c].class_ for c in cohort.courses["course_id"]], dtype=object)
    labelled = outcomes.source != ""
    course = rows["course"].to_numpy()
    start = (rows["dose_hours"] + rows["landmark_hours"]).to_numpy(dtype=np.float64)
    end = closing_hours(rows)
    when = outcomes.severe_hours[course]
    until = np.where(rows["severe"].to_numpy() == 1, np.fmin(when, end), end)
    weight = np.ones(len(rows))
    for name in np.unique(class_):
        mine = class_[course] == name
        curve = _CensoringCurve.fit(outcomes, course_end, (class_ == name) & labelled)
        followed = curve.before(until[mine]) / curve.after(start[mine])
        weight[mine] = 1.0 / np.maximum(followed, LEAST_PROBABILITY)
    return np.where(outcomes.settled[course], 1.0, weight)


class _CensoringCurve:
    """Probability of not being lost, by hour."""

    def __init__(self, times: Array, survival: Array) -> None:
        self.times, self.survival = times, survival

    @classmethod
    def fit(cls, outcomes: CourseOutcomes, course_end: Array, chosen: NDArray[np.bool_]) -> _CensoringCurve:
        """Kaplan-Meier with the loss of follow-up as the event."""
        finish = np.fmin(course_end, np.where(np.isnan(outcomes.severe_hours), np.inf, outcomes.severe_hours))
        follow_up = np.where(outcomes.settled, np.inf, outcomes.follow_up_hours)
        lost = (follow_up < finish - 1e-9)[chosen]
        leave = np.minimum(follow_up, finish)[chosen]
        times = np.unique(leave[lost])
        at_risk = np.array([(leave >= t).sum() for t in times], dtype=np.float64)
        losses = np.array([(leave[lost] == t).sum() for t in times], dtype=np.float64)
        return cls(times, np.concatenate([[1.0], np.cumprod(1.0 - losses / np.maximum(at_risk, 1.0))]))

    def after(self, hours: Array) -> Array:
        """P(still followed after the hour)."""
        at: Array = self.survival[np.searchsorted(self.times, hours, side="right")]
        return np.maximum(at, LEAST_PROBABILITY)

    def before(self, hours: Array) -> Array:
        """P(still followed just before the hour)."""
        at: Array = self.survival[np.searchsorted(self.times, hours - 1e-9, side="left")]
        return at
