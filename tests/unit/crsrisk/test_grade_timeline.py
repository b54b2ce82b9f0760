"""Hand-checked courses: every expectation is a list of (hour, grade or state, rule) worked out on paper."""

from math import isnan
from pathlib import Path

import pandas as pd
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.grade_moments import child_sbp_limit
from crsrisk.grade_timeline import gradable, grade_cohort, grade_events, peak

CELLS, ENGAGER = "axi-cel_LBCL3L", "glofit_DLBCL"
REAL = Path(__file__).parents[4] / "shared" / "data" / "cd22_cart"
Event = tuple[float, str, float]


def timeline(*events: Event, course: str = "c1") -> pd.DataFrame:
    rows = [(course, hours, hours, variable, value) for hours, variable, value in events]
    return pd.DataFrame(rows, columns=["course_id", "hours", "available_hours", "variable", "value"])


def course(therapy: str = CELLS, age: float = 55.0, course_id: str = "c1") -> pd.DataFrame:
    return pd.DataFrame({"course_id": [course_id], "therapy": [therapy], "age": [age]})


def told(grades: pd.DataFrame) -> list[tuple[float, object, str]]:
    """Rows as (hours, grade, or the state where there is no grade, or the range, rule)."""
    rows = []
    for row in grades.itertuples():
        grade = row.grade if not isnan(row.grade) else row.state
        if grade == "graded":
            grade = (row.low, row.high)
        rows.append((row.hours, grade, row.rule))
    return rows


def grade(*events: Event, therapy: str = CELLS, age: float = 55.0) -> list[tuple[float, object, str]]:
    return told(grade_events(timeline(*events), course(therapy, age)))


def test_a_course_from_fever_to_vasopressor_and_back_is_graded_on_every_change():
    assert grade(
        (-6, "temperature", 36.7),
        (20, "temperature", 37.4),
        (30, "temperature", 38.6),
        (31, "acetaminophen_dose", 500),
        (36, "temperature", 37.2),  # the fever was treated: still CRS
        (40, "sbp", 85),
        (41, "fluid_bolus", 500),
        (42, "norepinephrine_rate", 0.05),
        (43, "resp_support", 1),
        (44, "tocilizumab_dose", 600),
        (46, "vasopressin_rate", 0.03),  # never adds to the count
        (48, "epinephrine_rate", 0.02),
        (52, "epinephrine_rate", 0),
        (52, "vasopressin_rate", 0),
        (54, "norepinephrine_rate", 0),  # the bolus ended at 47; 115 mmHg is no hypotension
        (54, "sbp", 115),
        (60, "resp_support", 0),
    ) == [
        (0, 0, "no_signs"),
        (30, 1, "fever"),
        (36, 1, "treated_fever"),
        (40, 2, "hypotension"),
        (42, 3, "one_vasopressor"),
        (48, 4, "multiple_vasopressors"),
        (52, 3, "one_vasopressor"),
        (54, 2, "low_flow_oxygen"),
        (60, 1, "treated_fever"),
        (132, 0, "no_signs"),  # 72 h after the last sign ended at 60
    ]


def test_a_fever_without_treatment_ends_with_the_next_normal_reading():
    assert grade((5, "temperature", 38.0), (9, "temperature", 37.9)) == [(5, 1, "fever"), (9, 0, "no_signs")]


def test_a_fever_is_believed_for_12_hours_without_a_new_reading():
    assert grade((5, "temperature", 38.5)) == [(5, 1, "fever"), (17, 0, "no_signs")]
    assert grade((5, "temperature", 38.5), (16, "temperature", 38.2)) == [
        (5, 1, "fever"),
        (28, 0, "no_signs"),
    ]


def test_a_fever_at_or_before_the_index_time_is_no_crs_fever():
    assert grade((-2, "temperature", 39.0), (0, "temperature", 39.0), (3, "sbp", 80), (9, "sbp", 120)) == [
        (0, 0, "no_signs"),
        (3, "not_gradable", "signs_without_fever"),
        (9, 0, "no_signs"),
    ]


