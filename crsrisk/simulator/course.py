"""Whole courses, hour by hour, for a batch of patients at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crsrisk.simulator.care import CHARTED, attend, note_onset
from crsrisk.simulator.kinetics import Noise, State, advance, is_spent, start
from crsrisk.simulator.laboratory import LABS, advance_labs, start_labs
from crsrisk.simulator.parameters import Floats, Ints, Parameters
from crsrisk.simulator.population import NORMALS, UNIFORMS, Patients, Tape

FORWARD_UNIFORMS = UNIFORMS - 2  # the record's own are not needed
Record = Mapping[str, NDArray[np.float32]]


@dataclass(slots=True)
class Courses:
    """What happened to a batch: arrays of shape (hours + 1, courses), nan where nothing was charted.

    `charted` holds vital signs and treatments by `care.CHARTED` name, `labs` the true laboratory values by analyte,
    `grade` the hourly ASTCT grade, `signs` whether fever, low pressure or oxygen was there. `snapshots` maps an
    hour to (rows of the batch, their full state).
    """

    charted: Record
    labs: Record
    grade: NDArray[np.float32]
    signs: NDArray[np.bool_]
    state: State
    snapshots: dict[int, tuple[Ints, State]] = field(default_factory=dict)

    @property
    def severe_hour(self) -> Floats:
        """Hour of the first grade 3 or above since the first dose; nan where there was none."""
        return self.state.severe_hour


def run(
    patients: Patients, tape: Tape, hours: Ints, p: Parameters, keep: Mapping[int, Ints] | None = None
) -> Courses:
    """Simulate a batch.

    Args:
        patients: baseline, n courses.
        tape: random numbers of the same courses.
        hours: length of each course.
        p: parameters.
        keep: hour -> rows whose full state is kept after that hour, for simulating forward from it.
    """
    n, last = len(patients), int(hours.max())
    charted = {name: np.full((last + 1, n), np.nan, dtype=np.float32) for name in CHARTED}
    lab_record = {name: np.full((last + 1, n), np.nan, dtype=np.float32) for name in LABS}
    grade = np.zeros((last + 1, n), dtype=np.float32)
    signs = np.zeros((last + 1, n), dtype=np.bool_)
    first = _noise(tape, 0)
    s = start(patients, p, first)
    labs = start_labs(patients)
    found = Courses(charted=charted, labs=lab_record, grade=grade, signs=signs, state=s)
    for hour in range(last + 1):
        at = np.full(n, float(hour))
        noise = _noise(tape, hour)
        if hour:
            advance(s, patients, p, at, noise)
            advance_labs(labs, s, patients, p, at)
        chart = attend(s, patients, p, noise)
        note_onset(s, at)
        ended = (hours < hour) | (s.dead & np.isnan(chart.death))
        alive = ~ended
        for name in CHARTED:
            charted[name][hour] = np.where(alive, getattr(chart, name), np.nan)
        for name in LABS:
            lab_record[name][hour] = getattr(labs, name)
        grade[hour] = np.where(alive, s.grade, 0.0)
        signs[hour] = alive & (s.grade >= 1.0) & (s.quiet_hours == 0.0)
        if keep and hour in keep:
            found.snapshots[hour] = (keep[hour], s.take(keep[hour]))
    return found


def _noise(tape: Tape, hour: int) -> Noise:
    return Noise(
        normal=tape.hour_normal[hour].astype(np.float64), uniform=tape.hour_uniform[hour].astype(np.float64)
    )


PRUNE_HOURS = 8  # how often finished simulations are dropped


def forward(
    s: State,
    patients: Patients,
    p: Parameters,
    first_hour: int,
    hours: int,
    rng: np.random.Generator,
    *,
    onset_too: bool = False,
) -> tuple[Floats, Floats, Floats]:
    """Hours until the first grade 1 and the first grade 3 or above (inf: none), and hours from dose to onset.

    Args:
        s: state at the landmark, one row per simulation; it is changed.
        patients: the same rows.
        p: parameters.
        first_hour: hours since the first dose at the landmark.
        hours: how far to go.
        rng: source of the future's noise.
        onset_too: also go on where severe CRS is ruled out but a first grade 1 is not.
    """
    n = len(patients)
    onset, severe, after_dose = np.full(n, np.inf), np.full(n, np.inf), np.full(n, np.nan)
    rows: Ints = np.arange(n)
    for step in range(1, hours + 1):
        at = np.full(rows.size, float(first_hour + step))
        noise = Noise(rng.standard_normal((NORMALS, rows.size)), rng.random((FORWARD_UNIFORMS, rows.size)))
        advance(s, patients, p, at, noise)
        attend(s, patients, p, noise)
        note_onset(s, at)
        if step % PRUNE_HOURS == 0 or step == hours:
            onset[rows] = np.where(np.isnan(s.onset_hour), np.inf, s.onset_hour - first_hour)
            after_dose[rows] = s.onset_after_dose
            severe[rows] = np.where(s.severe, s.severe_hour - first_hour, np.inf)
            spent = is_spent(s, patients, at, float(first_hour + hours))
            if onset_too:
                spent &= ~np.isnan(s.onset_hour)
            going = np.flatnonzero(~(s.severe | s.dead | spent))
            if going.size == 0:
                break
            if going.size < 0.8 * rows.size:
                rows, s, patients = rows[going], s.take(going), patients.take(going)
    return onset, severe, after_dose
