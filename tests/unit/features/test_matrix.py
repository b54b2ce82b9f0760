"""Rows, doses and columns of the feature table."""

from math import isnan

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import CrsRiskError, TimeError
from crsrisk.therapies import Therapy
from features.matrix import THERAPY_FACTS, FeatureTable, compute_features, index_doses
from features.registry import feature_names, predictors
from tests.feature_cohorts import CELLS, ENGAGER, cohort_of

FEVER = [("a", -1.0, "temperature", 36.8), ("a", 6.0, "temperature", 38.6), ("a", 10.0, "temperature", 37.0)]


def value(table: FeatureTable, name: str, row: int = 0) -> float:
    return float(table.values[row, table.names.index(name)])


def at(course: str, as_of: float) -> pd.DataFrame:
    return pd.DataFrame({"course_id": [course], "as_of_hours": [as_of]})


def test_cells_have_one_dose_and_a_window_of_336_hours_also_when_split():
    doses = index_doses(cohort_of([("a", 0.0, "bsab_dose", 1.0), ("a", 24.0, "bsab_dose", 1.0)]))
    assert doses.to_dict("list") == {
        "course_id": ["a"],
        "dose": [1],
        "dose_hours": [0.0],
        "window_end_hours": [336.0],
    }


def test_each_dose_of_an_engager_opens_a_window_that_ends_at_168_hours_or_the_next_dose():
    given = [(0.0, 2.5), (168.0, 10.0), (240.0, 30.0), (241.0, 0.0), (600.0, 30.0)]
    doses = index_doses(cohort_of([("a", h, "bsab_dose", v) for h, v in given], therapy=ENGAGER))
    assert doses["dose"].tolist() == [1, 2, 3, 4]
    assert doses["dose_hours"].tolist() == [0.0, 168.0, 240.0, 600.0]
    assert doses["window_end_hours"].tolist() == [168.0, 72.0, 168.0, 168.0]


def test_two_records_of_a_dose_at_the_same_hour_are_one_dose():
    doses = index_doses(
        cohort_of([("a", 0.0, "bsab_dose", 1.0), ("a", 0.0, "bsab_dose", 2.0)], therapy=ENGAGER)
    )
    assert doses["dose"].tolist() == [1]


def test_an_engager_without_a_recorded_dose_has_its_first_at_hour_0():
    doses = index_doses(cohort_of([], therapy=ENGAGER))
    assert doses[["dose", "dose_hours", "window_end_hours"]].to_numpy().tolist() == [[1, 0.0, 168.0]]


def test_a_landmark_at_or_after_the_end_of_the_window_makes_no_row():
    cohort = cohort_of([("a", h, "bsab_dose", 1.0) for h in (0.0, 48.0)], therapy=ENGAGER)
    rows = compute_features(cohort, (24.0, 48.0, 167.0, 168.0)).rows
    assert list(zip(rows["dose"], rows["landmark_hours"], rows["as_of_hours"], strict=True)) == [
        (1, 24.0, 24.0),
        (2, 24.0, 72.0),
        (2, 48.0, 96.0),
        (2, 167.0, 215.0),
    ]


def test_rows_name_course_patient_and_therapy():
    cohort = cohort_of([], courses=("a", "b"), therapy={"a": CELLS, "b": ENGAGER})
    rows = compute_features(cohort, (0.0,)).rows
    assert list(rows.columns) == [
        "course_id", "patient_id", "therapy", "dose", "dose_hours", "landmark_hours", "as_of_hours",
    ]  # fmt: skip
    assert rows[["course_id", "patient_id", "therapy"]].to_numpy().tolist() == [
        ["a", "pa", CELLS],
        ["b", "pb", ENGAGER],
    ]


