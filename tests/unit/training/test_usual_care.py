"""The second model sees what was given for CRS so far; the model that answers never does."""

from dataclasses import replace

import numpy as np
import pytest

from features.registry import feature, predictors
from tests.unit.training.cohorts import cohort, course, quiet, severe_at
from training.crossvalidate import crossvalidate, prepare
from training.fit import fit_family
from training.second import second_analysis
from training.usual_care import NOTE, USUAL_CARE, fit_usual_care, with_treatment

FAMILY = "cd19_cart"
TREATED = "tocilizumab_dose_count_since_dose"


def telling(n: int = 240):
    """Nothing but tocilizumab at 12 h tells who will be severe at 40 h: 4 of 5 treated, and 1 of 20 others."""
    courses, events = [course(f"c{i}", follow_up=400.0) for i in range(n)], []
    for i, one in enumerate(courses):
        treated = i % 4 == 0
        severe = i % 20 != 0 if treated else i % 20 == 1
        events += quiet(one["course_id"], 30.0)
        events += severe_at(one["course_id"], 40.0 + i / n) if severe else []
        events += [(one["course_id"], 12.0, "tocilizumab_dose", 8.0)] if treated else []
        events.append((one["course_id"], -2.0, "crp", float(10 + i % 7)))
    return cohort(courses, events)


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.boosting.MAX_ROUNDS", 40)
        yield


@pytest.fixture(scope="module")
def prepared():
    return prepare(telling(), (24.0,), (None,))


@pytest.fixture(scope="module")
def models(prepared):
    second = with_treatment(prepared)
    return (
        fit_family(prepared.given(prepared.rows()), FAMILY, refits=0),
        fit_usual_care(second.given(second.rows()), FAMILY, refits=0),
    )


def test_the_model_that_answers_sees_no_treatment_for_crs(models):
    assert {feature(name).role for name in models[0].feature_names} == {"predictor"}
    assert NOTE not in models[0].notes


def test_the_second_model_sees_the_predictors_and_treatment_so_far(models):
    roles = {feature(name).role for name in models[1].feature_names}
    assert roles == {"predictor", "treatment"}
    assert {f.name for f in predictors()} < set(models[1].feature_names)
    assert models[1].notes[-1] == NOTE
    assert "not the effect of a treatment" in NOTE


def test_its_risk_is_conditional_on_what_was_given(models, prepared):
    table = prepared.table
    at = table.names.index(TREATED)
    risk = [model.predict(table, (None,)).risk for model in models]
    treated = table.values[:, at] > 0
    assert risk[1][treated].mean() > 0.5 > 0.2 > risk[1][~treated].mean()
    values = table.values.copy()
    values[:, at] = 0.0
    values[:, table.names.index("tocilizumab_dose_hours_since_last_so_far")] = np.nan
    untreated = replace(table, values=values)
    changed = [model.predict(untreated, (None,)).risk for model in models]
    assert np.array_equal(changed[0], risk[0])
    assert (changed[1][treated] < risk[1][treated]).all()


def test_what_is_given_after_the_landmark_is_not_known(prepared):
    early = prepare(telling(20), (0.0, 11.0), (None,)).table
    assert np.nan_to_num(early.values[:, early.names.index(TREATED)]).max() == 0.0
    now = prepared.table.values[:, prepared.table.names.index(TREATED)]
    assert np.nan_to_num(now).max() == 1.0


def test_rows_without_treatment_are_refused(prepared):
    with pytest.raises(ValueError, match=r"hold no treatment; take those of with_treatment"):
        fit_usual_care(prepared.given(prepared.rows()), FAMILY)


def test_both_models_are_compared_out_of_fold_on_the_same_folds(prepared):
    first = crossvalidate(prepared, n_folds=3, baselines=False, resamples=20)
    table, differences = second_analysis(USUAL_CARE, with_treatment(prepared), first, n_folds=3, resamples=20)
    assert set(table["model"]) == {USUAL_CARE}
    auroc = differences[differences["metric"] == "auroc"].iloc[0]
    assert (auroc["model"], auroc["n"]) == (USUAL_CARE, 240)
    assert auroc["first"] > 0.8 > auroc["second"]  # `comparisons` names ours second
    assert auroc["high"] < 0.0
