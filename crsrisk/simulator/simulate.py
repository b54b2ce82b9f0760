"""A synthetic cohort: courses, events as hospitals write them, and on request the true risks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crsrisk.errors import NotEnoughDataError
from crsrisk.simulator.course import Courses, run
from crsrisk.simulator.parameters import Floats, Ints, Site, parameters, sites_under
from crsrisk.simulator.population import Patients, Tape, batches, draw, patients
from crsrisk.simulator.regimens import Regimen, chosen_regimens
from crsrisk.simulator.sampling import record
from crsrisk.simulator.truth import Snapshot, landmark_hours, true_risks

if TYPE_CHECKING:
    import pandas as pd

BATCH = 500
LANDMARKS = (0.0, 24.0, 48.0, 72.0)
HORIZONS: tuple[float | None, ...] = (24.0, 72.0, None)
CONTRACT_LINE = "contract = 1\nsimulated = true\n"
FIRST_DAY = datetime(2025, 1, 6, tzinfo=UTC)  # of simulated calendars


@dataclass(frozen=True)
class Simulation:
    """A simulated cohort.

    courses, events: tables of a cohort folder, values and units as the sites write them. truth: course_id, dose,
    landmark_hours, horizon_hours, true_risk, replicates; None when not asked for. hidden: per course what no
    hospital sees: severe_hour (of the hourly grade, nan when never severe), onset_hour, peak_grade, signs_hours
    (from the first to the last sign) and the latent terms.
    """

    courses: pd.DataFrame
    events: pd.DataFrame
    truth: pd.DataFrame | None
    hidden: pd.DataFrame

    def write(self, path: str | Path, *, parquet: bool = False) -> Path:
        """Write a cohort folder (contract 1), with truth.parquet when true risks were asked for; the folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cohort.toml").write_text(CONTRACT_LINE, encoding="utf-8")
        for name, table in (("courses", self.courses), ("events", self.events)):
            if parquet:
                table.to_parquet(folder / f"{name}.parquet", index=False)
            else:
                table.to_csv(folder / f"{name}.csv", index=False)
        if self.truth is not None:
            self.truth.to_parquet(folder / "truth.parquet", index=False)
        return folder


def simulate(
    courses: int,
    seed: int,
    therapies: Sequence[str] | None = None,
    truth: int = 0,
    landmarks: Sequence[float] = LANDMARKS,
    horizons: Sequence[float | None] = HORIZONS,
    *,
    absolute_times: bool = False,
    policy: str | None = None,
) -> Simulation:
    """A synthetic cohort; the same arguments give the same cohort, and `truth` does not change it.

    Every course keeps its random numbers under another policy: the same patients, treated differently.

    Args:
        courses: number of courses, one per patient.
        seed: of all random numbers.
        therapies: keys of the catalogue; None for a mixture of all with a published rate.
        truth: forward simulations per landmark; 0 for no true risks.
        landmarks: hours after each dose (infusion) at which the true risk is wanted; whole hours.
        horizons: hours after the landmark; None for the rest of the window.
        absolute_times: write `time` with offset instead of `hours`.
        policy: how all hospitals treat CRS, a key of data/simulator_policies.toml; None: each as it does.

    Raises:
        NotEnoughDataError: no course asked for, or an empty list of therapies.
        UnknownTherapyError: a therapy that the catalogue does not list.
        ValueError: no such policy.
    """
    import pandas as pd

    if courses < 1:
        raise NotEnoughDataError(f"{courses} courses asked for; give 1 or more")
    chosen, shares = chosen_regimens(therapies)
    hospitals, p = sites_under(policy), parameters()
    tables, events, hidden, truths = [], [], [], []
    for numbers in batches(courses, BATCH):
        tape = draw(seed, numbers, chosen, shares)
        who = patients(tape, chosen, shares, hospitals)
        hours = np.array([r.hours for r in chosen], dtype=np.int64)[who.therapy]
        wanted = landmark_hours(who, chosen, landmarks) if truth else []
        happened = run(who, tape, hours, p, _rows_by_hour(wanted))
        ids = [f"S{number + 1:06d}" for number in numbers]
        follow_up = _follow_up(happened, tape, hours)
        tables.append(_course_table(ids, who, tape, chosen, hospitals, follow_up))
        entries = record(happened, who, tape, chosen, hospitals, follow_up)
        entries.insert(0, "course_id", np.array(ids, dtype=object)[entries.pop("course").to_numpy()])
        events.append(entries)
        hidden.append(_hidden_table(ids, happened, who))
        if truth:
            found = true_risks(seed, numbers.start, happened, who, p, wanted, horizons, truth, follow_up)
            found.insert(0, "course_id", np.array(ids, dtype=object)[found.pop("course").to_numpy()])
            truths.append(found)
    simulation = Simulation(
        courses=pd.concat(tables, ignore_index=True),
        events=pd.concat(events, ignore_index=True),
        truth=pd.concat(truths, ignore_index=True) if truth else None,
        hidden=pd.concat(hidden, ignore_index=True),
    )
    return _with_times(simulation, seed) if absolute_times else simulation


