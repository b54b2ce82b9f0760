"""Rescue before severe CRS, and severe CRS with rescue as a competing event or part of the outcome."""

import numpy as np
import pandas as pd
import pytest

from crsrisk.cohort import read_cohort
from crsrisk.simulator import simulate
from tests.unit.training.cohorts import GLOFIT, cohort, course
from tests.unit.training.treated import STEROID, TOCILIZUMAB, at_infusion, graded
from training.evaluate import METRICS
from training.rescue import BASE_RISK, COLUMNS, OUTCOMES, rescue_sensitivity, rescues, standing

FEVER = (10.0, 1.0)
TEN = {
    "a": ([(30.0, 3.0)], []),  # severe without rescue
    "b": ([FEVER, (60.0, 3.0)], [(20.0, TOCILIZUMAB)]),  # rescued, severe all the same
    "c": ([FEVER], [(50.0, TOCILIZUMAB)]),  # rescued, never severe
    "d": ([FEVER, (30.0, 3.0)], [(31.0, TOCILIZUMAB)]),  # treated when already severe: no rescue
    **{f"e{i}": ([], []) for i in range(6)},
}


def rescue_hour(given, grades=(FEVER, (48.0, 3.0)), definition="tocilizumab", follow_up=336.0) -> float:
    found = at_infusion(graded({"a": (list(grades), given)}, follow_up={"a": follow_up}))
    return float(rescues(found, definition).hours[0])


@pytest.mark.parametrize(("hour", "expected"), [(47.0, 47.0), (48.0, np.inf), (0.0, np.inf), (0.5, 0.5)])
def test_rescue_comes_after_the_infusion_and_before_severe_crs(hour: float, expected: float):
    assert rescue_hour([(hour, TOCILIZUMAB)]) == expected


def test_rescue_after_the_window_does_not_count():
    assert rescue_hour([(337.0, TOCILIZUMAB)], grades=[FEVER]) == np.inf


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(20.0, TOCILIZUMAB)], np.inf),  # one alone
        ([(20.0, TOCILIZUMAB), (26.0, STEROID)], 26.0),  # from the second on
        ([(5.0, STEROID), (20.0, TOCILIZUMAB)], np.inf),  # a steroid before CRS is no answer to it
        ([(10.0, STEROID), (20.0, TOCILIZUMAB)], 20.0),  # at the onset it is
        ([(20.0, TOCILIZUMAB), (50.0, STEROID)], np.inf),  # when severe it is too late
    ],
)
def test_both_drugs_make_a_rescue_of_the_stricter_kind(given, expected: float):
    assert rescue_hour(given, definition="tocilizumab_and_steroid") == expected


def test_every_dose_of_an_engager_has_its_own_rescue():
    events = [("a", 0.0, "bsab_dose", 2.5), ("a", 168.0, "bsab_dose", 10.0), ("a", 180.0, TOCILIZUMAB, 8.0)]
    found = cohort(
        [course("a", therapy=GLOFIT, follow_up=400.0)], events, grades=[("a", 176.0, 1.0, "ASTCT")]
    )
    assert rescues(at_infusion(found)).hours.tolist() == [np.inf, 180.0]


def test_a_row_past_its_rescue_is_no_longer_at_risk_of_a_first_one():
    prepared = at_infusion(graded({"c": TEN["c"]}), (0.0, 48.0, 50.0, 72.0))
    rows = prepared.labels.rows
    found = standing(rows, rescues(prepared), prepared.labels.outcomes)
    assert dict(zip(rows["landmark_hours"], found.free, strict=True)) == {
        0: True,
        48: True,
        50: False,
        72: False,
    }
    assert found.rescued.tolist() == [True, True, False, False]


def sensitivity(prepared, risk: float = 0.2, **settings) -> pd.DataFrame:
    rows = prepared.labels.rows.assign(model="crsrisk", repeat=0, fold=0, risk=risk)
    return rescue_sensitivity(prepared, rows, **{"definitions": ("tocilizumab",), "resamples": 0} | settings)


def base_risk(table: pd.DataFrame) -> dict[str, float]:
    here = table[(table["metric"] == BASE_RISK) & (table["landmark_hours"] == 0.0)]
    return dict(zip(here["outcome"], here["value"], strict=True))


