"""OMOP tables in a DuckDB file, streamed as Arrow; the file is opened for reading alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_source import (
    ACCEPTED,
    BATCH_ROWS,
    BadRow,
    OmopSource,
    by_lower_name,
    filtered,
    split_schema,
)
from crsrisk.readers.omop_tables import PERSON, READ

MAGIC = b"DUCK"
MAGIC_AT = 8
SQLITE = b"SQLite format 3\x00"
COLUMNS = """
    select table_schema, table_name, column_name from information_schema.columns
    where table_catalog = current_database() order by 1, 2, ordinal_position
"""
Place = tuple[str, str]
"""Catalog and schema; both are named, since a file cdm.duckdb may well have a schema cdm."""


class _DuckDb:
    """The tables of one schema."""

    def __init__(
        self, connection: Any, place: Place, columns: Mapping[str, Sequence[str]], name: str
    ) -> None:
        self._connection = connection
        self._place = place
        self._tables = by_lower_name(list(columns), name)
        self._columns = {
            lower: by_lower_name(columns[table], f"{name}, {lower}") for lower, table in self._tables.items()
        }

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {table: tuple(columns) for table, columns in self._columns.items()}

    def batches(self, table: str, columns: Sequence[str], _bad: BadRow) -> Iterator[pa.RecordBatch]:
        names = ", ".join(_quoted(self._columns[table][column]) for column in columns)
        place = ".".join(_quoted(part) for part in (*self._place, self._tables[table]))
        query = f"select {names} from {place}"  # noqa: S608  # every name is quoted
        for batch in self._connection.sql(query).to_arrow_reader(BATCH_ROWS):
            yield pa.RecordBatch.from_arrays(batch.columns, names=list(columns))

    def matching(
        self, table: str, columns: Sequence[str], key: str, ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        return filtered(self, table, columns, key, ids)


@contextmanager
def open_duckdb(source: str) -> Iterator[OmopSource]:
    """The tables of a DuckDB file, of the schema after '#' or of the only one that has a PERSON table.

    Raises:
        CrsRiskError: no such file, no DuckDB file, the extra `ingest` is missing, or which schema is open.
    """
    address, schema = (source, "") if Path(source).exists() else split_schema(source)
    file = Path(address)
    _check_file(file)
    try:
        import duckdb
    except ModuleNotFoundError:
        raise CrsRiskError(
            f"{file.name}: a DuckDB file needs the package duckdb; install it: pip install crsrisk[ingest]"
        ) from None
    try:  # a view of the file must not read other files
        connection = duckdb.connect(file, read_only=True, config={"enable_external_access": "false"})
    except duckdb.Error:
        raise CrsRiskError(
            f"{file.name}: can't be opened; accepted: a DuckDB file of this version or an older one that no other "
            "program writes to"
        ) from None
    try:
        by_schema: dict[str, dict[str, list[str]]] = {}
        catalog = connection.execute("select current_database()").fetchall()[0][0]
        for place, table, column in connection.execute(COLUMNS).fetchall():
            if table.lower() in READ:
                by_schema.setdefault(place, {}).setdefault(table, []).append(column)
        chosen = _chosen_schema(by_schema, schema, file.name)
        yield _DuckDb(connection, (catalog, chosen), by_schema[chosen], file.name)
    except duckdb.Error as error:  # its text may repeat values
        raise CrsRiskError(
            f"{file.name}: can't be read ({type(error).__name__}); write the file again"
        ) from None
    finally:
        connection.close()


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise CrsRiskError(f"{file.name}: no such file or folder; accepted: {ACCEPTED}")
    with file.open("rb") as opened:
        head = opened.read(MAGIC_AT + len(MAGIC))
    if head.startswith(SQLITE[: len(head)]) and head:
        raise CrsRiskError(f"{file.name}: an SQLite file; give it as a URL: sqlite:////PATH/{file.name}")
    if head[MAGIC_AT:] != MAGIC:
        raise CrsRiskError(f"{file.name}: no DuckDB file; accepted: {ACCEPTED}")


def _chosen_schema(by_schema: Mapping[str, Mapping[str, object]], wanted: str, name: str) -> str:
    if wanted:
        if wanted not in by_schema:
            raise CrsRiskError(f"{name}: no tables in the schema after '#'; there are {', '.join(by_schema)}")
        return wanted
    fitting = [
        schema for schema, tables in by_schema.items() if PERSON in {table.lower() for table in tables}
    ]
    if len(fitting) > 1:
        raise CrsRiskError(
            f"{name}: {' and '.join(fitting)} hold a PERSON table; name one: {name}#{fitting[0]}"
        )
    if not fitting:
        raise CrsRiskError(f"{name}: no PERSON table; accepted: the tables of OMOP CDM 5.4")
    return fitting[0]


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
