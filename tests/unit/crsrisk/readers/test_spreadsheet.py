"""Spreadsheets: what the map names is read, everything else is counted, nothing is guessed."""

from __future__ import annotations

import csv
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.codes import check_targets
from crsrisk.readers.record import CODE_SEPARATOR, SCHEMA
from crsrisk.readers.site_map import site_map
from crsrisk.readers.spreadsheet import read_csv
from crsrisk.readers.spreadsheet_map import ColumnMap, TableMap, table_maps
from crsrisk.times import NOT_A_TIME

LONG = {
    "file": "labs.csv", "layout": "long", "patient": "患者ID", "time": "採血日時", "variable": "項目",
    "value": "結果", "unit": "単位",
}  # fmt: skip
WIDE = {
    "file": "vitals.csv", "layout": "wide", "patient": "id", "time": "time",
    "columns": {
        "体温": {"variable": "temperature", "unit": "℃"},
        "CRP(mg/dL)": {"variable": "crp", "unit": "mg/dL"},
    },
}  # fmt: skip


class Read:
    """What came of a reading: records as dicts, the account, rows of the quarantine."""

    def __init__(self, source: Path, tables: list[dict], top: dict | None = None, **section: object) -> None:
        stated = {"time_zone": "Asia/Tokyo", **(top or {})}
        site = site_map({**stated, "csv": {"confirmed": True, "tables": tables, **section}})
        quarantine = source.parent / "quarantine.csv"
        with Account(quarantine) as account:
            batches = list(read_csv(source, site, account))
            table = pa.Table.from_batches(batches, SCHEMA)
            account.records(table.num_rows)
            account.fate("event", table.num_rows)
            account.verify()
            self.account = account.to_dict()
        self.records = table.to_pylist()
        with quarantine.open(encoding="utf-8") as sheet:
            self.quarantined = list(csv.DictReader(sheet))

    def cells(self, *names: str) -> list[tuple]:
        return [tuple(record[name] for name in names) for record in self.records]

    def codes(self) -> list[list[str]]:
        return [record["codes"].split(CODE_SEPARATOR) for record in self.records]

    def reasons(self) -> list[str]:
        return [row["reason"].partition(":")[0] for row in self.quarantined]


def at(text: str) -> int:
    """Microseconds of ISO 8601 text with an offset."""
    return round(
        (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    )


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_a_long_table_gives_one_record_per_row_as_reported(tmp_path):
    file = written(
        tmp_path, "labs.csv",
        "患者ID,採血日時,項目,結果,単位\n"
        "001,2026/11/01 9:30,CRP,8.20,mg/dL\n"
        "001,2026-11-01T10:00:00+09:00,crp,<0.5,mg/dL\n",
    )  # fmt: skip
    read = Read(file, [LONG])
    assert read.cells("patient_id", "kind", "value", "unit", "start_us", "end_us", "status") == [
        (
            "001",
            "result",
            "8.20",
            "mg/dL",
            at("2026-11-01T09:30+09:00"),
            at("2026-11-01T09:30+09:00"),
            "final",
        ),
        (
            "001",
            "result",
            "<0.5",
            "mg/dL",
            at("2026-11-01T10:00+09:00"),
            at("2026-11-01T10:00+09:00"),
            "final",
        ),
    ]
    assert read.codes() == [["|CRP"], ["|crp", "urn:crsrisk|crp"]]
    assert read.cells("position") == [("labs.csv row 2",), ("labs.csv row 3",)]
    assert read.account["items"]["row"] == {"read": 2, "carried": 2, "not_needed": 0, "quarantined": 0}


def test_a_wide_table_gives_one_record_per_filled_cell(tmp_path):
    file = written(
        tmp_path, "vitals.csv",
        "id,time,体温,CRP(mg/dL),note\n7,2026-11-01 09:30,38.4,,tired\n7,2026-11-01 12:00,39,1.2,\n",
    )  # fmt: skip
    read = Read(file, [WIDE])
    assert read.cells("codes", "value", "unit", "position") == [
        ("urn:crsrisk|temperature", "38.4", "℃", "vitals.csv row 2 column '体温'"),
        ("urn:crsrisk|temperature", "39", "℃", "vitals.csv row 3 column '体温'"),
        ("urn:crsrisk|crp", "1.2", "mg/dL", "vitals.csv row 3 column 'CRP(mg/dL)'"),
    ]
    assert read.account["items"]["cell"]["carried"] == 3
    assert read.account["items"]["column 'note' of vitals.csv"]["not_needed"] == 1


def test_headers_match_whatever_their_width_and_line_breaks(tmp_path):
    file = written(
        tmp_path, "vitals.csv", 'ｉｄ,"ti\nme",体温,"ＣＲＰ（mg/dL）"\n7,2026-11-01 09:30,38.4,1\n'
    )
    table = {**WIDE, "time": "ti me"}
    assert len(Read(file, [table]).records) == 2


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,200", "1,200"), ("<0.5", "<0.5"), (">1000", ">1000"), ("5+", "5+"), ("120/80", "120/80"),
        ("３８．４", "３８．４"), ("n/a", None), ("-", None), ("ND", None), ("ＮＤ", None), ("検出せず", None),
        ("", None), ("See note", "See note"),
    ],
)  # fmt: skip
def test_a_value_stays_as_it_came_unless_the_map_calls_it_missing(tmp_path, cell, value):
    file = written(
        tmp_path, "labs.csv", f'患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,CRP,"{cell}",mg/dL\n'
    )
    read = Read(file, [LONG], missing=["-", "n/a", "ND", "検出せず"])
    assert [record["value"] for record in read.records] == ([] if value is None else [value])
    assert read.account["items"]["row"]["not_needed"] == (1 if value is None else 0)


