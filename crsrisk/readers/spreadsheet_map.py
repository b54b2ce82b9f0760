"""The [csv] section of a site map: which files and columns of a spreadsheet hold what.

Everything is stated by name; nothing is taken from the values of the cells. A map that no person has confirmed is
refused.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from crsrisk.courses_read import SEXES
from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.codes import target_meaning
from crsrisk.readers.record import KINDS, STATUSES
from crsrisk.readers.spreadsheet_times import SERIALS

LAYOUTS = ("wide", "long")
KINDS_OF_ROWS = tuple(kind for kind in KINDS if kind != "person")
DELIMITERS: Mapping[str, str] = MappingProxyType({",": ",", ";": ";", "\t": "\t", "tab": "\t", "|": "|"})
DECIMALS = (".", ",")
NOT_CONFIRMED = (
    "[csv] confirmed is not true; accepted: a map that a person has read; read each line, correct it, then write "
    "confirmed = true under [csv]"
)


@lru_cache(maxsize=65_536)
def plain(text: str) -> str:
    r"""Text as it is compared: width of characters, runs of blanks and line breaks do not count, case does.

    >>> plain("ＣＲＰ (mg/dL)\n"), plain(" 採血  日時 ")
    ('CRP (mg/dL)', '採血 日時')
    """
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())


@lru_cache(maxsize=65_536)
def word(text: str) -> str:
    """A word in a cell as it is compared: as `plain`, case does not count either."""
    return plain(text).casefold()


@dataclass(frozen=True)
class ColumnMap:
    """What one column of a wide table holds.

    variable: analyte key or another target, such as `grade:ASTCT`; `ignore` for nothing.
    parts: variables of a cell such as 120/80, in their order, instead of `variable`.
    separator: what stands between the parts.
    unit, unit_column: unit of all its values, or the column that holds the unit.
    time: column of its own time, or of date and clock; empty for the time of the row.
    hours: hours after that time, for columns such as day 1 (24).
    values: words and the value that each stands for.
    optional: the column may be absent from a file.
    """

    variable: str = ""
    parts: tuple[str, ...] = ()
    separator: str = "/"
    unit: str = ""
    unit_column: str = ""
    time: tuple[str, ...] = ()
    hours: float = 0.0
    values: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The variables of a cell."""
        return self.parts or (self.variable,)


