"""LightGBM for small data: few leaves, strong shrinkage, a base rate to start from, rounds chosen on patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.design import Design
from training.offset import logit
from training.split import patient_folds
from training.stack import averaged

if TYPE_CHECKING:
    import lightgbm

Array = NDArray[np.float64]
MAX_ROUNDS = 400
PATIENCE = 25
INNER_FOLDS = 4

# Chosen on simulated cohorts (docs/decisions/0061), not on any real one. Weights are scaled so that all
# rows of a patient count as one patient, so lambda and min_sum_hessian are in patients.
DEFAULTS: Mapping[str, Any] = {
    "num_leaves": 4,
    "max_depth": 2,
    "learning_rate": 0.06,
    "lambda_l2": 10.0,
    "min_sum_hessian_in_leaf": 0.5,
    "min_data_in_leaf": 20,
    "feature_fraction": 1.0,
    "extra_trees": True,
}
FIXED: Mapping[str, Any] = {
    "objective": "binary",
    "boost_from_average": False,
    "metric": "none",
    "max_bin": 63,
    "bin_construct_sample_cnt": 20000,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, eq=False)
class Training:
    """Rows to learn from, with the log odds from which trees start (`offset`) and the weight of each row.

    target: what trees are grown for, 0 or 1: severe CRS, or an auxiliary outcome for a family with few severe cases.
    lift: added to `offset` while growing, so that the auxiliary outcome starts at its own level.
    """

    design: Design
    offset: Array
    weight: Array
    monotone: tuple[int, ...]
    target: Array
    lift: float = 0.0

    def take(self, rows: NDArray[np.bool_], offset: Array) -> Training:
        """Some of the rows with another start; weights are scaled so that their sum is the number of patients."""
        part = self.design.take(rows)
        return Training(part, offset, scaled_weight(part), self.monotone, self.target[rows], self.lift)


@dataclass(frozen=True, eq=False)
class Rounds:
    """How many trees held-out patients allow, and what they were given out of fold.

    margin: offset + trees of held-out rows, shape (n,). grown: booster of each fold and how many trees it has by then.
    """

    rounds: int
    loss: float
    margin: Array
    grown: tuple[tuple[lightgbm.Booster, int], ...] = ()

    def text(self) -> str | None:
        """The mean of the folds' boosters as a LightGBM text; None without any tree.

        Together they have seen every patient, and what they said of those they had not seen is `margin`: it calibrates
        the very trees that answer. Their mean varies less than one booster of all patients (breiman_1996).
        """
        texts = [booster.model_to_string(num_iteration=trees) for booster, trees in self.grown if trees]
        return averaged(texts, len(self.grown))


def scaled_weight(design: Design) -> Array:
    """Weights whose sum is the number of patients.

    Every row is scaled by the same factor. Giving each patient the same total instead would make rows of
    early severe patients, who leave the risk set and so have few rows, heavier than others and the risks
    too high.
    """
    return design.weight * (design.patients() / max(len(design), 1))


def parameters(chosen: Mapping[str, Any], monotone: Sequence[int], seed: int) -> dict[str, Any]:
    """All LightGBM parameters of a fit."""
    return {**FIXED, **chosen, "monotone_constraints": list(monotone), "seed": seed}


def dataset(training: Training) -> lightgbm.Dataset:
    """The rows binned once; folds and bootstrap samples are subsets or weights of it."""
    import lightgbm

    return lightgbm.Dataset(
        training.design.matrix,
        label=training.target,
        weight=training.weight,
        init_score=training.offset + training.lift,
        params={**FIXED, "min_data_in_leaf": 1, "feature_pre_filter": False},
        free_raw_data=False,
    ).construct()


class _Fold(NamedTuple):
    """What one inner fold learns from, the held-out rows, and their data."""

    inside: lightgbm.Dataset
    held: NDArray[np.int64]
    outside: lightgbm.Dataset


class InnerFolds:
    """Patient folds inside the training data, to choose rounds and parameters on patients not fitted to."""

    def __init__(
        self,
        training: Training,
        whole: lightgbm.Dataset,
        seed: int,
        *,
        n_folds: int = INNER_FOLDS,
        fold: NDArray[np.int64] | None = None,
    ) -> None:
        """Deal the patients; `fold` of each row when they were dealt before."""
        self.training, self.seed = training, seed
        self.fold = inner_folds(training.design, n_folds, seed) if fold is None else fold
        self._sets = [self._pair(whole, int(k)) for k in np.unique(self.fold)]

    def _pair(self, whole: lightgbm.Dataset, k: int) -> _Fold:
        learn, held = np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)
        inside = whole.subset(learn.tolist()).construct()
        # as heavy as all rows together: lambda then shrinks a leaf as much as in a refit of all patients
        inside.set_weight(
            self.training.weight[learn] * self.training.weight.sum() / self.training.weight[learn].sum()
        )
        return _Fold(inside, held, whole.subset(held.tolist()).construct())

    def choose(
        self,
        chosen: Mapping[str, Any],
        *,
        folds: int | None = None,
        stop: Callable[[float], bool] | None = None,
    ) -> Rounds:
        """Grow all folds together, tree by tree, until the pooled held-out log loss no longer falls.

        Args:
            chosen: LightGBM parameters.
            folds: the first so many alone, judged on their patients; None: all.
            stop: called with the least loss so far after every round; True ends a hopeless candidate early.
        """
        sets = self._sets[:folds]
        rows = np.zeros(len(self.training.design), dtype=bool)
        rows[np.concatenate([held for _, held, _ in sets])] = True
        judge = _Judge(self.training, rows)
        (found,) = self._grow(chosen, sets, [judge], stop)
        return found

    def choose_each(
        self,
        chosen: Mapping[str, Any],
        groups: Mapping[str, NDArray[np.bool_]],
    ) -> dict[str, Rounds]:
        """How many of the same trees each group of rows takes: where its held-out loss of severe CRS is least.

        A group with few events leans on all rows: its own gain per event counts with weight events / (events +
        LEAN_EVENTS), that of all rows with the rest.

        Args:
            chosen: LightGBM parameters.
            groups: rows of each group; every group takes a number of rounds of its own.
        """
        judges = {name: _Judge(self.training, rows, leaning=True) for name, rows in groups.items()}
        return dict(zip(judges, self._grow(chosen, self._sets, list(judges.values())), strict=True))

    def _grow(
        self,
        chosen: Mapping[str, Any],
        sets: Sequence[_Fold],
        judges: Sequence[_Judge],
        stop: Callable[[float], bool] | None = None,
    ) -> list[Rounds]:
        """Grow some folds side by side and show every round to the judges, until none has seen a better one lately."""
        import lightgbm

        t = self.training
        params = parameters(chosen, t.monotone, self.seed)
        boosters = []
        for inside, _, outside in sets:
            booster = lightgbm.Booster(params=dict(params), train_set=inside)
            booster.add_valid(outside, "held out")
            boosters.append(booster)
        margin = t.offset.copy()
        trees = [[0] * len(boosters)]  # of each booster after each round
        for k in range(1, MAX_ROUNDS + 1):
            for booster in boosters:
                booster.update()  # may add nothing: the columns drawn this round can be without use, the next not
            for booster, (_, held, _) in zip(boosters, sets, strict=True):
                margin[held] = _held_out_margin(booster) - t.lift
            trees.append([booster.num_trees() for booster in boosters])
            for judge in judges:
                judge.look(k, margin)
            if all(k - judge.best.rounds >= PATIENCE for judge in judges):
                break
            if stop is not None and stop(min(judge.best.loss for judge in judges)):
                break
        best = [judge.best for judge in judges]
        return [replace(b, grown=tuple(zip(boosters, trees[b.rounds], strict=True))) for b in best]


LEAN_EVENTS = 30.0
"""Severe patients at which a group's own held-out gain counts as much as that of all rows; our convention."""


