"""Columns of an OMOP table, whatever the source holds them as, as text, whole numbers and moments.

CSV gives bytes or text, Parquet and databases give numbers, dates and times; what they mean is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.times import NAIVE, NOT_A_TIME, OK, UNPARSABLE, parse_times

NULL_TEXTS = ("\\N", "NULL", "null")
"""How exports of databases write an absent cell, beside the empty one; never the name of a code or a unit."""
NULL_NUMBERS = (*NULL_TEXTS, "NA", "NaN", "nan", "None")
"""The same where a number, a date or a time belongs; as a text `NA` may be sodium."""
WHOLE = r"^[+-]?\d{1,18}(\.0*)?$"
ZEROS_AT_THE_END = r"\.?0+$"
LARGEST_EXACT = 2.0**53

EMPTY, MOMENT, DAY, BAD, AMBIGUOUS = 0, 1, 2, 3, 4
"""What a cell holds: nothing, a moment, a day without a time, anything else, a local time that is not one moment."""
FIRST_US = int(np.datetime64("1900-01-01", "us").astype(np.int64))
LAST_US = int(np.datetime64("2100-01-01", "us").astype(np.int64))
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Moments:
    """Cells read as times; shape (n,) each.

    us: microseconds since 1970 in UTC; of a day its local beginning; NOT_A_TIME when the cell is neither.
    kind: EMPTY, MOMENT, DAY, BAD or AMBIGUOUS.
    local_us: the local clock, counted as if it were UTC; NOT_A_TIME like `us`, but known of an ambiguous time.
    aware: the cell itself says its offset.
    """

    us: NDArray[np.int64]
    kind: NDArray[np.int8]
    local_us: NDArray[np.int64]
    aware: NDArray[np.bool_]

    @property
    def absent(self) -> NDArray[np.bool_]:
        """Where nothing stands that is a moment."""
        return self.kind != MOMENT

    @property
    def midnight(self) -> NDArray[np.bool_]:
        """Where a moment is exactly 00:00:00 of the local clock."""
        return (self.kind == MOMENT) & (self.local_us % DAY_US == 0)

    @property
    def day(self) -> NDArray[np.int64]:
        """Local days since 1970; meaningless where nothing is known."""
        return self.local_us // DAY_US


@dataclass(frozen=True)
class Cells:
    """The columns of a batch by name; None for one that the table does not have."""

    columns: Mapping[str, pa.Array]
    rows: int

    def get(self, name: str) -> pa.Array | None:
        """The column of this name."""
        return self.columns.get(name)

    def text(self, name: str) -> pa.Array:
        """The column as text."""
        return texts(self.get(name), self.rows)

    def ids(self, name: str) -> pa.Array:
        """The column as concept ids; null where there is none."""
        return whole_numbers(self.get(name), self.rows)[0]


def texts(cells: pa.Array | None, rows: int, nulls: tuple[str, ...] = NULL_TEXTS) -> pa.Array:
    """Cells as text without surrounding blanks; '' for what is absent. Numbers keep every digit.

    Args:
        cells: of any flat type; None for a column that the table does not have.
        rows: number of rows.
        nulls: spellings of an absent cell.
    """
    if cells is None:
        return pa.repeat(pa.scalar(""), rows)
    cells = _plain(cells)
    kind = cells.type
    if pa.types.is_floating(kind):
        cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, kind), cells)
        found = cells.cast(pa.string())
    elif pa.types.is_decimal(kind):  # the scale belongs to the column: 38.400 says no more than 38.4
        found = cells.cast(pa.string())
        fraction = pc.match_substring(found, ".")
        found = pc.if_else(fraction, pc.replace_substring_regex(found, ZEROS_AT_THE_END, ""), found)
    else:
        found = cells.cast(pa.string())
    found = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
    return pc.if_else(pc.is_in(found, pa.array(nulls)), "", found)


def whole_numbers(cells: pa.Array | None, rows: int) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Identifiers as int64 with nulls, and where a cell holds something else (a text, 1.5, 1.2E+12).

    A number that lost digits on its way through a spreadsheet would join two patients; it is no identifier.
    """
    if cells is None:
        return pa.nulls(rows, pa.int64()), np.zeros(rows, dtype=np.bool_)
    cells = _plain(cells)
    if pa.types.is_integer(cells.type):
        return cells.cast(pa.int64(), safe=False), np.zeros(rows, dtype=np.bool_)
    if pa.types.is_floating(cells.type):
        values = cells.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        absent = np.isnan(values)
        with np.errstate(invalid="ignore"):
            good = ~absent & (np.abs(values) <= LARGEST_EXACT) & (values == np.rint(values))
        found = pa.array(np.where(good, values, 0.0).astype(np.int64), mask=~good)
        return found, ~absent & ~good
    written = texts(cells, rows, NULL_NUMBERS)
    found = _plain_digits(written)
    if found is not None:
        return found, np.zeros(rows, dtype=np.bool_)
    good, absent = _matches(written, WHOLE), _matches(written, "^$")
    digits = pc.replace_substring_regex(pc.if_else(pa.array(good), written, None), r"\..*$|^\+", "")
    return digits.cast(pa.int64()), ~absent & ~good


