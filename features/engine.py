"""Events and rows in, statistics out: one vectorised engine for a whole cohort and for one patient.

Every request is a (variable, window, statistic). For each row (a course at a landmark) the events of a variable that
fall into the window form a segment of one sorted array; a statistic is an index pick or one `ufunc.reduceat` over all
segments. A segment holds the same numbers in the same order whether its course comes alone or with ten thousand
others, and no sum runs over a border between segments, so the results are exactly equal.

An event counts for a row when both its time and the time at which it was known are at or before the landmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

ENGINE_VERSION = (
    1  # raise it whenever a change here can change a number: it is part of the feature-set digest
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WindowName = Literal["baseline", "since_index", "last_24h", "since_dose", "so_far", "before_dose"]
Statistic = Literal[
    "last",
    "first",
    "max",
    "min",
    "mean",
    "slope",
    "change",
    "log2_ratio",
    "hours_above",
    "hours_since_last",
    "count",
]

CARRY_HOURS = 12.0  # hours_above: a value speaks for at most this long after it was taken
SLOPE_SPAN_HOURS = 1.0  # slope: values less than this apart give no slope
CHUNK_EVENTS = 300_000  # keeps the working arrays of one chunk in the cache and the memory bounded
CHUNK_SEGMENTS = 150_000


class Request(NamedTuple):
    """One column: a variable's code, the window, the statistic, and for hours_above the limit in the unit of the variable."""

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

    def where(self, keep: NDArray[np.bool_]) -> Events:
        """The events for which `keep` is true."""
        columns = (self.course, self.variable, self.hours, self.known, self.value)
        return Events(*(column[keep] for column in columns), self.n_variables)


@dataclass(frozen=True, slots=True)
class Rows:
    """Courses at landmarks: course code, hours of the dose and of the landmark from the course's index time."""

    course: Ints
    dose_hours: Floats
    as_of: Floats


class Computed(NamedTuple):
    """Statistics and, on request, the hours of the values behind them: both (n_rows, n_requests), nan = missing."""

    values: Floats
    times: Floats | None


def window_bounds(window: WindowName, dose: Floats, as_of: Floats) -> tuple[Floats | None, Floats | None]:
    """Start (excluded, None = from the beginning) and end (included, None = the landmark) in hours, per row."""
    if window == "so_far":
        return None, None
    if window == "baseline":
        return None, np.minimum(0.0, as_of)
    if window == "before_dose":
        return None, np.minimum(dose, as_of)
    if window == "since_index":
        return np.zeros_like(as_of), None
    if window == "since_dose":
        return dose, None
    if window == "last_24h":
        return as_of - 24.0, None
    raise ValueError(f"window {window!r}; there are {WindowName.__args__}")  # type: ignore[attr-defined]


class _Pool:
    """Sorted events of one chunk, and columns derived from them when a statistic asks.

    One padding element at the end lets a segment end at the end of the array.
    """

    def __init__(self, hours: Floats, value: Floats, group_start: Ints, group_size: Ints) -> None:
        self.hours = np.append(hours, 0.0)
        self.value = np.append(value, 0.0)
        self._start = group_start
        self._size = group_size

    @cached_property
    def lead(self) -> Floats:
        """Hours with one element in front: lead[i] is the time of event i - 1."""
        return np.concatenate(([0.0], self.hours))

    def _since_first(self, column: Floats) -> Floats:
        """Column minus its first value in the group: sums of squares then lose no digits, constants give exact zeros."""
        shifted = column.copy()
        shifted[:-1] -= np.repeat(column[self._start], self._size)
        return shifted

    @cached_property
    def t(self) -> Floats:
        """Hours since the first event of the group."""
        return self._since_first(self.hours)

    @cached_property
    def v(self) -> Floats:
        """Value minus the first value of the group."""
        return self._since_first(self.value)

    @cached_property
    def tt(self) -> Floats:
        """Squares of t."""
        return self.t * self.t

    @cached_property
    def tv(self) -> Floats:
        """Products of t and v."""
        return self.t * self.v

    @cached_property
    def carried(self) -> Floats:
        """Hours for which each value is carried forward to the next event; the last of a group is cut by the row."""
        gap = np.zeros_like(self.hours)
        np.clip(np.diff(self.hours[:-1]), 0.0, CARRY_HOURS, out=gap[:-2]) if gap.size > 2 else None
        return gap

    def carried_above(self, threshold: Floats | float) -> Floats:
        """Carried hours of the values at or above a threshold per variable (or one), 0 for the others."""
        limit = threshold
        if isinstance(threshold, np.ndarray):
            limit = np.append(np.repeat(np.resize(threshold, self._start.size), self._size), 0.0)
        return np.where(self.value >= limit, self.carried, 0.0)


