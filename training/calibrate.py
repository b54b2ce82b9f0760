"""Calibration from held-out margins, and the shift of a base rate that few patients allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.model import Calibration
from training.offset import sigmoid

Array = NDArray[np.float64]
INTERCEPT_SD = 0.5  # our convention: before the data, margins are off by a factor of 1.6 in odds either way
SLOPE_SD = 0.3  # and 30 % too steep or too flat
LEAST_SLOPE = 0.05  # the slope stays above 0, so that risks rise with the horizon


def recalibrate(margin: Array, severe: Array, weight: Array, *, events: int) -> Calibration:
    """Intercept and slope that calibrate held-out margins, shrunken towards 0 and 1 when events are few.

    Args:
        margin: log odds of held-out patients, shape (n,).
        severe: 0 or 1, shape (n,).
        weight: how much a row counts; scaled by the caller so that their sum is the number of patients.
        events: severe patients behind it, for the record.
    """
    beta = np.array([0.0, 1.0])
    centre, precision = np.array([0.0, 1.0]), np.array([INTERCEPT_SD**-2, SLOPE_SD**-2])
    columns = np.column_stack([np.ones_like(margin), margin])
    for _ in range(50):
        risk = sigmoid(columns @ beta)
        gradient = columns.T @ (weight * (severe - risk)) - precision * (beta - centre)
        curvature = (columns * (weight * risk * (1 - risk))[:, None]).T @ columns + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        largest = np.abs(step).max()
        beta = beta + step * min(1.0, 2.0 / largest if largest > 0 else 1.0)
        if largest < 1e-10:
            break
    return Calibration(intercept=float(beta[0]), slope=float(max(beta[1], LEAST_SLOPE)), events=events)


def shift(offset: Array, severe: Array, weight: Array, prior_sd: float) -> float:
    """Shift of the log odds that the patients justify, from a normal prior with mean 0 and `prior_sd`.

    offset, severe, weight: one row per patient and dose, shape (n,).
    """
    moved = 0.0
    for _ in range(50):
        risk = sigmoid(offset + moved)
        information = float((weight * risk * (1 - risk)).sum()) + prior_sd**-2
        step = (float((weight * (severe - risk)).sum()) - moved * prior_sd**-2) / information
        moved += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-12:
            break
    return moved
