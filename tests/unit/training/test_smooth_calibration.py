"""The smooth calibration curve, its index, and the resamples behind its interval."""

import numpy as np
import pytest

from training.offset import sigmoid
from training.regression import fit_logistic
from training.resampling import Patients, draws
from training.smooth_calibration import Smoother, basis, calibration_index, log_odds, smooth_calibration


def made(n: int = 1500, per_patient: int = 1, slope: float = 0.6, seed: int = 1):
    rng = np.random.default_rng(seed)
    margin = np.repeat(rng.normal(-1.5, 1.0, n), per_patient)
    severe = (rng.random(len(margin)) < sigmoid(margin)).astype(float)
    patient = np.repeat(np.arange(n), per_patient).astype(str).astype(object)
    return sigmoid(margin / slope), severe, np.ones(len(margin)), patient


def test_the_index_is_the_distance_of_a_known_miscalibration():
    margin = np.random.default_rng(0).normal(-1.5, 1.0, 200_000)
    severe = (np.random.default_rng(1).random(200_000) < sigmoid(margin)).astype(float)
    risk = sigmoid(margin - 0.5)  # half a unit of log odds too low everywhere
    patients = Patients.of(np.arange(200_000).astype(object), 0, 0)
    index = calibration_index(risk, severe, np.ones(200_000), patients).value
    assert index == pytest.approx(np.abs(sigmoid(margin) - risk).mean(), abs=0.003)


def test_a_resample_is_close_to_a_fit_of_its_own():
    risk, severe, weight, patient = made()
    patients = Patients.of(patient, 40, 2)
    drawn = calibration_index(risk, severe, weight, patients).resamples
    knots = Smoother.fit(risk, severe, weight).knots
    expected = []
    for d in draws(patients.n, 40, 2):
        w = d[patients.code]
        beta = fit_logistic(basis(log_odds(risk), knots), severe, w, ridge=1e-3)
        curve = sigmoid(basis(log_odds(risk), knots) @ beta)
        expected.append(np.average(np.abs(risk - curve), weights=w))
    assert drawn == pytest.approx(np.array(expected), abs=0.006)
    assert drawn.std() == pytest.approx(np.std(expected), rel=0.15)


def test_the_interval_holds_the_value_and_never_falls_below_0():
    for slope in (0.6, 1.0):
        risk, severe, weight, patient = made(400, slope=slope)
        drawn = calibration_index(risk, severe, weight, Patients.of(patient, 300, 0))
        low, high, reason = drawn.interval(100, 300)
        assert 0.0 <= low <= drawn.value <= high, slope
        assert reason == ""


def test_risks_of_0_and_1_and_equal_risks_give_finite_curves():
    severe = np.array([0.0, 1.0] * 20)
    for risk in (np.array([0.0, 1.0] * 20), np.full(40, 0.3)):
        curve = smooth_calibration(risk, severe, np.ones(40))
        assert np.isfinite(curve.y).all()
        patients = Patients.of(np.arange(40).astype(str).astype(object), 20, 0)
        index = calibration_index(risk, severe, np.ones(40), patients)
        assert np.isfinite(index.value)
        assert np.isfinite(index.resamples).all()
