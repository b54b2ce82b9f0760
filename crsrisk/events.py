"""Sorts reported events into used, rejected, unknown and duplicate, for files and single patients alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.values import (
    BAD_COMPARATOR,
    BAD_NUMBER,
    EMPTY_VALUE,
    FUTURE,
    MISSING_VARIABLE,
    Numbers,
    agree,
    rule_for,
    standardise,
)


@dataclass(frozen=True)
class ReportedEvents:
    """Events as they came; arrays of shape (n,). Codes point into the sorted lists of distinct texts."""

    course: NDArray[np.int64]  # row of the course in the sorted courses
    hours: NDArray[np.float64]
    available_hours: NDArray[np.float64]  # nan when not given
    variable: NDArray[np.int64]
    variables: list[str]
    unit: NDArray[np.int64]
    units: list[str]
    numbers: Numbers
    comparators: NDArray[np.int8]  # of the comparator column: 0 none, 1 '<', 2 '>', -1 anything else
    source: NDArray[np.int64]  # code of source_id
    row: NDArray[np.int64]


@dataclass(frozen=True)
class SortedEvents:
    """What became of each event; arrays of shape (n,) unless said otherwise."""

    reasons: NDArray[np.object_]  # why a known variable's event is rejected, '' when it is not
    unknown: NDArray[np.bool_]  # the variable is not in the catalogue
    duplicate: NDArray[np.bool_]  # equal in all to an event that is used
    order: NDArray[np.int64]  # shape (used,): the used events, sorted
    values: NDArray[np.float64]  # canonical units
    comparators: NDArray[np.int8]
    available_hours: NDArray[np.float64]  # never before hours
    moved: int  # used events whose result was known before the specimen: available at the specimen's time


def sort_out(events: ReportedEvents, as_of_hours: NDArray[np.float64] | None) -> SortedEvents:
    """Decide about every event.

    Args:
        events: as reported, each of a known course at a finite hour.
        as_of_hours: by row of the courses; later events and results known later are rejected. None: no limit.
    """
    known = analytes()
    is_known = np.array([name in known or not name for name in events.variables], dtype=np.bool_)
    unknown = ~is_known[events.variable] if len(events.row) else np.zeros(0, dtype=np.bool_)
    values, reasons = _canonical(events, unknown)
    comparators, contradict = agree(events.numbers.comparators, events.comparators)
    reasons[contradict] = BAD_COMPARATOR
    reasons[events.numbers.bad] = BAD_NUMBER
    reasons[events.numbers.empty] = EMPTY_VALUE
    nameless = np.array([not name for name in events.variables], dtype=np.bool_)
    if nameless.any():
        reasons[nameless[events.variable]] = MISSING_VARIABLE
    given = ~np.isnan(events.available_hours)
    early = given & (events.available_hours < events.hours)
    available = np.where(given & ~early, events.available_hours, events.hours)
    if as_of_hours is not None:
        reasons[available > as_of_hours[events.course]] = FUTURE
    reasons[unknown] = ""
    order, duplicate = _in_order(events, (reasons == "") & ~unknown, values, comparators, available)
    return SortedEvents(
        reasons, unknown, duplicate, order, values, comparators, available, moved=int(early[order].sum())
    )


def _canonical(
    events: ReportedEvents, unknown: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    pairs = events.variable * len(events.units) + events.unit
    distinct, rule_of = np.unique(pairs[~unknown], return_inverse=True)
    rules = [rule_for(events.variables[pair // len(events.units)], events.units[pair % len(events.units)])
             for pair in distinct.tolist()]  # fmt: skip
    values = np.full(len(pairs), np.nan)
    reasons = np.full(len(pairs), "", dtype=object)
    values[~unknown], reasons[~unknown] = standardise(events.numbers.values[~unknown], rule_of, rules)
    return values, reasons


def _in_order(
    events: ReportedEvents,
    usable: NDArray[np.bool_],
    values: NDArray[np.float64],
    comparators: NDArray[np.int8],
    available: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Usable events by course, hours, variable, available_hours, value; which repeat an earlier one."""
    chosen = np.flatnonzero(usable)
    keys: list[NDArray[Any]] = [
        events.row[chosen],
        events.unit[chosen],
        events.source[chosen],
        comparators[chosen],
        values[chosen],
        available[chosen],
        events.variable[chosen],
        events.hours[chosen],
        events.course[chosen],
    ]
    order = np.lexsort(keys)
    repeated = np.zeros(len(chosen), dtype=np.bool_)
    if chosen.size:
        repeated[1:] = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys[1:]])
    duplicate = np.zeros(len(usable), dtype=np.bool_)
    duplicate[chosen[order[repeated]]] = True
    return chosen[order[~repeated]], duplicate
