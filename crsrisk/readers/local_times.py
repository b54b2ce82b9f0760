"""Clock times to moments in UTC: what the zone's clock shows twice, or never, stays unplaced."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.times import NOT_A_TIME

PLACED, ABSENT, AMBIGUOUS, OUT_OF_REACH = 0, 1, 2, 3
EARLIEST, LATEST = np.datetime64("1850-01-01", "us"), np.datetime64("2150-01-01", "us")
"""Times beyond these are slips of the year; time zones are not defined there."""


def placed(clock: datetime, zone: tzinfo) -> datetime | None:
    """The moment at which the zone's clock shows a time; None when it does so twice or never.

    Raises:
        OverflowError: a year out of reach.
    """
    early, late = (clock.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return early.astimezone(UTC) if early.utcoffset() == late.utcoffset() else None


@dataclass(frozen=True)
class Moments:
    """Moments of a column; arrays of shape (n,).

    us: microseconds since 1970 in UTC, NOT_A_TIME where there is none. states: PLACED, ABSENT, AMBIGUOUS (a clock
    time that exists twice or not at all) or OUT_OF_REACH. clock: the clock time, for its date; NaT when absent.
    """

    us: NDArray[np.int64]
    states: NDArray[np.int8]
    clock: NDArray[np.datetime64]


def moments(times: pa.Array, zone: tzinfo) -> Moments:
    """Moments of a column of timestamps in microseconds.

    Args:
        times: with a zone of their own, or clock times of `zone`.
        zone: of times without one, and of the clock of all.
    """
    absent: NDArray[np.bool_] = times.is_null().to_numpy(zero_copy_only=False)
    given = (
        times.cast(pa.timestamp("us")).fill_null(0).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    )
    far = ~absent & ((given < EARLIEST) | (given > LATEST))
    near = np.flatnonzero(~absent & ~far)
    states = np.full(len(given), PLACED, dtype=np.int8)
    states[absent], states[far] = ABSENT, OUT_OF_REACH
    us = np.full(len(given), NOT_A_TIME, dtype=np.int64)
    clock = np.where(absent, np.datetime64("NaT", "us"), given)
    if times.type.tz is not None:
        us[near] = given[near].astype(np.int64)
        local = pd.DatetimeIndex(given[near], tz="UTC").tz_convert(zone).tz_localize(None)
        clock[near] = local.to_numpy().astype("datetime64[us]")
        return Moments(us, states, clock)
    placed = pd.DatetimeIndex(given[near]).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    twice: NDArray[np.bool_] = np.asarray(placed.isna())
    states[near[twice]] = AMBIGUOUS
    there = near[~twice]
    us[there] = placed[~twice].as_unit("us").asi8
    return Moments(us, states, clock)
