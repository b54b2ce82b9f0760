"""CRS grades over time from raw events: what was measured and given, never what was written as a grade.

The grade at a moment depends on events up to that moment only. Conventions that ASTCT leaves open (how long a
reading is believed, when a treated fever lapses, what counts as premedication) are constants in
`crsrisk.grade_states` and `crsrisk.grade_moments`; docs/decisions/0021 gives the reasons.

Source: lee_2019_astct; rules in `crsrisk.grading`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from crsrisk.errors import CrsRiskError, UnknownTherapyError
from crsrisk.grade_moments import (
    PREMEDICATED,
    Moments,
    after_death,
    signs,
    with_fever,
)
from crsrisk.grade_states import (
    DOSE,
    PRESSORS,
    SIGNS,
    VASOPRESSIN,
    Bools,
    Floats,
    Ints,
    make_ticks,
    newest_row,
    select_events,
    starts_new,
)
from crsrisk.grading import Graded, astct
from crsrisk.grading_systems import ctcae_v5, lee_2014

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from crsrisk.therapies import Therapy

System = Literal["ASTCT", "Lee2014", "CTCAEv5"]
GRID_SLACK: Final = 1e-6  # hours; 3 x 0.1 h is the same moment as 0.3 h
COLUMNS: Final = ("course_id", "hours", "grade", "state", "low", "high", "rule", "system")


def grade_events(
    timeline: pd.DataFrame,
    courses: pd.DataFrame,
    therapies: Mapping[str, "Therapy"] | None = None,
    *,
    known: bool = False,
    grid_hours: float | None = None,
    systems: Sequence[System] = ("ASTCT",),
) -> pd.DataFrame:
    """Grades of all courses; a row holds until the next row of its course.

    Args:
        timeline: course_id, hours, variable, value (canonical units), and available_hours when `known`.
        courses: course_id, therapy; age in years where known.
        therapies: further therapies by key (a cohort's therapies.toml); the catalogue is always there.
        known: count an event from when it was known, max(hours, available_hours), not from when it happened.
        grid_hours: a row every so many hours (0, 1, 2, ... for 1) instead of on every change.
        systems: ASTCT, Lee2014 and CTCAEv5; one block of rows after the other.

    Returns:
        course_id, hours (strictly increasing per course and system), grade (nan unless certain), state
        (none|graded|review|not_gradable), low, high, rule (a key of `crsrisk.grading.RULES`), system. The
        first row of a course stands at its first sign that can be graded, never before hour 0. A course
        without one has no rows (`gradable` says why).

    Raises:
        ValueError: a grid of 0 hours or less, or an unknown system.
    """
    steps = grade_steps(timeline, courses, therapies, known=known, grid_hours=grid_hours, systems=systems)
    ids = pd.Index(courses["course_id"])
    blocks = [_rows(ids, steps[name], name) for name in systems]
    return pd.concat(blocks, ignore_index=True) if len(blocks) > 1 else blocks[0]


@dataclass(frozen=True)
class Steps:
    """Grades as arrays, one element per row of `grade_events`; `course` is a position in the courses."""

    course: Ints
    hours: Floats
    graded: Graded

    def take(self, rows: Ints) -> "Steps":
        """These rows."""
        found = self.graded
        graded = Graded(found.low[rows], found.high[rows], found.rule_code[rows], found.state_code[rows])
        return Steps(self.course[rows], self.hours[rows], graded)


def grade_steps(
    timeline: pd.DataFrame,
    courses: pd.DataFrame,
    therapies: Mapping[str, "Therapy"] | None = None,
    *,
    known: bool = False,
    grid_hours: float | None = None,
    systems: Sequence[System] = ("ASTCT",),
) -> dict[System, Steps]:
    """The grades of `grade_events` by system as arrays, for callers that build no table of them.

    Arguments and errors as in `grade_events`.
    """
    if grid_hours is not None and not grid_hours > 0:
        raise ValueError(
            f"grid_hours {grid_hours!r}; a number of hours above 0, or None for a row on every change"
        )
    unknown = [name for name in systems if name not in _SYSTEMS]
    if unknown:
        raise ValueError(f"system {unknown}; known systems: {list(_SYSTEMS)}")
    ids = pd.Index(courses["course_id"])
    engager = _engager_courses(courses, therapies)
    events = select_events(timeline, ids, engager, known=known)
    opening, last = _reach(events.course, events.known, events.of(SIGNS), len(ids))
    seen = np.flatnonzero(np.isfinite(opening))
    doses = events.of([DOSE])
    doses = doses[engager[events.course[doses]]]
    extra = [(seen, opening[seen]), (events.course[doses], events.hours[doses] + PREMEDICATED)]
    ticks = make_ticks(events, extra)
    age = courses["age"].to_numpy(dtype=np.float64) if "age" in courses.columns else np.full(len(ids), np.nan)
    moments = with_fever(signs(ticks, age, engager))
    moments = moments.where((moments.time >= opening[moments.course]) & ~after_death(moments))
    steps = {name: _steps(moments, name) for name in systems}
    if grid_hours is None:
        return steps
    return {name: _on_grid(changes, opening, last, grid_hours) for name, changes in steps.items()}


def grade_cohort(cohort: "Cohort", *, systems: Sequence[System] = ("ASTCT",)) -> pd.DataFrame:
    """Grades on change of a cohort, from its raw events.

    Raises:
        CrsRiskError: nothing in the cohort can be graded; says what is needed.
    """
    timeline = cohort.timeline()
    answer = gradable(timeline)
    if not answer.ok:
        raise CrsRiskError(answer.reason)
    return grade_events(timeline, cohort.courses, cohort.therapies, systems=systems)


@dataclass(frozen=True)
class Gradability:
    """Whether events carry what grading needs; `reason` is a sentence in either case."""

    ok: bool
    reason: str
    present: tuple[str, ...]


def gradable(timeline: pd.DataFrame) -> Gradability:
    """Whether any course of the timeline can be graded, and what is missing.

    ASTCT starts from a fever: without temperatures nothing but a death due to CRS can be graded. With
    temperatures alone the grade can't rise above 1, which the reason says.
    """
    variables = set(timeline["variable"].unique())
    present = tuple(name for name in (*SIGNS, "death_crs") if name in variables)
    pressure = {"sbp", "map", "fluid_bolus", *PRESSORS, VASOPRESSIN} & variables
    oxygen = {"resp_support", "o2_flow"} & variables
    missing = [
        text
        for text, absent in (
            ("temperature", "temperature" not in variables),
            (
                "blood pressure or vasopressors (sbp, map, fluid_bolus, norepinephrine_rate, ...)",
                not pressure,
            ),
            ("oxygen (resp_support, o2_flow)", not oxygen),
        )
        if absent
    ]
    ok = "temperature" in variables or {"death", "death_crs"} <= variables
    if not missing:
        return Gradability(True, "temperature, pressure and oxygen are recorded", present)
    needed = "; ".join(missing)
    if ok:
        return Gradability(True, f"grades may be too low: the events hold no {needed}", present)
    reason = (
        f"no grade can be derived: the events hold no {needed}. ASTCT grades need dated temperatures, "
        "blood pressures or vasopressors, and oxygen support; add them to events, or put known grades into "
        "the table grades or outcomes"
    )
    return Gradability(False, reason, present)


def peak(grades: pd.DataFrame, start: float, end: float) -> pd.DataFrame:
    """Highest grade per course over (start, end], the grade in force at the start included.

    Args:
        grades: rows of one system; course_id, hours, grade, and where known state, low, high.
        start: hours, excluded; what holds at the start reaches into the period.
        end: hours, included.

    Returns:
        Indexed by course_id: grade (nan where the bounds differ), low (certain at least), high (at most) and
        in_doubt, True when the highest possible grade rests on a range, a review or a not gradable state.
    """
    table = grades.sort_values(["course_id", "hours"], kind="stable")
    until = table.groupby("course_id", sort=False)["hours"].shift(-1).fillna(np.inf)
    table = table[(table["hours"] <= end) & (until > start)]
    low = (
        table["low"].where(table["state"].isin(["none", "graded"]), 0.0) if "low" in table else table["grade"]
    )
    high = table["high"] if "high" in table else table["grade"]
    found = pd.DataFrame({"course_id": table["course_id"], "low": low, "high": high})
    found = found.groupby("course_id", sort=True)[["low", "high"]].max()
    found["in_doubt"] = found["high"] > found["low"]
    found.insert(0, "grade", found["low"].where(~found["in_doubt"]))
    return found


def _astct(moments: Moments) -> Graded:
    return astct(
        moments.fever_counts,
        moments.hypotension,
        moments.pressors,
        moments.vasopressin,
        moments.oxygen_low,
        moments.oxygen_high,
        death_crs=moments.dead_of_crs,
        premedicated_engager=moments.premedicated,
        child_pressure=moments.child_pressure,
        fever_now=moments.fever,
    )


def _by_fraction(
    rule: Callable[..., Graded],
) -> Callable[[Moments], Graded]:
    def graded(moments: Moments) -> Graded:
        return rule(
            moments.fever_counts,
            moments.hypotension,
            moments.pressors,
            moments.vasopressin,
            oxygen=moments.oxygen_high > 0,
            fio2=moments.oxygen_percent,
            positive_pressure=(moments.ventilation >= 3) & (moments.oxygen_high > 0),
            ventilator=(moments.ventilation >= 4) & (moments.oxygen_high > 0),
            death_crs=moments.dead_of_crs,
            child_pressure=moments.child_pressure,
        )

    return graded


_SYSTEMS: Final[Mapping[str, Callable[[Moments], Graded]]] = {
    "ASTCT": _astct,
    "Lee2014": _by_fraction(lee_2014),
    "CTCAEv5": _by_fraction(ctcae_v5),
}


def _steps(moments: Moments, system: System) -> Steps:
    """The grades of one system, only the moments that change something."""
    graded = _SYSTEMS[system](moments)
    keep = starts_new(moments.course, graded.low, graded.high, graded.rule_code, graded.state_code)
    return Steps(moments.course, moments.time, graded).take(np.flatnonzero(keep))


def _reach(course: Ints, known: Floats, signs: Ints, courses: int) -> tuple[Floats, Floats]:
    """Hour of the first and last sign of each course, not before 0; inf and 0 where there is none."""
    first, last = np.full(courses, np.inf), np.zeros(courses)
    np.minimum.at(first, course[signs], known[signs])
    np.maximum.at(last, course[signs], known[signs])
    return np.maximum(first, 0.0), last


def _on_grid(steps: Steps, opening: Floats, last: Floats, step: float) -> Steps:
    """The grades in force on a regular grid, from the opening to the last sign or change of each course."""
    if steps.hours.size == 0:
        return steps
    final = np.flatnonzero(np.r_[steps.course[1:] != steps.course[:-1], True])
    course = steps.course[final]
    end = np.maximum(last[course], steps.hours[final])
    first_step = np.ceil((opening[course] - GRID_SLACK) / step).astype(np.int64)
    count = np.maximum(np.ceil((end - GRID_SLACK) / step).astype(np.int64) - first_step + 1, 1)
    grid_course = np.repeat(course, count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    grid_time = (number + np.repeat(first_step, count)) * step
    row = newest_row(steps.course, steps.hours, grid_course, grid_time + GRID_SLACK)
    return Steps(grid_course, grid_time, steps.take(row).graded)


def _rows(ids: pd.Index, steps: Steps, system: System) -> pd.DataFrame:
    """The output table of one system."""
    table = {
        "course_id": ids.take(steps.course),
        "hours": steps.hours,
        "grade": steps.graded.grade,
        "state": steps.graded.state,
        "low": steps.graded.low,
        "high": steps.graded.high,
        "rule": steps.graded.rule,
        "system": np.full(steps.hours.size, system, dtype=object),
    }
    texts = dict.fromkeys(("state", "rule", "system"), "str")  # the same type in an empty table
    return pd.DataFrame(table, columns=list(COLUMNS)).astype(texts)


def _engager_courses(courses: pd.DataFrame, therapies: Mapping[str, "Therapy"] | None) -> Bools:
    """Per course, whether the therapy is an engager; a therapy nobody knows is none."""
    from crsrisk.therapies import is_engager, therapy

    codes, keys = pd.factorize(courses["therapy"])
    answers = []
    for key in keys:
        try:
            answers.append(is_engager(therapy(str(key), therapies)))
        except UnknownTherapyError:
            answers.append(False)
    return np.array([*answers, False], dtype=np.bool_)[codes]
