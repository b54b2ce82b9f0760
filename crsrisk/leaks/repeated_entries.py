"""Numbers of a cohort by variable and unit, and how densely they lie on their scale."""

from dataclasses import dataclass

import numpy as np

from crsrisk.leaks.view import CARE, Bools, Floats, Ints, View

MANY_VALUES = 20
"""Distinct numbers from which a group has a scale, and not a few classes."""
LATTICE_SHARE = 0.9
MOST_DECIMALS = 6
FEWEST_STEPS = 3.0
DENSE_RUNS = 12  # neighbouring values over which the step of a scale is read where it is filled best


@dataclass(frozen=True)
class Entries:
    """Values by group (variable and unit, or column), sorted by group, value and course.

    Shapes (n,): group, value, course, row (line in the file). In `names`, per group, the variable; `in_courses`
    whether it is a column of courses.
    """

    group: Ints
    value: Floats
    course: Ints
    row: Ints
    names: tuple[str, ...]
    in_courses: tuple[bool, ...]

    def once_per_course(self) -> "Entries":
        """Each value of a group once per course."""
        new = np.ones(len(self.group), dtype=np.bool_)
        for cells in (self.group, self.value, self.course):
            new[1:] &= cells[1:] == cells[:-1]
        new[1:] = ~new[1:]
        new[:1] = True
        return Entries(
            self.group[new], self.value[new], self.course[new], self.row[new], self.names, self.in_courses
        )

    def runs(self) -> tuple[Ints, Ints]:
        """Start and end of each stretch of one value in one group."""
        new = np.ones(len(self.group), dtype=np.bool_)
        new[1:] = (self.group[1:] != self.group[:-1]) | (self.value[1:] != self.value[:-1])
        start = np.flatnonzero(new)
        return start, np.append(start[1:], len(self.group)).astype(np.int64)


