"""How CRS was treated: first uses and the time in which they could have come, by hand."""

import json

import pytest

from crsrisk.cohort import Cohort
from tests.unit.training.cohorts import GLOFIT, cohort, course
from tests.unit.training.treated import STEROID, TOCILIZUMAB, graded
from training.policy import COURSES, UNTIMED, WITH_CRS, Cell, cells, key, policy_table, treatment_policy

SICK = [(10.0, 1.0), (20.0, 2.0), (40.0, 1.0)]


def numbers(
    found: Cohort, drug: str = "tocilizumab", **family: str
) -> dict[tuple[str, float], tuple[float, float]]:
    """(context, hours since onset) -> (started, exposed); cells without either are left out."""
    table = policy_table(treatment_policy(found, **family))
    mine = table[(table["drug"] == drug) & (table["started"] + table["exposed"] > 0)].fillna(0.0)
    return {
        (row.context, row.hours_since_onset): (row.started, pytest.approx(row.exposed))
        for row in mine.itertuples()
    }


def test_time_at_risk_runs_to_the_first_use_by_state_and_hours_since_onset():
    found = numbers(graded({"a": (SICK, [(26.0, TOCILIZUMAB), (34.0, TOCILIZUMAB)])}))
    assert found == {
        ("prophylaxis", 0.0): (0.0, 1.0),
        ("before_crs", 0.0): (0.0, 10.0 / 24.0),
        ("below_grade2", 0.0): (0.0, 10.0 / 24.0),  # 10 to 20 h
        ("grade2", 0.0): (0.0, 2.0 / 24.0),  # 20 to 22 h
        ("grade2", 12.0): (1.0, 4.0 / 24.0),  # 22 to 26 h
    }


def test_who_is_never_treated_counts_to_the_end_of_follow_up():
    found = numbers(graded({"a": (SICK, [])}, follow_up={"a": 100.0}))
    assert found["below_grade2", 24.0] == (0.0, 42.0 / 24.0)  # 40 to 82 h, 72 h after the onset
    assert found["below_grade2", 72.0] == (0.0, 18.0 / 24.0)
    assert sum(
        exposed.expected for (context, _), (_, exposed) in found.items() if context != "prophylaxis"
    ) == (pytest.approx(100.0 / 24.0))


def test_prophylaxis_is_counted_in_courses_and_ends_the_time_at_risk():
    found = numbers(
        graded(
            {"a": (SICK, [(-1.0, TOCILIZUMAB), (26.0, TOCILIZUMAB)]), "b": ([], [])}, follow_up={"b": 24.0}
        )
    )
    assert found == {("prophylaxis", 0.0): (1.0, 2.0), ("before_crs", 0.0): (0.0, 1.0)}


def test_a_steroid_counts_from_the_onset_on():
    before = numbers(graded({"a": (SICK, [(6.0, STEROID)])}), "steroid")
    assert {context for context, _ in before} == {"below_grade2", "grade2"}
    assert sum(started for started, _ in before.values()) == 0
    at_onset = numbers(graded({"a": (SICK, [(10.0, STEROID)])}), "steroid")
    assert at_onset["below_grade2", 0.0][0] == 1.0


def test_treatment_when_severe_is_told_apart():
    found = numbers(graded({"a": ([(10.0, 1.0), (20.0, 3.0)], [(20.0, TOCILIZUMAB)])}))
    assert found["grade3", 0.0][0] == 1.0


def test_the_days_after_severe_crs_is_over_count_for_nothing():
    grades = [(10.0, 1.0), (20.0, 3.0), (44.0, 2.0), (68.0, 1.0)]
    found = numbers(graded({"a": (grades, [(100.0, TOCILIZUMAB)])}))
    severe = {hours: n for (context, hours), n in found.items() if context == "grade3"}
    assert severe == {0.0: (0.0, 2.0 / 24.0), 12.0: (0.0, 0.5), 24.0: (0.0, 34.0 / 24.0)}
    assert sum(started for started, _ in found.values()) == 0.0


def test_the_counts_say_who_was_left_out():
    peaks = [
        {"course_id": name, "peak_grade": grade, "system": "ASTCT", "onset_hours": onset}
        for name, grade, onset in (("a", 1.0, 20.0), ("b", 0.0, float("nan")), ("c", 2.0, 20.0))
    ]
    found = treatment_policy(cohort([course(name) for name in "abc"], outcomes=peaks))
    assert (found[COURSES], found[WITH_CRS], found[UNTIMED]) == (2.0, 1.0, 1.0)


def test_only_the_family_asked_for_counts():
    courses = [course("a"), course("g", therapy=GLOFIT)]
    events = [("g", 0.0, "bsab_dose", 2.5), ("g", 30.0, TOCILIZUMAB, 8.0)]
    found = cohort(courses, events, grades=[("a", 20.0, 1.0, "ASTCT"), ("g", 20.0, 1.0, "ASTCT")])
    started = [
        sum(s for s, _ in numbers(found, family=family).values()) for family in ("cd19_cart", "heme_engager")
    ]
    assert started == [0.0, 1.0]


def test_a_policy_is_plain_numbers_for_every_cell():
    found = treatment_policy(graded({"a": (SICK, [])}))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {key(cell, what) for cell in cells() for what in ("started", "exposed")} < set(found)
    assert key(Cell("tocilizumab", "grade2", 1), "started") == "tocilizumab.grade2.12.started"
    assert len(policy_table(found)) == len(list(cells()))
