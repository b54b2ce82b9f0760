"""Rows of a text file with separated columns, streamed; a row that can't be read does not take others with it."""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from crsrisk.errors import CrsRiskError
from crsrisk.problems import named

ENDINGS = (".csv", ".tsv", ".txt")
CANDIDATES = (",", ";", "\t")
LONGEST_LINE = 1 << 22
"""Characters of one line; longer ones are junk."""
LONGEST_CELL_LINES = 200
"""Lines that one quoted cell may span; beyond it a quote was never closed."""

BAD_ENCODING = "BAD_ENCODING: bytes that are not text in the stated encoding; accepted: one encoding per file"
BAD_QUOTES = (
    "BAD_RECORD: a quote that is not closed, or text after one; accepted: quotes in pairs, doubled inside"
)
NUL = "BAD_RECORD: NUL bytes; accepted: text"
TOO_LONG = f"BAD_RECORD: a line of more than {LONGEST_LINE} characters; accepted: one row per line"

_UNDECODABLE = re.compile("[\udc80-\udcff\uf8f0-\uf8f3]")  # the second range: what cp932 makes of stray bytes
_BOMS = {
    codecs.BOM_UTF8: ("utf-8", "utf-8-sig"),
    codecs.BOM_UTF16_LE: ("utf-16",),
    codecs.BOM_UTF16_BE: ("utf-16",),
}
_ZIP = b"PK\x03\x04"
_SHIFT_JIS = frozenset({"shift_jis", "shiftjis", "sjis", "s_jis"})


class Row(NamedTuple):
    """One row: its number (of the line, or of the row in a sheet; the first is 1), its cells, why it can't be read."""

    number: int
    cells: Sequence[object]
    fault: str = ""


class UnreadableFileError(CrsRiskError):
    """One file of a source that can't be read; says why and what is accepted."""


@dataclass(frozen=True)
class TextFile:
    """A file of separated columns.

    encoding: of Python; a byte order mark of UTF-8 is skipped. `shift_jis` is read as cp932, which Japanese Windows
        means by it.
    delimiter: '' for whichever of , ; tab alone stands in the header.
    header_row: number of the line with the names of the columns.
    """

    path: Path
    encoding: str = "utf-8"
    delimiter: str = ""
    header_row: int = 1

    def rows(self) -> Iterator[Row]:
        """All rows with something in them, from the header row on.

        Raises:
            UnreadableFileError: the file is none, is in another encoding, or its delimiter is not clear.
        """
        with self._at_header() as lines:
            yield from _rows(lines, self.delimiter or self._detected(lines))

    def detected_delimiter(self) -> str:
        """The delimiter of the header row."""
        with self._at_header() as lines:
            return self._detected(lines)

    @contextmanager
    def _at_header(self) -> Iterator["_Lines"]:
        encoding = self._checked_encoding()
        errors = "strict" if encoding.startswith("utf-16") else "surrogateescape"
        try:
            with self.path.open(encoding=encoding, errors=errors, newline=None) as sheet:
                lines = _Lines(sheet)
                self._skip_title(lines)
                yield lines
        except UnicodeError:  # UTF-16 that ends within a character
            raise UnreadableFileError(_not_in(self.path.name, self.encoding)) from None

    def _skip_title(self, lines: "_Lines") -> None:
        for _ in range(self.header_row - 1):
            if not lines.next():
                raise UnreadableFileError(_too_short(self.path.name, self.header_row))

    def _checked_encoding(self) -> str:
        with self.path.open("rb") as sheet:
            start = sheet.read(4)
        if start == _ZIP:
            raise UnreadableFileError(
                f"{self.path.name}: a workbook or archive, not text; accepted: .xlsx as the ending of a workbook"
            )
        encoding = python_encoding(self.encoding)
        for mark, encodings in _BOMS.items():
            if start.startswith(mark):
                if encoding not in encodings:
                    raise UnreadableFileError(_not_in(self.path.name, self.encoding, encodings[0]))
                return "utf-8-sig" if mark == codecs.BOM_UTF8 else "utf-16"
        return encoding

    def _detected(self, lines: "_Lines") -> str:
        """The only candidate that stands in the header outside quotes."""
        header = lines.next()
        lines.put_back([header])
        if self.path.suffix.lower() == ".tsv":
            return "\t"
        if _UNDECODABLE.search(header):
            raise UnreadableFileError(_not_in(self.path.name, self.encoding))
        outside = re.sub(r'"[^"]*"', "", header)
        found = [one for one in CANDIDATES if one in outside]
        if len(found) == 1:
            return found[0]
        came = "none" if not found else "several"
        raise UnreadableFileError(
            f"{self.path.name}: {came} of , ; tab in the header row; accepted: delimiter in the site map"
        )


