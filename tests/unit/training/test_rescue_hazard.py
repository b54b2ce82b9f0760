"""The hazard of rescue: rates by hand, survival by hand, and a known hazard found again."""

import numpy as np
import pytest

from tests.unit.training.treated import TOCILIZUMAB, at_infusion, graded, ward
from training.episodes import Spans
from training.rescue import rescues
from training.rescue_hazard import DAYS, PlainHazard, RescueHazard, fit_rate, rescue_hazard


def hazard_of(cohort):
    prepared = at_infusion(cohort)
    rescue = rescues(prepared)
    every = np.ones(len(rescue.course), dtype=bool)
    return rescue_hazard(prepared, rescue, prepared.labels.outcomes, every)


def test_rates_of_groups_are_events_over_hours():
    columns = np.repeat(np.eye(2), [3, 2], axis=0)
    events = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    hours = np.array([10.0, 20.0, 10.0, 4.0, 6.0])
    beta = fit_rate(columns, events, hours, free=2)
    assert np.exp(beta) == pytest.approx([2 / 40, 1 / 10], rel=1e-2)


def test_the_penalty_pulls_a_difference_towards_none():
    columns = np.column_stack([np.ones(5), [0.0, 0.0, 0.0, 1.0, 1.0]])
    events, hours = np.array([1.0, 0.0, 1.0, 1.0, 1.0]), np.array([10.0, 20.0, 10.0, 4.0, 6.0])
    free, pulled = (fit_rate(columns, events, hours, free=1, ridge=r)[1] for r in (1e-6, 3.0))
    assert free == pytest.approx(np.log((2 / 10) / (2 / 40)), rel=1e-2)
    assert 0 < pulled < free / 2


def test_survival_adds_up_the_rates_of_the_stretches():
    spans = Spans(np.array([0, 0, 1]), np.array([0.0, 10.0, 0.0]), np.array([10.0, 20.0, 30.0]))
    found = RescueHazard(
        spans, np.array([0.01, 0.05, 0.2]), PlainHazard(np.zeros((2, len(DAYS)))),
        np.zeros(3, dtype=bool), np.zeros(3, dtype=bool),
    )  # fmt: skip
    window, start, until = (
        np.array([0, 0, 0, 1]),
        np.array([0.0, 5.0, 0.0, 2.0]),
        np.array([20.0, 15.0, 99.0, 7.0]),
    )
    expected = np.exp([-0.1 - 0.5, -0.05 - 0.25, -0.6, -1.0])
    assert found.survival(window, start, until) == pytest.approx(expected)


def test_the_plain_hazard_changes_with_the_days_since_the_dose():
    rate = np.array([[0.01, 0.02, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0]])
    start, until = np.array([12.0, 0.0, 0.0]), np.array([36.0, 178.0, 178.0])
    found = PlainHazard(rate).survival(np.array([False, False, True]), start, until)
    assert found == pytest.approx(np.exp([-0.12 - 0.24, -0.24 - 0.96 - 1.0, 0.0]))


def test_a_known_hazard_by_grade_is_found_again():
    found = hazard_of(ward(600, hazard=0.05)[0])
    hours = found.spans.hours
    at_grade2 = np.average(found.rate[found.grade2], weights=hours[found.grade2])
    before = found.spans.start < 24.0
    assert at_grade2 == pytest.approx(0.05, rel=0.15)
    assert np.average(found.rate[before], weights=hours[before]) == pytest.approx(0.005, rel=0.3)


def test_a_rescue_charted_minutes_before_the_grade_answered_it():
    grades = [(2.0, 1.0), (24.0, 2.0), (40.0, 1.0)]
    courses = {f"c{i}": (grades, [(23.8, TOCILIZUMAB)] if i % 2 else []) for i in range(40)}
    found = hazard_of(graded(courses))
    assert found.rescued.sum() == 20
    assert found.grade2[found.rescued].all()


def test_without_a_rescue_there_is_no_hazard():
    with pytest.raises(ValueError, match="nobody was rescued"):
        hazard_of(graded({"a": ([(2.0, 1.0)], []), "b": ([], [])}))


def test_without_a_window_at_risk_there_is_no_hazard():
    prepared = at_infusion(graded({"a": ([(2.0, 1.0)], [(30.0, TOCILIZUMAB)])}))
    nobody = np.zeros(1, dtype=bool)
    with pytest.raises(ValueError, match="no window is at risk"):
        rescue_hazard(prepared, rescues(prepared), prepared.labels.outcomes, nobody)
