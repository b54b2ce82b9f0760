"""Sites and products left out, later patients last, support variables beside, refits of a single risk."""

import numpy as np
import pandas as pd
import pytest

from tests.toy_models import offset_model, tree_model
from tests.unit.training.cohorts import cohort
from tests.unit.training.test_crossvalidate import some
from training.crossvalidate import OURS, crossvalidate, prepare
from training.instability import (
    instability,
    instability_notes,
    model_instability,
    recipe_risks,
    refit_risks,
)
from training.second import second_analysis
from training.support import WITH_SUPPORT, with_support
from training.validation import COLUMNS, POOLED, validate

TISA = "tisa-cel_ALL"


def prepared(sites=("a", "b", "c"), severe: int = 15, n: int = 45, dated: bool = True, products=()):
    """Courses dealt out to sites in turn; a month between two courses."""
    courses, events = some(n, severe)
    start = pd.Timestamp("2020-01-15T00:00:00Z")
    for i, c in enumerate(courses):
        c["site"] = sites[i % len(sites)] if sites else ""
        c["index_time"] = start + pd.DateOffset(months=i) if dated else pd.NaT
        if products:
            c["therapy"] = products[i % len(products)]
    return prepare(cohort(courses, events), (0.0,))


@pytest.fixture(scope="module")
def by_site():
    return validate(prepared(), ("leave_one_site_out",), resamples=20)


def test_each_site_is_predicted_by_a_model_of_the_others(by_site):
    assert tuple(by_site.table.columns) == COLUMNS
    rows = by_site.table[(by_site.table["metric"] == "brier") & (by_site.table["horizon"] == "rest")]
    assert rows["level"].tolist() == ["a", "b", "c", POOLED]
    assert rows["n"].tolist() == [15, 15, 15, 45]
    assert rows["train_patients"].tolist()[:3] == [30.0, 30.0, 30.0]
    assert rows["train_events"].tolist()[:3] == [10.0, 10.0, 10.0]
    assert set(by_site.detail["model"]) == {OURS}
    assert len(by_site.of_family("cd19_cart").table) == len(by_site.table)


def test_base_rates_of_several_refits_are_not_ranked_together(by_site):
    pooled = by_site.table[by_site.table["level"] == POOLED].set_index(["horizon", "metric"])
    assert np.isnan(pooled.loc[("rest", "auroc"), "value"])
    assert (
        pooled.loc[("rest", "auroc"), "reason"] == "base rates of different refits rank levels, not patients"
    )
    assert np.isfinite(pooled.loc[("rest", "brier"), "value"])


def test_a_patient_of_two_sites_never_trains_for_the_site_that_is_left_out():
    courses, events = some(30, 9)
    for i, c in enumerate(courses):
        c["site"] = "a" if i % 2 else "b"
    courses[1]["patient_id"] = courses[0]["patient_id"]  # one course at each site
    found = validate(prepare(cohort(courses, events), (0.0,)), ("leave_one_site_out",), resamples=0)
    rows = found.table[(found.table["metric"] == "brier") & (found.table["level"] != POOLED)]
    assert rows["train_patients"].unique().tolist() == [14.0]  # 15 of the other site, the shared one left out


def test_a_site_without_an_event_is_reported_not_failing():
    courses, events = some(40, 12)
    for i, c in enumerate(courses):
        c["site"] = "calm" if i >= 30 else "busy"
    found = validate(prepare(cohort(courses, events), (0.0,)), ("leave_one_site_out",), resamples=20).table
    calm = found[(found["level"] == "calm") & (found["horizon"] == "rest")].set_index("metric")
    assert calm.loc["auroc", "reason"] == "no severe case among 10 patients"
    assert np.isfinite(calm.loc["brier", "value"])
    assert calm.loc["brier", "events"] == 0
    busy = found[(found["level"] == "busy") & (found["metric"] == "brier")]
    assert busy["strategy"].unique().tolist() == ["offset"]  # it learns from patients of one outcome alone
    assert busy["train_events"].unique().tolist() == [0.0]


def test_each_product_is_left_out_and_answered_by_what_the_others_and_its_own_rate_say():
    given = prepared(products=("axi-cel_LBCL3L", TISA))
    found = validate(given, ("leave_one_product_out",), resamples=0)
    assert set(found.table["level"]) == {"axi-cel", "tisa-cel", POOLED}
    rows = found.table[(found.table["metric"] == "brier") & (found.table["horizon"] == "rest")]
    assert rows["train_patients"].tolist()[:2] == [22.0, 23.0]
    rest = found.detail[found.detail["rest_of_window"]]
    by_product = rest.groupby("level")["risk"]
    assert (by_product.std() < 1e-12).all()  # one risk a product, since nothing but its rate is known
    assert by_product.first().nunique() == 2


def test_the_later_patients_are_predicted_by_a_model_of_the_earlier_ones():
    given = prepared()
    found = validate(given, ("temporal",), resamples=0)
    began = given.cohort.courses.set_index("course_id")["index_time"]
    late = found.detail["course_id"].map(began)
    assert found.table["level"].unique().tolist() == ["from 2022-07"]  # 30 of 45 months later
    assert found.detail["patient_id"].nunique() == 15
    assert (late >= pd.Timestamp("2022-07-01T00:00:00Z")).all()
    assert found.table["train_patients"].unique().tolist() == [30.0]