def _upper(pool: _Pool, low: Ints, high: Ints, limit: Floats) -> Ints:
    """First position in each [low, high) whose time is after the limit; all segments halve their step together."""
    position = low.copy()
    longest = int((high - low).max(initial=0))
    step = 1 << (longest.bit_length() - 1) if longest else 0
    while step:
        candidate = position + step
        inside = np.take(pool.lead, candidate, mode="clip") <= limit
        inside &= candidate <= high
        np.copyto(position, candidate, where=inside)
        step >>= 1
    return position


def _reduce(ufunc: np.ufunc, column: Floats, low: Ints, high: Ints) -> Floats:
    """The ufunc over every segment [low, high); an empty segment gives a number that must be masked."""
    if low.size == 0:
        return np.empty(low.shape)
    borders = np.empty((*low.shape, 2), dtype=np.int64)
    borders[..., 0] = low
    borders[..., 1] = high
    reduced: Floats = ufunc.reduceat(column, borders.ravel())[::2]
    return reduced.reshape(low.shape)


class _Segments(NamedTuple):
    """The segments of one window: shape (rows, variables); `end` and `as_of` have shape (rows, 1)."""

    pool: _Pool
    low: Ints
    high: Ints
    empty: NDArray[np.bool_]
    baseline: Floats  # the last baseline value, for change and log2_ratio
    end: Floats
    as_of: Floats

    def columns(self, pick: Ints | None) -> _Segments:
        """The segments of some of the variables; None for all."""
        if pick is None:
            return self
        low, high, empty = self.low[:, pick], self.high[:, pick], self.empty[:, pick]
        baseline = self.baseline[:, pick] if self.baseline.size else self.baseline
        return _Segments(self.pool, low, high, empty, baseline, self.end, self.as_of)

    def masked(self, result: Floats) -> Floats:
        """Result with nan where nothing was measured."""
        result[self.empty] = np.nan
        return result

    def last(self, column: Floats) -> Floats:
        """The column at the last event of each segment."""
        return self.masked(np.take(column, self.high - 1, mode="clip"))


def _count(s: _Segments, _: Floats) -> Floats:
    return (s.high - s.low).astype(np.float64)


def _first(s: _Segments, _: Floats) -> Floats:
    return s.masked(np.take(s.pool.value, s.low))


def _last(s: _Segments, _: Floats) -> Floats:
    return s.last(s.pool.value)


def _max(s: _Segments, _: Floats) -> Floats:
    return s.masked(_reduce(np.maximum, s.pool.value, s.low, s.high))


def _min(s: _Segments, _: Floats) -> Floats:
    return s.masked(_reduce(np.minimum, s.pool.value, s.low, s.high))


def _mean(s: _Segments, _: Floats) -> Floats:
    count = np.maximum(s.high - s.low, 1)
    return s.masked(_reduce(np.add, s.pool.value, s.low, s.high) / count)


def _slope(s: _Segments, _: Floats) -> Floats:
    """Least squares, per day; nan when the values span less than SLOPE_SPAN_HOURS."""
    pool = s.pool
    count = np.maximum(s.high - s.low, 1)
    span = np.take(pool.hours, s.high - 1, mode="clip") - np.take(pool.hours, s.low)
    unfit = s.empty | (span < SLOPE_SPAN_HOURS)
    sum_t = _reduce(np.add, pool.t, s.low, s.high)
    sum_v = _reduce(np.add, pool.v, s.low, s.high)
    square = _reduce(np.add, pool.tt, s.low, s.high) - sum_t * sum_t / count
    product = _reduce(np.add, pool.tv, s.low, s.high) - sum_t * sum_v / count
    square[unfit] = np.nan
    return 24.0 * product / square


def _change(s: _Segments, _: Floats) -> Floats:
    return s.last(s.pool.value) - s.baseline


def _log2_ratio(s: _Segments, _: Floats) -> Floats:
    """log2 of the last value over the last baseline value; nan unless both are above 0."""
    last = s.last(s.pool.value)
    usable = (last > 0) & (s.baseline > 0)
    return np.log2(np.divide(last, s.baseline, out=np.full_like(last, np.nan), where=usable))