def test_a_row_that_lacks_something_is_set_aside_with_its_reason_and_the_rest_arrives(tmp_path):
    file = written(
        tmp_path, "labs.csv",
        "患者ID,採血日時,項目,結果,単位\n"
        ",2026-11-01 09:30,CRP,1,mg/dL\n"
        "1,,CRP,1,mg/dL\n"
        "1,2026-11-01,CRP,1,mg/dL\n"
        "1,11/1/2026 9:30,CRP,1,mg/dL\n"
        "1,2026-11-01 09:30,,1,mg/dL\n"
        "1,2026-11-01 09:30,CRP,1\n"
        "1,2026-11-01 09:30,CRP,1,mg/dL,x\n"
        "1,2026-11-01 09:30,CRP,#N/A,mg/dL\n"
        "1,2026-11-01 09:30,CRP,\0,mg/dL\n"
        "1,2026-11-01 09:30,CRP,2,mg/dL,\n",
    )  # fmt: skip
    read = Read(file, [LONG])
    assert read.reasons() == [
        "NO_PATIENT", "NO_TIME", "DATE_ONLY", "BAD_TIME", "NO_CODE", "BAD_RECORD", "BAD_RECORD", "BAD_NUMBER",
        "BAD_RECORD",
    ]  # fmt: skip
    assert read.cells("value", "position") == [("2", "labs.csv row 11")]
    assert [row["position"] for row in read.quarantined] == [f"labs.csv row {n}" for n in range(2, 11)]


def test_an_unclosed_quote_takes_no_other_row_with_it(tmp_path):
    rows = [
        '1,2026-11-01 09:30,CRP,"1,mg/dL',
        *(f"1,2026-11-01 10:{n % 60:02},CRP,{n},mg/dL" for n in range(500)),
    ]
    file = written(tmp_path, "labs.csv", "患者ID,採血日時,項目,結果,単位\n" + "\n".join(rows) + "\n")
    read = Read(file, [LONG])
    assert [record["value"] for record in read.records] == [str(n) for n in range(500)]
    assert read.reasons() == ["BAD_RECORD"]
    assert read.quarantined[0]["position"] == "labs.csv row 2"


def test_quoted_cells_may_hold_commas_line_breaks_and_quotes(tmp_path):
    file = written(
        tmp_path, "labs.csv",
        '患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,"C,R\n""P""",1,mg/dL\n1,2026-11-01 09:30,5" CRP,2,mg/dL\n',
    )  # fmt: skip
    read = Read(file, [LONG])
    assert read.codes() == [['|C,R\n"P"'], ['|5" CRP']]
    assert read.cells("position") == [("labs.csv row 2",), ("labs.csv row 4",)]