def test_a_late_course_of_an_early_patient_is_on_neither_side():
    courses, events = some(30, 9)
    start = pd.Timestamp("2020-01-15T00:00:00Z")
    for i, c in enumerate(courses):
        c["index_time"] = start + pd.DateOffset(months=i)
    courses[29]["patient_id"] = courses[0]["patient_id"]
    found = validate(prepare(cohort(courses, events), (0.0,)), ("temporal",), resamples=0)
    assert courses[29]["course_id"] not in set(found.detail["course_id"])
    assert found.table["train_patients"].unique().tolist() == [20.0]


@pytest.mark.parametrize(
    ("given", "design", "reason"),
    [
        (
            {"sites": ("a",)},
            "leave_one_site_out",
            "one site in the cohort; leaving one out needs two or more",
        ),
        ({"sites": ()}, "leave_one_site_out", "no site in the cohort; leaving one out needs two or more"),
        ({}, "leave_one_product_out", "one product in the cohort; leaving one out needs two or more"),
        ({"dated": False}, "temporal", "the cohort has no dates; a temporal split needs index times"),
    ],
)
def test_a_cohort_that_carries_no_such_design_says_so(given, design, reason):
    found = validate(prepared(n=12, severe=4, **given), (design,), resamples=0)
    assert found.table["reason"].tolist() == [reason]
    assert found.detail.empty


def test_an_unknown_design_is_refused():
    with pytest.raises(ValueError, match=r"designs \['split'\]; there are"):
        validate(prepared(n=12, severe=4), ("split",))


def test_support_variables_join_the_predictors_of_the_second_model_alone():
    given = prepared(n=24, severe=8)
    more = with_support(given)
    assert set(given.names) < set(more.names)
    assert any("resp_support" in name for name in set(more.names) - set(given.names))
    without = crossvalidate(given, n_folds=3, resamples=0, baselines=False)
    table, differences = second_analysis(WITH_SUPPORT, more, without, n_folds=3, resamples=0)
    assert set(table["model"]) == {WITH_SUPPORT}
    assert set(differences["model"]) == {WITH_SUPPORT}
    ours = without.table.set_index(["landmark_hours", "horizon", "metric"])["value"]
    row = differences[differences["metric"] == "brier"].iloc[0]
    assert row["second"] == pytest.approx(ours[np.nan, "rest", "brier"])


def test_the_instability_of_a_row_is_the_mean_distance_of_the_refits():
    rows = prepared(n=12, severe=4).rows().take(np.arange(2))
    refitted = np.array([[0.1, 0.3], [0.3, 0.3], [0.2, 0.6]])
    found = instability("cd19_cart", rows, np.array([0.2, 0.3]), refitted, (0.25,))
    assert found.rows["mean_absolute_error"].tolist() == pytest.approx([0.2 / 3, 0.1])
    summary = found.summary.set_index("measure")["value"]
    assert summary["mean_absolute_error"] == pytest.approx((0.2 / 3 + 0.1) / 2)
    assert summary["decisions_changed"] == pytest.approx((1 / 3 + 0) / 2)  # one refit of the first row alerts
    assert "off by 8.3% on average" in instability_notes("cd19_cart", found.summary)[0]


def test_a_model_without_refits_has_no_instability_and_says_why():
    rows = prepared(n=12, severe=4).rows()
    found = model_instability(offset_model("cd19_cart"), rows)
    assert found.summary["reason"].tolist() == ["fewer than two refits"]
    assert instability_notes("cd19_cart", found.summary) == []


def test_refits_of_the_trees_give_other_risks_of_the_same_rows():
    model = tree_model(refits=4)
    rows = prepared(n=12, severe=4).rows()
    risks = refit_risks(model, rows)
    assert risks.shape == (len(model.bootstrap_texts), len(rows))
    assert (risks.std(axis=0) > 0).any()
    same = model_instability(model, rows).summary.set_index("measure")["value"]
    assert 0 < same["mean_absolute_error"] <= same["p95_absolute_error"] < 1


def test_refits_of_the_whole_recipe_learn_from_resampled_patients():
    given = prepared(n=24, severe=8)
    rows = given.rows()
    risks = recipe_risks(given.given(rows), "cd19_cart", rows, refits=3, seed=1)
    assert risks.shape == (3, len(rows))
    assert (risks.std(axis=0) > 0).all()  # the level of the base rate moves with the patients drawn
    again = recipe_risks(given.given(rows), "cd19_cart", rows, refits=3, seed=1)
    assert np.array_equal(risks, again)


def test_training_has_the_tables_of_the_suite_and_on_request_those_of_the_designs():
    from training.pipeline import train
    from training.validation import DESIGNS

    given = prepared(n=24, severe=10)
    suite = {"decision_curve", "alerts", "subgroups", "comparisons", "instability"}
    further = {"validation", "with_support", "without_against_with_support"}
    (plain,) = train(given, n_folds=2, refits=0, resamples=10)
    assert suite <= set(plain.tables())
    assert not further & set(plain.tables())
    (full,) = train(given, n_folds=2, refits=0, resamples=10, designs=DESIGNS, support=True)
    assert suite | further <= set(full.tables())
    assert set(full.tables()["validation"]["design"]) == set(DESIGNS)
    assert any("the criteria of Riley ask for" in note for note in full.notes)
    assert np.array_equal(plain.evaluation.detail["risk"], full.evaluation.detail["risk"])