def _hours_above(s: _Segments, threshold: Floats) -> Floats:
    """Hours at or above the threshold; each value speaks until the next one, the window's end or CARRY_HOURS."""
    one = bool((threshold == threshold[0]).all())
    above = s.pool.carried_above(float(threshold[0])) if one else None
    newest = np.take(s.pool.value, s.high - 1, mode="clip") >= threshold
    tail = np.clip(s.end - np.take(s.pool.hours, s.high - 1, mode="clip"), 0.0, CARRY_HOURS)
    before = np.maximum(s.high - 1, s.low)
    if above is not None:
        earlier = _reduce(np.add, above, s.low, before)
    else:
        earlier = np.empty(s.low.shape)
        for limit in np.unique(threshold):
            at = np.flatnonzero(threshold == limit)
            earlier[:, at] = _reduce(np.add, s.pool.carried_above(float(limit)), s.low[:, at], before[:, at])
    earlier[before == s.low] = 0.0
    return s.masked(earlier + np.where(newest, tail, 0.0))


def _hours_since_last(s: _Segments, _: Floats) -> Floats:
    return s.as_of - s.last(s.pool.hours)


STATISTICS: dict[Statistic, Callable[[_Segments, Floats], Floats]] = {
    "last": _last,
    "first": _first,
    "max": _max,
    "min": _min,
    "mean": _mean,
    "slope": _slope,
    "change": _change,
    "log2_ratio": _log2_ratio,
    "hours_above": _hours_above,
    "hours_since_last": _hours_since_last,
    "count": _count,
}


def _times(s: _Segments, statistic: Statistic) -> Floats:
    """Hours of the value behind the statistic: of the extreme (where first reached), the first, else the last value."""
    if statistic == "first":
        return s.masked(np.take(s.pool.hours, s.low))
    if statistic not in ("max", "min"):
        return s.last(s.pool.hours)
    extreme = STATISTICS[statistic](s, np.empty(0))
    position, segment = _members(s.low.ravel(), s.high.ravel())
    reached = extreme.ravel()[segment] == s.pool.value[position]
    first = np.full(extreme.size, np.nan)
    first[segment[reached][::-1]] = s.pool.hours[position[reached][::-1]]
    return first.reshape(s.low.shape)


class _Batch(NamedTuple):
    """One statistic of one window for several variables, and where its columns go."""

    statistic: Statistic
    pick: Ints | None
    threshold: Floats
    target: slice | Ints


class _Plan(NamedTuple):
    """Everything that is asked of one window."""

    window: WindowName
    variables: Ints
    needs_baseline: bool
    batches: tuple[_Batch, ...]


def _target(columns: Ints) -> slice | Ints:
    """Neighbouring columns as a slice, which numpy writes faster."""
    if columns.size and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def plan_requests(requests: Sequence[Request]) -> tuple[_Plan, ...]:
    """The requests grouped by window and statistic; make it once where the same requests come again and again."""
    windows: dict[WindowName, dict[Statistic, list[tuple[int, float, int]]]] = {}
    for column, (variable, window, statistic, threshold) in enumerate(requests):
        if statistic not in STATISTICS:
            raise ValueError(f"statistic {statistic!r}; there are {sorted(STATISTICS)}")
        windows.setdefault(window, {}).setdefault(statistic, []).append((variable, threshold, column))
    plans = []
    for window, statistics in windows.items():
        variables = np.unique([v for wanted in statistics.values() for v, _, _ in wanted])
        batches = []
        for statistic, wanted in statistics.items():
            codes = np.array([v for v, _, _ in wanted])
            pick = None if np.array_equal(codes, variables) else np.searchsorted(variables, codes)
            threshold = np.array([t for _, t, _ in wanted])
            batches.append(_Batch(statistic, pick, threshold, _target(np.array([c for _, _, c in wanted]))))
        needs_baseline = bool(statistics.keys() & {"change", "log2_ratio"})
        plans.append(_Plan(window, variables, needs_baseline, tuple(batches)))
    return tuple(plans)


