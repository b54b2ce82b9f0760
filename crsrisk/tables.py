"""The raw tables of a cohort folder as text columns: CSV or Parquet, with the line each row stands on.

Nothing is interpreted here; messages name the file and the line, never the content of a cell.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crsrisk.problems import Problems, named

BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class RawTable:
    """One table as it stands in the file."""

    name: str
    file: str
    columns: Mapping[str, pa.Array]  # text, or numbers and times as Parquet holds them
    lines: NDArray[np.int64]  # line of each row in the file, the header is line 1
    _texts: dict[str, pa.Array] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def has(self, column: str) -> bool:
        """Whether the table carries the column."""
        return column in self.columns

    def texts(self, column: str) -> pa.Array:
        """The column as text without surrounding blanks; empty cells and absent columns are ''."""
        if column not in self._texts:
            self._texts[column] = self._as_text(column)
        return self._texts[column]

    def is_number(self, column: str) -> bool:
        """Whether Parquet holds the column as numbers."""
        kind = self.columns[column].type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))

    def _as_text(self, column: str) -> pa.Array:
        if column not in self.columns:
            return pa.array([""] * self.rows, pa.string())
        cells = self.columns[column]
        if pa.types.is_floating(cells.type):
            cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
        text = cells.cast(pa.string())
        return pc.utf8_trim_whitespace(pc.fill_null(text, ""))


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
    if file.suffix == ".csv":
        return _read_csv(file, name, problems)
    return _read_parquet(file, name, problems)


def _read_csv(file: Path, name: str, problems: Problems) -> RawTable | None:
    content = file.read_bytes()
    content = content.removeprefix(BOM)
    try:
        if content.startswith(UTF16):
            raise UnicodeDecodeError("utf-16", content[:2], 0, 2, "byte order mark")
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        problems.add(
            f"{file.name}: not in UTF-8; accepted: CSV in UTF-8 (in Excel: 'CSV UTF-8'); save it again so"
        )
        return None
    header = next(csv.reader(io.StringIO(text[: text.find("\n") + 1] or text)), [])
    header = [cell.strip() for cell in header]
    if not _header_is_good(file.name, header, problems):
        return None
    ragged: list[Any] = []

    def skip(row: Any) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
            parse_options=pa_csv.ParseOptions(newlines_in_values=b'"' in content, invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:  # its text repeats the row
        if content.count(b"\n") > 1:
            problems.add(f"{file.name}: not a CSV table; accepted: comma separated rows, quotes closed")
            return None
        table = pa.table({column: pa.array([], pa.string()) for column in header})
    if ragged:
        lines = np.array([line for line, cells in _walk(text) if cells != len(header)], dtype=np.int64)
        came = f"a number of cells other than the {len(header)} of the header"
        problems.add_rows(
            file.name, lines, "(all)", came, "one cell per column; quote cells that hold commas"
        )
        return None
    columns = {column: table.column(column).combine_chunks() for column in header}
    return RawTable(name, file.name, columns, _line_numbers(text, table.num_rows))


def _header_is_good(file: str, header: Sequence[str], problems: Problems) -> bool:
    if not any(header):
        problems.add(f"{file}: no header; accepted: a first line with the names of the columns")
        return False
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        problems.add(f"{file}: the header is not separated by commas; accepted: commas between the columns")
        return False
    for column in sorted({column for column in header if header.count(column) > 1}):
        problems.add(f"{file}: the column {named(column)} stands there twice; accepted: each column once")
        return False
    return True


def _line_numbers(text: str, rows: int) -> NDArray[np.int64]:
    lines = text.count("\n") + (not text.endswith("\n"))
    if lines == rows + 1:
        return np.arange(2, rows + 2, dtype=np.int64)
    numbers = [line for line, _ in _walk(text)]  # blank lines, or cells with a line break
    return np.array(numbers, dtype=np.int64)


def _walk(text: str) -> list[tuple[int, int]]:
    """Line on which each row after the header begins, and its number of cells; blank lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""))
    next(reader, None)
    walked: list[tuple[int, int]] = []
    before = reader.line_num
    for cells in reader:
        if cells:
            walked.append((before + 1, len(cells)))
        before = reader.line_num
    return walked


def _read_parquet(file: Path, name: str, problems: Problems) -> RawTable | None:
    try:
        table = pq.ParquetFile(file).read()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        problems.add(
            f"{file.name}: not a Parquet file; accepted: Parquet as written by crsrisk, pandas or Arrow"
        )
        return None
    columns: dict[str, pa.Array] = {}
    for column in table.column_names:
        cells = table.column(column).combine_chunks()
        if pa.types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        if pa.types.is_nested(cells.type):
            problems.add(
                f"{file.name}, column {named(column)}: nested values; accepted: text, numbers, times"
            )
            return None
        columns[column] = cells
    if not _header_is_good(file.name, list(columns), problems):
        return None
    return RawTable(name, file.name, columns, np.arange(2, table.num_rows + 2, dtype=np.int64))


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