def test_explicit_rows_count_from_the_latest_dose_given_and_recorded_by_then():
    events = [("a", 0.0, "bsab_dose", 1.0), ("a", 168.0, "bsab_dose", 1.0, 175.0)]
    cohort = cohort_of(events, therapy=ENGAGER)
    rows = compute_features(
        cohort, at=pd.DataFrame({"course_id": ["a"] * 3, "as_of_hours": [30.0, 170.0, 180.0]})
    ).rows
    assert rows["dose"].tolist() == [1, 1, 2]
    assert rows["landmark_hours"].tolist() == [30.0, 170.0, 12.0]


def test_explicit_rows_equal_the_grid_to_the_last_bit():
    cohort = cohort_of([*FEVER, ("a", 5.0, "crp", 80.0), ("a", -4.0, "crp", 3.0)])
    grid = compute_features(cohort, (12.0, 24.0), with_times=True)
    alone = compute_features(cohort, at=at("a", 24.0), with_times=True)
    assert np.array_equal(grid.values[1], alone.values[0], equal_nan=True)
    assert grid.times is not None
    assert alone.times is not None
    assert np.array_equal(grid.times[1], alone.times[0], equal_nan=True)


def test_a_moment_before_the_index_time_is_refused():
    with pytest.raises(TimeError, match="row 0 of `at`: as_of_hours is before the index time"):
        compute_features(cohort_of([]), at=at("a", -0.5))


def test_an_unknown_course_is_refused_without_its_id():
    with pytest.raises(
        CrsRiskError, match="row 0 of `at` names a course that is not in the cohort"
    ) as refused:
        compute_features(cohort_of([]), at=at("secret", 5.0))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("landmarks", [(), (-1.0,), (float("nan"),)])
def test_landmarks_that_are_no_hours_from_the_dose_are_refused(landmarks):
    with pytest.raises(TimeError, match="give hours at or above 0"):
        compute_features(cohort_of([]), landmarks)


def test_chosen_features_are_the_columns_in_the_given_order():
    chosen = (predictors()[20], predictors()[3])
    table = compute_features(cohort_of(FEVER), (24.0,), features=chosen)
    whole = compute_features(cohort_of(FEVER), (24.0,))
    assert table.names == tuple(feature.name for feature in chosen)
    for name in table.names:
        assert np.array_equal(value(table, name), value(whole, name), equal_nan=True)


def test_the_frame_holds_rows_and_all_features_side_by_side():
    frame = compute_features(cohort_of(FEVER), (24.0,)).frame()
    assert list(frame.columns[7:]) == list(feature_names())
    assert frame["temperature_max_since_dose"].tolist() == [38.6]


def test_grade_so_far_follows_the_fever():
    table = compute_features(cohort_of(FEVER), (0.0, 6.0, 12.0))
    assert [value(table, "grade_last_so_far", row) for row in range(3)] == [0.0, 1.0, 0.0]
    assert [value(table, "grade_max_since_dose", row) for row in range(3)] == [0.0, 1.0, 1.0]
    assert isnan(value(table, "crs_hours_since_onset_since_dose", 0))
    assert [value(table, "crs_hours_since_onset_since_dose", row) for row in (1, 2)] == [0.0, 6.0]


def test_a_fever_that_is_known_late_gives_a_grade_late():
    cohort = cohort_of([("a", -1.0, "temperature", 36.8), ("a", 6.0, "temperature", 38.6, 9.0)])
    table = compute_features(cohort, (6.0, 9.0))
    assert [value(table, "grade_max_since_dose", row) for row in range(2)] == [0.0, 1.0]
    assert value(table, "crs_hours_since_onset_since_dose", 1) == 0.0


def test_without_a_temperature_there_is_no_grade_so_far():
    table = compute_features(cohort_of([("a", 1.0, "sbp", 120.0)]), (12.0,))
    assert isnan(value(table, "grade_last_so_far"))
    assert isnan(value(table, "grade_max_since_dose"))


def test_a_grade_counts_from_the_first_temperature_on():
    events = [("a", 1.0, "sbp", 120.0), ("a", 10.0, "temperature", 36.9)]
    table = compute_features(cohort_of(events), (9.0, 12.0))
    assert isnan(value(table, "grade_last_so_far", 0))
    assert value(table, "grade_last_so_far", 1) == 0.0


