"""Calibration from held-out margins, as far as few events allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.model import Calibration
from training.offset import sigmoid

Array = NDArray[np.float64]
INTERCEPT_SD = (
    0.2  # our convention: more is for the levels of therapies to say, which have priors of their own
)
SLOPE_SD = 0.3  # and 30 % too steep or too flat
LEAST_SLOPE = 0.05  # the slope stays above 0, so that risks rise with the horizon


def recalibrate(margin: Array, severe: Array, weight: Array, *, events: int) -> Calibration:
    """Intercept and slope that calibrate held-out margins; few events move neither the mean nor the slope far.

    Args:
        margin: log odds of held-out patients, shape (n,).
        severe: 0 or 1, shape (n,).
        weight: how much a row counts; scaled by the caller so that their sum is the number of patients.
        events: severe patients behind it, for the record.
    """
    beta = np.array([0.0, 1.0])
    centre, precision = np.array([0.0, 1.0]), np.array([INTERCEPT_SD**-2, SLOPE_SD**-2])
    middle = float(np.average(margin, weights=weight))  # a slope turned about 0 would move every rare risk
    columns = np.column_stack([np.ones_like(margin), margin - middle])
    for _ in range(50):
        risk = sigmoid(middle + columns @ beta)
        gradient = columns.T @ (weight * (severe - risk)) - precision * (beta - centre)
        curvature = (columns * (weight * risk * (1 - risk))[:, None]).T @ columns + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        largest = np.abs(step).max()
        beta = beta + step * min(1.0, 2.0 / largest if largest > 0 else 1.0)
        if largest < 1e-10:
            break
    slope = float(max(beta[1], LEAST_SLOPE))
    return Calibration(intercept=float(beta[0]) + (1.0 - slope) * middle, slope=slope, events=events)
