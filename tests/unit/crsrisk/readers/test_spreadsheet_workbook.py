"""Workbooks: dates, percentages, formulas and leading zeros mean what the person at the sheet sees."""

from __future__ import annotations

import builtins
import csv
import datetime as dt
import re
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import site_map
from crsrisk.readers.spreadsheet import read_csv

JST = dt.timezone(dt.timedelta(hours=9))
MORNING = dt.datetime(2026, 11, 1, 9, 30)
TABLE = {
    "file": "book.xlsx", "layout": "wide", "patient": "id", "time": "time",
    "columns": {"SpO2": {"variable": "spo2", "unit": "%"}, "CRP": {"variable": "crp", "unit": "mg/dL"}},
}  # fmt: skip


def read(source: Path, *tables: dict) -> tuple[list[dict], dict, list[dict]]:
    """Records, account and quarantine."""
    site = site_map({"time_zone": "Asia/Tokyo", "csv": {"confirmed": True, "tables": list(tables)}})
    with Account(source.parent / "quarantine.csv") as account:
        table = pa.Table.from_batches(list(read_csv(source, site, account)), SCHEMA)
        account.records(table.num_rows)
        account.fate("event", table.num_rows)
        account.verify()
    with (source.parent / "quarantine.csv").open(encoding="utf-8") as sheet:
        return table.to_pylist(), account.to_dict(), list(csv.DictReader(sheet))


def book(folder: Path, *rows: list, title: str = "Labs", epoch: dt.datetime | None = None) -> Path:
    """A workbook of one sheet."""
    workbook = openpyxl.Workbook()
    if epoch is not None:
        workbook.epoch = epoch
    workbook.active.title = title
    for row in rows:
        workbook.active.append(row)
    workbook.save(folder / "book.xlsx")
    return folder / "book.xlsx"


def formatted(file: Path, **formats: str) -> Path:
    """The workbook with number formats by cell."""
    workbook = openpyxl.load_workbook(file)
    for cell, number_format in formats.items():
        workbook.active[cell].number_format = number_format
    workbook.save(file)
    return file


def utc(us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)


@pytest.mark.parametrize("epoch", [None, CALENDAR_MAC_1904])
def test_dates_of_excel_are_local_times_whatever_day_they_count_from(tmp_path, epoch):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, 0.1], epoch=epoch)
    records, _, _ = read(file, TABLE)
    assert {utc(record["start_us"]) for record in records} == {MORNING.replace(tzinfo=JST)}
    assert [record["value"] for record in records] == ["97", "0.1"]
    assert records[0]["position"] == "book.xlsx sheet 'Labs' row 2 column 'SpO2'"


@pytest.mark.parametrize("epoch", [None, CALENDAR_MAC_1904])
def test_unformatted_serial_numbers_are_times_only_where_the_map_says_so(tmp_path, epoch):
    serial = (MORNING - (epoch or dt.datetime(1899, 12, 30))) / dt.timedelta(days=1)
    file = book(
        tmp_path,
        ["id", "time", "SpO2", "CRP"],
        [1, serial, 97, None],
        [1, int(serial), 96, None],
        epoch=epoch,
    )
    records, _, quarantined = read(file, TABLE)
    assert records == []
    assert {row["reason"].partition(":")[0] for row in quarantined} == {"BAD_TIME"}
    records, _, quarantined = read(file, {**TABLE, "time_format": "excel"})
    assert [utc(record["start_us"]) for record in records] == [MORNING.replace(tzinfo=JST)]
    assert [row["reason"].partition(":")[0] for row in quarantined] == ["DATE_ONLY"]


