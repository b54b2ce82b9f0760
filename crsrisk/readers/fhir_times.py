"""Times of FHIR: `instant` and `dateTime` as microseconds; a date alone is no moment and is never filled up."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from crsrisk.readers.local_times import placed
from crsrisk.times import ACCEPTED

BAD_TIME = f"BAD_TIME: not a time; accepted: {ACCEPTED}"
NAIVE_TIME = f"BAD_TIME: a time without an offset; accepted: {ACCEPTED}, or time_zone in the site map"
DATE_ONLY = "DATE_ONLY: a date without a time; accepted: date and time, since risks change by the hour"
AMBIGUOUS_TIME = (
    "AMBIGUOUS_TIME: a local time that exists twice or not at all when clocks change; accepted: an offset"
)
NO_TIME = "NO_TIME: no time; accepted: a time as the resource's profile names it"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PARTIAL_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)
_SHORTEST, _LONGEST = 16, 40
_TIMES_KEPT = 65_536


class RefusedError(Exception):
    """A resource, or a part of it, that can't be used; `reason` is 'CODE: what is accepted'."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Clock:
    """Reads times; those without an offset in the zone of the site map."""

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._known: dict[str, int] = {}

    def moment(self, value: object) -> int:
        """Microseconds since 1970 in UTC.

        Raises:
            RefusedError: no time, a date alone, or a local time that can't be placed.
        """
        if type(value) is not str:
            raise RefusedError(BAD_TIME)
        found = self._known.get(value)  # a panel of results shares its times
        if found is None:
            found = self.read(value)
            if len(self._known) >= _TIMES_KEPT:
                self._known.clear()
            self._known[value] = found
        return found

    def read(self, text: str) -> int:
        """As `moment`, for times that hardly come twice."""
        if (
            not _SHORTEST <= len(text) <= _LONGEST
            or text[10] not in "Tt "
            or text[7] != "-"
            or text[4] != "-"
        ):
            raise RefusedError(DATE_ONLY if _PARTIAL_DATE.fullmatch(text.strip()) else BAD_TIME)
        try:
            found = datetime.fromisoformat(text.strip())
            if found.tzinfo is None:
                found = self._placed(found)
            return (found - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            raise RefusedError(BAD_TIME) from None

    def _placed(self, local: datetime) -> datetime:
        if self._zone is None:
            raise RefusedError(NAIVE_TIME)
        found = placed(local, self._zone)
        if found is None:
            raise RefusedError(AMBIGUOUS_TIME)
        return found