@pytest.mark.parametrize(
    ("encoding", "stated"),
    [("utf-8", None), ("utf-8-sig", None), ("cp932", "shift_jis"), ("cp932", "cp932"), ("utf-16", "utf-16")],
)
def test_every_stated_encoding_is_read(tmp_path, encoding, stated):
    file = written(
        tmp_path, "labs.csv", "患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,血小板①,1,㎎\n", encoding
    )
    top = {} if stated is None else {"encoding": stated}
    assert Read(file, [LONG], top).codes() == [["|血小板①"]]


def test_bytes_of_another_encoding_cost_their_row_alone(tmp_path):
    good = "患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,CRP,1,mg/dL\n".encode()
    bad = "1,2026-11-01 09:30,血小板,1,x\n".encode("cp932")
    (tmp_path / "labs.csv").write_bytes(good + bad + good.partition(b"\n")[2])
    read = Read(tmp_path / "labs.csv", [LONG])
    assert len(read.records) == 2
    assert read.reasons() == ["BAD_ENCODING"]


@pytest.mark.parametrize(
    ("encoding", "stated"), [("cp932", "utf-8"), ("utf-8", "cp932"), ("utf-16", "utf-8")]
)
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding, stated):
    file = written(
        tmp_path, "labs.csv", "患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,血小板,1,x\n", encoding
    )
    with pytest.raises(CrsRiskError, match="encoding"):
        Read(file, [LONG], {"encoding": stated})


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_the_only_delimiter_of_the_header_is_taken(tmp_path, delimiter):
    text = "患者ID|採血日時|項目|結果|単位\n1|2026-11-01 09:30|CRP|1|mg/dL\n".replace("|", delimiter)
    assert len(Read(written(tmp_path, "labs.csv", text), [LONG]).records) == 1


def test_two_candidates_for_the_delimiter_are_a_question_to_the_map(tmp_path):
    file = written(
        tmp_path, "labs.csv", "患者ID;採血日時;項目;結果;単位, 1\n1;2026-11-01 09:30;CRP;1,5;mg/dL\n"
    )
    table = {**LONG, "unit": "単位, 1"}
    with pytest.raises(CrsRiskError, match="several of , ; tab in the header row; accepted: delimiter"):
        Read(file, [table])
    read = Read(file, [{**table, "delimiter": ";", "decimal": ","}])
    assert read.cells("value", "unit") == [("1.5", "mg/dL")]


def test_semicolons_without_a_stated_decimal_sign_are_refused(tmp_path):
    file = written(
        tmp_path, "labs.csv", "患者ID;採血日時;項目;結果;単位\n1;2026-11-01 09:30;CRP;1,500;mg/dL\n"
    )
    with pytest.raises(CrsRiskError, match="accepted: decimal in the site map"):
        Read(file, [LONG])
    assert Read(file, [LONG], decimal=",").cells("value") == [("1.500",)]
    assert Read(file, [LONG], decimal=".").cells("value") == [("1,500",)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,5", "1.5"), ("1.200,5", "1200.5"), ("1.200", "1200"), ("<0,5", "<0.5"), ("12", "12"),
        ("1.5", None), ("1,200.5", None),
    ],
)  # fmt: skip
def test_decimal_commas_are_read_only_by_the_map(tmp_path, cell, value):
    file = written(
        tmp_path, "labs.tsv", f"患者ID\t採血日時\t項目\t結果\t単位\n1\t2026-11-01 09:30\tCRP\t{cell}\tmg/dL\n"
    )
    read = Read(file, [{**LONG, "file": "labs.tsv"}], decimal=",")
    assert read.cells("value") == ([] if value is None else [(value,)])
    assert read.reasons() == (["BAD_NUMBER"] if value is None else [])


