"""Which pairs of courses may be one record, without comparing every course with every other.

Copies share rare things: a value at a moment, two values in a row with the same gap, three moments in the same
rhythm. Rare tokens are shared by few courses, so pairs come from sorting tokens. Copies whose values were changed
a little lie unusually close to each other in their columns or in the middle values of their laboratory: nearest
neighbours in a k-d tree.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crsrisk.leaks.chance import midranks
from crsrisk.leaks.view import LABORATORY, Floats, Ints, View

MOST_SHARING = 4
"""Courses that may share a rare token; commoner ones tell nothing."""
FEWEST_SHARED = 6
NEIGHBOURS = 3
MUCH_CLOSER = 0.5
"""A neighbour at less than this share of the usual distance to the nearest one is looked at."""
PROFILE_VARIABLES = 14
COMMON_SHARE = 0.5
HOURS_STEP = 0.01

_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)
Hashes = NDArray[np.uint64]


def candidate_pairs(view: View, scaled: Floats) -> Ints:
    """Pairs of courses worth comparing, shape (pairs, 2), rows of `cohort.courses`, first below second.

    Args:
        view: the cohort.
        scaled: value of each event on the scale of its variable, shape (events,), nan when no number.
    """
    found = [_sharing(course, tokens, view.n) for course, tokens in _tokens(view)]
    found.append(_close(_profile(view, scaled)))
    found.append(_close(columns_table(view)))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), dtype=np.int64)
    return pairs.astype(np.int64)


def columns_table(view: View) -> Floats:
    """Numeric columns as ranks from 0 to 1, shape (courses, columns), nan when absent; sex among them."""
    columns = [column.numbers for column in view.columns if len(np.unique(column.numbers)) > 2]
    sex = view.cohort.courses["sex"].to_numpy(dtype=object)
    columns.append(np.select([sex == "female", sex == "male"], [1.0, 0.0], default=np.nan))
    table = np.full((view.n, len(columns)), np.nan)
    for place, numbers in enumerate(columns):
        there = ~np.isnan(numbers)
        table[there, place] = midranks(numbers[there])[0] / max(int(there.sum()), 1)
    return table


def _tokens(view: View) -> Iterator[tuple[Ints, Hashes]]:
    """Courses and hashes of values at moments, of values in a row, and of moments in a row."""
    events = view.events
    number = ~np.isnan(events.value)
    value = np.zeros(len(events), dtype=np.int64)
    value[number] = np.rint(np.clip(events.value[number], -1e12, 1e12) * 1e4).astype(np.int64)
    moment = np.rint(events.hours / HOURS_STEP).astype(np.int64)
    rows = np.flatnonzero(number)
    yield events.course[rows], _hash(events.variable[rows], value[rows], moment[rows])
    following = np.flatnonzero(~events.series_start & number)
    following = following[number[following - 1]]
    gap = np.rint((events.hours[following] - events.hours[following - 1]) / HOURS_STEP).astype(np.int64)
    hashes = _hash(events.variable[following], value[following], value[following - 1], gap)
    yield events.course[following], hashes
    moments = np.unique(np.stack([events.course, moment], axis=1), axis=0)
    if len(moments) > 3:
        same = moments[3:, 0] == moments[:-3, 0]
        gaps = np.diff(moments[:, 1])
        yield moments[3:, 0][same], _hash(gaps[:-2][same], gaps[1:-1][same], gaps[2:][same])


def _hash(*parts: Ints) -> Hashes:
    total = np.zeros(len(parts[0]), dtype=np.uint64)
    for part, factor in zip(parts, _MIX, strict=False):
        total = (total ^ part.astype(np.uint64)) * np.uint64(factor)
        total ^= total >> np.uint64(29)
    return total


def _sharing(course: Ints, tokens: Hashes, courses: int) -> Ints:
    """Pairs that share several rare tokens."""
    order = np.lexsort((course, tokens))
    token, holder = tokens[order], course[order]
    first = np.ones(len(token), dtype=np.bool_)
    first[1:] = (token[1:] != token[:-1]) | (holder[1:] != holder[:-1])
    token, holder = token[first], holder[first]
    start = np.flatnonzero(np.append(True, token[1:] != token[:-1])) if len(token) else np.zeros(0, np.int64)
    size = np.diff(np.append(start, len(token)))
    codes = []
    for length in range(2, MOST_SHARING + 1):
        begin = start[size == length]
        for one in range(length):
            for other in range(one + 1, length):
                codes.append(holder[begin + one] * courses + holder[begin + other])
    pairs, counts = np.unique(np.concatenate(codes), return_counts=True)
    pairs = pairs[counts >= FEWEST_SHARED]
    return np.stack([pairs // courses, pairs % courses], axis=1)


def _profile(view: View, scaled: Floats) -> Floats:
    """Middle value of the commonest laboratory variables of each course, nan when absent."""
    events = view.events
    rows = np.flatnonzero(events.of_kinds(LABORATORY) & ~np.isnan(scaled))
    pair = events.course[rows] * len(events.variables) + events.variable[rows]
    order = np.lexsort((scaled[rows], pair))
    codes, start, count = np.unique(pair[order], return_index=True, return_counts=True)
    middle = (scaled[rows][order][start + (count - 1) // 2] + scaled[rows][order][start + count // 2]) / 2.0
    table = np.full((view.n, len(events.variables)), np.nan)
    table[codes // len(events.variables), codes % len(events.variables)] = middle
    covered = (~np.isnan(table)).sum(axis=0)
    common = np.argsort(-covered, kind="stable")[:PROFILE_VARIABLES]
    return table[:, common[covered[common] >= COMMON_SHARE * view.n]]


def _close(table: Floats) -> Ints:
    """Pairs of rows far closer to each other than rows usually are to their nearest neighbour."""
    nothing = np.zeros((0, 2), dtype=np.int64)
    if table.shape[1] < 2 or len(table) < 3:
        return nothing
    from scipy.spatial import cKDTree

    there = ~np.isnan(table)
    centre, spread = np.zeros(table.shape[1]), np.ones(table.shape[1])
    for column in range(table.shape[1]):
        values = table[there[:, column], column]
        if values.size:
            centre[column], spread[column] = values.mean(), max(float(values.std()), 1e-9)
    filled = np.where(there, (table - centre) / spread, 0.0)
    distance, neighbour = cKDTree(filled).query(filled, k=min(NEIGHBOURS + 1, len(table)))
    usual = np.median(distance[:, 1])
    one, place = np.nonzero(distance <= MUCH_CLOSER * usual)
    pairs = np.sort(np.stack([one, neighbour[one, place]], axis=1), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).astype(np.int64)
