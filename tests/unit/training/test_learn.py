"""A version moves its levels by further cases, as far as they go, and counts no patient twice."""

from dataclasses import replace

import pytest

from crsrisk.errors import CrsRiskError, NotEnoughDataError
from tests.unit.training.cohorts import AXI, cohort, course, quiet, severe_at
from training.champions import load_uri
from training.crossvalidate import prepare
from training.fit import fit_family
from training.learn import UNKNOWN, learn_and_register, learned_model
from training.publish import train_and_register

LISO = "liso-cel_LBCL3L"
pytestmark = pytest.mark.xdist_group("track")


def some(n, severe, *, therapy=AXI, start=0):
    """n courses of one therapy, the first of them severe."""
    names = [f"{therapy[:3]}{k}" for k in range(start, start + n)]
    courses = [course(name, therapy=therapy, follow_up=336.0) for name in names]
    events = [
        e for k, name in enumerate(names) for e in (severe_at(name, 40.0) if k < severe else quiet(name))
    ]
    return courses, events


def joined(*parts):
    return cohort([c for courses, _ in parts for c in courses], [e for _, events in parts for e in events])


def fitted(given):
    prepared = prepare(given, (0.0, 24.0))
    return fit_family(prepared.given(prepared.rows()), "cd19_cart", refits=0)


@pytest.fixture(scope="module")
def model():
    return fitted(joined(some(20, 2)))


def after(model, n, severe):
    return learned_model(model, prepare(joined(some(n, severe, therapy=LISO)), (0.0, 24.0)).rows(), {})


@pytest.mark.parametrize("n", [1, 10, 30])
def test_a_product_never_seen_learns_as_far_as_its_cases_go(model, n):
    before, now = model.level_of(LISO), after(model, n, 0).level_of(LISO)
    assert not model.seen(LISO)
    assert (before.mean, before.patients) == (0.0, 0)
    assert now.mean < 0.0  # nobody became severe
    assert now.sd < before.sd
    assert now.patients == n
    assert after(model, n, 0).seen(LISO)


def test_more_cases_move_the_level_further_and_severe_ones_upwards(model):
    means = [after(model, n, 0).level_of(LISO).mean for n in (1, 10, 30)]
    assert means == sorted(means, reverse=True)
    assert after(model, 10, 5).level_of(LISO).mean > 0.5


def test_other_products_trees_and_calibration_stay(model):
    now = after(model, 10, 5)
    assert now.level_of(AXI) == model.level_of(AXI)
    assert (now.calibration, now.booster_text, now.offset) == (
        model.calibration, model.booster_text, model.offset,
    )  # fmt: skip
    assert (now.n_patients, now.n_events) == (model.n_patients + 10, model.n_events + 5)


def test_learning_in_two_steps_is_nearly_learning_at_once(model):
    rows = prepare(joined(some(20, 4, therapy=LISO)), (0.0, 24.0)).rows()
    first = rows.rows["patient_id"].isin([f"lis{k}" for k in range(0, 20, 2)]).to_numpy()
    once = learned_model(model, rows, {}).level_of(LISO)
    twice = learned_model(learned_model(model, rows.take(first), {}), rows.take(~first), {}).level_of(LISO)
    assert twice.mean == pytest.approx(once.mean, abs=once.sd / 4)  # values of the second ten no longer count
    assert twice.sd == pytest.approx(once.sd, abs=0.05)
    assert twice.patients == once.patients == 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('learn')}/mlflow.db"
    train_and_register(joined(some(20, 2)), tracking_uri=uri, landmarks=(0.0,), n_folds=2, resamples=0)
    return uri


def test_a_version_learns_from_new_patients_alone_and_is_registered(registry):
    known_and_new = joined(some(20, 2), some(10, 1, therapy=LISO))
    learning = learn_and_register(known_and_new, "models:/crsrisk-cd19_cart/1", tracking_uri=registry)
    assert learning.known == 20
    assert learning.table["therapy"].tolist() == [LISO]
    assert learning.table.loc[0, ["patients", "events"]].tolist() == [10, 1]
    info = learning.registered.info
    stored, _ = load_uri(f"models:/crsrisk-cd19_cart/{info.version}", tracking_uri=registry)
    assert stored.level_of(LISO).patients == 10
    assert "learned from 10 further patients, 1 with severe CRS" in stored.notes[-1]
    assert "registered as challenger" in learning.to_text()
    assert learning.to_dict()["patients_known_before"] == 20
    with pytest.raises(NotEnoughDataError, match="has not learned from; give a cohort of further courses"):
        learn_and_register(known_and_new, f"models:/crsrisk-cd19_cart/{info.version}", tracking_uri=registry)


def test_a_version_without_a_list_of_its_patients_says_so(registry, tmp_path):
    from training.track import FamilyRun, log_training

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    bare = fitted(joined(some(20, 2)))
    log_training([FamilyRun(model=bare)], dataset_digest="d", params={}, tracking_uri=uri)
    learning = learn_and_register(
        joined(some(3, 0, start=40)), "models:/crsrisk-cd19_cart/1", tracking_uri=uri
    )
    assert UNKNOWN in learning.notes


def test_other_families_and_features_are_refused(registry, tmp_path):
    from training.track import FamilyRun, log_training

    glofit = joined(([course("g", therapy="glofit_DLBCL", follow_up=168.0)], quiet("g", 160.0)))
    with pytest.raises(NotEnoughDataError, match="no labelled patient of family 'cd19_cart'"):
        learn_and_register(glofit, "models:/crsrisk-cd19_cart/1", tracking_uri=registry)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    bare = fitted(joined(some(20, 2)))
    other = replace(bare, feature_names=bare.feature_names[::-1])
    log_training([FamilyRun(model=other)], dataset_digest="d", params={}, tracking_uri=uri)
    with pytest.raises(CrsRiskError, match="train a new version"):
        learn_and_register(joined(some(3, 0)), "models:/crsrisk-cd19_cart/1", tracking_uri=uri)
