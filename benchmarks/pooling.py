"""Does pooling pay? One therapy is held out and fed back with 0 to 1,000 of its patients, beside two extremes.

Own: a model of this therapy's patients alone. Global: one model of all patients without their therapy. Pooled: ours.
Simulated CAR-T therapies, whose rates differ as published. Up to 30 patients ours learns as it does between trainings
(`pooling.learned`), from 100 on it is trained again; the global model takes up to 30 patients in by its rate alone.
The landmark is 24 hours, with all horizons; a cell is the mean over the draws of one therapy at one size.
Informed: ours, told rate and onset curve of the held-out therapy as all its simulated patients have them. What it
gains on ours is what few patients can't tell, whatever the method; it has no target.

BENCH_SEEDS (30), BENCH_POOL (2500 courses per therapy) make it shorter.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.figure import Figures

if TYPE_CHECKING:
    from training.crossvalidate import Prepared
    from training.design import Design

THERAPIES = (
    "axi-cel_LBCL3L", "axi-cel_FL", "tisa-cel_ALL", "tisa-cel_LBCL", "brexu-cel_MCL",
    "brexu-cel_ALL", "liso-cel_LBCL3L", "liso-cel_CLL", "ide-cel_MM4L", "cilta-cel_MM4L",
)  # fmt: skip
SIZES = (0, 10, 30, 100, 300, 1000)
OTHERS = 120  # patients of every other therapy
TEST = 1000
Z90 = 1.6448536269514722
LEARNED = 30  # patients up to which levels learn without growing trees again
FIRST_SEED = 501
LANDMARKS = (24.0,)
_POOL: Pool | None = None  # of this process and those forked from it


class Pool(NamedTuple):
    """Labelled rows of many patients of every therapy.

    row_patient: of each row, a number from 0. patients: numbers of the patients by therapy.
    """

    prepared: Prepared
    rows: Design
    row_patient: np.ndarray
    patients: dict[str, np.ndarray]


class Cell(NamedTuple):
    """One model on the test patients of a held-out therapy."""

    therapy: str
    n: int
    seed: int
    model: str
    loss: float
    over: float  # |log(expected / observed)|
    covered: float  # whether observed over expected lies in the 90 % interval; nan where a model gives none


def main() -> int:
    global _POOL  # noqa: PLW0603  # forked processes inherit it: nothing is sent
    seeds = int(os.environ.get("BENCH_SEEDS", "30"))
    pool = int(os.environ.get("BENCH_POOL", "2500"))
    figures = Figures("pooling")
    _POOL = make_pool(pool)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        tasks = [(key, FIRST_SEED + k) for k in range(seeds) for key in THERAPIES]
        cells = [cell for found in processes.map(_one, tasks) for cell in found]
    report(figures, pd.DataFrame(cells), seeds)
    return figures.finish()


def make_pool(courses: int) -> Pool:
    """Simulate, label and compute features."""
    prepared = _prepared(courses)
    rows = prepared.rows()
    first = np.unique(rows.patient, return_index=True)[
        1
    ]  # row of each patient, in the order of their numbers
    therapy = rows.rows["therapy"].to_numpy(dtype=object)[first]
    patients = {key: np.flatnonzero(therapy == key) for key in THERAPIES}
    return Pool(prepared, rows, rows.patient, patients)


def _prepared(courses: int) -> Prepared:
    from crsrisk.cohort import read_cohort
    from crsrisk.simulator import simulate
    from training.crossvalidate import prepare

    tables: dict[str, list[pd.DataFrame]] = {"courses": [], "events": []}
    for number, key in enumerate(THERAPIES):
        made = simulate(courses, FIRST_SEED + 1000 + number, therapies=[key])
        for name, table in (("courses", made.courses), ("events", made.events)):
            tables[name].append(table.assign(course_id=key + "/" + table["course_id"]))
    together = pd.concat(tables["courses"], ignore_index=True)
    together["patient_id"] = together["course_id"]
    with tempfile.TemporaryDirectory() as folder:
        together.to_parquet(Path(folder) / "courses.parquet", index=False)
        pd.concat(tables["events"], ignore_index=True).to_parquet(
            Path(folder) / "events.parquet", index=False
        )
        return prepare(read_cohort(folder), LANDMARKS)


def _one(task: tuple[str, int]) -> list[Cell]:
    from training.single_thread import single_thread

    with single_thread():
        return list(held_out(*task))


def held_out(key: str, seed: int) -> Iterator[Cell]:
    """Every model at every size for one therapy and one draw of patients."""
    from training.fit import fit_family, level_data
    from training.fit_input import start_of
    from training.pooling import learned

    assert _POOL is not None
    prepared = _POOL.prepared
    drawn = _draw(_POOL, key, seed)
    test, others = _rows(_POOL, drawn["test"]), _rows(_POOL, drawn["others"])
    family = str(test.rows["family"].iloc[0])
    start = fit_family(prepared.given(others), family, seed=seed, refits=0)
    whole = _plain(prepared, others, seed)
    for n in SIZES:
        mine = _rows(_POOL, drawn["own"][:n])
        if n <= LEARNED:
            model, globally = start, whole
            if n:
                given = level_data(
                    mine, start_log_odds(start, mine), start_of(start.offset, mine, {}).log_odds()
                )
                prior = {name: rate.logit_sd for name, rate in start.offset.rates.items()}
                levels = learned(start.interval.levels, given, prior)
                model = replace(start, interval=replace(start.interval, levels=levels))
        else:
            both = _rows(_POOL, np.concatenate((drawn["others"], drawn["own"][:n])))
            model = fit_family(prepared.given(both), family, seed=seed, refits=0)
            globally = _plain(prepared, both, seed)
        keys = test.rows["therapy"].tolist()
        risks = {
            name: told.log_odds(test.matrix, start_of(told.offset, test, {}), keys)
            for name, told in (("pooled", model), ("informed", _informed(_POOL, model, key)))
        }
        risks["global"] = globally(test)
        if n:
            risks["own"] = _plain(prepared, mine, seed)(test)
        for name, log_odds in risks.items():
            bounds = _bounds(prepared, model, test) if name == "pooled" else None
            yield _cell(test, key, n, seed, name, log_odds, bounds)


def _bounds(prepared: Prepared, model: Any, test: Design) -> tuple[float, float]:
    """Logs of how many severe cases the lower and the upper bounds of all risks expect, over what the risks expect."""
    from features.matrix import FeatureTable

    table = prepared.table
    wanted = np.flatnonzero(table.rows["course_id"].isin(test.rows["course_id"]).to_numpy())
    asked = FeatureTable(table.rows.iloc[wanted].reset_index(drop=True), table.values[wanted], table.names)
    found = model.predict(asked, (None,))
    counts = np.log([found.low.sum(), found.risk.sum(), found.high.sum()])
    return float(counts[0] - counts[1]), float(counts[2] - counts[1])


def _informed(pool: Pool, model: Any, key: str) -> Any:
    """The model with onset curve and level of a therapy as all its patients have them."""
    from crsrisk.therapies import therapy
    from training.offset import onset_hours, onset_shares
    from training.pooling import TherapyShift

    every = _rows(pool, pool.patients[key])
    onsets = pool.prepared.given(every).onsets
    curve = onset_shares(
        therapy(key).class_,
        onsets["dose"].to_numpy(dtype=np.int64),
        onsets["hours"].to_numpy(dtype=np.float64),
        onset_hours=onset_hours(therapy(key)),
        doses=1,
    )
    told = replace(model, offset=replace(model.offset, shares={**model.offset.shares, key: curve}))
    level = known_level(start_log_odds(told, every)[every.longest], every)
    shifts = {**model.interval.levels.shifts, key: TherapyShift(level, 0.0, 0, 0)}
    return replace(told, interval=replace(told.interval, levels=replace(told.interval.levels, shifts=shifts)))


def known_level(log_odds: np.ndarray, rows: Design) -> float:
    """The shift at which the rows with the longest horizons are expected to be severe as often as they were."""
    from scipy.optimize import brentq

    from training.offset import sigmoid

    severe, weight = rows.severe[rows.longest], rows.weight[rows.longest]
    return float(brentq(lambda shift: (weight * (sigmoid(log_odds + shift) - severe)).sum(), -5.0, 5.0))


def start_log_odds(model: Any, rows: Design) -> np.ndarray:
    """Log odds of the risk before the level of the therapy."""
    from training.fit_input import start_of

    c = model.calibration
    return c.intercept + c.slope * model.margins(rows.matrix, start_of(model.offset, rows, {}))


def _draw(pool: Pool, key: str, seed: int) -> dict[str, np.ndarray]:
    """Disjoint patients, as numbers: for the test, to feed back, and of the other therapies."""
    rng = np.random.default_rng(seed)
    mixed = {name: rng.permutation(pool.patients[name]) for name in THERAPIES}
    others = [mixed[name][:OTHERS] for name in THERAPIES if name != key]
    return {
        "test": mixed[key][:TEST],
        "own": mixed[key][TEST : TEST + max(SIZES)],
        "others": np.concatenate(others),
    }


def _rows(pool: Pool, patients: np.ndarray) -> Design:
    wanted = np.zeros(int(pool.row_patient.max()) + 1, dtype=bool)
    wanted[patients] = True
    return pool.rows.take(wanted[pool.row_patient])


def _plain(prepared: Prepared, rows: Design, seed: int) -> Any:
    """The same trees and calibration without published rates and without levels; log odds of other rows."""
    import lightgbm

    from training.boosting import DEFAULTS, InnerFolds, Training, dataset, scaled_weight
    from training.calibrate import recalibrate, within_line
    from training.fit_input import offset_spec, start_of
    from training.offset import Start

    given = prepared.given(rows)
    once = rows.longest
    patients = max(float(rows.weight[once].sum()), 1.0)
    rate = (float((rows.weight * rows.severe)[once].sum()) + 0.5) / (patients + 1.0)
    specs = {
        str(name): offset_spec(given, str(name), rows.take(given.of_family(str(name))))
        for name in rows.rows["family"].unique()
    }
    specs = {
        name: replace(spec, rates={key: replace(found, rate=rate) for key, found in spec.rates.items()})
        for name, spec in specs.items()
    }
    anyone = next(iter(specs.values()))

    def begin(of: Design) -> Start:
        result = Start(np.empty(len(of)), np.empty(len(of)))
        for name in of.rows["family"].unique():
            mine = (of.rows["family"] == name).to_numpy()
            spec = specs.get(str(name), anyone)
            rates = {key: replace(next(iter(spec.rates.values())), rate=rate) for key in THERAPIES}
            part = start_of(replace(spec, rates=rates), of.take(mine), {})
            result.window[mine], result.within[mine] = part.window, part.within
        return result

    events = min(rows.severe_patients(), rows.patients() - rows.severe_patients())
    if events < 5:
        return lambda of: begin(of).log_odds()
    weight, its = scaled_weight(rows), begin(rows)
    start = Training(rows, its.log_odds(), weight, given.signs(), rows.severe)
    found = InnerFolds(start, dataset(start), seed).choose(DEFAULTS)
    trees = found.margin - its.log_odds()
    within = within_line(rows, its, trees, weight)
    c = recalibrate(its.log_odds(trees, within), rows.severe, weight, events=events)
    if not found.rounds:
        return lambda of: c.intercept + c.slope * begin(of).log_odds(0.0, within)
    booster = lightgbm.Booster(model_str=found.text())
    return lambda of: (
        c.intercept
        + c.slope * begin(of).log_odds(booster.predict(of.matrix, raw_score=True, num_threads=1), within)
    )


def _cell(
    test: Design,
    key: str,
    n: int,
    seed: int,
    model: str,
    log_odds: np.ndarray,
    bounds: tuple[float, float] | None,
) -> Cell:
    from training.offset import sigmoid

    severe, weight, once = test.severe, test.weight, test.longest
    loss = float(np.average(np.logaddexp(0.0, log_odds) - severe * log_odds, weights=weight))
    risk = sigmoid(log_odds[once])
    expected, observed = float((weight[once] * risk).sum()), float((weight * severe)[once].sum())
    off = float(np.log(max(observed, 0.5) / expected))
    covered = np.nan
    if bounds is not None:  # the test patients are a sample, too: their chance widens the interval
        chance = Z90 * float((weight[once] * risk * (1.0 - risk)).sum()) ** 0.5 / expected
        covered = float(-np.hypot(bounds[0], chance) <= off <= np.hypot(bounds[1], chance))
    return Cell(key, n, seed, model, loss, abs(off), covered)


def report(figures: Figures, cells: pd.DataFrame, seeds: int) -> None:
    """Print the figures."""
    told = f"{len(THERAPIES)} therapies, {seeds} draws, {OTHERS} patients of each other therapy"
    loss = cells.pivot_table(index=["therapy", "n"], columns="model", values="loss")
    ratio = loss["pooled"] / loss[["own", "global"]].min(axis=1)
    worst = ratio.idxmax()
    figures.add(
        f"mean log loss of pooled over the better of own and global, worst of {len(ratio)} cells ({told})",
        round(float(ratio.max()), 4),
        "at most 1.01 in every cell",
        ok=bool((ratio <= 1.01).all()),
        against=f"{worst[0]} with {worst[1]} patients; median of the cells {ratio.median():.4f}",
    )
    informed = loss["informed"] / loss[["own", "global"]].min(axis=1)
    worst = informed.idxmax()
    figures.add(
        f"the same when told rate and onset curve of the held-out therapy, cells at most 1.01, of {len(ratio)}",
        int((informed <= 1.01).sum()),
        "none",
        ok=True,
        against=f"pooled {int((ratio <= 1.01).sum())} cells; worst informed {informed.max():.4f}: {worst[0]} with "
        f"{worst[1]} patients",
    )
    for n, mine in loss.groupby(level="n"):
        mean = mine.mean()
        own = f", own {mean['own']:.4f}" if n else ""
        value = round(float(mean["pooled"] / np.nanmin([mean["own"], mean["global"]])), 4)
        against = f"pooled {mean['pooled']:.4f}, global {mean['global']:.4f}{own}"
        figures.add(
            f"the same over all therapies, {n} patients",
            value,
            "at most 1.01",
            ok=value <= 1.01,
            against=against,
        )
    over = cells.pivot_table(index="n", columns="model", values="over")
    for n, row in over.iterrows():
        others = row[["own", "global"]].min() if n else row["global"]
        figures.add(
            f"mean |log(expected/observed)|, {n} patients",
            round(float(row["pooled"]), 4),
            "not above own and global",
            ok=bool(row["pooled"] <= others),
            against=", ".join(
                f"{name} {row[name]:.4f}" for name in ("own", "global") if not np.isnan(row[name])
            ),
        )
    covered = cells[cells["model"] == "pooled"].groupby("n")["covered"].mean()
    share = float(cells.loc[cells["model"] == "pooled", "covered"].mean())
    figures.add(
        "cells whose observed over expected lies in its 90 % interval",
        round(share, 4),
        "at least 0.85",
        ok=share >= 0.85,
        against=", ".join(f"{n}: {value:.3f}" for n, value in covered.items()),
    )


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
