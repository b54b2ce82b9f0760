"""Which source is meant, and what is said when it can't be read."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_source import ignore_bad_rows, open_source

PASSWORD = "hunter2"  # noqa: S105  # of nobody


def persons(source: Path | str) -> list[dict[str, object]]:
    with open_source(source, "utf-8") as opened:
        columns = opened.tables["person"]
        batches = opened.batches("person", columns, ignore_bad_rows)
        return [row for batch in batches for row in batch.to_pylist()]


def duckdb_file(tmp_path: Path, *statements: str) -> Path:
    file = tmp_path / "cdm.duckdb"
    with duckdb.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)
    return file


def test_a_duckdb_file_is_read_with_its_names_in_any_case(tmp_path):
    file = duckdb_file(tmp_path, 'create table "PERSON" as select 1234567890123 as "Person_ID"')
    assert persons(file) == [{"person_id": 1234567890123}]


def test_the_schema_of_a_duckdb_file_is_found_by_its_person_table(tmp_path):
    # the file cdm.duckdb is itself called cdm
    file = duckdb_file(tmp_path, "create schema cdm.cdm", "create table cdm.cdm.person as select 1 as person_id",
                       "create table notes as select 2 as x")  # fmt: skip
    assert persons(file) == [{"person_id": 1}]


def test_two_schemas_are_a_question_and_a_fragment_the_answer(tmp_path):
    file = duckdb_file(tmp_path, "create schema old", "create table old.person as select 1 as person_id",
                       "create schema new", "create table new.person as select 2 as person_id")  # fmt: skip
    with pytest.raises(CrsRiskError, match=r"new and old hold a PERSON table; name one: cdm.duckdb#new"):
        persons(file)
    assert persons(f"{file}#old") == [{"person_id": 1}]
    with pytest.raises(CrsRiskError, match="no tables in the schema after '#'"):
        persons(f"{file}#other")


def test_a_view_of_a_duckdb_file_can_not_read_another_file(tmp_path):
    (tmp_path / "secret.csv").write_text("person_id\n1\n", encoding="utf-8")
    file = duckdb_file(tmp_path, f"create view person as from read_csv('{tmp_path / 'secret.csv'}')")
    with pytest.raises(CrsRiskError, match=r"cdm.duckdb: can't be read"):
        persons(file)


def test_a_duckdb_file_without_persons_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match=r"cdm.duckdb: no PERSON table"):
        persons(duckdb_file(tmp_path, "create table x as select 1 as y"))


def test_without_duckdb_the_extra_is_named(tmp_path, monkeypatch):
    file = duckdb_file(tmp_path, "create table person as select 1 as person_id")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(CrsRiskError, match=r"pip install crsrisk\[ingest\]"):
        persons(file)


def test_a_file_that_only_looks_like_duckdb_is_refused(tmp_path):
    file = tmp_path / "cdm.duckdb"
    file.write_bytes(b"\0" * 8 + b"DUCK" + b"\xff" * 5_000)
    with pytest.raises(CrsRiskError, match=r"cdm.duckdb: can't be opened"):
        persons(file)


@pytest.mark.parametrize("content", [b"", b"person_id\n1\n", b"PK\x03\x04"])
def test_any_other_file_is_refused_with_what_is_accepted(tmp_path, content):
    (tmp_path / "cdm.bin").write_bytes(content)
    with pytest.raises(CrsRiskError, match=r"cdm.bin: no DuckDB file; accepted: a folder of CSV or Parquet"):
        persons(tmp_path / "cdm.bin")


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="nowhere: no such file or folder"):
        persons(tmp_path / "nowhere")


def sqlite_file(tmp_path: Path) -> Path:
    file = tmp_path / "cdm.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table Person (person_id integer, year_of_birth)")
        connection.executemany("insert into Person values (?, ?)", [(1, 1961), (2, "unknown"), (3, None)])
        connection.commit()
    return file


def test_an_sqlite_file_is_given_as_a_url(tmp_path):
    file = sqlite_file(tmp_path)
    with pytest.raises(CrsRiskError, match=r"give it as a URL: sqlite:////PATH/cdm\.sqlite"):
        persons(file)
    assert persons(f"sqlite:///{file}") == [
        {"person_id": 1, "year_of_birth": "1961"},
        {"person_id": 2, "year_of_birth": "unknown"},  # a text in a column of numbers arrives as it stands
        {"person_id": 3, "year_of_birth": None},
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/cdm", "the postgresql database can't be read"),
        (
            f"postgresql+psycopg://me@127.0.0.1:1/cdm?password={PASSWORD}",
            "the postgresql database can't be read",
        ),
        (f"nosuch://me:{PASSWORD}@host/cdm", "not a database URL that is known"),
        (f"postgresql+psycopg://me:{PASSWORD}@host:port/cdm", "not a database URL that is known"),
        (f"postgresql+pg8000://me:{PASSWORD}@host/cdm", r"pip install crsrisk\[postgres\]"),
    ],
)
def test_no_message_about_a_database_repeats_its_password(url, message):
    with pytest.raises(CrsRiskError, match=message) as error:
        persons(url)
    shown = "".join(str(part) for part in (error.value, repr(error.value), error.value.__cause__))
    assert PASSWORD not in shown
    assert error.value.__suppress_context__
