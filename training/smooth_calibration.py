"""The smooth calibration curve and its mean distance from the risks (integrated calibration index).

The smoother is a logistic regression on a restricted cubic spline of the log odds with four knots at the
5th, 35th, 65th and 95th percentile (harrell_2015), linear outside them. Austin and Steyerberg define the
index for any smoother and use loess and this spline (austin_2019); the spline takes weights and needs no
span. See docs/decisions/0150.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.offset import logit, sigmoid
from training.regression import fit_logistic
from training.resampling import Array, Drawn, Patients

EDGE = 1e-9
_KNOTS = (0.05, 0.35, 0.65, 0.95)
_RIDGE = 1e-3
_BINS = 200  # bins of equal size on which the distance of each resample is summed


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve, x and y of shape (n,)."""

    x: Array
    y: Array


@dataclass(frozen=True, eq=False)
class Smoother:
    """Observed risk as a smooth function of the predicted one.

    knots: on the log odds; fewer than three (risks hardly differ) make it a straight line. beta: shape (k,).
    """

    knots: Array
    beta: Array

    @classmethod
    def fit(cls, risk: Array, severe: Array, weight: Array) -> Smoother:
        """From predicted risks and outcomes, shape (n,)."""
        margin = log_odds(risk)
        knots = np.unique(np.quantile(margin, _KNOTS))
        return cls(knots, fit_logistic(basis(margin, knots), severe, weight, ridge=_RIDGE))

    def observed(self, risk: Array) -> Array:
        """Observed risk where the predicted one is `risk`, shape (n,)."""
        return sigmoid(basis(log_odds(risk), self.knots) @ self.beta)


def log_odds(risk: Array) -> Array:
    """Log odds, finite also for risks of 0 and 1."""
    return logit(np.clip(risk, EDGE, 1 - EDGE))


def basis(x: Array, knots: Array) -> Array:
    """One, x and the restricted cubic spline terms of x, shape (n, max(2, n_knots))."""
    straight = np.column_stack([np.ones_like(x), x])
    if len(knots) < 3:
        return straight
    last, before = knots[-1], knots[-2]
    scale = (last - knots[0]) ** 2

    def cube(t: float) -> Array:
        return np.maximum(x - t, 0.0) ** 3

    terms = [
        (cube(k) - cube(before) * (last - k) / (last - before) + cube(last) * (before - k) / (last - before))
        / scale
        for k in knots[:-2]
    ]
    return np.column_stack([straight, *terms])


def smooth_calibration(risk: Array, severe: Array, weight: Array, points: int = 50) -> Curve:
    """Observed against predicted risk, from the 1st to the 99th percentile of the log odds."""
    margin = log_odds(risk)
    low, high = np.quantile(margin, [0.01, 0.99])
    at = sigmoid(np.linspace(low, high, points))
    return Curve(at, Smoother.fit(risk, severe, weight).observed(at))


def calibration_index(risk: Array, severe: Array, weight: Array, patients: Patients) -> Drawn:
    """Integrated calibration index: mean |risk - smooth observed risk| over the rows.

    A resample takes one Newton step from the curve of all patients, and its distances are summed over bins
    of like risks.
    """
    smoother = Smoother.fit(risk, severe, weight)
    observed = smoother.observed(risk)
    value = float((weight * np.abs(risk - observed)).sum() / weight.sum())
    betas = newton_step(basis(log_odds(risk), smoother.knots), severe, weight, smoother.beta, patients)
    if not len(betas):
        return Drawn(value, np.empty(0), centred=True, least=0.0)
    bins, at = _bins(risk)
    mass = np.bincount(patients.code * len(at) + bins, weights=weight, minlength=patients.n * len(at))
    mass = mass.reshape(patients.n, len(at))
    shape = basis(log_odds(at), smoother.knots)
    parts, first = [], 0
    for drawn in patients.chunks(len(at)):
        curve = sigmoid(betas[first : first + len(drawn)] @ shape.T)
        first += len(drawn)
        counted = drawn @ mass
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append((counted * np.abs(at - curve)).sum(axis=1) / counted.sum(axis=1))
    return Drawn(value, np.concatenate(parts), centred=True, least=0.0)


def newton_step(columns: Array, severe: Array, weight: Array, beta: Array, patients: Patients) -> Array:
    """Coefficients of every resample, one Newton step from `beta` of all patients; shape (resamples, k).

    Sums per patient then give every resample by one matrix product, where a fit each would take minutes.
    """
    k = len(beta)
    fitted = sigmoid(columns @ beta)
    error, curve = weight * (severe - fitted), weight * fitted * (1 - fitted)
    upper = np.triu_indices(k)
    sums = patients.drawn_sums(
        np.column_stack(
            [columns * error[:, None], columns[:, upper[0]] * columns[:, upper[1]] * curve[:, None]]
        )
    )
    curvature = np.empty((len(sums), k, k))
    curvature[:, upper[0], upper[1]] = sums[:, k:]
    curvature[:, upper[1], upper[0]] = sums[:, k:]
    curvature += _RIDGE * np.eye(k)
    step = np.linalg.solve(curvature, (sums[:, :k] - _RIDGE * beta)[:, :, None])[:, :, 0]
    return np.asarray(beta + step, dtype=np.float64)


def _bins(risk: Array) -> tuple[np.ndarray, Array]:
    """Bin of each row and the mean risk of each bin; equal risks share one."""
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, _BINS + 1)))
    found = np.clip(np.searchsorted(edges, risk, side="left") - 1, 0, None)
    names, bins = np.unique(found, return_inverse=True)
    counts = np.bincount(bins, minlength=len(names))
    return bins, np.bincount(bins, weights=risk, minlength=len(names)) / counts
