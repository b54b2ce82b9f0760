"""Damaged numbers: digits lost in transcription, powers of ten, exchanged values. Flagged, never repaired.

Each measured value is held against its neighbours in time: the values of its variable in the same course just
before and after. The usual distance from them, per variable, is the scale. A value far off is damaged when one
slip of the pen explains it: a digit put back, a power of ten taken away, or the value of another variable of the
same moment brings it back to its neighbours. Courses with a single value are held against all courses. A whole
course, site or unit is held against the others, since neighbours that are all wrong agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.damage_throughout import adults_off, courses_off, sites_exchanged, sites_off
from crsrisk.leaks.finding import first
from crsrisk.leaks.view import LABORATORY, Bools, Events, Floats, Ints, View
from crsrisk.neighbours import Neighbourhood, Scale, neighbourhood, scales_of

DIGITS_LOST, POWER_OF_TEN, EITHER, EXCHANGED, OUT_OF_LINE = 1, 2, 3, 4, 5
KINDS = {
    DIGITS_LOST: "DIGITS_LOST",
    POWER_OF_TEN: "POWER_OF_TEN",
    EITHER: "DIGITS_LOST_OR_POWER_OF_TEN",
    EXCHANGED: "EXCHANGED",
    OUT_OF_LINE: "OUT_OF_LINE",
}
DO = {
    "DIGITS_LOST": "compare with the source: a digit seems to be missing; correct it there and convert again",
    "POWER_OF_TEN": "compare with the source: number or unit seems to be off by a power of ten; correct it there",
    "DIGITS_LOST_OR_POWER_OF_TEN": (
        "compare with the source: a digit is missing or the unit is off by a power of ten; correct it there"
    ),
    "EXCHANGED": "compare with the source: two values of this moment seem to stand in each other's place",
    "OUT_OF_LINE": "compare with the source: the values before and after agree with each other, not with this one",
    "POWER_OF_TEN_THROUGHOUT": "check the unit of this site or spelling: all its values are off by a power of ten",
    "EXCHANGED_THROUGHOUT": "check the columns of this site: two variables seem to be exchanged throughout",
}
FAR = 5.5
"""Usual deviations from the neighbours at which a value is looked at."""
FAR_ONE_SIDED = 15.0
"""The same for laboratory values that begin or end their series, where true steps are common."""
FAR_ISOLATED = 5.0
"""The same for values held against all courses, in standard deviations between courses."""
BACK, BACK_ISOLATED = 2.5, 1.5
"""Deviations within which the explained value must lie."""
FAR_EXCHANGED = 2.0
GAIN_EXCHANGED = 20.0
"""Squared deviations that an exchange must explain."""
FAR_UNEXPLAINED = 9.0
POWERS = (-3, -2, -1, 1, 2, 3)
LEAST_LOSS = 0.65
"""A value that lost a digit lies below this share of its neighbours."""
PRESSURES = (("sbp", "map"), ("map", "dbp"), ("sbp", "dbp"))
COLUMNS = ("table", "variable", "damage", "rows", "courses", "first_rows", "do")
ROWS_SHOWN = 10


@dataclass(frozen=True)
class Damage:
    """What looks damaged.

    kind: of each event, shape (events,): 0 none, else a key of `KINDS`. table: per variable and damage: table,
    variable, damage, rows, courses, first_rows (text), do.
    """

    kind: NDArray[np.int8]
    table: pd.DataFrame


def damage(view: View) -> Damage:
    """Look for damaged numbers; nothing is changed."""
    events = view.events
    kind = np.zeros(len(events), dtype=np.int8)
    rows = [_column_row(view, name, courses) for name, courses in adults_off(view)]
    if len(events):
        scales = scales_of(events)
        around = neighbourhood(events, scales)
        for place in _far(events, around).tolist():
            kind[place] = _explained(events, scales, around, place)
        for one, other in _exchanged(events, scales, around):
            kind[[one, other]] = EXCHANGED
        for one, other in _out_of_order(events):
            if not kind[one] and not kind[other]:  # a lost digit puts pressures out of order, too
                kind[[one, other]] = EXCHANGED
        for course_rows in courses_off(events, scales):
            kind[course_rows] = POWER_OF_TEN
        lonely = (np.abs(around.far) >= FAR_UNEXPLAINED) & around.agree & ~around.isolated & (kind == 0)
        kind[lonely] = OUT_OF_LINE
        rows += _event_rows(events, kind)
        off = [(name, flags, "POWER_OF_TEN_THROUGHOUT") for name, flags in sites_off(view, scales)]
        off += [(name, flags, "EXCHANGED_THROUGHOUT") for name, flags in sites_exchanged(view, scales)]
        rows += [_row(events, flags, name, told) for name, flags, told in off]
    return Damage(kind, pd.DataFrame(rows, columns=list(COLUMNS)))


def _event_rows(events: Events, kind: NDArray[np.int8]) -> list[dict[str, object]]:
    found = []
    for code in np.unique(events.variable[kind > 0]).tolist():
        for number, name in KINDS.items():
            mine = (events.variable == code) & (kind == number)
            if mine.any():
                found.append(_row(events, mine, events.variables[code], name))
    return found


def _row(events: Events, rows: Bools, variable: str, told: str) -> dict[str, object]:
    lines = np.sort(events.row[rows])
    return _cells("events", variable, told, lines, len(np.unique(events.course[rows])))


def _column_row(view: View, variable: str, courses: Bools) -> dict[str, object]:
    return _cells("courses", variable, "POWER_OF_TEN", np.sort(view.lines[courses]), int(courses.sum()))


def _cells(table: str, variable: str, told: str, lines: Ints, courses: int) -> dict[str, object]:
    return {
        "table": table,
        "variable": variable,
        "damage": told,
        "rows": len(lines),
        "courses": courses,
        "first_rows": ", ".join(map(str, first(lines[:ROWS_SHOWN]))),
        "do": DO[told],
    }


def _far(events: Events, around: Neighbourhood) -> Ints:
    """Events far from their neighbours; outside the plausible limits a little less suffices."""
    known = analytes()
    limits = {
        code: (known[name].plausible_low, known[name].plausible_high)
        for code, name in enumerate(events.variables)
        if name in known
    }
    low = np.array(
        [_number(limits.get(code, (None, None))[0], -np.inf) for code in range(len(events.variables))]
    )
    high = np.array(
        [_number(limits.get(code, (None, None))[1], np.inf) for code in range(len(events.variables))]
    )
    implausible = (events.value < low[events.variable]) | (events.value > high[events.variable])
    cytokine = events.of_kinds(frozenset({"cytokine"}))  # they range over decades between courses
    at_an_end = around.one_sided & events.of_kinds(LABORATORY)
    needed = np.where(around.isolated, np.where(cytokine, np.inf, FAR_ISOLATED), FAR) - implausible
    needed = np.where(at_an_end, FAR_ONE_SIDED, needed)
    return np.flatnonzero(np.nan_to_num(np.abs(around.far)) >= needed)


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _explained(events: Events, scales: Mapping[int, Scale], around: Neighbourhood, row: int) -> int:
    """The slip that explains a far value, the one that brings it closest; 0 for none."""
    scale = scales[int(events.variable[row])]
    within = BACK_ISOLATED if around.isolated[row] else BACK
    value, raw = float(events.value[row]), float(events.raw[row])
    factor = value / raw if raw and scale.logarithm else None
    gap_power = min(_gaps(scale, around, row, np.array([value * 10.0**power for power in POWERS])))
    gap_digit = np.inf
    expected = np.exp(around.expected[row]) if scale.logarithm else around.expected[row]
    if 0.0 < value <= LEAST_LOSS * expected and not around.isolated[row]:
        numbers = np.array(_with_a_digit(raw))
        back = numbers * factor if factor is not None else numbers + (value - raw)
        gap_digit = min(_gaps(scale, around, row, back))
    if min(gap_power, gap_digit) > within:
        return 0
    if max(gap_power, gap_digit) <= within:
        return EITHER
    return POWER_OF_TEN if gap_power < gap_digit else DIGITS_LOST


def _gaps(scale: Scale, around: Neighbourhood, row: int, values: Floats) -> list[float]:
    """Distances of values from what is expected, in scales."""
    at = scale.at(values)
    found: list[float] = np.nan_to_num(
        np.abs(at - around.expected[row]) / around.scale[row], nan=np.inf
    ).tolist()
    return found


def _with_a_digit(value: float) -> list[float]:
    """All numbers from which one digit before the decimal point may have been lost to give `value`.

    >>> 102.2 in _with_a_digit(12.2)
    True
    """
    whole, dot, rest = f"{abs(value):.6f}".rstrip("0").partition(".")
    found = [
        float(f"{whole[:place]}{digit}{whole[place:]}{dot}{rest}")
        for place in range(len(whole) + 1)
        for digit in "0123456789"
        if (place, digit) != (0, "0")
    ]
    return [-number for number in found] if value < 0 else found


def _exchanged(
    events: Events, scales: Mapping[int, Scale], around: Neighbourhood
) -> Iterator[tuple[int, int]]:
    """Pairs of events of one moment that fit each other's neighbours and not their own; one pair per moment."""
    in_series = ~around.isolated & ~(around.one_sided & events.of_kinds(LABORATORY))
    far = np.flatnonzero((np.nan_to_num(np.abs(around.far)) >= FAR_EXCHANGED) & in_series)
    order = far[np.lexsort((events.hours[far], events.course[far]))]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (np.diff(events.course[order]) != 0) | (np.diff(events.hours[order]) > 1e-9)
    moment = np.cumsum(new) - 1
    ones, others = [], []
    for step in range(1, int(np.bincount(moment).max(initial=1))):
        same = np.flatnonzero(moment[step:] == moment[:-step])
        ones.append(order[same])
        others.append(order[same + step])
    if not ones:
        return
    one, other = np.concatenate(ones), np.concatenate(others)
    gain = _gain(events, scales, around, one, other) + _gain(events, scales, around, other, one)
    good = np.flatnonzero(gain >= GAIN_EXCHANGED)
    best = good[np.argsort(-gain[good], kind="stable")]
    place = np.zeros(len(events), dtype=np.int64)
    place[order] = moment
    _, first_of = np.unique(place[one[best]], return_index=True)
    for pair in best[first_of].tolist():
        yield int(one[pair]), int(other[pair])


