"""The feature engine against pandas: 10,000 courses, and one patient.

Nine statistics x 40 variables x 3 windows from 400 events per course. Both start from the same columns,
sorted by course and hours as a cohort's timeline is, use integer codes, and must give the same numbers.
pandas is used as well as we know how: one integer key, one `groupby` per window with its compiled
aggregations, no Python per group.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.figure import Figures, run
from features.engine import Events, Request, Rows, WindowName, compute_statistics, plan_requests
from features.segments import CARRY_HOURS, SLOPE_SPAN_HOURS, Statistic

COURSES, EVENTS, VARIABLES, LANDMARK, THRESHOLD = 10_000, 400, 40, 72.0, 1.5
WINDOWS: tuple[WindowName, ...] = ("baseline", "since_index", "last_24h")
STATISTICS: tuple[Statistic, ...] = (
    "last", "max", "min", "first", "slope", "change", "hours_above", "hours_since_last", "count",
)  # fmt: skip
BOUNDS = {"baseline": (-np.inf, 0.0), "since_index": (0.0, LANDMARK), "last_24h": (LANDMARK - 24.0, LANDMARK)}
REQUESTS = [Request(v, w, s, THRESHOLD) for s in STATISTICS for w in WINDOWS for v in range(VARIABLES)]


def made_events(courses: int, seed: int) -> Events:
    """Events from day -3 to day 5; a third of the variables are reported late."""
    rng = np.random.default_rng(seed)
    size = courses * EVENTS
    hours = np.sort(rng.uniform(-72.0, 120.0, (courses, EVENTS)), axis=1).ravel()
    variable = rng.integers(0, VARIABLES, size)
    late = np.where(variable % 3 == 0, rng.uniform(0.0, 4.0, size), 0.0)
    course = np.repeat(np.arange(courses), EVENTS)
    return Events(course, variable, hours, hours + late, rng.lognormal(size=size), VARIABLES)


def by_engine(events: Events, rows: Rows) -> NDArray[np.float64]:
    """The engine of the project; (rows, requests)."""
    return compute_statistics(events, rows, REQUESTS, plan=PLAN).values


PLAN = plan_requests(REQUESTS)


def by_pandas(events: Events, rows: Rows) -> NDArray[np.float64]:
    """Vectorised pandas: a groupby over an integer key per window; (rows, requests)."""
    table = pd.DataFrame(
        {
            "key": events.course * VARIABLES + events.variable,
            "hours": events.hours,
            "value": events.value,
            "known": events.known,
        }
    )
    table = table[table["known"] <= LANDMARK].drop(columns="known")
    groups = rows.course.size * VARIABLES
    out = np.empty((rows.course.size, len(REQUESTS)))
    baseline = None
    for i, window in enumerate(WINDOWS):
        start, end = BOUNDS[window]
        found = _pandas_window(table[(table["hours"] > start) & (table["hours"] <= end)], end, groups)
        baseline = found["last"] if baseline is None else baseline
        found["change"] = found["last"] - baseline
        for j, statistic in enumerate(STATISTICS):
            at = (j * len(WINDOWS) + i) * VARIABLES
            out[:, at : at + VARIABLES] = found[statistic].reshape(-1, VARIABLES)
    return out


def _pandas_window(table: pd.DataFrame, end: float, groups: int) -> dict[str, NDArray[np.float64]]:
    key = table["key"].to_numpy()
    grouped = table.groupby("key", sort=True)
    value, hours = grouped["value"], grouped["hours"]
    until = hours.shift(-1).fillna(end)
    carried = (until - table["hours"]).clip(upper=CARRY_HOURS)
    first, last, opened, closed = value.first(), value.last(), hours.first(), hours.last()
    t = table["hours"] - hours.transform("first")
    v = table["value"] - value.transform("first")
    work = pd.DataFrame({"t": t, "v": v, "tt": t * t, "tv": t * v})
    work["above"] = carried.where(table["value"] >= THRESHOLD, 0.0)
    sums = work.groupby(key, sort=True).sum()
    count = value.count()
    square = (sums["tt"] - sums["t"] ** 2 / count).where(closed - opened >= SLOPE_SPAN_HOURS)
    found = {
        "last": last, "max": value.max(), "min": value.min(), "first": first,
        "slope": 24.0 * (sums["tv"] - sums["t"] * sums["v"] / count) / square,
        "hours_above": sums["above"], "hours_since_last": LANDMARK - closed, "count": count,
    }  # fmt: skip
    result = {}
    for name, column in found.items():
        full = np.full(groups, 0.0 if name == "count" else np.nan)
        full[column.index.to_numpy()] = column.to_numpy()
        result[name] = full
    return result


def _seconds(compute: Callable[[], object]) -> float:
    start = time.process_time()  # both run on one thread: the time of other programs does not count
    compute()
    return time.process_time() - start


def _interleaved(a: Callable[[], object], b: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median processor seconds of a and b, measured in turns, and the ratio of the medians."""
    pairs = [(_seconds(a), _seconds(b)) for _ in range(rounds)]
    first, second = statistics.median(x for x, _ in pairs), statistics.median(y for _, y in pairs)
    return first, second, first / second


def main() -> int:
    """Both comparisons, with the equality of their results."""
    figures = Figures("features")
    events = made_events(COURSES, seed=1)
    rows = Rows(np.arange(COURSES), np.zeros(COURSES), np.full(COURSES, LANDMARK))
    ours, theirs = by_engine(events, rows), by_pandas(events, rows)
    equal = bool(np.allclose(ours, theirs, rtol=1e-7, atol=1e-9, equal_nan=True))
    size = f"{COURSES} courses x {EVENTS} events, {len(REQUESTS)} columns"
    figures.add(f"same numbers, {size}", equal, "equal to 1e-7", ok=equal, against="vectorised pandas")
    engine, pandas, ratio = _interleaved(lambda: by_engine(events, rows), lambda: by_pandas(events, rows), 5)
    figures.add("engine, processor s", round(engine, 3), "none", ok=True)
    figures.add("pandas, processor s", round(pandas, 3), "none", ok=True)
    figures.add(
        "engine / pandas", round(ratio, 3), "at most 0.5", ok=ratio <= 0.5, against="vectorised pandas"
    )

    one, alone = made_events(1, seed=2), Rows(np.zeros(1, dtype=np.int64), np.zeros(1), np.array([LANDMARK]))
    same = bool(
        np.allclose(by_engine(one, alone), by_pandas(one, alone), rtol=1e-7, atol=1e-9, equal_nan=True)
    )
    figures.add("same numbers, one patient", same, "equal to 1e-7", ok=same, against="pandas groupby")
    often = range(10)  # a single call is too short for the clock
    engine, pandas, ratio = _interleaved(
        lambda: [by_engine(one, alone) for _ in often], lambda: [by_pandas(one, alone) for _ in often], 7
    )
    figures.add("engine, one patient, ms", round(1e3 * engine / len(often), 3), "none", ok=True)
    figures.add("pandas, one patient, ms", round(1e3 * pandas / len(often), 3), "none", ok=True)
    speed = 1.0 / ratio
    figures.add(
        "pandas / engine, one patient",
        round(speed, 1),
        "at least 20",
        ok=speed >= 20,
        against="pandas groupby",
    )
    return figures.finish()


if __name__ == "__main__":
    run(main)