class _Judge:
    """Keeps the best round of some rows; `leaning`: with few events their loss leans on that of all rows."""

    def __init__(self, training: Training, rows: NDArray[np.bool_], *, leaning: bool = False) -> None:
        self._severe, self._weight, self._rows = training.design.severe, training.weight, rows
        self._lean, self._scale = 1.0, (1, 1)
        if leaning and not rows.all():
            events = training.design.take(rows).severe_patients()
            self._lean = events / (events + LEAN_EVENTS)
            self._scale = (max(events, 1), max(training.design.severe_patients(), 1))
        self.best = Rounds(0, self._loss(training.offset), training.offset[rows].copy())

    def look(self, rounds: int, margin: Array) -> None:
        """Keep this round when it is better than all before it."""
        loss = self._loss(margin)
        if loss < self.best.loss - 1e-9:
            self.best = Rounds(rounds, loss, margin[self._rows].copy())

    def _loss(self, margin: Array) -> float:
        if self._lean == 1.0:
            return log_loss(margin[self._rows], self._severe[self._rows], self._weight[self._rows])
        each = self._weight * (np.logaddexp(0.0, margin) - self._severe * margin)
        own, every = float(each[self._rows].sum()) / self._scale[0], float(each.sum()) / self._scale[1]
        return self._lean * own + (1.0 - self._lean) * every


def inner_folds(design: Design, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Inner fold of each row, dealt by patient, severity and family."""
    rows = design.rows
    severe = rows.groupby("patient_id")["severe"].transform("max")
    strata = (severe.astype(int).astype(str) + rows["family"]).to_numpy(dtype=object)
    patients = rows["patient_id"].to_numpy(dtype=object)
    return patient_folds(patients, strata, min(n_folds, design.patients()), seed)


def _held_out_margin(booster: lightgbm.Booster) -> Array:
    """Log odds of the booster's held-out rows; LightGBM keeps them up to date, nothing is predicted anew."""
    seen: list[Array] = []

    def look(risk: Array, _: lightgbm.Dataset) -> tuple[str, float, bool]:
        seen.append(np.array(risk))
        return "seen", 0.0, False

    booster.eval_valid(look)
    return logit(seen[0])


def log_loss(margin: Array, severe: Array, weight: Array) -> float:
    """Weighted mean log loss of log odds."""
    each = np.logaddexp(0.0, margin) - severe * margin
    return float((weight * each).sum() / weight.sum())


def refit(whole: lightgbm.Dataset, params: Mapping[str, Any], rounds: int, weight: Array) -> str:
    """LightGBM text of a model with `rounds` trees; `weight` replaces the rows' weights (bootstrap)."""
    import lightgbm

    kept = np.flatnonzero(weight > 0)
    whole = whole.subset(kept.tolist()).construct()
    whole.set_weight(weight[kept])
    booster = lightgbm.train(dict(params), whole, num_boost_round=rounds)
    text: str = booster.model_to_string()
    return text


def drawn_patients(design: Design, rng: np.random.Generator) -> Array:
    """How often each row is in one bootstrap sample: as often as its patient was drawn."""
    n = int(design.patient.max()) + 1
    drawn = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
    return drawn[design.patient]
