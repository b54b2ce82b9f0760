"""Subgroups: their levels, and the small ones that are suppressed."""

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.cohorts import GLOFIT, cohort, course
from tests.unit.training.predicted import predicted
from training.comparisons import comparisons
from training.evaluate import metrics, row_arrays
from training.subgroups import COLUMNS, LEAST_EVENTS, LEAST_PATIENTS, age_band, course_groups, subgroups


@pytest.mark.parametrize(
    ("age", "band"),
    [(0.5, "below 18"), (17.9, "below 18"), (18.0, "18 to 39"), (64.9, "40 to 64"), (75.0, "75 and above")],
)
def test_an_age_has_one_band(age, band):
    assert age_band(age) == band


def test_levels_come_from_the_courses_and_unknown_stays_unknown():
    given = cohort(
        [
            course("a") | {"site": "kyoto", "age": np.nan, "index_time": pd.Timestamp("2023-12-31T23:00:00Z")},
            course("b", therapy=GLOFIT) | {"site": "", "sex": "male", "index_time": pd.NaT},
        ]
    )  # fmt: skip
    found = course_groups(given).set_index("course_id")
    assert found.loc["a"].to_dict() == {
        "therapy": "axi-cel_LBCL3L", "product": "axi-cel", "sex": "female", "age_band": "unknown",
        "site": "kyoto", "era": "2023",
    }  # fmt: skip
    assert found.loc["b", ["product", "sex", "site", "era"]].tolist() == [
        "glofit",
        "male",
        "unknown",
        "unknown",
    ]


def test_a_cohort_without_dates_has_no_era():
    assert "era" not in course_groups(cohort([course("a")]))


def groups(rows: pd.DataFrame, sizes: dict[str, int]) -> pd.DataFrame:
    """Sites of the given sizes, filled with the courses in their order; severe ones first."""
    severe = rows.groupby("course_id")["severe"].max().sort_values(ascending=False, kind="stable")
    spread = [
        c for k in range(10) for c in severe.index[k::10]
    ]  # every site gets its share of severe courses
    sites = np.repeat(list(sizes), list(sizes.values()))
    return pd.DataFrame({"course_id": spread, "site": sites})


@pytest.fixture(scope="module")
def rows():
    return predicted(200)


def test_a_level_has_the_metrics_of_its_rows(rows):
    table = subgroups(rows, groups(rows, {"north": 100, "south": 100}), resamples=100)
    assert tuple(table.columns) == COLUMNS
    given = groups(rows, {"north": 100, "south": 100}).set_index("course_id")["site"]
    mine = rows[(rows["course_id"].map(given) == "north") & rows["rest_of_window"]]
    expected = metrics(*row_arrays(mine), resamples=100)["auroc"]
    found = table[(table["level"] == "north") & (table["horizon"] == "rest")].set_index("metric").loc["auroc"]
    assert found["value"] == pytest.approx(expected.value)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["n"], found["events"]) == (100, expected.events)


def test_small_levels_are_suppressed_and_counted(rows):
    table = subgroups(rows, groups(rows, {"large": 170, "tiny": 12, "small": 18}), resamples=0)
    assert set(table["level"]) == {"large", "suppressed"}
    hidden = table[(table["level"] == "suppressed") & (table["horizon"] == "rest")].iloc[0]
    assert hidden["n"] == 30
    assert np.isnan(hidden["value"])
    assert hidden["reason"] == (
        f"2 levels with fewer than {LEAST_PATIENTS} patients or {LEAST_EVENTS} with severe CRS"
    )


def test_a_large_site_without_an_event_is_suppressed_not_an_error(rows):
    calm = rows.groupby("course_id")["severe"].max()
    given = pd.DataFrame({"course_id": calm.index, "site": np.where(calm == 1, "busy", "calm")})
    table = subgroups(rows, given, resamples=0)
    hidden = table[(table["level"] == "suppressed") & (table["horizon"] == "rest")].iloc[0]
    assert (hidden["events"], hidden["n"]) == (0, int((calm == 0).sum()))


def test_a_subgroup_of_one_level_repeats_the_whole_and_is_left_out(rows):
    assert subgroups(rows, groups(rows, {"only": 200}), resamples=0).empty


def test_comparisons_are_ours_against_each_other_model_on_the_same_rows():
    both = predicted(200, models=("crsrisk", "easix", "prior"), slope=0.2)
    table = comparisons(both, "crsrisk", thresholds=(0.2,), resamples=100)
    assert set(table["model"]) == {"easix", "prior"}
    assert set(table["horizon"]) == {"rest"}
    auroc = table[(table["metric"] == "log_loss") & (table["model"] == "easix")].iloc[0]
    assert auroc["difference"] == pytest.approx(auroc["second"] - auroc["first"])
    assert auroc["high"] < 0  # ours loses less


def test_a_model_that_lacks_rows_of_ours_is_refused():
    both = predicted(60, models=("crsrisk", "easix"))
    short = both[~((both["model"] == "easix") & (both["course_id"] == "c3"))]
    with pytest.raises(ValueError, match="first: a risk is not between 0 and 1"):
        comparisons(short, "crsrisk", resamples=0)