def _plain_digits(written: pa.Array) -> pa.Array | None:
    """Whole numbers if all texts that are there are digits, as they nearly always are; much the faster way."""
    if pc.any(pc.match_substring(written, "x", ignore_case=True)).as_py():  # Arrow would read 0x10 as 16
        return None
    try:
        return _null_for_empty(written).cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def moments(cells: pa.Array | None, rows: int, zone: ZoneInfo) -> Moments:
    """Cells as moments; times without an offset are of the zone.

    Dates outside 1900 to 2100 are BAD: fillers such as 0001-01-01 or 9999-12-31.
    """
    if cells is None:
        nothing = np.full(rows, NOT_A_TIME, dtype=np.int64)
        return Moments(nothing, np.zeros(rows, dtype=np.int8), nothing, np.zeros(rows, dtype=np.bool_))
    cells = _plain(cells)
    kind = cells.type
    if pa.types.is_date(kind):
        local = _filled(cells.cast(pa.timestamp("us")))
        return _located(local, np.where(local == NOT_A_TIME, EMPTY, DAY).astype(np.int8), zone)
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            us = _filled(cells.cast(pa.timestamp("us", kind.tz), safe=False))
            return _aware(us, np.where(us == NOT_A_TIME, EMPTY, MOMENT).astype(np.int8), zone)
        local = _filled(cells.cast(pa.timestamp("us"), safe=False))
        return _located(local, np.where(local == NOT_A_TIME, EMPTY, MOMENT).astype(np.int8), zone)
    written = texts(cells, rows, NULL_NUMBERS)
    plain = _plain_times(written)
    return _from_text(written, zone) if plain is None else moments(plain, rows, zone)


def _plain_times(written: pa.Array) -> pa.Array | None:
    """Texts as dates or as times without an offset, if all that are there are one of the two; much the faster way."""
    there = _null_for_empty(written)
    length = pc.min_max(pc.utf8_length(there)).as_py()
    if length["min"] is None:
        return pa.nulls(len(written), pa.date32())
    try:
        if length["max"] == length["min"] == len("2026-11-01"):
            return there.cast(pa.date32())
        if length["min"] >= len("2026-11-01 09:00"):
            return there.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        pass  # an offset, or no time: told cell by cell
    return None


