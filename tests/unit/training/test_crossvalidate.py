"""Out-of-fold risks of all models on the same folds, and what the notes say about them."""

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import CohortError, NotEnoughDataError
from tests.unit.training.cohorts import AXI, GLOFIT, cohort, course, quiet, severe_at
from training.crossvalidate import CONTRACT_COLUMNS, crossvalidate, prepare

BCMA = "ide-cel_MM4L"


def some(n: int, severe: int, therapy: str = AXI):
    courses = [course(f"{therapy}{i}", therapy=therapy, follow_up=400.0) for i in range(n)]
    events = []
    for i, c in enumerate(courses):
        events += severe_at(c["course_id"], 30.0 + i) if i < severe else quiet(c["course_id"], 60.0)
        events.append((c["course_id"], -2.0, "crp", 100.0 if i < severe else 10.0))
        events.append((c["course_id"], -2.0, "ldh", 300.0 + i))
        events.append((c["course_id"], -2.0, "platelets", 150.0 - i))
    return courses, events


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """CRP gives the severe courses away here, so that trees would grow until the last round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.boosting.MAX_ROUNDS", 40)
        yield


@pytest.fixture(scope="module")
def twelve():
    return crossvalidate(cohort(*some(40, 12)), (0.0, 24.0), n_folds=4, resamples=50)


def test_predictions_have_the_columns_of_the_contract(twelve):
    assert tuple(twelve.predictions.columns) == CONTRACT_COLUMNS
    assert np.isfinite(twelve.predictions["risk"]).all()
    assert twelve.predictions["risk"].between(0, 1).all()
    assert set(twelve.predictions["dose"]) == {1}


def test_every_model_answers_the_same_rows(twelve):
    key = ["repeat", "fold", "course_id", "dose", "landmark_hours", "horizon_hours", "severe"]
    rows = {
        model: set(map(tuple, part[key].to_numpy())) for model, part in twelve.predictions.groupby("model")
    }
    assert {"crsrisk", "logistic", "s_easix", "m_easix", "last_grade", "prior"} <= set(rows)
    assert all(found == rows["crsrisk"] for found in rows.values())
    assert len(rows["crsrisk"]) == 40 * 2 * 3


def test_the_notes_name_the_events_and_what_was_used_instead(twelve):
    assert (
        "cd19_cart: 12 patients had severe CRS; an own model needs 100 (shared trees 30 in all families). The "
        "published base rate alone was used, its level moved towards these patients."
    ) in twelve.notes
    assert any("Not compared" in note and "EASIX" in note for note in twelve.notes)


def test_the_text_ends_with_all_models_and_the_notes(twelve):
    text = twelve.to_text()
    assert text.index("crsrisk") < text.index("logistic") < text.index("m_easix") < text.index("prior")
    assert text.endswith(twelve.notes[-1])


def test_few_events_give_the_base_rate_shifted_by_the_training_patients(twelve):
    ours = twelve.detail[twelve.detail["model"] == "crsrisk"].reset_index(drop=True)
    base = twelve.detail[twelve.detail["model"] == "prior"].reset_index(drop=True)
    for _, at in ours.groupby("fold").groups.items():
        moved = np.log(ours.loc[at, "risk"] / (1 - ours.loc[at, "risk"]))
        offset = np.log(base.loc[at, "risk"] / (1 - base.loc[at, "risk"]))
        assert (moved - offset).std() < 1e-9
        assert (moved - offset).mean() > 0.1  # 12 of 40 is more than published


def test_the_same_seed_gives_the_same_risks():
    given = cohort(*some(24, 6))
    first, again = (
        crossvalidate(given, (0.0,), n_folds=3, resamples=0, seed=5).predictions for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, again)


def test_a_folds_table_decides_and_repeats_are_kept_apart():
    given = cohort(*some(12, 4))
    ids = given.courses["course_id"]
    folds = pd.concat(
        [pd.DataFrame({"course_id": ids, "repeat": r, "fold": (np.arange(12) + r) // 2 % 3}) for r in (0, 1)]
    )
    found = crossvalidate(given, (0.0,), folds=folds, resamples=0).predictions
    used = found[["course_id", "repeat", "fold"]].drop_duplicates()
    assert len(used.merge(folds)) == len(used) == 24


def test_folds_that_split_a_patient_are_refused():
    courses, events = some(12, 4)
    courses[1]["patient_id"] = courses[0]["patient_id"]
    folds = pd.DataFrame(
        {"course_id": [c["course_id"] for c in courses], "repeat": 0, "fold": np.arange(12) % 2}
    )
    with pytest.raises(CohortError, match="1 patients are split"):
        crossvalidate(cohort(courses, events), (0.0,), folds=folds)


def test_no_severe_case_gives_risks_and_undefined_discrimination():
    found = crossvalidate(cohort(*some(12, 0)), (0.0,), n_folds=3, resamples=10)
    auroc = found.table[found.table["metric"] == "auroc"]
    assert auroc["value"].isna().all()
    assert set(auroc["reason"]) == {"no severe case among 12 patients"}
    ours = found.predictions[found.predictions["model"] == "crsrisk"]["risk"]
    assert ours.between(1e-6, 0.2).all()
    assert any("0 patients had severe CRS" in note for note in found.notes)
    assert any("undefined, the rows have one class only" in note for note in found.notes)


def test_severe_cases_only_give_risks_and_undefined_discrimination():
    found = crossvalidate(cohort(*some(9, 9)), (0.0,), n_folds=3, resamples=10)
    rest = found.table[(found.table["metric"] == "auroc") & (found.table["horizon"] == "rest")]
    assert set(rest["reason"]) == {"severe cases only among 9 patients"}


def test_a_family_that_one_fold_lacks_in_training_gets_its_base_rate():
    courses, events = some(12, 4)
    others = [course("g", therapy=GLOFIT, follow_up=200.0)]
    given = cohort([*courses, *others], [*events, *quiet("g", 160.0)])
    found = crossvalidate(given, (0.0,), n_folds=3, resamples=0)
    mine = found.detail[found.detail["course_id"] == "g"].set_index(["model", "horizon_hours"])["risk"]
    assert mine["crsrisk", 168.0] == mine["prior", 168.0]


def test_an_absent_family_is_refused():
    with pytest.raises(
        NotEnoughDataError, match=r"\['bcma_cart'\] is not in the cohort; it has \['cd19_cart'\]"
    ):
        crossvalidate(cohort(*some(6, 2)), (0.0,), families=["bcma_cart"])


def test_an_empty_cohort_and_one_without_events_are_refused():
    given = cohort(*some(3, 1))
    with pytest.raises(NotEnoughDataError, match="no courses"):
        prepare(given.subset([]))
    from dataclasses import replace

    with pytest.raises(NotEnoughDataError, match="no usable events"):
        prepare(replace(given, events=given.events.iloc[:0]))


def test_what_happens_later_in_held_out_courses_does_not_move_their_risks():
    courses, events = some(30, 8)
    folds = pd.DataFrame(
        {"course_id": [c["course_id"] for c in courses], "repeat": 0, "fold": np.arange(30) % 3}
    )
    held = {c["course_id"] for i, c in enumerate(courses) if i % 3 == 0}
    changed = [(c, h, v, x * 3 if c in held and v == "crp" and h > 0 else x) for c, h, v, x in events]
    later = [(c, 50.0, "crp", 300.0) for c in held]
    risks = []
    for given in (events, [*changed, *later]):
        found = crossvalidate(cohort(courses, given), (0.0, 24.0), folds=folds, resamples=0).detail
        risks.append(found[found["course_id"].isin(held)]["risk"].to_numpy())
    assert np.array_equal(*risks)


def test_progress_counts_to_the_end():
    told = []
    crossvalidate(cohort(*some(9, 3)), (0.0,), n_folds=3, resamples=0, progress=lambda *a: told.append(a))
    assert [t[1:] for t in told] == [(1, 3), (2, 3), (3, 3)]


def test_uncertain_grades_count_as_severe_in_the_sensitivity_analysis():
    courses, events = some(20, 5)
    unsure = courses[-1]["course_id"]
    events += [
        (unsure, 62.0, "temperature", 36.8),
        (unsure, 70.0, "sbp", 75.0),
        (unsure, 70.0, "norepinephrine_rate", 0.1),
    ]
    found = crossvalidate(cohort(courses, events), (0.0,), n_folds=4, resamples=0)

    def events_of(table: pd.DataFrame) -> int:
        at = table[
            (table["horizon"] == "rest") & table["landmark_hours"].isna() & (table["model"] == "crsrisk")
        ]
        return int(at["events"].iloc[0])

    assert (events_of(found.table), events_of(found.sensitivity)) == (5, 6)


@pytest.fixture(scope="module")
def shared():
    """45 severe CD19 courses, too few for own trees, and 10 severe BCMA courses to borrow."""
    first, second = some(150, 45), some(40, 10, BCMA)
    return prepare(cohort([*first[0], *second[0]], [*first[1], *second[1]]), (0.0,))


def test_30_to_99_events_share_trees_with_the_sister_family(shared):
    found = crossvalidate(shared, n_folds=3, families=["cd19_cart"], resamples=0, baselines=False)
    assert set(found.strategies["strategy"]) == {"shared"}
    assert any(
        "45 patients had severe CRS; an own model needs 100 (shared trees 30 in all families). The trees are shared "
        "with bcma_cart" in n
        for n in found.notes
    )
    assert set(found.detail["model"]) == {"crsrisk"}
    rest = found.table[(found.table["metric"] == "auroc") & (found.table["horizon"] == "rest")]
    assert rest["value"].iloc[0] > 0.95  # CRP gives the severe ones away in this cohort


def test_rows_of_every_family_start_from_their_own_base_rate(shared):
    from training.fit import offset_spec, start_of
    from training.shared import all_rows, grow_shared

    given = shared.given(shared.rows())
    training, _ = all_rows(given)
    bcma = given.of_family("bcma_cart")
    rows = training.design.take(bcma)
    expected = start_of(offset_spec(given, "bcma_cart", rows), rows, {}).log_odds()
    assert np.array_equal(training.offset[bcma], expected)
    assert training.weight[bcma].sum() == pytest.approx(rows.patients())
    rounds = grow_shared(given, 0).rounds
    assert set(rounds) == {"cd19_cart", "bcma_cart"}
    assert len(rounds["bcma_cart"].margin) == bcma.sum()


def test_without_a_sister_family_the_trees_are_its_own_and_it_says_so():
    given = prepare(cohort(*some(120, 60)), (0.0,))
    found = crossvalidate(given, n_folds=3, resamples=0, baselines=False)
    assert any("No related family is in the cohort" in note for note in found.notes)
