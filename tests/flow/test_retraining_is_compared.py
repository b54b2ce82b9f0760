"""A retraining keeps what the gate compares: known patients out of fold, new ones as the champion answers them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from crsrisk.cohort import read_cohort
from crsrisk.errors import GateError
from crsrisk.simulator import simulate
from tests.conftest import COURSES, LANDMARKS, SEED, THERAPIES, few_events_suffice
from training.champions import load_registered, open_store
from training.crossvalidate import prepare
from training.gate_evidence import ROW, Pseudonyms, labelled, predicted
from training.gate_kept import kept_side
from training.gate_pairs import from_training
from training.promotions import promote
from training.publish import train_and_register

pytestmark = pytest.mark.xdist_group("registry")

NAME, NEW = "crsrisk-cd19_cart", 60


@pytest.fixture(scope="module")
def retrained(trained_registry, tmp_path_factory):
    """The registry with a version of cd19_cart that also learned from 60 more courses, and its cohort."""
    folder = tmp_path_factory.mktemp("retrained")
    for file in trained_registry.folder.glob("*.db*"):
        shutil.copy(file, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    more = simulate(COURSES + NEW, SEED, therapies=THERAPIES, absolute_times=True)
    prepared = prepare(read_cohort(more.write(folder / "more")), LANDMARKS)
    with few_events_suffice():
        train_and_register(
            prepared, tracking_uri=uri, family="cd19_cart", seed=SEED, n_folds=2, refits=0, resamples=0
        )
    return uri, prepared


def test_known_and_new_patients_get_the_risks_of_models_that_had_not_seen_them(retrained):
    uri, prepared = retrained
    pseudonyms = Pseudonyms(open_store(uri).pseudonym_key())
    challenger, champion = (kept_side(NAME, version, pseudonyms, tracking_uri=uri) for version in ("2", "1"))
    rows = from_training(challenger, champion).rows
    expected = labelled(prepared, "cd19_cart", pseudonyms)
    is_new = ~expected["course_id"].isin(prepared.cohort.courses["course_id"].iloc[:COURSES])
    assert len(rows) == len(expected)
    assert set(rows.loc[rows["group"] == "new", "course"]) == set(expected.loc[is_new, "course"])
    assert (rows["severe_then"] == rows["severe"])[rows["group"] == "known"].all()
    model, _ = load_registered(NAME, tracking_uri=uri)
    asked = predicted(model, prepared, expected, pseudonyms)[[*ROW, "risk"]]
    told = rows.merge(asked, on=list(ROW), validate="one_to_one")
    new = told["group"] == "new"
    np.testing.assert_allclose(told.loc[new, "champion"], told.loc[new, "risk"], rtol=1e-12)
    assert not np.allclose(told.loc[~new, "champion"], told.loc[~new, "risk"])  # out of fold, not in sample


def test_a_retraining_without_new_patients_compares_the_known_ones(trained_registry, tmp_path):
    for file in trained_registry.folder.glob("*.db*"):
        shutil.copy(file, tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    same = simulate(COURSES, SEED, therapies=THERAPIES, absolute_times=True).write(tmp_path / "same")
    with few_events_suffice():
        train_and_register(
            prepare(read_cohort(same), LANDMARKS), tracking_uri=uri, family="cd19_cart", seed=SEED + 1,
            n_folds=2, refits=0, resamples=0,
        )  # fmt: skip
    pseudonyms = Pseudonyms(open_store(uri).pseudonym_key())
    challenger, champion = (kept_side(NAME, version, pseudonyms, tracking_uri=uri) for version in ("2", "1"))
    assert len(challenger.on_new) == 0
    pairs = from_training(challenger, champion)
    assert (pairs.problem, set(pairs.rows["group"])) == ("", {"known"})


def test_the_gate_says_whom_it_compared_and_with_whom(retrained):
    uri, _ = retrained
    with pytest.raises(GateError) as refused:
        promote(NAME, "2", "60 more courses", tracking_uri=uri)
    assert any(
        "compared with crsrisk-cd19_cart version 1 (" in reason and " known, " in reason and " new)" in reason
        for reason in refused.value.reasons
    )
    assert load_registered(NAME, tracking_uri=uri)[1].version == "1"
