"""Where a course stands at an hour: before CRS, below grade 2, at grade 2, severe so far; and stretches of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.outcomes import CourseOutcomes

Array = NDArray[np.float64]
Index = NDArray[np.int64]
STATES = ("before_crs", "below_grade2", "grade2", "grade3")
"""Before the first sign; CRS, but not grade 2 at that hour; grade 2; grade 3 or above reached."""
_FAR = 1e6  # hours; no course is as long, so that course and hour sort as one number


@dataclass(frozen=True, eq=False)
class Spans:
    """Stretches [start, stop) of windows, in hours of the course; sorted by window and start.

    window: number of the window that each belongs to.
    """

    window: Index
    start: Array
    stop: Array

    @property
    def hours(self) -> Array:
        """Length of each."""
        return self.stop - self.start

    def at(self, window: Index, hours: Array) -> Index:
        """The span that each hour of a window lies in; -1 before its first. After its last: the last."""
        place = np.searchsorted(_key(self.window, self.start), _key(window, hours), side="right") - 1
        inside = (place >= 0) & (self.window[np.maximum(place, 0)] == window) if len(self.window) else None
        return np.full(len(window), -1) if inside is None else np.where(inside, place, -1)


def timed(outcomes: CourseOutcomes) -> NDArray[np.bool_]:
    """Courses whose grades have times: what was given can be set beside the grade of that hour."""
    untimed = outcomes.had_crs & np.isnan(outcomes.onset_hours)
    untimed |= outcomes.severe & np.isnan(outcomes.severe_hours)
    known: NDArray[np.bool_] = (outcomes.source != "") & ~untimed & ~outcomes.moderate_peak
    return known


def states(outcomes: CourseOutcomes, course: Index, hours: Array) -> Index:
    """Position in STATES of each course at an hour; a sign counts from its own hour on. Shapes (n,)."""
    crs = hours >= outcomes.onset_hours[course]
    moderate = ~np.isnan(grade2_since(outcomes, course, hours))
    severe = hours >= outcomes.severe_hours[course]
    return np.select([severe, moderate, crs], [3, 2, 1], 0).astype(np.int64)


def grade2_since(outcomes: CourseOutcomes, course: Index, hours: Array) -> Array:
    """Hour at which the present stretch of grade 2 or above began; nan outside of one. Shapes (n,)."""
    stretches = outcomes.moderate
    of, begin, end = (stretches[name].to_numpy() for name in ("course", "start", "end"))
    if not len(of):
        return np.full(len(course), np.nan)
    place = np.searchsorted(_key(of, begin), _key(course, hours), side="right") - 1
    safe = np.maximum(place, 0)
    inside = (place >= 0) & (of[safe] == course) & (hours < end[safe])
    return np.where(inside, begin[safe], np.nan)


def changes(outcomes: CourseOutcomes, course: Index) -> list[tuple[Index, Array]]:
    """Hours at which the state of windows of these courses changes: (window, hour) of onsets and stretches.

    course: of each window, shape (n_windows,).
    """
    windows = np.arange(len(course))
    moderate = outcomes.moderate
    pairs = pd.DataFrame({"window": windows, "course": course}).merge(moderate, on="course")
    of = pairs["window"].to_numpy(dtype=np.int64)
    return [
        (windows, outcomes.onset_hours[course]),
        (windows, outcomes.severe_hours[course]),
        (of, pairs["start"].to_numpy(dtype=np.float64)),
        (of, pairs["end"].to_numpy(dtype=np.float64)),
    ]


def split(start: Array, stop: Array, points: Sequence[tuple[Index, Array]]) -> Spans:
    """Windows cut at points.

    Args:
        start: of each window, shape (n_windows,).
        stop: of each window; one that stops where it starts has no span.
        points: pairs of window numbers and hours; those outside their window and nan are left out.
    """
    windows = np.arange(len(start))
    every = [(windows, start), *points]
    window = np.concatenate([np.asarray(of, dtype=np.int64) for of, _ in every])
    hour = np.concatenate([at for _, at in every])
    inside = (hour >= start[window]) & (hour < stop[window])
    window, hour = window[inside], hour[inside]
    order = np.lexsort((hour, window))
    window, hour = window[order], hour[order]
    new = np.ones(len(hour), dtype=bool)
    new[1:] = (window[1:] != window[:-1]) | (hour[1:] > hour[:-1])
    window, hour = window[new], hour[new]
    until = stop[window]
    same = np.flatnonzero(window[1:] == window[:-1])
    until[same] = hour[same + 1]
    return Spans(window, hour, until)


def _key(course: Index, hours: Array) -> Array:
    """One number that sorts by course and hour."""
    return np.asarray(course * (2.0 * _FAR) + np.clip(hours, -_FAR, _FAR), dtype=np.float64)