def test_a_long_table_carries_versions_availability_and_comparators(tmp_path):
    file = written(
        tmp_path, "labs.csv",
        "患者ID,採血日時,項目,結果,単位,報告,記号,状態,番号,更新\n"
        "1,2026-11-01 09:30,CRP,1,mg/dL,2026-11-01 10:00,＜,確定,55,2026-11-01 11:00\n"
        "1,2026-11-01 09:30,CRP,,mg/dL,,,取消,55,2026-11-02 11:00\n"
        "1,2026-11-01 09:30,CRP,2,mg/dL,,以上,中間,56,\n"
        "1,2026-11-01 09:30,CRP,2,mg/dL,,,X,57,\n"
        "1,2026-11-01 09:30,CRP,2,mg/dL,2026-11-01,,,58,\n",
    )  # fmt: skip
    extra = {"known": "報告", "comparator": "記号", "status": "状態", "id": "番号", "revised": "更新"}
    read = Read(file, [{**LONG, **extra}])
    assert read.cells("status", "identity", "comparator", "known_us", "revised_us") == [
        ("final", "labs.csv/55#CRP", "<", at("2026-11-01T10:00+09:00"), at("2026-11-01T11:00+09:00")),
        ("withdrawn", "labs.csv/55#CRP", "", NOT_A_TIME, at("2026-11-02T11:00+09:00")),
        ("preliminary", "labs.csv/56#CRP", ">=", NOT_A_TIME, NOT_A_TIME),
    ]
    assert read.reasons() == ["BAD_RECORD", "DATE_ONLY"]
    again = Read(file, [{**LONG, **extra, "statuses": {"x": "withdrawn"}}])
    assert again.cells("status")[-1] == ("withdrawn",)


def test_drugs_and_devices_keep_amount_rate_and_period(tmp_path):
    file = written(
        tmp_path, "drugs.csv",
        "pt,from,to,drug,amount,unit,rate,rate unit\n"
        "1,2026-11-01 09:30,2026-11-01 10:30,Columvi,2.5,mg,,\n"
        "1,2026-11-01 09:30,,NAD,,,0.05,ug/kg/min\n",
    )  # fmt: skip
    table = {
        "file": "drugs.csv", "layout": "long", "kind": "drug", "patient": "pt", "time": "from", "end": "to",
        "variable": "drug", "value": "amount", "unit": "unit", "rate": "rate", "rate_unit": "rate unit",
    }  # fmt: skip
    read = Read(file, [table])
    assert read.cells("kind", "value", "unit", "rate", "rate_unit", "end_us") == [
        ("drug", "2.5", "mg", "", "", at("2026-11-01T10:30+09:00")),
        ("drug", "", "", "0.05", "ug/kg/min", NOT_A_TIME),
    ]
    assert read.codes() == [["|Columvi", "urn:crsrisk|product:glofit"], ["|NAD"]]


def test_one_row_per_patient_gives_therapy_facts_and_columns_with_their_own_times(tmp_path):
    file = written(
        tmp_path, "patients.csv",
        "id,infusion,product,sex,born,ward,dx,last seen,weight,CRP d-1,CRP time,CRP d+1\n"
        "1,2026-11-01 09:00,Yescarta,女,1960/3/5,3E,LBCL,2026-11-15 12:00,58.5,3,2026-10-31 07:00,9\n"
        "2,2026-11-01,axi-cel_LBCL3L,M,1959,3E,LBCL,2026-11-15,,,,\n",
    )  # fmt: skip
    table = {
        "file": "patients.csv", "layout": "wide", "patient": "id", "time": "infusion", "therapy": "product",
        "sex": "sex", "birth_date": "born", "site": "ward", "indication": "dx", "observed_until": "last seen",
        "columns": {
            "weight": {"variable": "weight", "unit": "kg"},
            "CRP d-1": {"variable": "crp", "unit": "mg/dL", "time": "CRP time"},
            "CRP d+1": {"variable": "crp", "unit": "mg/dL", "hours": 24},
        },
    }  # fmt: skip
    read = Read(file, [table])
    infusion = at("2026-11-01T09:00+09:00")
    assert read.cells("patient_id", "kind", "codes", "value", "start_us", "end_us") == [
        ("1", "person", "urn:crsrisk|sex", "female", NOT_A_TIME, NOT_A_TIME),
        ("1", "person", "urn:crsrisk|birth_date", "1960-03-05", NOT_A_TIME, NOT_A_TIME),
        ("1", "person", "urn:crsrisk|site", "3E", NOT_A_TIME, NOT_A_TIME),
        ("1", "person", "urn:crsrisk|indication", "LBCL", NOT_A_TIME, NOT_A_TIME),
        ("1", "stay", "urn:crsrisk|stay", "", NOT_A_TIME, at("2026-11-15T12:00+09:00")),
        ("1", "procedure", "|Yescarta\x1furn:crsrisk|product:axi-cel", "", infusion, infusion),
        ("1", "result", "urn:crsrisk|weight", "58.5", infusion, infusion),
        ("1", "result", "urn:crsrisk|crp", "3", at("2026-10-31T07:00+09:00"), at("2026-10-31T07:00+09:00")),
        ("1", "result", "urn:crsrisk|crp", "9", at("2026-11-02T09:00+09:00"), at("2026-11-02T09:00+09:00")),
        ("2", "person", "urn:crsrisk|sex", "male", NOT_A_TIME, NOT_A_TIME),
        ("2", "person", "urn:crsrisk|birth_date", "1959", NOT_A_TIME, NOT_A_TIME),
        ("2", "person", "urn:crsrisk|site", "3E", NOT_A_TIME, NOT_A_TIME),
        ("2", "person", "urn:crsrisk|indication", "LBCL", NOT_A_TIME, NOT_A_TIME),
    ]
    assert read.reasons() == [
        "DATE_ONLY",
        "DATE_ONLY",
    ]  # the last day of observation, the day of the infusion