def test_support_that_began_before_the_index_time_is_no_sign_until_recorded_again():
    assert grade(
        (-3, "resp_support", 1),
        (2, "temperature", 38.5),
        (4, "resp_support", 1),
        (8, "temperature", 38.4),
        (9, "resp_support", 0),
    )[:4] == [
        (0, 0, "no_signs"),
        (2, 1, "fever"),
        (4, 2, "low_flow_oxygen"),
        (9, 1, "fever"),
    ]


def test_treatment_before_the_fever_does_not_make_a_treated_fever():
    assert grade(
        (3, "dexamethasone_dose", 10),
        (5, "temperature", 38.5),
        (9, "temperature", 37.0),
        (10, "sbp", 85),
        (11, "sbp", 110),
    ) == [
        (5, 1, "fever"),
        (9, 0, "no_signs"),
        (10, "not_gradable", "signs_without_fever"),
        (11, 0, "no_signs"),
    ]


def test_treatment_at_the_hour_of_the_fever_counts_as_after_it():
    assert grade((5, "temperature", 38.5), (5, "tocilizumab_dose", 600), (9, "temperature", 37.0)) == [
        (5, 1, "fever"),
        (9, 1, "treated_fever"),
        (81, 0, "no_signs"),
    ]


@pytest.mark.parametrize(
    "drug",
    [
        "acetaminophen_dose",
        "nsaid_dose",
        "tocilizumab_dose",
        "siltuximab_dose",
        "anakinra_dose",
        "dexamethasone_dose",
        "methylprednisolone_dose",
        "hydrocortisone_dose",
        "prednisolone_dose",
    ],
)
def test_antipyretics_anticytokines_and_steroids_treat_a_fever(drug):
    rows = grade((5, "temperature", 38.5), (6, drug, 10), (9, "temperature", 37.0))
    assert rows[1] == (9, 1, "treated_fever")


def test_a_dose_of_0_was_not_given():
    assert grade((5, "temperature", 38.5), (6, "tocilizumab_dose", 0), (9, "temperature", 37.0))[1] == (
        9,
        0,
        "no_signs",
    )


def test_hypoxia_drives_the_grade_after_a_treated_fever_is_gone():
    assert grade(
        (5, "temperature", 38.5),
        (6, "tocilizumab_dose", 600),
        (9, "temperature", 37.0),
        (70, "resp_support", 2),
        (80, "resp_support", 0),
    ) == [
        (5, 1, "fever"),
        (9, 1, "treated_fever"),
        (70, 3, "high_flow_oxygen"),
        (80, 1, "treated_fever"),
        (152, 0, "no_signs"),
    ]


def test_a_treated_fever_has_lapsed_72_hours_after_the_last_sign():
    events = [(5, "temperature", 38.5), (6, "tocilizumab_dose", 600), (9, "temperature", 37.0)]
    assert grade(*events, (80.9, "resp_support", 1))[2] == (80.9, 2, "low_flow_oxygen")
    assert grade(*events, (81, "resp_support", 1))[2] == (81, "not_gradable", "signs_without_fever")


def test_after_a_lapse_a_new_fever_needs_a_new_treatment():
    rows = grade(
        (5, "temperature", 38.5),
        (6, "tocilizumab_dose", 600),
        (9, "temperature", 37.0),
        (100, "temperature", 38.5),
        (104, "temperature", 37.0),
        (105, "resp_support", 1),
    )
    assert rows[2:] == [
        (81, 0, "no_signs"),
        (100, 1, "fever"),
        (104, 0, "no_signs"),
        (105, "not_gradable", "signs_without_fever"),
        (129, 0, "no_signs"),
    ]


def test_a_vasopressor_runs_until_its_rate_is_0_and_at_most_24_hours():
    assert grade((5, "temperature", 38.5), (6, "norepinephrine_rate", 0.1))[1:] == [
        (6, 3, "one_vasopressor"),
        (17, "not_gradable", "signs_without_fever"),
        (30, 0, "no_signs"),
    ]
    assert grade((5, "temperature", 38.5), (6, "dopamine_rate", 5), (8, "dopamine_rate", 0))[1:3] == [
        (6, 3, "one_vasopressor"),
        (8, 1, "fever"),
    ]


def test_a_rate_recorded_again_renews_the_24_hours():
    rows = grade(
        (5, "temperature", 38.5),
        (5, "tocilizumab_dose", 600),
        (6, "norepinephrine_rate", 0.1),
        (20, "norepinephrine_rate", 0.2),
    )
    assert rows[1:3] == [(6, 3, "one_vasopressor"), (44, 1, "treated_fever")]


