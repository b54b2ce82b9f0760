"""States of a course by hour, and stretches of it."""

import numpy as np
import pytest

from tests.unit.training.cohorts import cohort, course
from tests.unit.training.treated import graded
from training.episodes import STATES, Spans, changes, grade2_since, split, states, timed
from training.outcomes import course_outcomes

GRADES = [(10.0, 1.0), (20.0, 2.0), (30.0, 1.0), (40.0, 2.0), (50.0, 3.0), (60.0, 1.0)]


@pytest.fixture(scope="module")
def outcomes():
    return course_outcomes(graded({"calm": ([], []), "sick": (GRADES, [])}))


@pytest.mark.parametrize(
    ("hour", "state"),
    [
        (9.9, "before_crs"),
        (10.0, "below_grade2"),  # a sign counts from its own hour on
        (20.0, "grade2"),
        (30.0, "below_grade2"),
        (49.9, "grade2"),
        (50.0, "grade3"),
        (70.0, "grade3"),  # reached once
    ],
)
def test_the_state_is_that_of_the_hour(outcomes, hour: float, state: str):
    assert STATES[states(outcomes, np.array([1]), np.array([hour]))[0]] == state
    assert STATES[states(outcomes, np.array([0]), np.array([hour]))[0]] == "before_crs"


def test_a_stretch_of_grade_2_begins_anew_after_recovery(outcomes):
    since = grade2_since(outcomes, np.array([1, 1, 1, 0]), np.array([25.0, 35.0, 45.0, 25.0]))
    assert since.tolist() == pytest.approx([20.0, np.nan, 40.0, np.nan], nan_ok=True)


def test_windows_are_cut_where_the_state_changes_and_nowhere_outside(outcomes):
    found = split(np.array([0.0, 15.0]), np.array([25.0, 45.0]), changes(outcomes, np.array([1, 1])))
    assert found.window.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.start.tolist() == [0.0, 10.0, 20.0, 15.0, 20.0, 30.0, 40.0]
    assert found.stop.tolist() == [10.0, 20.0, 25.0, 20.0, 30.0, 40.0, 45.0]
    assert found.hours.sum() == 25.0 + 30.0


def test_a_window_that_stops_where_it_starts_has_no_stretch():
    assert len(split(np.array([5.0]), np.array([5.0]), []).window) == 0


def test_an_hour_lies_in_the_stretch_that_it_begins():
    spans = Spans(np.array([0, 0, 2]), np.array([0.0, 10.0, 5.0]), np.array([10.0, 20.0, 9.0]))
    found = spans.at(np.array([0, 0, 0, 1, 2, 2]), np.array([0.0, 10.0, 99.0, 3.0, 4.0, 5.0]))
    assert found.tolist() == [0, 1, 1, -1, -1, 2]


def test_a_course_whose_grades_have_no_times_is_not_timed():
    peaks = [
        {
            "course_id": name,
            "peak_grade": grade,
            "system": "ASTCT",
            "onset_hours": onset,
            "severe_hours": severe,
        }
        for name, grade, onset, severe in (
            ("none", 0.0, np.nan, np.nan),
            ("mild", 1.0, 20.0, np.nan),
            ("untimed", 1.0, np.nan, np.nan),
            ("moderate", 2.0, 20.0, np.nan),
            ("severe", 3.0, 20.0, np.nan),
        )
    ]
    found = course_outcomes(cohort([course(p["course_id"]) for p in peaks], outcomes=peaks))
    assert timed(found).tolist() == [True, True, False, False, False]