def _sorted_groups(events: Events, n_courses: int) -> tuple[Events, Ints]:
    """Events sorted by (course, variable, hours, known, value), and the start of each (course, variable) group.

    Input that is sorted by course and hours needs one sort of integers; equal times are put in order by known time and
    value, so the order of the input never decides.
    """
    groups = n_courses * events.n_variables
    key = events.course * events.n_variables + events.variable
    size = key.size
    bits = max(size - 1, 1).bit_length()
    packed = (key << bits) | np.arange(size)
    packed.sort()
    order = packed & ((1 << bits) - 1)
    hours = events.hours[order]
    if size > 1:
        same = (packed[1:] >> bits) == (packed[:-1] >> bits)
        step = hours[1:] - hours[:-1]
        if (same & (step < 0)).any():
            order = np.lexsort((events.value, events.known, events.hours, key))
        elif (same & (step == 0)).any():
            tied = np.zeros(size, dtype=bool)
            tied[1:] = same & (step == 0)
            tied[:-1] |= tied[1:]
            places = np.flatnonzero(tied)
            chosen = order[places]
            inner = np.lexsort(
                (events.value[chosen], events.known[chosen], events.hours[chosen], key[chosen])
            )
            order[places] = chosen[inner]
    start = np.zeros(groups + 1, dtype=np.int64)
    np.cumsum(np.bincount(key, minlength=groups), out=start[1:])
    return events.where(order), start  # type: ignore[arg-type]


def _compute_chunk(
    events: Events, rows: Rows, n_courses: int, plans: Sequence[_Plan], values: Floats, times: Floats | None
) -> None:
    """Fill the chunk's part of the result; course codes count from 0 within the chunk."""
    ordered, start = _sorted_groups(events, n_courses)
    as_of = rows.as_of[:, None]
    width = events.n_variables
    low = start[:-1].reshape(n_courses, width)[rows.course]
    group_end = start[1:].reshape(n_courses, width)[rows.course]
    pool = _Pool(ordered.hours, ordered.value, *_group_sizes(start))
    high = _upper(pool, low, group_end, as_of)
    if (ordered.known > ordered.hours).any():
        pool, low, high = _without_unknown(ordered, start, low, high, rows, width)
    baseline: Floats | None = None
    for plan in plans:
        some = None if plan.variables.size == width else plan.variables
        first = low if some is None else low[:, some]
        stop = high if some is None else high[:, some]
        begin, end = window_bounds(plan.window, rows.dose_hours, rows.as_of)
        if plan.needs_baseline and baseline is None:
            zero = _upper(pool, low, high, np.minimum(0.0, as_of))
            baseline = np.take(pool.value, zero - 1, mode="clip")
            baseline[zero == low] = np.nan
        if end is not None:
            stop = _upper(pool, first, stop, end[:, None])
        if begin is not None:
            first = _upper(pool, first, stop, begin[:, None])
        previous = np.empty(0)
        if plan.needs_baseline and baseline is not None:
            previous = baseline if some is None else baseline[:, some]
        until = as_of if end is None else end[:, None]
        segments = _Segments(pool, first, stop, first == stop, previous, until, as_of)
        for batch in plan.batches:
            part = segments.columns(batch.pick)
            values[:, batch.target] = STATISTICS[batch.statistic](part, batch.threshold)
            if times is not None:
                times[:, batch.target] = _times(part, batch.statistic)


def _group_sizes(start: Ints) -> tuple[Ints, Ints]:
    """Start and size of the groups that hold events."""
    size = np.diff(start)
    filled = size > 0
    return start[:-1][filled], size[filled]


def _without_unknown(
    ordered: Events, start: Ints, low: Ints, high: Ints, rows: Rows, variables: int
) -> tuple[_Pool, Ints, Ints]:
    """Pool and borders without events that were taken before the landmark but known only after it.

    The few groups concerned get a copy without these events, placed right behind the group: `reduceat` also walks
    from one segment to the next, so the way must stay short.
    """
    known = np.append(ordered.known, 0.0)
    late = (high > low) & (_reduce(np.maximum, known, low, high) > rows.as_of[:, None])
    if not late.any():
        return _Pool(ordered.hours, ordered.value, *_group_sizes(start)), low, high
    row, variable = np.nonzero(late)
    group = rows.course[row] * variables + variable
    by_group = np.argsort(group, kind="stable")
    row, variable, group = row[by_group], variable[by_group], group[by_group]
    position, segment = _members(low[row, variable], high[row, variable])
    keep = ordered.known[position] <= rows.as_of[row][segment]
    position, segment = position[keep], segment[keep]
    kept = np.bincount(segment, minlength=row.size)

    source = np.insert(np.arange(ordered.hours.size), np.repeat(start[group + 1], kept), position)
    inserted = np.bincount(group, weights=kept, minlength=start.size - 1).astype(np.int64)
    moved = np.concatenate(([0], np.cumsum(inserted)[:-1])).reshape(-1, variables)[rows.course]
    low, high = low + moved, high + moved
    low[row, variable] = start[group + 1] + np.cumsum(kept) - kept
    high[row, variable] = low[row, variable] + kept

    shift = np.concatenate(([0], np.cumsum(inserted)))[:-1]
    begin = np.concatenate((start[:-1] + shift, low[row, variable]))
    size = np.concatenate((np.diff(start), kept))
    in_place = np.argsort(begin, kind="stable")
    begin, size = begin[in_place], size[in_place]
    filled = size > 0
    return _Pool(ordered.hours[source], ordered.value[source], begin[filled], size[filled]), low, high


