"""Folds of patients."""

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import CohortError, NotEnoughDataError
from training.split import checked_folds, course_folds, patient_folds, read_folds

COURSES = pd.DataFrame({"course_id": ["c1", "c2", "c3", "c4"], "patient_id": ["p1", "p1", "p2", "p3"]})
GOOD = pd.DataFrame({"course_id": ["c1", "c2", "c3", "c4"], "repeat": 0, "fold": [0, 0, 1, 1]})


def many(n: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "course_id": [f"c{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "family": ["f1" if i < 60 else "f2" for i in range(n)],
            "severe": [int(i % 10 == 0) for i in range(n)],
        }
    )


def test_two_courses_of_one_patient_stay_together():
    folds = course_folds(many(), n_folds=5, repeats=3, seed=1).merge(many(), on="course_id")
    pairs = folds[["repeat", "patient_id", "fold"]].drop_duplicates()
    assert len(pairs) == 3 * 50


def test_severe_patients_and_families_are_dealt_out_to_within_a_patient():
    folds = course_folds(many(), n_folds=5, repeats=1, seed=1).merge(many(), on="course_id")
    severe = folds[folds["severe"] == 1].groupby("fold").size()
    assert severe.tolist() == [2, 2, 2, 2, 2]
    assert folds[folds["family"] == "f1"].groupby("fold").size().tolist() == [14, 12, 12, 12, 10]


def test_the_same_seed_gives_the_same_folds_whatever_the_order():
    courses = many()
    turned = courses.iloc[::-1].reset_index(drop=True)
    first = course_folds(courses, n_folds=5, repeats=1, seed=3).set_index("course_id")["fold"]
    again = course_folds(turned, n_folds=5, repeats=1, seed=3).set_index("course_id")["fold"]
    other = course_folds(courses, n_folds=5, repeats=1, seed=4).set_index("course_id")["fold"]
    assert first.equals(again.loc[first.index])
    assert not first.equals(other)


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(NotEnoughDataError, match="2 patients can't fill 5 folds"):
        patient_folds(np.array(["a", "b"], dtype=object), np.array(["", ""], dtype=object), 5, 0)


def test_a_good_folds_file_is_read(tmp_path):
    GOOD.to_csv(tmp_path / "folds.csv", index=False)
    assert read_folds(tmp_path / "folds.csv", COURSES).to_dict("list") == GOOD.to_dict("list")


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (GOOD.assign(fold=[0, 1, 1, 1]), "1 patients are split between folds"),
        (
            GOOD.assign(course_id=["c1", "c2", "c3", "x"]),
            "row 5, column course_id: not a course of the cohort",
        ),
        (GOOD.iloc[:3], "repeat 0: 1 courses have no fold"),
        (pd.concat([GOOD, GOOD.iloc[:1]]), "row 6: a course has two folds in one repeat"),
        (GOOD.assign(fold=0), "repeat 0: one fold only"),
        (GOOD.assign(fold=[0, 0.5, 1, 1]), "row 3, column fold: not a whole number"),
        (GOOD.assign(repeat=[0, 0, None, 0]), "row 4, column repeat: not a whole number"),
    ],
)
def test_unusable_folds_are_refused(folds, message):
    with pytest.raises(CohortError, match=message):
        checked_folds(folds.reset_index(drop=True), COURSES, "folds.csv")


def test_messages_name_no_patient():
    with pytest.raises(CohortError) as caught:
        checked_folds(GOOD.assign(fold=[0, 1, 1, 1]), COURSES)
    assert "p1" not in str(caught.value)


def test_a_missing_file_and_missing_columns_are_refused(tmp_path):
    with pytest.raises(CohortError, match="no such file"):
        read_folds(tmp_path / "none.csv", COURSES)
    GOOD.drop(columns="fold").to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(CohortError, match=r"columns \['fold'\] are absent"):
        read_folds(tmp_path / "folds.csv", COURSES)
