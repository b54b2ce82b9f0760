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
    assert "12 patients had severe CRS; an own model needs 100 (shared trees 30)." in text
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
