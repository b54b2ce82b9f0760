"""A registered model on other patients: risks, words, files; nothing of a single patient leaves."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import ModelError, NotEnoughDataError
from tests.toy_models import offset_model, tree_model
from tests.unit.training.cohorts import GLOFIT, cohort, course, quiet
from tests.unit.training.test_crossvalidate import some
from training.champions import load_uri
from training.external import evaluate_model, evaluate_registered, risks_of
from training.kept import NO_LIST
from training.offset import sigmoid
from training.track import FamilyRun, ModelInfo, log_training
from training.verdict import CANNOT_TELL, WORDS

INFO = ModelInfo("crsrisk-cd19_cart", "7", "sha256:model")
TABLES = {
    "metrics", "sensitivity_uncertain_grades", "attrition", "decision_curve", "alerts", "subgroups", "comparisons",
    "instability", "treatment_policy",
}  # fmt: skip
FIGURES = {"calibration", "roc", "precision_recall", "decision_curve"}


def elsewhere(n: int = 60, severe: int = 20, **changes):
    courses, events = some(n, severe)
    return cohort([c | changes for c in courses], events)


@pytest.fixture(scope="module")
def found():
    return evaluate_model(tree_model(), INFO, elsewhere(), thresholds=(0.1, 0.3), resamples=60)


def test_the_risks_are_those_of_the_model(found):
    ours = found.detail[found.detail["model"] == "crsrisk"]
    assert set(ours["landmark_hours"]) == {0.0, 24.0, 48.0}  # those the model was made for
    assert (found.patients, found.events) == (60, 20)
    assert ours["risk"].between(0, 1, inclusive="neither").all()
    assert len(ours.drop_duplicates(["course_id", "landmark_hours", "horizon_hours"])) == len(ours)


def test_the_risks_are_those_that_the_model_gives_a_feature_table():
    from training.crossvalidate import prepare

    model = tree_model()
    prepared = prepare(elsewhere(), model.landmarks, model.horizons)
    rows = replace(prepared, names=model.feature_names).rows()
    risk = risks_of(model, rows, {})
    served = model.predict(prepared.table, model.horizons)
    table = prepared.table.rows.iloc[served.row]
    by_row = dict(
        zip(
            zip(table["course_id"], table["landmark_hours"], served.horizon_hours, strict=True),
            served.risk,
            strict=True,
        )
    )
    keys = zip(rows.rows["course_id"], rows.landmark, rows.horizon, strict=True)
    assert risk == pytest.approx([by_row[key] for key in keys], abs=1e-9)


def test_scores_are_recalibrated_on_other_patients_and_the_base_rate_is_the_models(found):
    models = set(found.table["model"])
    assert {"crsrisk", "prior", "s_easix", "m_easix", "last_grade"} <= models
    prior = found.detail[(found.detail["model"] == "prior") & found.detail["rest_of_window"]]
    model = tree_model()
    row = prior[prior["landmark_hours"] == 0.0].iloc[0]
    offset = model.offset.start(
        [row["therapy"]], np.array([1]), np.array([0.0]), np.array([336.0]), {}
    ).log_odds()
    assert row["risk"] == pytest.approx(float(sigmoid(offset)[0]))
    assert any("an advantage that the model did not have" in note for note in found.notes)


def test_every_horizon_gets_a_word_and_the_rest_of_the_window_comes_first(found):
    assert [v.horizon for v in found.verdicts] == ["rest", "24", "72"]
    assert {v.word for v in found.verdicts} <= set(WORDS)
    assert found.verdicts[0].events == 20
    assert found.to_text().split("\n\n")[1].startswith("rest: ")


def test_files_are_written_and_hold_no_row_of_a_patient(found, tmp_path):
    names = found.write(tmp_path)
    assert set(names) == {p.name for p in tmp_path.iterdir()}
    assert {n.removesuffix(".csv") for n in names if n.endswith(".csv")} == TABLES
    assert {n.removesuffix(".svg") for n in names if n.endswith(".svg")} == FIGURES
    for file in tmp_path.iterdir():
        assert "axi-cel_LBCL3L1" not in file.read_text(encoding="utf-8"), (
            file.name
        )  # a course's and patient's name
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["model"] == {"name": "crsrisk-cd19_cart", "version": "7", "digest": "sha256:model"}
    assert summary["verdicts"][0]["word"] == found.verdicts[0].word
    assert summary["files"] == names
    table = pd.read_csv(tmp_path / "metrics.csv")
    logged = {(m["horizon"], m["metric"]): m["value"] for m in summary["metrics"]}
    chosen = table[
        (table["model"] == "crsrisk") & table["landmark_hours"].isna() & (table["horizon"] == "rest")
    ]
    for row in chosen.itertuples():
        assert logged["rest", row.metric] == pytest.approx(row.value), row.metric


def test_no_default_threshold_is_named(found, tmp_path):
    assert any("No threshold is recommended" in note for note in found.notes)
    assert set(found.suite.alerts["threshold"]) == {0.1, 0.3}


def test_few_events_and_no_event_can_not_tell():
    for severe, reason in ((4, "4 patients with severe CRS"), (0, "0 patients with severe CRS")):
        few = evaluate_model(tree_model(), INFO, elsewhere(20, severe), thresholds=(0.1,), resamples=20)
        assert few.verdicts[0].word == CANNOT_TELL
        assert few.verdicts[0].reasons[0].startswith(reason)
        assert (few.figures() == {}) == (severe == 0)
    json.dumps(few.to_dict(), allow_nan=False)


def test_a_base_rate_model_and_a_new_product_say_what_they_are():
    cells = elsewhere(24, 8, therapy="brexu-cel_MCL")
    few = evaluate_model(offset_model("cd19_cart"), INFO, cells, thresholds=(0.1,), resamples=0)
    assert any("The model never saw brexu-cel_MCL" in note for note in few.notes)
    assert any("the base rate alone" in note for note in few.notes)


def test_rows_of_another_family_are_counted_and_without_its_own_the_model_is_refused():
    courses, events = some(20, 8)
    more = [course("g", therapy=GLOFIT, follow_up=200.0)]
    mixed = cohort([*courses, *more], [*events, *quiet("g", 160.0)])
    found = evaluate_model(tree_model(), INFO, mixed, thresholds=(0.1,), resamples=0)
    assert any("rows of other families were left out" in note for note in found.notes)
    with pytest.raises(
        NotEnoughDataError, match=r"no labelled rows of family 'cd19_cart'; the cohort has \['heme_engager'\]"
    ):
        evaluate_model(tree_model(), INFO, cohort(more, quiet("g", 160.0)), resamples=0)


def test_steps_are_told_to_the_end():
    told = []
    evaluate_model(
        offset_model("cd19_cart"), INFO, elsewhere(12, 4), thresholds=(0.1,), resamples=0,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert [t[1:] for t in told] == [(k, 5) for k in range(1, 6)]


@pytest.mark.xdist_group("track")
def test_a_registered_model_is_loaded_and_warned_about_on_its_own_training_cohort(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    learned, other = elsewhere(24, 10), elsewhere(26, 10)
    (registered,) = log_training(
        [FamilyRun(model=offset_model("cd19_cart"))],
        dataset_digest=learned.digest(),
        params={"seed": 1},
        tracking_uri=uri,
    )
    address = f"models:/{registered.info.name}/{registered.info.version}"
    model, _ = load_uri(address, tracking_uri=uri)
    assert model.family == "cd19_cart"
    told = "the cohort that the model learned from"
    given = {"tracking_uri": uri, "thresholds": (0.1,), "resamples": 0}
    assert told in evaluate_registered(learned, address, **given).notes[0]
    fresh = evaluate_registered(other, address, **given)
    assert not any(told in note for note in fresh.notes)
    assert fresh.notes[0].startswith(NO_LIST)
    assert fresh.model["version"] == registered.info.version
    with pytest.raises(ModelError, match="accepted: models:/NAME/VERSION"):
        evaluate_registered(other, "cd19", **given)
