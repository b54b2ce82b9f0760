"""Partial pooling of therapies: each has a level of its own, as far as its own patients justify.

The published rate of a therapy is a prior; patients move it. How much rates differ at this site beyond what the
publications leave open is estimated from all therapies of the family together (empirical Bayes), so that a therapy
with few patients stays near its prior and one with many speaks for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from training.offset import sigmoid

Array = NDArray[np.float64]
LOCAL_SDS = np.round(np.arange(0.0, 1.01, 0.1), 1)
LOCAL_SD_SCALE = 0.3
"""Half-normal prior of the spread between published and local rates (log odds): our convention."""
VALUES_SD = 0.5
"""Spread between therapies of how far their patients' values move the mean risk (log odds): our convention."""


@dataclass(frozen=True)
class TherapyShift:
    """How far the level of a therapy lies from what offset and trees say, on the log odds of the risk.

    mean, sd: of the posterior. patients, events: with this therapy in the training data.
    """

    mean: float
    sd: float
    patients: int
    events: int


@dataclass(frozen=True)
class Levels:
    """Shifts by therapy, and how far levels spread before any outcome (log odds).

    local_sd: between published and local rates. values_sd: of how far the values of a therapy's patients move its mean
    risk; 0 without trees.
    """

    local_sd: float
    values_sd: float
    shifts: Mapping[str, TherapyShift]


@dataclass(frozen=True, eq=False)
class LevelData:
    """Rows that tell about levels: one per patient and dose, so that an onset counts once; shape (n,) each.

    log_odds: of the risk of severe CRS before any shift, of patients not fitted to. published: before values are
    looked at.
    """

    log_odds: Array
    published: Array
    severe: Array
    weight: Array
    therapy: NDArray[np.object_]
    patient: NDArray[np.object_]


def pooled_levels(data: LevelData, prior_sd: Mapping[str, float], *, values_sd: float) -> Levels:
    """Levels of all therapies in the data.

    Args:
        data: rows of one family.
        prior_sd: sd of the logit of each therapy's published rate.
        values_sd: see `Levels`.
    """
    rows = _by_therapy(data)
    published = {key: _published(data, mine, values_sd) for key, mine in rows.items()}
    best, best_score, found = 0.0, -np.inf, {}
    for local in LOCAL_SDS.tolist():
        posterior = {
            key: _posterior(data, rows[key], mean, hypot(prior_sd[key], local, sd))
            for key, (mean, sd) in published.items()
        }
        score = sum(evidence for _, _, evidence in posterior.values()) - 0.5 * (local / LOCAL_SD_SCALE) ** 2
        if score > best_score + 1e-9:
            best, best_score, found = local, score, posterior
    shifts = {key: _shift(data, mine, *found[key][:2]) for key, mine in rows.items()}
    return Levels(local_sd=best, values_sd=values_sd, shifts=shifts)


def learned(levels: Levels, data: LevelData, prior_sd: Mapping[str, float]) -> Levels:
    """The levels after further patients: what was known of a therapy is the prior of what they tell.

    data: rows of the new patients, with the log odds before any shift.
    """
    shifts = dict(levels.shifts)
    before, rows = before_outcomes(levels, data, prior_sd), _by_therapy(data)
    for key, old in before.items():
        mean, sd, _ = _posterior(data, rows[key], old.mean, old.sd)
        new = _shift(data, rows[key], mean, sd)
        shifts[key] = TherapyShift(mean, sd, old.patients + new.patients, old.events + new.events)
    return replace(levels, shifts=shifts)


def before_outcomes(
    levels: Levels, data: LevelData, prior_sd: Mapping[str, float]
) -> dict[str, TherapyShift]:
    """Level of each therapy of further patients before their outcomes: what was known, or what their values say."""
    found = {}
    for key, rows in _by_therapy(data).items():
        known = levels.shifts.get(key)
        if known is None:
            mean, sd = _published(data, rows, levels.values_sd)
            known = TherapyShift(mean, hypot(prior_sd[key], levels.local_sd, sd), 0, 0)
        found[key] = known
    return found


def unseen(levels: Levels, prior_sd: float) -> TherapyShift:
    """The level of a therapy that the data do not hold: no shift, as far as rates travel and values move its mean."""
    return TherapyShift(0.0, hypot(prior_sd, levels.local_sd, levels.values_sd), 0, 0)


def _by_therapy(data: LevelData) -> dict[str, NDArray[np.int64]]:
    return {str(key): np.flatnonzero(data.therapy == key) for key in dict.fromkeys(data.therapy.tolist())}


def _published(data: LevelData, rows: NDArray[np.int64], values_sd: float) -> tuple[float, float]:
    """Mean and sd of the shift at which the mean risk of a therapy is the published one.

    A publication tells the mean risk of a product's patients, not the risk of a patient with given values: where trees
    lift most patients of an early product, its published rate has that in it already. Patients say by their values,
    before any outcome, how far trees lift their product.
    """
    log_odds, weight = data.log_odds[rows], data.weight[rows]
    expected = float(np.average(sigmoid(data.published[rows]), weights=weight))
    moved = 0.0
    for _ in range(60):
        risk = sigmoid(log_odds + moved)
        mean, slope = (float(np.average(x, weights=weight)) for x in (risk, risk * (1.0 - risk)))
        step = float(np.clip((expected - mean) / slope, -1.0, 1.0))
        moved += step
        if abs(step) < 1e-12:
            break
    spread = float(np.average((risk - mean) ** 2, weights=weight)) / (mean * (1.0 - mean)) ** 2
    patients = len(set(data.patient[rows].tolist()))
    variance = max(spread, 1.0) / patients  # one patient's risk may well be twice or half the mean
    trust = values_sd**2 / (values_sd**2 + variance)
    return trust * moved, values_sd * sqrt(1.0 - trust)


def _shift(data: LevelData, rows: NDArray[np.int64], mean: float, sd: float) -> TherapyShift:
    patient, severe = data.patient[rows], data.severe[rows]
    return TherapyShift(mean, sd, len(set(patient.tolist())), len(set(patient[severe == 1].tolist())))


def _posterior(
    data: LevelData, rows: NDArray[np.int64], centre: float, prior_sd: float
) -> tuple[float, float, float]:
    """Mode and sd of the posterior of a shift with a normal prior, and the log evidence (Laplace)."""
    log_odds, severe, weight = data.log_odds[rows], data.severe[rows], data.weight[rows]
    if prior_sd <= 0:
        raise ValueError("the prior of a shift needs a spread above 0")
    precision, moved = prior_sd**-2, centre
    for _ in range(60):
        risk = sigmoid(log_odds + moved)
        information = float((weight * risk * (1 - risk)).sum()) + precision
        step = (float((weight * (severe - risk)).sum()) - (moved - centre) * precision) / information
        moved += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-12:
            break
    margin = log_odds + moved
    likelihood = float((weight * (severe * margin - np.logaddexp(0.0, margin))).sum())
    evidence = likelihood - 0.5 * precision * (moved - centre) ** 2 + 0.5 * np.log(precision / information)
    return moved, float(information**-0.5), float(evidence)
