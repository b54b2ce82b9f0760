"""Do stated intervals hold? Coverage counted on simulated cohorts whose truth is known.

The AUROC: cohorts drawn from one large pool. Risks: models trained as `train` does, each on patients of its own, and
held-out patients whose true risk is the share of forward simulations that become severe. Never-seen classes: models
of solid tumours that had no patient of one class.

BENCH_POOL (20000 courses), BENCH_COHORTS (300) and BENCH_TRAININGS (3) make it shorter.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.figure import Figures

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from features.matrix import FeatureTable
    from training.crossvalidate import Prepared
    from training.model import RiskModel

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
    pool = simulated_pool(int(os.environ.get("BENCH_POOL", "20000")))
    cohorts = int(os.environ.get("BENCH_COHORTS", "300"))
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


# ---- risks

COURSES = {
    "tisa-cel_ALL": 150, "brexu-cel_ALL": 100, "brexu-cel_MCL": 150, "axi-cel_LBCL3L": 200, "tisa-cel_LBCL": 100,
    "liso-cel_LBCL3L": 100, "ide-cel_MM4L": 500, "ide-cel_MM2L": 300, "cilta-cel_MM4L": 400, "cilta-cel_MM1L": 200,
    "glofit_DLBCL": 2700, "epco_LBCL": 300,
}  # fmt: skip
"""Courses per therapy of a training cohort: enough for 50 patients with severe CRS in each family."""
REPLICATES = 500
RARE_REPLICATES = 20
HELD_OUT = {key: courses * 2 // 3 for key, courses in COURSES.items()} | {
    "glofit_DLBCL": 4400,
    "epco_LBCL": 600,
}
"""Held-out courses. Where severe CRS is rare a decile's mean true risk hangs on few patients: many of them with
RARE_REPLICATES forward simulations each tell it better, at the same cost, than few with REPLICATES."""
RISK_LANDMARKS = (0.0, 24.0)
LEAST_EVENTS = 50
LEVEL, LEAST = 0.90, 0.85
ROW = ["course_id", "dose", "landmark_hours"]


def decile_coverage(figures: Figures) -> None:
    """Deciles of predicted risk per family and horizon: does their mean interval hold their mean true risk?"""
    began = time.perf_counter()
    trainings = int(os.environ.get("BENCH_TRAININGS", "3"))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        held = list(processes.map(_held_out, HELD_OUT))
        trained = list(processes.map(trained_models, range(trainings)))
    rows = pd.concat(
        [
            predicted_risks(model, table, truth).assign(training=k)
            for k, models in enumerate(trained)
            for model in models
            if model.n_events >= LEAST_EVENTS
            for table, truth in held
            if _family(table) == model.family
        ],
        ignore_index=True,
    )
    for family, mine in rows.groupby("family"):
        counted = {name: deciles(mine, name) for name in ALTERNATIVES}
        ours = counted[OURS]
        events = [
            m.n_events for one in trained for m in one if m.family == family and m.n_events >= LEAST_EVENTS
        ]
        others = ", ".join(
            f"{name} {found['inside'].mean():.3f} (width {found['width'].mean():.4f})"
            for name, found in counted.items()
            if name != OURS
        )
        by_horizon = ", ".join(
            f"{h} {share:.2f}" for h, share in ours.groupby("horizon")["inside"].mean().items()
        )
        share = float(ours["inside"].mean())
        figures.add(
            f"{family}: deciles of predicted risk whose mean true risk lies in their mean interval, nominal "
            f"{LEVEL:.0%} ({len(ours)} deciles of {mine['training'].nunique()} trainings with {min(events)} to "
            f"{max(events)} events, {int(ours['rows'].median())} rows each, "
            f"{int(mine['replicates'].median())} forward simulations a row)",
            round(share, 3),
            f"at least {LEAST}",
            ok=share >= LEAST,
            against=f"mean width {ours['width'].mean():.4f}; by horizon {by_horizon}; strictly, truth taken as exact "
            f"{ours['exactly'].mean():.3f}; {others}",
        )
    figures.add(
        "families with 50 events or more", rows["family"].nunique(), "3", ok=rows["family"].nunique() == 3,
        against=f"{time.perf_counter() - began:.0f} s",
    )  # fmt: skip


def trained_models(number: int) -> list[RiskModel]:
    """A model of each family of a training cohort, with refits, as `train` fits it."""
    from training.fit import fit_family, shared_trees
    from training.pipeline import REFITS
    from training.single_thread import single_thread

    seed = FIRST_SEED + 100 * (number + 1)
    with single_thread():
        prepared = _prepared(*_simulated(COURSES, seed)[:2], RISK_LANDMARKS)
        rows = prepared.rows()
        given = prepared.given(rows)
        shared = shared_trees(given, seed)
        families = sorted(rows.rows["family"].unique().tolist())
        return [fit_family(given, family, seed=seed, refits=REFITS, shared=shared) for family in families]


def _held_out(key: str) -> tuple[FeatureTable, pd.DataFrame]:
    """Features of held-out patients of one therapy, and their true risks."""
    from features.matrix import compute_features

    replicates = REPLICATES if HELD_OUT[key] < COURSES[key] else RARE_REPLICATES
    courses, events, truth = _simulated({key: HELD_OUT[key]}, FIRST_SEED, truth=replicates)
    return compute_features(_cohort(courses, events), RISK_LANDMARKS), truth


def predicted_risks(model: RiskModel, table: FeatureTable, truth: pd.DataFrame) -> pd.DataFrame:
    """Rows at risk with family, horizon, risk, true_risk, and low and high of each alternative."""
    rows = table.rows
    said = {name: change(model).predict(table) for name, change in ALTERNATIVES.items()}
    ours = said[OURS]
    found = rows[[*ROW]].iloc[ours.row].reset_index(drop=True)
    found = found.assign(
        family=model.family,
        horizon_hours=ours.horizon_hours,
        horizon=np.where(ours.rest_of_window, "rest", np.char.mod("%g h", ours.horizon_hours)),
        risk=ours.risk,
    )
    for name, one in said.items():
        found[f"low {name}"], found[f"high {name}"] = one.low, one.high
    return found.merge(truth[[*ROW, "horizon_hours", "true_risk", "replicates"]], on=[*ROW, "horizon_hours"])


OURS = "ours"


def _certain_timing(model: RiskModel) -> RiskModel:
    """The model as if a billion onsets had told when they come."""
    shares = {key: replace(found, onsets=10**9) for key, found in model.offset.shares.items()}
    return replace(model, offset=replace(model.offset, shares=shares))


def _certain_levels(model: RiskModel) -> RiskModel:
    levels = model.interval.levels
    shifts = {key: replace(found, sd=0.0) for key, found in levels.shifts.items()}
    return replace(model, interval=replace(model.interval, levels=replace(levels, shifts=shifts)))


ALTERNATIVES: Mapping[str, Callable[[RiskModel], RiskModel]] = {
    OURS: lambda model: model,
    "refits and level": _certain_timing,
    "refits alone": lambda model: _certain_levels(_certain_timing(model)),
    "level alone": lambda model: replace(_certain_timing(model), bootstrap_texts=()),
}


def deciles(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Per training, horizon and decile of predicted risk: rows, width, and whether the true risk lies inside.

    `exactly` takes the mean true risk as it was counted. `inside` takes it as well as finitely many simulations tell:
    none of n severe means a risk of at most 3.7 / n (exact 95 % limits), not 0, which no interval of a risk holds.
    """
    place = ["training", "horizon"]
    rank = rows.groupby(place)["risk"].rank(method="first", pct=True)
    decile = np.minimum((rank * 10).apply(np.ceil), 10).astype(int)
    means = rows.assign(decile=decile, low=rows[f"low {name}"], high=rows[f"high {name}"])
    found = means.groupby([*place, "decile"]).agg(
        rows=("risk", "size"), low=("low", "mean"), high=("high", "mean"), true=("true_risk", "mean"),
        simulated=("replicates", "sum"),
    )  # fmt: skip
    least, most = exact_limits(found["true"].to_numpy(), found["simulated"].to_numpy())
    return found.assign(
        width=found["high"] - found["low"],
        exactly=(found["low"] <= found["true"]) & (found["true"] <= found["high"]),
        inside=(found["low"] <= most) & (least <= found["high"]),
    ).reset_index()


