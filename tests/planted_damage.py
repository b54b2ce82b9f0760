"""Numbers damaged as transcription, units and columns damage them, planted into simulated events.

Each function damages rows of `Tables.events` and returns their places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.planted_leaks import LABORATORY, VITALS, Tables, numbers

MEASURED = (*LABORATORY, *VITALS)
FEWEST_AROUND = 4
"""Values of the variable in the course: a lone value has no neighbours in time."""


def _candidates(t: Tables, number: int, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Random measured rows of series with neighbours, at most one of a course and variable."""
    events = t.events
    size = events.groupby(["course_id", "variable"])["value"].transform("size").to_numpy()
    plain = events["value"].str.fullmatch(r"\d+(\.\d+)?").to_numpy(dtype=np.bool_)
    fit = chosen & plain & (size >= FEWEST_AROUND) & (events["comparator"] == "").to_numpy()
    rows = t.rng.permutation(np.flatnonzero(fit))
    first = ~events.iloc[rows].duplicated(["course_id", "variable"]).to_numpy()
    return np.sort(rows[first][:number])


def lose_digits(t: Tables, number: int) -> NDArray[np.int64]:
    """A digit before the point is lost: 102.2 becomes 12.2, 140.4 becomes 14.4; at least a third of the value."""
    values = numbers(t.events["value"]).to_numpy()
    rows = _candidates(t, 4 * number, t.events["variable"].isin(MEASURED).to_numpy() & (values >= 10.0))
    kept = []
    for row in rows.tolist():
        text = str(t.events.at[row, "value"])
        whole, dot, rest = text.partition(".")
        place = int(t.rng.integers(len(whole)))
        left = (whole[:place] + whole[place + 1 :]).lstrip("0") or "0"
        lost = f"{left}{dot}{rest}"
        if len(kept) < number and 0.0 < float(lost) <= 0.65 * float(text):
            t.events.at[row, "value"] = lost
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def slip_by_powers_of_ten(t: Tables, number: int) -> NDArray[np.int64]:
    """The point or the unit slips by one to three powers of ten, in either direction."""
    rows = _candidates(t, number, t.events["variable"].isin(MEASURED).to_numpy())
    for row in rows.tolist():
        power = int(t.rng.choice([-3, -2, -1, -1, 1, 1, 2, 3]))
        t.events.at[row, "value"] = f"{float(str(t.events.at[row, 'value'])) * 10.0**power:.8g}"
    return rows


def swap_columns(t: Tables, number: int) -> NDArray[np.int64]:
    """Heart rate and blood pressure, or upper and mean pressure, of one moment exchange their numbers."""
    events = t.events
    kept: list[int] = []
    for one, other in (("heart_rate", "resp_rate"), ("sbp", "map"), ("spo2", "temperature")):
        mine = _candidates(t, len(events), (events["variable"] == one).to_numpy())
        keys = ["course_id", "hours"]
        partner = (
            events[events["variable"] == other].reset_index().drop_duplicates(keys).set_index(keys)["index"]
        )
        both = [
            (row, partner.get((events.at[row, "course_id"], events.at[row, "hours"])))
            for row in mine.tolist()
        ]
        for row, its in [pair for pair in both if pair[1] is not None][: number // 3]:
            events.loc[[row, its], "value"] = events.loc[[its, row], "value"].to_numpy()
            kept += [row, int(its)]
    return np.array(kept, dtype=np.int64)