def test_an_indication_that_the_map_calls_a_disease_is_one(tmp_path):
    file = written(tmp_path, "p.csv", "id,dx\n1,びまん性大細胞型B細胞リンパ腫\n2,other\n")
    table = {"file": "p.csv", "layout": "wide", "patient": "id", "indication": "dx"}
    read = Read(file, [table], {"codes": {"びまん性大細胞型B細胞リンパ腫": "disease:LBCL"}})
    assert read.cells("patient_id", "kind") == [("1", "person"), ("1", "condition"), ("2", "person")]


def test_a_sex_or_birth_that_is_not_clear_is_set_aside(tmp_path):
    file = written(tmp_path, "p.csv", "id,sex,born\n1,1,S35.3.5\n2,F,05.03.1960\n")
    table = {"file": "p.csv", "layout": "wide", "patient": "id", "sex": "sex", "birth_date": "born"}
    assert Read(file, [table]).reasons() == ["BAD_SEX", "BAD_BIRTH_DATE", "BAD_BIRTH_DATE"]
    stated = {**table, "sexes": {"1": "male"}, "birth_date_format": "%d.%m.%Y"}
    read = Read(file, [stated])
    assert read.cells("value") == [("male",), ("female",), ("1960-03-05",)]


def test_words_and_pairs_are_read_as_the_map_says(tmp_path):
    file = written(
        tmp_path, "v.csv", "id,t,BP,O2\n1,2026-11-01 09:30,120/80,カニュラ\n1,2026-11-01 10:30,120,room air\n"
    )
    table = {
        "file": "v.csv", "layout": "wide", "patient": "id", "time": "t",
        "columns": {
            "BP": {"parts": ["sbp", "dbp"], "unit": "mmHg"},
            "O2": {"variable": "resp_support", "values": {"カニュラ": 1, "room air": 0}},
        },
    }  # fmt: skip
    read = Read(file, [table])
    assert read.cells("codes", "value", "unit") == [
        ("urn:crsrisk|sbp", "120", "mmHg"),
        ("urn:crsrisk|dbp", "80", "mmHg"),
        ("urn:crsrisk|resp_support", "1", ""),
        ("urn:crsrisk|resp_support", "0", ""),
    ]
    assert read.reasons() == ["BAD_NUMBER"]


