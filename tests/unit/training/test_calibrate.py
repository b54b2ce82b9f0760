"""Calibration from held-out margins, and the shift of a base rate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crsrisk.therapies import therapies
from training.calibrate import LEAST_SLOPE, recalibrate, within_line
from training.design import Design
from training.horizons import expand, planned_window_ends
from training.offset import OffsetSpec, Start, Within, sigmoid


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
            "rest_of_window": np.tile([False, True], n),
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


def windows(key: str, n: int, follow_up: float = np.inf, seed: int = 1):
    """Severe patients of one therapy at 0 and 24 h; onsets lie as the offset says, so that the true line is none.

    follow_up: mean of an exponential one, in hours; rows that it leaves open are missing and the others weigh more.
    """
    rng, spec = np.random.default_rng(seed), OffsetSpec({}, {})
    end = float(planned_window_ends([key], np.ones(1, dtype=int), np.zeros(1))[0])
    curve = spec.shares_of(key, therapies()[key].class_)
    onset = np.interp(
        rng.random(n) * np.interp(end, curve.knots, curve.before[0]), curve.before[0], curve.knots
    )
    left = rng.exponential(follow_up, n) if np.isfinite(follow_up) else np.full(n, np.inf)
    course, landmark = (x.ravel() for x in np.meshgrid(np.arange(n), [0.0, 24.0], indexing="ij"))
    at_risk = landmark < onset[course]
    course, landmark = course[at_risk], landmark[at_risk]
    row, hours, rest = expand(landmark, np.full(len(landmark), end), (24.0, 72.0, None))
    course, landmark = course[row], landmark[row]
    until = np.minimum(onset[course], landmark + hours)
    seen = until <= left[course]
    rows = pd.DataFrame(
        {
            "patient_id": course, "course_id": course, "dose": 1, "landmark_hours": landmark, "horizon_hours": hours,
            "rest_of_window": rest, "severe": (onset[course] <= landmark + hours).astype(float), "therapy": key,
            "weight": np.exp(until / follow_up),
        }
    )[seen].reset_index(drop=True)  # fmt: skip
    made = Design(rows, np.arange(len(rows)), np.empty((len(rows), 0)), ())
    start = spec.start([key] * len(rows), made.dose, made.landmark, made.horizon)
    return made, start, rng.normal(0.0, 1.0, n)[rows["course_id"].to_numpy()], made.weight * n / len(rows)


@pytest.mark.parametrize("key", ["axi-cel_LBCL3L", "glofit_DLBCL", "tec_MM", "talq_MM"])
def test_no_line_is_found_where_onsets_lie_as_the_offset_says(key):
    """tec_MM and talq_MM give the next dose before 168 h: their windows end there."""
    found = within_line(*windows(key, 3000))
    assert found.intercept == pytest.approx(0.0, abs=0.12)
    assert found.slope == pytest.approx(0.0, abs=0.12)


def test_late_onsets_that_few_were_followed_to_weigh_more():
    found = within_line(*windows("axi-cel_LBCL3L", 6000, follow_up=150.0))
    assert found.intercept == pytest.approx(0.0, abs=0.1)
