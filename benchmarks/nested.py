"""Nested cross-validation of 600 patients x 100 features against the plain scikit-learn route, in one process each.

Both routes see the same simulated patients (one product, one landmark, the rest of the window, so that a patient is a
row), the same 5 outer and 4 inner folds and the same candidates: the defaults and the 50 that Optuna tried in that
training fold. Both calibrate, and bootstrap 2,000 times.

ours: `crossvalidate`. Candidates are screened with faster trees on half of the inner folds, the best three and the
defaults grow on all folds side by side and stop early; the held-out margins of the search calibrate; the bootstrap is
vectorised: 9 metrics of 3 cells.
plain: `GridSearchCV` over the candidates, each with a number of trees between 25 and 400, `CalibratedClassifierCV`, and
a loop of `roc_auc_score` and `brier_score_loss` over the resamples: 2 metrics of 1 cell.
early stopping: as plain, the search being a loop of fits that stop on their held-out fold, as ours do (no target).

BENCH_SEEDS (10) and BENCH_STOPPED (2, seeds of the third route) make it shorter.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figures

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier

    from training.crossvalidate import Prepared
    from training.design import Design

Array = NDArray[np.float64]
Index = NDArray[np.int64]
PATIENTS, FEATURES, OUTER_FOLDS, TRIALS, RESAMPLES = 600, 100, 5, 50, 2000
THERAPY, LANDMARK = "axi-cel_LBCL3L", 24.0
FEWEST_TREES = 25
SKLEARN = {
    "lambda_l2": "reg_lambda",
    "min_sum_hessian_in_leaf": "min_child_weight",
    "min_data_in_leaf": "min_child_samples",
    "feature_fraction": "colsample_bytree",
    "bin_construct_sample_cnt": "subsample_for_bin",
    "num_threads": "n_jobs",
}
OF_THE_ROUTE = ("objective", "metric", "boost_from_average")  # what LGBMClassifier decides by itself


@dataclass(frozen=True, eq=False)
class Searched:
    """What was searched in one training fold: inner fold of each row and the candidates tried."""

    inner: Index
    candidates: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Route:
    """One run of a route: its AUROC out of fold, and what it cost in seconds."""

    auroc: float
    processor: float
    clock: float


def main() -> int:
    seeds = int(os.environ.get("BENCH_SEEDS", "10"))
    stopped = int(os.environ.get("BENCH_STOPPED", "2"))
    _warm()
    figures = Figures("nested")
    ours, plain, early, severe = [], [], [], []
    for seed in range(1, seeds + 1):
        prepared = patients(seed)
        severe.append(prepared.rows().severe_patients())
        result, searched, fold = our_route(prepared, seed)
        ours.append(result)
        plain.append(plain_route(prepared.rows(), fold, searched, seed, _searched_by_grid))
        if seed <= stopped:
            early.append(plain_route(prepared.rows(), fold, searched, seed, _searched_by_stopping))
    told = f"{PATIENTS} patients x {FEATURES} features, {TRIALS} trials, {RESAMPLES} bootstraps"
    _speed(figures, f"plain / ours, {told}, {len(ours)} seeds", ours, plain, least=5.0)
    if early:
        _speed(figures, f"early stopping / ours, {len(early)} seeds", ours[: len(early)], early, least=None)
    _quality(figures, ours, plain, severe)
    if early:
        gain = np.array([a.auroc - b.auroc for a, b in zip(ours, early, strict=False)])
        figures.add(
            f"AUROC ours - early stopping, mean of {len(early)} seeds",
            round(float(gain.mean()), 4),
            "none",
            ok=True,
        )
    return figures.finish()


def _speed(figures: Figures, told: str, ours: list[Route], other: list[Route], least: float | None) -> None:
    """How many times longer the other route takes, by processor time and by the clock."""
    for kind in ("processor", "clock"):
        mine, theirs = (np.array([getattr(r, kind) for r in routes]) for routes in (ours, other))
        ratio = float(theirs.sum() / mine.sum())
        bound = (
            least if kind == "processor" else None
        )  # the clock of a busy machine tells about its neighbours
        figures.add(
            f"{kind} time, {told}",
            round(ratio, 2),
            "none" if bound is None else f"at least {bound:g}",
            ok=bound is None or ratio >= bound,
            against=f"{theirs.mean():.1f} s and {mine.mean():.1f} s a run; ratio by seed "
            f"{(theirs / mine).min():.1f} to {(theirs / mine).max():.1f}",
        )


def _quality(figures: Figures, ours: list[Route], plain: list[Route], severe: list[int]) -> None:
    gain = np.array([a.auroc - b.auroc for a, b in zip(ours, plain, strict=True)])
    mine, theirs = (np.mean([r.auroc for r in routes]) for routes in (ours, plain))
    value = round(float(gain.mean()), 4)
    figures.add(
        f"AUROC ours - plain, mean of {len(gain)} seeds, {min(severe)} to {max(severe)} severe patients",
        value,
        "at least -0.005",
        ok=value >= -0.005,
        against=f"ours {mine:.4f}, plain {theirs:.4f}; sd of the difference {gain.std(ddof=len(gain) > 1):.4f}",
    )


def patients(seed: int) -> Prepared:
    """The first 600 labelled patients of a simulated cohort of one product, and 100 predictors at one landmark.

    Grade 2 is no second target here and nobody is lost to follow-up, so that both routes learn the same thing.
    """
    from crsrisk.cohort import read_cohort
    from crsrisk.simulator import simulate
    from training.crossvalidate import prepare

    with tempfile.TemporaryDirectory() as folder:
        simulate(PATIENTS + 100, seed, therapies=[THERAPY]).write(Path(folder), parquet=True)
        prepared = prepare(read_cohort(folder), (LANDMARK,), (None,))
    rows = prepared.labels.rows
    rows = rows.iloc[:PATIENTS].assign(auxiliary=rows["severe"], weight=1.0)
    if rows["patient_id"].nunique() != PATIENTS or len(prepared.names) < FEATURES:
        raise ValueError(f"{rows['patient_id'].nunique()} patients, {len(prepared.names)} features")
    labels = replace(prepared.labels, rows=rows, uncertain=prepared.labels.uncertain.iloc[:0])
    return replace(prepared, labels=labels, names=prepared.names[:FEATURES])


def our_route(prepared: Prepared, seed: int) -> tuple[Route, list[Searched], Index]:
    """Our cross-validation; also what it searched in each training fold, and the outer fold of each row."""
    from training.crossvalidate import crossvalidate

    with _recorded() as searched:
        stop = _clock()
        found = crossvalidate(
            prepared, n_folds=OUTER_FOLDS, trials=TRIALS, seed=seed, resamples=RESAMPLES, baselines=False
        )
        processor, clock = stop()
    of = found.detail.set_index("course_id")["fold"]
    fold = prepared.rows().rows["course_id"].map(of).to_numpy(dtype=np.int64)
    pooled = (found.table["metric"] == "auroc") & (found.table["horizon"] == "all")
    return Route(float(found.table.loc[pooled, "value"].iloc[0]), processor, clock), searched, fold


@contextmanager
def _recorded() -> Iterator[list[Searched]]:
    """Notes the inner folds and candidates of each training fold, in the order of the training folds."""
    from training.boosting import DEFAULTS, InnerFolds

    searched: list[Searched] = []
    choose = InnerFolds.choose

    def noting(inner: InnerFolds, chosen: Mapping[str, Any], **how: Any) -> Any:
        if not searched or searched[-1].inner is not inner.fold:
            searched.append(Searched(inner.fold, []))
        # finalists come twice, and every candidate is screened with faster trees than it would be grown with
        fixed = {
            "learning_rate": DEFAULTS["learning_rate"],
            "monotone_constraints": list(inner.training.monotone),
        }
        if {**chosen, **fixed} not in searched[-1].candidates:
            searched[-1].candidates.append({**chosen, **fixed})
        return choose(inner, chosen, **how)

    with patch.object(InnerFolds, "choose", noting):
        yield searched
    counts = [len(one.candidates) for one in searched]
    if counts != [TRIALS + 1] * OUTER_FOLDS:
        raise ValueError(f"{counts} candidates noted; the routes would not search the same")


Search = Callable[["Design", Searched, int], dict[str, Any]]


def plain_route(rows: Design, fold: Index, searched: list[Searched], seed: int, search: Search) -> Route:
    """scikit-learn as its manual shows it, on the folds and candidates of our run."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.metrics import brier_score_loss, roc_auc_score
    from sklearn.model_selection import PredefinedSplit

    stop = _clock()
    risk = np.empty(len(rows))
    for k, one in enumerate(searched):
        learn = rows.take(fold != k)
        best = classifier(search(learn, one, seed), seed)
        calibrated = CalibratedClassifierCV(best, method="sigmoid", cv=PredefinedSplit(one.inner))
        calibrated.fit(learn.matrix, learn.severe)
        risk[fold == k] = calibrated.predict_proba(rows.take(fold == k).matrix)[:, 1]
    auroc = float(roc_auc_score(rows.severe, risk))
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(risk), len(risk))
        severe, drawn_risk = rows.severe[drawn], risk[drawn]
        resampled.append((roc_auc_score(severe, drawn_risk), brier_score_loss(severe, drawn_risk)))
    np.percentile(resampled, [2.5, 97.5], axis=0)
    return Route(auroc, *stop())