def test_dates_and_clock_times_in_two_columns_are_joined(tmp_path):
    file = written(
        tmp_path, "v.csv",
        "id,day,clock,体温,CRP(mg/dL)\n1,2026/11/1,9:30,38,\n1,2026-11-01 00:00:00,10:15:30,39,\n1,2026/11/1,,40,\n",
    )  # fmt: skip
    read = Read(file, [{**WIDE, "file": "v.csv", "time": ["day", "clock"]}])
    assert read.cells("value", "start_us") == [
        ("38", at("2026-11-01T09:30+09:00")),
        ("39", at("2026-11-01T10:15:30+09:00")),
    ]
    assert read.reasons() == ["DATE_ONLY"]


def test_midnight_is_a_date_where_the_map_says_so(tmp_path):
    file = written(
        tmp_path, "vitals.csv", "id,time,体温,CRP(mg/dL)\n1,2026-11-01 00:00,38,\n1,2026-11-01 09:30,39,\n"
    )
    assert len(Read(file, [WIDE]).records) == 2
    assert Read(file, [{**WIDE, "midnight_is_date": True}]).reasons() == ["DATE_ONLY"]


@pytest.mark.parametrize(
    ("zone", "text", "reason"),
    [
        ("America/New_York", "2026-11-01 01:30", "AMBIGUOUS_TIME"),  # exists twice
        ("America/New_York", "2026-03-08 02:30", "AMBIGUOUS_TIME"),  # never existed
        ("America/New_York", "2026-11-01T01:30-04:00", None),
        (None, "2026-11-01 09:30", "BAD_TIME"),
    ],
)
def test_local_times_need_a_zone_and_must_exist_once(tmp_path, zone, text, reason):
    file = written(tmp_path, "vitals.csv", f"id,time,体温,CRP(mg/dL)\n1,{text},38,\n")
    read = Read(file, [WIDE], {"time_zone": zone} if zone else {"time_zone": "UTC"}) if zone else None
    if zone is None:
        site = site_map({"csv": {"confirmed": True, "tables": [WIDE]}})
        with Account(tmp_path / "quarantine.csv") as account:
            assert list(read_csv(file, site, account)) == []
            assert account.to_dict()["quarantine"][0]["reason"].startswith(
                "BAD_TIME: a time without an offset"
            )
    else:
        assert read.reasons() == ([] if reason is None else [reason])


def test_units_may_stand_in_a_row_below_the_header(tmp_path):
    file = written(
        tmp_path, "v.csv", "export of 2026\n\nid,t,CRP,Plt\n,,mg/dL,×10^4/µL\n1,2026-11-01 09:30,8,14\n"
    )
    table = {
        "file": "v.csv", "layout": "wide", "header_row": 3, "units_row": 4, "patient": "id", "time": "t",
        "columns": {"CRP": "crp", "Plt": "platelets"},
    }  # fmt: skip
    read = Read(file, [table])
    assert read.cells("value", "unit") == [("8", "mg/dL"), ("14", "×10^4/µL")]


def test_empty_cells_repeat_the_cell_above_only_where_the_map_says(tmp_path):
    file = written(
        tmp_path, "vitals.csv", "id,time,体温,CRP(mg/dL)\n1,2026-11-01 00:00,38,\n,2026-11-01 09:30,39,\n"
    )
    assert Read(file, [WIDE]).reasons() == ["NO_PATIENT"]
    assert Read(file, [{**WIDE, "fill_down": ["id"]}]).cells("patient_id") == [("1",), ("1",)]


def test_a_folder_is_read_by_patterns_and_the_other_files_are_counted(tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    text = "患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,CRP,1,mg/dL\n"
    for name in ("labs_1.csv", "sub/labs_2.csv", "readme.md"):
        written(source, name, text)
    written(source, "labs_3.csv", "患者ID,項目,結果,単位\n1,CRP,1,mg/dL\n")
    read = Read(source, [{**LONG, "file": "labs_*.csv"}])
    assert read.cells("position") == [("labs_1.csv row 2",), ("sub/labs_2.csv row 2",)]
    assert read.account["items"]["file"] == {"read": 4, "carried": 2, "not_needed": 1, "quarantined": 1}
    assert read.quarantined[0]["position"] == "labs_3.csv"
    assert "no column '採血日時' in row 1 (4 columns)" in read.quarantined[0]["reason"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "other.csv"}, "names 'other.csv'; no file or sheet of that name came"),
        ({"time": "when"}, "no column 'when' in row 1"),
        ({"header_row": 2}, "in row 2"),
        ({"header_row": 9}, "fewer than 9 lines"),
        ({"encoding": "rot13"}, "encoding 'rot13' is not known"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path, change, message):
    file = written(tmp_path, "labs.csv", "患者ID,採血日時,項目,結果,単位\n1,2026-11-01 09:30,CRP,1,mg/dL\n")
    with pytest.raises(CrsRiskError, match=message):
        Read(file, [{**LONG, **change}])


