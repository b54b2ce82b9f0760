"""A look at the files of a spreadsheet source, for a map to be proposed: encoding, delimiter, header, some rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path

from crsrisk.analytes import analytes
from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers import spreadsheet_text, spreadsheet_workbook
from crsrisk.readers.spreadsheet_cells import text_of
from crsrisk.readers.spreadsheet_headers import PARTS, ROLE, VARIABLE, Guess, guess
from crsrisk.readers.spreadsheet_text import CANDIDATES, Row, TextFile, UnreadableFileError
from crsrisk.readers.spreadsheet_workbook import sheet_rows, sheets_of
from crsrisk.units import accepted_units, normalise_unit

SAMPLE_ROWS = 2_000
FEW_ROWS = 30
"""Rows of each file beyond the first fifty: their headers are what is needed."""
FILES_IN_FULL = 50
TITLE_ROWS = 20
"""The header stands among the first rows; above it there may be a title."""
_GUESSED_ENCODINGS = ("utf-8", "cp932")
_START = 1 << 20


@dataclass(frozen=True)
class Sample:
    """The first rows of a file or sheet.

    name: the file relative to the source; title: of the sheet, '' for text.
    encoding, delimiter: '' for workbooks.
    header: the header row, units: the row of units below it, None when there is none.
    rows: rows below.
    """

    name: str
    title: str
    encoding: str
    delimiter: str
    header: Row
    units: Row | None
    rows: Sequence[Row]

    @property
    def headers(self) -> tuple[str, ...]:
        """The cells of the header as text."""
        return tuple(text_of(cell) for cell in self.header.cells)

    @cached_property
    def guesses(self) -> tuple[Guess, ...]:
        """What each column may hold."""
        below = [text_of(cell) for cell in self.units.cells] if self.units else []
        below += [""] * (len(self.headers) - len(below))
        return tuple(guess(header, unit) for header, unit in zip(self.headers, below, strict=False))

    def column(self, place: int) -> list[object]:
        """The filled cells of a column."""
        cells = (row.cells[place] for row in self.rows if place < len(row.cells))
        return [cell for cell in cells if text_of(cell)]


def samples(source: Path, encoding: str | None) -> Iterator[Sample]:
    """A sample of each file or sheet of a source that can be read.

    Args:
        source: file or folder.
        encoding: of text files; None to find out.

    Raises:
        CrsRiskError: no such source, or a single file that can't be read.
    """
    if not source.exists():
        raise CrsRiskError(
            f"{named(source.name)}: no such file or folder; accepted: CSV files, workbooks, a folder"
        )
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    for number, file in enumerate(files):
        rows = SAMPLE_ROWS if number < FILES_IN_FULL else FEW_ROWS
        if not file.is_file() or file.name.startswith((".", "~$")):
            continue
        name = file.relative_to(source).as_posix() if source.is_dir() else file.name
        try:
            if file.suffix.lower() in spreadsheet_workbook.ENDINGS:
                yield from _workbook_samples(file, name, rows)
            elif file.suffix.lower() in spreadsheet_text.ENDINGS:
                yield _text_sample(file, name, encoding, rows)
            elif file == source:
                raise CrsRiskError(
                    f"{file.name}: accepted: {', '.join((*spreadsheet_text.ENDINGS, '.xlsx'))}"
                )
        except UnreadableFileError:
            if file == source:
                raise


def _workbook_samples(file: Path, name: str, most: int) -> Iterator[Sample]:
    for title in sheets_of(file).titles:
        rows = list(islice(sheet_rows(file, title), most))
        if rows:
            yield _sample(name, title, "", "", rows)


def _text_sample(file: Path, name: str, encoding: str | None, most: int) -> Sample:
    encoding = encoding or _encoding_of(file)
    delimiters = ("\t",) if file.suffix.lower() == ".tsv" else CANDIDATES
    found = []
    for delimiter in delimiters:
        rows = list(islice(TextFile(file, encoding, delimiter).rows(), most))
        rows = [row for row in rows if not row.fault]
        if rows:
            found.append(_sample(name, "", encoding, delimiter, rows))
    if not found:
        raise UnreadableFileError(f"{file.name}: no row to read; accepted: text with a header row")
    return max(found, key=lambda one: (_recognised(one.guesses), len(one.headers)))


def _encoding_of(file: Path) -> str:
    """The only encoding of those in use in which the start of a file is text."""
    with file.open("rb") as sheet:
        start = sheet.read(_START)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = start.rpartition(b"\n")[0] or start  # the end may cut a character
    for encoding in _GUESSED_ENCODINGS:
        try:
            start.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    raise UnreadableFileError(f"{file.name}: neither UTF-8 nor cp932; accepted: the encoding as an argument")


def _sample(name: str, title: str, encoding: str, delimiter: str, rows: Sequence[Row]) -> Sample:
    place = _header_place(rows)
    below = rows[place + 1 :]
    units = below[0] if below and _is_units(below[0]) else None
    return Sample(name, title, encoding, delimiter, rows[place], units, below[1:] if units else below)


def _header_place(rows: Sequence[Row]) -> int:
    """The row with the most recognised headers among the first; the first of the widest where none is recognised."""
    scores = []
    for row in rows[:TITLE_ROWS]:
        texts = [text_of(cell) for cell in row.cells]
        scores.append((_recognised([guess(text) for text in texts]), sum(bool(text) for text in texts)))
    best = max(scores)
    return scores.index(best)


def _recognised(guesses: Sequence[Guess]) -> int:
    return sum(one.kind in (ROLE, VARIABLE, PARTS) for one in guesses)


def _is_units(row: Row) -> bool:
    """Whether a row holds units: several cells, most of them spellings of units, no numbers."""
    texts = [text_of(cell) for cell in row.cells if text_of(cell)]
    known = [text for text in texts if normalise_unit(text) in _all_units()]
    numbers = any(isinstance(cell, int | float) for cell in row.cells) or any(
        text.isdigit() for text in texts
    )
    return bool(texts) and not numbers and len(known) * 2 > len(texts)


@cache
def _all_units() -> frozenset[str]:
    return frozenset(normalise_unit(unit) for key in analytes() for unit in accepted_units(key))
