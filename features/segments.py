"""Statistics over many short runs of one sorted array, all runs at once.

A segment is a run [low, high) of events of one variable of one course, in order of time. Short segments are
walked together, one event per step; long ones go through `ufunc.reduceat`. Which way a segment goes, and
the order in which its numbers are added, depends on that segment alone: the result is the same to the last
bit whether it is computed with a million others or by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
LONG = 16  # segments with more events go through reduceat


class Pool:
    """Sorted events; one padding element at the end lets a segment begin and end at the end of the array."""

    def __init__(self, hours: Floats, value: Floats) -> None:
        self.hours = np.concatenate((hours, (0.0,)))
        self.value = np.concatenate((value, (0.0,)))

    @cached_property
    def lead(self) -> Floats:
        """Hours with one element in front: lead[i] is the time of event i - 1."""
        return np.concatenate(((0.0,), self.hours))

    def upper(self, low: Ints, high: Ints, limit: Floats) -> Ints:
        """First position in each [low, high) whose time is after the limit, by halving all at once."""
        position = low.copy()
        longest = int((high - low).max(initial=0))
        step = 1 << (longest.bit_length() - 1) if longest else 0
        candidate = np.empty_like(position)
        while step:
            np.add(position, step, out=candidate)
            np.minimum(candidate, high, out=candidate)
            np.copyto(position, candidate, where=self.lead[candidate] <= limit)
            step >>= 1
        return position


def members(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Positions in all segments one after the other, and the number of the segment of each."""
    size = high - low
    segment = np.arange(size.size).repeat(size)
    position = np.arange(segment.size) + (low - size.cumsum() + size)[segment]
    return position, segment


class Walk:
    """Segments from the longest to the shortest, so that those with more than k events are a prefix."""

    def __init__(self, low: Ints, high: Ints) -> None:
        size = (high - low).ravel()
        steps = np.minimum(size, LONG + 1)
        self.order = (LONG + 1 - steps).astype(np.uint8).argsort(kind="stable")
        self.low = low.ravel()[self.order]
        self.size = size[self.order]
        self._longer = (
            np.bincount(steps, minlength=LONG + 2)[::-1].cumsum()[::-1].tolist()
        )  # [k]: size at least k
        self.long = self._longer[LONG + 1]
        self._shape = low.shape

    def steps(self, first: int) -> Iterator[tuple[slice, Ints]]:
        """Short segments with a k-th event (from 0), and its position, for k = first, first + 1, ..."""
        position = self.low[self.long :] + (first - 1)
        for k in range(first, LONG):
            end = self._longer[k + 1]
            if end <= self.long:
                return
            position = position[: end - self.long]
            position += 1
            yield slice(self.long, end), position

    @cached_property
    def long_members(self) -> tuple[Ints, Ints, Ints]:
        """Positions of the events of the long segments, the segment of each, where each segment starts."""
        low, size = self.low[: self.long], self.size[: self.long]
        position, segment = members(low, low + size)
        return position, segment, size.cumsum() - size

    def fold(self, ufunc: np.ufunc, column: Floats) -> Floats:
        """The ufunc over each segment; an empty segment gives a number that must be masked."""
        found = column[self.low]
        for some, position in self.steps(1):
            ufunc(found[some], column[position], out=found[some])
        if self.long:
            position, _, start = self.long_members
            found[: self.long] = ufunc.reduceat(column[position], start)
        return self.back(found)

    def back(self, found: Floats) -> Floats:
        """Results in the order and shape in which the segments came."""
        result = np.empty(found.size)
        result[self.order] = found
        return result.reshape(self._shape)


@dataclass(frozen=True)
class Segments:
    """Segments of shape (rows, cells), a cell being a variable in a window."""

    pool: Pool
    low: Ints
    high: Ints

    @cached_property
    def walk(self) -> Walk:
        """The segments by length."""
        return Walk(self.low, self.high)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """Whether nothing was measured."""
        nothing: NDArray[np.bool_] = self.low == self.high
        return nothing

    @cached_property
    def newest(self) -> Ints:
        """Position of the last event; no event of the segment where it is empty."""
        return self.high - 1

    def masked(self, result: Floats) -> Floats:
        """The result with nan where nothing was measured."""
        np.copyto(result, np.nan, where=self.empty)
        return result

    def last_of(self, column: Floats) -> Floats:
        """The column at the last event of each segment."""
        return self.masked(column.take(self.newest, mode="clip"))


@dataclass(frozen=True)
class Frame:
    """What a statistic needs besides its segments.

    end, as_of: end of the window and landmark in hours, broadcast against the segments.
    threshold: per cell, for hours_above.
    baseline: the segments of the same variables before the index time, for change and log2_ratio.
    """

    end: Floats
    as_of: Floats
    threshold: Floats
    baseline: Segments | None = None

    def baseline_last(self) -> Floats:
        """The last baseline value."""
        if self.baseline is None:
            raise ValueError("change and log2_ratio need the segments of the baseline")
        return self.baseline.last_of(self.baseline.pool.value)


