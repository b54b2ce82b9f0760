"""Metrics against scikit-learn, and bootstrap intervals against a loop over resamples."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from training.discrimination import discrimination
from training.evaluate import draws, evaluate, fit_logistic, metrics
from training.offset import logit, sigmoid
from training.resampling import Patients


def made(n: int = 400, seed: int = 0, *, per_patient: int = 1):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n // per_patient), per_patient).astype(str).astype(object)
    margin = np.repeat(rng.normal(-1.0, 1.2, n // per_patient), per_patient) + rng.normal(0, 0.1, n)
    severe = (rng.random(n // per_patient) < sigmoid(margin[::per_patient])).astype(float)
    risk = np.round(sigmoid(0.7 * margin), 2)  # rounded: ties
    return np.clip(risk, 0.01, 0.99), np.repeat(severe, per_patient), patient, rng.uniform(1, 3, n)


def test_discrimination_and_accuracy_agree_with_scikit_learn():
    risk, severe, patient, weight = made()
    found = metrics(risk, severe, patient, weight, resamples=0)
    assert found["auroc"].value == pytest.approx(roc_auc_score(severe, risk, sample_weight=weight), abs=1e-12)
    expected = average_precision_score(severe, risk, sample_weight=weight)
    assert found["average_precision"].value == pytest.approx(expected, abs=1e-12)
    expected = brier_score_loss(severe, risk, sample_weight=weight)
    assert found["brier"].value == pytest.approx(expected, abs=1e-12)


def test_log_loss_scaled_brier_and_expected_over_observed_keep_their_definitions():
    risk, severe, patient, weight = made()
    found = metrics(risk, severe, patient, weight, resamples=100)
    assert found["log_loss"].value == pytest.approx(log_loss(severe, risk, sample_weight=weight), abs=1e-9)
    share = np.average(severe, weights=weight)
    null = brier_score_loss(severe, np.full(len(severe), share), sample_weight=weight)
    assert found["scaled_brier"].value == pytest.approx(1 - found["brier"].value / null, abs=1e-12)
    ratio = (weight * risk).sum() / (weight * severe).sum()
    assert found["expected_observed"].value == pytest.approx(ratio, abs=1e-12)
    for metric in found.values():
        assert metric.low <= metric.value <= metric.high, metric.name


def test_every_resample_of_the_areas_is_that_of_scikit_learn_also_with_ties():
    risk, severe, patient, weight = made(240, seed=6, per_patient=4)
    patients = Patients.of(patient, 25, 9)
    auroc, average = discrimination(risk, severe, weight, patients)
    for k, drawn in enumerate(draws(60, 25, 9)):
        w = drawn[patients.code] * weight
        assert auroc.resamples[k] == pytest.approx(roc_auc_score(severe, risk, sample_weight=w), abs=1e-9)
        expected = average_precision_score(severe, risk, sample_weight=w)
        assert average.resamples[k] == pytest.approx(expected, abs=1e-9)


def test_calibration_agrees_with_an_unpenalised_logistic_regression():
    risk, severe, patient, weight = made()
    found = metrics(risk, severe, patient, weight, resamples=0)
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(risk)[:, None], severe, weight)
    assert found["calibration_slope"].value == pytest.approx(float(fitted.coef_[0, 0]), abs=1e-5)
    level = found["calibration_intercept"].value
    moved = sigmoid(logit(risk) + level)
    assert (weight * moved).sum() == pytest.approx((weight * severe).sum(), rel=1e-6)


def test_perfectly_calibrated_risks_have_slope_1_and_level_0():
    rng = np.random.default_rng(0)
    margin = rng.normal(-1, 1, 200_000)
    severe = (rng.random(200_000) < sigmoid(margin)).astype(float)
    ids = np.arange(200_000).astype(object)
    found = metrics(sigmoid(margin), severe, ids, resamples=0)
    assert found["calibration_slope"].value == pytest.approx(1.0, abs=0.03)
    assert found["calibration_intercept"].value == pytest.approx(0.0, abs=0.03)


def test_intervals_are_the_quantiles_of_resampled_patients():
    risk, severe, patient, weight = made(300, per_patient=3)
    found = metrics(risk, severe, patient, weight, resamples=200, seed=4)
    code = np.unique(patient.astype(str), return_inverse=True)[1]
    aurocs, briers = [], []
    for drawn in draws(100, 200, 4):
        w = drawn[code] * weight
        aurocs.append(roc_auc_score(severe, risk, sample_weight=w))
        briers.append(brier_score_loss(severe, risk, sample_weight=w))
    low, high = np.quantile(aurocs, [0.025, 0.975])
    assert (found["auroc"].low, found["auroc"].high) == pytest.approx((low, high), abs=1e-9)
    low, high = np.quantile(briers, [0.025, 0.975])
    assert (found["brier"].low, found["brier"].high) == pytest.approx((low, high), abs=1e-9)


def test_one_newton_step_gives_nearly_the_interval_of_full_refits():
    risk, severe, patient, weight = made(2000, seed=2)
    found = metrics(risk, severe, patient, weight, resamples=100, seed=1)["calibration_slope"]
    code = np.unique(patient.astype(str), return_inverse=True)[1]
    columns = np.column_stack([np.ones(2000), logit(risk)])
    slopes = [fit_logistic(columns, severe, d[code] * weight)[1] for d in draws(2000, 100, 1)]
    low, high = np.quantile(slopes, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_rows_of_one_patient_widen_the_interval():
    risk, severe, patient, weight = made(1200, per_patient=6)
    clustered = metrics(risk, severe, patient, weight, resamples=300)["auroc"]
    as_rows = metrics(risk, severe, np.arange(1200).astype(object), weight, resamples=300)["auroc"]
    assert clustered.value == as_rows.value
    assert clustered.high - clustered.low > 1.8 * (as_rows.high - as_rows.low)
    assert (clustered.n, as_rows.n) == (200, 1200)


@pytest.mark.parametrize(
    ("severe", "reason"),
    [
        ([0.0, 0.0, 0.0], "no severe case among 3 patients"),
        ([1.0, 1.0, 1.0], "severe cases only among 3 patients"),
    ],
)
def test_one_class_leaves_discrimination_undefined_with_a_reason(severe, reason):
    ids = np.array(["a", "b", "c"], dtype=object)
    found = metrics(np.array([0.1, 0.2, 0.3]), np.array(severe), ids, resamples=10)
    assert np.isnan(found["auroc"].value)
    assert found["auroc"].reason == reason
    assert found["calibration_slope"].reason == reason
    assert np.isfinite(found["brier"].value)


def test_a_thousand_resamples_of_thousands_of_rows_take_seconds():
    import time

    risk, severe, patient, weight = made(6000, per_patient=6)
    began = time.process_time()
    metrics(risk, severe, patient, weight, resamples=1000)
    assert time.process_time() - began < 6.0


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    lines = []
    for repeat in range(2):
        for i in range(60):
            for landmark in (0.0, 24.0):
                for horizon, rest in ((24.0, False), (336.0 - landmark, True)):
                    lines.append(
                        {"model": "crsrisk", "family": "cd19_cart", "repeat": repeat, "course_id": f"c{i}",
                         "patient_id": f"p{i}", "dose": 1, "landmark_hours": landmark, "horizon_hours": horizon,
                         "rest_of_window": rest, "severe": int(i < 15), "weight": 1.0, "risk": rng.uniform(0.05, 0.6)}
                    )  # fmt: skip
    return pd.DataFrame(lines)


def test_the_table_has_every_landmark_and_horizon_and_the_pooled_rows():
    table = evaluate(predictions(), resamples=20)
    places = table[["landmark_hours", "horizon"]].drop_duplicates().fillna(-1.0).to_numpy().tolist()
    assert places == [
        [-1.0, "all"], [-1.0, "24"], [-1.0, "rest"], [0.0, "24"], [0.0, "rest"], [24.0, "24"], [24.0, "rest"],
    ]  # fmt: skip
    assert set(table["n"]) == {60}
    assert set(table["events"]) == {15}
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_repeats_of_a_row_are_averaged_before_they_are_judged():
    given = predictions()
    mean = given.groupby(["course_id", "landmark_hours", "horizon_hours"])["risk"].transform("mean")
    table = evaluate(given, resamples=0)
    averaged = evaluate(given.assign(risk=mean)[given["repeat"] == 0], resamples=0)
    pd.testing.assert_frame_equal(table, averaged)


def _risks(n: int, events: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    severe = (np.arange(n) < events).astype(float)
    return rng.uniform(0.05, 0.4, n) + 0.1 * severe, severe, np.arange(n).astype(str).astype(object)


@pytest.mark.parametrize(("events", "shown"), [(9, False), (10, True), (51, False)])
def test_fewer_than_ten_patients_of_either_kind_give_no_interval(events, shown):
    found = metrics(*_risks(60, events), resamples=200)["auroc"]
    assert np.isfinite(found.value)
    assert np.isfinite(found.low) == shown
    assert ("too few for an interval" in found.reason) != shown


def test_equal_risks_have_no_calibration_slope():
    _, severe, patient = _risks(80, 20)
    found = metrics(np.full(80, 0.25), severe, patient, resamples=100)["calibration_slope"]
    assert np.isnan(found.value)
    assert found.reason == "the risks hardly differ"


def test_risks_that_separate_the_outcomes_have_no_calibration_slope():
    _, severe, patient = _risks(80, 20)
    risk = np.where(severe == 1, 0.6, 0.3) + 0.001 * np.arange(80)
    found = metrics(risk, severe, patient, resamples=100)["calibration_slope"]
    assert np.isnan(found.value)
    assert found.reason == "the risks separate the outcomes"


def test_an_interval_holds_its_value():
    for metric in metrics(*_risks(200, 40), resamples=300).values():
        assert metric.low <= metric.value <= metric.high
