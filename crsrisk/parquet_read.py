"""Parquet as columns with the line of each row, batch by batch: a file of any size in bounded memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crsrisk.csv_read import header_is_good
from crsrisk.problems import Problems, named
from crsrisk.raw_table import RawTable, UnreadableTable

BATCH_ROWS = 1 << 16
BUFFER_BYTES = 1 << 20  # read in pieces of this size instead of a group's column at once
REPEATED = ("course_id", "variable", "unit", "comparator")
"""Texts that repeat from row to row: read as a dictionary, without a copy for each row."""


class ParquetTable:
    """A Parquet file, not yet read; its rows lie in groups."""

    def __init__(self, name: str, file: Path, problems: Problems) -> None:
        """Open the file.

        Raises:
            UnreadableTable: it can't be read; the reason is among the problems.
        """
        self.name = name
        self.file = file
        self._problems = problems
        try:
            metadata = pq.read_metadata(file)
            texts = [column.name for column in metadata.schema.to_arrow_schema() if _is_text(column.type)]
            repeated = [column for column in REPEATED if column in texts]
            self._source = pq.ParquetFile(
                file, metadata=metadata, read_dictionary=repeated, buffer_size=BUFFER_BYTES
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
            raise self._unreadable() from None
        self.group_rows = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
        self.schema: pa.Schema = self._source.schema_arrow
        for column in self.schema:
            if pa.types.is_nested(column.type):
                accepted = "accepted: text, numbers, times"
                problems.add(f"{file.name}, column {named(column.name)}: nested values; {accepted}")
                raise UnreadableTable
        if not header_is_good(file.name, self.schema.names, problems):
            raise UnreadableTable

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[RawTable]:
        """Rows in the order of the file, at least one batch, which may be empty.

        Args:
            columns: only these, where they are there; None for all.

        Raises:
            UnreadableTable: the file is damaged; the reason is among the problems.
        """
        if not sum(self.group_rows):
            yield self.nothing()
        for group in range(len(self.group_rows)):
            yield from self.group(group, columns)

    def nothing(self) -> RawTable:
        """All columns without rows."""
        return self._raw(self.schema.empty_table(), 0)

    def group(self, number: int, columns: Sequence[str] | None = None) -> Iterator[RawTable]:
        """Rows of one group as `batches` gives them; none when the group is empty."""
        before = sum(self.group_rows[:number])
        chosen = [name for name in self.schema.names if columns is None or name in columns]
        try:
            for batch in self._source.iter_batches(BATCH_ROWS, [number], chosen, use_threads=False):
                yield self._raw(pa.Table.from_batches([batch]), before)
                before += batch.num_rows
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
            raise self._unreadable() from None

    def _raw(self, rows: pa.Table, before: int) -> RawTable:
        columns: dict[str, pa.Array] = {}
        for name in rows.column_names:
            cells = rows.column(name).combine_chunks()
            if pa.types.is_dictionary(cells.type) and not _is_text(cells.type.value_type):
                cells = cells.dictionary_decode()
            columns[name] = cells
        lines = np.arange(before + 2, before + 2 + rows.num_rows, dtype=np.int64)
        return RawTable(self.name, self.file.name, columns, lines)

    def _unreadable(self) -> UnreadableTable:
        accepted = "Parquet as written by crsrisk, pandas or Arrow"
        self._problems.add(f"{self.file.name}: not a Parquet file; accepted: {accepted}")
        return UnreadableTable()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
