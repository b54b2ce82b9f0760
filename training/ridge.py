"""Penalised logistic regression for wide tables with gaps: imputed, standardised, strength chosen on patients.

The linear baseline has to be strong, or beating it means nothing. Everything that is learned from data
(median, spread, which column has gaps) is learned from the training rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from training.boosting import log_loss
from training.offset import sigmoid

Array = NDArray[np.float64]
STRENGTHS = (1000.0, 300.0, 100.0, 30.0, 10.0)
_LIMIT = 4.0  # standard deviations: one extreme laboratory value must not decide a linear model


@dataclass(frozen=True, eq=False)
class Columns:
    """How raw predictors become columns of a linear model; learned from training rows."""

    log: NDArray[np.bool_]
    median: Array
    centre: Array
    spread: Array
    kept: NDArray[np.int64]
    gaps: NDArray[np.int64]

    @classmethod
    def learn(cls, values: Array, log: NDArray[np.bool_]) -> Columns:
        """values: (m, n_features) training rows, nan = missing; log: features on a logarithmic scale."""
        scaled = _log_scaled(values, log)
        present = ~np.isnan(scaled)
        measured = present.any(axis=0)
        median = np.zeros(values.shape[1])
        median[measured] = np.nanmedian(scaled[:, measured], axis=0)
        filled = np.where(present, scaled, median)
        centre, spread = filled.mean(axis=0), filled.std(axis=0)
        kept = np.flatnonzero(measured & (spread > 1e-9))
        share = present.mean(axis=0)
        with_gaps = np.flatnonzero((share > 0.01) & (share < 0.99))
        # features of one analyte are missing together: one indicator speaks for all of them
        _, first = np.unique(present[:, with_gaps], axis=1, return_index=True)
        return cls(log, median, centre, spread, kept, np.sort(with_gaps[first]))

    def apply(self, values: Array) -> Array:
        """Standardised, imputed predictors, then a 0/1 column per pattern of gaps."""
        scaled = _log_scaled(values, self.log)
        missing = np.isnan(scaled)
        filled = np.where(missing, self.median, scaled)[:, self.kept]
        standard = (filled - self.centre[self.kept]) / self.spread[self.kept]
        return np.hstack([np.clip(standard, -_LIMIT, _LIMIT), missing[:, self.gaps].astype(np.float64)])


def _log_scaled(values: Array, log: NDArray[np.bool_]) -> Array:
    scaled = values.copy()
    scaled[:, log] = np.log1p(np.maximum(scaled[:, log], 0.0))
    return scaled


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows of a penalised logistic regression; rows that share predictors share a line of `values`.

    values: (m, p) penalised columns. base: line of `values` of each row, (n,). free: (n, q) columns without
    penalty.
    """

    values: Array
    base: NDArray[np.int64]
    free: Array
    severe: Array
    weight: Array

    def take(self, rows: NDArray[np.int64]) -> Problem:
        """Some of the rows, with the lines of `values` that they need."""
        lines, base = np.unique(self.base[rows], return_inverse=True)
        return Problem(self.values[lines], base, self.free[rows], self.severe[rows], self.weight[rows])

    def margin(self, beta: Array) -> Array:
        """Log odds of each row."""
        p = self.values.shape[1]
        result: Array = (self.values @ beta[:p])[self.base] + self.free @ beta[p:]
        return result


def fit(problem: Problem, strength: float, start: Array | None = None) -> Array:
    """Coefficients that minimise weighted log loss + strength / 2 * squared length of the penalised ones."""
    return path(problem, (strength,), start, tolerance=1e-12)[0]


def path(
    problem: Problem, strengths: Sequence[float], start: Array | None = None, *, tolerance: float = 1e-7
) -> list[Array]:
    """Coefficients for each strength, each started from the one before, to a relative tolerance of the cost.

    L-BFGS in coordinates in which the curvature at the mean risk is the identity: a few steps instead of
    hundreds.
    """
    values, base, free = problem.values, problem.base, problem.free
    m, p = values.shape
    q = free.shape[1]
    rate = np.clip((problem.weight * problem.severe).sum() / problem.weight.sum(), 1e-4, 0.5)
    flat = problem.weight * rate * (1 - rate)
    per_line = np.bincount(base, weights=flat, minlength=m)
    gram = (values * per_line[:, None]).T @ values
    gram_free = (free * flat[:, None]).T @ free
    sums = np.stack([np.bincount(base, weights=flat * column, minlength=m) for column in free.T], axis=1)
    cross = values.T @ sums
    curvature = np.block([[gram, cross], [cross.T, gram_free]])
    found = []
    beta = np.zeros(p + q) if start is None else start
    for strength in strengths:
        penalty = np.concatenate([np.full(p, strength), np.full(q, 1e-6)])
        factor = np.linalg.cholesky(curvature + np.diag(penalty + 1e-9))

        def cost(z: Array, factor: Any = factor, penalty: Array = penalty) -> tuple[float, Any]:
            b: Any = solve_triangular(factor, z, lower=True, trans="T", check_finite=False)
            margin = problem.margin(b)
            loss = problem.weight @ (np.logaddexp(0.0, margin) - problem.severe * margin)
            error = problem.weight * (sigmoid(margin) - problem.severe)
            slope = np.concatenate([values.T @ np.bincount(base, weights=error, minlength=m), free.T @ error])
            return float(loss + 0.5 * penalty @ b**2), solve_triangular(
                factor, slope + penalty * b, lower=True, check_finite=False
            )

        done = minimize(
            cost,
            factor.T @ beta,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 200, "gtol": 1e-9, "ftol": tolerance},
        )
        beta = np.linalg.solve(factor.T, done.x)
        found.append(beta)
    return found


def choose_strength(
    fold: NDArray[np.int64],
    problem_of: Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[Problem, Problem]],
    severe: Array,
    weight: Array,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, float]:
    """The strength with the least log loss on held-out patients, and that loss.

    problem_of: from training and held-out row numbers to two problems, with columns learned from the
    training rows.
    """
    held_margin = np.zeros((len(strengths), len(fold)))
    for k in np.unique(fold):
        learn, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        learned, outside = problem_of(learn, held)
        for i, beta in enumerate(path(learned, strengths)):
            held_margin[i, held] = outside.margin(beta)
    losses = [log_loss(margin, severe, weight) for margin in held_margin]
    best = int(np.argmin(losses))
    return strengths[best], losses[best]
