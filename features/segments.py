"""Statistics over many short runs of one sorted array, all runs at once.

A segment is a run [low, high) of events of one variable of one course, in order of time. Short segments are
walked together, one event per step; long ones go through `ufunc.reduceat`. Which way a segment goes, and
the order in which its numbers are added, depends on that segment alone: the result is the same to the last
bit whether it is computed with a million others or by itself.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Sorted events; one padding element at the end lets a segment begin and end at the end of the array.

    lead: hours with one element in front, so that lead[i] is the time of event i - 1.
    """

    def __init__(self, hours: Floats, value: Floats) -> None:
        self.lead = np.concatenate(((0.0,), hours, (0.0,)))
        self.hours = self.lead[1:]
        self.value = np.concatenate((value, (0.0,)))

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
        self._gathered: dict[int, list[Floats]] = {}

    def steps(self, column: Floats) -> list[Floats]:
        """The column at the first, second, ... event of the short segments that have one; computed once.

        The k-th array belongs to the segments [self.long : self.long + its size].
        """
        found = self._gathered.get(id(column))
        if found is None:
            found = [column[position] for position in self._positions]
            self._gathered[id(column)] = found
        return found

    @cached_property
    def _positions(self) -> list[Ints]:
        ends = [end for end in self._longer[1 : LONG + 1] if end > self.long]
        return [self.low[self.long : end] + k for k, end in enumerate(ends)]

    @cached_property
    def long_members(self) -> tuple[Ints, Ints, Ints]:
        """Positions of the events of the long segments, the segment of each, where each segment starts."""
        low, size = self.low[: self.long], self.size[: self.long]
        position, segment = members(low, low + size)
        return position, segment, size.cumsum() - size

    def fold(self, ufunc: np.ufunc, column: Floats) -> Floats:
        """The ufunc over each segment; an empty segment gives a number that must be masked."""
        found = np.zeros(self.low.size)
        short = found[self.long :]
        for k, part in enumerate(self.steps(column)):
            if k:
                ufunc(short[: part.size], part, out=short[: part.size])
            else:
                short[: part.size] = part
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

    @cached_property
    def last_value(self) -> Floats:
        """The last value of each segment; don't change it."""
        return self.masked(self.pool.value.take(self.newest, mode="clip"))

    @cached_property
    def last_hours(self) -> Floats:
        """The time of the last event of each segment; don't change it."""
        return self.masked(self.pool.hours.take(self.newest, mode="clip"))


@dataclass(frozen=True)
class Frame:
    """What a statistic needs besides its segments.

    end, as_of: end of the window and landmark in hours, broadcast against the segments.
    threshold: per cell, for hours_above.
    baseline: the last baseline value of the same variables, for change and log2_ratio.
    """

    end: Floats
    as_of: Floats
    threshold: Floats
    baseline: Floats


def _count(s: Segments, _: Frame) -> Floats:
    return (s.high - s.low).astype(np.float64)


def _first(s: Segments, _: Frame) -> Floats:
    return s.masked(s.pool.value.take(s.low))


def _last(s: Segments, _: Frame) -> Floats:
    return s.last_value


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
    t, v, tt, tv = np.zeros((4, walk.low.size))
    hour_0, value_0 = hours[walk.low], value[walk.low]
    short_hours, short_value = hour_0[walk.long :], value_0[walk.long :]
    for hour, taken in zip(walk.steps(hours)[1:], walk.steps(value)[1:], strict=True):
        some = slice(walk.long, walk.long + hour.size)
        x = hour - short_hours[: hour.size]
        y = taken - short_value[: hour.size]
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
    return s.last_value - frame.baseline


def _log2_ratio(s: Segments, frame: Frame) -> Floats:
    """log2 of the last value over the last baseline value; nan unless both are above 0."""
    last, before = s.last_value, frame.baseline
    usable = (last > 0) & (before > 0)
    return np.log2(np.divide(last, before, out=np.full(last.shape, np.nan), where=usable))


def _hours_above(s: Segments, frame: Frame) -> Floats:
    """Hours at or above the threshold; a value speaks until the next one, the window's end or CARRY_HOURS."""
    hours, value, walk = s.pool.hours, s.pool.value, s.walk
    limit = np.broadcast_to(frame.threshold, s.low.shape).ravel()[walk.order]
    short_limit = limit[walk.long :]
    earlier = np.zeros(walk.low.size)
    by_hour, by_value = walk.steps(hours), walk.steps(value)
    for k, now in enumerate(by_hour[1:]):
        carried = now - by_hour[k][: now.size]
        np.minimum(carried, CARRY_HOURS, out=carried)
        carried *= by_value[k][: now.size] >= short_limit[: now.size]
        earlier[walk.long : walk.long + now.size] += carried
    if walk.long:
        position, segment, start = walk.long_members
        carried = np.minimum(hours[position + 1] - hours[position], CARRY_HOURS)
        carried *= value[position] >= limit[segment]
        carried[start + walk.size[: walk.long] - 1] = 0.0
        earlier[: walk.long] = np.add.reduceat(carried, start)
    left = np.minimum(frame.end - s.last_hours, CARRY_HOURS)
    left *= s.last_value >= frame.threshold
    left += walk.back(earlier)
    return left


def _hours_since_last(s: Segments, frame: Frame) -> Floats:
    return frame.as_of - s.last_hours


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
        return s.last_hours
    extreme = STATISTICS[statistic](s, frame)
    position, segment = members(s.low.ravel(), s.high.ravel())
    reached = extreme.ravel()[segment] == s.pool.value[position]
    first = np.full(extreme.size, np.nan)
    first[segment[reached][::-1]] = s.pool.hours[position[reached][::-1]]
    return first.reshape(s.low.shape)
