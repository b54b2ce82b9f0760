"""CRS grades over time from raw events: what was measured and given, never what was written as a grade.

The grade at a moment depends on events up to that moment only. Conventions that ASTCT leaves open (how long a
reading is believed, when a treated fever lapses, what counts as premedication) are constants here and in
`crsrisk.grade_states`; docs/decisions/0021 gives the reasons.

Source: lee_2019_astct; rules in `crsrisk.grading`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.errors import CrsRiskError, UnknownTherapyError
from crsrisk.grade_states import (
    DOSE,
    PRESSORS,
    SIGNS,
    STEROIDS,
    TREATMENTS,
    VASOPRESSIN,
    Bools,
    Floats,
    Ints,
    Ticks,
    insert_ticks,
    last_where,
    make_ticks,
    newest_row,
    select_events,
    starts_new,
)
from crsrisk.grading import Graded, astct, fever_counts, oxygen_tier
from crsrisk.grading_systems import ctcae_v5, lee_2014

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from crsrisk.therapies import Therapy

System = Literal["ASTCT", "Lee2014", "CTCAEv5"]
COLUMNS: Final = ("course_id", "hours", "grade", "state", "low", "high", "rule", "system")

ADULT_AGE: Final = 18.0  # years; a course without an age is taken as an adult
ADULT_SBP: Final = 90.0  # mmHg, hypotension below
ADULT_MAP: Final = 65.0
FEVER_LAPSE: Final = (
    72.0  # hours without fever, hypotension and hypoxia after which a treated fever has lapsed
)
PREMEDICATION: Final = 24.0  # a steroid up to this many hours before an engager dose is premedication
GRID_SLACK: Final = 1e-6  # hours; 3 x 0.1 h is the same moment as 0.3 h
PREMEDICATED: Final = (
    168.0  # hours after that dose during which a fever may be masked (the window of the dose)
)


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
        grid_hours: a row every so many hours (0, 1, 2, ... for 1) instead of a row on every change.
        systems: ASTCT, Lee2014 and CTCAEv5; one block of rows after the other.

    Returns:
        course_id, hours (strictly increasing per course and system), grade (nan unless certain), state
        (none|graded|review|not_gradable), low, high, rule (a key of `crsrisk.grading.RULES`), system. The
        first row of a course stands at its first sign that can be graded, never before hour 0. A course
        without one has no rows (`gradable` says why).

    Raises:
        ValueError: a grid of 0 hours or less, or an unknown system.
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
    opening = _opening(events.course, events.known, events.of(SIGNS), len(ids))
    seen = np.flatnonzero(np.isfinite(opening))
    doses = events.of([DOSE])
    doses = doses[engager[events.course[doses]]]
    extra = [(seen, opening[seen]), (events.course[doses], events.hours[doses] + PREMEDICATED)]
    ticks = make_ticks(events, extra)
    age = courses["age"].to_numpy(dtype=np.float64) if "age" in courses.columns else np.full(len(ids), np.nan)
    moments = _with_fever(_signs(ticks, age, engager))
    moments = moments.where((moments.time >= opening[moments.course]) & ~_after_death(moments))
    if grid_hours is not None:
        moments = _on_grid(moments, opening, grid_hours)
    blocks = [_rows(ids, moments, name, on_change=grid_hours is None) for name in systems]
    return pd.concat(blocks, ignore_index=True) if len(blocks) > 1 else blocks[0]


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


def child_sbp_limit(age: NDArray[np.float64]) -> Floats:
    """Systolic pressure (mmHg) below which a child's pressure is low; age in years.

    70 below one year, 70 + 2 x age from 1 to 10 years, 90 above. Newborns are not told apart.

    Source: schweigerer_2019_pediatric_hypotension (the PALS limits).

    >>> child_sbp_limit(np.array([0.5, 5.0, 12.0])).tolist()
    [70.0, 80.0, 90.0]
    """
    return np.where(age < 1, 70.0, np.minimum(70.0 + 2.0 * np.floor(age), 90.0))


@dataclass(frozen=True)
class _Moments:
    """What is true at each tick; all arrays have one element per tick."""

    course: Ints
    time: Floats
    fever: Bools  # a CRS fever is measured
    fever_hours: Floats  # when that reading was taken
    fever_counts: Bools  # ... or a CRS fever was treated since
    hypotension: Bools
    child_pressure: Bools
    pressors: Ints
    vasopressin: Bools
    oxygen_low: Ints
    oxygen_high: Ints
    oxygen_percent: Floats
    ventilation: Floats  # level of resp_support, nan when unknown
    treated_hours: Floats  # newest treatment
    premedicated: Bools
    dead: Bools
    dead_of_crs: Bools

    def take(self, rows: NDArray[Any], **changed: NDArray[Any]) -> "_Moments":
        arrays = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return _Moments(**{**arrays, **changed})

    def where(self, keep: Bools) -> "_Moments":
        return self.take(np.flatnonzero(keep))

    @property
    def active(self) -> Bools:
        """Fever, hypotension or hypoxia that counts as CRS."""
        pressure = self.hypotension | (self.pressors > 0) | self.vasopressin
        return self.fever | pressure | (self.oxygen_high > 0)


def _signs(ticks: Ticks, age: Floats, engager: Bools) -> _Moments:
    """The states at each tick. Only what was recorded after the index time is evidence of CRS."""
    counted = ~(ticks.value(ticks.last("other_cause")) >= 1)
    heat, heat_hours = ticks.in_force("temperature")
    hot = fever_counts(heat) & (heat_hours > 0) & counted
    low_pressure, child_pressure = _pressure(ticks, age[ticks.course])
    running = [_running(ticks, name) & counted for name in PRESSORS]
    oxygen_low, oxygen_high, level = _oxygen(ticks)
    dead = ticks.value(ticks.last("death")) >= 1
    supported = np.logical_or.reduce(running) | (_running(ticks, VASOPRESSIN) & counted)
    return _Moments(
        course=ticks.course,
        time=ticks.time,
        fever=hot,
        fever_hours=np.where(hot, heat_hours, np.nan),
        fever_counts=hot,
        hypotension=low_pressure & counted,
        child_pressure=child_pressure & counted & ~low_pressure & ~supported,
        pressors=np.sum(running, axis=0, dtype=np.int64),
        vasopressin=_running(ticks, VASOPRESSIN) & counted,
        oxygen_low=oxygen_low * counted,
        oxygen_high=oxygen_high * counted,
        oxygen_percent=ticks.in_force("fio2")[0],
        ventilation=level,
        treated_hours=ticks.hours(ticks.last(*TREATMENTS)),
        premedicated=_premedicated(ticks, engager[ticks.course]),
        dead=dead,
        dead_of_crs=dead & (ticks.value(ticks.last("death_crs")) >= 1),
    )


def _pressure(ticks: Ticks, age: Floats) -> tuple[Bools, Bools]:
    """Hypotension, and low pressure of a child; the newer of systolic and mean pressure decides."""
    sbp, sbp_hours = ticks.in_force("sbp")
    mean, mean_hours = ticks.in_force("map")
    bolus, bolus_hours = ticks.in_force("fluid_bolus")
    child = age < ADULT_AGE
    sbp_decides = (sbp_hours > 0) & ~(mean_hours > sbp_hours)
    mean_decides = (mean_hours > 0) & ~(sbp_hours > mean_hours)
    adult_low = ((sbp < ADULT_SBP) & sbp_decides) | ((mean < ADULT_MAP) & mean_decides)
    given = (bolus > 0) & (bolus_hours > 0)
    child_low = (sbp < child_sbp_limit(age)) & (sbp_hours > 0)
    return (adult_low & ~child) | given, child_low & child


def _running(ticks: Ticks, name: str) -> Bools:
    rate, hours = ticks.in_force(name)
    return (rate > 0) & (hours > 0)


def _oxygen(ticks: Ticks) -> tuple[Ints, Ints, Floats]:
    """Lower and upper hypoxia tier, and the support level behind them.

    A flow older than the level belongs to the device before it. A flow of 0 after a cannula or mask ends it.
    """
    level, level_hours = ticks.in_force("resp_support")
    flow, flow_hours = ticks.in_force("o2_flow")
    flow = np.where(level_hours > flow_hours, np.nan, flow)
    ended = (level < 3) & (flow == 0) & (flow_hours > level_hours)
    level = np.where(ended, 0.0, level)
    low, high = oxygen_tier(level, flow)
    after_index = np.fmax(level_hours, flow_hours) > 0
    return low.astype(np.int64) * after_index, high.astype(np.int64) * after_index, level


def _premedicated(ticks: Ticks, engager: Bools) -> Bools:
    """Whether the newest engager dose was given under a steroid that was known when the dose was."""
    dose, steroid = ticks.last(DOSE), ticks.last(*STEROIDS)
    if ticks.events.hours.size == 0:
        return np.zeros(engager.size, dtype=np.bool_)
    dose_hours = ticks.hours(dose)
    before = ticks.hours(steroid[ticks.tick_of_event[dose]])
    under = (before >= dose_hours - PREMEDICATION) & (before <= dose_hours)
    return engager & (dose >= 0) & under & (ticks.time < dose_hours + PREMEDICATED)


def _with_fever(moments: _Moments) -> _Moments:
    """The moments with the treated-fever rule applied, and a moment added wherever a treated fever lapses.

    An episode goes on while less than `FEVER_LAPSE` hours pass without fever, hypotension and hypoxia. Within
    it, a treatment at or after its first fever makes the fever criterion hold from then on.
    """
    course, time, active = moments.course, moments.time, moments.active
    if not active.any():
        return moments
    stops = np.flatnonzero(~active[1:] & active[:-1] & (course[1:] == course[:-1])) + 1
    row_course, row_time, source = insert_ticks(course, time, course[stops], time[stops] + FEVER_LAPSE)
    moments = moments.take(source, course=row_course, time=row_time)
    course, time, active = moments.course, moments.time, moments.active
    rows = np.arange(time.size)
    first_row = last_where(starts_new(course))
    before = np.r_[-1, last_where(active)[:-1]]  # latest active row strictly before
    before[before < first_row] = -1
    stopped = time[np.minimum(before + 1, rows)]  # where that activity ended
    quiet = np.where(before >= 0, time - stopped, np.inf)
    begins = active & (quiet >= FEVER_LAPSE)
    episode = last_where(begins)
    in_episode = (episode >= first_row) & (active | (quiet < FEVER_LAPSE))
    fever_before = np.r_[-1, last_where(moments.fever)[:-1]]
    first_fever = last_where(moments.fever & (fever_before < episode))
    had_fever = in_episode & (first_fever >= episode)
    first_fever_hours = np.where(had_fever, moments.fever_hours[first_fever], np.inf)
    treated = had_fever & (moments.treated_hours >= first_fever_hours)
    return moments.take(rows, fever_counts=moments.fever | treated)


def _after_death(moments: _Moments) -> Bools:
    """Rows after a death, except where it becomes known that CRS was the cause."""
    same = ~starts_new(moments.course)
    was_dead = np.r_[False, moments.dead[:-1]] & same
    was_crs = np.r_[False, moments.dead_of_crs[:-1]] & same
    return was_dead & ~(moments.dead_of_crs & ~was_crs)


def _opening(course: Ints, known: Floats, signs: Ints, courses: int) -> Floats:
    """Hour of the first sign of each course, not before 0; inf where there is none."""
    opening = np.full(courses, np.inf)
    np.minimum.at(opening, course[signs], known[signs])
    return np.maximum(opening, 0.0)


def _on_grid(moments: _Moments, opening: Floats, step: float) -> _Moments:
    """The moments of a regular grid from the opening to the last change of each course."""
    if moments.time.size == 0:
        return moments
    last = np.flatnonzero(np.r_[moments.course[1:] != moments.course[:-1], True])
    course = moments.course[last]
    first_step = np.ceil((opening[course] - GRID_SLACK) / step).astype(np.int64)
    steps = np.maximum(np.ceil((moments.time[last] - GRID_SLACK) / step).astype(np.int64) - first_step + 1, 1)
    grid_course = np.repeat(course, steps)
    number = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    grid_time = (number + np.repeat(first_step, steps)) * step
    source = newest_row(moments.course, moments.time, grid_course, grid_time + GRID_SLACK)
    return moments.take(source, course=grid_course, time=grid_time)


def _astct(moments: _Moments) -> Graded:
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
) -> Callable[[_Moments], Graded]:
    def graded(moments: _Moments) -> Graded:
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


_SYSTEMS: Final[Mapping[str, Callable[[_Moments], Graded]]] = {
    "ASTCT": _astct,
    "Lee2014": _by_fraction(lee_2014),
    "CTCAEv5": _by_fraction(ctcae_v5),
}


def _rows(ids: pd.Index, moments: _Moments, system: System, *, on_change: bool) -> pd.DataFrame:
    """The output table of one system, only the rows that change something unless on a grid."""
    graded = _SYSTEMS[system](moments)
    keep = np.ones(moments.time.size, dtype=np.bool_)
    if on_change:
        keep = starts_new(moments.course, graded.low, graded.high, graded.rule_code, graded.state_code)
    rows = np.flatnonzero(keep)
    table = {
        "course_id": ids.take(moments.course[rows]),
        "hours": moments.time[rows],
        "grade": graded.grade[rows],
        "state": graded.state[rows],
        "low": graded.low[rows],
        "high": graded.high[rows],
        "rule": graded.rule[rows],
        "system": np.full(rows.size, system, dtype=object),
    }
    return pd.DataFrame(table, columns=list(COLUMNS))


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
