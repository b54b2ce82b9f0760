"""Net benefit, decision curves, alert load and lead time, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.predicted import predicted
from training.alerts import MEASURES, alerts, with_watch
from training.decision_curve import COLUMNS, decision_curve
from training.evaluate import averaged
from training.net_benefit import net_benefit, treat_all
from training.resampling import Patients, draws


def patients(n: int, resamples: int = 0) -> Patients:
    return Patients.of(np.arange(n).astype(str).astype(object), resamples, 0)


def test_net_benefit_counts_true_and_false_alerts_by_hand():
    risk = np.array([0.3, 0.2, 0.2, 0.05])
    severe = np.array([1.0, 0.0, 1.0, 0.0])
    found = net_benefit(risk, severe, np.ones(4), patients(4), (0.2, 0.25))
    assert found[0].value == pytest.approx((2 - 1 * 0.25) / 4)  # a risk at the threshold is an alert
    assert found[1].value == pytest.approx(1 / 4)
    assert treat_all(severe, np.ones(4), patients(4), (0.2,))[0].value == pytest.approx((2 - 2 * 0.25) / 4)


def test_weights_stand_for_patients_who_were_lost():
    risk, severe = np.array([0.3, 0.3, 0.1]), np.array([1.0, 0.0, 0.0])
    found = net_benefit(risk, severe, np.array([2.0, 1.0, 1.0]), patients(3), (0.2,))
    assert found[0].value == pytest.approx((2 - 0.25) / 4)


def test_every_resample_of_net_benefit_is_that_of_its_patients():
    rng = np.random.default_rng(0)
    risk, severe = rng.uniform(0, 0.6, 60), (rng.random(60) < 0.3).astype(float)
    code = np.repeat(np.arange(20), 3)
    clustered = Patients.of(np.array([f"{c:02d}" for c in code], dtype=object), 15, 4)
    found = net_benefit(risk, severe, np.ones(60), clustered, (0.2,))[0]
    for drawn, value in zip(draws(20, 15, 4), found.resamples, strict=True):
        w = drawn[code]
        flagged = risk >= 0.2
        expected = (w * flagged * (severe - 0.25 * (1 - severe))).sum() / w.sum()
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, np.nan])
def test_a_threshold_that_is_no_risk_below_1_is_refused(threshold):
    with pytest.raises(ValueError, match="each must be at least 0 and below 1"):
        net_benefit(np.array([0.1]), np.array([1.0]), np.ones(1), patients(1), (threshold,))


@pytest.fixture(scope="module")
def curve():
    return decision_curve(predicted(models=("crsrisk", "easix"), slope=0.3), (0.05, 0.2), resamples=100)


def test_a_curve_has_every_model_and_both_strategies_without_one_in_every_cell(curve):
    assert tuple(curve.columns) == COLUMNS
    assert set(curve["model"]) == {"crsrisk", "easix", "treat_all", "treat_none"}
    assert len(curve) == 4 * 2 * 7  # models x thresholds x (all, 2 horizons, 2 landmarks x 2 horizons)
    nobody = curve[curve["model"] == "treat_none"]
    assert (nobody["net_benefit"] == 0).all()
    everybody = curve[curve["model"] == "treat_all"]
    assert (everybody["against_all"] == 0).all()


def test_the_difference_to_alerting_for_everybody_has_an_interval_of_its_own(curve):
    rows = curve[(curve["model"] == "crsrisk") & (curve["threshold"] == 0.2) & (curve["horizon"] == "rest")]
    assert (rows["against_all_low"] <= rows["against_all"]).all()
    assert (rows["against_all"] <= rows["against_all_high"]).all()
    assert (rows["against_all_low"] > 0).all()  # at 20 % alerting for everybody costs more than it brings


def one_course(risks: dict[float, float], *, course: str = "c", severe: int = 1) -> pd.DataFrame:
    lines = [
        {"model": "crsrisk", "repeat": 0, "family": "cd19_cart", "course_id": course, "patient_id": f"p{course}",
         "dose": 1, "landmark_hours": landmark, "horizon_hours": 336.0 - landmark, "rest_of_window": True,
         "severe": severe, "weight": 1.0, "risk": risk}
        for landmark, risk in risks.items()
    ]  # fmt: skip
    return pd.DataFrame(lines)


def onset(hours: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame({"course_id": list(hours), "dose": 1, "hours": list(hours.values())})


def measured(rows: pd.DataFrame, onsets: pd.DataFrame, threshold: float = 0.2) -> pd.Series:
    table = alerts(rows, onsets, (threshold,), resamples=0)
    return table[table["landmark_hours"].isna()].set_index("metric")["value"]


def test_a_landmark_stands_for_the_hours_until_the_next_one_or_severe_crs():
    rows = averaged(one_course({0.0: 0.1, 12.0: 0.1, 24.0: 0.1, 48.0: 0.1}))
    assert with_watch(rows, onset({"c": 55.0}))["watch_hours"].tolist() == [12.0, 12.0, 24.0, 7.0]
    assert with_watch(rows, onset({"other": 5.0}))["watch_hours"].tolist() == [12.0, 12.0, 24.0, 24.0]


def test_a_single_landmark_stands_for_a_day():
    assert with_watch(averaged(one_course({0.0: 0.1})), onset({"other": 9.0}))["watch_hours"].tolist() == [
        24.0
    ]


def test_lead_time_counts_from_the_first_alert_to_severe_crs():
    rows = pd.concat(
        [
            one_course({0.0: 0.1, 24.0: 0.3, 48.0: 0.4}, course="a"),  # alert at 24, severe at 60: 36 h
            one_course({0.0: 0.5, 24.0: 0.1, 48.0: 0.1}, course="b"),  # alert at 0, severe at 50: 50 h
            one_course({0.0: 0.1, 24.0: 0.1, 48.0: 0.1}, course="c"),  # no alert
            one_course({0.0: 0.1, 24.0: 0.1, 48.0: 0.3}, course="d", severe=0),
        ]
    )
    found = measured(rows, onset({"a": 60.0, "b": 50.0, "c": 70.0}))
    assert found["lead_hours_median"] == pytest.approx((36 + 50) / 2)
    assert found["onsets_alerted"] == pytest.approx(2 / 3)
    assert found["ppv"] == pytest.approx(3 / 4)  # four alerts, three of them of severe courses
    assert found["sensitivity"] == pytest.approx(3 / 9)
    days = (60 + 50 + 70 + 72) / 24
    assert found["alerts_per_100_patient_days"] == pytest.approx(100 * 4 / days)


def test_no_alert_and_no_time_of_onset_say_so():
    table = alerts(one_course({0.0: 0.1}), onset({"c": 9.0}), (0.9,), resamples=0)
    reasons = table[table["landmark_hours"].isna()].set_index("metric")["reason"]
    assert reasons["ppv"] == "no alert at this threshold"
    assert reasons["lead_hours_median"] == "no alert before severe CRS"
    table = alerts(one_course({0.0: 0.95}), onset({}).astype({"hours": float}), (0.9,), resamples=0)
    reasons = table[table["landmark_hours"].isna()].set_index("metric")["reason"]
    assert reasons["onsets_alerted"] == reasons["lead_hours_median"] == "no timed severe CRS"


def test_alert_intervals_hold_their_values_and_come_from_resampled_patients():
    rows = predicted(300)
    severe = rows[rows["severe"] == 1].drop_duplicates("course_id")
    when = onset(dict(zip(severe["course_id"], np.linspace(30, 80, len(severe)), strict=True)))
    table = alerts(rows, when, (0.1,), resamples=200)
    pooled = table[table["landmark_hours"].isna() & (table["horizon"] == "rest")].set_index("metric")
    assert set(pooled.index) == set(MEASURES)
    assert (pooled["low"] <= pooled["value"]).all()
    assert (pooled["value"] <= pooled["high"]).all()
    assert pooled.loc["lead_hours_median", "high"] - pooled.loc["lead_hours_median", "low"] > 1.0