def entries_of(view: View) -> Entries:
    """Numbers of measured variables and of columns; treatments and signs of care have constants of their own."""
    events = view.events
    kinds = np.array(
        [
            kind != "intervention" and name not in CARE
            for kind, name in zip(events.kinds, events.variables, strict=True)
        ],
        dtype=np.bool_,
    )
    rows = np.flatnonzero(kinds[events.variable] & ~events.limited & ~np.isnan(events.value)) if len(
        events
    ) else np.zeros(0, dtype=np.int64)  # fmt: skip
    pair = events.variable[rows] * max(len(events.units), 1) + events.unit[rows]
    pairs, group = np.unique(pair, return_inverse=True)
    names = [events.variables[code // len(events.units)] for code in pairs.tolist()]
    parts = [(group, events.raw[rows], events.course[rows], events.row[rows])]
    for column in view.columns:
        there = np.flatnonzero(~np.isnan(column.numbers))
        values = np.round(column.numbers[there], 6)
        parts.append((np.full(there.size, len(names)), values, there, view.lines[there]))
        names.append(column.name)
    whole = [np.concatenate(cells) for cells in zip(*parts, strict=True)]
    order = np.lexsort((whole[2], whole[1], whole[0]))
    in_courses = [place >= len(pairs) for place in range(len(names))]
    group, value, course, row = (cells[order] for cells in whole)
    return Entries(group, value, course, row, tuple(names), tuple(in_courses))


def decimals_of(values: Floats) -> Ints:
    """Decimals needed to write each value, at most 6."""
    found = np.full(len(values), MOST_DECIMALS, dtype=np.int64)
    for places in range(MOST_DECIMALS - 1, -1, -1):
        scaled = values * 10.0**places
        exact = np.abs(scaled - np.rint(scaled)) < 1e-6 * np.maximum(10.0**places, 1.0) * 2.0
        found[exact] = places
    return found


def usual_decimals(group: Ints, decimals: Ints, courses: Ints, groups: int) -> Ints:
    """Decimals with which each group is measured: of nearly all its values; of most entries when it has few."""
    found = np.full(groups, MOST_DECIMALS, dtype=np.int64)
    size = np.bincount(group, minlength=groups)
    for code in np.flatnonzero(size).tolist():
        mine = group == code
        weights = np.ones(size[code]) if size[code] >= MANY_VALUES else courses[mine].astype(np.float64)
        share = np.cumsum(np.bincount(decimals[mine], weights=weights, minlength=MOST_DECIMALS + 1))
        wanted = LATTICE_SHARE if size[code] >= MANY_VALUES else 0.5
        found[code] = int(np.searchsorted(share, wanted * share[-1]))
    return found


def steps_of(entries: Entries, start: Ints) -> Floats:
    """Distance between neighbouring values of each group's scale.

    One unit of the last usual decimal, or more where the scale has holes: 0.1 Cel written in degF skips steps.
    """
    group, value = entries.group[start], entries.value[start]
    counts = np.diff(np.append(start, len(entries.group)))
    usual = usual_decimals(group, decimals_of(value), counts, len(entries.names))
    found = 10.0 ** -usual.astype(np.float64)
    edges = np.searchsorted(group, np.arange(len(entries.names) + 1))
    for code in np.flatnonzero(np.diff(edges) > DENSE_RUNS).tolist():
        runs = value[edges[code] : edges[code + 1]]
        found[code] = max(found[code], float((runs[DENSE_RUNS:] - runs[:-DENSE_RUNS]).min()) / DENSE_RUNS)
    return found


def density(entries: Entries, chosen: Bools, start: Ints, step: Floats, tested: Ints, near: int) -> Floats:
    """Entries of a class per step of the scale beside each tested run, the larger of both sides; nan without.

    A side reaches to the `near`-th entry, and over at least three steps.
    """
    places = np.flatnonzero(chosen)
    found = np.full(tested.size, np.nan)
    run_group = entries.group[start[tested]]
    edges = np.searchsorted(entries.group[places], np.arange(len(entries.names) + 1))
    for code in np.unique(run_group).tolist():
        values = entries.value[places[edges[code] : edges[code + 1]]]
        mine = np.flatnonzero(run_group == code)
        at = entries.value[start[tested[mine]]]
        low, high = np.searchsorted(values, at, side="left"), np.searchsorted(values, at, side="right")
        for direction in (-1, 1):
            last = low - near if direction < 0 else high + near - 1
            there = (last >= 0) & (last < len(values))
            reach = np.full(len(at), np.nan)
            reach[there] = np.rint(np.abs(values[last[there]] - at[there]) / step[code])
            reach = np.maximum(reach, FEWEST_STEPS)
            border = at + direction * (reach + 0.5) * step[code]
            if direction < 0:
                count = low - np.searchsorted(values, border, side="left")
            else:
                count = np.searchsorted(values, border, side="right") - high
            found[mine] = np.fmax(found[mine], count / reach)
    return found


def repeats(entries: Entries, inside: Bools) -> Floats:
    """How often a course repeats a value, by group: rows of one course are not independent."""
    rows = np.bincount(entries.group[inside], minlength=len(entries.names))
    once = np.ones(len(entries.group), dtype=np.bool_)
    once[1:] = (
        (entries.course[1:] != entries.course[:-1])
        | (entries.value[1:] != entries.value[:-1])
        | (entries.group[1:] != entries.group[:-1])
    )
    distinct = np.bincount(entries.group[inside & once], minlength=len(entries.names))
    found: Floats = 1.5 * np.maximum(rows / np.maximum(distinct, 1), 1.0)
    return found


def at_an_edge(entries: Entries, start: Ints, tested: Ints) -> Bools:
    """Lowest or highest value of a group with others close by: reporting limits pile up there."""
    group, value = entries.group[start], entries.value[start]
    lowest = np.ones(len(start), dtype=np.bool_)
    lowest[1:] = group[1:] != group[:-1]
    highest = np.append(lowest[1:], True)
    spread = np.zeros(len(entries.names))
    for code in np.unique(group).tolist():
        quarter = np.quantile(value[group == code], [0.25, 0.75])
        spread[code] = quarter[1] - quarter[0]
    inner = np.abs(np.where(lowest, np.roll(value, -1), np.roll(value, 1)) - value)
    close = inner <= spread[group]
    found: Bools = ((lowest | highest) & close)[tested]
    return found
