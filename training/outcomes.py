"""What happened in each course: severe CRS and when, what is only possibly severe, how long it was followed.

Sources in this order: adjudicated peaks (`outcomes`), the cohort's own grades (`grades`), ASTCT grades
derived from events. Only ASTCT counts: grades of another system can't be converted (Pennisi 2020: the same
grade in 25 %).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from crsrisk.errors import NotEnoughDataError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
SEVERE_GRADE = 3.0
MODERATE_GRADE = 2.0
SYSTEM = "ASTCT"
OBSERVED_AFTER_LAST_EVENT_HOURS = (
    24.0  # our convention: a ward measures daily, so silence of a day is follow-up
)
SIGNS = (
    "temperature",
    "sbp",
    "map",
    "resp_support",
    "o2_flow",
    "norepinephrine_rate",
    "epinephrine_rate",
    "phenylephrine_rate",
    "dopamine_rate",
    "vasopressin_rate",
)


@dataclass(frozen=True)
class CourseOutcomes:
    """One entry per course, in the order of `cohort.courses`; hours from the course's index time.

    source: 'outcomes', 'grades', 'derived' or '' when nothing tells.
    severe: severe CRS happened. severe_hours: when it was first certain, nan when never or not timed.
    settled: the label of the whole window is known (adjudicated), whatever the follow-up.
    onset_hours: first sign of CRS, nan when none or unknown. had_crs: CRS of any grade happened.
    follow_up_hours: end of follow-up, also by death from another cause. other_death: that death happened.
    maybe: course (row number), start, end of stretches in which grade >= 3 rests on review, not_gradable or
    a range. moderate: course, start, end of stretches of grade 2 or above, sorted; moderate_peak: an adjudicated
    peak of grade 2 or above whose time is not known. peak_only: severe courses of adjudicated peaks carry no time;
    just the rest of the window can be labelled. other_systems: rows of `outcomes` and `grades` graded by another
    system, not used.
    """

    course_ids: NDArray[np.object_]
    source: NDArray[np.object_]
    severe: Mask
    severe_hours: Array
    settled: Mask
    onset_hours: Array
    had_crs: Mask
    follow_up_hours: Array
    other_death: Mask
    maybe: pd.DataFrame
    moderate: pd.DataFrame
    moderate_peak: Mask
    peak_only: bool
    other_systems: dict[str, int]


@dataclass(frozen=True)
class _Graded:
    """Certain and possible severity of each course from grades over time."""

    present: Mask
    severe_hours: Array
    onset_hours: Array
    maybe: pd.DataFrame
    moderate: pd.DataFrame


def course_outcomes(cohort: Cohort) -> CourseOutcomes:
    """The outcome of every course, from the best source that it has.

    Raises:
        NotEnoughDataError: no course has an ASTCT label from any source.
    """
    courses = cohort.courses
    n = len(courses)
    other: dict[str, int] = {}
    graded = _from_grades(cohort, other)
    graded_source = np.where(graded.present, "grades", "").astype(object)
    if not graded.present.all():
        derived = _derived(cohort)
        fill = derived.present & ~graded.present
        graded_source[fill] = "derived"
        graded = _merged(graded, derived, fill)
    last_seen, other_death = _follow_up(cohort)
    peak, onset, timed = _from_outcomes(cohort, other)
    settled = ~np.isnan(peak)
    severe = np.where(settled, peak >= SEVERE_GRADE, ~np.isnan(graded.severe_hours))
    severe_hours = np.where(settled & ~np.isnan(timed), timed, graded.severe_hours)
    severe_hours = np.where(severe, severe_hours, np.nan)
    source = np.where(settled, "outcomes", graded_source).astype(object)
    if n and not (source != "").any():
        found = ", ".join(f"{system} ({rows} rows)" for system, rows in sorted(other.items())) or "no grades"
        raise NotEnoughDataError(
            f"no course has an ASTCT grade: found {found} and no vital signs to derive it from; give grades or "
            "outcomes with system ASTCT, or events such as temperature, sbp, resp_support and pressor rates"
        )
    settled_severe = settled & severe
    return CourseOutcomes(
        course_ids=courses["course_id"].to_numpy(dtype=object),
        source=source,
        severe=severe & (source != ""),
        severe_hours=severe_hours,
        settled=settled,
        onset_hours=np.where(np.isnan(onset), graded.onset_hours, onset),
        had_crs=np.where(settled, peak >= 1, ~np.isnan(graded.onset_hours)),
        follow_up_hours=last_seen,
        other_death=other_death & ~severe,
        maybe=graded.maybe[~settled[graded.maybe["course"].to_numpy()]].reset_index(drop=True),
        moderate=graded.moderate.sort_values(["course", "start"], ignore_index=True),
        moderate_peak=settled & (peak >= MODERATE_GRADE) & ~graded.present,
        peak_only=bool(settled_severe.any() and np.isnan(severe_hours[settled_severe]).all()),
        other_systems=other,
    )


def _from_outcomes(cohort: Cohort, other: dict[str, int]) -> tuple[Array, Array, Array]:
    """Adjudicated ASTCT peak, hours of onset and of grade 3 per course; nan where absent."""
    n = len(cohort.courses)
    peak, onset, timed = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    table = cohort.outcomes
    if table is None or table.empty:
        return peak, onset, timed
    table = _astct(table, other)
    at = cohort.position_of(table["course_id"])
    peak[at] = table["peak_grade"].to_numpy(dtype=np.float64)
    for name, into in (("onset_hours", onset), ("severe_hours", timed)):
        if name in table.columns:
            into[at] = table[name].to_numpy(dtype=np.float64)
    return peak, onset, timed


def _astct(table: pd.DataFrame, other: dict[str, int]) -> pd.DataFrame:
    """Rows of the ASTCT system; the others are counted in `other`."""
    system = table["system"].astype("str").str.strip()
    foreign = system.str.casefold() != SYSTEM.casefold()
    for name, rows in system[foreign].value_counts().items():
        other[str(name)] = other.get(str(name), 0) + int(rows)
    return table[~foreign]


def _from_grades(cohort: Cohort, other: dict[str, int]) -> _Graded:
    """Severity from the cohort's own grades over time."""
    n = len(cohort.courses)
    if cohort.grades is None or cohort.grades.empty:
        return _graded(n, np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(4)))
    table = _astct(cohort.grades, other)
    table = table[table["grade"].notna()].sort_values(["course_id", "hours"], kind="stable")
    course = cohort.position_of(table["course_id"])
    grade = table["grade"].to_numpy(dtype=np.float64)
    return _graded(n, course, table["hours"].to_numpy(dtype=np.float64), grade, grade, grade)


