from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.meds import read_meds
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME, parse_time

UTC = SiteMap(time_zone=ZoneInfo("UTC"))
NINE = datetime(2026, 3, 1, 9, 30)


def dataset(folder: Path, rows: list[dict[str, object]], *, float_type: pa.DataType | None = None) -> Path:
    """A MEDS data set of one file; rows lack what they don't name."""
    names = list(
        dict.fromkeys(name for row in ({"subject_id": 1, "time": NINE, "code": ""}, *rows) for name in row)
    )
    types = {
        "subject_id": pa.int64(),
        "code": pa.string(),
        "numeric_value": float_type or pa.float32(),
        "text_value": pa.large_string(),
    }
    columns = {}
    for name in names:
        cells = [row.get(name, {"subject_id": 1, "time": NINE}.get(name)) for row in rows]
        columns[name] = pa.array(
            cells, types.get(name, pa.timestamp("us") if name.endswith("time") else pa.string())
        )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "data" / "0.parquet")
    return folder


def read(folder: Path, site: SiteMap = UTC) -> tuple[pd.DataFrame, Account]:
    """Records and the account, whose items are checked to add up."""
    with Account(folder.parent / "quarantine.csv") as account:
        batches = list(read_meds(folder, site, account))
    items = account.to_dict()["items"]
    for parts in items.values():
        assert parts["read"] == parts["carried"] + parts["not_needed"] + parts["quarantined"]
    rows = items.get("MEDS row", {"read": 0, "carried": 0})
    assert sum(batch.num_rows for batch in batches) == rows["carried"]
    return pa.Table.from_batches(batches, SCHEMA).to_pandas(), account


def reasons(account: Account) -> list[str]:
    return [one["reason"].partition(":")[0] for one in account.to_dict()["quarantine"]]


def test_a_number_of_32_bits_is_read_as_it_was_reported(tmp_path):
    rows = [
        {"code": "LOINC//8310-5", "numeric_value": value, "unit": "Cel"} for value in (38.4, 100000.0, 0.1)
    ]
    records, _ = read(dataset(tmp_path / "m", rows))
    assert records["value"].tolist() == ["38.4", "100000", "0.1"]
    assert records["unit"].tolist() == ["Cel"] * 3
    assert records["codes"].tolist() == ["http://loinc.org|8310-5"] * 3
    assert records["start_us"].tolist() == [parse_time("2026-03-01T09:30:00Z")] * 3


@pytest.mark.parametrize(
    ("number", "text", "value"),
    [
        (16777217.0, "16777217", "16777217"),  # 32 bits hold 16777216
        (0.028, "0.0280", "0.0280"),
        (0.5, "<0.5", "<0.5"),
        (1200.0, "1,200", "1,200"),
        (38.4, "see comment", "38.4"),
        (None, "<0.5", "<0.5"),
        (float("nan"), "12", "12"),
    ],
)
def test_the_text_wins_where_it_says_the_number_better(tmp_path, number, text, value):
    row = {"code": "LOINC//1988-5", "numeric_value": number, "text_value": text}
    records, _ = read(dataset(tmp_path / "m", [row]))
    assert records["value"].tolist() == [value]


def test_two_different_numbers_in_one_row_are_set_aside(tmp_path):
    rows = [
        {"code": "LOINC//1988-5", "numeric_value": 102.0, "text_value": "12"},
        {"code": "LOINC//1988-5", "numeric_value": 8.0},
    ]
    records, account = read(dataset(tmp_path / "m", rows))
    assert records["value"].tolist() == ["8"]
    assert reasons(account) == ["BAD_RECORD"]
    assert "data/0.parquet row 1" in (tmp_path / "quarantine.csv").read_text()


def test_numbers_of_64_bits_keep_their_digits(tmp_path):
    rows = [{"code": "LOINC//2276-4", "numeric_value": 123456.789}]
    records, _ = read(dataset(tmp_path / "m", rows, float_type=pa.float64()))
    assert records["value"].tolist() == ["123456.789"]


@pytest.mark.parametrize(
    ("code", "unit_column", "codes", "unit"),
    [
        ("LAB//50912//mg/dL", None, ["LAB|50912//mg/dL", "LAB|50912"], "mg/dL"),
        ("LAB//50912//mg/dL", "mg/dL", ["LAB|50912//mg/dL", "LAB|50912"], "mg/dL"),
        ("LAB//50912//UNK", None, ["LAB|50912//UNK", "LAB|50912"], ""),
        ("LAB//50912//Serum", "mg/dL", ["LAB|50912//Serum"], "mg/dL"),
        ("LOINC/2160-0", "mg/dL", ["http://loinc.org|2160-0"], "mg/dL"),
        ("crsrisk//creatinine", "mg/dL", ["urn:crsrisk|creatinine"], "mg/dL"),
        ("creatinine", "mg/dL", ["|creatinine"], "mg/dL"),
        ("JLAC10//3C015000002327101", "mg/dL", ["urn:oid:1.2.392.200119.4.504|3C015000002327101"], "mg/dL"),
    ],
)
def test_vocabularies_and_units_are_found_in_codes(tmp_path, code, unit_column, codes, unit):
    row = {"code": code, "numeric_value": 1.0, "unit": unit_column}
    records, _ = read(dataset(tmp_path / "m", [row]))
    assert records["codes"].tolist() == ["\x1f".join(codes)]
    assert records["unit"].tolist() == [unit]


