"""Statistics over many short runs of one sorted array, all runs at once.

A segment is a run [low, high) of events of one variable of one course, in order of time. Short segments are walked
together, one event per step; long ones go through `ufunc.reduceat`. Which way a segment goes, and the order in which
its numbers are added, depends on that segment alone: the result is the same to the last bit whether it is computed
with a million others or by itself.
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
        """First position in each [low, high) whose time is after the limit; all segments halve their step together."""
        position = low.copy()
        longest = int((high - low).max(initial=0))
        step = 1 << (longest.bit_length() - 1) if longest else 0
        while step:
            candidate = position + step
            inside = self.lead.take(candidate, mode="clip") <= limit
            inside &= candidate <= high
            np.copyto(position, candidate, where=inside)
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
        self._longer = (
            np.bincount(steps, minlength=LONG + 2)[::-1].cumsum()[::-1].tolist()
        )  # [k]: size at least k
        self.long = self._longer[LONG + 1]
        self._shape = low.shape
        self._long_size = size[self.order[: self.long]]

    def steps(self, first: int, *, but_last: bool = False) -> Iterator[tuple[slice, Ints]]:
        """The short segments that have a k-th event, and its position, for k = first, first + 1, ...

        but_last: leave out the last event of each segment.
        """
        for k in range(first, LONG - but_last):
            end = self._longer[k + 1 + but_last]
            if end <= self.long:
                return
            yield slice(self.long, end), self.low[self.long : end] + k

    @cached_property
    def long_members(self) -> tuple[Ints, Ints, Ints]:
        """Positions of the events of the long segments, the segment of each, and where each segment starts."""
        low = self.low[: self.long]
        position, segment = members(low, low + self._long_size)
        return position, segment, self._long_size.cumsum() - self._long_size

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
    """Segments of shape (rows, cells), a cell being a variable in a window.

    baseline: low and high of the same variable's baseline, for change and log2_ratio.
    end, as_of: end of the window and landmark in hours, broadcast against the shape.
    threshold: per cell, for hours_above.
    """

    pool: Pool
    low: Ints
    high: Ints
    walk: Callable[[], Walk]
    baseline: tuple[Ints, Ints] | None
    end: Floats
    as_of: Floats
    threshold: Floats

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """Whether nothing was measured."""
        nothing: NDArray[np.bool_] = self.low == self.high
        return nothing

    def masked(self, result: Floats) -> Floats:
        """The result with nan where nothing was measured."""
        result[self.empty] = np.nan
        return result

    def last_of(self, column: Floats) -> Floats:
        """The column at the last event of each segment."""
        return self.masked(column.take(self.high - 1, mode="clip"))


def _count(s: Segments) -> Floats:
    return (s.high - s.low).astype(np.float64)


def _first(s: Segments) -> Floats:
    return s.masked(s.pool.value.take(s.low))


def _last(s: Segments) -> Floats:
    return s.last_of(s.pool.value)


def _max(s: Segments) -> Floats:
    return s.masked(s.walk().fold(np.maximum, s.pool.value))


def _min(s: Segments) -> Floats:
    return s.masked(s.walk().fold(np.minimum, s.pool.value))


def _mean(s: Segments) -> Floats:
    return s.masked(s.walk().fold(np.add, s.pool.value)) / np.maximum(s.high - s.low, 1)


def _slope(s: Segments) -> Floats:
    """Least squares, per day; nan when the values span less than SLOPE_SPAN_HOURS.

    Hours and values count from the first of the segment: squares lose no digits, equal values give exactly 0.
    """
    hours, value, walk = s.pool.hours, s.pool.value, s.walk()
    hour_0, value_0 = hours[walk.low], value[walk.low]
    t, v, tt, tv = np.zeros((4, walk.low.size))
    for some, position in walk.steps(1):
        x = hours[position] - hour_0[some]
        y = value[position] - value_0[some]
        t[some] += x
        v[some] += y
        tv[some] += x * y
        tt[some] += x * x
    if walk.long:
        position, segment, start = walk.long_members
        x = hours[position] - hour_0[segment]
        y = value[position] - value_0[segment]
        for total, terms in ((t, x), (v, y), (tt, x * x), (tv, x * y)):
            total[: walk.long] = np.add.reduceat(terms, start)
    count = np.maximum(s.high - s.low, 1)
    span = s.last_of(hours) - hours.take(s.low)
    t_mean = walk.back(t) / count
    square = walk.back(tt) - walk.back(t) * t_mean
    product = walk.back(tv) - walk.back(v) * t_mean
    square[~(span >= SLOPE_SPAN_HOURS)] = np.nan
    return 24.0 * product / square


def _baseline_last(s: Segments) -> Floats:
    if s.baseline is None:
        raise ValueError("change and log2_ratio need the segments of the baseline")
    low, high = s.baseline
    last = s.pool.value.take(high - 1, mode="clip")
    last[low == high] = np.nan
    return last


def _change(s: Segments) -> Floats:
    return s.last_of(s.pool.value) - _baseline_last(s)


def _log2_ratio(s: Segments) -> Floats:
    """log2 of the last value over the last baseline value; nan unless both are above 0."""
    last, before = s.last_of(s.pool.value), _baseline_last(s)
    usable = (last > 0) & (before > 0)
    return np.log2(np.divide(last, before, out=np.full(last.shape, np.nan), where=usable))


def _hours_above(s: Segments) -> Floats:
    """Hours at or above the threshold; a value speaks until the next one, the window's end or CARRY_HOURS."""
    hours, value, walk = s.pool.hours, s.pool.value, s.walk()
    threshold = np.broadcast_to(s.threshold, s.low.shape).ravel()[walk.order]
    earlier = np.zeros(walk.low.size)
    for some, position in walk.steps(0, but_last=True):
        carried = np.minimum(hours[position + 1] - hours[position], CARRY_HOURS)
        carried *= value[position] >= threshold[some]
        earlier[some] += carried
    if walk.long:
        position, segment, start = walk.long_members
        carried = np.minimum(hours[position + 1] - hours[position], CARRY_HOURS)
        carried *= value[position] >= threshold[segment]
        carried[np.append(start[1:], position.size) - 1] = 0.0
        earlier[: walk.long] = np.add.reduceat(carried, start)
    newest = s.high - 1
    left = np.minimum(s.end - hours.take(newest, mode="clip"), CARRY_HOURS)
    left *= value.take(newest, mode="clip") >= s.threshold
    return s.masked(walk.back(earlier) + left)


def _hours_since_last(s: Segments) -> Floats:
    return s.as_of - s.last_of(s.pool.hours)


STATISTICS: dict[Statistic, Callable[[Segments], Floats]] = {
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
WALKED: frozenset[Statistic] = frozenset({"max", "min", "mean", "slope", "hours_above"})


def times(s: Segments, statistic: Statistic) -> Floats:
    """Hours of the value behind the statistic: where an extreme was first reached, the first, else the last value."""
    if statistic == "first":
        return s.masked(s.pool.hours.take(s.low))
    if statistic not in ("max", "min"):
        return s.last_of(s.pool.hours)
    extreme = STATISTICS[statistic](s)
    position, segment = members(s.low.ravel(), s.high.ravel())
    reached = extreme.ravel()[segment] == s.pool.value[position]
    first = np.full(extreme.size, np.nan)
    first[segment[reached][::-1]] = s.pool.hours[position[reached][::-1]]
    return first.reshape(s.low.shape)