def _count(s: Segments, _: Frame) -> Floats:
    return (s.high - s.low).astype(np.float64)


def _first(s: Segments, _: Frame) -> Floats:
    return s.masked(s.pool.value.take(s.low))


def _last(s: Segments, _: Frame) -> Floats:
    return s.last_of(s.pool.value)


def _max(s: Segments, _: Frame) -> Floats:
    return s.masked(s.walk.fold(np.maximum, s.pool.value))


def _min(s: Segments, _: Frame) -> Floats:
    return s.masked(s.walk.fold(np.minimum, s.pool.value))


def _mean(s: Segments, _: Frame) -> Floats:
    return s.masked(s.walk.fold(np.add, s.pool.value)) / np.maximum(s.high - s.low, 1)


def _slope(s: Segments, _: Frame) -> Floats:
    """Least squares, per day; nan when the values span less than SLOPE_SPAN_HOURS.

    Hours and values count from the first of the segment: squares lose no digits, equal values give exactly 0.
    """
    hours, value, walk = s.pool.hours, s.pool.value, s.walk
    hour_0, value_0 = hours[walk.low], value[walk.low]
    t, v, tt, tv = np.zeros((4, walk.low.size))
    for some, position in walk.steps(1):
        x = hours[position]
        x -= hour_0[some]
        y = value[position]
        y -= value_0[some]
        t[some] += x
        v[some] += y
        y *= x
        tv[some] += y
        x *= x
        tt[some] += x
    if walk.long:
        position, segment, start = walk.long_members
        x = hours[position] - hour_0[segment]
        y = value[position] - value_0[segment]
        for total, terms in ((t, x), (v, y), (tt, x * x), (tv, x * y)):
            total[: walk.long] = np.add.reduceat(terms, start)
    span = hours.take(walk.low + (walk.size - 1), mode="clip") - hour_0
    t_mean = t / np.maximum(walk.size, 1)
    square = tt - t * t_mean
    product = tv - v * t_mean
    np.copyto(square, np.nan, where=(span < SLOPE_SPAN_HOURS) | (walk.size < 2))
    return walk.back(24.0 * product / square)


def _change(s: Segments, frame: Frame) -> Floats:
    return s.last_of(s.pool.value) - frame.baseline_last()


def _log2_ratio(s: Segments, frame: Frame) -> Floats:
    """log2 of the last value over the last baseline value; nan unless both are above 0."""
    last, before = s.last_of(s.pool.value), frame.baseline_last()
    usable = (last > 0) & (before > 0)
    return np.log2(np.divide(last, before, out=np.full(last.shape, np.nan), where=usable))


def _hours_above(s: Segments, frame: Frame) -> Floats:
    """Hours at or above the threshold; a value speaks until the next one, the window's end or CARRY_HOURS."""
    hours, value, walk = s.pool.hours, s.pool.value, s.walk
    limit = np.broadcast_to(frame.threshold, s.low.shape).ravel()[walk.order]
    earlier = np.zeros(walk.low.size)
    before = hours[walk.low[walk.long :]]
    above = value[walk.low[walk.long :]] >= limit[walk.long :]
    for some, position in walk.steps(1):
        now = hours[position]
        carried = now - before[: position.size]
        np.minimum(carried, CARRY_HOURS, out=carried)
        carried *= above[: position.size]
        earlier[some] += carried
        before, above = now, value[position] >= limit[some]
    if walk.long:
        position, segment, start = walk.long_members
        carried = np.minimum(hours[position + 1] - hours[position], CARRY_HOURS)
        carried *= value[position] >= limit[segment]
        carried[start + walk.size[: walk.long] - 1] = 0.0
        earlier[: walk.long] = np.add.reduceat(carried, start)
    left = frame.end - hours.take(s.newest, mode="clip")
    np.minimum(left, CARRY_HOURS, out=left)
    left *= value.take(s.newest, mode="clip") >= frame.threshold
    return s.masked(walk.back(earlier) + left)


def _hours_since_last(s: Segments, frame: Frame) -> Floats:
    return frame.as_of - s.last_of(s.pool.hours)


STATISTICS: dict[Statistic, Callable[[Segments, Frame], Floats]] = {
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
FROM_BASELINE: frozenset[Statistic] = frozenset({"change", "log2_ratio"})


def times(s: Segments, frame: Frame, statistic: Statistic) -> Floats:
    """Hours of the value behind it: where an extreme was first reached, the first, else the last value."""
    if statistic == "first":
        return s.masked(s.pool.hours.take(s.low))
    if statistic not in ("max", "min"):
        return s.last_of(s.pool.hours)
    extreme = STATISTICS[statistic](s, frame)
    position, segment = members(s.low.ravel(), s.high.ravel())
    reached = extreme.ravel()[segment] == s.pool.value[position]
    first = np.full(extreme.size, np.nan)
    first[segment[reached][::-1]] = s.pool.hours[position[reached][::-1]]
    return first.reshape(s.low.shape)
