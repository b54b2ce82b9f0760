"""Screening candidates on some folds, giving up hopeless ones, and growing nothing twice."""

import numpy as np
import pytest

import training.boosting
import training.fit
from tests.unit.training.cohorts import cohort
from tests.unit.training.test_crossvalidate import some
from training.boosting import DEFAULTS, MAX_ROUNDS, InnerFolds, dataset
from training.crossvalidate import prepare
from training.fit import fit_family, shared_trees
from training.shared import all_rows
from training.tune import Hopeless, tune


@pytest.fixture(scope="module")
def prepared():
    return prepare(cohort(*some(80, 36)), (0.0,))


@pytest.fixture(scope="module")
def folds(prepared):
    training, _ = all_rows(prepared.given(prepared.rows()))
    return InnerFolds(training, dataset(training), seed=1)


def given_up_at(losses, limit, window=10, patience=25):
    hopeless = Hopeless(limit, window, patience)
    return next((k for k, loss in enumerate(losses, 1) if hopeless(float(loss))), None)


def test_a_candidate_that_falls_fast_enough_to_get_below_the_limit_goes_on():
    losses = 0.40 - 0.001 * np.arange(60)  # after 25 more rounds 0.025 lower
    assert given_up_at(losses, limit=0.37) is None
    assert given_up_at(losses, limit=0.36) == 11  # at 0.390 now, 0.365 in sight


def test_a_candidate_that_has_stopped_falling_above_the_limit_is_given_up():
    losses = np.concatenate([0.40 - 0.01 * np.arange(5), np.full(40, 0.36)])
    assert given_up_at(losses, limit=0.35) == 15


def test_nothing_is_given_up_without_a_limit_or_before_its_first_window():
    assert given_up_at(np.full(60, 0.4), limit=np.inf) is None
    assert given_up_at(np.full(60, 0.4), limit=0.1) == 11


def test_some_folds_alone_are_judged_on_their_own_patients(folds):
    half = folds.choose({**DEFAULTS, "learning_rate": 0.3}, folds=2)
    in_half = np.isin(folds.fold, np.unique(folds.fold)[:2])
    assert len(half.margin) == in_half.sum() < len(folds.fold)
    severe = folds.training.design.severe[in_half]
    assert half.loss == training.boosting.log_loss(half.margin, severe, folds.training.weight[in_half])


def test_candidates_are_screened_on_half_the_folds_and_few_are_grown_on_all(folds, monkeypatch):
    told = []
    choose = InnerFolds.choose

    def noting(inner, chosen, **how):
        told.append((how.get("folds"), chosen["learning_rate"]))
        return choose(inner, chosen, **how)

    monkeypatch.setattr(InnerFolds, "choose", noting)
    monkeypatch.setattr(training.boosting, "MAX_ROUNDS", 20)
    assert tune(folds, trials=5, seed=1).trials == 5
    speed = DEFAULTS["learning_rate"]
    assert told == [(None, speed), *[(2, pytest.approx(3 * speed))] * 5, *[(None, speed)] * 3]


def test_the_trees_that_answer_are_those_that_calibrated(prepared, monkeypatch):
    """The 4 inner folds grow once; their mean answers, and their held-out margins calibrate it and give the levels."""
    grown, found = [], []
    inner = InnerFolds._grow

    def of_folds(folds, chosen, sets, *how):
        grown.append(len(sets))
        found.extend(inner(folds, chosen, sets, *how))
        return found[-1:]

    monkeypatch.setattr(InnerFolds, "_grow", of_folds)
    rows = prepared.rows()
    model = fit_family(prepared.given(rows), "cd19_cart", refits=0)
    assert grown == [4]
    assert 0 < model.parameters["rounds"] <= MAX_ROUNDS
    each = [b.predict(rows.matrix, raw_score=True, num_iteration=n) for b, n in found[0].grown]
    assert len(each) == 4
    assert model.booster.predict(rows.matrix, raw_score=True) == pytest.approx(
        np.mean(each, axis=0), abs=1e-9
    )
    assert model.calibration.slope > 0


@pytest.mark.parametrize(("severe", "some_grown"), [(14, False), (15, True)])
def test_shared_trees_are_grown_only_where_events_allow_trees(severe, some_grown, monkeypatch):
    first, second = some(40, severe), some(40, 15, "ide-cel_MM4L")
    given = prepare(cohort([*first[0], *second[0]], [*first[1], *second[1]]), (0.0,))
    monkeypatch.setattr(training.boosting, "MAX_ROUNDS", 3)
    assert (shared_trees(given.given(given.rows()), 0) is not None) == some_grown
