"""How likely chance alone is: exact counts and rank tests, plain and within strata.

All are written for labels without a model: a label is exchangeable between courses (of a stratum) when it
has nothing to do with what is tested. Small numbers of severe courses are the normal case, so tails are exact
wherever a normal curve would mislead.
"""

from dataclasses import dataclass
from functools import cache
from math import erfc, exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from crsrisk.leaks.view import Bools, Floats, Ints

EXACT_LABELS = 12  # up to this many labelled courses ranks are counted exactly
EXACT_COURSES = 600
UNLIKELY = 0.05  # only such results are worth an exact count


@dataclass(frozen=True)
class Contrast:
    """How a quantity differs between labelled and other courses.

    auc: chance that a labelled course has the higher value (ties half). p: two-sided p-value. pairs: number
    of pairs compared.
    """

    auc: float
    p: float
    pairs: int

    @property
    def separation(self) -> float:
        """The area in either direction, 0.5 to 1."""
        return max(self.auc, 1.0 - self.auc)


NOTHING = Contrast(0.5, 1.0, 0)


@cache
def _log_factorials(upto: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, upto + 1, dtype=np.float64)))])


def _log_choose(table: Floats, n: int, k: Ints) -> Floats:
    found: Floats = table[n] - table[k] - table[n - k]
    return found


def hypergeometric(population: int, labelled: int, drawn: int) -> tuple[int, Floats]:
    """Lowest possible count of labelled among the drawn, and the probability of each count from it on."""
    table = _log_factorials(1 << (max(population, 1)).bit_length())
    low, high = max(0, drawn + labelled - population), min(drawn, labelled)
    counts = np.arange(low, high + 1, dtype=np.int64)
    logs = (
        _log_choose(table, labelled, counts)
        + _log_choose(table, population - labelled, drawn - counts)
        - float(table[population] - table[drawn] - table[population - drawn])
    )
    return low, np.exp(logs)


def at_least(observed: int, population: int, labelled: int, drawn: int) -> float:
    """Chance of `observed` or more labelled among `drawn` of `population` (Fisher, one-sided)."""
    low, mass = hypergeometric(population, labelled, drawn)
    return float(min(1.0, mass[max(observed - low, 0) :].sum()))


def together(flag: Bools, label: Bools, strata: Ints | None = None) -> float:
    """Two-sided p-value for flag and label standing together more or less often than by chance.

    Args:
        flag: shape (n,).
        label: shape (n,).
        strata: codes, shape (n,); chance acts within strata. None for one stratum.
    """
    if strata is None:
        parts = [(len(flag), int(label.sum()), int(flag.sum()))]
    else:
        size = np.bincount(strata)
        labelled = np.bincount(strata, weights=label).astype(np.int64)
        flagged = np.bincount(strata, weights=flag).astype(np.int64)
        parts = [
            (int(n), int(m), int(k)) for n, m, k in zip(size, labelled, flagged, strict=True) if n and m and k
        ]
    base, mass = 0, np.ones(1)
    for population, marked, drawn in parts:
        low, more = hypergeometric(population, marked, drawn)
        base, mass = base + low, np.convolve(mass, more)
    observed = int((flag & label).sum()) - base
    upper, lower = mass[max(observed, 0) :].sum(), mass[: observed + 1].sum()
    return float(min(1.0, 2.0 * min(upper, lower)))


def contrast(values: Floats, label: Bools, strata: Ints | None = None) -> Contrast:
    """Rank comparison of labelled and other courses (Mann-Whitney; van Elteren within strata)."""
    there = ~np.isnan(values)
    values, label = values[there], label[there]
    if strata is None:
        return _plain(values, label)
    wins = pairs = expected_gap = variance = 0.0
    codes = strata[there]
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    for rows in np.split(order, edges):
        ones = int(label[rows].sum())
        zeros = len(rows) - ones
        if not ones or not zeros:
            continue
        ranks, ties = midranks(values[rows])
        u = float(ranks[label[rows]].sum()) - ones * (ones + 1) / 2.0
        n = len(rows)
        wins, pairs = wins + u, pairs + ones * zeros
        weight = 1.0 / (n + 1.0)
        expected_gap += weight * (u - ones * zeros / 2.0)
        variance += weight**2 * ones * zeros / 12.0 * ((n + 1.0) - ties / (n * max(n - 1.0, 1.0)))
    if not pairs:
        return NOTHING
    if variance <= 0.0:
        return Contrast(0.5, 1.0, int(pairs))
    return Contrast(wins / pairs, erfc(abs(expected_gap) / sqrt(2.0 * variance)), int(pairs))


