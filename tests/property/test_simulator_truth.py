"""What holds for every seed: true risks are risks, grow with the horizon, and agree with what happens."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crsrisk.simulator import Simulation, simulate

KEYS = ["tisa-cel_ALL", "brexu-cel_ALL", "brexu-cel_MCL"]
REPLICATES = 60


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(
        160, seed=21, therapies=KEYS, truth=REPLICATES, landmarks=(24.0, 48.0), horizons=(24.0, None)
    )


@pytest.fixture(scope="module")
def truth(simulation: Simulation) -> pd.DataFrame:
    assert simulation.truth is not None
    return simulation.truth


def test_the_truth_has_the_columns_of_the_contract(truth: pd.DataFrame) -> None:
    assert truth.columns.tolist() == [
        "course_id", "dose", "landmark_hours", "horizon_hours", "true_risk", "replicates",
    ]  # fmt: skip
    assert set(truth["horizon_hours"]) == {24.0, 288.0, 312.0}
    assert set(truth["replicates"]) == {REPLICATES}


def test_most_true_risks_lie_strictly_between_0_and_1(truth: pd.DataFrame) -> None:
    rest = truth[truth["horizon_hours"] > 200.0]["true_risk"]
    assert rest.between(0.0, 1.0).all()
    assert ((rest > 0.0) & (rest < 1.0)).mean() > 0.5


def test_a_longer_horizon_never_has_a_smaller_true_risk(truth: pd.DataFrame) -> None:
    wide = truth.pivot_table(
        index=["course_id", "landmark_hours"], columns="horizon_hours", values="true_risk"
    )
    short, rest = wide[24.0], wide[[288.0, 312.0]].max(axis=1)
    assert (short <= rest).all()


@pytest.mark.parametrize("landmark", [24.0, 48.0])
def test_the_mean_true_risk_meets_the_observed_share(
    simulation: Simulation, truth: pd.DataFrame, landmark: float
) -> None:
    rest = truth[(truth["landmark_hours"] == landmark) & (truth["horizon_hours"] > 200.0)]
    hour = simulation.hidden.set_index("course_id")["severe_hour"].reindex(rest["course_id"])
    seen = ((hour > landmark) & (hour <= 336.0)).to_numpy()
    risk = rest["true_risk"].to_numpy()
    error = np.sqrt(np.sum(risk * (1.0 - risk)) + np.sum(risk * (1.0 - risk)) / REPLICATES) / risk.size
    assert abs(risk.mean() - seen.mean()) <= 3.5 * error


def test_those_severe_before_the_landmark_have_no_true_risk(
    simulation: Simulation, truth: pd.DataFrame
) -> None:
    hour = simulation.hidden.set_index("course_id")["severe_hour"]
    at = truth["course_id"].map(hour)
    assert not (at <= truth["landmark_hours"]).any()


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), key=st.sampled_from(["axi-cel_LBCL3L", "tarla_SCLC3L", "blina_MRD"]))
def test_every_seed_gives_ordered_entries_of_living_patients(seed: int, key: str) -> None:
    found = simulate(4, seed=seed, therapies=[key])
    for _, events in found.events.groupby("course_id"):
        assert events["hours"].is_monotonic_increasing
    heart = found.events[found.events["variable"] == "heart_rate"]["value"].astype(float)
    assert heart.between(30, 220).all()
    assert found.courses["weight"].between(3, 250).all()
