"""Where OMOP tables come from: a folder of files, a DuckDB file or a database; the reader sees tables alone."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_columns import whole_numbers

BATCH_ROWS = 32_768
"""Rows of a source held in memory at once."""

URL = re.compile(r"^[A-Za-z][A-Za-z0-9+._-]*://")
ACCEPTED = (
    "a folder of CSV or Parquet files named by table, a DuckDB file, or a database URL such as "
    "postgresql+psycopg://USER@HOST/DATABASE#SCHEMA"
)

BadRow = Callable[[str, str], None]
"""Takes the position and the reason of a row that can't be read at all."""


class OmopSource(Protocol):
    """Tables of an OMOP database. Names of tables and columns are in lower case."""

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        """Columns by table."""

    def batches(self, table: str, columns: Sequence[str], bad: BadRow) -> Iterator[pa.RecordBatch]:
        """The rows of a table with these columns, in any types, at most `BATCH_ROWS` or so at a time."""

    def matching(
        self, table: str, columns: Sequence[str], key: str, ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of which the column `key`, one of `columns`, is one of the ids."""


def filtered(
    source: OmopSource, table: str, columns: Sequence[str], key: str, ids: Sequence[int]
) -> Iterator[pa.RecordBatch]:
    """`OmopSource.matching` for a source that can only go through all rows."""
    wanted = pa.array(ids, pa.int64())
    place = list(columns).index(key)
    for batch in source.batches(table, columns, ignore_bad_rows):
        found, _ = whole_numbers(batch.column(place), batch.num_rows)
        kept = batch.filter(pc.fill_null(pc.is_in(found, wanted), False))
        if kept.num_rows:
            yield kept


def ignore_bad_rows(_position: str, _reason: str) -> None:
    """For a pass that only looks: the pass that reads tells of bad rows."""


def open_source(source: Path | str, encoding: str) -> AbstractContextManager[OmopSource]:
    """The source behind a path or a URL; leaving the context closes it.

    Args:
        source: see `ACCEPTED`; `#SCHEMA` names the schema of a database.
        encoding: of CSV files.

    Raises:
        CrsRiskError: nothing there that holds OMOP tables.
    """
    if URL.match(str(source)):
        from crsrisk.readers.omop_sql import open_database

        return open_database(str(source))
    path = Path(source)
    if path.is_dir():
        from crsrisk.readers.omop_folder import open_folder

        return open_folder(path, encoding)
    from crsrisk.readers.omop_duckdb import open_duckdb

    return open_duckdb(str(source))


def by_lower_name(names: Sequence[str], where: str) -> Mapping[str, str]:
    """The names as they stand, by their lower-case form.

    Raises:
        CrsRiskError: two names differ in case alone.
    """
    found: dict[str, str] = {}
    for name in names:
        lower = name.strip().lower()
        if lower in found:
            raise CrsRiskError(f"{where}: {lower} stands there twice; accepted: each name once, in any case")
        found[lower] = name
    return found


def split_schema(source: str) -> tuple[str, str]:
    """Address and schema of 'ADDRESS#SCHEMA'; '' without a schema."""
    address, _, schema = source.partition("#")
    return address, schema
