"""Features of 1,000 to 100,000 courses of 400 events from and to Parquet: memory and growth of time.

Each size runs in a process of its own, whose peak of memory is read at its end. Time is that of the processor,
since other programs may run. BENCH_SHRINK=10 makes every cohort ten times smaller.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.figure import Figures, run

SHRINK = int(os.environ.get("BENCH_SHRINK", "1"))
SIZES = tuple(size // SHRINK for size in (1_000, 10_000, 100_000))
GIB = 1 << 30
EVENTS = 400  # per course
CHUNK = 500  # courses made at a time
CELLS = ("axi-cel_LBCL3L", "ide-cel_MM4L", "brexu-cel_ALL")
ENGAGERS = {"glofit_DLBCL": (2.5, 10.0, 30.0), "tec_MM": (5.0, 20.0, 100.0)}  # mg, a week apart
WEEK = 168.0


class Made(NamedTuple):
    """How values of a variable are made: share of the events, unit, typical value, spread, digits, rise in CRS."""

    variable: str
    share: float
    unit: str
    typical: float
    spread: float  # relative, of a lognormal
    digits: int
    rise: float  # factor at the height of CRS
    late: bool  # a result, known hours after the specimen


VARIABLES = (
    Made("temperature", 0.16, "Cel", 36.8, 0.006, 1, 1.07, False),
    Made("heart_rate", 0.10, "/min", 80, 0.12, 0, 1.4, False),
    Made("sbp", 0.12, "mm[Hg]", 122, 0.1, 0, 0.75, False),
    Made("resp_rate", 0.07, "/min", 16, 0.12, 0, 1.4, False),
    Made("spo2", 0.10, "%", 96.5, 0.01, 0, 0.95, False),
    Made("o2_flow", 0.02, "L/min", 2, 0.3, 0, 2.0, False),
    Made("resp_support", 0.02, "", 0.4, 0.5, 0, 4.0, False),
    Made("acetaminophen_dose", 0.01, "mg", 650, 0.01, 0, 1.0, False),
    Made("dexamethasone_dose", 0.005, "mg", 10, 0.01, 0, 1.0, False),
    Made("tocilizumab_dose", 0.002, "mg", 560, 0.01, 0, 1.0, False),
    Made("norepinephrine_rate", 0.003, "ug/kg/min", 0.08, 0.3, 2, 1.5, False),
    Made("crp", 0.05, "mg/dL", 1.5, 0.8, 2, 8.0, True),
    Made("ferritin", 0.04, "ng/mL", 500, 0.8, 0, 6.0, True),
    Made("ldh", 0.05, "U/L", 240, 0.3, 0, 1.8, True),
    Made("creatinine", 0.04, "mg/dL", 0.85, 0.2, 2, 1.2, True),
    Made("platelets", 0.04, "10*4/uL", 14, 0.4, 1, 0.6, True),
    Made("hemoglobin", 0.03, "g/dL", 10, 0.12, 1, 0.95, True),
    Made("wbc", 0.03, "10*3/uL", 3.2, 0.5, 2, 0.7, True),
    Made("anc", 0.03, "10*3/uL", 2.0, 0.6, 2, 0.6, True),
    Made("albumin", 0.02, "g/dL", 3.6, 0.1, 1, 0.85, True),
    Made("fibrinogen", 0.02, "mg/dL", 330, 0.2, 0, 1.1, True),
    Made("d_dimer", 0.02, "ng/mL{FEU}", 700, 0.6, 0, 3.0, True),
    Made("ast", 0.02, "U/L", 26, 0.4, 0, 1.6, True),
    Made("il6", 0.01, "pg/mL", 12, 1.0, 1, 40.0, True),
)  # fmt: skip
DOSE_CODE = len(VARIABLES)


def make_cohort(folder: Path, courses: int, seed: int) -> Path:
    """A Parquet cohort folder of made courses, half cells and half engagers, sorted by course.

    Values are plausible one by one and rise together around a time of CRS; no course is a patient, and
    nothing can be learned from them.
    """
    folder.mkdir(parents=True)
    (folder / "cohort.toml").write_text("contract = 1\nsimulated = true\n", encoding="utf-8")
    rng = np.random.default_rng(seed)
    therapies = (*CELLS, *ENGAGERS)
    weights = [1 / 6] * len(CELLS) + [1 / 4] * len(ENGAGERS)
    therapy = rng.choice(len(therapies), courses, p=weights)
    ids = np.array([f"C{number:06d}" for number in range(courses)], dtype=object)
    table = pa.table(
        {
            "course_id": pa.array(ids),
            "patient_id": pa.array([f"P{number:06d}" for number in range(courses)]),
            "therapy": pa.array([therapies[code] for code in therapy.tolist()]),
            "age": np.clip(rng.normal(62, 12, courses), 19, 90).round(),
            "sex": pa.array(np.where(rng.random(courses) < 0.45, "female", "male").astype(object)),
            "weight": np.clip(rng.normal(68, 13, courses), 38, 140).round(1),
            "ecog": rng.integers(0, 3, courses).astype(np.float64),
        }
    )
    pq.write_table(table, folder / "courses.parquet")
    writer = None
    for first in range(0, courses, CHUNK):
        last = min(first + CHUNK, courses)
        events = _events(ids[first:last], therapy[first:last], rng)
        writer = writer or pq.ParquetWriter(folder / "events.parquet", events.schema)
        writer.write_table(events)
    if writer is not None:
        writer.close()
    return folder


def _events(ids: NDArray[np.object_], therapy: NDArray[np.int64], rng: np.random.Generator) -> pa.Table:
    courses = len(ids)
    shares = np.array([made.share for made in VARIABLES])
    variable = rng.choice(len(VARIABLES), (courses, EVENTS), p=shares / shares.sum())
    engager = therapy >= len(CELLS)
    hours = rng.uniform(-72, np.where(engager, 3 * WEEK, 240.0)[:, None], (courses, EVENTS)).round(2)
    onset = np.where(engager, rng.integers(0, 3, courses) * WEEK + 20, rng.uniform(12, 96, courses))
    sick = rng.random(courses) < 0.6
    crs = np.exp(-(((hours - onset[:, None]) / 20.0) ** 2)) * sick[:, None]
    typical, spread, rise, digits = (
        np.array([made[place] for made in VARIABLES], dtype=np.float64)[variable] for place in (3, 4, 6, 5)
    )
    level = rng.normal(size=(courses, len(VARIABLES)))  # of the patient
    own = np.take_along_axis(level, variable, axis=1)
    noise = rng.normal(size=(courses, EVENTS))
    value = typical * np.exp(spread * (0.7 * own + 0.5 * noise)) * rise**crs
    value = np.round(value * 10.0**digits) / 10.0**digits
    limits = {"spo2": 100.0, "resp_support": 4.0, "temperature": 42.0}
    for name, limit in limits.items():
        code = next(place for place, made in enumerate(VARIABLES) if made.variable == name)
        value[variable == code] = np.minimum(value[variable == code], limit)
    late = np.array([made.late for made in VARIABLES])[variable]
    available = hours + np.where(late, rng.uniform(0.8, 4.0, hours.shape).round(2), 0.0)
    for place, (_, amounts) in enumerate(ENGAGERS.items()):
        given = np.flatnonzero(therapy == len(CELLS) + place)[:, None]
        number = np.arange(len(amounts))
        variable[given, number] = DOSE_CODE
        hours[given, number] = available[given, number] = number * WEEK
        value[given, number] = amounts
    order = np.argsort(hours, axis=1, kind="stable")
    hours, available, value, variable = (
        np.take_along_axis(column, order, axis=1).ravel() for column in (hours, available, value, variable)
    )
    names = pa.array([*(made.variable for made in VARIABLES), "bsab_dose"])
    units = pa.array([*(made.unit for made in VARIABLES), "mg"])
    code = pa.array(variable.astype(np.int32))
    course = pa.array(np.repeat(np.arange(courses, dtype=np.int32), EVENTS))
    return pa.table(
        {
            "course_id": pa.array(ids).take(course),
            "hours": hours,
            "available_hours": available,
            "variable": names.take(code),
            "value": value,
            "unit": units.take(code),
        }
    )


CHILD = """
import json, resource, sys, time
from features.stream import stream_features
clock = time.perf_counter()
told = stream_features(sys.argv[1], sys.argv[2]).to_dict()
clock = time.perf_counter() - clock
mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
processor = mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime
peak = max(mine.ru_maxrss, children.ru_maxrss) * 1024
print(json.dumps({"processor": processor, "clock": clock, "peak": peak, "rows": told["rows"], "parts": told["parts"]}))
"""


def _alone(cohort: Path, out: Path) -> dict[str, Any]:
    """Stream the features in a process of its own, imports included in its processor time."""
    command = [sys.executable, "-c", CHILD, str(cohort), str(out)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(told))


def _sizes(figures: Figures, folder: Path) -> None:
    found: dict[int, dict[str, Any]] = {}
    for courses in SIZES:
        cohort = make_cohort(folder / f"c{courses}", courses, seed=courses)
        told = found[courses] = _alone(cohort, folder / f"x{courses}.parquet")
        where = f"{courses:,} courses x {EVENTS} events"
        peak = told["peak"] / GIB
        figures.add(f"peak of memory, {where}, GiB", round(peak, 3), "at most 1", ok=peak <= 1)
        for name in ("processor", "clock"):
            figures.add(f"{name} s, {where}", round(told[name], 1), "none", ok=True)
        figures.add(f"parts, {where}", told["parts"], "none", ok=True)
        if courses == SIZES[0]:
            same = digest(folder / f"x{courses}.parquet") == _in_memory(cohort)
            figures.add(
                "same rows as in memory", same, "equal to the bit", ok=same, against="compute_features"
            )
    small, large = SIZES[0], SIZES[-1]
    exponent = math.log(found[large]["processor"] / found[small]["processor"]) / math.log(large / small)
    figures.add(
        f"exponent of processor time, {small:,} to {large:,}",
        round(exponent, 3),
        "at most 1.15",
        ok=exponent <= 1.15,
    )


def _in_memory(cohort: Path) -> str:
    from crsrisk.cohort import read_cohort
    from features.matrix import compute_features

    frame = compute_features(read_cohort(cohort)).frame()
    return _table_digest(pa.Table.from_pandas(frame, preserve_index=False))


def digest(file: Path) -> str:
    return _table_digest(pq.read_table(file))


def _table_digest(table: pa.Table) -> str:
    """The same for equal cells in equal order."""
    sink = hashlib.sha256()
    for name in table.column_names:
        cells = table.column(name).to_numpy()
        sink.update(cells.tobytes() if cells.dtype != object else "\x1f".join(cells).encode())
    return sink.hexdigest()


def main() -> int:
    figures = Figures("scale")
    with tempfile.TemporaryDirectory(prefix="crsrisk-scale-") as name:
        _sizes(figures, Path(name))
    return figures.finish()


if __name__ == "__main__":
    run(main)