def test_a_format_without_hours_is_a_date_and_midnight_with_hours_a_time(tmp_path):
    midnight = dt.datetime(2026, 11, 1)
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, midnight, 97, None], [1, midnight, 98, None])
    file = formatted(file, B2="yyyy/mm/dd", B3="yyyy/mm/dd hh:mm")
    records, _, quarantined = read(file, TABLE)
    assert [(record["value"], utc(record["start_us"])) for record in records] == [
        ("98", midnight.replace(tzinfo=JST))
    ]
    assert [row["reason"].partition(":")[0] for row in quarantined] == ["DATE_ONLY"]


def test_date_and_clock_cells_are_joined(tmp_path):
    file = book(
        tmp_path, ["id", "day", "clock", "SpO2", "CRP"], [1, dt.date(2026, 11, 1), dt.time(9, 30), 97, None]
    )
    records, _, _ = read(file, {**TABLE, "time": ["day", "clock"]})
    assert [utc(record["start_us"]) for record in records] == [MORNING.replace(tzinfo=JST)]


def test_a_percentage_is_the_number_that_the_sheet_shows(tmp_path):
    file = book(
        tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 0.975, None], [1, MORNING, "96%", None],
        [1, MORNING, 0.95, None], [1, MORNING, None, 0.2],
    )  # fmt: skip
    file = formatted(file, C2="0.0%", D5="0%")
    records, _, quarantined = read(file, TABLE)
    assert [(record["value"], record["unit"]) for record in records] == [
        ("97.5", "%"),
        ("96", "%"),
        ("0.95", "%"),
    ]
    assert [row["position"] for row in quarantined] == ["book.xlsx sheet 'Labs' row 5 column 'CRP'"]
    fraction = {**TABLE, "columns": {"SpO2": {"variable": "spo2", "unit": "fraction"}}}
    records, _, _ = read(file, fraction)
    assert records[0]["value"] == "0.975"


def test_a_date_in_a_column_of_numbers_is_set_aside(tmp_path):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, dt.date(2026, 1, 2), 1])
    records, account, quarantined = read(file, TABLE)
    assert [record["value"] for record in records] == ["1"]
    assert quarantined[0]["reason"].startswith("BAD_NUMBER: a date in a column of numbers")
    assert account["items"]["cell"] == {"read": 2, "carried": 1, "not_needed": 0, "quarantined": 1}


def calculated(file: Path, cell: str, kind: str, result: str) -> Path:
    """The workbook with the result of a formula, as Excel saves it."""
    copy = file.with_name("calculated.xlsx")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(copy, "w") as target:
        for part in source.infolist():
            content = source.read(part)
            if part.filename == "xl/worksheets/sheet1.xml":
                old = rf'<c r="{cell}"[^>]*>(<f>.*?</f>)<v ?/?>(</v>)?</c>'
                new = rf'<c r="{cell}" t="{kind}">\1<v>{result}</v></c>'
                text, count = re.subn(old, new, content.decode())
                assert count == 1
                content = text.encode()
            target.writestr(part, content)
    copy.replace(file)
    return file


@pytest.mark.parametrize(
    ("kind", "result", "value", "reason"),
    [
        ("n", "1.5", "1.5", None),
        ("e", "#DIV/0!", None, "BAD_NUMBER: a formula that gives an error"),
        ("str", "", None, None),  # =IF(A2="","",...) has an empty text as its result: nothing was measured
    ],
)
def test_a_formula_gives_its_saved_result(tmp_path, kind, result, value, reason):
    file = calculated(
        book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, "=3/2"]), "D2", kind, result
    )
    records, _, quarantined = read(file, TABLE)
    assert [record["value"] for record in records] == ["97", *([] if value is None else [value])]
    assert [row["reason"].partition(";")[0] for row in quarantined] == ([] if reason is None else [reason])


def test_a_formula_that_was_never_calculated_is_not_taken_for_an_empty_cell(tmp_path):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, "=3/2"])
    records, _, quarantined = read(file, TABLE)
    assert [record["value"] for record in records] == ["97"]
    assert quarantined[0]["reason"].startswith("BAD_NUMBER: a formula without its result")


