"""What became of each course after the index time: the facts that no predictor may carry.

`Fact` is a yes or no per course (severe, tocilizumab given, ventilated, died ...); `Quantity` a number (days of
illness, highest ferritin of the course ...).
"""

from dataclasses import dataclass, field

import numpy as np

from crsrisk.leaks.outcome import Outcome
from crsrisk.leaks.view import CARE, LABORATORY, UNKNOWN, Bools, Events, Floats, View

GIVEN = {
    "tocilizumab given": ("tocilizumab_dose", "siltuximab_dose"),
    "anakinra, ruxolitinib or etanercept given": ("anakinra_dose", "ruxolitinib_dose", "etanercept_dose"),
    "vasopressor given": (
        "norepinephrine_rate",
        "epinephrine_rate",
        "phenylephrine_rate",
        "dopamine_rate",
        "vasopressin_rate",
    ),
    "oxygen or ventilation given": ("resp_support", "o2_flow"),
    "steroid given": ("dexamethasone_dose", "methylprednisolone_dose", "hydrocortisone_dose"),
    "fluid bolus given": ("fluid_bolus",),
    "death": ("death",),
    "renal replacement": ("renal_replacement",),
}
VENTILATED_FROM = 3.0  # resp_support: CPAP, BiPAP or a tube
FEWEST_COURSES = 3
FEWEST_MEASURED = 10
HIGHEST, LOWEST, LAST = "highest", "lowest", "last"


@dataclass(frozen=True)
class Fact:
    """Yes or no per course; `of` marks the courses in which it is known."""

    name: str
    yes: Bools
    of: Bools


@dataclass(frozen=True)
class Quantity:
    """A number per course, nan when unknown; `variable` is the event variable that it sums up.

    repeated: courses in which the number stands more than once.
    """

    name: str
    values: Floats
    variable: str = ""
    repeated: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def facts(view: View, outcome: Outcome) -> list[Fact]:
    """Facts with at least three courses on either side."""
    everyone = np.ones(view.n, dtype=np.bool_)
    found = [
        Fact("severe CRS", outcome.severe, outcome.known),
        Fact("CRS of grade 2 or above", outcome.grade >= 2.0, outcome.known),
        Fact("CRS of any grade", outcome.crs, outcome.known),
    ]
    after = view.events.hours > 0.0
    for name, variables in GIVEN.items():
        rows = after & _of(view.events, variables) & (view.events.value > 0.0)
        found.append(Fact(name, _courses(view, rows), everyone))
    ventilated = after & _of(view.events, ("resp_support",)) & (view.events.value >= VENTILATED_FROM)
    intensive = _courses(view, ventilated | (after & _of(view.events, GIVEN["vasopressor given"])))
    found.append(Fact("intensive care (pressor or ventilation)", intensive, everyone))
    kept: dict[bytes, Fact] = {}
    for fact in found:
        if FEWEST_COURSES <= fact.yes.sum() <= fact.of.sum() - FEWEST_COURSES:
            kept.setdefault((fact.yes & fact.of).tobytes(), fact)
    return list(kept.values())


def quantities(view: View, outcome: Outcome) -> list[Quantity]:
    """Numbers of the time after the index time."""
    nan = np.nan
    hours = [
        Quantity("hour of the onset of CRS", np.where(np.isfinite(outcome.onset), outcome.onset, nan)),
        Quantity("hour of severe CRS", np.where(np.isfinite(outcome.severe_from), outcome.severe_from, nan)),
        Quantity("peak grade", outcome.grade),
    ]
    return [*hours, *(one for found in summaries(view).values() for one in found.values())]


def summaries(view: View) -> dict[str, dict[str, Quantity]]:
    """By measured variable: highest, lowest, last and mean value after the index time, and their number."""
    events = view.events
    measured = [
        code
        for code, kind in enumerate(events.kinds)
        if kind in LABORATORY | {"vital", UNKNOWN} and events.variables[code] not in CARE
    ]
    rows = np.flatnonzero((events.hours > 0.0) & ~np.isnan(events.value) & np.isin(events.variable, measured))
    if not rows.size:
        return {}
    course, variable, value = events.course[rows], events.variable[rows], events.value[rows]
    new = np.ones(rows.size, dtype=np.bool_)
    new[1:] = (course[1:] != course[:-1]) | (variable[1:] != variable[:-1])
    start = np.flatnonzero(new)  # events are sorted by course, variable and hour
    end = np.append(start[1:], rows.size)
    of_course, of_variable = course[start], variable[start]
    summed = {
        HIGHEST: np.maximum.reduceat(value, start),
        LOWEST: np.minimum.reduceat(value, start),
        LAST: value[end - 1],
        "mean": np.add.reduceat(value, start) / (end - start),
        "number of": (end - start).astype(np.float64),
    }
    size = end - start
    attained = {
        name: np.add.reduceat((value == np.repeat(number, size)).astype(np.int64), start)
        for name, number in summed.items()
    }
    found: dict[str, dict[str, Quantity]] = {}
    for code in np.unique(of_variable).tolist():
        mine = of_variable == code
        if mine.sum() < FEWEST_MEASURED:
            continue
        variable_name = events.variables[code]
        for name, values in summed.items():
            whole = np.full(view.n, np.nan)
            whole[of_course[mine]] = values[mine]
            repeated = np.zeros(view.n, dtype=np.bool_)
            repeated[of_course[mine]] = attained[name][mine] > 1
            quantity = Quantity(f"{name} {variable_name} of the course", whole, variable_name, repeated)
            found.setdefault(variable_name, {})[name] = quantity
    return found


def _of(events: Events, variables: tuple[str, ...]) -> Bools:
    codes = [code for code, name in enumerate(events.variables) if name in variables]
    found: Bools = np.isin(events.variable, codes)
    return found


def _courses(view: View, rows: Bools) -> Bools:
    found = np.zeros(view.n, dtype=np.bool_)
    found[view.events.course[rows]] = True
    return found
