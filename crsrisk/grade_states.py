"""Raw events of many courses as states in force at every moment at which something changes.

A moment ("tick") is a course and a time: an event became known, or a state ran out. Between two ticks nothing
changes, so what is computed at a tick holds until the next one. A state at a tick depends on events at or
before it and on nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# How long a reading or an order is believed when nothing newer comes (hours; docs/decisions/0021).
TEMPERATURE_HOLD: Final = 12.0  # wards measure every 4 to 8 h: one missed reading is bridged, not a whole day
PRESSURE_HOLD: Final = 12.0
BOLUS_HOLD: Final = 6.0  # a bolus speaks for the hypotension it was given for, not for the next shift
SUPPORT_HOLD: Final = 24.0  # pressors by contract; oxygen is charted at least daily too

PRESSORS: Final = ("norepinephrine_rate", "epinephrine_rate", "phenylephrine_rate", "dopamine_rate")
VASOPRESSIN: Final = "vasopressin_rate"
STEROIDS: Final = (
    "dexamethasone_dose",
    "methylprednisolone_dose",
    "hydrocortisone_dose",
    "prednisolone_dose",
    "steroid_pred_eq",
)
TREATMENTS: Final = (
    "acetaminophen_dose",
    "nsaid_dose",
    "tocilizumab_dose",
    "siltuximab_dose",
    "anakinra_dose",
    "etanercept_dose",
    *STEROIDS,
)
DOSE: Final = "bsab_dose"
HOLD_HOURS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "temperature": TEMPERATURE_HOLD,
        "sbp": PRESSURE_HOLD,
        "map": PRESSURE_HOLD,
        "fluid_bolus": BOLUS_HOLD,
        "resp_support": SUPPORT_HOLD,
        "o2_flow": SUPPORT_HOLD,
        "fio2": SUPPORT_HOLD,
        **dict.fromkeys((*PRESSORS, VASOPRESSIN), SUPPORT_HOLD),
    }
)
SIGNS: Final = tuple(name for name in HOLD_HOURS if name != "fio2")
READ: Final = (*HOLD_HOURS, *TREATMENTS, DOSE, "other_cause", "death", "death_crs")
_CODE: Final[Mapping[str, int]] = MappingProxyType({name: code for code, name in enumerate(READ)})
_GIVEN: Final = np.array([_CODE[name] for name in (*TREATMENTS, DOSE, "fluid_bolus")])
_LOWER_IS_WORSE: Final = np.array([_CODE["sbp"], _CODE["map"]])


@dataclass(frozen=True)
class Events:
    """What grading reads, sorted by course, hours and severity; all arrays have one element per event."""

    course: Ints  # position in the courses table
    hours: Floats  # when it happened
    known: Floats  # when it counts from; equals hours unless asked for what was known
    variable: Ints  # position in READ
    value: Floats

    def of(self, names: Iterable[str]) -> Ints:
        """Positions of the events of these variables, in order."""
        codes = [_CODE[name] for name in names]
        found = self.variable == codes[0] if len(codes) == 1 else np.isin(self.variable, codes)
        return np.flatnonzero(found)


def select_events(timeline: "pd.DataFrame", course_ids: "pd.Index", engager: Bools, *, known: bool) -> Events:
    """The events that grading reads. An engager's first dose at hour 0 is added where it is not recorded.

    Args:
        timeline: course_id, hours, available_hours (only with `known`), variable, value.
        course_ids: unique ids; events of other courses are left out.
        engager: per course, whether the therapy is an engager.
        known: count an event from max(hours, available_hours) instead of from hours.
    """
    import pandas as pd

    codes, names = pd.factorize(timeline["variable"])
    code_of = np.array([_CODE.get(str(name), -1) for name in names] or [-1], dtype=np.int64)
    variable = code_of[codes]
    rows = np.flatnonzero(variable >= 0)
    codes, names = pd.factorize(timeline["course_id"])
    course = np.r_[course_ids.get_indexer(pd.Index(names)), -1][codes[rows]]
    variable = variable[rows]
    hours = timeline["hours"].to_numpy(dtype=np.float64)[rows]
    value = timeline["value"].to_numpy(dtype=np.float64)[rows]
    available = hours
    if known and "available_hours" in timeline.columns:
        available = np.fmax(hours, timeline["available_hours"].to_numpy(dtype=np.float64)[rows])
    usable = (course >= 0) & ~np.isnan(hours) & ~np.isnan(value)
    usable &= ~(np.isin(variable, _GIVEN) & (value <= 0))  # a dose of 0 was not given
    first = np.flatnonzero(engager)
    course = np.concatenate([course[usable], first]).astype(np.int64)
    hours = np.concatenate([hours[usable], np.zeros(first.size)])
    available = np.concatenate([available[usable], np.zeros(first.size)])
    variable = np.concatenate([variable[usable], np.full(first.size, _CODE[DOSE])])
    value = np.concatenate([value[usable], np.ones(first.size)])
    # of two readings at the same time the worse one comes last and counts, whatever their order in the file
    severity = np.where(np.isin(variable, _LOWER_IS_WORSE), -value, value)
    order = np.lexsort((severity, hours, course))
    return Events(course[order], hours[order], available[order], variable[order], value[order])


@dataclass(frozen=True)
class Ticks:
    """Moments sorted by course and time, and for every event the tick from which it counts."""

    course: Ints
    time: Floats
    tick_of_event: Ints
    first_event: Ints  # per tick: position of the first event of its course
    events: Events

    def last(self, *names: str) -> Ints:
        """Position of the newest event of these variables known at each tick, -1 when there is none."""
        found = np.full(self.time.size, -1, dtype=np.int64)
        events = self.events.of(names)
        if events.size == 0:
            return found
        found[self.tick_of_event[events]] = events  # ascending: the newest of one tick stays
        np.maximum.accumulate(found, out=found)
        found[found < self.first_event] = -1  # carried over from the course before
        return found

    def value(self, position: Ints) -> Floats:
        """Value of the events at these positions, nan for -1."""
        return _take(self.events.value, position)

    def hours(self, position: Ints) -> Floats:
        """Hours of the events at these positions, nan for -1."""
        return _take(self.events.hours, position)

    def in_force(self, name: str) -> tuple[Floats, Floats]:
        """Value and hours of the newest reading that is still believed, nan otherwise."""
        position = self.last(name)
        hours = self.hours(position)
        holds = self.time < hours + HOLD_HOURS[name]
        return np.where(holds, self.value(position), np.nan), np.where(holds, hours, np.nan)


def _take(values: Floats, position: Ints) -> Floats:
    if values.size == 0 or position.max(initial=-1) < 0:
        return np.full(position.shape, np.nan)
    return np.where(position >= 0, values[position], np.nan)


def make_ticks(events: Events, extra: Iterable[tuple[Ints, Floats]]) -> Ticks:
    """All moments at which a state may change: events, ends of states, and `extra` (course, time) pairs."""
    ends = [_expiries(events, name, hold) for name, hold in HOLD_HOURS.items()]
    others = [*ends, *extra]
    course = np.concatenate([events.course, *(pair[0] for pair in others)])
    time = np.concatenate([events.known, *(pair[1] for pair in others)])
    order = np.lexsort((time, course))
    course, time = course[order], time[order]
    new = starts_new(course, time)
    number = np.empty(order.size, dtype=np.int64)
    number[order] = np.cumsum(new) - 1
    tick_course = course[new]
    return Ticks(
        course=tick_course,
        time=time[new],
        tick_of_event=number[: events.course.size],
        first_event=np.searchsorted(events.course, tick_course),
        events=events,
    )


def starts_new(*keys: NDArray[Any]) -> Bools:
    """True at the first row and wherever one of the sorted keys differs from the row before."""
    new = np.ones(keys[0].size, dtype=np.bool_)
    if new.size:
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return new


def _expiries(events: Events, name: str, hold: float) -> tuple[Ints, Floats]:
    """When the readings of one variable run out, unless the next one comes before."""
    position = events.of([name])
    course, end = events.course[position], events.hours[position] + hold
    replaced = np.zeros(position.size, dtype=np.bool_)
    replaced[:-1] = (course[1:] == course[:-1]) & (events.known[position][1:] <= end[:-1])
    wanted = ~replaced & (end > events.known[position])
    return course[wanted], end[wanted]


def insert_ticks(course: Ints, time: Floats, new_course: Ints, new_time: Floats) -> tuple[Ints, Floats, Ints]:
    """Course, time and source row with moments added; an added one repeats the states of the tick before it.

    A moment that is there already is not added again.
    """
    all_course = np.concatenate([course, new_course])
    all_time = np.concatenate([time, new_time])
    order = np.lexsort((np.arange(all_time.size), all_time, all_course))  # a real tick before its copy
    all_course, all_time = all_course[order], all_time[order]
    from_row = np.maximum.accumulate(np.where(order < time.size, order, -1))
    keep = starts_new(all_course, all_time)
    return all_course[keep], all_time[keep], from_row[keep]


def newest_row(course: Ints, time: Floats, at_course: Ints, at_time: Floats) -> Ints:
    """Position of the newest row at or before each moment; each moment's course has a row at or before it.

    Both sides are sorted by course and time.
    """
    is_moment = np.repeat([False, True], [time.size, at_time.size])
    order = np.lexsort((is_moment, np.r_[time, at_time], np.r_[course, at_course]))
    row: Ints = np.maximum.accumulate(np.where(is_moment[order], -1, order))
    return row[is_moment[order]]


def last_where(condition: Bools) -> Ints:
    """Position of the latest row at or before each row where the condition holds, -1 when none."""
    found: Ints = np.maximum.accumulate(np.where(condition, np.arange(condition.size), -1))
    return found