def test_numbers_shown_with_leading_zeros_are_identifiers_with_them(tmp_path):
    file = formatted(
        book(tmp_path, ["id", "time", "SpO2", "CRP"], [123, MORNING, 97, None], [124.0, MORNING, 96, None]),
        A2="00000000",
    )
    records, _, _ = read(file, TABLE)
    assert [record["patient_id"] for record in records] == ["00000123", "124"]


def test_title_rows_merged_cells_and_wrong_dimensions_lose_nothing(tmp_path):
    file = book(
        tmp_path,
        ["Export of the ward"],
        [],
        ["id", "time", "SpO2", "CRP"],
        [1, MORNING, 97, 1],
        [None, MORNING, 96, 2],
    )
    workbook = openpyxl.load_workbook(file)
    workbook.active.merge_cells("A4:A5")
    workbook.save(file)
    copy = tmp_path / "copy.xlsx"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(copy, "w") as target:
        for part in source.infolist():
            content = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:A1"', source.read(part))
            target.writestr(part, content)
    copy.replace(file)
    records, _, _ = read(file, {**TABLE, "header_row": 3, "fill_down": ["id"]})
    assert [(record["patient_id"], record["value"]) for record in records] == [
        ("1", "97"), ("1", "1"), ("1", "96"), ("1", "2"),
    ]  # fmt: skip


def test_one_of_several_sheets_must_be_named(tmp_path):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, None])
    workbook = openpyxl.load_workbook(file)
    workbook.create_sheet("Notes").append(["anything"])
    workbook.save(file)
    with pytest.raises(CrsRiskError, match=r"has 2 sheets; accepted: sheet in the map"):
        read(file, TABLE)
    records, account, _ = read(file, {**TABLE, "sheet": "Lab*"})
    assert len(records) == 1
    assert account["items"]["sheet"]["not_needed"] == 1


def test_two_tables_of_the_map_may_look_at_one_sheet(tmp_path):
    file = book(
        tmp_path, ["id", "time", "SpO2", "CRP", "drawn"], [1, MORNING, 97, 1, MORNING - dt.timedelta(hours=1)]
    )
    vitals = {**TABLE, "columns": {"SpO2": {"variable": "spo2", "unit": "%"}}}
    labs = {**TABLE, "time": "drawn", "columns": {"CRP": {"variable": "crp", "unit": "mg/dL"}}}
    records, account, _ = read(file, vitals, labs)
    assert [record["codes"] for record in records] == ["urn:crsrisk|spo2", "urn:crsrisk|crp"]
    assert set(account["items"]) == {"file", "row", "cell"}  # no column is without a use


@pytest.mark.parametrize(
    "content", [b"", b"not a workbook", b"PK\x03\x04 broken", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 password"]
)
def test_what_is_no_workbook_is_refused(tmp_path, content):
    (tmp_path / "book.xlsx").write_bytes(content)
    with pytest.raises(CrsRiskError, match="can't be opened as a workbook"):
        read(tmp_path / "book.xlsx", TABLE)


def test_a_workbook_with_entities_or_a_broken_sheet_is_refused(tmp_path):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, None])
    for junk in (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><worksheet/>',
        b"<worksheet><sheetData><row><c",
    ):
        copy = tmp_path / "copy.xlsx"
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(copy, "w") as target:
            for part in source.infolist():
                sheet = part.filename == "xl/worksheets/sheet1.xml"
                target.writestr(part, junk if sheet else source.read(part))
        with pytest.raises(CrsRiskError, match="can't be opened as a workbook"):
            read(copy, {**TABLE, "file": "copy.xlsx"})


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    file = book(tmp_path, ["id", "time", "SpO2", "CRP"], [1, MORNING, 97, None])
    real = builtins.__import__

    def without(name, *rest):
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CrsRiskError, match=r"pip install 'crsrisk\[ingest\]'"):
        read(file, TABLE)
