"""Paired differences of two sets of risks on the same patients."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from training.offset import sigmoid
from training.paired import COLUMNS, paired_differences
from training.resampling import draws


def made(n: int = 300, per_patient: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    margin = np.repeat(rng.normal(-1.0, 1.2, n), per_patient) + rng.normal(0, 0.1, n * per_patient)
    severe = np.repeat((rng.random(n) < sigmoid(margin[::per_patient])).astype(float), per_patient)
    patient = np.repeat(np.arange(n), per_patient).astype(str).astype(object)
    good = sigmoid(margin)
    bad = sigmoid(0.4 * margin + rng.normal(0, 0.8, len(margin)))
    return bad, good, severe, patient, rng.uniform(1, 3, len(margin))


def by_metric(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("metric")


def test_the_difference_is_second_minus_first_and_says_which_direction_is_better():
    bad, good, severe, patient, weight = made()
    table = paired_differences(bad, good, severe, patient, weight, thresholds=(0.3, 0.5), resamples=200)
    assert tuple(table.columns) == COLUMNS
    found = by_metric(table)
    assert list(found.index) == [
        "auroc", "brier", "log_loss", "calibration_slope_distance", "ici", "net_benefit_0.3", "net_benefit_0.5",
    ]  # fmt: skip
    for metric, row in found.iterrows():
        assert row["difference"] == pytest.approx(row["second"] - row["first"])
        assert row["low"] <= row["difference"] <= row["high"], metric
        assert (row["difference"] > 0) == (row["better"] == "higher"), metric
    assert found.loc["auroc", "first"] == pytest.approx(roc_auc_score(severe, bad, sample_weight=weight))
    assert found.loc["log_loss", "second"] == pytest.approx(log_loss(severe, good, sample_weight=weight))
    assert set(found["n"]) == {300}


def test_intervals_are_quantiles_of_the_differences_on_the_same_resampled_patients():
    bad, good, severe, patient, weight = made()
    found = by_metric(paired_differences(bad, good, severe, patient, weight, resamples=150, seed=3))
    code = np.unique(patient.astype(str), return_inverse=True)[1]
    differences = []
    for drawn in draws(300, 150, 3):
        w = drawn[code] * weight
        differences.append(
            roc_auc_score(severe, good, sample_weight=w) - roc_auc_score(severe, bad, sample_weight=w)
        )
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found.loc["auroc", "low"], found.loc["auroc", "high"]) == pytest.approx((low, high), abs=1e-9)


def test_a_pair_is_far_narrower_than_its_members_apart():
    _, good, severe, patient, weight = made()
    almost = np.clip(good + 0.001, 0, 1)
    row = by_metric(paired_differences(good, almost, severe, patient, weight, resamples=200)).loc["brier"]
    assert row["high"] - row["low"] < 0.001


def test_equal_risks_differ_by_nothing():
    _, good, severe, patient, weight = made()
    table = paired_differences(good, good, severe, patient, weight, resamples=50)
    assert (table[["difference", "low", "high"]] == 0.0).all().all()
    assert (table["reason"] == "").all()


def test_one_class_leaves_ranking_undefined_and_compares_accuracy_without_interval():
    bad, good, _, patient, _ = made(40)
    found = by_metric(paired_differences(bad, good, np.zeros(120), patient, resamples=20))
    assert np.isnan(found.loc["auroc", "difference"])
    assert found.loc["auroc", "reason"] == "no severe case among 40 patients"
    assert np.isfinite(found.loc["brier", "difference"])
    assert np.isnan(found.loc["brier", "low"])
    assert found.loc["brier", "reason"] == "0 with severe CRS: too few for an interval"


def test_risks_that_hardly_differ_have_no_slope_to_compare():
    _, good, severe, patient, _ = made()
    row = by_metric(paired_differences(np.full(len(good), 0.2), good, severe, patient, resamples=20)).loc[
        "calibration_slope_distance"
    ]
    assert np.isnan(row["difference"])
    assert row["reason"] == "the risks hardly differ"


def test_no_rows_give_a_table_of_undefined_metrics():
    empty = np.empty(0)
    table = paired_differences(empty, empty, empty, np.empty(0, dtype=object), thresholds=(0.1,))
    assert table["difference"].isna().all()
    assert set(table["reason"]) == {"no rows"}


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (np.array([0.1, 0.2]), r"first \(2,\) and severe \(3,\) must have the same shape"),
        (np.array([0.1, 0.2, 1.2]), "first: a risk is not between 0 and 1"),
        (np.array([0.1, np.nan, 0.2]), "first: a risk is not between 0 and 1"),
    ],
)
def test_wrong_risks_are_refused(first, message):
    second, severe = np.array([0.1, 0.2, 0.3]), np.array([0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=message):
        paired_differences(first, second, severe, np.array(["a", "b", "c"], dtype=object))


def test_a_threshold_of_one_is_refused():
    _, good, severe, patient, _ = made(20)
    with pytest.raises(ValueError, match="each must be at least 0 and below 1"):
        paired_differences(good, good, severe, patient, thresholds=(1.0,))
