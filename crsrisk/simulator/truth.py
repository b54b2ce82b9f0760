"""The true risk: how often grade 3 or above follows when a course is simulated forward from its full state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crsrisk.simulator.course import Courses, forward
from crsrisk.simulator.kinetics import State
from crsrisk.simulator.parameters import Floats, Ints, Parameters
from crsrisk.simulator.population import Patients
from crsrisk.simulator.regimens import Regimen

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 12_000  # simulations at once: small enough for the processor's cache


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Courses at one landmark after one dose, whose window is equally long. `rows` are rows of the batch."""

    dose: int
    landmark_hours: float
    hour: int  # since the first dose
    rest_hours: int  # of the window
    rows: Ints


def landmark_hours(who: Patients, chosen: Sequence[Regimen], landmarks: Sequence[float]) -> list[Snapshot]:
    """Every dose and landmark of a batch that lies within the dose's window.

    Raises:
        ValueError: a landmark that is negative or not a whole hour.
    """
    if any(mark < 0 or mark != int(mark) for mark in landmarks):
        raise ValueError(f"landmarks {list(landmarks)}: give whole hours, 0 or more")
    found = []
    for number, regimen in enumerate(chosen):
        rows = np.flatnonzero(who.therapy == number)
        if rows.size == 0:
            continue
        starts = regimen.dose_hours if regimen.engager else (0.0,)
        for dose, (begin, window) in enumerate(zip(starts, regimen.windows, strict=True), start=1):
            for mark in landmarks:
                if mark < window:
                    found.append(Snapshot(dose, float(mark), int(begin + mark), int(window - mark), rows))
    return found


def true_risks(
    seed: int,
    first_course: int,
    happened: Courses,
    who: Patients,
    p: Parameters,
    wanted: Sequence[Snapshot],
    horizons: Sequence[float | None],
    replicates: int,
    follow_up: Floats,
) -> pd.DataFrame:
    """True risks of those at risk (alive, followed, never severe so far).

    Returns:
        course (row of the batch), dose, landmark_hours, horizon_hours, true_risk, replicates. A horizon beyond the
        window is left out; None stands for the rest of the window and is written as its hours.
    """
    import pandas as pd

    parts = []
    for number, snapshot in enumerate(wanted):
        rows, state = happened.snapshots[snapshot.hour]
        inside = np.flatnonzero(
            np.isin(rows, snapshot.rows) & ~state.severe & ~state.dead & (follow_up[rows] >= snapshot.hour)
        )
        if inside.size == 0:
            continue
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, first_course, number)))
        times = _times_to_severe(state, rows, inside, who, p, snapshot, replicates, rng)
        for horizon in dict.fromkeys(float(snapshot.rest_hours) if h is None else float(h) for h in horizons):
            if horizon <= snapshot.rest_hours:
                parts.append(
                    pd.DataFrame(
                        {
                            "course": rows[inside],
                            "dose": snapshot.dose,
                            "landmark_hours": snapshot.landmark_hours,
                            "horizon_hours": horizon,
                            "true_risk": (times <= horizon).mean(axis=1),
                            "replicates": replicates,
                        }
                    )
                )
    columns = ["course", "dose", "landmark_hours", "horizon_hours", "true_risk", "replicates"]
    together = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    together["course"] = together["course"].astype(np.int64)
    return together.sort_values(columns[:4], ignore_index=True)


def _times_to_severe(
    state: State, rows: Ints, inside: Ints, who: Patients, p: Parameters, snapshot: Snapshot, replicates: int,
    rng: np.random.Generator,
) -> Floats:  # fmt: skip
    """Hours to grade 3, shape (courses, replicates); inf where it does not come within the window."""
    together = max(1, BLOCK // replicates)
    found = []
    for begin in range(0, inside.size, together):
        some = np.repeat(inside[begin : begin + together], replicates)
        _, times, _ = forward(
            state.take(some), who.take(rows[some]), p, snapshot.hour, snapshot.rest_hours, rng
        )
        found.append(times.reshape(-1, replicates))
    return np.concatenate(found)
