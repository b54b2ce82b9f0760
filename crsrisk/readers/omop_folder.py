"""OMOP tables as CSV or Parquet files: `measurement.csv`, `MEASUREMENT.csv.gz`, `Measurement.parquet`, or parts.

A table may be a folder of that name with parts in it, as Spark writes them. CSV is streamed block by block; a row of
another length or in another encoding is set aside, the rest arrives.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_source import BATCH_ROWS, BadRow, OmopSource, by_lower_name, filtered
from crsrisk.readers.omop_tables import READ

ENDINGS = (".csv", ".csv.gz", ".parquet")
BLOCK_BYTES = 4 << 20
DELIMITERS = (",", "\t", ";", "|")
BOM = "\ufeff"
UTF_8 = ("utf-8", "utf8", "utf-8-sig")

BAD_ENCODING = "BAD_ENCODING: not in UTF-8; accepted: UTF-8, or the encoding that the site map names"
RAGGED = "BAD_RECORD: a number of cells other than the header has; accepted: one cell per column, quoted where needed"


@dataclass(frozen=True)
class _CsvForm:
    """How a CSV file is written."""

    header: tuple[str, ...]
    delimiter: str
    encoding: str


class _Folder:
    """Files by table."""

    def __init__(self, folder: Path, encoding: str) -> None:
        self._encoding = encoding or "utf-8"
        self._files = _files_by_table(folder)
        self._names = {table: self._header(files) for table, files in self._files.items()}

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {table: tuple(names) for table, names in self._names.items()}

    def batches(self, table: str, columns: Sequence[str], bad: BadRow) -> Iterator[pa.RecordBatch]:
        for file in self._files[table]:
            names = by_lower_name(_columns_of(file, self._encoding), file.name)
            missing = [column for column in columns if column not in names]
            if missing:
                raise CrsRiskError(f"{file.name}: no column {', '.join(missing)}, which other parts have")
            wanted = [names[column] for column in columns]
            read = _parquet if file.suffix == ".parquet" else _csv
            for batch in read(file, wanted, self._encoding, bad):
                yield pa.RecordBatch.from_arrays(batch.columns, names=list(columns))

    def matching(
        self, table: str, columns: Sequence[str], key: str, ids: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        return filtered(self, table, columns, key, ids)

    def _header(self, files: Sequence[Path]) -> Mapping[str, str]:
        return by_lower_name(_columns_of(files[0], self._encoding), files[0].name)


@contextmanager
def open_folder(folder: Path, encoding: str) -> Iterator[OmopSource]:
    """The tables in a folder of files.

    Raises:
        CrsRiskError: no such files, or one table in two files.
    """
    yield _Folder(folder, encoding)


def _files_by_table(folder: Path) -> Mapping[str, Sequence[Path]]:
    found: defaultdict[str, list[list[Path]]] = defaultdict(list)
    for entry in sorted(folder.iterdir()):
        table = _table_name(entry.name)
        if table not in READ:
            continue
        if entry.is_dir():
            parts = sorted(
                part for part in entry.iterdir() if part.is_file() and part.name.lower().endswith(ENDINGS)
            )
            if parts:
                found[table].append(parts)
        elif entry.name.lower() != table:
            found[table].append([entry])
    twice = [table for table, places in found.items() if len(places) > 1]
    if twice:
        raise CrsRiskError(
            f"{folder.name}: {', '.join(twice)} stand there in two files or folders; accepted: each table once; "
            "remove what is out of date"
        )
    if not found:
        raise CrsRiskError(f"{folder.name}: no tables; accepted: files such as person.csv or PERSON.parquet")
    return {table: places[0] for table, places in found.items()}


def _table_name(name: str) -> str:
    lower = name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), "")
    return lower.removesuffix(ending)


def _columns_of(file: Path, encoding: str) -> Sequence[str]:
    if file.suffix.lower() == ".parquet":
        return list(_parquet_file(file).schema_arrow.names)
    return _csv_form(file, encoding).header


def _parquet_file(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        raise CrsRiskError(f"{file.name}: not a Parquet file; accepted: Parquet, complete") from None


def _parquet(file: Path, columns: Sequence[str], _encoding: str, _bad: BadRow) -> Iterator[pa.RecordBatch]:
    with _parquet_file(file) as opened:
        nested = [name for name in columns if pa.types.is_nested(opened.schema_arrow.field(name).type)]
        if nested:
            raise CrsRiskError(
                f"{file.name}, column {nested[0]}: nested values; accepted: text, numbers, times"
            )
        try:
            yield from opened.iter_batches(batch_size=BATCH_ROWS, columns=list(columns))
        except (pa.ArrowInvalid, OSError):
            raise CrsRiskError(
                f"{file.name}: damaged; accepted: Parquet, complete; export it again"
            ) from None


def _csv_form(file: Path, encoding: str) -> _CsvForm:
    """The header, and the delimiter that stands in it most often. Files of the vocabulary are separated by tabs."""
    try:
        with _opened(file) as stream:
            line = _first_line(stream).decode(encoding)
    except OSError:
        raise CrsRiskError(f"{file.name}: can't be read; accepted: a complete file") from None
    except (UnicodeDecodeError, LookupError):
        raise CrsRiskError(
            f"{file.name}: not in {encoding}; accepted: CSV in UTF-8, or the encoding that the site map names, as in "
            'encoding = "cp932"'
        ) from None
    line = line.removeprefix(BOM).rstrip("\r\n")
    delimiter = max(DELIMITERS, key=line.count)
    header = next(csv.reader([line], delimiter=delimiter), [])
    if not any(cell.strip() for cell in header):
        raise CrsRiskError(f"{file.name}: no header; accepted: a first line with the names of the columns")
    return _CsvForm(tuple(header), delimiter, encoding)


def _opened(file: Path) -> Any:
    return pa.input_stream(file, compression="gzip" if file.suffix.lower() == ".gz" else None)


def _first_line(stream: Any) -> bytes:
    found = b""
    while b"\n" not in found and (more := stream.read(65_536)):
        found += more
    return bytes(found.partition(b"\n")[0])


def _csv(file: Path, columns: Sequence[str], encoding: str, bad: BadRow) -> Iterator[pa.RecordBatch]:
    form = _csv_form(file, encoding)
    bare = form.encoding.lower() in UTF_8
    ragged: list[int] = []

    def set_aside(row: Any) -> str:
        if "\n" in row.text.rstrip("\r\n"):  # a quote swallowed what follows it
            raise _OpenQuoteError
        ragged.append(row.number or 0)
        return "skip"

    kind = pa.binary() if bare else pa.string()
    batches = _csv_reader(file, form, columns, kind, set_aside, "utf8" if bare else form.encoding)
    rows = 0
    for batch in _readable(batches, file, form.encoding):
        for number in ragged:
            bad(f"{file.name} line {number}", RAGGED)
        ragged.clear()
        decoded = _decoded(batch, file.name, rows, bad) if bare else batch
        rows += batch.num_rows
        yield decoded
    for number in ragged:
        bad(f"{file.name} line {number}", RAGGED)


class _OpenQuoteError(Exception):
    """A quote that opens and does not close: it would swallow the rows that follow."""


class _Quotes:
    """A stream that counts the quotes that pass: in a whole file they come in pairs."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found: bytes = self._stream.read(size)
        self.count += found.count(b'"')
        return found

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return bool(self._stream.closed)