def test_ten_patients_by_hand():
    """Aalen-Johansen without loss: at 20 h 1 of 10 rescued (S 0.9), at 30 h 2 of 9 severe (0.9 x 2/9 = 0.2, S 0.7),
    at 50 h 1 of 7 rescued (0.7 / 7 = 0.1): severe first 0.2, rescue first 0.2, either 0.4; severe at all 0.3."""
    found = sensitivity(at_infusion(graded(TEN)))
    assert base_risk(found) == pytest.approx(
        {"severe": 0.3, "severe_before_rescue": 0.2, "severe_or_rescue": 0.4}, abs=1e-12
    )
    events = found[(found["metric"] == BASE_RISK) & (found["landmark_hours"] == 0.0)].set_index("outcome")[
        "events"
    ]
    assert events.to_dict() == {"severe": 3, "severe_before_rescue": 2, "severe_or_rescue": 4}


def test_all_outcomes_have_the_same_rows_and_the_columns_of_metrics():
    found = sensitivity(at_infusion(graded(TEN), (0.0, 24.0)))
    assert tuple(found.columns) == COLUMNS
    counts = found[found["metric"] == BASE_RISK].pivot_table(
        index="landmark_hours", columns="outcome", values="n"
    )
    assert counts.loc[0.0].tolist() == [10, 10, 10]
    assert counts.loc[24.0].tolist() == [9, 9, 9]  # b was rescued before
    pooled = found[found["landmark_hours"].isna() & (found["horizon"] == "rest")]
    assert set(pooled["metric"]) == {BASE_RISK, *METRICS}


def test_risks_that_fit_severe_crs_are_too_high_for_severe_crs_before_rescue():
    found = sensitivity(at_infusion(graded(TEN)), risk=0.3)
    ratio = found[found["metric"] == "expected_observed"].set_index("outcome")["value"]
    assert ratio.to_dict() == pytest.approx(
        {"severe": 0.3 / 0.3, "severe_before_rescue": 0.3 / 0.2, "severe_or_rescue": 0.3 / 0.4}
    )


def test_without_any_rescue_there_is_nothing_to_compare():
    found = sensitivity(at_infusion(graded({"a": TEN["a"], "e": ([], [])})))
    assert found.empty
    assert tuple(found.columns) == COLUMNS


def test_courses_whose_grades_have_no_times_are_left_out():
    peaks = [
        {"course_id": f"p{i}", "peak_grade": grade, "system": "ASTCT"}
        for i, grade in enumerate((3.0, 2.0, 0.0))
    ]
    events = [(f"p{i}", 20.0, TOCILIZUMAB, 8.0) for i in range(3)]
    prepared = at_infusion(cohort([course(p["course_id"]) for p in peaks], events, outcomes=peaks))
    found = sensitivity(prepared)
    assert set(found["n"]) == {1}


def aalen_johansen(time: np.ndarray, event: np.ndarray, cause: int) -> float:
    """Cumulative incidence of a cause; 0 is loss."""
    free, incidence = 1.0, 0.0
    for t in np.unique(time[event > 0]):
        at_risk = (time >= t).sum()
        incidence += free * ((time == t) & (event == cause)).sum() / at_risk
        free *= 1.0 - ((time == t) & (event > 0)).sum() / at_risk
    return incidence


def test_weighted_shares_are_the_cumulative_incidences_of_aalen_and_johansen(tmp_path):
    simulated = simulate(500, seed=3, therapies=["tisa-cel_ALL", "brexu-cel_ALL"])
    prepared = at_infusion(read_cohort(simulated.write(tmp_path / "cohort", parquet=True)))
    outcomes, rescue = prepared.labels.outcomes, rescues(prepared)
    severe = np.nan_to_num(outcomes.severe_hours, nan=np.inf)
    end = np.minimum(outcomes.follow_up_hours, 336.0)
    first = np.minimum(severe, rescue.hours)
    event = np.where(first <= end, np.where(rescue.hours < severe, 2, 1), 0)
    time = np.minimum(first, end)
    found = base_risk(sensitivity(prepared))
    assert (event == 2).sum() > 100
    assert (time[event == 0] < 336.0).sum() >= 5  # some were lost
    severe_first, rescue_first = (aalen_johansen(time, event, cause) for cause in (1, 2))
    assert found["severe_before_rescue"] == pytest.approx(severe_first, abs=0.004)
    assert found["severe_or_rescue"] == pytest.approx(severe_first + rescue_first, abs=0.012)
    assert list(found) == list(OUTCOMES)