def python_encoding(name: str) -> str:
    """The codec for an encoding as a site names it.

    Raises:
        UnreadableFileError: there is no such encoding of text.
    """
    plain = name.strip().lower().replace("-", "_")
    if plain in _SHIFT_JIS:
        return "cp932"
    try:
        "".encode(plain)  # refuses codecs that are no encoding of text, such as rot13
        return codecs.lookup(plain).name
    except LookupError:
        raise UnreadableFileError(
            f"encoding {named(name)} is not known; accepted: utf-8, cp932, utf-16, latin-1, ..."
        ) from None


class _Lines:
    """Physical lines of a file, with a place to put lines back."""

    def __init__(self, sheet: TextIO) -> None:
        self._sheet = sheet
        self._waiting: deque[str] = deque()
        self.number = 0  # of the line that `next` gave last

    def next(self) -> str:
        """The next line with its end; '' at the end of the file. An overlong line comes cut, without its end."""
        if self._waiting:
            self.number += 1
            return self._waiting.popleft()
        line = self._sheet.readline(LONGEST_LINE)
        if line:
            self.number += 1
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
            rest = self._sheet.readline(LONGEST_LINE)
        return line

    def put_back(self, lines: list[str]) -> None:
        """Let `next` give these lines again."""
        lines = [line for line in lines if line]
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)


def _rows(lines: _Lines, delimiter: str) -> Iterator[Row]:
    while line := lines.next():
        number = lines.number
        text = line.removesuffix("\n")
        if not text.strip(" " + delimiter):
            continue
        fault = _fault(line)
        if fault:
            yield Row(number, (), fault)
        elif '"' not in text:
            yield Row(number, text.split(delimiter))
        else:
            yield _quoted(lines, line, number, delimiter)


def _fault(line: str) -> str:
    if "\0" in line:
        return NUL
    if not line.isascii() and _UNDECODABLE.search(line):
        return BAD_ENCODING
    return TOO_LONG if len(line) == LONGEST_LINE and not line.endswith("\n") else ""


def _quoted(lines: _Lines, line: str, number: int, delimiter: str) -> Row:
    """The row that begins with a line with quotes: that line, or as many as its quoted cells span.

    When no number of lines makes a row, the first line alone is at fault and the next one begins a row again.
    """
    taken: list[str] = []
    text = line
    while True:
        cells = _cells(text, delimiter)
        if cells is not None:
            return Row(number, cells)
        further = lines.next() if text.count('"') % 2 else ""
        if not further or len(taken) >= LONGEST_CELL_LINES or _fault(further):
            lines.put_back([*taken, further])
            return Row(number, (), BAD_QUOTES)
        taken.append(further)
        text += further


def _cells(text: str, delimiter: str) -> list[str] | None:
    """The cells of text that is exactly one row, None when it is not."""
    try:
        found = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def _not_in(file: str, encoding: str, found: str = "") -> str:
    came = f"begins like {found}" if found else "holds bytes of another encoding"
    return f"{file}: not in {encoding}: it {came}; accepted: encoding in the site map, such as utf-8 or cp932"


def _too_short(file: str, header_row: int) -> str:
    return f"{file}: fewer than {header_row} lines; accepted: header_row in the site map, the number of the header"