def _plain(values: Floats, label: Bools) -> Contrast:
    n, ones = len(values), int(label.sum())
    zeros = n - ones
    if not ones or not zeros:
        return NOTHING
    ranks, ties = midranks(values)
    total = float(ranks[label].sum())
    u = total - ones * (ones + 1) / 2.0
    variance = ones * zeros / 12.0 * ((n + 1.0) - ties / (n * max(n - 1.0, 1.0)))
    if variance <= 0.0:
        return Contrast(0.5, 1.0, ones * zeros)
    p = erfc(abs(u - ones * zeros / 2.0) / sqrt(2.0 * variance))
    fewest = min(ones, zeros)
    if p < UNLIKELY and fewest <= EXACT_LABELS and n <= EXACT_COURSES:
        marked = label if ones <= zeros else ~label
        p = _exact(ranks, marked)
    return Contrast(u / (ones * zeros), p, ones * zeros)


def midranks(values: Floats) -> tuple[Floats, float]:
    """Ranks from 1, ties share their mean; and the sum of t**3 - t over ties of t values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[place]
    return ranks, float((counts.astype(np.float64) ** 3 - counts).sum())


def separations(values: Floats, label: Bools) -> Floats:
    """Area under the curve of every column against every label, in either direction: a quick first look.

    Args:
        values: shape (n, columns), nan when absent.
        label: shape (n, labels).

    Returns:
        Shape (columns, labels); 0.5 where a label has one class among the present values.
    """
    there = ~np.isnan(values)
    ranks = np.zeros(values.shape)
    for column in range(values.shape[1]):
        ranks[there[:, column], column] = midranks(values[there[:, column], column])[0]
    ones = there.T.astype(np.float64) @ label
    pairs = ones * (there.sum(axis=0)[:, None] - ones)
    wins = ranks.T @ label - ones * (ones + 1.0) / 2.0
    found = np.full(pairs.shape, 0.5)
    np.divide(wins, pairs, out=found, where=pairs > 0)
    return np.maximum(found, 1.0 - found)


def correlations(one: Floats, other: Floats) -> Floats:
    """Absolute rank correlations of all columns of two tables over the rows that have both: a quick first look.

    Args:
        one: shape (n, columns), nan when absent; ranks are taken before pairs are formed.
        other: the same for other columns.

    Returns:
        Shape (columns of one, columns of other); 0 where nothing varies.
    """
    (x, present_x), (y, present_y) = (_ranked(table) for table in (one, other))
    count = present_x.T @ present_y
    sum_x, sum_y = x.T @ present_y, present_x.T @ y
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = x.T @ y - sum_x * sum_y / count
        spread_x = (x**2).T @ present_y - sum_x**2 / count
        spread_y = present_x.T @ (y**2) - sum_y**2 / count
        found = np.abs(covariance) / np.sqrt(spread_x * spread_y)
    vary = (spread_x > 1e-9) & (spread_y > 1e-9)
    return np.where(vary, found, 0.0)


def _ranked(table: Floats) -> tuple[Floats, Floats]:
    there = ~np.isnan(table)
    ranks = np.zeros(table.shape)
    for column in range(table.shape[1]):
        present = there[:, column]
        ranks[present, column] = midranks(table[present, column])[0] / max(int(present.sum()), 1) - 0.5
    return ranks, there.astype(np.float64)


def _exact(ranks: Floats, label: Bools) -> float:
    """Two-sided p-value of the sum of ranks over all ways to place the labels."""
    doubled = np.rint(2.0 * ranks).astype(np.int64)
    ones = int(label.sum())
    most = int(np.sort(doubled)[-ones:].sum())
    ways = np.zeros((ones + 1, most + 1))
    ways[0, 0] = 1.0
    for used, rank in enumerate(doubled.tolist()):
        for count in range(min(used + 1, ones), 0, -1):
            ways[count, rank:] += ways[count - 1, : most + 1 - rank]
    observed = int(doubled[label].sum())
    share = ways[ones] / ways[ones].sum()
    return float(min(1.0, 2.0 * min(share[: observed + 1].sum(), share[observed:].sum())))


def poisson_at_least(counts: Ints, means: Floats) -> Floats:
    """Chance of `counts` or more when `means` are expected; shapes (n,)."""
    found = np.ones(len(counts))
    for place, (count, mean) in enumerate(zip(counts.tolist(), means.tolist(), strict=True)):
        found[place] = _poisson_tail(count, mean)
    return found


def _poisson_tail(count: int, mean: float) -> float:
    if count <= mean or mean <= 0.0:
        return 0.0 if mean <= 0.0 and count > 0 else 1.0
    term = exp(count * log(mean) - mean - float(_log_factorials(1 << (count + 1).bit_length())[count]))
    total, k = term, count
    while term > total * 1e-12:
        k += 1
        term *= mean / k
        total += term
    return min(1.0, total)


def combined(p_values: list[float]) -> float:
    """One p-value of several independent ones (Fisher)."""
    if not p_values:
        return 1.0
    half = -sum(log(max(p, 1e-300)) for p in p_values)
    # the upper tail of chi-squared with 2k degrees of freedom is a Poisson sum
    term, total = exp(-half), 0.0
    for k in range(len(p_values)):
        total += term
        term *= half / (k + 1)
    return min(1.0, total)


def confirming_strata(label: Bools, levels: tuple[Ints, ...]) -> Ints | None:
    """The finest strata in which most labelled courses can still be compared with three others.

    None when not even the coarsest allow it: the label then follows from the therapy.
    """
    others = ~label
    for codes in levels:
        peers = np.bincount(codes, weights=others, minlength=int(codes.max()) + 1)[codes]
        if label.any() and (peers[label] >= 3).mean() >= 0.6:
            return codes
    return None


def holds_within(
    values: Floats, label: Bools, levels: tuple[Ints, ...], sites: Ints | None, *, least: float, limit: float
) -> bool:
    """Whether values and label go together within products, and within sites, as they do over all.

    What follows from the product alone (premedication of engagers, doses of cells) is no leak. So the direction
    and size must be seen inside products, and significance inside the finest strata that allow a comparison.

    Args:
        values: shape (n,), no nan.
        label: shape (n,).
        levels: codes of ever coarser strata, the first of products.
        sites: codes of sites; None for one site.
        least: area under the curve that must remain inside products.
        limit: highest p-value.
    """
    over_all = contrast(values, label)
    inside = contrast(values, label, levels[0])
    if inside.pairs == 0 or inside.separation < least or (inside.auc > 0.5) != (over_all.auc > 0.5):
        return False
    strata = confirming_strata(label, levels)
    if strata is None or _p_within(values, label, strata) > limit:
        return False
    return (
        sites is None or contrast(values, label, sites).pairs == 0 or _p_within(values, label, sites) <= limit
    )


def _p_within(values: Floats, label: Bools, strata: Ints) -> float:
    if ((values == 0.0) | (values == 1.0)).all():
        return together(values == 1.0, label, strata)
    return contrast(values, label, strata).p


def codes_of(*parts: NDArray[np.int64]) -> Ints:
    """One code per combination of codes."""
    table = np.stack(parts, axis=1)
    _, found = np.unique(table, axis=0, return_inverse=True)
    return found.reshape(-1).astype(np.int64)


def least_possible(population: int, labelled: int, drawn: int) -> float:
    """The smallest two-sided p-value that `together` can give for these margins."""
    _, mass = hypergeometric(population, labelled, drawn)
    return float(min(1.0, 2.0 * min(mass[0], mass[-1])))


def able_to_succeed(least: list[float], level: float) -> int:
    """How many tests count at a level when those that can never succeed are left out (tarone_1990 in docs/sources.bib).

    The smallest k such that no more than k tests can reach level / k.
    """
    for k in range(1, len(least) + 1):
        if sum(p <= level / k for p in least) <= k:
            return k
    return max(len(least), 1)
