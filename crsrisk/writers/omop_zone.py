"""The zone in which a writer gives times without an offset: one whose midnights no reader takes for dates."""

from collections import Counter

import numpy as np
import pandas as pd

from crsrisk.readers.omop_columns import DAY_US
from crsrisk.readers.omop_survey import judged
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME

SHIFTS = (0, *range(1, 12), *range(-11, 0))
"""Hours east of UTC; UTC where it serves."""


def zone_without_disguise(tables: pd.Series, concepts: pd.Series, moments: pd.Series) -> tuple[str, int]:
    """Name of a zone and its hours east of UTC.

    Infusions at 09:00 in Tokyo are all at midnight in UTC, where they would look like dates that somebody filled.

    Args:
        tables: name of the table of each row.
        concepts: standard concept of each row.
        moments: microseconds since 1970 in UTC, NOT_A_TIME for none.
    """
    told = pd.DataFrame({"table": tables, "concept": concepts, "us": moments})
    told = told[told["us"] != NOT_A_TIME]
    time_of_day = told["us"].to_numpy(dtype=np.int64) % DAY_US
    fewest: tuple[int, int] | None = None
    for shift in SHIFTS:
        midnight = (time_of_day + shift * MICROSECONDS_PER_HOUR) % DAY_US == 0
        disguised = _disguised(told, midnight)
        if not disguised:
            fewest = (0, shift)
            break
        if fewest is None or disguised < fewest[0]:
            fewest = (disguised, shift)
    shift = 0 if fewest is None else fewest[1]
    return (
        "UTC" if shift == 0 else f"Etc/GMT{-shift:+d}"
    ), shift  # the signs of these names are the other way round


def _disguised(told: pd.DataFrame, midnight: np.ndarray) -> int:
    """How many rows a reader would set aside."""
    count = 0
    for _, rows in told.assign(midnight=midnight).groupby("table"):
        concept = rows["concept"].to_numpy(dtype=np.int64)
        at = rows["midnight"].to_numpy()
        verdict = judged(Counter(concept.tolist()), Counter(concept[at].tolist()))
        count += int(verdict.disguised(concept, at).sum())
    return count