def _gain(
    events: Events, scales: Mapping[int, Scale], around: Neighbourhood, row: Ints, partner: Ints
) -> Floats:
    """Squared deviations that disappear when rows get the number of their partner; -inf when it doesn't fit."""
    logarithm = np.array(
        [code in scales and scales[code].logarithm for code in range(len(events.variables))], dtype=np.bool_
    )[events.variable[row]]
    raw, value, given = events.raw[row], events.value[row], events.raw[partner]
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.where(logarithm & (raw != 0.0), given * (value / raw), given + (value - raw))
        at = np.where(logarithm, np.log(np.maximum(moved, 1e-300)), moved)
    gap = np.abs(at - around.expected[row]) / around.scale[row]
    found: Floats = np.where(
        (gap <= BACK) & (events.variable[row] != events.variable[partner]),
        np.minimum(around.far[row] ** 2, 100.0) - gap**2,
        -np.inf,
    )
    return found


def _out_of_order(events: Events) -> Iterator[tuple[int, int]]:
    """Pairs of pressures of one moment of which the lower kind is the higher number."""
    for upper, lower in PRESSURES:
        if upper not in events.variables or lower not in events.variables:
            continue
        one, other = (
            np.flatnonzero((events.variable == events.variables.index(name)) & ~np.isnan(events.value))
            for name in (upper, lower)
        )
        far = 1e6
        at = events.course[other] * far + events.hours[other]
        wanted = events.course[one] * far + events.hours[one]
        place = np.clip(np.searchsorted(at, wanted), 0, max(len(at) - 1, 0))
        if len(at):
            found = (np.abs(at[place] - wanted) < 1e-6) & (events.value[one] < events.value[other[place]])
            yield from zip(one[found].tolist(), other[place[found]].tolist(), strict=True)
