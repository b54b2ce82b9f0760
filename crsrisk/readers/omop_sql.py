"""OMOP tables in a database by its SQLAlchemy URL: one transaction that reads alone, rows in portions.

No message repeats the URL: it may hold a password.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_source import BATCH_ROWS, BadRow, OmopSource, by_lower_name, split_schema
from crsrisk.readers.omop_tables import READ

if TYPE_CHECKING:
    import sqlalchemy

IDS_AT_ONCE = 1_000
"""Ids in one question to the database."""

ACCEPTED = "postgresql+psycopg://USER@HOST/DATABASE#SCHEMA, sqlite:////PATH, or another SQLAlchemy URL"


class _Database:
    """The tables of one schema, through one connection."""

    def __init__(self, connection: "sqlalchemy.Connection", schema: str) -> None:
        import sqlalchemy

        self._connection = connection
        self._schema = schema or None
        inspector = sqlalchemy.inspect(connection)
        tables = [*inspector.get_table_names(self._schema), *inspector.get_view_names(self._schema)]
        self._tables = by_lower_name([table for table in tables if table.lower() in READ], "the database")
        self._columns = {
            lower: by_lower_name(
                [column["name"] for column in inspector.get_columns(table, self._schema)], lower
            )
            for lower, table in self._tables.items()
        }

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {table: tuple(columns) for table, columns in self._columns.items()}

    def batches(self, table: str, columns: Sequence[str], _bad: BadRow) -> Iterator[pa.RecordBatch]:
        return self._select(table, columns)

    def matching(
        self, table: str, columns: Sequence[str], key: str, ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """The database looks them up: the vocabulary has millions of rows and an index."""
        for begin in range(0, len(ids), IDS_AT_ONCE):
            yield from self._select(table, columns, key, ids[begin : begin + IDS_AT_ONCE])

    def _select(
        self, table: str, columns: Sequence[str], key: str = "", ids: Sequence[int] = ()
    ) -> Iterator[pa.RecordBatch]:
        from sqlalchemy import column, select
        from sqlalchemy import table as named_table

        wanted: list[sqlalchemy.ColumnClause[Any]] = [column(self._columns[table][name]) for name in columns]
        place = named_table(self._tables[table], *wanted, schema=self._schema)
        query = select(*place.c)
        if key:
            query = query.where(place.c[self._columns[table][key]].in_(ids))
        with self._connection.execute(query.execution_options(yield_per=BATCH_ROWS)) as result:
            for rows in result.partitions():  # a cursor of the server
                arrays = [_array(cells) for cells in zip(*rows, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


@contextmanager
def open_database(source: str) -> Iterator[OmopSource]:
    """The tables behind a database URL, of the schema after '#' or of the database's default one.

    Raises:
        CrsRiskError: no URL, a missing driver, no connection, or an error of the database.
    """
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    address, schema = split_schema(source)
    try:
        url = sqlalchemy.make_url(address)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise CrsRiskError(f"not a database URL that is known; accepted: {ACCEPTED}") from None
    except ModuleNotFoundError:
        raise CrsRiskError(
            "the driver of the database is not installed; for PostgreSQL: pip install crsrisk[postgres]"
        ) from None
    name = url.get_backend_name()
    options: dict[str, Any] = (
        {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if name == "postgresql" else {}
    )
    try:
        with engine.connect().execution_options(**options) as connection:
            yield _Database(connection, schema)
    except SQLAlchemyError as error:  # its text may repeat the address and values
        raise CrsRiskError(
            f"the {name} database can't be read ({type(error).__name__}); accepted: a database that answers, with "
            "the right to read the OMOP tables; check host, name, password and schema"
        ) from None
    finally:
        engine.dispose()


def _array(cells: tuple[Any, ...]) -> pa.Array:
    """One column of rows; values of several kinds, as SQLite may give them, become text."""
    first = next((cell for cell in cells if cell is not None), None)
    if isinstance(first, Decimal):
        return _as_text(cells)
    kind = None
    if isinstance(first, datetime) and first.tzinfo is None:
        kind = pa.timestamp("us")
    elif isinstance(first, date) and not isinstance(first, datetime):
        kind = pa.date32()
    try:
        return pa.array(cells, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _as_text(cells)


def _as_text(cells: tuple[Any, ...]) -> pa.Array:
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: object) -> str:
    if isinstance(cell, Decimal) and cell.is_finite():
        plain = format(cell, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return str(cell)
