"""Weighted logistic regression by Newton steps: small, exact, without a library's preparation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.offset import sigmoid

Array = NDArray[np.float64]


def fit_logistic(
    columns: Array, severe: Array, weight: Array, offset: Array | float = 0.0, ridge: float = 1e-6
) -> Array:
    """Coefficients of a weighted logistic regression without intercept of its own, by damped Newton steps."""
    beta = np.zeros(columns.shape[1])
    for _ in range(100):
        fitted = sigmoid(offset + columns @ beta)
        gradient = columns.T @ (weight * (severe - fitted)) - ridge * beta
        curvature = (columns * (weight * fitted * (1 - fitted))[:, None]).T @ columns
        step = np.linalg.solve(curvature + ridge * np.eye(len(beta)), gradient)
        largest = float(np.abs(step).max())
        beta = beta + step * min(1.0, 2.0 / largest if largest > 0 else 1.0)
        if largest < 1e-10:
            break
    return beta