def _csv_reader(
    file: Path, form: _CsvForm, columns: Sequence[str], kind: pa.DataType, set_aside: Any, encoding: str
) -> Iterator[pa.RecordBatch]:
    quoted = form.delimiter != "\t"  # names in the vocabulary hold bare quotes
    with _opened(file) as opened:
        stream = _Quotes(opened)
        yield from pa_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=pa_csv.ReadOptions(
                use_threads=False,  # else rows have no number
                block_size=BLOCK_BYTES,
                encoding=encoding,
                skip_rows=1,
                column_names=list(form.header),
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char=False
                if form.delimiter == "\t"
                else '"',  # names in the vocabulary hold bare quotes
                newlines_in_values=form.delimiter != "\t",
                invalid_row_handler=set_aside,
            ),
            convert_options=pa_csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, kind),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
        if quoted and stream.count % 2:
            raise _OpenQuoteError


def _readable(batches: Iterator[pa.RecordBatch], file: Path, encoding: str) -> Iterator[pa.RecordBatch]:
    """The batches, with errors of the parser in our words: its own repeat what stands in the file."""
    rows = 0
    try:
        for batch in batches:
            rows += batch.num_rows
            yield batch
    except _OpenQuoteError:
        raise CrsRiskError(
            f'{file.name}: a quote is not closed; accepted: quotes in pairs, "" inside quotes'
        ) from None
    except UnicodeDecodeError:
        raise CrsRiskError(
            f"{file.name}: not in {encoding} after row {rows}; name its encoding in the site map"
        ) from None
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise CrsRiskError(
            f"{file.name}: no CSV table after row {rows}; accepted: rows of at most {BLOCK_BYTES >> 20} MB, "
            "quotes closed"
        ) from None
    except OSError:
        raise CrsRiskError(
            f"{file.name}: can't be read after row {rows}; accepted: a complete file"
        ) from None


def _decoded(batch: pa.RecordBatch, name: str, before: int, bad: BadRow) -> pa.RecordBatch:
    """The batch as text; rows with bytes that are no UTF-8 are set aside."""
    try:
        arrays = [column.cast(pa.string()) for column in batch.columns]
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    except pa.ArrowInvalid:
        wrong = np.zeros(batch.num_rows, dtype=np.bool_)
    for row, cells in enumerate(zip(*(column.to_pylist() for column in batch.columns), strict=True)):
        try:
            for cell in cells:
                cell.decode("utf-8")
        except UnicodeDecodeError:
            wrong[row] = True
            bad(f"{name} row {before + row + 1}", BAD_ENCODING)
    kept = batch.filter(pa.array(~wrong))
    arrays = [column.cast(pa.string()) for column in kept.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