def _derived(cohort: Cohort) -> _Graded:
    """Severity by the ASTCT rules from events; a course without a sign after its index time tells nothing."""
    from crsrisk.grade_timeline import grade_events

    n = len(cohort.courses)
    timeline = cohort.timeline()
    signs = timeline["variable"].isin(SIGNS) & (timeline["hours"] > 0)
    observed = np.zeros(n, dtype=bool)
    observed[np.unique(cohort.position_of(timeline.loc[signs, "course_id"]))] = True
    if not observed.any():
        return _graded(n, np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(4)))
    states = grade_events(timeline, cohort.courses, cohort.therapies)
    course = cohort.position_of(states["course_id"])
    low, high = states["low"].to_numpy(dtype=np.float64), states["high"].to_numpy(dtype=np.float64)
    sure = (states["state"] == "graded").to_numpy()
    found = _graded(
        n,
        course,
        states["hours"].to_numpy(dtype=np.float64),
        np.where(sure, low, 0.0),
        np.where(np.isnan(high), 0.0, high),
        np.where(sure, high, 0.0),
    )
    return replace(found, present=observed)


def _graded(
    n: int, course: NDArray[np.int64], hours: Array, low: Array, high: Array, any_grade: Array
) -> _Graded:
    """First certain severity, onset and possible stretches from states that hold until the next row.

    low, high: bounds of the grade of each state; any_grade: the grade that counts as CRS. Rows are sorted
    by course and hours. A state that ended before the index time does not count; one still in force counts
    from 0.
    """
    last = np.ones(len(course), dtype=bool)
    last[:-1] = course[1:] != course[:-1]
    end = np.where(last, np.inf, np.append(hours[1:], np.inf)) if len(course) else hours
    start = np.maximum(hours, 0.0)
    counts = end > 0
    present = np.zeros(n, dtype=bool)
    present[course] = True
    possible = counts & (high >= SEVERE_GRADE) & (low < SEVERE_GRADE)
    moderate = counts & (low >= MODERATE_GRADE)
    return _Graded(
        present=present,
        severe_hours=_first(n, course, start, counts & (low >= SEVERE_GRADE)),
        onset_hours=_first(n, course, start, counts & (any_grade >= 1)),
        maybe=_stretches(course, start, end, possible),
        moderate=_stretches(course, start, end, moderate),
    )


def _stretches(course: NDArray[np.int64], start: Array, end: Array, where: Mask) -> pd.DataFrame:
    return pd.DataFrame({"course": course[where], "start": start[where], "end": end[where]})


def _first(n: int, course: NDArray[np.int64], start: Array, where: Mask) -> Array:
    """Earliest start per course among the rows marked, nan without any."""
    earliest = np.full(n, np.inf)
    np.minimum.at(earliest, course[where], start[where])
    return np.where(np.isinf(earliest), np.nan, earliest)


def _merged(graded: _Graded, derived: _Graded, fill: Mask) -> _Graded:
    """`graded`, with the courses marked in `fill` taken from `derived`."""
    kept = derived.maybe[fill[derived.maybe["course"].to_numpy()]]
    moderate = derived.moderate[fill[derived.moderate["course"].to_numpy()]]
    return _Graded(
        present=graded.present | fill,
        severe_hours=np.where(fill, derived.severe_hours, graded.severe_hours),
        onset_hours=np.where(fill, derived.onset_hours, graded.onset_hours),
        maybe=pd.concat([graded.maybe, kept], ignore_index=True),
        moderate=pd.concat([graded.moderate, moderate], ignore_index=True),
    )


def _follow_up(cohort: Cohort) -> tuple[Array, Mask]:
    """End of follow-up in hours and whether it ended by death from another cause, per course."""
    n = len(cohort.courses)
    end = cohort.courses["follow_up_hours"].to_numpy(dtype=np.float64).copy()
    seen = np.full(n, -np.inf)
    for table in (cohort.events, cohort.grades):
        if table is not None and len(table):
            np.maximum.at(
                seen, cohort.position_of(table["course_id"]), table["hours"].to_numpy(dtype=np.float64)
            )
    end = np.where(np.isnan(end), seen + OBSERVED_AFTER_LAST_EVENT_HOURS, end)
    events = cohort.events
    died = events[(events["variable"] == "death") & (events["value"] > 0)]
    death = np.full(n, np.inf)
    np.minimum.at(death, cohort.position_of(died["course_id"]), died["hours"].to_numpy(dtype=np.float64))
    by_crs = np.zeros(n, dtype=bool)
    crs = events[(events["variable"] == "death_crs") & (events["value"] > 0)]
    by_crs[cohort.position_of(crs["course_id"])] = True
    return np.minimum(end, death), np.isfinite(death) & ~by_crs
