"""The tables of a cohort folder in their files: which file, read raw as CSV or Parquet, and written."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crsrisk.csv_read import csv_batches
from crsrisk.parquet_read import ParquetTable
from crsrisk.problems import Problems
from crsrisk.raw_table import RawTable, UnreadableTable, joined

__all__ = ["RawTable", "find_table", "read_table", "table_batches", "write_file", "write_text"]


def find_table(folder: Path, name: str, problems: Problems) -> Path | None:
    """The file of a table, None when there is none; both forms at once are a problem."""
    present = [folder / f"{name}{ending}" for ending in (".csv", ".parquet")]
    present = [file for file in present if file.is_file()]
    if len(present) > 1:
        problems.add(
            f"{name}: both {present[0].name} and {present[1].name} are there; accepted: one of the two; "
            f"remove the one that is out of date"
        )
        return None
    return present[0] if present else None


def read_table(file: Path, name: str, problems: Problems) -> RawTable | None:
    """The table in a .csv or .parquet file, None after noting why it can't be read."""
    try:
        return joined(list(table_batches(file, name, problems)))
    except UnreadableTable:
        return None


def table_batches(
    file: Path, name: str, problems: Problems, columns: Sequence[str] | None = None
) -> Iterator[RawTable]:
    """Rows of a .csv or .parquet file in its order, at least one batch, which may be empty.

    Args:
        file: the file.
        name: of the table.
        problems: takes what is wrong with the file.
        columns: those that are needed, None for all; a CSV table comes with all in any case.

    Raises:
        UnreadableTable: the file can't be read; the reason is among the problems.
    """
    if file.suffix == ".csv":
        return csv_batches(name, file, problems)
    return ParquetTable(name, file, problems).batches(columns)


def write_file(file: Path, columns: Mapping[str, Sequence[Any]], *, parquet: bool) -> None:
    """Write columns as CSV or Parquet, onto the disk when this returns. None and '' are empty cells."""
    if parquet:
        with file.open("wb") as sink:
            pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), sink)
            _to_disk(sink)
        return
    with file.open("w", encoding="utf-8", newline="") as sheet:
        writer = csv.writer(sheet, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        _to_disk(sheet)


def write_text(file: Path, text: str) -> None:
    """Write a small text file; the content is on the disk when this returns."""
    with file.open("w", encoding="utf-8", newline="") as sheet:
        sheet.write(text)
        _to_disk(sheet)


def _to_disk(sink: Any) -> None:
    sink.flush()
    os.fsync(sink.fileno())
