"""When a row of an OMOP table happened: moments where the site knows them, never a date made into midnight."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from crsrisk.readers.omop_columns import (
    AMBIGUOUS,
    BAD,
    DAY,
    EMPTY,
    MOMENT,
    Cells,
    Moments,
    day_begin,
    moments,
)
from crsrisk.readers.omop_survey import Midnights
from crsrisk.readers.omop_tables import KNOWN, OBSERVATION_PERIOD, OmopTable
from crsrisk.times import NOT_A_TIME

NO_TIME = "NO_TIME: neither a date nor a datetime; accepted: a datetime"
DATE_ONLY = "DATE_ONLY: a date without a time of day; accepted: a datetime, since features count hours"
MIDNIGHT = (
    "DATE_ONLY: at exactly 00:00:00 like most rows of its concept or table, so a date that was filled; accepted: the "
    "true time of day"
)
BAD_TIME = "BAD_TIME: not a time from 1900 to 2099; accepted: 2026-11-01 09:00:00 or ISO 8601"
OTHER_DAY = "BAD_TIME: date and datetime name different days; accepted: the same day in both"
END_FIRST = "BAD_TIME: it ends before it starts; accepted: an end at the start or later"
AMBIGUOUS_TIME = (
    "AMBIGUOUS_TIME: a local time that exists twice or not at all where the clock changes; accepted: a datetime "
    "with an offset"
)
KNOWN_DATE = f"DATE_ONLY: {KNOWN} without a time of day; accepted: a datetime or nothing"
OPEN_KINDS = ("device",)
PERIOD_KINDS = ("procedure", "drug", "device", "stay")


@dataclass(frozen=True)
class Times:
    """Times of the rows of a batch, shape (n,) each, in microseconds as in `Record`, and which rows have none."""

    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    known_us: NDArray[np.int64]
    refused: tuple[tuple[NDArray[np.bool_], str], ...]


def read_times(
    table: OmopTable,
    cells: Cells,
    concept: NDArray[np.int64],
    is_rate: NDArray[np.bool_],
    about_person: NDArray[np.bool_],
    midnights: Midnights,
    zone: ZoneInfo,
) -> Times:
    """Times of a batch.

    Args:
        table: which columns hold them.
        cells: the batch.
        concept: standard concept, 0 for none.
        is_rate: rows whose drug runs at a rate: without an end it goes on.
        about_person: rows for which a date is enough, since they are facts of the patient.
        midnights: verdict on the midnights of the table.
        zone: of times without an offset.
    """
    start, day, known = (
        moments(cells.get(name), cells.rows, zone) for name in (table.moment, table.day, KNOWN)
    )
    timed = start.kind == MOMENT
    disguised = midnights.disguised(concept, start.midnight)
    dated = (start.kind == DAY) | ((start.kind == EMPTY) & (day.kind != EMPTY) & (day.kind != BAD))
    needs_time = ~about_person & (not table.day_is_enough)
    day_known = np.isin(day.kind, (DAY, MOMENT, AMBIGUOUS))
    elsewhere = timed & ~start.aware & day_known & (start.day != day.day)
    unclear = (start.kind == AMBIGUOUS) & (needs_time | ~day_known)
    refused = [
        ((start.kind == BAD) | ((start.kind == EMPTY) & (day.kind == BAD)), BAD_TIME),
        ((start.kind == EMPTY) & (day.kind == EMPTY) & ~about_person, NO_TIME),
        (elsewhere, OTHER_DAY),
        (dated & needs_time, DATE_ONLY),
        (disguised & needs_time, MIDNIGHT),
        (unclear, AMBIGUOUS_TIME),
        (known.kind == BAD, BAD_TIME),
        (known.kind == AMBIGUOUS, AMBIGUOUS_TIME),
        (known.kind == DAY, KNOWN_DATE),
    ]
    first_day = np.where(timed | (start.kind == DAY) | (start.kind == AMBIGUOUS), start.day, day.day)
    start_us = np.where(timed, start.us, day_begin(first_day, zone))
    if table.kind not in PERIOD_KINDS:
        end_us = np.full(cells.rows, NOT_A_TIME) if table.kind == "condition" else start_us
    else:
        end_us = _ends(table, cells, start_us, first_day, is_rate, midnights, zone, refused)
    return Times(start_us, end_us, known.us, tuple(refused))


def _ends(
    table: OmopTable,
    cells: Cells,
    start_us: NDArray[np.int64],
    first_day: NDArray[np.int64],
    is_rate: NDArray[np.bool_],
    midnights: Midnights,
    zone: ZoneInfo,
    refused: list[tuple[NDArray[np.bool_], str]],
) -> NDArray[np.int64]:
    """Ends of periods; appends to `refused`.

    The time of an end that is known by its date alone is not known: a period then goes on (NOT_A_TIME), unless it
    ends on the day of its start and what was given is an amount. A stay lasts at least to the beginning of its last
    day; OBSERVATION_PERIOD includes its last day, as the CDM defines it.
    """
    end, end_day = (moments(cells.get(name), cells.rows, zone) for name in (table.end_moment, table.end_day))
    filled = end.midnight & (midnights.ends | (end.us < start_us))
    timed = (end.kind == MOMENT) & ~filled
    last = _day_of(end, end_day)
    dated = ~timed & (last != NOT_A_TIME)
    before = (timed & (end.us < start_us)) | (dated & (last < first_day))
    refused += [
        ((end.kind == BAD) | ((end.kind == EMPTY) & (end_day.kind == BAD)), BAD_TIME),
        (end.kind == AMBIGUOUS, AMBIGUOUS_TIME),
        (before, END_FIRST),
    ]
    if table.kind == "stay":
        inclusive = 1 if table is OBSERVATION_PERIOD else 0
        bound = day_begin(np.where(dated, last + inclusive, first_day), zone)
        untimed = np.where(dated, np.maximum(bound, start_us), NOT_A_TIME)
    elif table.kind in OPEN_KINDS:
        untimed = np.full(cells.rows, NOT_A_TIME)
    else:
        goes_on = is_rate | (dated & (last > first_day))
        untimed = np.where(goes_on, NOT_A_TIME, start_us)
    return np.where(timed, end.us, untimed)


def _day_of(end: Moments, end_day: Moments) -> NDArray[np.int64]:
    """Local day of an end, NOT_A_TIME when neither column says it."""
    in_moment = np.isin(end.kind, (MOMENT, DAY))
    in_day = (end.kind == EMPTY) & np.isin(end_day.kind, (MOMENT, DAY))
    return np.select([in_moment, in_day], [end.day, end_day.day], NOT_A_TIME)
