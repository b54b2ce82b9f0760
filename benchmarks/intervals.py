"""Do stated intervals hold? Coverage counted on simulated cohorts whose truth is known.

CRSRISK_BENCH_POOL (20000 courses) and CRSRISK_BENCH_COHORTS (300) make it shorter.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figures

LANDMARKS = (0.0, 12.0, 24.0, 48.0, 72.0)
SCORE = "m_easix_log2_so_far"
FIRST_SEED = 301
PART = 2000  # courses simulated at a time
PATIENTS = 400  # of a cohort
RESAMPLES = 1000
COVERED = (0.91, 0.98)
Array = NDArray[np.float64]


def main() -> int:
    figures = Figures("intervals")
    for measured in MEASURED:
        measured(figures)
    return figures.finish()


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows of many simulated patients, the rest of the window at each landmark; shape (n_rows,)."""

    risk: Array
    severe: Array
    patient: NDArray[np.int64]
    n: int


def auroc_coverage(figures: Figures) -> None:
    """Intervals of the AUROC pooled over landmarks: patients drawn, against rows drawn."""
    from training.evaluate import metrics

    began = time.perf_counter()
    pool = simulated_pool(int(os.environ.get("CRSRISK_BENCH_POOL", "20000")))
    cohorts = int(os.environ.get("CRSRISK_BENCH_COHORTS", "300"))
    truth = metrics(pool.risk, pool.severe, pool.patient.astype(object), resamples=0)["auroc"]
    order = np.argsort(pool.patient, kind="stable")
    first = np.searchsorted(pool.patient[order], np.arange(pool.n + 1))
    rng = np.random.default_rng(FIRST_SEED)
    hits: list[tuple[bool, bool]] = []
    widths, events = [], []
    for k in range(cohorts):
        chosen = rng.choice(pool.n, size=PATIENTS, replace=False)
        rows = np.concatenate([order[first[p] : first[p + 1]] for p in chosen])
        risk, severe, patient = pool.risk[rows], pool.severe[rows], pool.patient[rows].astype(object)
        found = [
            auroc_interval(risk, severe, drawn, k) for drawn in (patient, np.arange(len(rows)).astype(object))
        ]
        hits.append((found[0][0] <= truth.value <= found[0][1], found[1][0] <= truth.value <= found[1][1]))
        widths.append([high - low for low, high in found])
        events.append(len(np.unique(patient[severe == 1].astype(str))))
    clustered, by_row = np.mean(hits, axis=0)
    wide, narrow = np.mean(widths, axis=0)
    told = (
        f"{cohorts} cohorts of {PATIENTS} from {pool.n} simulated patients, {min(events)} to {max(events)} events, "
        f"{RESAMPLES} resamples"
    )
    figures.add(
        f"share of 95 % intervals of the pooled AUROC that cover the true value, patients drawn ({told})",
        round(float(clustered), 3),
        f"{COVERED[0]} to {COVERED[1]}",
        ok=bool(COVERED[0] <= clustered <= COVERED[1]),
        against=f"rows drawn {by_row:.3f}; true AUROC {truth.value:.3f}; mean width {wide:.3f} against {narrow:.3f}",
    )
    figures.add(
        "coverage lost by drawing rows instead of patients",
        round(float(clustered - by_row), 3),
        "above 0",
        ok=bool(by_row < clustered),
        against=f"{time.perf_counter() - began:.0f} s in all",
    )


def auroc_interval(risk: Array, severe: Array, drawn: NDArray[np.object_], seed: int) -> tuple[float, float]:
    """The interval as the evaluation makes it, of the AUROC alone."""
    from training.discrimination import discrimination
    from training.resampling import Patients

    patients = Patients.of(drawn, RESAMPLES, seed)
    bounds = discrimination(risk, severe, np.ones(len(risk)), patients)[0].quantiles()
    assert bounds is not None
    return bounds


def simulated_pool(courses: int) -> Pool:
    """Rows of simulated CD19 CAR-T courses with a published score as a fixed risk; a gap takes the median."""
    from crsrisk.therapies import therapies

    keys = [key for key, t in therapies().items() if t.family == "cd19_cart" and t.class_ == "cart"]
    parts = [_part(min(PART, courses - k), FIRST_SEED + k, keys) for k in range(0, courses, PART)]
    score, severe, patient = (np.concatenate([p[i] for p in parts]) for i in range(3))
    score = np.where(np.isnan(score), np.nanmedian(score), score)
    _, code = np.unique(patient.astype(str), return_inverse=True)
    risk = 1.0 / (1.0 + np.exp(-(score - score.mean()) / score.std()))
    return Pool(risk, severe, code.astype(np.int64), int(code.max()) + 1)


def _part(courses: int, seed: int, keys: list[str]) -> tuple[Any, Any, Any]:
    """Score, severe and patient of every row."""
    from crsrisk.cohort import read_cohort
    from crsrisk.simulator import simulate
    from features.matrix import compute_features, index_doses
    from features.registry import feature
    from training.design import design
    from training.landmarks import landmark_table

    with tempfile.TemporaryDirectory() as folder:
        simulate(courses, seed, therapies=keys).write(Path(folder), parquet=True)
        cohort = read_cohort(folder)
    table = compute_features(cohort, LANDMARKS, features=[feature(SCORE)])
    labels = landmark_table(cohort, LANDMARKS, (None,), doses=index_doses(cohort))
    rows = design(labels.rows, table, (SCORE,))
    names = np.array([f"{seed}-{p}" for p in rows.rows["patient_id"]], dtype=object)
    return rows.column(SCORE), rows.severe, names


MEASURED: tuple[Callable[[Figures], None], ...] = (auroc_coverage,)


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