@dataclass(frozen=True)
class TableMap:
    """What the rows of some files hold; columns by their header.

    file, sheet: names or glob patterns; sheet '' for the only sheet of a workbook.
    layout: `wide`, one row per patient and time with a column per variable; `long`, one row per value.
    header_row, units_row: numbers of rows, the first is 1; units_row 0 for none.
    delimiter, decimal, encoding: '' when not stated.
    missing: words for 'not measured'; values, sexes, statuses: words and what they stand for.
    time_format: formats of strptime, or `excel`, `excel1904` for serial numbers; none for year first.
    birth_date_format: the same for the date of birth.
    midnight_is_date: times at 00:00:00 are dates that the export has filled up.
    fill_down: columns whose empty cells repeat the cell above.
    patient, time, end, known, id, revised, status: columns; a time may be two columns, date and clock.
    therapy, sex, birth_date, site, indication, observed_until, columns: of a wide table.
    variable, system, value, unit, comparator, rate, rate_unit, kind: of a long table; `system` is the code system
        of the column `variable`, `unit_text` the unit of all rows, `kind` the kind of the records.
    """

    file: tuple[str, ...] = ()
    sheet: str = ""
    layout: str = ""
    header_row: int = 1
    units_row: int = 0
    delimiter: str = ""
    decimal: str = ""
    encoding: str = ""
    missing: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    sexes: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    time_format: tuple[str, ...] = ()
    birth_date_format: tuple[str, ...] = ()
    midnight_is_date: bool = False
    fill_down: tuple[str, ...] = ()
    patient: str = ""
    time: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    id: str = ""
    revised: tuple[str, ...] = ()
    status: str = ""
    therapy: str = ""
    sex: str = ""
    birth_date: str = ""
    site: str = ""
    indication: str = ""
    observed_until: tuple[str, ...] = ()
    columns: Mapping[str, ColumnMap] = field(default_factory=dict)
    variable: str = ""
    system: str = ""
    value: str = ""
    unit: str = ""
    unit_text: str = ""
    comparator: str = ""
    rate: str = ""
    rate_unit: str = ""
    kind: str = "result"

    @property
    def name(self) -> str:
        """The table as messages and identities name it."""
        return "|".join(self.file) + (f" sheet {self.sheet}" if self.sheet else "")

    def takes(self, path: PurePath) -> bool:
        """Whether a file, relative to the source, belongs to the table."""
        return any(
            name == pattern or fnmatchcase(name, pattern)
            for pattern in self.file
            for name in (path.as_posix(), path.name)
        )

    def takes_sheet(self, title: str) -> bool:
        """Whether a sheet of a workbook belongs to the table."""
        return not self.sheet or fnmatchcase(title, self.sheet)

    def headers(self) -> frozenset[str]:
        """The columns that the table names, but for optional ones; as `plain` gives them."""
        return frozenset(plain(name) for name in self.names(optional=False))

    def known_headers(self) -> frozenset[str]:
        """All columns that the table names, as `plain` gives them."""
        return frozenset(plain(name) for name in self.names())

    def names(self, *, optional: bool = True) -> tuple[str, ...]:
        """The columns as the map spells them, with or without those that may be absent."""
        mapped = {name: one for name, one in self.columns.items() if optional or not one.optional}
        of_columns = [cell for one in mapped.values() for cell in (one.unit_column, *one.time)]
        return tuple(dict.fromkeys(name for name in (*self._own(), *mapped, *of_columns) if name))

    def _own(self) -> tuple[str, ...]:
        of_times = (*self.time, *self.end, *self.known, *self.revised, *self.observed_until, *self.fill_down)
        return (*of_times, *(getattr(self, name) for name in _COLUMN_KEYS))


_COLUMN_KEYS = (
    "patient", "id", "status", "therapy", "sex", "birth_date", "site", "indication",
    "variable", "value", "unit", "comparator", "rate", "rate_unit",
)  # fmt: skip
_WIDE_ONLY = ("therapy", "sex", "birth_date", "site", "indication", "observed_until", "columns", "units_row")
_LONG_ONLY = (
    "variable",
    "system",
    "value",
    "unit",
    "unit_text",
    "comparator",
    "rate",
    "rate_unit",
    "kind",
    "end",
)
_SHARED = (
    "delimiter", "decimal", "encoding", "missing", "values", "sexes", "statuses",
    "time_format", "birth_date_format", "midnight_is_date",
)  # fmt: skip
_SECTION_KEYS = ("confirmed", "tables", *_SHARED)


def table_maps(section: Mapping[str, Any]) -> tuple[TableMap, ...]:
    """The tables of the [csv] section of a site map.

    Args:
        section: the section as TOML holds it; keys beside `confirmed` and `tables` hold for every table that
            does not state them itself.

    Raises:
        CrsRiskError: the section is not confirmed, or all that is wrong in it.
    """
    if section.get("confirmed") is not True:
        raise CrsRiskError(NOT_CONFIRMED)
    problems: list[str] = []
    _check_keys("[csv]", section, _SECTION_KEYS, problems)
    shared = {key: value for key, value in section.items() if key in _SHARED}
    entries = section.get("tables")
    if not isinstance(entries, list) or not entries:
        problems.append("[csv] has no [[csv.tables]]; accepted: one per kind of file")
        entries = []
    found = []
    for number, entry in enumerate(entries, start=1):
        where = f"[[csv.tables]] {number}"
        if not isinstance(entry, Mapping):
            problems.append(f"{where} is no table")
            continue
        found.append(_table_map(where, {**shared, **entry}, problems))
    if problems:
        raise CrsRiskError("; ".join(problems))
    return tuple(found)


