"""What the gate compares: rows under pseudonyms, of patients whom neither version learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.toy_models import tree_model
from tests.unit.training.cohorts import cohort
from tests.unit.training.test_crossvalidate import some
from training.crossvalidate import crossvalidate, prepare
from training.gate import Learned, judge
from training.gate_evidence import ROW, Leaks, Pseudonyms, evidence, labelled, predicted, read_evidence
from training.gate_pairs import Side, from_cohort

FAMILY = "cd19_cart"
HIDDEN = Pseudonyms(b"secret")


@pytest.fixture(scope="module")
def prepared():
    courses, events = some(80, 34)
    return prepare(cohort(courses, events), (0.0, 24.0))


def side(title, *, seen=()):
    return Side(title, f"sha256:{title}", seen=frozenset(HIDDEN.of(p, "patient") for p in seen))


@pytest.fixture(scope="module")
def both():
    return tree_model(seed=1), tree_model(seed=2)


def compared(prepared, both, mine=(), theirs=()):
    challenger, champion = both
    return from_cohort(
        prepared,
        FAMILY,
        (challenger, side("version 2", seen=mine)),
        (champion, side("version 1", seen=theirs)),
        HIDDEN,
    )


def test_a_validation_cohort_gets_the_risks_that_both_would_give(prepared, both):
    pairs = compared(prepared, both)
    rows = labelled(prepared, FAMILY, HIDDEN)
    assert len(pairs.rows) == len(rows)
    assert set(pairs.rows["group"]) == {"validation"}
    for name, model in zip(("challenger", "champion"), both, strict=True):
        asked = predicted(model, prepared, rows, HIDDEN)[[*ROW, "risk"]]
        joined = pairs.rows.merge(asked, on=list(ROW), validate="one_to_one")
        np.testing.assert_array_equal(joined[name], joined["risk"])
    assert {"s_easix", "prior", "last_grade"} <= set(pairs.scores)
    assert pairs.rows[list(pairs.scores)].notna().all(axis=None)


def test_patients_whom_either_version_learned_from_are_left_out(prepared, both):
    patients = prepared.labels.rows["patient_id"].unique().tolist()
    pairs = compared(prepared, both, mine=patients[:10], theirs=patients[5:20])
    hidden = {HIDDEN.of(p, "patient") for p in patients[20:]}
    assert set(pairs.rows["patient"]) == hidden
    gone = prepared.labels.rows["patient_id"].isin(patients[:20]).sum()
    assert pairs.left_out == {"of patients whom a version learned from": gone}


def test_a_cohort_that_a_version_learned_from_wholly_says_nothing(prepared, both):
    patients = prepared.labels.rows["patient_id"].unique().tolist()
    pairs = compared(prepared, both, mine=patients)
    assert pairs.problem == "one of the versions learned from every patient of the validation cohort"


def test_a_challenger_whose_patients_are_not_known_can_not_be_validated(prepared, both):
    """It may well have learned from these patients, and would look good on them."""
    pairs = from_cohort(
        prepared, FAMILY, (both[0], Side("version 2", "d")), (both[1], side("version 1")), HIDDEN
    )
    assert "which patients this version learned from is not known" in pairs.problem
    facts = Learned(strategy="own", patients=800, events=120, predictors=8, leaks=Leaks(0, 0))
    assert "same_patients" in judge("name", "2", facts, pairs).failed


def test_a_champion_whose_patients_are_not_known_can_be_replaced(prepared, both):
    pairs = from_cohort(
        prepared, FAMILY, (both[0], side("version 2")), (both[1], Side("version 1", "d")), HIDDEN
    )
    assert pairs.problem == ""
    assert len(pairs.rows)


def test_another_family_has_no_rows_here(prepared, both):
    pairs = from_cohort(prepared, "bcma_cart", (both[0], side("version 2")), None, HIDDEN)
    assert pairs.problem == "the validation cohort has no labelled rows of bcma_cart"


def test_kept_evidence_comes_back_from_text_as_it_was_and_holds_no_identifier(prepared):
    courses = prepared.cohort.courses
    detail = crossvalidate(prepared, n_folds=2, trials=0, resamples=0).detail
    table = evidence(detail, prepared.cohort, HIDDEN)
    text = pd.read_csv(_buffer(table), dtype="str", keep_default_na=False)
    back = read_evidence(text)
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert len(table) == len(prepared.labels.rows)
    cells = set(table.astype(str).to_numpy().ravel())
    assert not cells & {*courses["course_id"], *courses["patient_id"]}


def _buffer(table):
    import io

    return io.StringIO(table.to_csv(index=False))


def test_pseudonyms_of_another_key_do_not_meet():
    other = replace(HIDDEN, key=b"other")
    assert HIDDEN.of("p1", "patient") != other.of("p1", "patient")
    assert HIDDEN.name != other.name
    assert "secret" not in repr(HIDDEN)
