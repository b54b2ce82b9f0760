"""From a cohort to models with their evaluation."""

import numpy as np
import pytest

from crsrisk.errors import NotEnoughDataError
from tests.unit.training.cohorts import GLOFIT, cohort, course, quiet
from tests.unit.training.test_crossvalidate import some
from training.artefact import load_model, save_model
from training.crossvalidate import prepare
from training.figures import (
    precision_recall_points,
    reliability,
    roc_points,
    smooth_calibration,
)
from training.offset import sigmoid
from training.pipeline import train


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """CRP gives the severe courses away here, so that trees would grow until the last round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.boosting.MAX_ROUNDS", 40)
        yield


@pytest.fixture(scope="module")
def prepared():
    return prepare(cohort(*some(150, 45)), (0.0, 24.0))


@pytest.fixture(scope="module")
def trained(prepared):
    return train(prepared, n_folds=3, refits=3, resamples=20)[0]


def test_the_model_knows_what_it_was_made_from(trained):
    model = trained.model
    assert (model.family, model.strategy, model.n_patients, model.n_events) == (
        "cd19_cart",
        "shared",
        150,
        45,
    )
    assert model.landmarks == (0.0, 24.0)
    assert model.therapies_seen == {"axi-cel_LBCL3L": 150}
    assert len(model.bootstrap_texts) == 3
    assert model.parameters["rounds"] > 0
    assert {"lightgbm", "numpy"} <= set(model.libraries)


def test_a_trained_model_survives_its_files(trained, prepared, tmp_path):
    save_model(trained.model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    first, second = (m.predict(prepared.table) for m in (trained.model, again))
    assert np.array_equal(first.risk, second.risk)
    assert np.array_equal(first.low, second.low)


def test_metrics_carry_their_place_in_the_name(trained):
    found = trained.metrics()
    assert {"auroc_pooled", "auroc_landmark24_horizon72", "brier_landmark0_horizonrest"} <= set(found)
    assert found["auroc_pooled"].low <= found["auroc_pooled"].value <= found["auroc_pooled"].high


def test_the_same_seed_gives_the_same_model(prepared, trained):
    again = train(prepared, n_folds=3, refits=3, resamples=0)[0]
    assert again.model == trained.model


def test_tuning_tries_candidates_and_never_does_worse_than_the_defaults_inside(prepared):
    from training.boosting import InnerFolds, dataset
    from training.shared import all_rows
    from training.tune import tune

    training, _ = all_rows(prepared.given(prepared.rows()))
    folds = InnerFolds(training, dataset(training), seed=1)
    plain, tuned = tune(folds, trials=0, seed=1), tune(folds, trials=3, seed=1)
    assert tuned.rounds.loss <= plain.rounds.loss
    assert tuned.trials == 3
    assert 2 <= tuned.chosen["num_leaves"] <= 4


def test_no_severe_case_still_gives_a_base_rate_model_that_says_so():
    model = train(cohort(*some(12, 0)), landmarks=(0.0,), n_folds=3, resamples=0)[0].model
    assert (model.strategy, model.n_events, model.booster) == ("offset", 0, None)
    assert all(shift.mean < 0 for shift in model.interval.levels.shifts.values())
    assert "0 patients had severe CRS" in model.notes[0]


def test_a_single_patient_of_a_family_is_answered_by_the_base_rate_beside_the_others():
    courses, events = some(12, 3)
    alone = [course("g", therapy=GLOFIT, follow_up=200.0)]
    found = train(
        cohort([*courses, *alone], [*events, *quiet("g", 160.0)]), landmarks=(0.0,), n_folds=3, resamples=0
    )
    assert [(t.family, t.model.strategy, t.model.n_patients) for t in found] == [
        ("cd19_cart", "offset", 12), ("heme_engager", "offset", 1),
    ]  # fmt: skip


def test_one_patient_in_all_is_refused():
    with pytest.raises(NotEnoughDataError, match="of one patient"):
        train(cohort(*some(1, 0)), landmarks=(0.0,))


def test_a_family_that_the_cohort_lacks_is_refused(prepared):
    with pytest.raises(NotEnoughDataError, match="no labelled rows of family 'heme_engager'"):
        train(prepared, "heme_engager")


def test_figures_are_drawn(trained):
    assert sorted(trained.figures()) == [
        "calibration",
        "decision_curve",
        "precision_recall",
        "roc",
        "shap_beeswarm",
    ]


def test_a_model_without_trees_has_no_shap_figure():
    few = train(cohort(*some(20, 5)), landmarks=(0.0,), n_folds=3, resamples=0)[0]
    assert sorted(few.figures()) == ["calibration", "decision_curve", "precision_recall", "roc"]


def made(n: int = 4000):
    rng = np.random.default_rng(0)
    margin = rng.normal(-1.5, 1.0, n)
    return sigmoid(margin), (rng.random(n) < sigmoid(margin)).astype(float), np.ones(n)


def test_groups_of_calibrated_risks_hold_the_observed_share():
    groups = reliability(*made(), np.arange(4000).astype(object))
    assert groups["rows"].sum() == 4000
    assert len(groups) == 10
    inside = (groups["low"] <= groups["predicted"]) & (groups["predicted"] <= groups["high"])
    assert inside.sum() >= 8


def test_more_rows_of_the_same_patients_make_no_interval_narrower():
    risk, severe, weight = made(400)
    patient = np.arange(400).astype(object)
    once = reliability(risk, severe, weight, patient)
    thrice = reliability(*(np.repeat(a, 3) for a in (risk, severe, weight, patient)))
    assert thrice["rows"].tolist() == (3 * once["rows"]).tolist()
    assert thrice[["low", "high"]].to_numpy() == pytest.approx(once[["low", "high"]].to_numpy())


def test_few_patients_are_dealt_to_few_groups():
    groups = reliability(*made(59), np.arange(59).astype(object))
    assert groups["patients"].tolist() == [30, 29]


def test_the_smooth_curve_of_calibrated_risks_is_the_diagonal():
    curve = smooth_calibration(*made(40_000))
    assert np.abs(curve.x - curve.y).max() < 0.03


def test_equal_risks_make_one_group_and_a_curve_of_finite_points():
    risk, severe, weight = np.full(50, 0.2), (np.arange(50) < 10).astype(float), np.ones(50)
    groups = reliability(risk, severe, weight, np.arange(50).astype(object))
    assert groups["observed"].tolist() == [pytest.approx(0.2)]
    assert np.isfinite(smooth_calibration(risk, severe, weight).y).all()


def test_curves_agree_with_scikit_learn():
    from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

    risk, severe, weight = made()
    roc = roc_points(risk, severe, weight)
    assert auc(roc.x, roc.y) == pytest.approx(roc_auc_score(severe, risk), abs=1e-12)
    precision, recall, _ = precision_recall_curve(severe, risk)
    ours = precision_recall_points(risk, severe, weight)
    assert ours.y == pytest.approx(precision[:-1][::-1], abs=1e-12)
    assert ours.x == pytest.approx(recall[:-1][::-1], abs=1e-12)


def test_a_cohort_of_severe_cases_alone_gets_the_base_rate_and_says_so():
    found = train(cohort(*some(40, 40)), landmarks=(0.0,), n_folds=2, refits=0, resamples=0)[0]
    assert found.model.strategy == "offset"
    assert any("One outcome alone says nothing" in note for note in found.notes)


def test_trees_answer_only_horizons_that_had_both_outcomes():
    courses, _ = given = some(80, 40)
    outcomes = [
        {"course_id": c["course_id"], "peak_grade": 3, "system": "ASTCT", "severe_hours": 60.0}
        if k < 40
        else {"course_id": c["course_id"], "peak_grade": 1, "system": "ASTCT"}
        for k, c in enumerate(courses)
    ]
    found = train(cohort(*given, outcomes=outcomes), landmarks=(0.0,), n_folds=2, refits=0, resamples=0)[0]
    assert found.model.strategy == "shared"
    assert found.model.horizons == (72.0, None)  # nobody became severe within 24 h
