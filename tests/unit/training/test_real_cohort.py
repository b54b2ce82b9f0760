"""The real cohort of 59 patients: 12 events carry no model of their own, and every output says so."""

from pathlib import Path

import pytest

from crsrisk.cohort import read_cohort
from training.crossvalidate import crossvalidate
from training.pipeline import train

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "cd22_cart"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real cohort is not beside this checkout"),
]


@pytest.fixture(scope="module")
def real():
    return read_cohort(FOLDER)


def test_crossvalidation_ends_with_all_models_and_the_sentence_about_12_events(real):
    found = crossvalidate(real, resamples=200)
    text = found.to_text()
    assert "59 patients, 12 with severe CRS" in text
    assert "12 patients had severe CRS; an own model needs 100 (shared trees 30 in all families)." in text
    auroc = found.table[
        (found.table["metric"] == "auroc")
        & (found.table["horizon"] == "rest")
        & found.table["landmark_hours"].isna()
    ].set_index("model")
    assert {"crsrisk", "logistic", "prior"} <= set(auroc.index)
    assert auroc.loc["logistic", "high"] - auroc.loc["logistic", "low"] > 0.2
    assert set(found.predictions["horizon_hours"]) == {336.0, 324.0, 312.0, 288.0, 264.0}


def test_lee_grades_are_not_mixed_in_and_courses_past_onset_are_not_at_risk(real):
    found = crossvalidate(real, (0.0, 72.0), resamples=0, baselines=False)
    rows = found.attrition.set_index("step")["rows"]
    placed = rows["before CRS onset where the time of severe CRS is unknown"]
    assert placed < rows["not possibly severe already at the landmark"]
    assert found.detail.groupby("course_id")["severe"].max().sum() == 12


def test_training_gives_a_base_rate_model(real):
    (trained,) = train(real, resamples=0)
    assert trained.model.strategy == "offset"
    assert trained.model.n_events == 12
    assert trained.model.booster is None


def test_the_gate_refuses_a_model_trained_on_it_alone(real, tmp_path):
    from crsrisk.errors import GateError
    from training.champions import load_champions
    from training.promotions import history, promote
    from training.publish import train_and_register

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (registered,) = train_and_register(real, tracking_uri=uri, resamples=0, refits=0).registered
    with pytest.raises(GateError, match="the gate refuses it") as refused:
        promote(registered.info.name, registered.info.version, "the only patients we have", tracking_uri=uri)
    assert any(
        reason
        == "sample_size: 12 of 59 patients had severe CRS; a model like this one needs 30 with and 30 without"
        for reason in refused.value.reasons
    )
    assert any(reason.startswith("same_patients: 59 patients, 12 ") for reason in refused.value.reasons)
    assert load_champions(uri) == ({}, {})
    assert [entry["action"] for entry in history(tracking_uri=uri)] == ["refuse"]
