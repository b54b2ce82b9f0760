"""Which horizons a landmark has: 24 h, 72 h and the rest of the window, never beyond the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.therapies import Therapy, is_engager, therapy, window_hours

REST: None = None
DEFAULT_HORIZONS: tuple[float | None, ...] = (24.0, 72.0, REST)


def scheduled_window_hours(therapy: Therapy, dose: int) -> float:
    """Hours after a dose in which CRS counts as planned: to the next dose, at most 168 (cells 336).

    A prediction can't know when the next dose will be given, so the schedule of the therapy decides; without
    one the window of the class counts.
    """
    window = window_hours(therapy)
    if not is_engager(therapy) or dose >= len(therapy.doses):
        return window
    gap = therapy.doses[dose].hours - therapy.doses[dose - 1].hours
    return min(window, gap) if gap > 0 else window


def planned_window_ends(
    keys: Sequence[str],
    dose: NDArray[np.int64],
    landmark: NDArray[np.float64],
    extra: Mapping[str, Therapy] | None = None,
) -> NDArray[np.float64]:
    """End of each row's window in hours from its dose, as the schedule plans it.

    Where the next dose is late at the landmark, the window of the class counts.
    """
    ends: dict[tuple[str, int], tuple[float, float]] = {}
    pairs = list(zip(keys, dose.tolist(), strict=True))
    for key, number in dict.fromkeys(pairs):
        known = therapy(key, extra)
        ends[key, number] = (scheduled_window_hours(known, number), window_hours(known))
    planned, whole = np.array([ends[pair] for pair in pairs], dtype=np.float64).reshape(-1, 2).T
    return np.where(landmark < planned, planned, whole)


def expand(
    landmark: NDArray[np.float64], window_end: NDArray[np.float64], horizons: Sequence[float | None]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Row numbers, horizon in hours and `rest of window` for every horizon that a row has.

    A fixed horizon that reaches the end of the window or passes it is dropped; the rest of the window
    remains. Rows come out sorted by row and horizon. landmark, window_end: shape (n_rows,), hours from the
    dose.
    """
    rest = window_end - landmark
    rows, hours, whole = [], [], []
    for horizon in horizons:
        if horizon is None:
            keep = np.flatnonzero(rest > 0)
            rows.append(keep)
            hours.append(rest[keep])
            whole.append(np.ones(len(keep), dtype=bool))
        else:
            keep = np.flatnonzero(horizon < rest)
            rows.append(keep)
            hours.append(np.full(len(keep), float(horizon)))
            whole.append(np.zeros(len(keep), dtype=bool))
    if not rows:
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=bool)
    row, hour, is_rest = np.concatenate(rows), np.concatenate(hours), np.concatenate(whole)
    order = np.lexsort((hour, row))
    return row[order], hour[order], is_rest[order]


def closing_hours(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Hour of the course at which a row stops counting: the horizon's end, or the next dose if that came first."""
    dose = rows["dose_hours"].to_numpy(dtype=np.float64)
    after_dose = (rows["landmark_hours"] + rows["horizon_hours"]).to_numpy(dtype=np.float64)
    window = rows["window_end"].to_numpy(dtype=np.float64)
    return dose + np.minimum(after_dose, window)
