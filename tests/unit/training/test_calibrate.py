"""Calibration from held-out margins, and the shift of a base rate."""

import numpy as np
import pytest

from training.calibrate import LEAST_SLOPE, recalibrate
from training.offset import sigmoid


def made(slope: float, n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    margin = rng.normal(-1.5, 1.0, n)
    severe = (rng.random(n) < sigmoid(0.4 + slope * margin)).astype(float)
    return margin, severe, np.ones(n)


def test_many_events_recover_intercept_and_slope():
    found = recalibrate(*made(0.6, 50_000), events=9000)
    assert found.intercept == pytest.approx(0.4, abs=0.05)
    assert found.slope == pytest.approx(0.6, abs=0.03)


def test_few_events_stay_near_the_uncalibrated_margin():
    margin, severe, weight = made(0.0, 20)
    few = recalibrate(margin, severe, weight, events=5)
    assert abs(few.slope - 1.0) < 0.6
    many = recalibrate(*made(0.0, 20_000), events=9000)
    assert many.slope < 0.1 < few.slope


def test_the_slope_stays_above_0_even_when_margins_rank_backwards():
    assert recalibrate(*made(-1.0, 20_000), events=5000).slope == LEAST_SLOPE


def test_no_event_at_all_lowers_the_level_but_not_without_end():
    margin = np.full(100, -2.0)
    found = recalibrate(margin, np.zeros(100), np.ones(100), events=0)
    level = found.intercept + found.slope * -2.0
    assert -3.0 < level < -2.0
