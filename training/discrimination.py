"""AUROC and average precision of every resample at once.

Both change only at risks that a severe row has. The rows are therefore summed between and at these risks, once
per patient, and a sparse product with the draws gives the sums of every resample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.resampling import Array, Drawn, Patients


def discrimination(risk: Array, severe: Array, weight: Array, patients: Patients) -> tuple[Drawn, Drawn]:
    """AUROC and average precision; both outcomes must be there. Shapes (n,)."""
    pairs = [_areas(*steps) for steps in _steps(risk, severe, weight, patients)]
    auroc, average = (
        Drawn(float(pairs[0][k][0]), np.concatenate([p[k] for p in pairs[1:]] or [np.empty(0)]))
        for k in range(2)
    )
    return auroc, average


def _steps(
    risk: Array, severe: Array, weight: Array, patients: Patients
) -> Iterator[tuple[Array, Array, Array]]:
    """Weight of severe rows at each risk, of others at it and of others below it, by rising risk.

    Shapes (n_risks + 1, n_resamples); the last step holds what lies above all severe rows. The first three
    arrays are of all patients, the next of some resamples each.
    """
    from scipy.sparse import csr_array

    values = np.unique(risk[severe == 1])
    at = np.searchsorted(values, risk, side="left")
    tied = at < len(values)
    tied[tied] = values[at[tied]] == risk[tied]
    kind = np.where(severe == 1, 0, np.where(tied, 1, 2))
    g = len(values) + 1
    place = kind * g + at
    yield _three(np.bincount(place, weights=weight, minlength=3 * g)[:, None])
    sums = csr_array((weight, (place, patients.code)), shape=(3 * g, patients.n))
    for drawn in patients.chunks(3 * g):
        yield _three(sums @ np.ascontiguousarray(drawn.T))


def _three(sums: NDArray[Any]) -> tuple[Array, Array, Array]:
    severe, tied, below = np.split(sums, 3)
    return severe, tied, below


def _areas(severe: Array, tied: Array, below: Array) -> tuple[Array, Array]:
    """Both areas of each resample; nan where a resample has one class only."""
    others = np.cumsum(tied + below, axis=0)  # at the risk or below it
    found = np.cumsum(severe, axis=0)
    p, q = found[-1], others[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (severe * (others - 0.5 * tied)).sum(axis=0) / (p * q)
        above = p - found + severe
        flagged = above + q - others + tied
        precision = np.where(flagged > 0, above / flagged, 0.0)
        average = (severe * precision).sum(axis=0) / p
    return auroc, average
