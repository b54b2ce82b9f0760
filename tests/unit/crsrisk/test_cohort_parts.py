"""A cohort folder read part by part tells the same as the folder read at once."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.cohort_parts import CohortParts, Plan, open_parts, plan_parts
from crsrisk.csv_read import csv_batches
from crsrisk.errors import CohortError, CrsRiskError
from crsrisk.ledger import Account, Ledger
from crsrisk.problems import Problems

NONE = np.zeros(0, dtype=np.int64)


def test_problems_of_parts_are_the_sentences_of_the_whole_in_its_order():
    whole, first, second = Problems(), Problems(), Problems()
    whole.add_rows("events.csv", [7, 3, 9], "hours", "no number", "a number")
    whole.add_rows("events.csv", [4], "time", "no time", "a time")
    whole.add("courses: wrong")
    first.add_rows("events.csv", NONE, "hours", "no number", "a number")
    first.add_rows("events.csv", [4], "time", "no time", "a time")
    first.add("courses: wrong")
    second.add_rows("events.csv", [7, 3, 9], "hours", "no number", "a number")
    second.add_rows("events.csv", NONE, "time", "no time", "a time")
    second.add("courses: wrong")
    merged = Problems()
    for part in (second, first):
        merged.merge(part.noted())
    other_way = Problems()
    for part in (first, second):
        other_way.merge(part.noted())
    assert merged.sentences == other_way.sentences == whole.sentences
    assert whole.sentences[0].startswith(
        "events.csv, row 3, column hours: no number (and 2 more rows like it)"
    )


def ledger_of(rows: list[int], reason: str) -> Ledger:
    ledger = Ledger()
    ledger.reject("events", np.array(rows), ["unit"] * len(rows), ["crp"] * len(rows), [reason] * len(rows))
    ledger.unused("events", "variable", "shoe_size", 2)
    ledger.adjust("events", "available_hours", "moved", 1)
    ledger.count("events", 10, rejected=len(rows), unused=2, duplicates=1)
    return ledger


def test_accounts_of_parts_add_up_and_survive_as_json():
    account = Account()
    for ledger in (ledger_of([8, 12], "MISSING_UNIT"), ledger_of([5], "MISSING_UNIT"), ledger_of([9], "BAD")):
        account.add(Account.from_dict(json.loads(json.dumps(ledger.account().to_dict()))))
    assert account.to_dict() == {
        "counts": {"events": {"rows": 30, "used": 17, "rejected": 4, "unused": 6, "duplicates": 3}},
        "rejected": [
            {
                "table": "events",
                "column": "unit",
                "variable": "crp",
                "reason": "MISSING_UNIT",
                "rows": 3,
                "row": 5,
            },
            {"table": "events", "column": "unit", "variable": "crp", "reason": "BAD", "rows": 1, "row": 9},
        ],
        "unused": [{"table": "events", "kind": "variable", "variable": "shoe_size", "rows": 6}],
        "adjusted": [{"table": "events", "column": "available_hours", "reason": "moved", "rows": 3}],
    }


def test_an_account_stays_small_when_every_row_has_a_reason_of_its_own():
    account = Account()
    for part in range(3):
        ledger = Ledger()
        rows = np.arange(1500) + 1500 * part
        units = [f"UNKNOWN_UNIT: {row}" for row in rows.tolist()]
        ledger.reject("events", rows, ["unit"] * 1500, ["crp"] * 1500, units)
        for row in rows.tolist():
            ledger.unused("events", "variable", f"note {row}", 1)
        account.add(ledger.account())
    told = account.to_dict()
    assert sum(row["rows"] for row in told["rejected"]) == sum(row["rows"] for row in told["unused"]) == 4500
    assert len(told["rejected"]) == len(told["unused"]) == 1001
    assert told["rejected"][0] == {
        "table": "events", "column": "unit", "variable": "(others)", "reason": "UNKNOWN_UNIT: (others)",
        "rows": 3500, "row": 1000,
    }  # fmt: skip


ITCH = (
    '[my-cart]\nname = "My cells"\nclass = "cart"\ntargets = ["CD22"]\nsetting = "heme"\nsource = "trial"\n'
)
COURSES = "course_id,patient_id,therapy\nc1,p1,axi-cel_LBCL3L\nc2,p2,axi-cel_LBCL3L\n"
EVENTS = "course_id,hours,variable,value,unit\n"
FORMS = ("csv", "quoted csv", "parquet in order", "parquet scattered")


def messy_tables() -> dict[str, pd.DataFrame]:
    """Courses in no order with 12 to 40 events each, among them most kinds of events that are not used."""
    rng = np.random.default_rng(5)
    ids = [f"c{number:02d}" for number in rng.permutation(30)]
    courses = pd.DataFrame(
        {
            "course_id": ids,
            "patient_id": [f"p{name[1:]}" for name in ids],
            "therapy": ["my-cart" if number % 3 else "glofit_DLBCL" for number in range(30)],
            "age": ["61.5", "old", "", "140"] * 7 + ["50", "60"],
            "shoe_size": "42",
        }
    )
    kinds = [
        ("crp", "8.2", "mg/dL", ""), ("crp", "<0.5", "mg/L", ""), ("crp", "1,200", "furlong", ""),
        ("ferritin", "1200", "ng/mL", ">"), ("ldh", "high", "U/L", ""), ("ldh", "", "U/L", ""),
        ("temperature", "39.1", "Cel", ""), ("temperature", "102.2", "[degF]", ""),
        ("platelets", "99999", "10*3/uL", ""), ("aura", "5", "", ""), ("", "3", "mg/L", ""),
        ("bsab_dose", "2.5", "mg", ""), ("heart_rate", "99", "/min", "?"),
    ]  # fmt: skip
    rows = []
    for name in ids:
        for hours in rng.integers(-48, 200, rng.integers(12, 40)).tolist():
            variable, value, unit, comparator = kinds[rng.integers(len(kinds))]
            known = hours / 2 + rng.integers(-1, 3)
            rows.append((name, hours / 2, known, variable, value, unit, comparator, f"s{len(rows) % 90}"))
    rows += rows[::7]  # duplicates
    columns = [
        "course_id",
        "hours",
        "available_hours",
        "variable",
        "value",
        "unit",
        "comparator",
        "source_id",
    ]
    events = pd.DataFrame(rows, columns=columns)
    events["nurse"] = "x"
    some = ids[:20]
    grades = pd.DataFrame(
        {"course_id": some * 3, "hours": np.arange(60), "grade": 1, "system": "ASTCT", "note": ""}
    )
    peaks = [str(number % 5) if number % 7 else "" for number in range(20)]
    outcomes = pd.DataFrame({"course_id": some, "peak_grade": peaks, "system": "ASTCT"})
    return {"courses": courses, "events": events, "grades": grades, "outcomes": outcomes}


def write_folder(folder: Path, form: str, tables: dict[str, pd.DataFrame], seed: int = 1) -> Path:
    """The tables as files; `in order` sorts them by course, all others come in no order."""
    folder.mkdir()
    (folder / "therapies.toml").write_text(ITCH, encoding="utf-8")
    for name, table in tables.items():
        rows = table.sample(frac=1, random_state=seed)
        if form == "parquet in order":
            rows = rows.sort_values("course_id", kind="stable")
        if form.startswith("parquet"):
            cells = pa.Table.from_pandas(rows, preserve_index=False)
            pq.write_table(cells, folder / f"{name}.parquet", row_group_size=20)
        else:
            quoting = csv.QUOTE_ALL if form == "quoted csv" else csv.QUOTE_MINIMAL
            rows.to_csv(folder / f"{name}.csv", index=False, quoting=quoting)
    return folder


def read_parts(path: Path, rows_per_part: int) -> tuple[list[Cohort], Account, CohortParts]:
    """All parts of a folder, planned and then opened again from JSON, as a worker does."""
    with tempfile.TemporaryDirectory() as split:
        ledger = Ledger()
        planned = plan_parts(path, Path(split), ledger, rows_per_part=rows_per_part)
        parts = open_parts(Plan.from_dict(json.loads(json.dumps(planned.plan.to_dict()))))
        account, problems, cohorts = ledger.account(), Problems(), []
        for number in range(len(parts)):
            part, of_part = Problems(), Ledger()
            cohort = parts.read(number, part, of_part)
            problems.merge(part.noted())
            account.add(of_part.account())
            if cohort is not None:
                cohorts.append(cohort)
        if problems.sentences:
            raise problems.error()
        return cohorts, account, parts


def joined(tables: Iterable[pd.DataFrame | None]) -> pd.DataFrame:
    return pd.concat([table for table in tables if table is not None], ignore_index=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows_per_part", [1, 700, 1_000_000])
def test_the_parts_hold_what_the_whole_folder_holds(tmp_path, form, rows_per_part):
    path = write_folder(tmp_path / "cohort", form, messy_tables())
    whole = read_cohort(path)
    cohorts, account, parts = read_parts(path, rows_per_part)
    assert len(parts) == {1: 30, 700: len(parts), 1_000_000: 1}[rows_per_part]
    assert 1 < len(parts) < 30 or rows_per_part != 700
    for name in ("courses", "events", "unused_events", "grades", "outcomes"):
        in_parts, at_once = joined(getattr(part, name) for part in cohorts), getattr(whole, name)
        if name == "unused_events":  # as they stand in the file
            in_parts = in_parts.sort_values("row", ignore_index=True)
        pd.testing.assert_frame_equal(in_parts, at_once)
    assert account.to_dict() == whole.ledger.account().to_dict()
    kinds = ("events", "rejected"), ("events", "unused"), ("events", "duplicates"), ("outcomes", "rejected")
    assert all(account.to_dict()["counts"][table][kind] > 0 for table, kind in kinds)
    assert all(part.therapies == whole.therapies and part.path == whole.path for part in cohorts)
    assert joined(part.rejected for part in cohorts).sort_values(["table", "row"]).to_numpy().tolist() == (
        whole.rejected.query("table != 'courses'").sort_values(["table", "row"]).to_numpy().tolist()
    )


def test_rows_in_order_are_read_where_they_stand_and_others_are_split(tmp_path):
    tables = messy_tables()
    plans = {
        form: read_parts(write_folder(tmp_path / form, form, tables), 200)[2].plan.tables["events"]
        for form in FORMS
    }
    assert {form: plan.split is None for form, plan in plans.items()} == {
        "csv": False, "quoted csv": False, "parquet in order": True, "parquet scattered": False,
    }  # fmt: skip
    groups = [group for part in plans["parquet in order"].reads for group, _ in part]
    assert groups == sorted(groups)


def test_a_part_ends_with_a_group_of_rows_where_one_is_near(tmp_path):
    rows = "".join(f"c{course:02d},{hour},crp,1,mg/L\n" for course in range(40) for hour in range(50))
    names = [f"c{number:02d}" for number in range(40)]
    courses = pd.DataFrame({"course_id": names, "patient_id": names, "therapy": "axi-cel_LBCL3L"})
    events = pd.read_csv(io.StringIO(EVENTS + rows))
    path = tmp_path / "cohort"
    path.mkdir()
    courses.to_parquet(path / "courses.parquet", index=False)
    pq.write_table(pa.Table.from_pandas(events), path / "events.parquet", row_group_size=500)
    plan = plan_parts(path, tmp_path, Ledger(), rows_per_part=1000).plan
    assert plan.stops == [10, 20, 30, 40]
    assert plan.tables["events"].reads == [[[0, 500]], [[1, 500]], [[2, 500]], [[3, 500]]]


BAD = {
    "hours that are none": {"events.csv": EVENTS + "c1,x,crp,1,mg/L\nc2,,crp,1,mg/L\nc1,2,crp,1,mg/L\nc2,y,,,\n"},
    "an unknown course": {"events.csv": EVENTS + "c1,1,crp,1,mg/L\nc9,x,crp,1,mg/L\nc2,y,crp,1,mg/L\n"},
    "no course_id": {"events.csv": "hours,variable,value,unit\nx,crp,1,mg/L\n"},
    "neither time nor hours": {"events.csv": "course_id,variable,value\nc1,crp,1\nc7,crp,1\n"},
    "ragged rows": {"events.csv": EVENTS + "c1,1,crp,1,mg/L\nc1,x\nc2,1\n", "grades.csv": "course_id,hours\nc1,1\n"},
    "an open quote": {"events.csv": EVENTS + 'c1,1,crp,"1,mg/L\n'},
    "another encoding": {"events.csv": EVENTS.encode() + "c1,1,crp,1,µg\n".encode("cp932", "replace") + b"\xff\n"},
    "two headers": {"events.csv": "course_id,hours,hours,variable,value,unit\nc1,1,1,crp,1,mg/L\n"},
    "an empty file": {"events.csv": ""},
    "a damaged Parquet file": {"events.parquet": b"PAR1 nothing PAR1", "outcomes.csv": "course_id\n"},
    "an outcome that comes twice": {
        "events.csv": EVENTS + "c1,z,crp,1,mg/L\n",
        "outcomes.csv": "course_id,peak_grade,system\nc1,2,ASTCT\nc2,9,ASTCT\nc1,3,ASTCT\n",
    },
    "problems in every table": {
        "events.csv": EVENTS + "c1,1,crp,1,mg/L\nc1,z,crp,1,mg/L\nc9,z,crp,1,mg/L\n",
        "grades.csv": "course_id,hours,grade,system\nc1,1,7,ASTCT\nc2,z,1,ASTCT\nc8,1,1,\n",
        "outcomes.csv": "course_id,peak_grade,system\nc1,2,ASTCT\nc2,9,ASTCT\nc7,3,ASTCT\nc1,2,ASTCT\n",
        "therapies.toml": "name = 5\n",
    },
    "no such therapy": {"courses.csv": COURSES.replace("axi-", "oxi-"), "events.csv": EVENTS + "c1,z,crp,1,g\n"},
    "no courses": {"courses.csv": "", "events.csv": EVENTS + "c1,z\n"},
    "times without index_time": {"events.csv": EVENTS.replace("hours", "time") + "c1,2026-01-01,crp,1,mg/L\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_told_as_when_it_is_read_at_once(tmp_path, name):
    for file, content in {"courses.csv": COURSES, **BAD[name]}.items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CohortError) as at_once:
        read_cohort(tmp_path)
    with pytest.raises(CohortError) as in_parts:
        read_parts(tmp_path, 1)
    assert in_parts.value.problems == at_once.value.problems


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CohortError, match="'nowhere': no such folder"):
        plan_parts(tmp_path / "nowhere", tmp_path, Ledger())


def test_a_folder_that_changes_under_the_reader_is_refused(tmp_path):
    path = write_folder(tmp_path / "cohort", "parquet in order", messy_tables())
    parts = plan_parts(path, tmp_path, Ledger(), rows_per_part=500)
    assert parts.read(0, Problems(), Ledger()) is not None
    with (path / "events.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(CrsRiskError, match=r"cohort: events.parquet changed while it was being read"):
        parts.read(1, Problems(), Ledger())
    with pytest.raises(CrsRiskError, match=r"events.parquet changed"):
        open_parts(parts.plan)


def test_a_course_without_rows_is_part_of_its_part(tmp_path):
    (tmp_path / "courses.csv").write_text(COURSES, encoding="utf-8")
    (tmp_path / "events.csv").write_text(EVENTS + "c2,1,crp,5,mg/L\n", encoding="utf-8")
    cohorts, account, _ = read_parts(tmp_path, 1)
    assert [part.courses["course_id"].tolist() for part in cohorts] == [["c1"], ["c2"]]
    assert [len(part.events) for part in cohorts] == [0, 1]
    assert account.to_dict()["counts"]["events"]["used"] == 1


def test_a_cohort_of_courses_alone_has_parts_too(tmp_path):
    (tmp_path / "courses.csv").write_text(COURSES, encoding="utf-8")
    cohorts, account, _ = read_parts(tmp_path, 1)
    assert len(cohorts) == 2
    assert list(account.to_dict()["counts"]) == ["courses"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted_row", [None, 0, 500, 999])
def test_csv_is_the_same_in_blocks_of_any_size(tmp_path, ending, quoted_row):
    rows = [f"c{number % 9},{number},crp,{number},mg/L" for number in range(1000)]
    if quoted_row is not None:
        rows[quoted_row] = f'c1,{quoted_row},crp,"1,000","a{ending}b""c"'
    rows.insert(300, "")
    file = tmp_path / "events.csv"
    file.write_bytes("".join(row + ending for row in [EVENTS.strip(), *rows]).encode())
    found = [
        list(csv_batches("events", file, Problems(), block_bytes=size)) for size in (100, 5_000, 1 << 20)
    ]
    cells = [
        [
            row
            for table in tables
            for row in zip(*(c.to_pylist() for c in table.columns.values()), strict=True)
        ]
        for tables in found
    ]
    lines = [[line for table in tables for line in table.lines.tolist()] for tables in found]
    assert cells[0] == cells[1] == cells[2]
    assert lines[0] == lines[1] == lines[2]
    assert len(cells[0]) == 1000
    if quoted_row is None:
        assert lines[0][298:302] == [300, 301, 303, 304]  # row 301 follows the blank line
    expected = list(csv.reader(io.StringIO(file.read_bytes().decode(), newline="")))
    assert [list(row) for row in cells[0]] == [row for row in expected[1:] if row]