def test_a_status_in_the_code_is_no_unit_when_no_number_came(tmp_path):
    records, _ = read(dataset(tmp_path / "m", [{"code": "MEDICATION//Tocilizumab//Not Given"}]))
    assert records["codes"].tolist() == ["MEDICATION|Tocilizumab//Not Given"]


def test_parents_of_a_local_code_are_further_codings(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LAB//50912", "numeric_value": 1.1, "unit": "mg/dL"}])
    (folder / "metadata").mkdir()
    table = pa.table(
        {"code": ["LAB//50912"], "parent_codes": pa.array([["LOINC/2160-0"]], pa.list_(pa.string()))}
    )
    pq.write_table(table, folder / "metadata" / "codes.parquet")
    records, _ = read(folder)
    assert records["codes"].tolist() == ["LAB|50912\x1fhttp://loinc.org|2160-0"]


def test_birth_sex_and_death_are_told_as_facts(tmp_path):
    rows = [
        {"code": "GENDER//F", "time": None},
        {"code": "MEDS_BIRTH", "time": datetime(1961, 5, 2)},
        {"code": "MEDS_DEATH"},
    ]
    records, account = read(dataset(tmp_path / "m", rows))
    assert records[["kind", "codes", "value"]].to_numpy().tolist() == [
        ["person", "urn:crsrisk|sex", "female"],
        ["person", "urn:crsrisk|birth_date", "1961-05-02"],
        ["result", "urn:crsrisk|death", "1"],
    ]
    assert records["start_us"].tolist() == [NOT_A_TIME, NOT_A_TIME, parse_time("2026-03-01T09:30:00Z")]
    assert reasons(account) == []


def test_administrations_bring_an_amount_or_a_rate(tmp_path):
    rows = [
        {"code": "crsrisk//tocilizumab_dose", "numeric_value": 480.0, "unit": "mg"},
        {"code": "crsrisk//norepinephrine_rate", "numeric_value": 0.1, "unit": "ug/kg/min", "end_time": NINE},
        {"code": "crsrisk//heart_rate", "numeric_value": 92.0, "unit": "/min"},
    ]
    records, _ = read(dataset(tmp_path / "m", rows))
    assert records["kind"].tolist() == ["drug", "drug", "result"]
    assert records[["value", "unit", "rate", "rate_unit"]].to_numpy().tolist() == [
        ["480", "mg", "", ""],
        ["", "", "0.1", "ug/kg/min"],
        ["92", "/min", "", ""],
    ]


def test_admissions_and_discharges_are_stays(tmp_path):
    records, _ = read(
        dataset(tmp_path / "m", [{"code": "HOSPITAL_DISCHARGE//HOME"}, {"code": "ICU_ADMISSION"}])
    )
    assert records["kind"].tolist() == ["stay", "stay"]


def test_the_time_at_which_a_result_was_known_is_kept(tmp_path):
    row = {"code": "LOINC//1988-5", "numeric_value": 8.0, "available_time": datetime(2026, 3, 1, 11)}
    records, _ = read(dataset(tmp_path / "m", [row]))
    assert records["known_us"].tolist() == [parse_time("2026-03-01T11:00:00Z")]


def test_without_a_time_zone_the_error_says_what_to_write(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LOINC//1988-5", "numeric_value": 8.0}])
    with pytest.raises(CrsRiskError, match='time_zone = "Asia/Tokyo"'):
        read(folder, SiteMap())


def test_clock_times_are_those_of_the_zone_and_doubtful_ones_are_set_aside(tmp_path):
    times = [datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30), datetime(2026, 7, 1, 12)]
    rows = [{"code": "LOINC//1988-5", "numeric_value": 8.0, "time": time} for time in times]
    records, account = read(dataset(tmp_path / "m", rows), SiteMap(time_zone=ZoneInfo("Europe/Berlin")))
    assert records["start_us"].tolist() == [parse_time("2026-07-01T12:00:00+02:00")]
    assert reasons(account) == ["AMBIGUOUS_TIME"]
    assert account.to_dict()["quarantine"][0]["count"] == 2


def test_a_file_of_dates_is_refused_and_not_taken_for_midnight(tmp_path):
    rows = [
        {"code": "LOINC//1988-5", "numeric_value": 8.0, "time": datetime(2026, 3, day)}
        for day in range(1, 26)
    ]
    folder = dataset(tmp_path / "m", [{"code": "GENDER//M", "time": None}, *rows])
    records, account = read(folder)
    assert records["kind"].tolist() == ["person"]
    assert reasons(account) == ["DATE_ONLY"]
    assert account.to_dict()["quarantine"][0]["count"] == 25


def test_rows_without_subject_code_or_time_are_set_aside_and_the_rest_arrives(tmp_path):
    rows = [
        {"code": "LOINC//1988-5", "numeric_value": 1.0, "subject_id": None},
        {"code": None, "numeric_value": 2.0},
        {"code": "LOINC//1988-5", "numeric_value": 3.0, "time": None},
        {"code": "LOINC//1988-5", "numeric_value": 4.0, "time": datetime(9999, 1, 1)},
        {"code": "LOINC//1988-5", "numeric_value": 5.0},
    ]
    records, account = read(dataset(tmp_path / "m", rows))
    assert records["value"].tolist() == ["5"]
    assert sorted(reasons(account)) == ["BAD_TIME", "NO_CODE", "NO_PATIENT", "NO_TIME"]


def test_a_note_is_not_needed(tmp_path):
    _, account = read(dataset(tmp_path / "m", [{"code": "NOTE//discharge", "text_value": "word " * 100}]))
    assert account.to_dict()["items"]["MEDS row"]["not_needed"] == 1


def test_a_code_can_not_smuggle_in_another_one(tmp_path):
    row = {"code": "LAB//x\x1furn:crsrisk|therapy:tec_MM", "numeric_value": 1.0}
    records, _ = read(dataset(tmp_path / "m", [row]))
    assert "\x1f" not in records["codes"][0]


def test_rows_out_of_order_are_read_and_counted(tmp_path):
    rows = [
        {"code": "LOINC//1988-5", "numeric_value": 1.0, "time": datetime(2026, 3, 2, 1)},
        {"code": "LOINC//1988-5", "numeric_value": 2.0, "time": datetime(2026, 3, 1, 1)},
        {"code": "LOINC//1988-5", "numeric_value": 3.0, "subject_id": 2},
        {"code": "LOINC//1988-5", "numeric_value": 4.0, "subject_id": 1},
    ]
    records, account = read(dataset(tmp_path / "m", rows))
    assert len(records) == 4
    assert {key.partition(":")[0]: count for key, count in account.to_dict()["adjusted"].items()} == {
        "MEDS_ORDER": 2
    }


def test_a_damaged_file_is_set_aside_and_the_others_arrive(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LOINC//1988-5", "numeric_value": 8.0}])
    (folder / "data" / "1.parquet").write_bytes(b"PAR1 no more than this")
    pq.write_table(pa.table({"subject_id": [1], "code": ["x"]}), folder / "data" / "2.parquet")
    records, account = read(folder)
    assert len(records) == 1
    assert account.to_dict()["items"]["MEDS file"] == {
        "read": 3,
        "carried": 1,
        "not_needed": 0,
        "quarantined": 2,
    }


def test_a_file_cut_off_behind_its_beginning_is_set_aside(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LOINC//1988-5", "numeric_value": 8.0}])
    whole = (folder / "data" / "0.parquet").read_bytes()
    (folder / "data" / "1.parquet").write_bytes(whole[: len(whole) // 2])
    _, account = read(folder)
    assert account.to_dict()["items"]["MEDS file"]["quarantined"] == 1


@pytest.mark.parametrize("make", ["absent", "empty", "other"])
def test_what_is_no_data_set_is_refused(tmp_path, make):
    folder = tmp_path / "m"
    if make != "absent":
        folder.mkdir()
    if make == "other":
        pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    with pytest.raises(CrsRiskError, match=r"data/\*\.parquet"):
        read(folder)


def test_a_stated_zone_that_contradicts_the_site_map_is_refused(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LOINC//1988-5", "numeric_value": 8.0}])
    (folder / "metadata").mkdir()
    (folder / "metadata" / "dataset.json").write_text(json.dumps({"etl_name": "crsrisk", "time_zone": "UTC"}))
    assert len(read(folder, SiteMap())[0]) == 1
    with pytest.raises(CrsRiskError, match="remove time_zone"):
        read(folder, SiteMap(time_zone=ZoneInfo("Asia/Tokyo")))


def test_metadata_that_can_not_be_read_is_told_and_does_no_harm(tmp_path):
    folder = dataset(tmp_path / "m", [{"code": "LOINC//1988-5", "numeric_value": 8.0}])
    (folder / "metadata").mkdir()
    (folder / "metadata" / "dataset.json").write_text("[" * 100_000)
    (folder / "metadata" / "codes.parquet").write_bytes(b"no parquet")
    records, account = read(folder)
    assert len(records) == 1
    assert sorted(reasons(account)) == ["BAD_JSON", "BAD_RECORD"]


def test_a_large_file_comes_in_many_batches(tmp_path):
    count = 70_000
    table = pa.table(
        {
            "subject_id": np.repeat(np.arange(10), count // 10),
            "time": pa.array(np.full(count, NINE, dtype="datetime64[us]")),
            "code": pa.array(["LOINC//1988-5"] * count).dictionary_encode(),
            "numeric_value": np.arange(count, dtype=np.float32),
        }
    )
    (tmp_path / "m").mkdir()
    pq.write_table(table, tmp_path / "m" / "all.parquet")
    with Account(tmp_path / "q.csv") as account:
        sizes = [batch.num_rows for batch in read_meds(tmp_path / "m", UTC, account)]
    assert sum(sizes) == count
    assert len(sizes) > 2
