"""CSV as columns of text with the line of each row, batch by batch: a file of any size in bounded memory.

Arrow reads blocks without quotes and with one row per line; Python's csv module decides about everything else
(docs/decisions/0032). Messages name the file and the line, never the content of a cell.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from crsrisk.problems import Problems, named
from crsrisk.raw_table import RawTable, UnreadableTable

BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BLOCK_BYTES = 8 << 20
BLOCK_ROWS = 100_000
"""Rows of a block that the csv module reads."""


def csv_batches(
    name: str, file: Path, problems: Problems, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[RawTable]:
    """Rows of a CSV file in its order, at least one batch, which may be empty.

    Raises:
        UnreadableTable: the file is no CSV table; the reason is among the problems.
    """
    return _Reader(name, file, problems, block_bytes).batches()


class _Reader:
    """Reads one file once and keeps what passes from block to block."""

    def __init__(self, name: str, file: Path, problems: Problems, block_bytes: int) -> None:
        self._name = name
        self._file = file
        self._problems = problems
        self._block_bytes = block_bytes
        self._header: list[str] = []
        self._ragged: list[int] = []  # lines with another number of cells than the header
        self._line = 0  # lines read so far

    def batches(self) -> Iterator[RawTable]:
        """As `csv_batches`."""
        try:
            with self._file.open("rb") as source:
                yield from self._blocks(source)
        except UnicodeDecodeError:
            accepted = "CSV in UTF-8 (in Excel: 'CSV UTF-8')"
            self._problems.add(f"{self._file.name}: not in UTF-8; accepted: {accepted}; save it again so")
            raise UnreadableTable from None
        except csv.Error:  # its text may repeat the row
            accepted = "comma separated rows, quotes closed"
            self._problems.add(f"{self._file.name}: not a CSV table; accepted: {accepted}")
            raise UnreadableTable from None
        if self._ragged:
            came = f"a number of cells other than the {len(self._header)} of the header"
            accepted = "one cell per column; quote cells that hold commas"
            self._problems.add_rows(self._file.name, self._ragged, "(all)", came, accepted)
            raise UnreadableTable

    def _blocks(self, source: BinaryIO) -> Iterator[RawTable]:
        first = source.read(len(BOM))
        if first.startswith(UTF16):
            raise UnicodeDecodeError("utf-8", first, 0, 1, "UTF-16")
        start = len(BOM) if first == BOM else 0
        source.seek(start)
        while (block := _whole_lines(source, self._block_bytes)) is not None:
            last = block == b"" or b'"' in block  # a cell may reach over the end of the block
            if last:
                source.seek(start)
                found = self._by_rows(io.TextIOWrapper(source, encoding="utf-8", newline=""))
            else:
                start += len(block)
                found = self._unquoted(block)
            for rows in found:
                if not self._ragged:
                    yield rows
            if last:
                break
        if not self._header:
            self._take_header([])

    def _unquoted(self, block: bytes) -> Iterator[RawTable]:
        """The rows of a block in which each cell ends on its line."""
        text = block.decode("utf-8")
        header, rest = self._header, text
        if not header:
            first, _, rest = text.partition("\n")
            header = [cell.strip() for cell in first.split(",")]
        columns = None if any("\r" in cell for cell in header) else _plain(rest, len(header))
        if columns is None:
            yield from self._by_rows(io.StringIO(text, newline=""))
            return
        if not self._header:
            self._take_header(header)
            self._line += 1
        lines = np.arange(self._line + 1, self._line + 1 + len(columns[0]), dtype=np.int64)
        self._line += len(lines)
        yield self._raw(columns, lines)

    def _by_rows(self, text: Iterable[str]) -> Iterator[RawTable]:
        """Rows as the csv module reads them; those of another length than the header are noted."""
        reader = csv.reader(text, strict=True)
        rows: list[list[str]] = []
        lines: list[int] = []
        start, before = self._line, 0
        for cells in reader:
            line, before = start + before + 1, reader.line_num
            if not cells:  # a blank line
                continue
            if not self._header:
                self._take_header([cell.strip() for cell in cells])
            elif len(cells) != len(self._header):
                self._ragged.append(line)
            elif not self._ragged:
                rows.append(cells)
                lines.append(line)
            if len(rows) == BLOCK_ROWS:
                yield self._columns(rows, lines)
                rows, lines = [], []
        self._line = start + before
        if self._header:
            yield self._columns(rows, lines)

    def _columns(self, rows: list[list[str]], lines: list[int]) -> RawTable:
        places = range(len(self._header))
        columns = [pa.array([cells[place] for cells in rows], pa.string()) for place in places]
        return self._raw(columns, np.array(lines, dtype=np.int64))

    def _raw(self, columns: Sequence[pa.Array], lines: NDArray[np.int64]) -> RawTable:
        return RawTable(self._name, self._file.name, dict(zip(self._header, columns, strict=True)), lines)

    def _take_header(self, header: list[str]) -> None:
        if not header_is_good(self._file.name, header, self._problems):
            raise UnreadableTable
        self._header = header


def header_is_good(file: str, header: Sequence[str], problems: Problems) -> bool:
    """Whether the names of the columns can be used; what is wrong with them goes to problems."""
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


def _whole_lines(source: BinaryIO, size: int) -> bytes | None:
    """The next lines of about this size; None at the end, b'' when old line ends (CR alone) need the csv module."""
    block = source.read(size)
    if not block:
        return None
    if block.endswith(b"\n"):
        return block
    rest = source.readline(size)
    if rest.endswith(b"\n") or len(rest) < size:
        return block + rest
    if b"\r" not in block:
        raise csv.Error("no line ends")
    return b""


def _plain(text: str, width: int) -> list[pa.Array] | None:
    """Columns of rows that stand one per line without quotes; None for any others."""
    if not text:
        return None
    names = [str(place) for place in range(width)]
    ragged: list[object] = []

    def stop(row: object) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text.encode("utf-8")),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pa_csv.ParseOptions(quote_char=False, invalid_row_handler=stop),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    rows = text.count("\n") + (not text.endswith("\n"))
    if ragged or table.num_rows != rows:  # blank lines or old line ends
        return None
    return [column.combine_chunks() for column in table.columns]
