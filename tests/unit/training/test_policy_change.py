"""Two policies compared: ratios and chances by hand, and what is and is not a change."""

import tempfile

import numpy as np
import pytest
from scipy.stats import binom

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.simulator import simulate
from training.policy import Cell, key, treatment_policy
from training.policy_change import ALPHA, LEAST_RATIO, compared_policies, policy_change

GRADE2 = [Cell("tocilizumab", "grade2", band) for band in range(2)]
LEUKAEMIA = ["tisa-cel_ALL", "brexu-cel_ALL"]


def policy(*numbers: tuple[float, float], courses: float = 100.0) -> dict[str, float]:
    """First uses and patient-days of tocilizumab at grade 2 in the bands since onset."""
    found = {"courses": courses}
    for cell, (started, exposed) in zip(GRADE2, numbers, strict=False):
        found |= {key(cell, "started"): started, key(cell, "exposed"): exposed}
    return found


def at_grade2(change):
    return next(c for c in change.changes if (c.drug, c.context) == ("tocilizumab", "grade2"))


def simulated(seed: int, policy: str | None = None, n: int = 200) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        return read_cohort(simulate(n, seed, LEUKAEMIA, policy=policy).write(folder, parquet=True))


def test_one_stratum_by_hand():
    """10 first uses in 100 days against 40 in 100: ratio 4, log variance 1/10 + 1/40 (greenland_1985)."""
    found = at_grade2(compared_policies(policy((10, 100)), policy((40, 100))))
    width = 1.959964 * np.sqrt(1 / 10 + 1 / 40)
    assert (found.learned, found.now, found.ratio) == pytest.approx((10.0, 40.0, 4.0))
    assert (found.low, found.high) == pytest.approx((4 * np.exp(-width), 4 * np.exp(width)))
    assert found.z == pytest.approx((20 - 5) / np.sqrt(12.5))
    share = LEAST_RATIO / (
        1 + LEAST_RATIO
    )  # of 50 first uses, if the rates differed by no more than LEAST_RATIO
    assert found.p == pytest.approx(2 * binom.sf(39, 50, share))


def test_two_strata_by_hand():
    """Mantel-Haenszel: (8 x 100/150 + 20 x 50/150) / (10 x 50/150 + 5 x 100/150) = 12 / (20/3) = 1.8."""
    found = at_grade2(compared_policies(policy((10, 100), (5, 50)), policy((8, 50), (20, 100))))
    assert found.ratio == pytest.approx(1.8)
    shares = [
        binom(18, LEAST_RATIO * 50 / (100 + LEAST_RATIO * 50)),
        binom(25, LEAST_RATIO * 100 / (50 + LEAST_RATIO * 100)),
    ]
    above = sum(shares[0].pmf(k) * shares[1].sf(27 - k) for k in range(19))
    assert found.p == pytest.approx(2 * above)


def test_many_first_uses_are_compared_by_the_normal_distribution():
    few = at_grade2(compared_policies(policy((900, 1000)), policy((1090, 900))))
    many = at_grade2(compared_policies(policy((910, 1000)), policy((1100, 900))))
    assert few.p == pytest.approx(many.p, rel=0.3)
    assert 0 < many.p < 1


def test_a_change_is_told_in_rates_and_with_what_to_do():
    change = compared_policies(policy((10, 100)), policy((60, 100), courses=80.0))
    assert [c.context for c in change.changed] == ["grade2"]
    assert change.note() == change.warning
    assert change.warning.startswith(
        "The treatment policy changed: Tocilizumab at grade 2: 60.0 first uses per 100 patient-days, against 10.0 "
        "where the model learned (ratio 6, 95 % interval 3.1 to 12)."
    )
    assert "recalibrate or retrain it on local patients" in change.warning


def test_more_patients_at_grade_2_are_no_change_of_policy():
    change = compared_policies(policy((20, 100)), policy((200, 1000)))
    assert change.changed == ()
    assert change.warning == ""
    assert change.note().startswith("No change of treatment policy was found in 100 courses (1 comparisons")


def test_a_difference_within_the_margin_is_no_change_however_many_patients():
    assert compared_policies(policy((20_000, 100_000)), policy((24_000, 100_000))).changed == ()
    assert compared_policies(policy((20_000, 100_000)), policy((27_000, 100_000))).changed != ()


def test_few_treatments_can_not_tell():
    change = compared_policies(policy((1, 5)), policy((3, 5), courses=12.0))
    assert not any(c.compared for c in change.changes)
    assert change.note() == (
        "Whether CRS is treated as where the model learned can't be told from 12 courses (and 100 there): too few "
        "treatments with known times and grades."
    )


def test_records_without_any_treatment_can_not_tell():
    silent = compared_policies(policy((0, 40)), policy((0, 20)))
    assert silent.note() == (
        "Whether CRS is treated as where the model learned can't be told: no treatment of CRS with a known time is "
        "recorded here and where the model learned."
    )
    assert compared_policies(policy((12, 40)), policy((0, 2))).note().endswith("is recorded here.")


def test_a_drug_that_was_never_used_before_is_a_change():
    change = compared_policies(policy((0, 100)), policy((30, 100)))
    assert at_grade2(change).ratio == np.inf
    assert "(ratio" not in change.warning
    stopped = compared_policies(policy((30, 100)), policy((0, 100)))
    assert at_grade2(stopped).ratio == 0.0
    assert len(stopped.changed) == 1


def test_the_limit_is_shared_by_all_comparisons():
    once = at_grade2(compared_policies(policy((30, 300)), policy((27, 100))))
    assert ALPHA / 2 < once.p < ALPHA
    other = {
        key(Cell("steroid", "grade2", 0), what): n for what, n in (("started", 30.0), ("exposed", 100.0))
    }
    alone = compared_policies(policy((30, 300)), policy((27, 100)))
    both = compared_policies(policy((30, 300)) | other, policy((27, 100)) | other)
    assert (len(alone.changed), len(both.changed)) == (1, 0)


def test_a_model_without_a_policy_can_not_tell():
    change = policy_change({}, simulated(1, n=30), "cd19_cart")
    assert change.changed == ()
    assert "can't be told" in change.note()


def test_the_table_has_a_row_per_drug_and_state():
    table = compared_policies(policy((10, 100)), policy((60, 100))).table()
    assert not table.duplicated(["drug", "context"]).any()
    assert table.loc[table["changed"], ["drug", "context"]].to_numpy().tolist() == [["tocilizumab", "grade2"]]


def test_the_same_hospitals_are_not_warned_of_and_a_pre_emptive_policy_is():
    learned = treatment_policy(simulated(1), "cd19_cart")
    assert policy_change(learned, simulated(2), "cd19_cart").changed == ()
    warned = policy_change(learned, simulated(2, "preemptive"), "cd19_cart")
    assert ("tocilizumab", "below_grade2") in {(c.drug, c.context) for c in warned.changed}
    given_up = policy_change(learned, simulated(2, "without_rescue"), "cd19_cart")
    assert all(c.ratio < 1 for c in given_up.changed)
    assert given_up.changed
