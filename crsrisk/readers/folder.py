"""Writes a cohort folder part by part in bounded memory; each course lies within one part."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crsrisk.cohort_write import therapies_toml
from crsrisk.contract import CONTRACT
from crsrisk.readers.assemble import Part
from crsrisk.tables import write_text
from crsrisk.therapies import Therapy
from crsrisk.times import iso

TIMES = {"index_us": "index_time", "time_us": "time", "available_us": "available_time"}
OPTIONAL = ("grades", "outcomes")


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class _CsvSink:
    """Appends tables to one CSV file."""

    def __init__(self, file: Path) -> None:
        self._sheet = file.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._sheet, lineterminator="\n")
        self._begun = False

    def write(self, table: pa.Table) -> None:
        if not self._begun:
            self._writer.writerow(table.column_names)
            self._begun = True
        columns = [_cells(column) for column in table.columns]
        self._writer.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        self._sheet.close()


class _ParquetSink:
    """Appends tables to one Parquet file, a row group each."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class FolderWriter:
    """A cohort folder that grows; `courses` and `events` counts what is in it."""

    def __init__(self, folder: Path, *, parquet: bool, therapies: Mapping[str, Therapy]) -> None:
        """Begin a folder (contract 1); it must exist."""
        self._folder = folder
        self._parquet = parquet
        self._sinks: dict[str, _Sink] = {}
        self.courses = 0
        self.events = 0
        write_text(folder / "cohort.toml", f"contract = {CONTRACT}\n")
        if therapies:
            write_text(folder / "therapies.toml", therapies_toml(therapies))

    def __enter__(self) -> "FolderWriter":
        """The folder, open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Complete the files."""
        for sink in self._sinks.values():
            sink.close()

    def add(self, part: Part) -> None:
        """Append the tables of some patients."""
        self.courses += len(part.courses)
        self.events += len(part.events)
        tables = {
            "courses": part.courses,
            "events": part.events,
            "grades": part.grades,
            "outcomes": part.outcomes,
        }
        for name, table in tables.items():
            if len(table) or name not in OPTIONAL:
                self._sink(name).write(_arrow(table))

    def _sink(self, name: str) -> _Sink:
        if name not in self._sinks:
            ending = "parquet" if self._parquet else "csv"
            file = self._folder / f"{name}.{ending}"
            self._sinks[name] = _ParquetSink(file) if self._parquet else _CsvSink(file)
        return self._sinks[name]


def _arrow(table: pd.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name in table.columns:
        cells = table[name]
        if name in TIMES:
            moments = cells.to_numpy(dtype=np.int64)
            columns[TIMES[name]] = pa.array(moments).cast(pa.timestamp("us", "UTC"))
        elif pd.api.types.is_numeric_dtype(cells.dtype):
            columns[name] = pa.array(cells.to_numpy(dtype=np.float64), from_pandas=True)
        else:
            columns[name] = pa.array(cells, pa.string())
    return pa.table(columns)


def _cells(column: pa.ChunkedArray) -> Sequence[object]:
    if pa.types.is_timestamp(column.type):
        return iso(column.cast(pa.int64()).to_numpy())
    return [("" if cell is None else cell) for cell in column.to_pylist()]
