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
    text = _decoded(file, problems)
    if text is None:
        return None
    try:
        header, columns, lines = _plain_csv(text) or _any_csv(text, file.name, problems)
    except csv.Error:  # its text may repeat the row
        problems.add(f"{file.name}: not a CSV table; accepted: comma separated rows, quotes closed")
        return None
    if lines is None or not _header_is_good(file.name, header, problems):
        return None
    return RawTable(name, file.name, dict(zip(header, columns, strict=True)), lines)


def _decoded(file: Path, problems: Problems) -> str | None:
    content = file.read_bytes().removeprefix(BOM)
    try:
        if not content.startswith(UTF16):
            return content.decode("utf-8")
    except UnicodeDecodeError:
        pass  # said below
    accepted = "CSV in UTF-8 (in Excel: 'CSV UTF-8')"
    problems.add(f"{file.name}: not in UTF-8; accepted: {accepted}; save it again so")
    return None


_Csv = tuple[list[str], Sequence[pa.Array], "NDArray[np.int64] | None"]


def _plain_csv(text: str) -> _Csv | None:
    """Header, columns and lines of a table with one row per line and no quotes; None for any other."""
    first, end, rest = text.partition("\n")
    if '"' in text or not end or not rest:
        return None
    header = [cell.strip() for cell in first.split(",")]
    names = [str(place) for place in range(len(header))]
    ragged: list[object] = []

    def stop(row: object) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(rest.encode("utf-8")),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pa_csv.ParseOptions(quote_char=False, invalid_row_handler=stop),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    rows = rest.count("\n") + (not rest.endswith("\n"))
    if ragged or table.num_rows != rows:  # blank lines or old line ends
        return None
    return (
        header,
        [column.combine_chunks() for column in table.columns],
        np.arange(2, rows + 2, dtype=np.int64),
    )


def _any_csv(text: str, file: str, problems: Problems) -> _Csv:
    """Header, columns and lines of any CSV table; the lines are None after noting rows of another length."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    before = 0
    for cells in reader:
        if cells:  # not a blank line
            rows.append(cells)
            lines.append(before + 1)
        before = reader.line_num
    if not rows:
        return [], [], np.zeros(0, dtype=np.int64)
    header = [cell.strip() for cell in rows[0]]
    other = [line for line, cells in zip(lines, rows, strict=True) if len(cells) != len(header)]
    if other:
        came = f"a number of cells other than the {len(header)} of the header"
        problems.add_rows(file, other, "(all)", came, "one cell per column; quote cells that hold commas")
        return header, [], None
    columns = [pa.array([cells[place] for cells in rows[1:]], pa.string()) for place in range(len(header))]
    return header, columns, np.array(lines[1:], dtype=np.int64)


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
