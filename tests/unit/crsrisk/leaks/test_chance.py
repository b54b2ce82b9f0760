"""Exact counts and rank tests agree with scipy where scipy has the same number, and with counting by hand elsewhere."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from crsrisk.leaks.chance import (
    able_to_succeed,
    at_least,
    combined,
    confirming_strata,
    contrast,
    correlations,
    holds_within,
    hypergeometric,
    least_possible,
    midranks,
    poisson_at_least,
    separations,
    together,
)

RNG = np.random.default_rng(8)


@pytest.mark.parametrize(("population", "labelled", "drawn"), [(20, 5, 8), (300, 21, 40), (7, 7, 3)])
def test_the_hypergeometric_mass_is_that_of_scipy(population: int, labelled: int, drawn: int) -> None:
    low, mass = hypergeometric(population, labelled, drawn)
    counts = np.arange(low, low + len(mass))
    np.testing.assert_allclose(mass, stats.hypergeom(population, labelled, drawn).pmf(counts), rtol=1e-9)
    assert mass.sum() == pytest.approx(1.0)


def test_a_one_sided_tail_is_fishers() -> None:
    _, p = stats.fisher_exact([[5, 3], [4, 28]], alternative="greater")
    assert at_least(5, 40, 9, 8) == pytest.approx(p)


def test_two_sides_are_twice_the_smaller_tail() -> None:
    flag = np.array([True] * 8 + [False] * 32)
    label = np.array([True] * 5 + [False] * 3 + [True] * 4 + [False] * 28)
    _, greater = stats.fisher_exact([[5, 3], [4, 28]], alternative="greater")
    assert together(flag, label) == pytest.approx(2 * greater)


def test_within_strata_every_placing_of_the_labels_is_counted() -> None:
    flag = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    label = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    counts = [
        int(flag[list(one)].sum()) + int(flag[4 + other])
        for one in combinations(range(4), 2)
        for other in range(4)
    ]
    upper = float(np.mean([count >= 3 for count in counts]))
    assert together(flag, label, strata) == pytest.approx(2 * upper)


def test_a_flag_that_follows_the_stratum_alone_is_no_evidence() -> None:
    strata = np.repeat([0, 1], 20)
    flag = strata == 1
    label = np.array([True] * 2 + [False] * 18 + [True] * 18 + [False] * 2)
    assert together(flag, label) < 1e-5
    assert together(flag, label, strata) == 1.0


@pytest.mark.parametrize("decimals", [6, 1])
def test_the_rank_comparison_is_mann_whitney(decimals: int) -> None:
    label = RNG.random(200) < 0.3
    values = np.round(RNG.normal(size=200) + 0.5 * label, decimals)
    theirs = stats.mannwhitneyu(values[label], values[~label], method="asymptotic", use_continuity=False)
    ours = contrast(values, label)
    assert ours.auc == pytest.approx(theirs.statistic / (label.sum() * (~label).sum()))
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-6)


def test_few_labels_are_counted_exactly() -> None:
    values = np.arange(30.0)
    label = np.isin(values, [29.0, 28.0, 26.0, 27.0])
    theirs = stats.mannwhitneyu(values[label], values[~label], method="exact")
    assert contrast(values, label).p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_missing_values_and_one_class_compare_nothing() -> None:
    assert contrast(np.array([np.nan, np.nan, 1.0]), np.array([True, True, False])).pairs == 0
    assert contrast(np.array([1.0, 2.0]), np.array([True, True])).p == 1.0


def test_one_stratum_and_none_give_one_answer() -> None:
    label = RNG.random(120) < 0.4
    values = RNG.normal(size=120) + 0.3 * label
    plain, within = contrast(values, label), contrast(values, label, np.zeros(120, dtype=np.int64))
    assert within.auc == pytest.approx(plain.auc)
    assert within.p == pytest.approx(plain.p, rel=1e-6)


def test_midranks_are_those_of_scipy() -> None:
    values = np.round(RNG.normal(size=60), 1)
    ranks, ties = midranks(values)
    np.testing.assert_allclose(ranks, stats.rankdata(values))
    counts = np.unique(values, return_counts=True)[1]
    assert ties == pytest.approx(float((counts**3 - counts).sum()))


def test_the_quick_look_gives_the_same_areas() -> None:
    values = np.where(RNG.random((80, 3)) < 0.1, np.nan, RNG.normal(size=(80, 3)))
    label = RNG.random((80, 2)) < 0.3
    quick = separations(values, label)
    slow = [[contrast(values[:, i], label[:, j]).separation for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(quick, slow)


def test_rank_correlations_without_gaps_are_spearmans() -> None:
    one, other = RNG.normal(size=(50, 2)), RNG.normal(size=(50, 3))
    wanted = [[abs(stats.spearmanr(one[:, i], other[:, j])[0]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(correlations(one, other), wanted, atol=1e-9)


@pytest.mark.parametrize(("count", "mean"), [(3, 0.2), (12, 4.5), (60, 20.0)])
def test_poisson_tails_are_those_of_scipy(count: int, mean: float) -> None:
    found = poisson_at_least(np.array([count]), np.array([mean]))
    assert found[0] == pytest.approx(stats.poisson.sf(count - 1, mean), rel=1e-6)


def test_p_values_are_combined_as_fisher_does() -> None:
    p_values = [0.04, 0.2, 0.6]
    assert combined(p_values) == pytest.approx(stats.combine_pvalues(p_values, "fisher").pvalue)
    assert combined([]) == 1.0


def test_tests_that_can_never_succeed_are_not_counted() -> None:
    assert least_possible(20, 3, 1) == pytest.approx(2 * 3 / 20)
    assert able_to_succeed([0.5] * 50 + [1e-6], 0.01) == 1
    assert able_to_succeed([1e-6] * 10, 0.01) == 10


def strata_of(*codes: list[int]) -> tuple[NDArray[np.int64], ...]:
    return tuple(np.array(one, dtype=np.int64) for one in codes)


def test_strata_become_coarser_until_labels_have_peers() -> None:
    label = np.array([True, True] + [False] * 6)
    fine, coarse = strata_of([0, 0, 1, 1, 1, 1, 1, 1], [0] * 8)
    assert confirming_strata(label, (fine, coarse)) is coarse
    assert confirming_strata(label, (fine,)) is None


def test_what_follows_from_the_product_alone_does_not_hold_within() -> None:
    product = np.repeat([0, 1], 50)
    label = np.where(product == 1, RNG.random(100) < 0.6, RNG.random(100) < 0.05)
    of_product = product + 0.01 * RNG.normal(size=100)
    of_label = label + 0.01 * RNG.normal(size=100)
    limits = {"least": 0.6, "limit": 0.05}
    assert contrast(of_product, label).p < 1e-4
    assert not holds_within(of_product, label, (product,), None, **limits)
    assert holds_within(of_label, label, (product,), None, **limits)
    assert not holds_within(of_product, label, (np.zeros(100, dtype=np.int64),), product, **limits)
