"""The same OMOP data gives the same records from files, DuckDB, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.omop import read_omop
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.writers.omop import write_omop

pytestmark = pytest.mark.xdist_group("omop_sources")

COURSES, SEED = 4, 5
KINDS = {
    pa.int64(): ("BIGINT", "bigint"),
    pa.int32(): ("INTEGER", "integer"),
    pa.float64(): ("DOUBLE", "numeric"),
    pa.date32(): ("DATE", "date"),
    pa.timestamp("us"): ("TIMESTAMP", "timestamp"),
    pa.string(): ("VARCHAR", "varchar"),
}
"""Types of DuckDB and of PostgreSQL, as the scripts of the CDM declare them; there a value is `numeric`."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """A simulated cohort as OMOP tables, with types; one patient has a date without a time, one a vocabulary."""
    folder = tmp_path_factory.mktemp("cohort")
    cohort: Cohort = read_cohort(simulate(COURSES, SEED, absolute_times=True).write(folder / "cohort"))
    write_omop(cohort, folder / "omop", parquet=True)
    found = {file.stem: pq.read_table(file) for file in sorted((folder / "omop").glob("*.parquet"))}
    when = found["measurement"]["measurement_datetime"].to_pylist()
    known = found["measurement"].schema.get_field_index("measurement_datetime")
    found["measurement"] = found["measurement"].set_column(
        known, "measurement_datetime", pa.array([None, *when[1:]], pa.timestamp("us"))
    )
    drugs = found["drug_exposure"]["drug_concept_id"].unique().to_pylist()
    found["concept"] = pa.table(
        {
            "concept_id": pa.array([3020460, 3001122, 77], pa.int32()),
            "concept_name": [
                "C reactive protein [Mass/volume] in Serum or Plasma",
                "Ferritin",
                "some ingredient",
            ],
            "vocabulary_id": ["LOINC", "LOINC", "RxNorm"],
            "concept_code": ["1988-5", "2276-4", "7077"],
            "concept_class_id": ["Lab Test", "Lab Test", "Ingredient"],
        }
    )
    found["concept_ancestor"] = pa.table(
        {
            "ancestor_concept_id": pa.array([77] * len(drugs), pa.int32()),
            "descendant_concept_id": pa.array(drugs, pa.int32()),
        }
    )
    return found


def as_csv(tables: dict[str, pa.Table], folder: Path) -> str:
    for name, table in tables.items():
        pa_csv.write_csv(table, folder / f"{name.upper()}.csv")
    return str(folder)


def as_parquet(tables: dict[str, pa.Table], folder: Path) -> str:
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=1_000)
    return str(folder)


def as_duckdb(tables: dict[str, pa.Table], folder: Path) -> str:
    with duckdb.connect(folder / "cdm.duckdb") as connection:
        for name, table in tables.items():
            columns = ", ".join(f"{field.name} {KINDS[field.type][0]}" for field in table.schema)
            connection.execute(f"create table {name} ({columns})")
            connection.register("arrived", table)
            connection.execute(f"insert into {name} select * from arrived")  # noqa: S608  # our own names
            connection.unregister("arrived")
    return str(folder / "cdm.duckdb")


def as_sqlite(tables: dict[str, pa.Table], folder: Path) -> str:
    address = f"sqlite:///{folder / 'cdm.sqlite'}"
    fill(address, tables, schema=None)
    return address


def fill(address: str, tables: dict[str, pa.Table], schema: str | None) -> None:
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    prefix = "" if schema is None else f"{schema}."
    with engine.begin() as connection:
        for name, table in tables.items():
            columns = ", ".join(f"{field.name} {KINDS[field.type][1]}" for field in table.schema)
            connection.execute(sqlalchemy.text(f"create table {prefix}{name} ({columns})"))
            marks = ", ".join(f":{field.name}" for field in table.schema)
            insert = sqlalchemy.text(f"insert into {prefix}{name} values ({marks})")  # noqa: S608  # our own names
            rows = table.to_pylist()
            if address.startswith("sqlite"):  # which has no type for times
                rows = [{key: plain(cell) for key, cell in row.items()} for row in rows]
            connection.execute(insert, rows)
    engine.dispose()


def plain(cell: object) -> object:
    return cell if isinstance(cell, int | float | str | None) else str(cell)


def records(source: str, tmp_path: Path, site: SiteMap) -> tuple[pa.Table, list[str], dict[str, object]]:
    """Records in the order of their positions, the quarantine, and the items."""
    with Account(tmp_path / "quarantine.csv") as account:
        found = pa.Table.from_batches(list(read_omop(source, site, account)))
        account.records(found.num_rows)
        account.fate("event", found.num_rows)
        account.verify()
        items = dict(account.to_dict()["items"])
    quarantine = (tmp_path / "quarantine.csv").read_text(encoding="utf-8").splitlines()
    return found.sort_by([("position", "ascending"), ("identity", "ascending")]), quarantine, items


@pytest.fixture(scope="module")
def from_csv(
    tables: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pa.Table, list[str], dict[str, object]]:
    folder = tmp_path_factory.mktemp("csv")
    return records(as_csv(tables, folder), tmp_path_factory.mktemp("out"), site())


def site() -> SiteMap:
    return SiteMap(time_zone=ZoneInfo("UTC"))


def test_the_cohort_is_all_there(from_csv):
    found, quarantine, items = from_csv
    assert found.num_rows > 1_000
    assert set(found["kind"].to_pylist()) == {"person", "stay", "procedure", "drug", "result"}
    codes = "".join(found["codes"].to_pylist())
    assert "http://loinc.org|1988-5" in codes
    assert "rxnorm|7077" in codes
    assert [line.split(",")[:2] for line in quarantine[1:]] == [["MEASUREMENT row", "MEASUREMENT 1"]]
    assert items["MEASUREMENT row"]["quarantined"] == 1


@pytest.mark.parametrize("make", [as_parquet, as_duckdb, as_sqlite])
def test_every_file_gives_the_same_records_as_csv(tables, from_csv, tmp_path, make: Callable[..., str]):
    assert records(make(tables, tmp_path), tmp_path, site()) == from_csv


def test_postgresql_gives_the_same_records_as_csv(postgres, tables, from_csv, tmp_path):
    engine = sqlalchemy.create_engine(postgres, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create schema cdm"))
    fill(postgres, tables, schema="cdm")
    assert records(f"{postgres}#cdm", tmp_path, site()) == from_csv


def test_times_with_an_offset_in_postgresql_are_the_same_moments(postgres, tmp_path):
    engine = sqlalchemy.create_engine(postgres, poolclass=sqlalchemy.NullPool)
    statements = (
        "create schema aware",
        "create table aware.person (person_id bigint)",
        "create table aware.measurement (measurement_id bigint, person_id bigint, measurement_concept_id integer, "
        "measurement_datetime timestamptz)",
        "insert into aware.measurement values (1, 1, 3020460, '2024-03-05 10:00:00+09')",
    )
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    found, _, _ = records(f"{postgres}#aware", tmp_path, site())
    assert found["start_us"].to_pylist() == [1_709_600_400_000_000]


def test_a_schema_that_is_not_there_is_refused(postgres, tmp_path):
    with pytest.raises(CrsRiskError, match="no table PERSON"):
        records(f"{postgres}#nowhere", tmp_path, site())


def test_reading_a_database_can_not_change_it(postgres):
    from crsrisk.readers.omop_sql import open_database

    with pytest.raises(CrsRiskError, match="can't be read"), open_database(postgres) as source:
        source._connection.execute(sqlalchemy.text("create table written (x integer)"))