def _table_map(where: str, entry: Mapping[str, Any], problems: list[str]) -> TableMap:
    known = tuple(one.name for one in fields(TableMap))
    _check_keys(where, entry, known, problems)
    given = {key: value for key, value in entry.items() if key in known and key != "columns"}
    read = {
        key: _READ[type_](where, key, given[key], problems) for key, type_ in _TYPES.items() if key in given
    }
    columns = entry.get("columns", {})
    if not isinstance(columns, Mapping):
        problems.append(
            f"{where} columns is no table; accepted: [csv.tables.columns] with lines HEADER = VARIABLE"
        )
        columns = {}
    read["columns"] = {
        name: _column_map(f"{where} column {named(name)}", one, problems) for name, one in columns.items()
    }
    table = TableMap(**read)
    _check_table(where, table, entry, problems)
    return table


def _check_table(where: str, table: TableMap, entry: Mapping[str, Any], problems: list[str]) -> None:
    if table.layout not in LAYOUTS:
        problems.append(f"{where} layout {named(table.layout)}; accepted: {', '.join(LAYOUTS)}")
        return
    needed = ["file", "patient"]
    if table.layout == "long" and table.kind != "stay":
        needed.append("variable")
    problems.extend(f"{where} states no {key}" for key in needed if not getattr(table, key))
    other = _LONG_ONLY if table.layout == "wide" else _WIDE_ONLY
    strange = [key for key in entry if key in other]
    if strange:
        problems.append(f"{where}: {', '.join(strange)} belong to the other layout")
    if table.layout == "wide" and not table.time and (table.therapy or _timed_columns(table)):
        problems.append(f"{where} states no time")
    if table.layout == "long" and table.kind == "result" and not table.value:
        problems.append(f"{where} states no value")
    if table.layout == "long" and table.kind not in KINDS_OF_ROWS:
        problems.append(f"{where} kind {named(table.kind)}; accepted: {', '.join(KINDS_OF_ROWS)}")
    if table.layout == "long" and not table.time and table.kind not in ("condition", "stay"):
        problems.append(f"{where} states no time")
    _check_settings(where, table, problems)


def _check_settings(where: str, table: TableMap, problems: list[str]) -> None:
    for key in ("time", "end", "known", "revised", "observed_until"):
        if len(getattr(table, key)) > 2:
            problems.append(f"{where} {key} has more than two columns; accepted: one, or date and clock")
    for key, words, accepted in (("sexes", table.sexes, SEXES), ("statuses", table.statuses, STATUSES)):
        wrong = sorted(set(words.values()) - set(accepted))
        problems.extend(f"{where} {key}: {named(one)}; accepted: {', '.join(accepted)}" for one in wrong)
    if table.delimiter and table.delimiter not in DELIMITERS:
        problems.append(f'{where} delimiter {named(table.delimiter)}; accepted: ",", ";", "|", "tab"')
    if table.units_row and table.units_row <= table.header_row:
        problems.append(f"{where}: units_row is not below header_row")
    for one in (*table.time_format, *table.birth_date_format):
        if one not in SERIALS and not _is_format(one):
            problems.append(
                f"{where}: {named(one)} is no format; accepted: {', '.join(SERIALS)}, %Y/%m/%d %H:%M, ..."
            )
    if table.decimal and table.decimal not in DECIMALS:
        problems.append(f'{where} decimal {named(table.decimal)}; accepted: ".", ","')


def _is_format(text: str) -> bool:
    """Whether strptime reads what the format writes."""
    try:
        datetime.strptime(datetime(2026, 11, 23, 13, 45, tzinfo=UTC).strftime(text), text)
    except ValueError:
        return False
    return "%" in text


