"""Damaged files: nothing is lost without a word, one damaged byte costs few rows, nothing but a clear refusal comes."""

from __future__ import annotations

import datetime as dt
import tempfile
import tomllib
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.propose_map import propose_map
from crsrisk.readers.site_map import SiteMap, site_map
from crsrisk.readers.spreadsheet import read_csv

ROWS = 40
HEADER = "患者ID,採血日時,項目,結果,単位,note\n".encode()
BODY = "".join(
    f'P{n % 3},2026-11-01 {n % 24:02}:30,CRP,{n},mg/dL,"a ""note"", {n}"\n' for n in range(ROWS)
).encode()
LONG = {
    "layout": "long", "patient": "患者ID", "time": "採血日時", "variable": "項目", "value": "結果", "unit": "単位",
}  # fmt: skip


def site(name: str) -> SiteMap:
    table = {**LONG, "file": name}
    return site_map(
        {"time_zone": "Asia/Tokyo", "csv": {"confirmed": True, "delimiter": ",", "tables": [table]}}
    )


def read(content: bytes, name: str) -> tuple[int, dict]:
    """Number of records and the account of a file; raises CrsRiskError alone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        with Account(Path(folder) / "quarantine.csv") as account:
            count = sum(batch.num_rows for batch in read_csv(file, site(name), account))
            account.records(count)
            account.fate("event", count)
            account.verify()
            return count, account.to_dict()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.one_of(st.none(), st.binary(min_size=1, max_size=3)), st.booleans())
def test_damage_at_one_place_costs_at_most_two_rows(place, replacement, insert):
    damaged = BODY[:place] + (replacement or b"") + BODY[place + (0 if insert else 1) :]
    count, account = read(HEADER + damaged, "labs.csv")
    rows = account["items"]["row"]
    assert count == rows["carried"] >= ROWS - 2
    assert rows["read"] == rows["carried"] + rows["not_needed"] + rows["quarantined"]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content):
    for name in ("labs.csv", "labs.tsv", "labs.xlsx"):
        for start in (b"", HEADER):
            try:
                read(start + content, name)
            except CrsRiskError:
                continue


@pytest.fixture(scope="module")
def workbook(tmp_path_factory) -> bytes:
    """A workbook with formulas, dates and text."""
    book = openpyxl.Workbook()
    book.active.append(["患者ID", "採血日時", "項目", "結果", "単位"])
    for n in range(20):
        book.active.append(
            [n, dt.datetime(2026, 11, 1, n, 30), "CRP", n if n % 2 else f"=A{n + 2}*2", "mg/dL"]
        )
    file = tmp_path_factory.mktemp("book") / "labs.xlsx"
    book.save(file)
    return file.read_bytes()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_workbook_is_read_or_refused(workbook, data):
    place = data.draw(st.integers(0, len(workbook) - 1))
    cut = data.draw(st.booleans())
    damaged = workbook[:place] if cut else workbook[:place] + b"\xff\x00" + workbook[place + 2 :]
    try:
        count, account = read(damaged, "labs.xlsx")
    except CrsRiskError:
        return
    assert account["items"]["row"]["read"] >= count


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_a_map_is_proposed_or_refused_for_any_bytes(content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labs.csv"
        file.write_bytes(HEADER + content)
        try:
            text = propose_map(file)
        except CrsRiskError:
            return
    assert tomllib.loads(text)["csv"]["confirmed"] is False
    assert text.encode("utf-8")


def test_a_line_without_an_end_costs_no_memory_and_no_other_row():
    count, account = read(HEADER + BODY + b"x" * (9 << 20) + b"\n" + BODY, "labs.csv")
    assert count == 2 * ROWS
    assert [one["reason"].partition(":")[0] for one in account["quarantine"]] == ["BAD_RECORD"]
