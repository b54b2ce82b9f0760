"""Who is at risk at each landmark, and what followed."""

import numpy as np
import pytest

from crsrisk.errors import NotEnoughDataError
from tests.unit.training.cohorts import GLOFIT, cohort, course, quiet, severe_at
from training.landmarks import landmark_table

LANDMARKS = (0.0, 24.0, 48.0)


def labels(table, course_id: str) -> dict:
    """{(dose, landmark): {horizon: severe}} of one course."""
    rows = table.rows[table.rows["course_id"] == course_id]
    found: dict = {}
    for r in rows.to_dict("records"):
        found.setdefault((r["dose"], r["landmark_hours"]), {})[r["horizon_hours"]] = r["severe"]
    return found


def step(table, name: str):
    return table.attrition.set_index("step").loc[name]


def derived(*events, **kwargs):
    return cohort(
        [course("a", follow_up=400.0), course("b", follow_up=400.0)], [*quiet("b"), *events], **kwargs
    )


def test_severe_counts_in_the_horizons_that_reach_it_and_not_after_it():
    table = landmark_table(derived(*severe_at("a", 60.0)), LANDMARKS)
    assert labels(table, "a") == {
        (1, 0.0): {24.0: 0, 72.0: 1, 336.0: 1},
        (1, 24.0): {24.0: 0, 72.0: 1, 312.0: 1},
        (1, 48.0): {24.0: 1, 72.0: 1, 288.0: 1},
    }
    assert set(labels(table, "b")[1, 0.0].values()) == {0}


def test_severe_at_the_landmark_itself_is_no_longer_at_risk():
    table = landmark_table(derived(*severe_at("a", 24.0)), LANDMARKS)
    assert sorted(labels(table, "a")) == [(1, 0.0)]
    assert labels(table, "a")[1, 0.0] == {24.0: 1, 72.0: 1, 336.0: 1}
    assert step(table, "not yet severe at the landmark")["rows"] == 4


def test_horizons_end_with_the_window_and_later_severity_does_not_count():
    table = landmark_table(derived(*severe_at("a", 340.0)), (0.0, 300.0))
    assert labels(table, "a") == {(1, 0.0): {24.0: 0, 72.0: 0, 336.0: 0}, (1, 300.0): {24.0: 0, 36.0: 0}}


def test_severe_at_an_earlier_dose_ends_the_risk_of_later_doses():
    doses = [("a", h, "bsab_dose", 2.5) for h in (0.0, 168.0, 336.0)]
    given = cohort(
        [course("a", therapy=GLOFIT, follow_up=600.0)], [*doses, *quiet("a", 160.0), *severe_at("a", 200.0)]
    )
    found = labels(landmark_table(given, (0.0, 24.0)), "a")
    assert sorted(found) == [(1, 0.0), (1, 24.0), (2, 0.0), (2, 24.0)]
    assert found[1, 0.0] == {24.0: 0, 72.0: 0, 168.0: 0}
    assert found[2, 0.0] == {24.0: 0, 72.0: 1, 168.0: 1}


@pytest.mark.parametrize("second", [48.0, 90.0, 150.0, 168.0])
def test_when_the_next_dose_came_changes_no_horizon(second):
    doses = [("a", h, "bsab_dose", 2.5) for h in (0.0, second)]
    given = cohort([course("a", therapy=GLOFIT, follow_up=600.0)], [*doses, *quiet("a", 300.0)])
    found = labels(landmark_table(given, (0.0, 24.0)), "a")
    assert found[1, 0.0] == {24.0: 0, 72.0: 0, 168.0: 0}
    assert found[1, 24.0] == {24.0: 0, 72.0: 0, 144.0: 0}
    assert found[2, 0.0] == {24.0: 0, 72.0: 0, 168.0: 0}


