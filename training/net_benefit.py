"""Net benefit of alerting at a threshold, against alerting for everybody and for nobody (decision curve).

Net benefit = (true positives - false positives x threshold / (1 - threshold)) / patients (vickers_2006). A
row is flagged when its risk is at or above the threshold. Nothing here recommends a threshold: a site
chooses its own, see docs/local_validation.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.resampling import Array, Drawn, Patients

# Where curves are reported: from 1 in 100, below the published rate of most products, to an even chance.
GRID = (0.01, 0.02, 0.03, 0.05, 0.075, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"


def net_benefit(
    risk: Array, severe: Array, weight: Array, patients: Patients, thresholds: Sequence[float] = GRID
) -> list[Drawn]:
    """Net benefit at each threshold, in the sample and in every resample; shapes (n,).

    Raises:
        ValueError: a threshold outside [0, 1).
    """
    cut = checked_thresholds(thresholds)
    flagged = risk[:, None] >= cut
    odds = cut / (1.0 - cut)
    gain = weight[:, None] * flagged * (severe[:, None] - odds * (1.0 - severe[:, None]))
    columns = np.column_stack([gain, weight])
    sums = np.vstack([columns.sum(axis=0), patients.drawn_sums(columns)])
    values = sums[:, :-1] / sums[:, -1:]
    return [Drawn(float(v[0]), v[1:]) for v in values.T]


def treat_all(
    severe: Array, weight: Array, patients: Patients, thresholds: Sequence[float] = GRID
) -> list[Drawn]:
    """Net benefit of alerting for everybody at each threshold."""
    return net_benefit(np.ones(len(severe)), severe, weight, patients, thresholds)


def checked_thresholds(thresholds: Sequence[float]) -> Array:
    """The thresholds as numbers.

    Raises:
        ValueError: one of them is not in [0, 1).
    """
    cut = np.asarray(thresholds, dtype=np.float64)
    if not ((cut >= 0) & (cut < 1)).all():
        raise ValueError(f"thresholds {list(thresholds)}; each must be at least 0 and below 1")
    return cut
