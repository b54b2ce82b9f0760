"""One cell of a spreadsheet as a reported value: nothing is interpreted that the map or Excel does not say."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import NamedTuple

from crsrisk.readers.spreadsheet_map import plain, word
from crsrisk.readers.spreadsheet_workbook import FORMULA_ERROR, Percent, Unreadable

BAD_DECIMAL = (
    "BAD_NUMBER: not a number with a decimal comma; accepted: 12,5 or 1.200,5, as decimal in the map says"
)
DATE_FOR_NUMBER = (
    "BAD_NUMBER: a date in a column of numbers; accepted: a number; Excel makes dates of entries such as 1-2"
)
PERCENT_FOR_NUMBER = "BAD_NUMBER: a percentage in a column with another unit; accepted: the unit % in the map"
PERCENT = "%"
FRACTIONS = frozenset({"1", "{fraction}", "fraction"})

_ERRORS = frozenset({"#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "#spill!", "#calc!"})
_DECIMAL_COMMA = re.compile(
    r"(?P<sign>[<>=≤≥≦≧~+-]*\s*)(?P<whole>\d{1,3}(?:\.\d{3})+|\d+)(?:,(?P<part>\d+))?"
)
_PERCENTAGE = re.compile(r"(?P<number>[<>=+-]*\s*[\d.,]+)\s*%")


class Reading(NamedTuple):
    """What a cell says. absent: nothing was measured; fault: why the cell can't be used, '' when it can."""

    value: str = ""
    unit: str = ""
    absent: bool = False
    fault: str = ""


@dataclass(frozen=True)
class CellRules:
    """How cells of a table are read.

    decimal: the decimal sign of numbers in text.
    missing: words for 'not measured'; values: words and what they stand for. Both as `word` gives them.
    """

    decimal: str = "."
    missing: Collection[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict)

    def read(self, cell: object, unit: str = "", values: Mapping[str, str] | None = None) -> Reading:
        """A cell as value and unit.

        Args:
            cell: as a row holds it.
            unit: of the cell, '' when none is stated.
            values: words of its column beside those of the table.
        """
        if isinstance(cell, Unreadable):
            return Reading(fault=cell.reason)
        shown = text_of(cell)
        as_word = word(shown)
        for words in (values or {}, self.values):
            if as_word in words:
                return Reading(words[as_word], unit)
        if not shown or as_word in self.missing:
            return Reading(absent=True)
        return self._reported(cell, shown, unit)

    def _reported(self, cell: object, shown: str, unit: str) -> Reading:
        """A cell that holds something."""
        if isinstance(cell, date | time):
            return Reading(fault=DATE_FOR_NUMBER)
        if word(shown) in _ERRORS:
            return Reading(fault=FORMULA_ERROR)
        if isinstance(cell, Percent):
            return _percent(cell, unit)
        return self._text(shown, unit) if isinstance(cell, str) else Reading(shown, unit)

    def is_absent(self, cell: object) -> bool:
        """Whether a cell is empty or says that there is nothing."""
        shown = text_of(cell)
        return not isinstance(cell, Unreadable) and (not shown or word(shown) in self.missing)

    def _text(self, shown: str, unit: str) -> Reading:
        if "%" in shown or "％" in shown:
            match = _PERCENTAGE.fullmatch(plain(shown))
            if match is not None and unit in ("", PERCENT):
                shown, unit = match["number"], PERCENT
        if self.decimal == ".":
            return Reading(shown, unit)
        match = _DECIMAL_COMMA.fullmatch(plain(shown))
        if match is None:
            return Reading(fault=BAD_DECIMAL)
        part = f".{match['part']}" if match["part"] else ""
        return Reading(f"{match['sign']}{match['whole'].replace('.', '')}{part}", unit)


def text_of(cell: object) -> str:
    """A cell as text without blanks around it; numbers in their shortest exact form; '' for nothing."""
    if cell is None or isinstance(cell, Unreadable):
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return repr(cell).removesuffix(".0")
    if isinstance(cell, Percent):
        return f"{cell.shown}%"
    return str(cell)


def _percent(cell: Percent, unit: str) -> Reading:
    """What Excel shows as a percentage: the reader of the sheet sees 97%, the cell holds 0.97."""
    if unit in ("", PERCENT):
        return Reading(cell.shown, PERCENT)
    if unit in FRACTIONS:
        return Reading(repr(cell.fraction).removesuffix(".0"), unit)
    return Reading(fault=PERCENT_FOR_NUMBER)