def _timed_columns(table: TableMap) -> bool:
    return any(not one.time for one in table.columns.values())


def _column_map(where: str, entry: object, problems: list[str]) -> ColumnMap:
    if isinstance(entry, str):
        entry = {"variable": entry}
    if not isinstance(entry, Mapping):
        problems.append(f'{where}: accepted: a variable, or {{variable = "crp", unit = "mg/dL"}}')
        return ColumnMap()
    _check_keys(where, entry, tuple(_COLUMN_TYPES), problems)
    read = {
        key: _READ[type_](where, key, entry[key], problems)
        for key, type_ in _COLUMN_TYPES.items()
        if key in entry
    }
    column = ColumnMap(**read)
    wrong = [one for one in column.targets if target_meaning(one) is None]
    problems.extend(
        f"{where} holds {named(one)}; accepted: an analyte key (see `crsrisk template`) or ignore"
        for one in wrong
    )
    if column.parts and (column.variable or not column.separator):
        problems.append(f"{where}: accepted: variable, or parts with a separator")
    return column


def _check_keys(where: str, entry: Mapping[str, Any], known: tuple[str, ...], problems: list[str]) -> None:
    strange = [named(key) for key in entry if key not in known]
    if strange:
        problems.append(f"{where}: {', '.join(strange)} not known; accepted: {', '.join(known)}")


def _read_text(where: str, key: str, value: object, problems: list[str]) -> str:
    if isinstance(value, str) and value:
        return value
    problems.append(f"{where} {key} is no text")
    return ""


def _read_texts(where: str, key: str, value: object, problems: list[str]) -> tuple[str, ...]:
    """One text or a list of them."""
    given = [value] if isinstance(value, str) else value
    if isinstance(given, list) and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    problems.append(f"{where} {key}: accepted: a text or a list of texts")
    return ()


def _read_words(where: str, key: str, value: object, problems: list[str]) -> Mapping[str, str]:
    """Words and what they stand for; the words as `word` gives them."""
    if isinstance(value, Mapping) and all(isinstance(one, str | int | float) for one in value.values()):
        return MappingProxyType({word(name): str(one) for name, one in value.items()})
    problems.append(f'{where} {key}: accepted: a table WORD = "VALUE"')
    return {}


def _read_row(where: str, key: str, value: object, problems: list[str]) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000:
        return value
    problems.append(f"{where} {key} is no number of a row; accepted: 1 to 1000")
    return 1


def _read_hours(where: str, key: str, value: object, problems: list[str]) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 87_660:
        return float(value)
    problems.append(f"{where} {key} is no number of hours")
    return 0.0


def _read_flag(where: str, key: str, value: object, problems: list[str]) -> bool:
    if not isinstance(value, bool):
        problems.append(f"{where} {key}: accepted: true or false")
    return value is True


_READ: Mapping[str, Callable[[str, str, object, list[str]], Any]] = {
    "text": _read_text, "texts": _read_texts, "words": _read_words,
    "row": _read_row, "hours": _read_hours, "flag": _read_flag,
}  # fmt: skip
_TYPES = {
    **dict.fromkeys((*_COLUMN_KEYS, "sheet", "layout", "delimiter", "decimal", "encoding"), "text"),
    **dict.fromkeys(("system", "unit_text", "kind"), "text"),
    **dict.fromkeys(("file", "missing", "time_format", "birth_date_format", "fill_down"), "texts"),
    **dict.fromkeys(("time", "end", "known", "revised", "observed_until"), "texts"),
    **dict.fromkeys(("values", "sexes", "statuses"), "words"),
    **dict.fromkeys(("header_row", "units_row"), "row"),
    "midnight_is_date": "flag",
}
_COLUMN_TYPES = {
    "variable": "text", "parts": "texts", "separator": "text", "unit": "text", "unit_column": "text",
    "time": "texts", "hours": "hours", "values": "words", "optional": "flag",
}  # fmt: skip
