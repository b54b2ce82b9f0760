"""Calibration from held-out margins, and the shift of a base rate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from training.calibrate import LEAST_SLOPE, recalibrate, within_line
from training.design import Design
from training.offset import Start, Within, sigmoid


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


def followed(n, slope, seed=1):
    """Patients who become severe: two rows each, 24 h and the rest of the window; sooner where trees say more."""
    rng = np.random.default_rng(seed)
    trees = rng.normal(0.5, 1.0, n)
    soon = (rng.random(n) < sigmoid(-1.0 + slope * (trees - 0.5))).astype(float)
    rows = pd.DataFrame(
        {
            "patient_id": np.repeat([f"p{k}" for k in range(n)], 2),
            "course_id": np.repeat(np.arange(n), 2),
            "dose": 1,
            "landmark_hours": 24.0,
            "severe": np.column_stack([soon, np.ones(n)]).ravel(),
        }
    )
    start = Start(np.full(2 * n, -2.0), np.tile([-1.0, np.inf], n))
    made = Design(rows, np.arange(2 * n), np.empty((2 * n, 0)), ())
    return made, start, np.repeat(trees, 2), np.ones(2 * n)


def test_the_line_of_hours_is_found_among_severe_patients():
    found = within_line(*followed(20_000, 0.8))
    assert found.slope == pytest.approx(0.8, abs=0.05)
    assert found.intercept == pytest.approx(-0.4, abs=0.05)


def test_few_severe_patients_leave_the_line_where_it_was():
    near = Within(-0.2, 0.5)
    few, many = (within_line(*followed(n, 3.0), among=near) for n in (5, 2000))
    assert abs(few.slope - near.slope) < 0.2
    assert many.slope > 2.0


def test_no_severe_patient_tells_nothing_of_hours():
    rows, start, trees, weight = followed(50, 0.8)
    none = replace(rows, rows=rows.rows.assign(severe=0.0))
    assert within_line(none, start, trees, weight) == Within()
    assert within_line(none, start, trees, weight, among=Within(0.1, 0.4)) == Within(0.1, 0.4)


def test_patients_at_higher_risk_are_never_later():
    assert within_line(*followed(5000, -1.0)).slope == 0.0
