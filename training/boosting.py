"""LightGBM for small data: few leaves, strong shrinkage, a base rate to start from, rounds chosen on patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.design import Design
from training.offset import logit
from training.split import patient_folds

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
    """Rows to learn from, with offset and weight; `own` marks the family's own rows among borrowed ones."""

    design: Design
    offset: Array
    weight: Array
    own: NDArray[np.bool_]
    monotone: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Rounds:
    """How many trees held-out patients allow, and what they were given out of fold."""

    rounds: int
    loss: float
    margin: Array  # offset + trees of held-out own rows, shape (n_own,)


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
        label=training.design.severe,
        weight=training.weight,
        init_score=training.offset,
        params={**FIXED, "min_data_in_leaf": 1, "feature_pre_filter": False},
        free_raw_data=False,
    ).construct()


class InnerFolds:
    """Patient folds inside the training data, to choose rounds and parameters on patients not fitted to."""

    def __init__(
        self, training: Training, whole: lightgbm.Dataset, seed: int, n_folds: int = INNER_FOLDS
    ) -> None:
        rows = training.design.rows
        severe = rows.groupby("patient_id")["severe"].transform("max")
        strata = (severe.astype(int).astype(str) + rows["family"]).to_numpy(dtype=object)
        patients = rows["patient_id"].to_numpy(dtype=object)
        self.fold = patient_folds(patients, strata, min(n_folds, training.design.patients()), seed)
        self.training, self.seed = training, seed
        self._sets = [self._pair(whole, k) for k in range(int(self.fold.max()) + 1)]

    def _pair(
        self, whole: lightgbm.Dataset, k: int
    ) -> tuple[lightgbm.Dataset, NDArray[np.int64], lightgbm.Dataset | None]:
        learn = np.flatnonzero(self.fold != k)
        held = np.flatnonzero((self.fold == k) & self.training.own)
        outside = whole.subset(held.tolist()).construct() if len(held) else None
        inside = whole.subset(learn.tolist()).construct()
        # as heavy as all rows together: lambda then shrinks a leaf here as much as in the final fit, and the rounds
        # and the calibration found here fit its trees
        inside.set_weight(
            self.training.weight[learn] * self.training.weight.sum() / self.training.weight[learn].sum()
        )
        return inside, held, outside

    def _booster(self, params: Mapping[str, Any], k: int) -> lightgbm.Booster:
        import lightgbm

        learn, _, outside = self._sets[k]
        booster = lightgbm.Booster(params=dict(params), train_set=learn)
        if outside is not None:
            booster.add_valid(outside, "held out")
        return booster

    def choose(
        self, chosen: Mapping[str, Any], *, stop: Callable[[int, float], bool] | None = None
    ) -> Rounds:
        """Grow all folds together, tree by tree, until the pooled held-out log loss no longer falls.

        stop: called with the round and the loss so far; True ends a hopeless candidate early.
        """
        t = self.training
        params = parameters(chosen, t.monotone, self.seed)
        own = np.flatnonzero(t.own)
        place = np.full(len(t.design), -1)
        place[own] = np.arange(len(own))
        boosters = [self._booster(params, k) for k in range(len(self._sets))]
        margin = t.offset[own].copy()
        severe, weight = t.design.severe[own], t.weight[own]
        best, best_loss, best_margin = 0, log_loss(margin, severe, weight), margin.copy()
        for k in range(1, MAX_ROUNDS + 1):
            for booster in boosters:
                booster.update()  # may add nothing: the columns drawn this round can be without use, the next not
            for booster, (_, held, _) in zip(boosters, self._sets, strict=True):
                if len(held):
                    margin[place[held]] = _held_out_margin(booster)
            loss = log_loss(margin, severe, weight)
            if loss < best_loss - 1e-9:
                best, best_loss, best_margin = k, loss, margin.copy()
            if k - best >= PATIENCE or (stop is not None and stop(k, best_loss)):
                break
        return Rounds(rounds=best, loss=best_loss, margin=best_margin)


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


def grow(whole: lightgbm.Dataset, params: Mapping[str, Any], rounds: int, weight: Array | None = None) -> str:
    """LightGBM text of a model with `rounds` trees; `weight` replaces the rows' weights (bootstrap)."""
    import lightgbm

    if weight is not None:
        kept = np.flatnonzero(weight > 0)
        whole = whole.subset(kept.tolist()).construct()
        whole.set_weight(weight[kept])
    booster = lightgbm.train(dict(params), whole, num_boost_round=rounds)
    text: str = booster.model_to_string()
    return text


def patient_bootstrap(training: Training, rng: np.random.Generator) -> Array:
    """Weights of one bootstrap sample: each patient counts as often as it was drawn."""
    n = int(training.design.patient.max()) + 1
    drawn = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
    return training.weight * drawn[training.design.patient]
