"""How good risks are: discrimination, accuracy and calibration, each with a patient-bootstrap interval.

Patients are drawn with replacement, with all their rows: rows of one patient are alike, and a bootstrap of
rows would give intervals that are too narrow. Everything is vectorised over the resamples. Weights (inverse
probability of having been followed) are respected by every metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.offset import logit, sigmoid

Array = NDArray[np.float64]
METRICS = ("auroc", "average_precision", "brier", "calibration_slope", "calibration_intercept")
RESAMPLES = 1000
LEVEL = 0.95
_CHUNK = 2_000_000  # numbers in memory at once
_EDGE = 1e-9
FEWEST_EVENTS = (
    10  # a bootstrap of fewer patients of one kind gives intervals that look far too sure (our limit)
)
LEAST_SPREAD = 0.02  # sd of the log odds below which a slope is a division by nothing
TABLE_COLUMNS = (
    "model",
    "family",
    "landmark_hours",
    "horizon",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "events",
    "reason",
)


@dataclass(frozen=True)
class Metric:
    """A metric with its 95 % interval; nan with a reason when it is not defined.

    n: patients. events: patients with severe CRS among them.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    events: int
    reason: str = ""


def metrics(
    risk: Array,
    severe: Array,
    patient: NDArray[np.object_],
    weight: Array | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """All METRICS of one set of risks.

    Args:
        risk: predicted probability, shape (n,).
        severe: 0 or 1, shape (n,).
        patient: patient of each row; a patient's rows are drawn together.
        weight: how much a row counts; None: 1.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    weights = np.ones(len(risk)) if weight is None else weight
    code = (
        np.unique(patient.astype(str), return_inverse=True)[1]
        if len(patient)
        else np.empty(0, dtype=np.int64)
    )
    n = int(code.max(initial=-1)) + 1
    events = len(np.unique(code[severe == 1]))
    if not severe.any() or severe.all():
        kind = "no severe case" if not severe.any() else "severe cases only"
        reason = f"{kind} among {n} patients"
        undefined = {name: Metric(name, np.nan, np.nan, np.nan, n, events, reason) for name in METRICS}
        if not len(risk):
            return undefined
        brier = _mean_square(risk, severe, weights, code, n, resamples, seed)
        return undefined | {"brier": _metric("brier", *brier, n, events)}
    order = np.argsort(risk, kind="stable")
    found: dict[str, tuple[float, Array]] = {}
    sorted_ = _Sorted(risk[order], severe[order], weights[order], code[order])
    one = np.ones((1, n))
    pairs = [sorted_.discrimination(drawn) for drawn in (one, *_chunks(n, len(risk), resamples, seed))]
    for k, name in enumerate(("auroc", "average_precision")):
        found[name] = (float(pairs[0][k][0]), np.concatenate([p[k] for p in pairs[1:]] or [np.empty(0)]))
    found["brier"] = _mean_square(risk, severe, weights, code, n, resamples, seed)
    slopes, levels = _calibration(risk, severe, weights, code, n, resamples, seed)
    found["calibration_slope"], found["calibration_intercept"] = slopes, levels
    measured = {name: _metric(name, *found[name], n, events) for name in METRICS}
    reason = _no_slope(risk, found["auroc"][0])
    if reason:
        measured["calibration_slope"] = Metric("calibration_slope", np.nan, np.nan, np.nan, n, events, reason)
    return measured


def _no_slope(risk: Array, auroc: float) -> str:
    """Why these risks have no calibration slope; empty when they have one."""
    if np.std(logit(np.clip(risk, _EDGE, 1 - _EDGE))) < LEAST_SPREAD:
        return "the risks hardly differ"
    return "the risks separate the outcomes" if auroc in (0.0, 1.0) else ""


@lru_cache(maxsize=8)
def draws(n: int, resamples: int, seed: int) -> Array:
    """How often each patient is drawn in each resample, shape (resamples, n); read only.

    Kept, since every model and metric of one set of patients uses the same resamples.
    """
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    drawn: Array = (
        np.bincount(patients.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)
    )
    drawn.setflags(write=False)
    return drawn


def _chunks(n: int, rows: int, resamples: int, seed: int) -> Iterator[Array]:
    if resamples == 0:
        return
    drawn = draws(n, resamples, seed)
    step = max(1, _CHUNK // max(rows, 1))
    for start in range(0, resamples, step):
        yield drawn[start : start + step]


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Rows by rising risk."""

    risk: Array
    severe: Array
    weight: Array
    code: NDArray[np.int64]

    def discrimination(self, drawn: Array) -> tuple[Array, Array]:
        """AUROC and average precision of each resample; nan where a resample has one class only."""
        weight = drawn[:, self.code]
        weight *= self.weight
        last = np.append(self.risk[1:] != self.risk[:-1], True)  # last row of each group of equal risks
        positive = np.cumsum(weight * self.severe, axis=1)[:, last]
        total = np.cumsum(weight, axis=1, out=weight)[:, last]
        negative = total - positive
        p, q = positive[:, -1:], negative[:, -1:]
        step_p = np.diff(positive, axis=1, prepend=0.0)
        step_q = np.diff(negative, axis=1, prepend=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            auroc = (step_p * (negative - 0.5 * step_q)).sum(axis=1) / (p * q)[:, 0]
            at_or_above = p - positive + step_p
            flagged = total[:, -1:] - total + step_p + step_q
            precision = np.where(flagged > 0, at_or_above / flagged, 0.0)
            average = (step_p * precision).sum(axis=1) / p[:, 0]
        return auroc, average


def _per_patient(columns: Array, code: NDArray[np.int64], n: int) -> Array:
    """Sums of columns over the rows of each patient, shape (n, n_columns)."""
    return np.stack([np.bincount(code, weights=column, minlength=n) for column in columns.T], axis=1)


def _mean_square(
    risk: Array, severe: Array, weight: Array, code: NDArray[np.int64], n: int, resamples: int, seed: int
) -> tuple[float, Array]:
    sums = _per_patient(np.column_stack([weight * (risk - severe) ** 2, weight]), code, n)
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    if resamples == 0:
        return value, np.empty(0)
    drawn = draws(n, resamples, seed) @ sums
    return value, drawn[:, 0] / drawn[:, 1]


def _calibration(
    risk: Array, severe: Array, weight: Array, code: NDArray[np.int64], n: int, resamples: int, seed: int
) -> tuple[tuple[float, Array], tuple[float, Array]]:
    """Calibration slope, and calibration in the large (intercept with the slope held at 1).

    The resamples take one Newton step from the estimate of all patients instead of a fit each: sums per
    patient then give every resample by one matrix product.
    """
    margin = logit(np.clip(risk, _EDGE, 1 - _EDGE))
    slope_fit = fit_logistic(np.column_stack([np.ones_like(margin), margin]), severe, weight)
    level = fit_logistic(np.ones((len(margin), 1)), severe, weight, offset=margin)[0]
    if resamples == 0:
        return (float(slope_fit[1]), np.empty(0)), (float(level), np.empty(0))
    drawn = draws(n, resamples, seed)
    fitted = sigmoid(slope_fit[0] + slope_fit[1] * margin)
    error, curve = weight * (severe - fitted), weight * fitted * (1 - fitted)
    columns = np.column_stack([error, error * margin, curve, curve * margin, curve * margin**2])
    g0, g1, h00, h01, h11 = (drawn @ _per_patient(columns, code, n)).T
    determinant = h00 * h11 - h01**2
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = slope_fit[1] + (h00 * g1 - h01 * g0) / determinant
        fitted = sigmoid(level + margin)
        columns = np.column_stack([weight * (severe - fitted), weight * fitted * (1 - fitted)])
        g, h = (drawn @ _per_patient(columns, code, n)).T
        levels = level + g / h
    return (float(slope_fit[1]), slopes), (float(level), levels)


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


def _metric(name: str, value: float, drawn: Array, n: int, events: int) -> Metric:
    """Value and percentile interval; resamples in which the metric is not defined are left out.

    There is no interval below FEWEST_EVENTS patients of either kind, nor where the resamples miss the value.
    """
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return Metric(name, value, np.nan, np.nan, n, events)
    fewest = min(events, n - events)
    if fewest < FEWEST_EVENTS:
        kind = "with" if events == fewest else "without"
        return Metric(
            name, value, np.nan, np.nan, n, events, f"{fewest} {kind} severe CRS: too few for an interval"
        )
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if not low <= value <= high:
        return Metric(name, value, np.nan, np.nan, n, events, "the resamples give no interval around it")
    return Metric(name, value, float(low), float(high), n, events)


def horizon_name(horizon_hours: float, *, rest: bool) -> str:
    """'24', '72' or 'rest': how tables and metric names call a horizon."""
    return "rest" if rest else f"{horizon_hours:g}"


def evaluate(
    predictions: pd.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Metrics of every model by family, at each landmark and horizon and pooled; columns TABLE_COLUMNS.

    predictions: model, family, course_id, patient_id, landmark_hours, horizon_hours, rest_of_window, risk,
    severe, weight; several repeats of the same row are averaged first. 'all' and nan stand for pooled rows.
    """
    key = [
        "model",
        "family",
        "course_id",
        "patient_id",
        "dose",
        "landmark_hours",
        "horizon_hours",
        "rest_of_window",
    ]
    merged = (
        predictions.groupby(key, sort=True, observed=True)[["risk", "severe", "weight"]].mean().reset_index()
    )
    merged["horizon"] = [
        horizon_name(h, rest=r)
        for h, r in zip(merged["horizon_hours"], merged["rest_of_window"], strict=True)
    ]
    groups: list[tuple[Mapping[str, Any], pd.DataFrame]] = []
    for (model, family), part in merged.groupby(["model", "family"], sort=True):
        names: dict[str, Any] = {"model": model, "family": family, "landmark_hours": np.nan, "horizon": "all"}
        groups.append((names, part))
        groups += [
            ({**names, "horizon": horizon}, rows) for horizon, rows in part.groupby("horizon", sort=True)
        ]
        for landmark, at in part.groupby("landmark_hours", sort=True):
            names = {**names, "landmark_hours": landmark}
            groups += [
                ({**names, "horizon": horizon}, cell) for horizon, cell in at.groupby("horizon", sort=True)
            ]
    lines = []
    for k, (place, rows) in enumerate(groups):
        found = metrics(
            rows["risk"].to_numpy(dtype=np.float64),
            rows["severe"].to_numpy(dtype=np.float64),
            rows["patient_id"].to_numpy(dtype=object),
            rows["weight"].to_numpy(dtype=np.float64),
            resamples=resamples,
            seed=seed,
        )
        for m in found.values():
            lines.append(
                {
                    **place,
                    "metric": m.name,
                    "value": m.value,
                    "low": m.low,
                    "high": m.high,
                    "n": m.n,
                    "events": m.events,
                    "reason": m.reason,
                }
            )
        if progress is not None:
            progress(k + 1, len(groups))
    return pd.DataFrame(lines, columns=list(TABLE_COLUMNS))
