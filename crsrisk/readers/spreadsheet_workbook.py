"""Rows of the sheets of an .xlsx workbook, streamed: the values that Excel has calculated, never formulas."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsrisk.errors import CrsRiskError
from crsrisk.readers.spreadsheet_text import Row, UnreadableFileError

if TYPE_CHECKING:
    from openpyxl import Workbook  # type: ignore[import-untyped]  # ships no types

ENDINGS = (".xlsx", ".xlsm")
OTHER_BOOKS = (".xls", ".xlsb", ".ods", ".numbers")
LARGEST_PART = 4 << 30
"""Bytes of one part of a workbook when unpacked; Excel's own limits stay far below."""
LARGEST_TEXTS = 1 << 30
"""Bytes of the table of texts, which is held in memory."""
AT_ONCE = 256
_CHUNK = 1 << 20

FORMULA_ERROR = "BAD_NUMBER: a formula that gives an error; accepted: a value"
NOT_CALCULATED = (
    "BAD_NUMBER: a formula without its result; accepted: a workbook that Excel has calculated and saved"
)

_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
_ZERO_PADDED = re.compile("0{2,20}")
_NOT_SHOWN = re.compile(
    r'\[[^\]]*\]|"[^"]*"|\\.|_.|\*.'
)  # colours, literals, escapes, padding of a number format


@dataclass(frozen=True)
class Percent:
    """A number that Excel shows as a percentage: 0.97 as 97%."""

    fraction: float

    @property
    def shown(self) -> str:
        """The number before the per cent sign."""
        return repr(round(self.fraction * 100, 12)).removesuffix(".0")


@dataclass(frozen=True)
class Unreadable:
    """A cell without a value to read, and why."""

    reason: str


@dataclass(frozen=True)
class Sheets:
    """What a workbook has: titles of its worksheets, and whether its days count from 1904."""

    titles: tuple[str, ...]
    from_1904: bool


def sheets_of(path: Path) -> Sheets:
    """The worksheets of a workbook.

    Raises:
        UnreadableFileError: it is none, is protected by a password, or is too large.
    """
    with _opened(path, formulas=False) as book:
        return Sheets(tuple(sheet.title for sheet in book.worksheets), book.epoch.year == 1904)


def sheet_rows(path: Path, title: str, header_row: int = 1) -> Iterator[Row]:
    """Rows of a sheet with something in them, from the header row on.

    Cells are text, int, float, bool, datetime, date (the format shows no hours), time, Percent, Unreadable or None.
    Cells that hold numbers shown with leading zeros (00012345) are that text.

    Raises:
        UnreadableFileError: the workbook can't be read.
    """
    with _opened(path, formulas=False) as book:
        results = _raw_rows(path, book[title])
        if not _has_formulas(path):
            for number, cells in enumerate(results, start=1):
                row = [_cell(cell) for cell in cells]
                if number >= header_row and _is_filled(row):
                    yield Row(number, row)
            return
        with _opened(path, formulas=True) as written:
            pairs = zip_longest(results, _raw_rows(path, written[title]), fillvalue=())
            for number, (cells, sources) in enumerate(pairs, start=1):
                row = [_result(cell, source) for cell, source in zip_longest(cells, sources, fillvalue=None)]
                if number >= header_row and _is_filled(row):
                    yield Row(number, row)


def _is_filled(row: list[object]) -> bool:
    return any(cell is not None and cell != "" for cell in row)


def _result(cell: Any, source: Any) -> object:
    """A cell; a formula without a result is unreadable, not empty. A result '' has another type than none."""
    missing = getattr(cell, "value", None) is None and getattr(cell, "data_type", "n") == "n"
    if missing and getattr(source, "data_type", "n") == "f":
        return Unreadable(NOT_CALCULATED)
    return _cell(cell)


def _cell(cell: Any) -> object:
    """The value of a cell of openpyxl, with what its format says about it."""
    value = getattr(cell, "value", None)
    if value is None or isinstance(value, bool):
        return value
    if cell.data_type == "e":
        return Unreadable(FORMULA_ERROR)
    if isinstance(value, str):
        return value.strip()
    shown = cell.number_format or "General"
    if isinstance(value, datetime | timedelta):
        return _moment(value, shown)
    return _number(value, shown) if isinstance(value, int | float) else value


def _moment(value: datetime | timedelta, shown: str) -> object:
    """A date with its time; a date where the format shows no hours; a clock time for [h]:mm of a day."""
    if isinstance(value, timedelta):
        return (datetime.min + value).time() if timedelta() <= value < timedelta(days=1) else str(value)
    clock = "h" in _NOT_SHOWN.sub("", shown).lower() or value.time() != datetime.min.time()
    return value if clock else value.date()


def _number(value: int | float, shown: str) -> object:
    if "%" in _NOT_SHOWN.sub("", shown):
        return Percent(float(value))
    if isinstance(value, int) and _ZERO_PADDED.fullmatch(shown):
        return str(value).zfill(len(shown))
    return value


def _raw_rows(path: Path, sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Rows of cells; warnings of openpyxl are silenced, since they may repeat a value."""
    sheet.reset_dimensions()  # some programs state a size that leaves rows out
    rows = sheet.iter_rows()
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                chunk = list(islice(rows, AT_ONCE))
        except Exception:  # openpyxl raises whatever its XML parser does
            raise UnreadableFileError(_no_workbook(path)) from None
        if not chunk:
            return
        yield from chunk


@contextmanager
def _opened(path: Path, *, formulas: bool) -> "Iterator[Workbook]":
    try:
        import openpyxl
    except ImportError:
        raise CrsRiskError(
            f"{path.name}: workbooks need openpyxl; install it with: pip install 'crsrisk[ingest]', or save as CSV"
        ) from None
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(path, read_only=True, data_only=not formulas, keep_links=False)
    except Exception:  # openpyxl raises whatever its XML parser does
        raise UnreadableFileError(_no_workbook(path)) from None
    try:
        yield book
    finally:
        book.close()


def _check_archive(path: Path) -> None:
    """Refuse what would fill the memory, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                limit = LARGEST_TEXTS if part.filename.endswith("sharedStrings.xml") else LARGEST_PART
                if part.file_size > limit:
                    raise UnreadableFileError(
                        f"{path.name}: a part of the workbook is larger than {limit >> 20} MiB; accepted: CSV"
                    )
                if part.filename.endswith(".xml"):
                    with archive.open(part) as content:
                        if b"<!DOCTYPE" in content.read(1024):
                            raise UnreadableFileError(_no_workbook(path))
    except UnreadableFileError:
        raise
    except _BROKEN:
        raise UnreadableFileError(_no_workbook(path)) from None


def _has_formulas(path: Path) -> bool:
    """Whether any sheet holds a formula: then results are compared with what is written in the cells."""
    try:
        return _mentions_formulas(path)
    except _BROKEN:
        raise UnreadableFileError(_no_workbook(path)) from None


def _mentions_formulas(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if not part.filename.startswith("xl/worksheets/"):
                continue
            with archive.open(part) as content:
                before = b""
                while chunk := content.read(_CHUNK):
                    if re.search(rb"<(?:\w+:)?f[\s>/]", before + chunk):
                        return True
                    before = chunk[-64:]
    return False


def _no_workbook(path: Path) -> str:
    return (
        f"{path.name}: can't be opened as a workbook; accepted: .xlsx or .xlsm without a password; save it again "
        "so, or as CSV"
    )