def test_vasopressin_alone_is_grade_3():
    assert grade((5, "temperature", 38.5), (6, "vasopressin_rate", 0.03))[1] == (6, 3, "vasopressin_alone")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("sbp", 89.9, 2), ("sbp", 90, 1), ("map", 64.9, 2), ("map", 65, 1), ("fluid_bolus", 500, 2)],
)
def test_hypotension_of_an_adult_is_below_90_systolic_or_65_mean_or_a_fluid_bolus(variable, value, expected):
    assert grade((5, "temperature", 38.5), (5, variable, value))[0][1] == expected


def test_the_newer_of_systolic_and_mean_pressure_decides():
    rows = grade((5, "temperature", 38.5), (6, "sbp", 85), (7, "map", 80))
    assert rows[:3] == [(5, 1, "fever"), (6, 2, "hypotension"), (7, 1, "fever")]


def test_of_two_readings_at_the_same_time_the_worse_one_counts_in_either_order():
    events = [(5, "temperature", 38.5), (5, "sbp", 85), (5, "sbp", 120), (5, "temperature", 37.0)]
    assert grade(*events)[0] == grade(*reversed(events))[0] == (5, 2, "hypotension")


def test_a_flow_above_6_makes_a_cannula_high_flow():
    rows = grade((5, "temperature", 38.5), (6, "resp_support", 1), (7, "o2_flow", 6), (8, "o2_flow", 6.5))
    assert rows[:3] == [(5, 1, "fever"), (6, 2, "low_flow_oxygen"), (8, 3, "high_flow_oxygen")]


def test_a_flow_from_before_the_change_of_device_does_not_count_for_the_new_device():
    rows = grade((5, "temperature", 38.5), (6, "resp_support", 2), (6, "o2_flow", 10), (9, "resp_support", 1))
    assert rows[1:3] == [(6, 3, "high_flow_oxygen"), (9, 2, "low_flow_oxygen")]


def test_a_flow_of_0_ends_oxygen_by_cannula_but_not_ventilation():
    assert grade((5, "temperature", 38.5), (6, "resp_support", 1), (8, "o2_flow", 0))[1:3] == [
        (6, 2, "low_flow_oxygen"),
        (8, 1, "fever"),
    ]
    assert grade((5, "temperature", 38.5), (6, "resp_support", 4), (8, "o2_flow", 0))[1:3] == [
        (6, 4, "positive_pressure"),
        (17, "not_gradable", "signs_without_fever"),
    ]


def test_oxygen_by_an_unknown_device_is_a_range():
    assert grade((5, "temperature", 38.5), (6, "o2_flow", 4), (8, "o2_flow", 8), (10, "resp_support", 0))[
        :4
    ] == [
        (5, 1, "fever"),
        (6, (2, 3), "oxygen_device_unknown"),
        (8, 3, "high_flow_oxygen"),
        (10, 1, "fever"),
    ]


def test_fever_and_signs_do_not_count_while_another_cause_is_on_record():
    assert grade(
        (5, "temperature", 38.5),
        (6, "other_cause", 1),
        (7, "norepinephrine_rate", 0.1),
        (9, "temperature", 39.0),
        (12, "other_cause", 0),
        (13, "norepinephrine_rate", 0),
        (14, "temperature", 37.0),
    ) == [
        (5, 1, "fever"),
        (6, 0, "no_signs"),
        (12, 3, "one_vasopressor"),
        (13, 1, "fever"),
        (14, 0, "no_signs"),
    ]


def test_another_cause_on_record_before_the_index_time_still_holds():
    assert grade((-30, "other_cause", 1), (5, "temperature", 38.5)) == [(5, 0, "no_signs")]


def test_death_due_to_crs_is_grade_5_and_ends_the_course():
    assert grade(
        (5, "temperature", 38.5),
        (6, "resp_support", 4),
        (9, "death", 1),
        (9, "death_crs", 1),
        (12, "sbp", 60),
    ) == [(5, 1, "fever"), (6, 4, "positive_pressure"), (9, 5, "death_due_to_crs")]