def exact_limits(share: Array, n: Array) -> tuple[Array, Array]:
    """Exact 95 % limits of a probability from its share among n trials (Clopper and Pearson)."""
    from scipy.special import betaincinv

    hits = np.rint(share * n)
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), n - hits + 1, 0.025), 0.0)
    high = np.where(hits < n, betaincinv(hits + 1, np.maximum(n - hits, 1), 0.975), 1.0)
    return low, high


# ---- never-seen classes

SEEN = {"axi-cel_LBCL3L": 200, "brexu-cel_ALL": 150}
SOLID = {"engager": "tarla_SCLC3L", "engineered_t": "afami-cel_SS", "cart": "satri-cel_GC"}
SOLID_COURSES = 60


def unseen_classes(figures: Figures) -> None:
    """Models of solid tumours, each without one class: their answers to patients of it."""
    from serving.scorer import Scorer
    from training.fit import fit_family
    from training.single_thread import single_thread
    from training.track import ModelInfo

    answers, abstained, strategies = 0, 0, set()
    for left_out, key in SOLID.items():
        others = {other: SOLID_COURSES for class_, other in SOLID.items() if class_ != left_out}
        with single_thread():
            prepared = _prepared(*_simulated(SEEN | others, FIRST_SEED)[:2], (24.0,))
            model = fit_family(prepared.given(prepared.rows()), "solid_tumor", seed=FIRST_SEED, refits=2)
        strategies.add(model.strategy)
        scorer = Scorer({"solid_tumor": (model, ModelInfo("crsrisk-solid_tumor", "1", "sha256:0"))})
        told = scorer.score_cohort(_cohort(*_simulated({key: SOLID_COURSES}, FIRST_SEED + 1)[:2]), (24.0,))
        at_risk = told[
            ~told["reason"].fillna("").str.startswith(("ALREADY_SEVERE", "MAYBE_SEVERE", "NOT_", "DIED"))
        ]
        answers += len(at_risk)
        abstained += int((at_risk["abstained"] & at_risk["reason"].str.startswith("UNSEEN_CLASS")).sum())
    figures.add(
        f"patients of a never-seen class whose answer abstains as UNSEEN_CLASS ({', '.join(SOLID)} left out in turn)",
        round(abstained / answers, 3),
        "1.0",
        ok=abstained == answers > 0,
        against=f"{answers} moments of patients at risk; models: {', '.join(sorted(strategies))}",
    )


