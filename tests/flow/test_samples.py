"""The samples are what their README says, and can be made again."""

from __future__ import annotations

from pathlib import Path

import crsrisk
from crsrisk.grade_timeline import peak

SAMPLE = Path(__file__).resolve().parents[2] / "data_samples" / "csv"
THERAPIES = ["axi-cel_LBCL3L", "brexu-cel_ALL", "tec_MM", "tarla_SCLC3L"]


def test_the_sample_is_made_again_by_its_command(tmp_path):
    crsrisk.simulate(tmp_path / "csv", courses=6, seed=25, therapies=THERAPIES)
    for table in ("courses.csv", "events.csv", "cohort.toml"):
        assert (tmp_path / "csv" / table).read_text() == (SAMPLE / table).read_text()


def test_one_of_the_six_courses_is_severe():
    assert crsrisk.check(SAMPLE).ok
    grades = crsrisk.grade(SAMPLE)
    highest = peak(grades, 0.0, 336.0)
    assert grades["course_id"].nunique() == 6
    assert (grades.groupby("course_id")["grade"].max() >= 3).sum() == 1
    assert len(highest) >= 1