def test_death_of_another_cause_ends_the_course_without_grade_5():
    assert grade(
        (5, "temperature", 38.5),
        (6, "resp_support", 4),
        (9, "death", 1),
        (9, "death_crs", 0),
        (12, "sbp", 60),
    ) == [(5, 1, "fever"), (6, 4, "positive_pressure")]


def test_a_cause_of_death_found_later_counts_from_then():
    rows = grade((5, "temperature", 38.5), (9, "death", 1), (200, "death_crs", 1))
    assert rows == [(5, 1, "fever"), (200, 5, "death_due_to_crs")]


def test_a_childs_pressure_below_the_limit_for_its_age_is_for_review():
    assert child_sbp_limit(pd.Series([0.5, 1.0, 5.9, 10.0, 17.0]).to_numpy()).tolist() == [70, 72, 80, 90, 90]
    events = [(5, "temperature", 38.5), (6, "sbp", 79)]
    assert grade(*events, age=5.0)[1] == (6, "review", "child_pressure")
    assert grade(*events, age=4.0)[1] == (17, 0, "no_signs")  # limit 78: the fever runs out at 17
    assert grade(*events, age=18.0)[1] == (6, 2, "hypotension")
    assert grade(*events, age=float("nan"))[1] == (6, 2, "hypotension")


def test_a_childs_bolus_or_vasopressor_is_graded_and_not_for_review():
    rows = grade(
        (5, "temperature", 38.5),
        (6, "sbp", 60),
        (7, "fluid_bolus", 200),
        (8, "norepinephrine_rate", 0.1),
        age=5.0,
    )
    assert rows[1:4] == [
        (6, "review", "child_pressure"),
        (7, 2, "hypotension"),
        (8, 3, "one_vasopressor"),
    ]


@pytest.mark.parametrize(
    ("steroid_hours", "therapy", "state"),
    [
        (-1, ENGAGER, "review"),
        (0, ENGAGER, "review"),
        (-24, ENGAGER, "review"),
        (-24.1, ENGAGER, "not_gradable"),
        (0.5, ENGAGER, "not_gradable"),  # after the dose is no premedication
        (-1, CELLS, "not_gradable"),
    ],
)
def test_signs_without_fever_are_for_review_after_a_steroid_within_24_hours_before_an_engager_dose(
    steroid_hours, therapy, state
):
    rows = grade(
        (steroid_hours, "dexamethasone_dose", 20), (0, "bsab_dose", 2.5), (6, "sbp", 85), therapy=therapy
    )
    assert rows[0][:2] == (6, state)


def test_the_first_engager_dose_is_at_hour_0_even_when_it_is_not_recorded():
    assert grade((-1, "dexamethasone_dose", 20), (6, "sbp", 85), therapy=ENGAGER)[0][1] == "review"


def test_premedication_counts_for_its_own_dose_only():
    rows = grade(
        (-1, "dexamethasone_dose", 20),
        (0, "bsab_dose", 2.5),
        (6, "sbp", 85),
        (7, "sbp", 120),
        (160, "bsab_dose", 10),  # without a steroid
        (166, "sbp", 85),
        therapy=ENGAGER,
    )
    assert [row[:2] for row in rows] == [
        (6, "review"),
        (7, 0),
        (166, "not_gradable"),
        (178, 0),
    ]


def test_premedication_ends_with_the_window_of_the_dose():
    rows = grade(
        (-1, "dexamethasone_dose", 20),
        (0, "bsab_dose", 2.5),
        (165, "norepinephrine_rate", 0.1),
        therapy=ENGAGER,
    )
    assert [row[:2] for row in rows] == [(165, "review"), (168, "not_gradable"), (189, 0)]


def test_a_course_without_an_age_column_is_graded_as_an_adult():
    grades = grade_events(timeline((5, "temperature", 38.5), (5, "sbp", 85)), course().drop(columns="age"))
    assert grades["grade"].iloc[0] == 2.0


def test_a_result_counts_from_when_it_was_known():
    events = timeline((5, "temperature", 38.5), (9, "temperature", 37.0), (10, "sbp", 120))
    events.loc[0, "available_hours"] = 7.0
    assert told(grade_events(events, course())) == [(5, 1, "fever"), (9, 0, "no_signs")]
    assert told(grade_events(events, course(), known=True)) == [(7, 1, "fever"), (9, 0, "no_signs")]


