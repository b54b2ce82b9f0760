"""Moments in the cells of a spreadsheet: text, dates of Excel, serial numbers; in the zone that the site states.

A date without a time is never filled up, and a local time that exists twice or not at all is not decided.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from crsrisk.readers.local_times import placed
from crsrisk.times import ISO_WITH_OFFSET, NOT_A_TIME, microseconds

NO_TIME = "NO_TIME: no time; accepted: a date and a time in each row"
BAD_TIME = "BAD_TIME: not a time; accepted: 2026-11-01 09:30, 2026/11/1 9:30, or the time_format of the map"
NAIVE = "BAD_TIME: a time without an offset; accepted: time_zone in the site map, or an offset in each time"
DATE_ONLY = "DATE_ONLY: a date without a time; accepted: date and time, since risks change by the hour"
AMBIGUOUS_TIME = (
    "AMBIGUOUS_TIME: a local time that exists twice or not at all when clocks change; accepted: an offset"
)
EXCEL, EXCEL_1904 = "excel", "excel1904"
SERIALS = (EXCEL, EXCEL_1904)

_YEAR_FIRST = re.compile(
    r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})\d*)?)?)?"
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})\d*)?)?")
_WITH_OFFSET = re.compile(ISO_WITH_OFFSET, re.ASCII)
_CLOCK_DIRECTIVE = re.compile(r"%[HIcXs]")
_EPOCHS = {EXCEL: datetime(1899, 12, 30), EXCEL_1904: datetime(1904, 1, 1)}
_FIRST_SERIAL = {
    EXCEL: 61.0,
    EXCEL_1904: 1.0,
}  # Excel counts a 29 February 1900 that never was: no day before March
_LAST_SERIAL = 2_958_465.0  # the year 9999

Parsed = datetime | date | time | None


@dataclass(frozen=True)
class Clock:
    """How cells are read as moments.

    zone: of times without an offset; None when the site states none.
    formats: of strptime, or `excel`, `excel1904` for serial numbers; none: year first.
    midnight_is_date: a time at 00:00:00 is a date that an export has filled up.
    dates_suffice: a date stands for its first moment (conditions).
    """

    zone: tzinfo | None = None
    formats: tuple[str, ...] = ()
    midnight_is_date: bool = False
    dates_suffice: bool = False

    def moment(self, cells: Sequence[object]) -> tuple[int, str]:
        """Microseconds since 1970 in UTC and '', or NOT_A_TIME and the reason.

        Args:
            cells: one cell, or that of the date and that of the clock; text, numbers, or what Excel holds.
        """
        if all(isinstance(cell, str) for cell in cells):
            return _moment_of_texts(self, tuple(cells))
        return self._moment(cells)

    def _moment(self, cells: Sequence[object]) -> tuple[int, str]:
        if all(_is_empty(cell) for cell in cells):
            return NOT_A_TIME, NO_TIME
        first = self.parsed(cells[0])
        if len(cells) > 1:
            first = _joined(first, self._clock(cells[1]), clock_is_empty=_is_empty(cells[1]))
        if first is None or isinstance(first, time):
            return NOT_A_TIME, BAD_TIME
        if isinstance(first, datetime) and self.midnight_is_date and first.time() == time():
            first = first.date()
        if not isinstance(first, datetime):
            if not self.dates_suffice:
                return NOT_A_TIME, DATE_ONLY
            first = datetime(first.year, first.month, first.day)
        return instant(first, self.zone)

    def day(self, cell: object) -> str:
        """The date in a cell as YYYY-MM-DD; a year or a month alone as YYYY or YYYY-MM; '' for neither."""
        if isinstance(cell, int) and not isinstance(cell, bool) and 1850 <= cell <= 2200:
            return str(cell)
        if isinstance(cell, str) and re.fullmatch(r"\d{4}([-/]\d{2})?", _half_width(cell)):
            return _half_width(cell).replace("/", "-")
        found = self.parsed(cell)
        return found.isoformat()[:10] if isinstance(found, date) else ""

    def parsed(self, cell: object) -> Parsed:
        """A cell as date with time, date or clock time; None when it is none."""
        if isinstance(cell, datetime | date | time):
            return cell
        if isinstance(cell, bool) or cell is None:
            return None
        if isinstance(cell, int | float):
            return _from_serial(float(cell), self.formats)
        return _from_text(str(cell), self.formats)

    def _clock(self, cell: object) -> Parsed:
        if isinstance(cell, str):
            match = _CLOCK.fullmatch(_half_width(cell))
            if match is not None:
                return _time(match.groups())
        found = self.parsed(cell)
        return found.time() if isinstance(found, datetime) else found


@lru_cache(maxsize=65_536)  # rows of one specimen or one round share their time
def _moment_of_texts(clock: Clock, cells: tuple[object, ...]) -> tuple[int, str]:
    return clock._moment(cells)


def instant(moment: datetime, zone: tzinfo | None) -> tuple[int, str]:
    """Microseconds since 1970 in UTC and '', or NOT_A_TIME and the reason.

    Args:
        moment: with an offset, or a local time of the zone.
        zone: None when it is not known.
    """
    try:
        if moment.tzinfo is not None:
            return microseconds(moment), ""
        if zone is None:
            return NOT_A_TIME, NAIVE
        there = placed(moment, zone)
        return (NOT_A_TIME, AMBIGUOUS_TIME) if there is None else (microseconds(there), "")
    except OverflowError:
        return NOT_A_TIME, BAD_TIME


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _half_width(text: str) -> str:
    return text.strip() if text.isascii() else unicodedata.normalize("NFKC", text).strip()


def _joined(day: Parsed, clock: Parsed, *, clock_is_empty: bool) -> Parsed:
    """Date and clock of two cells together; None when they contradict each other."""
    offset = None
    if isinstance(day, datetime):
        if day.time() != time():
            return None  # two clock times
        offset = day.tzinfo
        day = day.date()
    if clock_is_empty or not isinstance(day, date):
        return day if isinstance(day, date) else None
    return datetime.combine(day, clock, clock.tzinfo or offset) if isinstance(clock, time) else None


def _from_serial(serial: float, formats: tuple[str, ...]) -> Parsed:
    """A serial number of Excel: whole days and the fraction of a day; only where the map says that it is one."""
    system = next((one for one in formats if one in SERIALS), None)
    if system is None:
        return None
    day, fraction = divmod(serial, 1.0)
    since = timedelta(milliseconds=round(fraction * 86_400_000))
    if day == 0:
        return (datetime.min + since).time() if since < timedelta(days=1) else None
    if not _FIRST_SERIAL[system] <= serial <= _LAST_SERIAL:
        return None
    found = _EPOCHS[system] + timedelta(days=day) + since
    return found.date() if fraction == 0 else found


def _from_text(text: str, formats: tuple[str, ...]) -> Parsed:
    text = _half_width(text)
    if not formats:
        return _year_first(text)
    for one in formats:
        if one in SERIALS:
            if re.fullmatch(r"\d{1,7}(\.\d+)?", text):
                return _from_serial(float(text), formats)
            continue
        try:
            found = datetime.strptime(text, one)
        except ValueError:
            continue
        return found if _CLOCK_DIRECTIVE.search(one) else found.date()
    return None


def _year_first(text: str) -> Parsed:
    try:
        if _WITH_OFFSET.match(text):
            return datetime.fromisoformat(text)
        match = _YEAR_FIRST.fullmatch(text)
        if match is None:
            return None
        year, _, month, day, *clock = match.groups()
        found = date(int(year), int(month), int(day))
        if clock[0] is None:
            return found
        at = _time(clock)
        return None if at is None else datetime.combine(found, at)
    except ValueError:
        return None


def _time(parts: Sequence[str | None]) -> time | None:
    hour, minute, second, fraction = parts
    try:
        return time(int(hour or 0), int(minute or 0), int(second or 0), int((fraction or "0").ljust(6, "0")))
    except ValueError:
        return None
