"""Two sets of risks for the same rows: how much better is the second, with patient-clustered intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.measures import ONE_CLASS, accuracy, measures, no_slope
from training.net_benefit import GRID, net_benefit
from training.resampling import RESAMPLES, Array, Drawn, Patients

HIGHER, LOWER = "higher", "lower"
# What is compared, and which direction is better.
COMPARED = {
    "auroc": HIGHER,
    "brier": LOWER,
    "log_loss": LOWER,
    "calibration_slope_distance": LOWER,
    "ici": LOWER,
}
COLUMNS = ("metric", "first", "second", "difference", "low", "high", "n", "events", "better", "reason")


def paired_differences(
    first: Array,
    second: Array,
    severe: Array,
    patient: NDArray[np.object_],
    weight: Array | None = None,
    *,
    thresholds: Sequence[float] = GRID,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Differences second - first of every metric in COMPARED and of `net_benefit_<threshold>`.

    Both sets of risks are judged on the same resamples of patients, so that what the sample does to both
    cancels.

    Args:
        first: predicted probability of each row, shape (n,).
        second: the other one's probability of the same row, shape (n,).
        severe: 0 or 1, shape (n,).
        patient: patient of each row; a patient's rows are drawn together.
        weight: how much a row counts; None: 1.
        thresholds: at which net benefits are compared.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.

    Returns:
        COLUMNS. better: `higher` when a difference above 0 favours the second, `lower` when one below 0
        does. low and high: 95 % percentile interval of the difference, nan with a reason where there is
        none. calibration_slope_distance is |slope - 1|.

    Raises:
        ValueError: the shapes differ, a risk is not in [0, 1] or a threshold not in [0, 1).
    """
    for name, risk in (("first", first), ("second", second)):
        if risk.shape != severe.shape:
            raise ValueError(f"{name} {risk.shape} and severe {severe.shape} must have the same shape")
        if not ((risk >= 0) & (risk <= 1)).all():
            raise ValueError(f"{name}: a risk is not between 0 and 1")
    weights = np.ones(len(severe)) if weight is None else weight
    patients = Patients.of(patient, resamples, seed)
    events = patients.events(severe)
    better = COMPARED | {f"net_benefit_{t:g}": HIGHER for t in thresholds}
    pair = [_drawn(risk, severe, weights, patients, thresholds) for risk in (first, second)]
    lines = []
    for name, direction in better.items():
        (one, why_one), (two, why_two) = (found[name] for found in pair)
        difference = two.minus(one)
        low, high, reason = difference.interval(events, patients.n - events)
        reason = why_one or why_two or reason
        lines.append(
            {
                "metric": name,
                "first": one.value,
                "second": two.value,
                "difference": difference.value,
                "low": low,
                "high": high,
                "n": patients.n,
                "events": events,
                "better": direction,
                "reason": reason,
            }
        )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _drawn(
    risk: Array, severe: Array, weight: Array, patients: Patients, thresholds: Sequence[float]
) -> dict[str, tuple[Drawn, str]]:
    """Each metric with the reason why it is not defined."""
    undefined = Drawn(np.nan, np.full(patients.resamples, np.nan))
    if not len(risk):
        names = (*COMPARED, *(f"net_benefit_{t:g}" for t in thresholds))
        return dict.fromkeys(names, (undefined, "no rows"))
    benefit = net_benefit(risk, severe, weight, patients, thresholds)
    found = {f"net_benefit_{t:g}": (b, "") for t, b in zip(thresholds, benefit, strict=True)}
    if severe.all() or not severe.any():
        why = "no severe case" if not severe.any() else "severe cases only"
        reason = f"{why} among {patients.n} patients"
        only = accuracy(risk, severe, weight, patients)
        return found | {
            name: (only[name], "") if name in ONE_CLASS else (undefined, reason) for name in COMPARED
        }
    measured = measures(risk, severe, weight, patients)
    slope = measured["calibration_slope"]
    why = no_slope(risk, measured["auroc"].value)
    distance = Drawn(abs(slope.value - 1.0), np.abs(slope.resamples - 1.0), centred=True)
    found["calibration_slope_distance"] = (undefined, why) if why else (distance, "")
    return found | {n: (measured[n], "") for n in COMPARED if n != "calibration_slope_distance"}