# ---- simulated cohorts


def _simulated(
    mix: Mapping[str, int], seed: int, truth: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Courses, events and true risks of so many courses of each therapy."""
    from crsrisk.simulator import simulate
    from crsrisk.therapies import therapies

    tables: dict[str, list[pd.DataFrame]] = {"courses": [], "events": [], "truth": []}
    for key, n in mix.items():
        number = sorted(therapies()).index(key)
        made = simulate(n, 1000 * seed + number, therapies=[key], truth=truth, landmarks=RISK_LANDMARKS)
        for name, table in (("courses", made.courses), ("events", made.events), ("truth", made.truth)):
            if table is not None:
                tables[name].append(table.assign(course_id=f"{key}/" + table["course_id"]))
    together = {name: pd.concat(found, ignore_index=True) for name, found in tables.items() if found}
    courses = together["courses"].assign(patient_id=together["courses"]["course_id"])
    return courses, together["events"], together.get("truth", pd.DataFrame())


def _cohort(courses: pd.DataFrame, events: pd.DataFrame) -> Cohort:
    from crsrisk.cohort import read_cohort

    with tempfile.TemporaryDirectory() as folder:
        courses.to_parquet(Path(folder) / "courses.parquet", index=False)
        events.to_parquet(Path(folder) / "events.parquet", index=False)
        return read_cohort(folder)


def _prepared(courses: pd.DataFrame, events: pd.DataFrame, landmarks: Sequence[float]) -> Prepared:
    from training.crossvalidate import prepare

    return prepare(_cohort(courses, events), landmarks)


def _family(table: FeatureTable) -> str | None:
    from crsrisk.therapies import therapy

    return therapy(str(table.rows["therapy"].iloc[0])).family


MEASURED: tuple[Callable[[Figures], None], ...] = (auroc_coverage, decile_coverage, unseen_classes)


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
