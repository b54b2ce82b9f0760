"""Times of HL7 v2: YYYYMMDDHHMM[SS[.SSSS]][+/-ZZZZ], to the minute at least."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from crsrisk.times import NOT_A_TIME, microseconds

ABSENT = "NO_TIME: no time; accepted: YYYYMMDDHHMM[SS][+/-ZZZZ]"
BAD_TIME = "BAD_TIME: not a time to the minute; accepted: YYYYMMDDHHMM[SS][+/-ZZZZ]"
NAIVE = (
    "BAD_TIME: a time without an offset; accepted: +/-ZZZZ behind it or MSH-7, or time_zone in the site map"
)
DATE_ONLY = "DATE_ONLY: a date without a time; accepted: YYYYMMDDHHMM[SS][+/-ZZZZ]"
AMBIGUOUS_TIME = (
    "AMBIGUOUS_TIME: a clock time that exists twice or not at all; accepted: an offset +/-ZZZZ behind it"
)

_TIME = re.compile(r"(\d+)(?:\.(\d{1,6}))?(?:([+-])(\d{2})(\d{2}))?", re.ASCII)
_DATES = (4, 6, 8)
_MILLISECONDS = 17
"""SS-MIX2 also writes milliseconds without a point, as in its file names."""


@dataclass(frozen=True)
class Clock:
    """How times without an offset are meant: by the site's zone, else by the offset of MSH-7, else not at all."""

    zone: tzinfo | None

    def moment(self, text: str, *, late: bool = False) -> tuple[int, str]:
        """Microseconds since 1970 in UTC and '', or NOT_A_TIME and the reason.

        Args:
            text: first component of a time.
            late: of a clock time that exists twice take the later one: for moments of knowledge.
        """
        return _moment(text.strip(), self.zone, late)


def offset_of(text: str) -> tzinfo | None:
    """The offset behind a time, None when it has none."""
    found = _TIME.fullmatch(text.strip())
    return None if found is None or found[3] is None else _offset(found)


def same_day(text: str, other: str) -> bool:
    """Whether two times begin with the same date."""
    return text[:8] == other[:8]


def date_of(text: str) -> str:
    """The date of a time as YYYY-MM-DD, YYYY-MM or YYYY; the text itself when it is no date.

    >>> date_of("19650415"), date_of("196504"), date_of("19650415083000+0900")
    ('1965-04-15', '1965-04', '1965-04-15')
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or len(found[1]) < 4:
        return text
    digits = found[1][:8]
    return "-".join(part for part in (digits[:4], digits[4:6], digits[6:8]) if part)


def _offset(found: re.Match[str]) -> tzinfo | None:
    ahead = timedelta(hours=int(found[4]), minutes=int(found[5]))
    if ahead >= timedelta(hours=24) or int(found[5]) > 59:
        return None
    return timezone(-ahead if found[3] == "-" else ahead)


@lru_cache(maxsize=1 << 16)
def _moment(text: str, zone: tzinfo | None, late: bool) -> tuple[int, str]:
    found = _TIME.fullmatch(text)
    digits = found[1] if found is not None else ""
    if not text or len(digits) in _DATES:
        return NOT_A_TIME, DATE_ONLY if text else ABSENT
    fraction = (found[2] if found is not None else "") or ""
    if len(digits) == _MILLISECONDS and not fraction:
        digits, fraction = digits[:14], digits[14:]
    if found is None or len(digits) not in (12, 14) or (fraction and len(digits) != 14):
        return NOT_A_TIME, BAD_TIME
    placed = _offset(found) if found[3] is not None else zone
    if placed is None:
        return NOT_A_TIME, NAIVE if found[3] is None else BAD_TIME
    year, *rest = (int(part) for part in (digits[:4], *(digits[i : i + 2] for i in range(4, len(digits), 2))))
    month, day, hour, minute, second = (*rest, 0)[:5]
    try:
        clock = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")), tzinfo=placed)
        return _placed(clock, late=late)
    except (ValueError, OverflowError):
        return NOT_A_TIME, BAD_TIME


def _placed(clock: datetime, *, late: bool) -> tuple[int, str]:
    first, second = clock.utcoffset(), clock.replace(fold=1).utcoffset()
    if first == second:
        return microseconds(clock), ""
    there = clock.astimezone(UTC).astimezone(clock.tzinfo).replace(tzinfo=None) == clock.replace(tzinfo=None)
    if late and there:
        return microseconds(clock.replace(fold=1)), ""
    return NOT_A_TIME, AMBIGUOUS_TIME
