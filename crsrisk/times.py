"""Times of a cohort: ISO 8601 with an offset, whole microseconds inside, hours from the index time."""

import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.errors import TimeError

ISO_WITH_OFFSET = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)$"
ISO_WITHOUT_OFFSET = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?$"
ACCEPTED = "ISO 8601 with an offset, for example 2026-11-01T09:00:00+09:00"

MICROSECONDS_PER_HOUR = 3_600_000_000
NOT_A_TIME = np.iinfo(np.int64).min
FURTHEST_HOURS = 876_600.0
"""A century: hours beyond it are a slip of the decimal point or of the year."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WITH_OFFSET = re.compile(ISO_WITH_OFFSET, re.ASCII)

OK, EMPTY, NAIVE, UNPARSABLE = 0, 1, 2, 3
CAME = {EMPTY: "no time", NAIVE: "a time without an offset", UNPARSABLE: "not a time"}


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC of an aware datetime.

    Raises:
        TimeError: the datetime has no time zone.
    """
    if moment.utcoffset() is None:
        raise TimeError(f"{CAME[NAIVE]}; accepted: {ACCEPTED}")
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def parse_time(value: object) -> int:
    """Microseconds since 1970 in UTC of an aware datetime or of ISO 8601 text with an offset.

    Raises:
        TimeError: naive, unparsable or of another type.

    >>> parse_time("1970-01-01T09:00:01+09:00")
    1000000
    """
    if isinstance(value, datetime):
        return microseconds(value)
    if not isinstance(value, str):
        raise TimeError(f"a time as {type(value).__name__}; accepted: {ACCEPTED}")
    text = value.strip()
    if _WITH_OFFSET.match(text) is None:
        kind = NAIVE if re.match(ISO_WITHOUT_OFFSET, text, re.ASCII) else UNPARSABLE
        raise TimeError(f"{CAME[kind]}; accepted: {ACCEPTED}")
    try:
        return microseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise TimeError(f"{CAME[UNPARSABLE]}; accepted: {ACCEPTED}") from None


def parse_times(texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Microseconds since 1970 in UTC, and per cell 0 good, 1 empty, 2 without offset, 3 not a time.

    Args:
        texts: pyarrow string array without nulls, shape (n,).
    """
    kinds = np.full(len(texts), UNPARSABLE, dtype=np.int8)
    kinds[_matches(texts, ISO_WITH_OFFSET)] = OK
    kinds[_matches(texts, ISO_WITHOUT_OFFSET)] = NAIVE
    kinds[_matches(texts, "^$")] = EMPTY
    found = np.full(len(texts), NOT_A_TIME, dtype=np.int64)
    good = np.flatnonzero(kinds == OK)
    if good.size:
        chosen = pd.Series(pd.array(texts.take(pa.array(good)), dtype="str"))
        moments = pd.to_datetime(chosen, format="ISO8601", utc=True, errors="coerce")
        kinds[good[moments.isna().to_numpy()]] = UNPARSABLE
        found[good] = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy()
        found[kinds != OK] = NOT_A_TIME
    return found, kinds


def hours_between(index: NDArray[np.int64], moments: NDArray[np.int64]) -> NDArray[np.float64]:
    """Hours from index to moment, both microseconds; exact to the microsecond."""
    hours: NDArray[np.float64] = (moments - index) / MICROSECONDS_PER_HOUR
    return hours


def whole_microseconds(hours: NDArray[np.float64]) -> NDArray[np.int64]:
    """Hours as whole microseconds, rounded."""
    return np.rint(hours * MICROSECONDS_PER_HOUR).astype(np.int64)


def iso(moments: NDArray[np.int64]) -> list[str]:
    """ISO 8601 text in UTC of microseconds since 1970; empty for no time.

    Decimals only when a moment needs them, then all have six.
    """
    there = moments != NOT_A_TIME
    whole = bool((moments[there] % 1_000_000 == 0).all())
    texts = np.datetime_as_string(
        moments.astype("datetime64[us]"), unit="s" if whole else "us", timezone="UTC"
    )
    found: list[str] = np.where(there, texts, "").tolist()
    return found


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return found
