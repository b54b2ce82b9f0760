"""A cohort written as CSV, long or wide, comes back with the same courses, events and features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort, read_cohort
from crsrisk.cohort_write import write_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.convert import convert
from crsrisk.readers.site_map import site_map
from crsrisk.simulator import simulate
from crsrisk.writers.spreadsheet import write_csv

THERAPIES = ("axi-cel_LBCL3L", "glofit_DLBCL", "tec_MM", "blina_RRALL")
EVENT = ["hours", "available_hours", "variable", "value", "comparator", "raw_value", "raw_unit"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    """Eight courses of cells and engagers with grades, outcomes and results below a limit."""
    folder = tmp_path_factory.mktemp("csv") / "cohort"
    simulate(8, 5, therapies=THERAPIES, absolute_times=True).write(folder)
    found = read_cohort(folder)
    ids = found.courses["course_id"]
    events = found.events.copy()
    low = (events["variable"] == "il6").to_numpy()
    events.loc[low, "comparator"] = "<"
    events.loc[low, "raw_value"] = "<" + events.loc[low, "raw_value"]
    grades = pd.DataFrame(
        {"course_id": ids[:3], "hours": [12.5, 30.25, 7.0], "grade": [1.0, 3.0, 0.0], "system": "ASTCT"}
    )
    outcomes = pd.DataFrame(
        {
            "course_id": ids[:2],
            "peak_grade": [2.0, 3.0],
            "system": "ASTCT",
            "onset_hours": [12.5, np.nan],
            "severe_hours": [np.nan, 40.0],
        }
    )
    write_cohort(replace(found, events=events, grades=grades, outcomes=outcomes), folder)
    return read_cohort(folder)


def written(cohort: Cohort, folder: Path, *, wide: bool) -> Path:
    folder.mkdir()
    write_csv(cohort, folder, wide=wide)
    return folder


def back(cohort: Cohort, folder: Path, *, wide: bool) -> Cohort:
    source = written(cohort, folder / "source", wide=wide)
    conversion = convert("csv", source, folder / "cohort", site=source / "map.toml")
    assert conversion.account["quarantine"] == []
    assert conversion.questions == 0
    return read_cohort(folder / "cohort")


def by_patient(cohort: Cohort, table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    patient = cohort.courses.set_index("course_id")["patient_id"]
    told = table.assign(patient=table["course_id"].map(patient))[["patient", *columns]]
    return told.sort_values(["patient", *columns], ignore_index=True)


@pytest.mark.parametrize("wide", [False, True])
def test_courses_events_grades_and_outcomes_come_back(cohort, tmp_path, wide):
    again = back(cohort, tmp_path, wide=wide)
    facts = ["therapy", "index_time", "site", "indication", "sex", "follow_up_hours", "age", "weight"]
    pd.testing.assert_frame_equal(
        by_patient(cohort, cohort.courses, facts), by_patient(again, again.courses, facts)
    )
    baseline = [name for name in cohort.courses.columns if name in analytes()]
    events = again.events[~again.events["variable"].isin(baseline)]
    told, found = by_patient(cohort, cohort.events, EVENT), by_patient(again, events, EVENT)
    if wide:  # a cell holds the comparator before the number
        told, found = (table.assign(raw_value=table["raw_value"].str.lstrip("<>")) for table in (told, found))
    pd.testing.assert_frame_equal(told, found)
    for name in ("grades", "outcomes"):
        table, found = getattr(cohort, name), getattr(again, name)
        columns = [column for column in table.columns if column not in ("course_id", "row")]
        pd.testing.assert_frame_equal(
            by_patient(cohort, table, columns), by_patient(again, found, columns), check_dtype=False
        )


@pytest.mark.parametrize("wide", [False, True])
def test_features_come_back_to_the_last_bit(cohort, tmp_path, wide):
    from features.matrix import compute_features

    def features(one: Cohort) -> pd.DataFrame:
        table = compute_features(one, (0.0, 24.0)).frame()
        table["course_id"] = table["course_id"].map(one.courses.set_index("course_id")["patient_id"])
        return table.sort_values(["course_id", "dose", "landmark_hours"], ignore_index=True)

    pd.testing.assert_frame_equal(
        features(cohort), features(back(cohort, tmp_path, wide=wide)), rtol=0, atol=0
    )


def test_a_wide_file_has_one_row_per_patient_and_time(cohort, tmp_path):
    folder = written(cohort, tmp_path / "wide", wide=True)
    table = pd.read_csv(folder / "results_wide.csv", dtype=str, keep_default_na=False)
    assert not table.duplicated(["patient_id", "time", "available_time"]).any()
    assert "temperature [Cel]" in table.columns
    assert (table["il6 [pg/mL]"].str.startswith("<") | (table["il6 [pg/mL]"] == "")).all()


def test_a_source_id_that_repeats_does_not_make_versions_of_two_results(cohort, tmp_path):
    repeated = replace(cohort, events=cohort.events.assign(source_id="panel"))
    again = back(repeated, tmp_path, wide=False)
    assert len(by_patient(again, again.events, EVENT)) >= len(cohort.events)


def test_therapies_of_the_ward_travel_in_the_map(tmp_path):
    from crsrisk.therapies import therapy_from_table

    own = therapy_from_table(
        "x-cel",
        {"name": 'x "new"', "class": "cart", "targets": ["CD19"], "setting": "heme", "source": "protocol"},
    )
    folder = tmp_path / "given"
    courses = pd.DataFrame(
        {
            "course_id": ["c"],
            "patient_id": ["p"],
            "therapy": ["x-cel"],
            "index_time": ["2026-11-01T09:00:00Z"],
        }
    )
    write_cohort({"courses": courses}, folder, therapies={"x-cel": own})
    again = back(read_cohort(folder), tmp_path, wide=False)
    assert again.courses["therapy"].tolist() == ["x-cel"]
    assert again.therapies["x-cel"].name == 'x "new"'


def test_a_cohort_in_hours_is_refused(tmp_path):
    simulate(2, 1, therapies=THERAPIES[:1]).write(tmp_path / "hours")
    with pytest.raises(CrsRiskError, match="have no index_time"):
        write_csv(read_cohort(tmp_path / "hours"), tmp_path)


BAD_INPUT = [
    # variable, value, unit, canonical value and comparator, or the reason
    ("platelets", "140", "K/uL", (140.0, "")),
    ("platelets", "141", "x10^3/uL", (141.0, "")),
    ("platelets", "1,200", "K/uL", (1200.0, "")),
    ("platelets", "142", "/hpf", "UNKNOWN_UNIT"),
    ("crp", "8.2", "MG/DL", (82.0, "")),
    ("crp", "8.3", "", "MISSING_UNIT"),
    ("crp", "<0.5", "mg/dL", (5.0, "<")),
    ("crp", "5+", "mg/dL", "BAD_NUMBER"),
    ("crp", "1,20", "mg/dL", "BAD_NUMBER"),
    ("ldh", "310", "IU/L", (310.0, "")),
    ("albumin", "38000", "mg/L", "UNKNOWN_UNIT"),
    ("sbp", "120/80", "mmHg", "BAD_NUMBER"),
    ("temperature", "３８．４", "℃", (38.4, "")),
    ("temperature", "380", "℃", "IMPOSSIBLE_VALUE"),
]


def test_bad_input_has_one_outcome_each_and_the_rest_arrives(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    labs = [
        f'p,2026-11-01 {10 + n // 60}:{n % 60:02},{variable},"{value}",{unit}\n'
        for n, (variable, value, unit, _) in enumerate(BAD_INPUT)
    ]
    (source / "labs.csv").write_text("id,t,item,value,unit\n" + "".join(labs), encoding="utf-8")
    (source / "given.csv").write_text("id,t,product\np,2026-11-01 09:00,axi-cel_LBCL3L\n", encoding="utf-8")
    tables = [
        {"file": "labs.csv", "layout": "long", "patient": "id", "time": "t", "variable": "item", "value": "value",
         "unit": "unit"},
        {"file": "given.csv", "layout": "wide", "patient": "id", "time": "t", "therapy": "product"},
    ]  # fmt: skip
    site = site_map({"time_zone": "Asia/Tokyo", "csv": {"confirmed": True, "tables": tables}})
    convert("csv", source, tmp_path / "cohort", site=site)
    events = read_cohort(tmp_path / "cohort").events
    used = {(row.variable, row.raw_value): (row.value, row.comparator) for row in events.itertuples()}
    set_aside = pd.read_csv(tmp_path / "cohort" / "quarantine.csv")
    reasons = {row.position: row.reason.partition(":")[0] for row in set_aside.itertuples()}
    outcomes = {n: used.get((variable, value), reasons.get(f"labs.csv row {n + 2}"))
                for n, (variable, value, _, _) in enumerate(BAD_INPUT)}  # fmt: skip
    assert outcomes == {n: outcome for n, (_, _, _, outcome) in enumerate(BAD_INPUT)}
    assert len(used) + len(reasons) == len(BAD_INPUT)
