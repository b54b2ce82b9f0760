"""Removing one patient from a cohort and from what was derived from it."""

from __future__ import annotations

import pandas as pd
import pytest

import crsrisk
from crsrisk.erasure import erase
from crsrisk.errors import CohortError, CrsRiskError


@pytest.fixture
def cohort(tmp_path):
    folder = tmp_path / "cohort"
    crsrisk.simulate(folder, courses=5, seed=3, therapies=["axi-cel_LBCL3L"])
    courses = pd.read_csv(folder / "courses.csv")
    table = crsrisk.features(folder, landmarks=[0, 24]).frame()
    table.to_parquet(tmp_path / "features.parquet")
    crsrisk.grade(folder).to_csv(folder / "grades_derived.csv", index=False)
    (tmp_path / "site.toml").write_text(f'[courses."{courses.patient_id[1]}"]\n')
    return folder


def rows(file, course):
    table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    return int((table["course_id"] == course).sum()), len(table)


def test_the_patient_is_gone_from_the_folder_and_from_what_lies_beside_it(cohort):
    files = [cohort / "courses.csv", cohort / "events.csv", cohort / "grades_derived.csv"]
    files.append(cohort.parent / "features.parquet")
    before = [rows(file, "S000002") for file in files]
    report = erase(cohort, "P000002")
    names = [str(file.relative_to(cohort.parent)) for file in files]
    assert report.removed == dict(zip(names, [count for count, _ in before], strict=True))
    for file, (count, total) in zip(files, before, strict=True):
        assert count > 0
        assert rows(file, "S000002") == (0, total - count)
    assert report.mentions == ("site.toml",)
    assert crsrisk.check(cohort).ok


def test_the_other_lines_stay_as_they_are(cohort):
    before = (cohort / "events.csv").read_text().splitlines()
    erase(cohort, "P000002")
    kept = [line for line in before if not line.startswith("S000002,")]
    assert (cohort / "events.csv").read_text().splitlines() == kept


def test_a_table_beside_it_that_speaks_of_others_too_is_left_alone(cohort):
    other = cohort.parent / "registry.csv"
    other.write_text("course_id,x\nS000002,1\nANOTHER,2\n")
    report = erase(cohort, "P000002")
    assert "registry.csv" not in report.removed
    assert "S000002" in other.read_text()


def test_a_quarantined_row_goes_too(cohort):
    (cohort / "quarantine.csv").write_text(
        "what,position,patient_id,reason\nrecord,line 3,P000002,BAD_NUMBER\n"
    )
    assert erase(cohort, "P000002").removed["cohort/quarantine.csv"] == 1


def test_a_dry_run_changes_nothing(cohort):
    before = (cohort / "events.csv").read_bytes()
    assert erase(cohort, "P000002", dry_run=True).removed["cohort/courses.csv"] == 1
    assert (cohort / "events.csv").read_bytes() == before
    assert [file.name for file in cohort.iterdir() if file.name.startswith(".")] == []


def test_running_it_again_after_an_interruption_completes_it(cohort, monkeypatch):
    import crsrisk.erasure as module

    whole = module._remove
    calls = []

    def fails_at_the_second(file, gone, *, dry_run):
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(file, gone, dry_run=dry_run)

    monkeypatch.setattr(module, "_remove", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        erase(cohort, "P000002")
    monkeypatch.setattr(module, "_remove", whole)
    erase(cohort, "P000002")
    assert "P000002" not in (cohort / "courses.csv").read_text()
    assert rows(cohort / "events.csv", "S000002")[0] == 0


def test_an_unknown_patient_is_refused_without_repeating_the_name(cohort):
    with pytest.raises(CrsRiskError, match="no row of cohort") as error:
        erase(cohort, "P999999")
    assert "P999999" not in str(error.value)


def test_a_folder_without_courses_is_refused(tmp_path):
    with pytest.raises(CohortError, match="no courses"):
        erase(tmp_path, "P1")


def test_a_parquet_cohort_keeps_its_types(tmp_path):
    crsrisk.simulate(tmp_path / "c", courses=3, seed=1, parquet=True)
    before = pd.read_parquet(tmp_path / "c" / "events.parquet").dtypes
    erase(tmp_path / "c", "P000001")
    assert (pd.read_parquet(tmp_path / "c" / "events.parquet").dtypes == before).all()
    assert len(pd.read_parquet(tmp_path / "c" / "courses.parquet")) == 2
