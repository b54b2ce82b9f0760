"""The samples are what their README says, and can be made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import crsrisk
from crsrisk.grade_timeline import peak

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"
FORMATS = {"fhir": "fhir", "omop": "omop", "meds": "meds", "hl7v2": "hl7v2", "spreadsheet": "csv"}


@pytest.fixture(scope="module")
def made_again(tmp_path_factory) -> Path:
    """The samples made by their command."""
    out = tmp_path_factory.mktemp("samples")
    command = Path(sys.executable).parent / "crsrisk"
    environment = os.environ | {"CRSRISK": str(command)}
    subprocess.run(
        ["sh", str(ROOT / "tools" / "make_samples.sh"), str(out)], check=True, env=environment, cwd=ROOT
    )
    return out


def test_the_samples_are_made_again_by_their_command(made_again):
    files = sorted(file.relative_to(SAMPLES) for file in SAMPLES.rglob("*") if file.is_file())
    files.remove(Path("README.md"))
    assert files == sorted(file.relative_to(made_again) for file in made_again.rglob("*") if file.is_file())
    for file in files:
        if file.suffix == ".parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(made_again / file), pd.read_parquet(SAMPLES / file))
        else:
            assert (made_again / file).read_bytes() == (SAMPLES / file).read_bytes(), file


@pytest.mark.parametrize("sample", FORMATS)
def test_every_format_gives_the_dated_cohort(tmp_path, sample):
    site = SAMPLES / sample / "map.toml"
    converted = crsrisk.convert(
        FORMATS[sample], SAMPLES / sample, tmp_path / "back", map=site if site.is_file() else None
    )
    assert converted.account["records"]["quarantined"] == converted.questions == 0
    dated = crsrisk.read_cohort(SAMPLES / "dated")
    back = crsrisk.read_cohort(tmp_path / "back")
    assert back.courses["therapy"].tolist() == dated.courses["therapy"].tolist()
    assert back.courses["index_time"].tolist() == dated.courses["index_time"].tolist()
    assert crsrisk.check(tmp_path / "back").ok


def test_one_of_the_six_courses_is_severe():
    assert crsrisk.check(SAMPLES / "csv").ok
    grades = crsrisk.grade(SAMPLES / "csv")
    highest = peak(grades, 0.0, 336.0)
    assert grades["course_id"].nunique() == 6
    assert (grades.groupby("course_id")["grade"].max() >= 3).sum() == 1
    assert len(highest) >= 1
