"""Published scores as features."""

from math import isnan, log2

import pytest

from features.matrix import compute_features
from tests.feature_cohorts import cohort_of

BASELINE = [("a", -5.0, name, value) for name, value in (("ldh", 350.0), ("crp", 60.0), ("platelets", 50.0))]
HSCORE = {
    "immunosuppression": 0.0, "organomegaly": 1.0, "ferritin": 2500.0, "triglycerides": 2.0 * 88.57,
    "fibrinogen": 250.0, "ast": 35.0, "hemophagocytosis": 0.0, "hemoglobin": 9.0, "wbc": 3.0, "platelets": 200.0,
}  # fmt: skip


def values(events, landmark=24.0):
    table = compute_features(cohort_of(events), (landmark,))
    return dict(zip(table.names, table.values[0].tolist(), strict=True))


def test_m_easix_takes_crp_in_mg_per_dl():
    assert values(BASELINE)["m_easix_log2_baseline"] == pytest.approx(log2(42.0))


def test_s_easix_needs_no_creatinine_and_easix_does():
    found = values(BASELINE)
    assert found["s_easix_log2_baseline"] == pytest.approx(log2(7.0))
    assert isnan(found["easix_log2_baseline"])


def test_so_far_uses_the_latest_values_and_baseline_does_not():
    found = values([*BASELINE, ("a", 20.0, "ldh", 700.0)])
    assert found["s_easix_log2_so_far"] == pytest.approx(log2(14.0))
    assert found["s_easix_log2_baseline"] == pytest.approx(log2(7.0))


def test_a_platelet_count_of_zero_gives_no_score():
    assert isnan(values([("a", -1.0, "ldh", 300.0), ("a", -1.0, "platelets", 0.0)])["s_easix_log2_so_far"])


def test_hscore_matches_units_and_the_worked_example():
    events = [("a", 2.0, name, value) for name, value in HSCORE.items()] + [("a", 3.0, "temperature", 39.0)]
    assert values(events)["hscore_points_so_far"] == 208.0


def test_hscore_needs_every_item():
    events = [("a", 2.0, name, value) for name, value in HSCORE.items() if name != "organomegaly"]
    assert isnan(values([*events, ("a", 3.0, "temperature", 39.0)])["hscore_points_so_far"])