def test_a_crs_that_lasts_at_the_next_dose_counts_for_it_from_the_dose():
    events = [("a", 0.0, "bsab_dose", 2.5), ("a", 168.0, "bsab_dose", 10.0)]
    events += [("a", h, "temperature", 38.5) for h in (160.0, 166.0, 170.0)]
    table = compute_features(cohort_of(events, therapy=ENGAGER), (6.0,))
    assert table.rows["dose"].tolist() == [1, 2]
    assert value(table, "grade_max_since_dose", 1) == 1.0
    assert value(table, "crs_hours_since_onset_since_dose", 1) == 6.0
    assert value(table, "grade_max_before_dose", 1) == 1.0
    assert isnan(value(table, "grade_max_before_dose", 0))


def test_dose_features_tell_number_time_and_share_of_the_full_dose():
    events = [("a", 0.0, "bsab_dose", 2.5), ("a", 168.0, "bsab_dose", 10.0)]
    table = compute_features(cohort_of(events, therapy=ENGAGER), (1.0,))
    assert [value(table, "dose_number", row) for row in range(2)] == [1.0, 2.0]
    assert [value(table, "dose_hours_since_index", row) for row in range(2)] == [0.0, 168.0]
    shares = [value(table, "dose_fraction", row) for row in range(2)]
    full = THERAPY_FACTS["full_dose_mg"](cohort_of([], therapy=ENGAGER).therapy_of("a"))
    assert shares == pytest.approx([2.5 / full, 10.0 / full], nan_ok=True)


def therapy_with(**facts: object) -> Therapy:
    basics = {
        "key": "x",
        "name": "x",
        "class_": "cart",
        "targets": ("CD19",),
        "setting": "heme",
        "source": "s",
    }
    return Therapy(**{**basics, **facts})


def test_costimulation_is_unknown_for_a_car_without_a_record_and_absent_in_an_engager():
    fact = THERAPY_FACTS["is_cd28"]
    assert fact(therapy_with(costimulation="CD28")) == 1.0
    assert fact(therapy_with(costimulation="4-1BB")) == 0.0
    assert isnan(fact(therapy_with()))
    assert fact(therapy_with(class_="engager")) == 0.0


def test_demographics_come_from_the_courses():
    table = compute_features(cohort_of([], age=[61.0], weight=[70.0], bm_blasts_pct=[45.0]), (0.0,))
    assert value(table, "age_last_baseline") == 61.0
    assert value(table, "weight_last_baseline") == 70.0
    assert value(table, "bm_blasts_pct_last_baseline") == 45.0


def test_shock_index_needs_a_pressure_above_zero():
    vitals = [("a", 1.0, "heart_rate", 120.0), ("a", 1.0, "sbp", 100.0)]
    assert value(compute_features(cohort_of(vitals), (2.0,)), "shock_index_last_so_far") == 1.2
    without = [("a", 1.0, "heart_rate", 120.0), ("a", 1.0, "sbp", 0.0)]
    assert isnan(value(compute_features(cohort_of(without), (2.0,)), "shock_index_last_so_far"))


def test_times_show_the_latest_input_of_a_derived_feature():
    labs = [("a", -5.0, "ldh", 300.0), ("a", -4.0, "creatinine", 1.0), ("a", -3.0, "platelets", 150.0)]
    table = compute_features(cohort_of(labs), (24.0,), with_times=True)
    assert table.times is not None
    assert table.times[0, table.names.index("easix_log2_baseline")] == -3.0
    assert isnan(table.times[0, table.names.index("therapy_cd28")])


def test_unused_variables_change_nothing():
    plain = compute_features(cohort_of(FEVER), (24.0,)).values
    more = compute_features(cohort_of([*FEVER, ("a", 2.0, "height", 170.0)]), (24.0,)).values
    assert np.array_equal(plain, more, equal_nan=True)
