"""Calibration from held-out margins, as far as few events allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.design import KEY, Design
from training.model import Calibration
from training.offset import Start, Within, sigmoid

Array = NDArray[np.float64]
INTERCEPT_SD = (
    0.2  # our convention: more is for the levels of therapies to say, which have priors of their own
)
SLOPE_SD = 0.3  # and 30 % too steep or too flat
LEAST_SLOPE = 0.05  # the slope stays above 0, so that risks rise with the horizon
WITHIN_SD = (0.3, 1.0)  # our convention: intercept and slope of what trees say of the hours
FAMILY_SD = (0.2, 0.3)  # and how far a family lies from all families together


def recalibrate(margin: Array, severe: Array, weight: Array, *, events: int) -> Calibration:
    """Intercept and slope that calibrate held-out margins; few events move neither the mean nor the slope far.

    Args:
        margin: log odds of held-out patients, shape (n,).
        severe: 0 or 1, shape (n,).
        weight: how much a row counts; scaled by the caller so that their sum is the number of patients.
        events: severe patients behind it, for the record.
    """
    middle = float(np.average(margin, weights=weight))  # a slope turned about 0 would move every rare risk
    columns = np.column_stack([np.ones_like(margin), margin - middle])
    intercept, turned = _line(
        columns,
        severe,
        weight,
        start=middle + np.zeros_like(margin),
        centre=(0.0, 1.0),
        sd=(INTERCEPT_SD, SLOPE_SD),
    )
    slope = max(turned, LEAST_SLOPE)
    return Calibration(intercept=intercept + (1.0 - slope) * middle, slope=slope, events=events)


def within_line(
    rows: Design, start: Start, trees: Array, weight: Array, *, among: Within | None = None
) -> Within:
    """How much sooner severe CRS comes where trees say more, from held-out patients who became severe.

    A logistic regression among those who are severe until the end of the window: whether severe CRS came within a
    shorter horizon, on the held-out value of the trees, with `start.within` as offset. A row counts as the rest of its
    window does, whose weight stands for those who were not followed until they became severe.

    Args:
        rows: labelled rows, n.
        start: of each row.
        trees: what trees add to the log odds out of fold, shape (n,).
        weight: how much a row counts, shape (n,); scaled so that their sum is the number of patients.
        among: the line of all families, which a family's own starts from; None: no line.
    """
    rest = rows.rows["rest_of_window"].to_numpy(dtype=bool)
    window = [rows.rows[name] for name in KEY]
    of_severe = pd.Series(np.where(rest, weight * rows.severe, 0.0), index=rows.rows.index)
    weight = of_severe.groupby(window).transform("max").to_numpy()
    used = np.flatnonzero((weight > 0.0) & ~rest)
    centre, sd = (Within(), WITHIN_SD) if among is None else (among, FAMILY_SD)
    if len(used) == 0:
        return centre
    columns = np.column_stack([np.ones(len(used)), trees[used]])
    intercept, slope = _line(
        columns,
        rows.severe[used],
        weight[used],
        start=start.within[used],
        centre=(centre.intercept, centre.slope),
        sd=sd,
    )
    return Within(intercept, max(slope, 0.0))


def _line(
    columns: Array,
    outcome: Array,
    weight: Array,
    *,
    start: Array,
    centre: tuple[float, float],
    sd: tuple[float, float],
) -> tuple[float, float]:
    """Coefficients of two columns of a logistic regression with normal priors and an offset."""
    beta = middle = np.asarray(centre, dtype=np.float64)
    precision = np.asarray(sd, dtype=np.float64) ** -2
    for _ in range(50):
        risk = sigmoid(start + columns @ beta)
        gradient = columns.T @ (weight * (outcome - risk)) - precision * (beta - middle)
        curvature = (columns * (weight * risk * (1 - risk))[:, None]).T @ columns + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        largest = np.abs(step).max()
        beta = beta + step * min(1.0, 2.0 / largest if largest > 0 else 1.0)
        if largest < 1e-10:
            break
    return float(beta[0]), float(beta[1])