def test_a_mapped_column_that_stands_twice_is_refused(tmp_path):
    file = written(
        tmp_path, "labs.csv", "患者ID,採血日時,項目,結果,結果,単位\n1,2026-11-01 09:30,CRP,1,2,mg/dL\n"
    )
    with pytest.raises(CrsRiskError, match="'結果' stands there twice"):
        Read(file, [LONG])


@pytest.mark.parametrize("name", ["absent.csv", "labs.xls"])
def test_a_source_that_is_not_there_or_of_another_kind_is_refused(tmp_path, name):
    if name != "absent.csv":
        written(tmp_path, name, "x")
    with pytest.raises(CrsRiskError, match=r"accepted: .*\.csv"):
        Read(tmp_path / name, [{**LONG, "file": name}])


def test_messages_never_hold_a_value_or_an_identifier(tmp_path):
    file = written(
        tmp_path, "labs.csv",
        "患者ID,採血日時,項目,結果,単位\nSECRET1,SECRET2,CRP,1,mg/dL\nSECRET3,2026-11-01 09:30,CRP,#REF!,SECRET4\n",
    )  # fmt: skip
    read = Read(file, [LONG])
    assert len(read.quarantined) == 2
    assert not any("SECRET" in row["reason"] + row["position"] for row in read.quarantined)
    with pytest.raises(CrsRiskError) as caught:
        Read(file, [{**LONG, "header_row": 2}])
    assert "SECRET" not in str(caught.value)


def test_the_maps_of_the_documentation_are_accepted():
    text = (Path(__file__).parents[4] / "docs" / "convert.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    maps = [site_map(tomllib.loads(block)) for block in blocks]
    for one in maps:
        check_targets(one)
    tables = table_maps(maps[1].csv)
    assert [table.layout for table in tables] == ["long", "wide", "wide", "long"]
    every_key = set(TableMap.__dataclass_fields__) | set(ColumnMap.__dataclass_fields__)
    assert [key for key in every_key if f"`{key}`" not in text and f"\n{key} = " not in text] == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"layout": "square"}, "layout 'square'; accepted: wide, long"),
        ({"patien": "x"}, "'patien' not known"),
        ({"columns": {"a": "crpx"}}, "holds 'crpx'; accepted: an analyte key"),
        ({"columns": {"a": {"variable": "crp", "parts": ["sbp"]}}}, "accepted: variable, or parts"),
        ({"value": "x"}, "value belong to the other layout"),
        ({"header_row": 0}, "header_row is no number of a row"),
        ({"units_row": 1}, "units_row is not below header_row"),
        ({"time": ["a", "b", "c"]}, "more than two columns"),
        ({"sexes": {"1": "man"}}, "sexes: 'man'; accepted: female"),
        ({"delimiter": "::"}, "delimiter '::'"),
        ({"decimal": "-"}, "decimal '-'"),
        ({"time_format": "%Q"}, "'%Q' is no format"),
        ({"time_format": "date"}, "'date' is no format"),
        ({"midnight_is_date": "yes"}, "accepted: true or false"),
        ({"missing": 5}, "accepted: a text or a list of texts"),
    ],
)
def test_every_fault_of_a_map_is_told(table, message):
    with pytest.raises(CrsRiskError, match=re.escape(message)):
        table_maps({"confirmed": True, "tables": [{**WIDE, **table}]})


@pytest.mark.parametrize(
    "section", [{}, {"confirmed": False, "tables": [WIDE]}, {"confirmed": "true", "tables": [WIDE]}]
)
def test_a_map_that_nobody_has_confirmed_is_refused(section):
    with pytest.raises(CrsRiskError, match="confirmed is not true"):
        table_maps(section)
