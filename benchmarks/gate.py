"""Of a poisoned, a drifted and an improved batch of new patients only the improved one is promoted.

Per seed, on simulated patients and through the real registry, store and gate: a champion learned from the first
COURSES; then three challengers are trained on those and NEW further patients. The same patients come honestly, with
a fault (one kind per seed, in turn), and from hospitals that changed how they treat CRS. Each is offered to the
gate, held against that champion. Against: a gate that only asks whether the out-of-fold AUROC fell.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.figure import Figures

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from crsrisk.simulator import Simulation

FAMILY, NAME = "cd19_cart", "crsrisk-cd19_cart"
THERAPIES = ("axi-cel_LBCL3L", "brexu-cel_ALL", "tisa-cel_ALL", "axi-cel_FL")
LANDMARKS = (0.0, 24.0)
FIRST_SEED = 901
COURSES, NEW = 900, 900
LABS = ("crp", "ferritin", "ldh")
LAB_KINDS = ("chemistry", "coagulation", "cytokine", "hematology")
DRIFTS = (
    "preemptive",
    "without_rescue",
)  # policies of the simulator: tocilizumab at grade 1, or only once severe


@dataclass(frozen=True)
class Batch:
    """New patients as they arrive; outcomes: what a registry says of them, None where events tell."""

    simulation: Simulation
    outcomes: pd.DataFrame | None = None


class Offered(NamedTuple):
    """What became of a challenger. naive: what a gate on the AUROC alone would have done."""

    seed: int
    batch: str
    promoted: bool
    naive: bool
    failed: list[str]
    auroc: float
    champion_auroc: float


def main() -> int:
    seeds = int(os.environ.get("BENCH_SEEDS", "6"))
    figures = Figures("gate")
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        found = [
            line for lines in processes.map(one_seed, range(FIRST_SEED, FIRST_SEED + seeds)) for line in lines
        ]
    report(figures, found, seeds)
    return figures.finish()


def one_seed(seed: int) -> list[Offered]:
    """Champion and challengers of one seed."""
    from crsrisk.simulator import simulate
    from training.champions import load_champions
    from training.promotions import promote, verify

    whole = simulate(COURSES + NEW, seed, THERAPIES)
    ids = whole.courses["course_id"]
    old, new = _part(whole, ids[:COURSES]), _part(whole, ids[COURSES:])
    fault, name = POISONS[(seed - FIRST_SEED) % len(POISONS)]
    drift = DRIFTS[(seed - FIRST_SEED) % len(DRIFTS)]
    later = _part(simulate(COURSES + NEW, seed, THERAPIES, policy=drift), ids[COURSES:])
    batches = {
        f"poisoned: {name}": fault(new, np.random.default_rng(seed)),
        f"drifted: care is {drift}": Batch(later),
        "improved: more patients": Batch(new),
    }
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        champion = _trained(_cohort(old, None), uri, seed)
        promote(NAME, "1", "first version", demonstration=True, tracking_uri=uri, who="benchmark")
        challengers = {name: _trained(_cohort(old, batch), uri, seed) for name, batch in batches.items()}
        found = [
            _offered(seed, name, str(number), uri, auroc, champion)
            for number, (name, auroc) in enumerate(challengers.items(), start=2)
        ]
        answers = load_champions(uri)[0][FAMILY][1].version
        if verify(tracking_uri=uri) or answers != ("4" if found[-1].promoted else "1"):
            raise RuntimeError("the ledger or the champion is not what was decided")
    return found


def _offered(seed: int, name: str, version: str, uri: str, auroc: float, champion: float) -> Offered:
    """Ask the gate; what it should not have promoted is rolled back, so that all are held against one champion."""
    from crsrisk.errors import GateError
    from training.promotions import promote, rollback

    failed = []
    try:
        promote(NAME, version, name, tracking_uri=uri, who="benchmark")
        if not name.startswith("improved"):
            rollback(NAME, "the next one is asked", tracking_uri=uri, who="benchmark")
    except GateError as refused:
        failed = [row["row"] for row in refused.verdict["rows"] if not row["passed"]]
        for reason in refused.reasons:
            print(f"seed {seed}, {name}: {reason}", file=sys.stderr)
    line = Offered(seed, name, not failed, auroc >= champion, failed, auroc, champion)
    print(json.dumps(line._asdict()), file=sys.stderr, flush=True)
    return line


def _trained(cohort: Cohort, uri: str, seed: int) -> float:
    """Train and register; the out-of-fold AUROC, pooled."""
    from training.publish import train_and_register

    training = train_and_register(
        cohort,
        tracking_uri=uri,
        family=FAMILY,
        seed=seed,
        landmarks=LANDMARKS,
        n_folds=3,
        resamples=20,
        refits=2,
    )
    return round(float(training.families[0].metrics()["auroc_pooled"].value), 4)


# ---- batches


def wrong_outcomes(new: Simulation, rng: np.random.Generator) -> Batch:
    """Outcomes of a registry joined to the wrong patients."""
    hidden = new.hidden.set_index("course_id")
    outcomes = pd.DataFrame(
        {
            "peak_grade": hidden["peak_grade"].astype(int),
            "system": "ASTCT",
            "onset_hours": hidden["onset_hour"].where(hidden["peak_grade"] > 0),
            "severe_hours": hidden["severe_hour"].where(hidden["peak_grade"] >= 3),
        }
    ).iloc[rng.permutation(len(hidden))]
    return Batch(new, outcomes.set_axis(hidden.index).reset_index())


def wrong_samples(new: Simulation, rng: np.random.Generator) -> Batch:
    """Laboratory results of other patients of the batch."""
    events = new.events.copy()
    ids = new.courses["course_id"].to_numpy()
    other = dict(zip(ids, rng.permutation(ids), strict=True))
    lab = events["variable"].isin(_laboratory())
    events.loc[lab, "course_id"] = events.loc[lab, "course_id"].map(other)
    return Batch(replace(new, events=events))


def later_results(new: Simulation, _: np.random.Generator) -> Batch:
    """The highest value of each laboratory test in the whole course, entered as if it were known at the infusion."""
    events = new.events
    mine = events[events["variable"].isin(LABS)].copy()
    numbers = pd.to_numeric(
        mine["value"].str.normalize("NFKC"), errors="coerce"
    )  # some write full-width digits
    highest = mine.loc[numbers.dropna().groupby([mine["course_id"], mine["variable"]]).idxmax()]
    early = highest.assign(hours=-1.0)
    if "available_hours" in early:
        early["available_hours"] = -0.5
    return Batch(replace(new, events=pd.concat([events, early], ignore_index=True)))


POISONS: Sequence[tuple[Callable[[Simulation, np.random.Generator], Batch], str]] = (
    (wrong_outcomes, "outcomes of other patients"),
    (wrong_samples, "samples of other patients"),
    (later_results, "results of later"),
)


def _laboratory() -> set[str]:
    from crsrisk.analytes import analytes

    return {key for key, one in analytes().items() if one.kind in LAB_KINDS}


def _part(simulation: Simulation, ids: pd.Series) -> Simulation:
    def kept(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["course_id"].isin(ids)].reset_index(drop=True)

    return replace(
        simulation,
        courses=kept(simulation.courses),
        events=kept(simulation.events),
        hidden=kept(simulation.hidden),
    )


def _cohort(old: Simulation, batch: Batch | None) -> Cohort:
    from crsrisk.cohort import read_cohort

    parts = [old] if batch is None else [old, batch.simulation]
    whole = replace(
        old,
        **{
            t: pd.concat([getattr(p, t) for p in parts], ignore_index=True)
            for t in ("courses", "events", "hidden")
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(whole.write(folder, parquet=True))
        if batch is not None and batch.outcomes is not None:
            batch.outcomes.to_csv(path / "outcomes.csv", index=False)
        return read_cohort(path)


# ---- figures


def report(figures: Figures, found: list[Offered], seeds: int) -> None:
    """Print the figures."""
    told = f"{seeds} seeds, champion of {COURSES} courses, {NEW} new ones"

    def of(kind: str) -> list[Offered]:
        return [one for one in found if one.batch.startswith(kind)]

    for kind, target in (("improved", "at least 0.8"), ("poisoned", "0"), ("drifted", "0")):
        mine = of(kind)
        share = float(np.mean([one.promoted for one in mine]))
        rows = dict(Counter(row for one in mine for row in one.failed).most_common())
        figures.add(
            f"{kind} batch promoted ({told})",
            round(share, 3),
            target,
            ok=share >= 0.8 if kind == "improved" else share == 0,
            against=f"by AUROC alone {np.mean([one.naive for one in mine]):.3f}; failing rows {rows}",
        )
    only = [
        all(one.promoted == one.batch.startswith("improved") for one in found if one.seed == seed)
        for seed in sorted({one.seed for one in found})
    ]
    figures.add(
        f"only the improved one promoted ({told})",
        round(float(np.mean(only)), 3),
        "at least 0.8",
        ok=float(np.mean(only)) >= 0.8,
    )


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
