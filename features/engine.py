"""Events and rows in, statistics out: one vectorised engine for a whole cohort and for one patient.

Every request is a variable, a window and a statistic. For each row (a course at a landmark) the events of a
variable that fall into the window are a segment of one sorted array; `features.segments` computes on
segments. An event counts for a row when both its time and the time at which it was known are at or before
the landmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.segments import (
    FROM_BASELINE,
    STATISTICS,
    Floats,
    Frame,
    Ints,
    Pool,
    Segments,
    Statistic,
    Walk,
    members,
    times,
)

ENGINE_VERSION = (
    1  # raise it when a change here or in segments can change a number: the feature-set digest has it
)

Bools = NDArray[np.bool_]
WindowName = Literal["baseline", "since_index", "last_24h", "since_dose", "so_far", "before_dose"]
WINDOWS: dict[WindowName, tuple[str, str]] = {  # after the first moment, up to and including the second
    "baseline": ("first", "index"),
    "since_index": ("index", "landmark"),
    "last_24h": ("day", "landmark"),
    "since_dose": ("dose", "landmark"),
    "so_far": ("first", "landmark"),
    "before_dose": ("first", "dose"),
}

CHUNK_EVENTS = 100_000  # a chunk's working arrays fit the cache, and memory stays bounded
CHUNK_SEGMENTS = 60_000


class Request(NamedTuple):
    """One column: the variable's code, the window, the statistic; for hours_above the limit in its unit."""

    variable: int
    window: WindowName
    statistic: Statistic
    threshold: float = np.nan