def day_begin(days: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """Microseconds of the first moment of local days, NOT_A_TIME outside 1900 to 2100."""
    known = (days >= FIRST_US // DAY_US) & (days < LAST_US // DAY_US)
    local = np.where(known, days, 0) * DAY_US
    return np.where(known, _located(local, np.full(days.size, DAY, dtype=np.int8), zone).us, NOT_A_TIME)


def joined(first: Moments, second: Moments, chosen: NDArray[np.bool_]) -> Moments:
    """The first where chosen, else the second."""
    return Moments(
        np.where(chosen, first.us, second.us),
        np.where(chosen, first.kind, second.kind),
        np.where(chosen, first.local_us, second.local_us),
        np.where(chosen, first.aware, second.aware),
    )


def _from_text(written: pa.Array, zone: ZoneInfo) -> Moments:
    written = pc.replace_substring_regex(written, r" UTC$", "Z")  # as BigQuery exports timestamps
    us, kinds = parse_times(written)
    kind = np.select([kinds == OK, kinds == NAIVE, kinds == UNPARSABLE], [MOMENT, MOMENT, BAD], EMPTY)
    kind = kind.astype(np.int8)
    aware = kinds == OK
    naive = np.flatnonzero(kinds == NAIVE)
    local = np.full(len(written), NOT_A_TIME, dtype=np.int64)
    if naive.size:
        chosen = written.take(pa.array(naive))
        read = pd.to_datetime(
            pd.Series(pd.array(chosen, dtype="str")), format="ISO8601", errors="coerce"
        ).astype("datetime64[us]")
        local[naive] = np.where(read.isna(), NOT_A_TIME, read.astype("int64").to_numpy())
        days = pc.equal(pc.utf8_length(chosen), 10).to_numpy(zero_copy_only=False)
        kind[naive] = np.where(read.isna(), BAD, np.where(days, DAY, MOMENT))
    found = _located(local, np.where(aware, EMPTY, kind).astype(np.int8), zone)
    return joined(_aware(us, kind, zone), found, aware) if aware.any() else found


def _aware(us: NDArray[np.int64], kind: NDArray[np.int8], zone: ZoneInfo) -> Moments:
    there = us != NOT_A_TIME
    clock = _clock(us[there]).tz_localize("UTC").tz_convert(zone)
    local = np.full(us.size, NOT_A_TIME, dtype=np.int64)
    local[there] = clock.tz_localize(None).as_unit("us").asi8
    return _plausible(Moments(us, kind, local, there))


def _located(local: NDArray[np.int64], kind: NDArray[np.int8], zone: ZoneInfo) -> Moments:
    """Moments of a local clock. A day whose first hour the clock leaves out begins with its first moment."""
    read = _plausible(Moments(local, kind, local, np.zeros(local.size, dtype=np.bool_)))
    us = np.full(local.size, NOT_A_TIME, dtype=np.int64)
    days = read.kind == DAY
    first = np.ones(int(days.sum()), dtype=np.bool_)
    begin = _clock(local[days]).tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    us[days] = begin.as_unit("us").asi8
    timed = read.kind == MOMENT
    at = _clock(local[timed]).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    us[timed] = np.where(at.isna(), NOT_A_TIME, at.as_unit("us").asi8)
    found = read.kind.copy()
    found[np.flatnonzero(timed)[at.isna()]] = AMBIGUOUS
    return Moments(us, found, read.local_us, read.aware)


def _clock(local: NDArray[np.int64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(local.astype("datetime64[us]"))


def _plausible(read: Moments) -> Moments:
    absurd = (read.local_us != NOT_A_TIME) & ((read.local_us < FIRST_US) | (read.local_us >= LAST_US))
    if not absurd.any():
        return read
    return Moments(
        np.where(absurd, NOT_A_TIME, read.us),
        np.where(absurd, BAD, read.kind).astype(np.int8),
        np.where(absurd, NOT_A_TIME, read.local_us),
        read.aware,
    )


def _filled(cells: pa.Array) -> NDArray[np.int64]:
    found: NDArray[np.int64] = cells.cast(pa.int64()).fill_null(NOT_A_TIME).to_numpy(zero_copy_only=False)
    return found


def _null_for_empty(written: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(written, ""), pa.scalar(None, pa.string()), written)


def _plain(cells: pa.Array) -> pa.Array:
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells


def _matches(written: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.match_substring_regex(written, pattern).to_numpy(zero_copy_only=False)
    return found
