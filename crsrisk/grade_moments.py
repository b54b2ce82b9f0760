"""What is true of a patient at every moment: signs that count as CRS, the fever criterion, death.

Conventions that ASTCT leaves open (when a treated fever lapses, what premedication is, which pressure is low)
are constants here; docs/decisions/0021 gives the reasons.

Source: lee_2019_astct.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crsrisk.grade_states import (
    DOSE,
    PRESSORS,
    STEROIDS,
    TREATMENTS,
    VASOPRESSIN,
    Bools,
    Floats,
    Ints,
    Ticks,
    insert_ticks,
    last_where,
    starts_new,
)
from crsrisk.grading import fever_counts, oxygen_tier

ADULT_AGE: Final = 18.0  # years; a course without an age is taken as an adult
ADULT_SBP: Final = 90.0  # mmHg, hypotension below
ADULT_MAP: Final = 65.0
FEVER_LAPSE: Final = 72.0  # a treated fever lapses after so many hours without fever, hypotension and hypoxia
PREMEDICATION: Final = 24.0  # a steroid up to this many hours before an engager dose is premedication
PREMEDICATED: Final = 168.0  # hours after that dose during which a fever may be masked: the dose's window


def child_sbp_limit(age: NDArray[np.float64]) -> Floats:
    """Systolic pressure (mmHg) below which a child's pressure is low; age in years.

    70 below one year, 70 + 2 x age from 1 to 10 years, 90 above. Newborns are not told apart.

    Source: pediatric_hypotension_2019 (the PALS limits).

    >>> child_sbp_limit(np.array([0.5, 5.0, 12.0])).tolist()
    [70.0, 80.0, 90.0]
    """
    return np.where(age < 1, 70.0, np.minimum(70.0 + 2.0 * np.floor(age), 90.0))


@dataclass(frozen=True)
class Moments:
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

    def take(self, rows: NDArray[Any], **changed: NDArray[Any]) -> "Moments":
        """These rows, with some of the arrays replaced."""
        arrays = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return Moments(**{**arrays, **changed})

    def where(self, keep: Bools) -> "Moments":
        """The rows to keep."""
        return self.take(np.flatnonzero(keep))

    @property
    def active(self) -> Bools:
        """Fever, hypotension or hypoxia that counts as CRS."""
        pressure = self.hypotension | (self.pressors > 0) | self.vasopressin
        return self.fever | pressure | (self.oxygen_high > 0)


def signs(ticks: Ticks, age: Floats, engager: Bools) -> Moments:
    """The states at each tick. Only what was recorded after the index time is evidence of CRS."""
    counted = ~(ticks.value(ticks.last("other_cause")) >= 1)
    heat, heat_hours = ticks.in_force("temperature")
    hot = fever_counts(heat) & (heat_hours > 0) & counted
    low_pressure, child_pressure = _pressure(ticks, age[ticks.course])
    running = [_running(ticks, name) & counted for name in PRESSORS]
    oxygen_low, oxygen_high, level = _oxygen(ticks)
    dead = ticks.value(ticks.last("death")) >= 1
    supported = np.logical_or.reduce(running) | (_running(ticks, VASOPRESSIN) & counted)
    return Moments(
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


def with_fever(moments: Moments) -> Moments:
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


def after_death(moments: Moments) -> Bools:
    """Rows after a death, except where it becomes known that CRS was the cause."""
    same = ~starts_new(moments.course)
    was_dead = np.r_[False, moments.dead[:-1]] & same
    was_crs = np.r_[False, moments.dead_of_crs[:-1]] & same
    return was_dead & ~(moments.dead_of_crs & ~was_crs)