def _rows_by_hour(wanted: Sequence[Snapshot]) -> dict[int, Ints]:
    hours = sorted({snapshot.hour for snapshot in wanted})
    return {hour: np.unique(np.concatenate([s.rows for s in wanted if s.hour == hour])) for hour in hours}


def _follow_up(happened: Courses, tape: Tape, hours: Ints) -> Floats:
    """Hours of follow-up: the whole course, until death, or less in the few who are transferred or lost."""
    u = tape.uniform
    lost = u[:, 5] < 0.05
    end = np.where(lost, np.round(hours * (0.1 + 0.85 * u[:, 6])), hours.astype(np.float64))
    died = np.where(happened.state.dead, (happened.charted["death"] > 0).argmax(axis=0), np.inf)
    return np.minimum(end, died)


def _course_table(
    ids: list[str], who: Patients, tape: Tape, chosen: Sequence[Regimen], hospitals: Sequence[Site],
    follow_up: Floats,
) -> pd.DataFrame:  # fmt: skip
    import pandas as pd

    z, u = tape.normal, tape.uniform
    disease = np.array([r.disease.name for r in chosen])[who.therapy]
    known = u[:, 7] > 0.06
    seen_burden = 0.58 * who.burden + 0.81 * z[:, 26]

    def only(kinds: Sequence[str], values: Floats) -> Floats:
        return np.where(np.isin(disease, kinds) & known, values, np.nan)

    leukaemia = ("pediatric_all", "adult_all")
    share = 100.0 / (1.0 + np.exp(-1.6 * seen_burden))
    per_kg = np.array([r.cells[0] for r in chosen])[who.therapy]
    total = np.array([r.cells[1] for r in chosen])[who.therapy]
    cells = np.minimum(np.where(per_kg > 0, per_kg * who.weight, total) * np.exp(0.12 * z[:, 27]), 550.0)
    return pd.DataFrame(
        {
            "course_id": ids,
            "patient_id": [f"P{course[1:]}" for course in ids],
            "therapy": np.array([r.key for r in chosen], dtype=object)[who.therapy],
            "site": np.array([s.name for s in hospitals], dtype=object)[who.site],
            "indication": np.array([r.indication or "" for r in chosen], dtype=object)[who.therapy],
            "age": who.age,
            "sex": np.where(who.female, "female", "male"),
            "weight": who.weight,
            "follow_up_hours": follow_up,
            "bm_blasts_pct": np.round(only(leukaemia, 0.9 * share), 1),
            "bm_plasma_cell_pct": np.round(only(("myeloma",), 0.75 * share), 1),
            "tumor_spd": np.round(
                only(("lymphoma", "sarcoma", "solid"), 2300.0 * np.exp(0.85 * seen_burden))
            ),
            "extramedullary": only(("myeloma", *leukaemia), (u[:, 8] < 0.22).astype(np.float64)),
            "prior_lines": np.clip(np.round(3.0 + 1.3 * z[:, 28]), 1, 12),
            "ecog": np.clip(np.round(0.7 + 0.35 * who.burden + 0.6 * z[:, 29]), 0, 3),
            "cell_dose_total": np.where(who.engager, np.nan, np.round(cells, 1)),
        }
    )


def _hidden_table(ids: list[str], happened: Courses, who: Patients) -> pd.DataFrame:
    import pandas as pd

    grade = happened.grade
    sign = happened.signs
    ever = sign.any(axis=0)
    first, last = sign.argmax(axis=0), sign.shape[0] - 1 - sign[::-1].argmax(axis=0)
    return pd.DataFrame(
        {
            "course_id": ids,
            "severe_hour": happened.severe_hour,
            "onset_hour": happened.state.onset_hour,
            "onset_after_dose": happened.state.onset_after_dose,
            "peak_grade": grade.max(axis=0),
            "signs_hours": np.where(ever, last - first, np.nan),
            "log_amplitude": who.log_amplitude,
            "leak_threshold": who.leak_threshold,
            "burden": who.burden,
        }
    )


def _with_times(simulation: Simulation, seed: int) -> Simulation:
    """The same cohort with ISO 8601 times; each course starts on a day of its own, at its site's offset."""
    import pandas as pd

    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    courses, events = simulation.courses.copy(), simulation.events.copy()
    starts = [
        FIRST_DAY + timedelta(days=int(day), minutes=int(minute))
        for day, minute in zip(
            rng.integers(0, 500, len(courses)), rng.integers(-120, 300, len(courses)), strict=True
        )
    ]
    courses["index_time"] = [start.isoformat() for start in starts]
    begin = pd.to_datetime(courses["index_time"], utc=True).set_axis(courses["course_id"])
    at = begin.reindex(events["course_id"]).reset_index(drop=True)
    for name, column in (("hours", "time"), ("available_hours", "available_time")):
        moments = at + pd.to_timedelta((events.pop(name) * 3600.0).round(), unit="s")
        events[column] = moments.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    return Simulation(courses, events, simulation.truth, simulation.hidden)