def _searched_by_grid(learn: Design, searched: Searched, seed: int) -> dict[str, Any]:
    """The best candidate of a grid search; each candidate has a number of trees, drawn evenly on the log scale."""
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    from training.boosting import MAX_ROUNDS

    low, high = np.log(FEWEST_TREES), np.log(MAX_ROUNDS)
    trees = np.exp(np.random.default_rng(seed).uniform(low, high, len(searched.candidates))).astype(int)
    grid = [
        {name: [value] for name, value in {**one, "n_estimators": int(n)}.items()}
        for one, n in zip(searched.candidates, trees, strict=True)
    ]
    names = {SKLEARN.get(name, name): name for name in grid[0]}
    grid = [{ours: one[name] for ours, name in names.items()} for one in grid]
    search = GridSearchCV(
        classifier({}, seed),
        grid,
        scoring="neg_log_loss",
        cv=PredefinedSplit(searched.inner),
        refit=False,
    )
    best: dict[str, Any] = search.fit(learn.matrix, learn.severe).best_params_
    return best


def _searched_by_stopping(learn: Design, searched: Searched, seed: int) -> dict[str, Any]:
    """The best candidate of a loop in which every fit stops early on its held-out fold; the mean number of trees."""
    from lightgbm import early_stopping
    from sklearn.metrics import log_loss

    from training.boosting import MAX_ROUNDS, PATIENCE

    x, y = learn.matrix, learn.severe
    best, least = {}, np.inf
    for one in searched.candidates:
        risk, trees = np.empty(len(y)), []
        for k in np.unique(searched.inner):
            inside, held = searched.inner != k, searched.inner == k
            model = classifier({**one, "n_estimators": MAX_ROUNDS}, seed)
            model.fit(
                x[inside],
                y[inside],
                eval_X=x[held],
                eval_y=y[held],
                eval_metric="binary_logloss",
                callbacks=[early_stopping(PATIENCE, verbose=False)],
            )
            risk[held] = model.predict_proba(x[held])[:, 1]
            trees.append(model.best_iteration_)
        loss = float(log_loss(y, risk))
        if loss < least:
            best, least = {**one, "n_estimators": max(1, round(float(np.mean(trees))))}, loss
    return best


def _clock() -> Callable[[], tuple[float, float]]:
    """Starts both clocks; gives the seconds of processor and wall clock since."""
    processor, clock = time.process_time(), time.perf_counter()
    return lambda: (time.process_time() - processor, time.perf_counter() - clock)


def _warm() -> None:
    """Import what both routes need before anything is timed."""
    import lightgbm  # noqa: F401
    import optuna  # noqa: F401
    import scipy.sparse  # noqa: F401
    import sklearn.calibration
    import sklearn.model_selection  # noqa: F401


def classifier(chosen: Mapping[str, Any], seed: int) -> LGBMClassifier:
    """A LGBMClassifier with the parameters that our trees have."""
    from lightgbm import LGBMClassifier

    from training.boosting import FIXED

    given = {**FIXED, **chosen, "random_state": seed}
    return LGBMClassifier(**{SKLEARN.get(k, k): v for k, v in given.items() if k not in OF_THE_ROUTE})


if __name__ == "__main__":
    from benchmarks.figure import run

    run(main)