def test_severe_after_the_next_dose_counts_for_that_dose_alone():
    doses = [("a", h, "bsab_dose", 2.5) for h in (0.0, 48.0)]
    given = cohort(
        [course("a", therapy=GLOFIT, follow_up=600.0)], [*doses, *quiet("a", 40.0), *severe_at("a", 60.0)]
    )
    found = labels(landmark_table(given, (0.0, 24.0)), "a")
    assert found[1, 0.0] == {24.0: 0, 72.0: 0, 168.0: 0}
    assert found[2, 0.0] == {24.0: 1, 72.0: 1, 168.0: 1}


def test_a_landmark_after_the_next_dose_is_no_row_of_the_dose_before():
    doses = [("a", h, "bsab_dose", 2.5) for h in (0.0, 20.0)]
    given = cohort([course("a", therapy=GLOFIT, follow_up=600.0)], [*doses, *quiet("a", 300.0)])
    assert sorted(labels(landmark_table(given, (0.0, 24.0)), "a")) == [(1, 0.0), (2, 0.0), (2, 24.0)]


def test_follow_up_shorter_than_the_horizon_is_never_no_event():
    given = cohort(
        [course("a", follow_up=60.0), *(course(f"b{i}", follow_up=400.0) for i in range(3))],
        [*quiet("a", 60.0), *(e for i in range(3) for e in quiet(f"b{i}"))],
    )
    table = landmark_table(given, (0.0, 48.0))
    assert labels(table, "a") == {(1, 0.0): {24.0: 0}}
    rows = table.rows.set_index(["course_id", "landmark_hours", "horizon_hours"])["weight"]
    assert rows["b0", 0.0, 24.0] == 1.0
    assert rows["b0", 0.0, 72.0] == pytest.approx(4 / 3)  # one of four lost before 72 h
    assert rows["b0", 0.0, 336.0] == pytest.approx(4 / 3)


def test_weights_condition_on_being_followed_at_the_landmark():
    given = cohort(
        [course("a", follow_up=60.0), *(course(f"b{i}", follow_up=400.0) for i in range(3))],
        [*quiet("a", 60.0), *(e for i in range(3) for e in quiet(f"b{i}"))],
    )
    table = landmark_table(given, (72.0,))
    assert table.rows["weight"].tolist() == [1.0] * 9


def test_death_from_another_cause_ends_follow_up_and_is_counted():
    given = derived(*quiet("a", 36.0), ("a", 40.0, "death", 1.0))
    table = landmark_table(given, LANDMARKS)
    assert labels(table, "a") == {(1, 0.0): {24.0: 0}}
    assert any("death from another cause" in note for note in table.notes)


def test_death_from_crs_is_severe():
    given = derived(
        ("a", 30.0, "temperature", 39.0), ("a", 40.0, "death", 1.0), ("a", 40.0, "death_crs", 1.0)
    )
    assert labels(landmark_table(given, LANDMARKS), "a")[1, 24.0] == {24.0: 1, 72.0: 1, 312.0: 1}


def test_a_grade_that_is_only_possibly_severe_is_left_out_and_counted():
    signs = [
        ("a", 54.0, "temperature", 36.8),
        ("a", 60.0, "sbp", 75.0),
        ("a", 60.0, "norepinephrine_rate", 0.1),
    ]
    table = landmark_table(derived(*quiet("a", 48.0), *signs), LANDMARKS)
    assert labels(table, "a")[1, 0.0] == {24.0: 0}
    assert len(table.uncertain) == 7
    assert set(table.uncertain["severe"]) == {1}
    assert any("sensitivity analysis" in note for note in table.notes)


def test_a_course_without_any_sign_has_no_label():
    given = cohort([course("a", follow_up=400.0), course("b", follow_up=400.0)], quiet("b"))
    table = landmark_table(given, (0.0,))
    assert labels(table, "a") == {}
    assert step(table, "an ASTCT label exists")["rows"] == 1
    assert any("1 courses have no ASTCT label" in note for note in table.notes)


def test_without_follow_up_the_last_event_and_a_day_count():
    given = cohort([course("a")], quiet("a", 54.0))
    found = labels(landmark_table(given, (0.0, 24.0)), "a")
    assert found == {(1, 0.0): {24.0: 0, 72.0: 0}, (1, 24.0): {24.0: 0}}


