"""Cohorts that evaluation must survive or refuse: one class in a fold, useless columns, split patients."""

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import CohortError
from tests.unit.training.cohorts import cohort, course, quiet, severe_at
from tests.unit.training.test_crossvalidate import some
from training.crossvalidate import crossvalidate, prepare
from training.pipeline import train


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    """CRP gives the severe courses away here, so that trees would grow until the last round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.boosting.MAX_ROUNDS", 15)
        yield


def folds_of(courses, fold) -> pd.DataFrame:
    return pd.DataFrame({"course_id": [c["course_id"] for c in courses], "repeat": 0, "fold": fold})


def test_a_fold_that_holds_all_severe_cases_leaves_one_class_to_train_on_and_still_answers():
    courses, events = some(30, 10)
    found = crossvalidate(
        cohort(courses, events), (0.0,), folds=folds_of(courses, np.arange(30) // 10), resamples=20
    )
    used = found.strategies.set_index("fold")
    assert used.loc[0, "events"] == 0  # the severe ones are the first ten
    assert used.loc[0, "strategy"] == "offset"
    assert found.detail["risk"].between(0, 1, inclusive="neither").all()
    auroc = found.table[(found.table["metric"] == "auroc") & (found.table["horizon"] == "rest")]
    assert auroc["value"].notna().all()  # out of fold both classes are there


def test_a_constant_predictor_and_one_that_nobody_has_change_nothing_and_fail_nothing():
    courses, events = some(100, 40)
    constant = [(c["course_id"], -3.0, "albumin", 4.0) for c in courses]
    given = prepare(cohort(courses, [*events, *constant]), (0.0,))
    column = given.table.values[:, given.table.names.index("albumin_last_baseline")]
    assert np.unique(column).size == 1
    absent = given.table.values[:, given.table.names.index("il6_last_baseline")]
    assert np.isnan(absent).all()
    (trained,) = train(given, n_folds=2, refits=2, resamples=20)
    assert trained.model.strategy == "shared"
    gained = trained.model.booster.feature_importance("gain")
    names = trained.model.booster.feature_name()
    assert len(gained) == len(names) == len(trained.model.names)
    for name in ("albumin_last_baseline", "il6_last_baseline"):
        assert gained[trained.model.names.index(name)] == 0.0
    for model in ("crsrisk", "logistic"):
        rows = trained.evaluation.detail[trained.evaluation.detail["model"] == model]
        assert np.isfinite(rows["risk"]).all()


def test_a_horizon_beyond_follow_up_is_weighted_for_never_counted_as_no_event():
    courses, events = [], []
    for i in range(40):
        lost = i >= 30  # after 48 h
        courses.append(course(f"c{i}", follow_up=48.0 if lost else 400.0))
        events += severe_at(f"c{i}", 100.0 + i) if i < 12 else quiet(f"c{i}", 40.0)
    found = crossvalidate(cohort(courses, events), (0.0,), n_folds=4, resamples=0, baselines=False)
    rest = found.detail[found.detail["rest_of_window"]]
    assert set(rest["course_id"]) == {f"c{i}" for i in range(30)}
    assert rest["weight"].min() == pytest.approx(40 / 30)  # the thirty stand for all forty
    short = found.detail[found.detail["horizon_hours"] == 24.0]
    assert len(short) == 40
    assert (short["weight"] == 1.0).all()
    prevalence = np.average(rest["severe"], weights=rest["weight"])
    assert prevalence == pytest.approx(
        12 / 30
    )  # not 12 / 40, which would take the lost ones as free of events


def test_a_folds_file_that_splits_a_patient_is_refused_without_naming_one(tmp_path):
    courses, events = some(12, 4)
    courses[1]["patient_id"] = courses[0]["patient_id"]
    file = tmp_path / "folds.csv"
    folds_of(courses, np.arange(12) % 2).to_csv(file, index=False)
    with pytest.raises(CohortError, match="1 patients are split between folds") as refused:
        crossvalidate(cohort(courses, events), (0.0,), folds=file)
    assert courses[0]["patient_id"] not in str(refused.value)


def test_folds_of_our_own_keep_all_courses_of_a_patient_together():
    courses, events = some(24, 8)
    for i in range(0, 24, 2):
        courses[i + 1]["patient_id"] = courses[i]["patient_id"]
    found = crossvalidate(cohort(courses, events), (0.0,), n_folds=4, resamples=0, baselines=False).detail
    assert len(found[["patient_id", "fold"]].drop_duplicates()) == found["patient_id"].nunique() == 12