def test_a_reading_that_arrives_after_a_newer_one_does_not_replace_it():
    events = timeline((5, "temperature", 38.5), (9, "temperature", 37.0))
    events.loc[0, "available_hours"] = 20.0
    assert told(grade_events(events, course(), known=True)) == [(9, 0, "no_signs")]


def test_an_available_time_before_the_measurement_changes_nothing():
    events = timeline((5, "temperature", 38.5))
    events["available_hours"] = [1.0]
    assert told(grade_events(events, course(), known=True)) == [(5, 1, "fever"), (17, 0, "no_signs")]


def test_hourly_grades_repeat_the_grade_in_force():
    events = timeline((-3, "temperature", 37.0), (1.5, "temperature", 38.5), (3, "temperature", 37.0))
    hourly = grade_events(events, course(), grid_hours=1.0)
    assert hourly["hours"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert hourly["grade"].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_a_grid_starts_at_its_first_step_after_the_first_sign():
    hourly = grade_events(timeline((5.5, "temperature", 38.5)), course(), grid_hours=2.0)
    assert hourly["hours"].tolist() == [6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
    assert hourly["grade"].tolist() == [1.0] * 6 + [0.0]


def test_a_grid_of_a_tenth_of_an_hour_meets_events_on_its_steps():
    hourly = grade_events(timeline((0.3, "temperature", 38.5)), course(), grid_hours=0.1)
    assert hourly["hours"].iloc[0] == pytest.approx(0.3)
    assert hourly["grade"].iloc[0] == 1.0
    assert hourly["hours"].is_monotonic_increasing


def test_a_grid_of_0_hours_is_refused():
    with pytest.raises(ValueError, match="a number of hours above 0"):
        grade_events(timeline((5, "temperature", 38.5)), course(), grid_hours=0.0)


def test_other_systems_stand_beside_astct_in_rows_of_their_own():
    events = timeline(
        (5, "temperature", 38.5), (6, "norepinephrine_rate", 0.1), (7, "norepinephrine_rate", 0)
    )
    grades = grade_events(events, course(), systems=("ASTCT", "Lee2014", "CTCAEv5"))
    by_system = {name: told(rows)[1] for name, rows in grades.groupby("system")}
    assert by_system == {
        "ASTCT": (6, 3, "one_vasopressor"),
        "Lee2014": (6, (2, 3), "vasopressor_dose_unknown"),
        "CTCAEv5": (6, 3, "one_vasopressor"),
    }


def test_the_oxygen_fraction_settles_the_other_systems():
    events = timeline((5, "temperature", 38.5), (6, "resp_support", 2), (6, "fio2", 35))
    grades = grade_events(events, course(), systems=("ASTCT", "Lee2014"))
    at_6 = grades[grades["hours"] == 6]
    assert at_6["grade"].tolist() == [3.0, 2.0]


def test_an_unknown_system_is_refused():
    with pytest.raises(
        ValueError, match=r"system \['Penn'\]; known systems: \['ASTCT', 'Lee2014', 'CTCAEv5'\]"
    ):
        grade_events(timeline((5, "temperature", 38.5)), course(), systems=("Penn",))


def test_two_courses_do_not_touch_each_other():
    first = timeline((5, "temperature", 38.5), (6, "tocilizumab_dose", 600), course="c1")
    second = timeline((7, "sbp", 85), course="c2")
    courses = pd.concat([course(), course(course_id="c2"), course(course_id="c3")], ignore_index=True)
    grades = grade_events(pd.concat([second, first], ignore_index=True), courses)
    assert told(grades[grades["course_id"] == "c2"]) == [
        (7, "not_gradable", "signs_without_fever"),
        (19, 0, "no_signs"),
    ]
    assert grades["course_id"].unique().tolist() == ["c1", "c2"]  # c3 has no signs: no rows


def test_a_timeline_without_signs_gives_an_empty_table_with_all_columns():
    grades = grade_events(timeline((5, "crp", 80)), course())
    assert grades.empty
    assert grades.columns.tolist() == [
        "course_id",
        "hours",
        "grade",
        "state",
        "low",
        "high",
        "rule",
        "system",
    ]
    assert grade_events(timeline(), course()).empty
    assert grade_events(timeline(), course(ENGAGER)).empty


def test_a_therapy_that_nobody_knows_is_graded_and_not_taken_as_an_engager():
    rows = grade((-1, "dexamethasone_dose", 20), (6, "sbp", 85), therapy="not-in-any-list")
    assert rows[0][:2] == (6, "not_gradable")


def test_a_cohort_without_vital_signs_is_told_why_it_cannot_be_graded():
    answer = gradable(timeline((5, "crp", 80), (6, "ferritin", 900)))
    assert not answer.ok
    assert answer.reason.startswith("no grade can be derived: the events hold no temperature; blood pressure")
    assert answer.present == ()


def test_a_cohort_with_temperatures_alone_is_told_that_grades_may_be_too_low():
    answer = gradable(timeline((5, "temperature", 38.5)))
    assert answer.ok
    assert "may be too low" in answer.reason
    assert "oxygen (resp_support, o2_flow)" in answer.reason


def test_a_cohort_with_all_three_is_gradable_without_reserve():
    answer = gradable(timeline((5, "temperature", 38.5), (5, "sbp", 120), (5, "resp_support", 0)))
    assert (answer.ok, answer.reason) == (True, "temperature, pressure and oxygen are recorded")


class _OneCourse:
    """The three attributes of a cohort that grading reads."""

    def __init__(self, events: pd.DataFrame) -> None:
        self.courses = course()
        self.therapies = {}
        self._events = events

    def timeline(self) -> pd.DataFrame:
        return self._events


def test_grading_a_cohort_gives_the_table_or_says_what_is_needed():
    assert told(grade_cohort(_OneCourse(timeline((5, "temperature", 38.5))))) == [
        (5, 1, "fever"),
        (17, 0, "no_signs"),
    ]
    with pytest.raises(CrsRiskError, match="ASTCT grades need dated temperatures"):
        grade_cohort(_OneCourse(timeline((5, "crp", 80))))


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="the real cohort is not beside the project")
def test_the_real_cohort_says_why_it_cannot_be_graded():
    from crsrisk.cohort import read_cohort

    with pytest.raises(CrsRiskError, match="no grade can be derived: the events hold no temperature"):
        grade_cohort(read_cohort(REAL))


def test_the_peak_includes_what_holds_at_the_start_and_nothing_after_the_end():
    grades = grade_events(
        timeline(
            (5, "temperature", 38.5),
            (6, "norepinephrine_rate", 0.1),
            (10, "norepinephrine_rate", 0),
            (11, "temperature", 37.0),
            (30, "temperature", 38.5),
            (31, "resp_support", 4),
        ),
        course(),
    )
    assert peak(grades, 0, 5)["grade"].tolist() == [1.0]
    assert peak(grades, 0, 20)["grade"].tolist() == [3.0]
    assert peak(grades, 8, 20)["grade"].tolist() == [3.0]  # grade 3 holds at hour 8
    assert peak(grades, 10, 20)["grade"].tolist() == [1.0]  # it ended at hour 10
    assert peak(grades, 12, 40)["grade"].tolist() == [4.0]


def test_a_peak_that_rests_on_a_range_or_a_review_is_in_doubt():
    ranged = grade_events(timeline((5, "temperature", 38.5), (6, "o2_flow", 4)), course())
    found = peak(ranged, 0, 10).iloc[0]
    assert isnan(found["grade"])
    assert (found["low"], found["high"], found["in_doubt"]) == (2.0, 3.0, True)
    unfebrile = grade_events(timeline((6, "norepinephrine_rate", 0.1)), course())
    found = peak(unfebrile, 0, 10).iloc[0]
    assert (found["low"], found["high"], found["in_doubt"]) == (0.0, 3.0, True)


def test_the_peak_of_given_grades_needs_no_bounds():
    grades = pd.DataFrame({"course_id": ["c1"] * 3, "hours": [24.0, 72.0, 120.0], "grade": [1.0, 3.0, 2.0]})
    assert peak(grades, 0, 336)["grade"].tolist() == [3.0]
    assert not peak(grades, 0, 336)["in_doubt"].iloc[0]