def peaks(*rows: dict):
    given = [course(r["course_id"], follow_up=10.0) for r in rows]
    return cohort(given, outcomes=[{"system": "ASTCT", "onset_hours": np.nan, **r} for r in rows])


def test_an_adjudicated_peak_settles_the_whole_window_despite_short_follow_up():
    table = landmark_table(
        peaks(
            {"course_id": "a", "peak_grade": 3, "severe_hours": 60.0},
            {"course_id": "b", "peak_grade": 1, "severe_hours": np.nan},
        ),
        LANDMARKS,
    )
    assert labels(table, "a")[1, 48.0] == {24.0: 1, 72.0: 1, 288.0: 1}
    assert labels(table, "b")[1, 48.0] == {24.0: 0, 72.0: 0, 288.0: 0}
    assert set(table.rows["weight"]) == {1.0}


def test_with_a_peak_alone_only_the_rest_of_the_window_is_labelled_before_onset():
    table = landmark_table(
        peaks(
            {"course_id": "a", "peak_grade": 4, "onset_hours": 30.0},
            {"course_id": "b", "peak_grade": 2, "onset_hours": 30.0},
            {"course_id": "c", "peak_grade": 0},
            {"course_id": "d", "peak_grade": 1},
        ),
        LANDMARKS,
    )
    assert labels(table, "a") == {(1, 0.0): {336.0: 1}, (1, 24.0): {312.0: 1}}
    assert labels(table, "b") == {(1, 0.0): {336.0: 0}, (1, 24.0): {312.0: 0}}
    assert sorted(labels(table, "c")) == [(1, 0.0), (1, 24.0), (1, 48.0)]
    assert sorted(labels(table, "d")) == [(1, 0.0)]  # CRS at an unknown time: before it only at the infusion
    assert any("Only the peak grade is known" in note for note in table.notes)


def test_another_grading_system_is_never_mixed_in():
    given = cohort(
        [course("a", follow_up=400.0), course("b", follow_up=400.0)],
        grades=[("a", 30.0, 3.0, "Lee2014"), ("b", 30.0, 1.0, "ASTCT")],
    )
    table = landmark_table(given, (0.0,))
    assert labels(table, "a") == {}
    assert any(note.startswith("1 rows graded by Lee2014 were not used") for note in table.notes)


def test_a_cohort_of_another_system_alone_is_refused():
    given = cohort([course("a")], grades=[("a", 30.0, 3.0, "Lee2014")])
    with pytest.raises(NotEnoughDataError, match=r"found Lee2014 \(1 rows\) and no vital signs"):
        landmark_table(given, (0.0,))


def test_grades_over_time_give_label_and_time():
    grades = [("a", 20.0, 1.0, "ASTCT"), ("a", 50.0, 3.0, "ASTCT"), ("b", 20.0, 1.0, "ASTCT")]
    given = cohort([course("a", follow_up=400.0), course("b", follow_up=400.0)], grades=grades)
    table = landmark_table(given, LANDMARKS)
    assert labels(table, "a")[1, 24.0] == {24.0: 0, 72.0: 1, 312.0: 1} | {24.0: 0}
    assert table.onsets[["course_id", "dose", "hours"]].to_numpy().tolist() == [["a", 1, 50.0]]


def test_attrition_counts_every_step_and_never_rises_before_the_horizons():
    table = landmark_table(derived(*severe_at("a", 30.0)), LANDMARKS)
    rows = table.attrition["rows"].tolist()
    assert table.attrition.iloc[0].tolist() == ["courses in the cohort", 2, 2, 1]
    before = table.attrition.index[table.attrition["step"] == "rows x horizons"][0]
    assert rows[1:before] == sorted(rows[1:before], reverse=True)
    assert rows[-1] == len(table.rows)


def test_two_courses_of_one_patient_count_as_one_patient():
    given = cohort(
        [course("a", patient="p", follow_up=400.0), course("b", patient="p", follow_up=400.0)],
        [*quiet("a"), *quiet("b")],
    )
    assert landmark_table(given, (0.0,)).attrition["patients"].tolist()[0] == 1
