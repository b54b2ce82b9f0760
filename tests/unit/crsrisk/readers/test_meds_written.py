from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds import CodeMetadataSchema, DataSchema, DatasetMetadataSchema

from crsrisk.cohort import Cohort, read_cohort, write_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.meds import read_meds
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.writers.meds import write_meds
from crsrisk.writers.statements import statements

THERAPIES = ("axi-cel_LBCL3L", "glofit_DLBCL", "tec_MM")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = simulate(12, 5, therapies=THERAPIES, absolute_times=True).write(
        tmp_path_factory.mktemp("c") / "c"
    )
    return read_cohort(folder)


@pytest.fixture(scope="module")
def written(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meds") / "m"
    write_meds(cohort, folder)
    return folder


def read(folder: Path) -> pd.DataFrame:
    with Account(folder.parent / "q.csv") as account:
        table = pa.Table.from_batches(list(read_meds(folder, SiteMap(), account)), SCHEMA)
    assert account.to_dict()["quarantine"] == []
    assert account.to_dict()["adjusted"] == {}
    return table.to_pandas()


def one_course(tmp_path: Path, events: dict[str, list[object]], **course: object) -> Cohort:
    courses = {"course_id": ["c1"], "patient_id": ["p1"], "therapy": ["axi-cel_LBCL3L"]}
    courses |= {
        "index_time": ["2026-03-01T09:00:00+09:00"],
        **{name: [value] for name, value in course.items()},
    }
    frames = {"courses": pd.DataFrame(courses), "events": pd.DataFrame({"course_id": ["c1"] * 3, **events})}
    return read_cohort(write_cohort(frames, tmp_path / "one"))


def test_the_written_data_set_is_valid_meds(written):
    files = sorted((written / "data").glob("*.parquet"))
    for file in files:
        DataSchema.validate(pq.read_table(file))
    CodeMetadataSchema.validate(pq.read_table(written / "metadata" / "codes.parquet"))
    content = json.loads((written / "metadata" / "dataset.json").read_text())
    DatasetMetadataSchema.validate(content)
    assert content["meds_version"] == "0.4.1"
    assert content["simulated"] is True


def test_a_subject_stands_in_one_file_in_order_of_time(written, monkeypatch, cohort, tmp_path):
    monkeypatch.setattr("crsrisk.writers.meds.ROWS_PER_FILE", 1000)
    write_meds(cohort, tmp_path / "m")
    tables = [pq.read_table(file).to_pandas() for file in sorted((tmp_path / "m" / "data").glob("*.parquet"))]
    assert len(tables) > 2
    subjects = [subject for table in tables for subject in table["subject_id"].unique()]
    assert len(subjects) == len(set(subjects)) == 12
    for table in tables:
        times = table["time"].fillna(pd.Timestamp(0))
        assert table.assign(time=times).groupby("subject_id")["time"].is_monotonic_increasing.all()
    assert sum(len(table) for table in tables) == len(read(written))


def test_every_code_stands_in_the_metadata_with_our_own_as_parent(written):
    codes = pq.read_table(written / "metadata" / "codes.parquet").to_pandas().set_index("code")
    used = {
        code
        for file in (written / "data").iterdir()
        for code in pq.read_table(file)["code"].unique().to_pylist()
    }
    assert used == set(codes.index)
    assert codes.loc["LOINC//1988-5", "parent_codes"].tolist() == ["crsrisk//crp"]
    assert codes.loc["LOINC//1988-5", "description"] == "C-reactive protein"


def test_everything_that_the_cohort_says_comes_back(cohort, written):
    told, back = statements(cohort), read(written)
    assert len(told) == len(back)
    own = back["codes"].str.split("\x1f").str[-1].str.removeprefix("urn:crsrisk|")
    value = back["value"].where(back["rate"] == "", back["rate"])
    unit = back["unit"].where(back["rate"] == "", back["rate_unit"])
    back = back.assign(name=own, value=value, unit=unit)
    told = told.assign(value=told["comparator"] + told["value"])
    columns = ["patient_id", "name", "start_us", "end_us", "known_us", "value", "unit"]
    pd.testing.assert_frame_equal(
        told[columns].sort_values(columns, ignore_index=True),
        back[columns].sort_values(columns, ignore_index=True),
        check_dtype=False,
    )


def test_what_32_bits_do_not_carry_stands_beside_as_text(tmp_path):
    times = ["2026-03-01T10:00:00.000001+09:00"] * 3
    values = {
        "time": times,
        "variable": ["ferritin", "crp", "ferritin"],
        "value": ["123456.789", "8.20", "1,200"],
    }
    write_meds(one_course(tmp_path, {**values, "unit": ["ng/mL", "mg/dL", "ng/mL"]}), tmp_path / "m")
    table = pq.read_table(tmp_path / "m" / "data" / "0.parquet").to_pandas()
    told = table[table["code"].isin(["LOINC//2276-4", "LOINC//1988-5"])].set_index("text_value")[
        "numeric_value"
    ]
    assert told.to_dict() == {"123456.789": np.float32(123456.789), "8.20": np.float32(8.2), "1,200": 1200.0}
    assert set(read(tmp_path / "m")["value"]) >= {"123456.789", "8.20", "1,200"}


def test_microseconds_and_known_times_are_kept(tmp_path):
    times = ["2026-03-01T10:00:00.000001+09:00"] * 3
    values = {
        "time": times,
        "variable": ["crp", "crp", "crp"],
        "value": ["1", "2", "3"],
        "unit": ["mg/L"] * 3,
    }
    known = ["2026-03-01T11:00:00.000003+09:00", "", "2026-03-01T10:00:00.000001+09:00"]
    write_meds(one_course(tmp_path, {**values, "available_time": known}), tmp_path / "m")
    back = read(tmp_path / "m").set_index("value").loc[["1", "2", "3"]]
    assert (back["known_us"] - back["start_us"]).tolist()[0] == 3_600_000_002
    assert (back["start_us"] % 1_000_000).tolist() == [1, 1, 1]


def test_patients_named_by_whole_numbers_keep_them(tmp_path):
    values = {"time": ["2026-03-01T10:00:00+09:00"] * 3, "variable": ["crp"] * 3, "value": ["1", "2", "3"]}
    cohort = one_course(tmp_path, {**values, "unit": ["mg/L"] * 3}, patient_id="4711")
    write_meds(cohort, tmp_path / "m")
    table = pq.read_table(tmp_path / "m" / "data" / "0.parquet")
    assert table["subject_id"].unique().to_pylist() == [4711]
    assert "patient_id" not in table.column_names
    assert set(read(tmp_path / "m")["patient_id"]) == {"4711"}


def test_grades_and_outcomes_are_written(tmp_path, cohort):
    course = cohort.courses["course_id"].iloc[0]
    grades = pd.DataFrame({"course_id": [course], "hours": [30.0], "grade": [2.0], "system": ["ASTCT"]})
    outcomes = pd.DataFrame(
        {
            "course_id": [course],
            "peak_grade": [3],
            "system": ["ASTCT"],
            "onset_hours": [20.0],
            "severe_hours": [40.0],
        }
    )
    told = statements(Cohort(cohort.courses, cohort.events, grades=grades, outcomes=outcomes))
    index_us = int(cohort.courses["index_time"].iloc[0].timestamp() * 1e6)
    found = told[told["name"].str.endswith(":ASTCT")]
    hours = ((found["start_us"] - index_us) / 3.6e9).tolist()
    assert dict(zip(found["name"], zip(hours, found["value"], strict=True), strict=True)) == {
        "grade:ASTCT": (30.0, "2"),
        "peak_grade:ASTCT": (0.0, "3"),
        "onset:ASTCT": (20.0, "1"),
        "severe:ASTCT": (40.0, "1"),
    }


def test_a_cohort_in_hours_is_refused(tmp_path):
    cohort = read_cohort(simulate(2, 1, therapies=THERAPIES).write(tmp_path / "c"))
    with pytest.raises(CrsRiskError, match="index_time"):
        write_meds(cohort, tmp_path / "m")
