"""Every measure of a set of risks, in the sample and in each resample of patients.

Weights (inverse probability of having been followed) are respected by all of them.
"""

from __future__ import annotations

import numpy as np

from training.discrimination import discrimination
from training.offset import sigmoid
from training.regression import fit_logistic
from training.resampling import Array, Drawn, Patients
from training.smooth_calibration import calibration_index, log_odds

METRICS = (
    "auroc",
    "average_precision",
    "brier",
    "scaled_brier",
    "log_loss",
    "calibration_slope",
    "calibration_intercept",
    "expected_observed",
    "ici",
)
ONE_CLASS = ("brier", "log_loss")  # defined also where all rows have the same outcome
LEAST_SPREAD = 0.02  # sd of the log odds below which a slope is a division by nothing


def measures(risk: Array, severe: Array, weight: Array, patients: Patients) -> dict[str, Drawn]:
    """METRICS of one set of risks in which both outcomes occur; shapes (n,)."""
    found = dict(
        zip(("auroc", "average_precision"), discrimination(risk, severe, weight, patients), strict=True)
    )
    found |= accuracy(risk, severe, weight, patients)
    found["calibration_slope"], found["calibration_intercept"] = calibration(risk, severe, weight, patients)
    found["ici"] = calibration_index(risk, severe, weight, patients)
    return found


def accuracy(risk: Array, severe: Array, weight: Array, patients: Patients) -> dict[str, Drawn]:
    """Brier score, scaled Brier (1 - Brier / that of the mean), log loss, and expected over observed events."""
    margin = log_odds(risk)
    columns = np.column_stack(
        [
            weight,
            weight * severe,
            weight * risk,
            weight * (risk - severe) ** 2,
            weight * (np.logaddexp(0.0, margin) - severe * margin),
        ]
    )
    sums = np.vstack([columns.sum(axis=0), patients.drawn_sums(columns)])
    total, events, expected, square, loss = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        share = events / total
        found = {
            "brier": square / total,
            "scaled_brier": 1.0 - square / total / (share * (1.0 - share)),
            "log_loss": loss / total,
            "expected_observed": expected / events,
        }
    return {name: Drawn(float(drawn[0]), drawn[1:]) for name, drawn in found.items()}


def calibration(risk: Array, severe: Array, weight: Array, patients: Patients) -> tuple[Drawn, Drawn]:
    """Calibration slope, and calibration in the large (intercept with the slope held at 1).

    The resamples take one Newton step from the estimate of all patients instead of a fit each: sums per
    patient then give every resample by one matrix product.
    """
    margin = log_odds(risk)
    line = fit_logistic(np.column_stack([np.ones_like(margin), margin]), severe, weight)
    level = float(fit_logistic(np.ones((len(margin), 1)), severe, weight, offset=margin)[0])
    fitted = sigmoid(line[0] + line[1] * margin)
    error, curve = weight * (severe - fitted), weight * fitted * (1 - fitted)
    moved = sigmoid(level + margin)
    columns = [error, error * margin, curve, curve * margin, curve * margin**2]
    columns += [weight * (severe - moved), weight * moved * (1 - moved)]
    g0, g1, h00, h01, h11, g, h = patients.drawn_sums(np.column_stack(columns)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = line[1] + (h00 * g1 - h01 * g0) / (h00 * h11 - h01**2)
        levels = level + g / h
    return Drawn(float(line[1]), slopes), Drawn(level, levels)


def no_slope(risk: Array, auroc: float) -> str:
    """Why these risks have no calibration slope; empty when they have one."""
    if np.std(log_odds(risk)) < LEAST_SPREAD:
        return "the risks hardly differ"
    return "the risks separate the outcomes" if auroc in (0.0, 1.0) else ""