@dataclass(frozen=True, slots=True)
class Events:
    """Measurements as columns of equal length; codes count from 0.

    `known` is the hour from which the value may be used: the later of its time and of its availability.
    """

    course: Ints
    variable: Ints
    hours: Floats
    known: Floats
    value: Floats
    n_variables: int

    def take(self, which: Bools | Ints) -> Events:
        """The events chosen by a mask or by positions, in that order."""
        return Events(
            self.course[which],
            self.variable[which],
            self.hours[which],
            self.known[which],
            self.value[which],
            self.n_variables,
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Courses at landmarks: course code, hours of the dose and of the landmark from the index time."""

    course: Ints
    dose_hours: Floats
    as_of: Floats

    def take(self, which: Ints) -> Rows:
        """The rows at these positions."""
        return Rows(self.course[which], self.dose_hours[which], self.as_of[which])


class Computed(NamedTuple):
    """Statistics, and on request the hours of the values behind them: (n_rows, n_requests)."""

    values: Floats
    times: Floats | None


class _Batch(NamedTuple):
    """One statistic for several cells, and where its columns go."""

    statistic: Statistic
    cells: slice | Ints
    windows: Ints  # window of each cell
    group: int  # batches with the same cells share their segments
    baseline: Ints  # of each cell the place of its variable among the baseline cells; empty when not needed
    threshold: Floats
    target: slice | Ints


class Plan(NamedTuple):
    """Requests grouped by statistic over cells; a cell is a variable in a window."""

    windows: tuple[tuple[WindowName, Ints], ...]  # each with its variables: the cells, in this order
    moments: tuple[str, ...]
    baseline: slice  # the cells of the baseline window
    n_cells: int
    batches: tuple[_Batch, ...]
    n_requests: int


def plan_requests(requests: Sequence[Request]) -> Plan:
    """How to answer the requests; make it once where the same ones come again and again."""
    unknown = {str(r.window) for r in requests} - set(WINDOWS)
    unknown |= {str(r.statistic) for r in requests} - set(STATISTICS)
    if unknown:
        raise ValueError(f"{sorted(unknown)}; windows {sorted(WINDOWS)}, statistics {sorted(STATISTICS)}")
    by_window: dict[WindowName, set[int]] = {}
    for variable, window, statistic, _ in requests:
        by_window.setdefault(window, set()).add(variable)
        if statistic in FROM_BASELINE:
            by_window.setdefault("baseline", set()).add(variable)
    cells_in_order = [(window, code) for window, codes in by_window.items() for code in sorted(codes)]
    cell_of = {cell: i for i, cell in enumerate(cells_in_order)}
    window_of = np.repeat(np.arange(len(by_window)), [len(codes) for codes in by_window.values()])
    baseline_of = {code: i for i, code in enumerate(sorted(by_window.get("baseline", ())))}
    first = cell_of["baseline", min(baseline_of)] if baseline_of else 0
    batches: list[_Batch] = []
    groups: dict[tuple[int, ...], int] = {}
    for statistic in STATISTICS:
        wanted = [(column, r) for column, r in enumerate(requests) if r.statistic == statistic]
        if not wanted:
            continue
        cells = tuple(cell_of[r.window, r.variable] for _, r in wanted)
        before = [baseline_of[r.variable] for _, r in wanted] if statistic in FROM_BASELINE else []
        batches.append(
            _Batch(
                statistic=statistic,
                cells=_slice(np.array(cells)),
                windows=window_of[list(cells)],
                group=groups.setdefault(cells, len(groups)),
                baseline=np.array(before, dtype=np.int64),
                threshold=np.array([r.threshold for _, r in wanted]),
                target=_slice(np.array([column for column, _ in wanted])),
            )
        )
    windows = tuple((window, np.array(sorted(codes), dtype=np.int64)) for window, codes in by_window.items())
    borders = {border for window in by_window for border in WINDOWS[window]} - {"first", "landmark"}
    return Plan(
        windows=windows,
        moments=tuple(sorted(borders)),
        baseline=slice(first, first + len(baseline_of)),
        n_cells=len(cells_in_order),
        batches=tuple(batches),
        n_requests=len(requests),
    )


def _slice(columns: Ints) -> slice | Ints:
    """Neighbouring columns as a slice: numpy then makes no copy."""
    if (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def compute_statistics(
    events: Events,
    rows: Rows,
    requests: Sequence[Request],
    *,
    with_times: bool = False,
    plan: Plan | None = None,
) -> Computed:
    """Every requested statistic for every row.

    Args:
        events: any order; input sorted by course and hours is fastest. nan values count as not measured.
        rows: any order.
        requests: the columns; `requests[j].variable` is a code below `events.n_variables`.
        with_times: also give the hours of the value behind each number.
        plan: `plan_requests(requests)` when made before.

    Returns:
        values (and times) of shape (n_rows, n_requests); nan where nothing was measured, 0 for a count.
    """
    plan = plan_requests(requests) if plan is None else plan
    shape = (rows.course.size, len(requests))
    values = np.empty(shape)
    hours = np.empty(shape) if with_times else None
    if 0 in shape:
        return Computed(values, hours)
    order = None
    if (rows.course[1:] < rows.course[:-1]).any():
        order = np.argsort(rows.course, kind="stable")
        rows = rows.take(order)
    events, rows = _dense(events, rows)
    for courses, some_rows, some_events in _chunks(rows.course, events.course, plan.n_cells):
        part = Events(
            events.course[some_events] - courses.start,
            events.variable[some_events],
            events.hours[some_events],
            events.known[some_events],
            events.value[some_events],
            events.n_variables,
        )
        part_rows = Rows(
            rows.course[some_rows] - courses.start, rows.dose_hours[some_rows], rows.as_of[some_rows]
        )
        into = Computed(values[some_rows], None if hours is None else hours[some_rows])
        _compute_chunk(part, part_rows, courses.stop - courses.start, plan, into)
    if order is not None:
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        return Computed(values[back], None if hours is None else hours[back])
    return Computed(values, hours)


def _dense(events: Events, rows: Rows) -> tuple[Events, Rows]:
    """Course codes 0..n-1 of the courses that have rows; only their events, sorted by course, without nan."""
    new = np.concatenate(((True,), rows.course[1:] > rows.course[:-1]))
    present = rows.course[new]
    n_codes = int(max(present[-1], events.course.max(initial=0))) + 1
    if present.size != n_codes or np.isnan(events.value).any():
        rank = np.full(n_codes, -1)
        rank[present] = np.arange(present.size)
        course = rank[events.course]
        renamed = Events(
            course, events.variable, events.hours, events.known, events.value, events.n_variables
        )
        events = renamed.take((course >= 0) & ~np.isnan(events.value))
        rows = Rows(new.cumsum() - 1, rows.dose_hours, rows.as_of)
    if (events.course[1:] < events.course[:-1]).any():
        events = events.take(np.argsort(events.course, kind="stable"))
    return events, rows


def _chunks(row_course: Ints, event_course: Ints, n_cells: int) -> list[tuple[slice, slice, slice]]:
    """Courses, rows and events of each chunk: at most CHUNK_EVENTS and CHUNK_SEGMENTS, one course at least."""
    n_courses = int(row_course[-1]) + 1
    last_event = np.searchsorted(event_course, np.arange(n_courses), side="right")
    last_row = np.searchsorted(row_course, np.arange(n_courses), side="right")
    chunks, course, row, event = [], 0, 0, 0
    while course < n_courses:
        by_events = int(np.searchsorted(last_event, event + CHUNK_EVENTS, side="right"))
        by_rows = int(np.searchsorted(last_row, row + CHUNK_SEGMENTS // n_cells, side="right"))
        stop = max(min(by_events, by_rows), course + 1)
        next_row, next_event = int(last_row[stop - 1]), int(last_event[stop - 1])
        chunks.append((slice(course, stop), slice(row, next_row), slice(event, next_event)))
        course, row, event = stop, next_row, next_event
    return chunks


class _Ordered(NamedTuple):
    """Events sorted by (course, variable, hours, known, value); `start` of each (course, variable) group."""

    hours: Floats
    known: Floats
    value: Floats
    start: Ints


def _sorted_groups(events: Events, n_courses: int) -> _Ordered:
    """Events sorted by course, variable, hours, known, value, and where each (course, variable) starts.

    Input that is sorted by course and hours needs one sort of integers; equal times are put in order by
    known time and value, so the order of the input never decides.
    """
    groups = n_courses * events.n_variables
    key = events.course * events.n_variables + events.variable
    size = key.size
    bits = max(size - 1, 1).bit_length()
    packed = (key << bits) | np.arange(size)
    packed.sort()
    order = packed & ((1 << bits) - 1)
    hours = events.hours[order]
    not_after = np.flatnonzero(hours[1:] <= hours[:-1])
    not_after = not_after[(packed[not_after + 1] >> bits) == (packed[not_after] >> bits)]
    if (hours[not_after + 1] < hours[not_after]).any():
        order = np.lexsort((events.value, events.known, events.hours, key))
        hours = events.hours[order]
    elif not_after.size:
        places = np.union1d(not_after, not_after + 1)
        chosen = order[places]
        by = (events.value[chosen], events.known[chosen], events.hours[chosen], key[chosen])
        order[places] = chosen[np.lexsort(by)]
    start = np.zeros(groups + 1, dtype=np.int64)
    np.bincount(key, minlength=groups).cumsum(out=start[1:])
    return _Ordered(hours, events.known[order], events.value[order], start)


def _compute_chunk(events: Events, rows: Rows, n_courses: int, plan: Plan, into: Computed) -> None:
    """Fill the chunk's part of the result; course codes count from 0 within the chunk."""
    ordered = _sorted_groups(events, n_courses)
    shape = (n_courses, events.n_variables)
    as_of = rows.as_of[:, None]
    low = ordered.start[:-1].reshape(shape)[rows.course]
    high = ordered.start[1:].reshape(shape)[rows.course]
    pool = Pool(ordered.hours, ordered.value)
    high = pool.upper(low, high, as_of)
    delayed = events.variable[events.known > events.hours]
    if delayed.size:
        variables = np.flatnonzero(np.bincount(delayed))
        pool = _without_unknown(ordered, pool, low, high, as_of, variables)
    cell_low, cell_high, end = _cells(pool, low, high, rows, plan)
    baseline = Segments(pool, cell_low[:, plan.baseline], cell_high[:, plan.baseline]).last_value
    shared: dict[int, Segments] = {}
    for batch in plan.batches:
        if batch.group not in shared:
            shared[batch.group] = Segments(pool, cell_low[:, batch.cells], cell_high[:, batch.cells])
        segments = shared[batch.group]
        frame = Frame(end[:, batch.windows], as_of, batch.threshold, baseline[:, batch.baseline])
        into.values[:, batch.target] = STATISTICS[batch.statistic](segments, frame)
        if into.times is not None:
            into.times[:, batch.target] = times(segments, frame, batch.statistic)


def _cells(pool: Pool, low: Ints, high: Ints, rows: Rows, plan: Plan) -> tuple[Ints, Ints, Floats]:
    """Start and stop of every cell (rows, cells), and the end of every window in hours (rows, windows).

    Args:
        pool: the events.
        low: first event of each variable, (rows, variables).
        high: where the events known at the landmark end, (rows, variables).
        rows: dose and landmark.
        plan: the windows.
    """
    moments = {"index": np.zeros(rows.as_of.size), "dose": rows.dose_hours, "day": rows.as_of - 24.0}
    position = {"first": low, "landmark": high}
    for moment in plan.moments:
        position[moment] = pool.upper(low, high, moments[moment][:, None])
    cell_low = np.concatenate([position[WINDOWS[w][0]].take(v, axis=1) for w, v in plan.windows], axis=1)
    cell_high = np.concatenate([position[WINDOWS[w][1]].take(v, axis=1) for w, v in plan.windows], axis=1)
    ends = [np.minimum(moments.get(WINDOWS[w][1], rows.as_of), rows.as_of) for w, _ in plan.windows]
    return cell_low, cell_high, np.stack(ends, axis=1)


def _without_unknown(
    ordered: _Ordered, pool: Pool, low: Ints, high: Ints, as_of: Floats, variables: Ints
) -> Pool:
    """The pool for segments without events that were taken before the landmark but known only after it.

    The groups concerned, a few per landmark, get a copy without these events at the end of the pool; `low` and `high`
    are changed to point there. `variables`: those that come late at all.
    """
    some_low, some_high = low[:, variables], high[:, variables]
    latest = Walk(some_low, some_high).fold(np.maximum, np.concatenate((ordered.known, (0.0,))))
    row, column = np.nonzero((latest > as_of) & (some_high > some_low))
    if not row.size:
        return pool
    position, segment = members(some_low[row, column], some_high[row, column])
    keep = ordered.known[position] <= as_of[row[segment], 0]
    position, segment = position[keep], segment[keep]
    kept = np.bincount(segment, minlength=row.size)
    end = ordered.hours.size + kept.cumsum()
    high[row, variables[column]] = end
    low[row, variables[column]] = end - kept
    hours = np.concatenate((ordered.hours, ordered.hours[position]))
    return Pool(hours, np.concatenate((ordered.value, ordered.value[position])))
