"""What a training keeps about treatment, and what an evaluation elsewhere makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crsrisk.errors import ModelError
from tests.toy_models import tree_model
from tests.unit.training.cohorts import cohort
from tests.unit.training.test_crossvalidate import some
from tests.unit.training.treated import ward
from training.artefact import _model_json, load_model, save_model
from training.crossvalidate import prepare
from training.external import evaluate_model
from training.pipeline import train
from training.policy import COURSES, treatment_policy
from training.rescue import DEFINITIONS, OUTCOMES
from training.track import ModelInfo

INFO = ModelInfo("crsrisk-cd19_cart", "7", "sha256:model")
TABLES = {"treatment_policy", "rescue_sensitivity", "without_rescue", "positivity"}


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.boosting.MAX_ROUNDS", 20)
        yield


@pytest.fixture
def saved_with(monkeypatch, tmp_path):
    """Saves the toy model with another `policy` in its model.json; `...` leaves it out."""

    def save(policy: object) -> Path:
        stored = json.loads(_model_json(tree_model())) | {"policy": policy}
        if policy is ...:
            del stored["policy"]
        monkeypatch.setattr("training.artefact._model_json", lambda _: json.dumps(stored))
        save_model(tree_model(), tmp_path)
        return tmp_path

    return save


@pytest.fixture(scope="module")
def treated():
    return ward(300)[0]


@pytest.fixture(scope="module")
def trained(treated):
    prepared = prepare(treated, (0.0,), (None,))
    return train(prepared, n_folds=2, refits=1, resamples=20, usual_care=True)[0]


def test_a_model_keeps_the_policy_of_the_patients_it_learned_from(trained, treated, tmp_path):
    assert trained.model.policy == treatment_policy(treated, "cd19_cart")
    assert trained.model.policy[COURSES] == 300
    save_model(trained.model, tmp_path / "m")
    assert load_model(tmp_path / "m") == trained.model


@pytest.mark.parametrize("policy", [..., "often", {"courses": "many"}, None])
def test_a_policy_that_is_missing_or_no_table_of_numbers_is_refused(saved_with, policy):
    folder = saved_with(policy)
    with pytest.raises(ModelError, match="lacks or misnames a field"):
        load_model(folder)


def test_a_training_records_the_analyses_of_treatment(trained):
    tables = trained.tables()
    assert {*TABLES, "usual_care", "without_against_usual_care"} <= set(tables)
    assert tables["positivity"]["definition"].tolist() == list(DEFINITIONS)
    assert set(tables["rescue_sensitivity"]["outcome"]) == set(OUTCOMES)
    assert set(tables["rescue_sensitivity"]["model"]) == {"crsrisk"}
    assert set(tables["rescue_sensitivity"]["definition"]) == {"tocilizumab"}  # nobody had a steroid
    reasons = tables["positivity"].set_index("definition")["reasons"]
    assert reasons["tocilizumab"] == ""
    assert "0 patients were rescued" in reasons["tocilizumab_and_steroid"]


def test_its_numbers_are_logged_as_metrics(trained):
    found = trained.metrics()
    risk = found["risk_without_tocilizumab_landmark0_horizonrest"]
    table = trained.tables()["without_rescue"]
    row = table[(table["estimate"] == "without_rescue") & (table["landmark_hours"] == 0.0)].iloc[0]
    assert tuple(risk) == pytest.approx((row["value"], row["low"], row["high"]))
    assert "usual_care_auroc_pooled" in found
    assert not [name for name in found if "tocilizumab_and_steroid" in name]  # refused: no number


def test_its_notes_say_what_the_estimate_rests_on(trained):
    [told] = [note for note in trained.notes if "the risk without" in note]
    assert "tocilizumab before severe CRS rests on" in told


def test_a_training_without_any_treatment_says_so():
    prepared = prepare(cohort(*some(40, 12)), (0.0,), (None,))
    found = train(prepared, n_folds=2, refits=0, resamples=0)[0]
    assert found.tables()["rescue_sensitivity"].empty
    [told] = [note for note in found.notes if "the risk without" in note]
    assert "can't be estimated: 0 patients were rescued" in told


def test_elsewhere_a_changed_policy_is_the_first_note(treated):
    elsewhere, _ = ward(300, seed=6, at_once=True)
    model = replace(tree_model(), policy=treatment_policy(treated, "cd19_cart"))
    found = evaluate_model(model, INFO, elsewhere, thresholds=(0.1,), resamples=0)
    assert found.notes[0].startswith("The treatment policy changed: Tocilizumab at grade 2")
    assert found.to_dict()["treatment_policy"] == {"changed": True, "note": found.notes[0]}
    assert found.tables()["treatment_policy"]["changed"].any()


def test_elsewhere_the_same_policy_is_no_warning(treated):
    elsewhere, _ = ward(300, seed=7)
    model = replace(tree_model(), policy=treatment_policy(treated, "cd19_cart"))
    found = evaluate_model(model, INFO, elsewhere, thresholds=(0.1,), resamples=0)
    assert found.notes[0].startswith("No change of treatment policy was found in 300 courses")
    assert not found.to_dict()["treatment_policy"]["changed"]
