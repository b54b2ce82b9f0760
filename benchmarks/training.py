"""Does LightGBM earn its place? Out-of-fold on simulated cohorts of 2,000 CAR-T courses, mean over seeds.

At the landmark of 48 h and the rest of the window: at least 0.02 of AUROC above the best published score, not below
penalised logistic regression by more than 0.01, calibration slope 0.85 to 1.15 in each family with 100 events or more.

BENCH_SEEDS (10) and BENCH_COURSES (2000) make it shorter.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.figure import Figures
from training.table import PUBLISHED

LANDMARK = 48.0
FIRST_SEED = 101  # away from the seeds 1 to 4, on which the defaults of the trees were chosen
CART_FAMILIES = ("cd19_cart", "bcma_cart")
OWN_EVENTS = 100


def main() -> int:
    seeds = int(os.environ.get("BENCH_SEEDS", "10"))
    courses = int(os.environ.get("BENCH_COURSES", "2000"))
    figures = Figures("training")
    for family in CART_FAMILIES:
        tables = [_table(family, courses, FIRST_SEED + k) for k in range(seeds)]
        figures_of(figures, family, tables)
    _one_row(figures)
    return figures.finish()


def _table(family: str, courses: int, seed: int) -> pd.DataFrame:
    """Metrics of every model on one simulated cohort of one family."""
    from crsrisk.cohort import read_cohort
    from crsrisk.simulator import simulate
    from crsrisk.therapies import therapies
    from training.crossvalidate import crossvalidate

    keys = [key for key, t in therapies().items() if t.family == family and t.class_ == "cart"]
    with tempfile.TemporaryDirectory() as folder:
        simulate(courses, seed, therapies=keys).write(Path(folder), parquet=True)
        cohort = read_cohort(folder)
    found = crossvalidate(cohort, families=[family], seed=seed, resamples=0)
    return found.table.assign(seed=seed)


def figures_of(figures: Figures, family: str, tables: list[pd.DataFrame]) -> None:
    """Print the figures of one family."""
    every = pd.concat(tables, ignore_index=True)
    here = every[(every["landmark_hours"] == LANDMARK) & (every["horizon"] == "rest")]
    events = here[here["model"] == "crsrisk"].groupby("seed")["events"].first()
    auroc = here[here["metric"] == "auroc"].groupby("model")["value"].mean()
    slope = here[(here["metric"] == "calibration_slope") & (here["model"] == "crsrisk")]["value"].mean()
    pooled = every[(every["horizon"] == "rest") & every["landmark_hours"].isna()]
    pooled = pooled[(pooled["metric"] == "calibration_slope") & (pooled["model"] == "crsrisk")][
        "value"
    ].mean()
    best = auroc[[s for s in PUBLISHED if s in auroc.index]]
    told = f"{family}, 48 h, rest of window, {len(tables)} seeds, {events.min()} to {events.max()} events"
    ours = float(auroc["crsrisk"])
    if family == "cd19_cart":
        margin = round(ours - float(best.max()), 4)
        figures.add(
            f"AUROC above the best published score ({told})",
            margin,
            "at least 0.02",
            ok=margin >= 0.02,
            against=f"{best.idxmax()} {best.max():.4f}",
        )
        behind = round(ours - float(auroc["logistic"]), 4)
        figures.add(
            f"AUROC above penalised logistic regression ({told})",
            behind,
            "at least -0.01",
            ok=behind >= -0.01,
            against=f"logistic {auroc['logistic']:.4f}",
        )
    enough = bool(events.mean() >= OWN_EVENTS)
    target = (
        "0.85 to 1.15" if enough else f"none: {events.mean():.0f} events on average, fewer than {OWN_EVENTS}"
    )
    for name, value in (("48 h", slope), ("all landmarks", pooled)):
        figures.add(
            f"calibration slope, {name} ({told})",
            round(float(value), 4),
            target,
            ok=not enough or 0.85 <= value <= 1.15,
            against=f"AUROC {ours:.4f}, base rate {auroc['prior']:.4f}, last grade {auroc['last_grade']:.4f}",
        )


def _one_row(figures: Figures) -> None:
    """Time of one patient's risks at three horizons with explanation and interval."""
    from types import SimpleNamespace

    from crsrisk.cohort import read_cohort
    from crsrisk.simulator import simulate
    from training.crossvalidate import prepare
    from training.fit import fit_family

    with tempfile.TemporaryDirectory() as folder:
        simulate(600, FIRST_SEED, therapies=["axi-cel_LBCL3L", "brexu-cel_ALL"]).write(
            Path(folder), parquet=True
        )
        prepared = prepare(read_cohort(folder), (0.0, 48.0))
    model = fit_family(prepared.given(prepared.rows()), "cd19_cart", refits=15)
    table = prepared.table
    one = SimpleNamespace(
        rows=table.rows.iloc[[0]].reset_index(drop=True), values=table.values[[0]], names=table.names
    )
    took = []
    for _ in range(300):
        began = time.perf_counter()
        model.predict(one)
        took.append(time.perf_counter() - began)
    value = round(1000 * float(np.median(took)), 3)
    figures.add(
        f"one patient, 3 horizons, explanation and interval of {len(model.bootstrap_texts)} refits, ms (median)",
        value,
        "below 2",
        ok=value < 2.0,
        against=f"{model.parameters.get('rounds')} trees",
    )


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
