"""A cohort as OMOP tables: reading them gives back what was written."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crsrisk.cohort import Cohort, read_cohort, write_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.omop import read_omop
from crsrisk.readers.site_map import SiteMap, read_site_map
from crsrisk.simulator import simulate
from crsrisk.times import parse_time
from crsrisk.writers.omop import write_omop
from crsrisk.writers.statements import statements

pytestmark = pytest.mark.xdist_group("omop_writer")

THERAPIES = ("axi-cel_LBCL3L", "tec_MM")
INDEX = pd.Timestamp("2026-11-01T09:00:00+09:00")


def cohort(tmp_path: Path, *events: tuple[float, str, str, str], **cells: object) -> Cohort:
    """One course of cells with events (hours, variable, value, unit)."""
    course = {
        "course_id": "c1",
        "patient_id": "P-1",
        "therapy": "axi-cel_LBCL3L",
        "index_time": INDEX,
        "sex": "female",
    }
    rows = [
        {
            "course_id": "c1",
            "time": INDEX + pd.Timedelta(hours, "h"),
            "variable": variable,
            "value": value,
            "unit": unit,
        }
        for hours, variable, value, unit in events
    ]
    tables = {"courses": pd.DataFrame([course | cells]), "events": pd.DataFrame(rows)}
    return read_cohort(write_cohort(tables, tmp_path / "cohort"))


def table(out: Path, name: str) -> list[dict[str, str]]:
    with (out / f"{name}.csv").open(encoding="utf-8", newline="") as sheet:
        return list(csv.DictReader(sheet))


def read_again(out: Path, sheet: Path) -> pd.DataFrame:
    site = read_site_map(out / "map.toml")
    with Account(sheet) as account:
        found = pa.Table.from_batches(list(read_omop(out, site, account))).to_pandas()
        account.records(len(found))
        account.fate("event", len(found))
        account.verify()
        assert account.to_dict()["quarantine"] == []
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("simulated")
    return read_cohort(simulate(4, 3, therapies=THERAPIES, absolute_times=True).write(folder / "cohort"))


@pytest.mark.parametrize("parquet", [False, True])
def test_every_statement_comes_back_as_a_record(simulated, tmp_path, parquet):
    write_omop(simulated, tmp_path / "omop", parquet=parquet)
    found = read_again(tmp_path / "omop", tmp_path / "quarantine.csv")
    told = statements(simulated)
    assert len(found) == len(told)
    told = told.assign(own="urn:crsrisk|" + told["name"])
    found = found.assign(own=found["codes"].str.split("\x1f").str[-1])
    rated = found["rate"] != ""
    found["value"] = found["value"].mask(rated, found["rate"])
    found["unit"] = found["unit"].mask(rated, found["rate_unit"])
    key = ["patient_id", "own", "start_us", "end_us", "known_us", "value", "unit", "comparator"]
    for kinds, columns in (
        (("result", "procedure"), key),
        (("drug",), [*key[:5], "unit", "amount"]),  # quantity is a number: 560.0 comes back as 560
        (("person",), ["patient_id", "own", "value"]),
        (("stay",), ["patient_id", "start_us", "end_us"]),
    ):
        assert rows_of(told, kinds, columns) == rows_of(found, kinds, columns)


def rows_of(told: pd.DataFrame, kinds: tuple[str, ...], columns: list[str]) -> list[tuple[object, ...]]:
    chosen = told[told["kind"].isin(kinds)]
    if "amount" in columns:
        chosen = chosen.assign(amount=pd.to_numeric(chosen["value"]).fillna(-1.0))
    return sorted(chosen[columns].itertuples(index=False, name=None))


def test_microseconds_survive(tmp_path):
    write_omop(cohort(tmp_path, (1 / 3_600_000_000, "crp", "8", "mg/L")), tmp_path / "omop")
    found = read_again(tmp_path / "omop", tmp_path / "quarantine.csv")
    at = found.loc[found["codes"].str.contains("crp"), "start_us"].item()
    assert at == parse_time("2026-11-01T00:00:00.000001Z")


def test_values_are_written_in_the_columns_of_the_cdm(tmp_path):
    written = cohort(tmp_path, (1.0, "crp", "<0.5", "mg/dL"), (2.0, "wbc", "1,200", "/uL"))
    write_omop(written, tmp_path / "omop")
    names = ("measurement_concept_id", "measurement_source_value", "measurement_datetime", "operator_concept_id",
             "value_as_number", "unit_concept_id", "unit_source_value", "value_source_value")  # fmt: skip
    assert [tuple(row[name] for name in names) for row in table(tmp_path / "omop", "measurement")] == [
        (
            "3020460",
            "urn:crsrisk|crp",
            "2026-11-01 01:00:00.000000",
            "4171756",
            "0.5",
            "8840",
            "mg/dL",
            "<0.5",
        ),
        ("3000905", "urn:crsrisk|wbc", "2026-11-01 02:00:00.000000", "", "1200", "8647", "/uL", "1,200"),
    ]


def test_a_drug_is_an_exposure_with_its_amount_or_rate(tmp_path):
    events = ((1.0, "tocilizumab_dose", "560", "mg"), (2.0, "norepinephrine_rate", "0.05", "γ"))
    write_omop(cohort(tmp_path, *events), tmp_path / "omop")
    rows = table(tmp_path / "omop", "drug_exposure")
    assert [(row["drug_source_value"], row["quantity"], row["dose_unit_source_value"]) for row in rows] == [
        ("urn:crsrisk|tocilizumab_dose", "560", "mg"),
        ("urn:crsrisk|norepinephrine_rate", "0.05", "γ"),
    ]


@pytest.mark.parametrize(
    ("patients", "ids"), [(("20", "3"), ("20", "3")), (("P2", "3"), ("2", "1")), (("03", "4"), ("1", "2"))]
)
def test_patients_named_by_numbers_keep_them_and_others_are_numbered(tmp_path, patients, ids):
    courses = pd.DataFrame(
        {
            "course_id": list(patients),
            "patient_id": list(patients),
            "therapy": "axi-cel_LBCL3L",
            "index_time": INDEX,
        }
    )
    events = pd.DataFrame(
        {"course_id": list(patients), "time": INDEX, "variable": "crp", "value": "8", "unit": "mg/L"}
    )
    written = read_cohort(write_cohort({"courses": courses, "events": events}, tmp_path / "cohort"))
    write_omop(written, tmp_path / "omop")
    rows = table(tmp_path / "omop", "person")
    assert sorted(row["person_id"] for row in rows) == sorted(ids)
    found = read_again(tmp_path / "omop", tmp_path / "quarantine.csv")
    assert set(found["patient_id"]) == set(patients)


def test_infusions_at_midnight_in_utc_are_written_in_another_zone(tmp_path):
    """At 09:00 in Tokyo it is midnight in UTC: three of them would read as dates that somebody filled."""
    patients = ["1", "2", "3"]
    courses = pd.DataFrame(
        {"course_id": patients, "patient_id": patients, "therapy": "axi-cel_LBCL3L", "index_time": INDEX}
    )
    events = pd.DataFrame(
        {"course_id": patients, "time": INDEX, "variable": "crp", "value": "8", "unit": "mg/L"}
    )
    written = read_cohort(write_cohort({"courses": courses, "events": events}, tmp_path / "cohort"))
    write_omop(written, tmp_path / "omop")
    assert (tmp_path / "omop" / "map.toml").read_text(encoding="utf-8") == 'time_zone = "Etc/GMT-1"\n'
    assert (
        table(tmp_path / "omop", "procedure_occurrence")[0]["procedure_datetime"]
        == "2026-11-01 01:00:00.000000"
    )
    found = read_again(tmp_path / "omop", tmp_path / "quarantine.csv")
    infusions = found.loc[found["kind"] == "procedure", "start_us"]
    assert infusions.tolist() == [parse_time("2026-11-01T09:00:00+09:00")] * 3


def test_parquet_has_the_types_of_the_cdm(tmp_path):
    write_omop(cohort(tmp_path, (1.0, "crp", "8", "mg/L")), tmp_path / "omop", parquet=True)
    schema = pq.read_schema(tmp_path / "omop" / "measurement.parquet")
    names = (
        "measurement_id",
        "measurement_date",
        "measurement_datetime",
        "value_as_number",
        "unit_source_value",
    )
    assert [schema.field(name).type for name in names] == [
        pa.int64(), pa.date32(), pa.timestamp("us"), pa.float64(), pa.string(),
    ]  # fmt: skip


def test_the_map_brings_investigational_therapies_along(tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "therapies.toml").write_text(
        '[car-x]\nname = "CAR X"\nclass = "cart"\ntargets = ["CD19"]\nsetting = "heme"\nsource = "protocol 1"\n',
        encoding="utf-8",
    )
    courses = f"course_id,patient_id,therapy,index_time\nc1,1,car-x,{INDEX.isoformat()}\n"
    (tmp_path / "cohort" / "courses.csv").write_text(courses, encoding="utf-8")
    events = f"course_id,time,variable,value,unit\nc1,{INDEX.isoformat()},crp,8,mg/L\n"
    (tmp_path / "cohort" / "events.csv").write_text(events, encoding="utf-8")
    write_omop(read_cohort(tmp_path / "cohort"), tmp_path / "omop")
    site: SiteMap = read_site_map(tmp_path / "omop" / "map.toml")
    assert site.registered["car-x"].name == "CAR X"


def test_a_cohort_in_hours_is_refused(tmp_path):
    courses = pd.DataFrame({"course_id": ["c1"], "patient_id": ["1"], "therapy": ["axi-cel_LBCL3L"]})
    events = pd.DataFrame(
        {"course_id": ["c1"], "hours": [1.0], "variable": ["crp"], "value": ["8"], "unit": ["mg/L"]}
    )
    undated = read_cohort(write_cohort({"courses": courses, "events": events}, tmp_path / "cohort"))
    with pytest.raises(CrsRiskError, match="no index_time"):
        write_omop(undated, tmp_path / "omop")