def _members(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Positions in all segments one after the other, and the number of the segment of each."""
    size = high - low
    segment = np.repeat(np.arange(size.size), size)
    position = np.arange(segment.size) + (low - np.cumsum(size) + size)[segment]
    return position, segment


def _chunks(row_course: Ints, event_course: Ints, width: int) -> list[tuple[int, int]]:
    """Ranges of courses with at most about CHUNK_EVENTS events and CHUNK_SEGMENTS segments each (one course at least)."""
    n_courses = int(row_course[-1]) + 1
    events = np.cumsum(np.bincount(event_course, minlength=n_courses))
    segments = np.cumsum(np.bincount(row_course, minlength=n_courses)) * width
    ranges, first = [], 0
    while first < n_courses:
        seen_events, seen_segments = (events[first - 1], segments[first - 1]) if first else (0, 0)
        by_events = np.searchsorted(events, seen_events + CHUNK_EVENTS, side="right")
        by_segments = np.searchsorted(segments, seen_segments + CHUNK_SEGMENTS, side="right")
        last = max(int(min(by_events, by_segments)), first + 1)
        ranges.append((first, last))
        first = last
    return ranges


def compute_statistics(
    events: Events,
    rows: Rows,
    requests: Sequence[Request],
    *,
    with_times: bool = False,
    plans: Sequence[_Plan] | None = None,
) -> Computed:
    """Every requested statistic for every row.

    Args:
        events: any order; input sorted by course and hours is fastest. nan values count as not measured.
        rows: any order.
        requests: the columns; `requests[j].variable` is a code below `events.n_variables`.
        with_times: also give the hours of the value behind each number.
        plans: `plan_requests(requests)` when made before.

    Returns:
        values (and times) of shape (n_rows, n_requests); nan where nothing was measured, 0 for a count.
    """
    plans = plan_requests(requests) if plans is None else plans
    shape = (rows.course.size, len(requests))
    values = np.empty(shape)
    times = np.empty(shape) if with_times else None
    if rows.course.size == 0 or not requests:
        return Computed(values, times)
    order = None
    if (np.diff(rows.course) < 0).any():
        order = np.argsort(rows.course, kind="stable")
        rows = Rows(rows.course[order], rows.dose_hours[order], rows.as_of[order])
    events, rows = _dense(events, rows)
    for first, last in _chunks(rows.course, events.course, events.n_variables):
        e = slice(*np.searchsorted(events.course, (first, last)))
        r = slice(*np.searchsorted(rows.course, (first, last)))
        part = Events(
            events.course[e] - first, events.variable[e], events.hours[e], events.known[e], events.value[e],
            events.n_variables,
        )  # fmt: skip
        part_rows = Rows(rows.course[r] - first, rows.dose_hours[r], rows.as_of[r])
        _compute_chunk(
            part, part_rows, last - first, plans, values[r], times[r] if times is not None else None
        )
    if order is not None:
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        values = values[back]
        times = times[back] if times is not None else None
    return Computed(values, times)


def _dense(events: Events, rows: Rows) -> tuple[Events, Rows]:
    """Course codes 0..n-1 of the courses that have rows; only their events, sorted by course, without nan."""
    present, dense = np.unique(rows.course, return_inverse=True)
    n_codes = int(max(present[-1], events.course.max(initial=0))) + 1
    if present.size != n_codes or np.isnan(events.value).any():
        rank = np.full(n_codes, -1)
        rank[present] = np.arange(present.size)
        course = rank[events.course]
        events = Events(course, events.variable, events.hours, events.known, events.value, events.n_variables)
        events = events.where((course >= 0) & ~np.isnan(events.value))
        rows = Rows(dense, rows.dose_hours, rows.as_of)
    if (np.diff(events.course) < 0).any():
        events = events.where(np.argsort(events.course, kind="stable"))  # type: ignore[arg-type]
    return events, rows
