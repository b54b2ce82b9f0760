"""How good risks are: discrimination, accuracy and calibration, each with a patient-bootstrap interval.

Patients are drawn with replacement, with all their rows: rows of one patient are alike, and a bootstrap of
rows would give intervals that are too narrow. Weights (inverse probability of having been followed) are
respected by every metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.measures import METRICS, ONE_CLASS, accuracy, measures, no_slope
from training.regression import fit_logistic
from training.resampling import FEWEST_EVENTS, LEVEL, RESAMPLES, Array, Drawn, Patients, draws

__all__ = [
    "FEWEST_EVENTS",
    "LEVEL",
    "METRICS",
    "RESAMPLES",
    "TABLE_COLUMNS",
    "Metric",
    "averaged",
    "cells",
    "draws",
    "evaluate",
    "fit_logistic",
    "horizon_name",
    "metrics",
    "row_arrays",
]
ROW_KEY = (
    "model",
    "family",
    "course_id",
    "patient_id",
    "dose",
    "landmark_hours",
    "horizon_hours",
    "rest_of_window",
)
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
Place = Mapping[str, Any]


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

    @classmethod
    def of(cls, name: str, drawn: Drawn, n: int, events: int) -> Metric:
        """The value and the percentile interval of its resamples."""
        low, high, reason = drawn.interval(events, n - events)
        return cls(name, drawn.value, low, high, n, events, reason)

    @classmethod
    def undefined(cls, name: str, n: int, events: int, reason: str) -> Metric:
        """No value, and why."""
        return cls(name, np.nan, np.nan, np.nan, n, events, reason)


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
    patients = Patients.of(patient, resamples, seed)
    n, events = patients.n, patients.events(severe)
    if not severe.any() or severe.all():
        kind = "no severe case" if not severe.any() else "severe cases only"
        reason = f"{kind} among {n} patients"
        undefined = {name: Metric.undefined(name, n, events, reason) for name in METRICS}
        if not len(risk):
            return undefined
        found = accuracy(risk, severe, weights, patients)
        return undefined | {name: Metric.of(name, found[name], n, events) for name in ONE_CLASS}
    drawn = measures(risk, severe, weights, patients)
    measured = {name: Metric.of(name, drawn[name], n, events) for name in METRICS}
    reason = no_slope(risk, drawn["auroc"].value)
    if reason:
        measured["calibration_slope"] = Metric.undefined("calibration_slope", n, events, reason)
    return measured


def horizon_name(horizon_hours: float, *, rest: bool) -> str:
    """'24', '72' or 'rest': how tables and metric names call a horizon."""
    return "rest" if rest else f"{horizon_hours:g}"


def averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """One line per model and row, with `horizon` (its name); several repeats of the same row are averaged.

    predictions: ROW_KEY, risk, severe, weight; other columns are kept from the first repeat. Rows that have
    a `horizon` were averaged already and are returned as they are.
    """
    if "horizon" in predictions:
        return predictions
    key = list(ROW_KEY)
    numbers = ["risk", "severe", "weight"]
    grouped = predictions.groupby(key, sort=True, observed=True)
    merged = grouped[numbers].mean()
    others = [c for c in predictions.columns if c not in (*key, *numbers, "repeat", "fold")]
    if others:
        merged = merged.join(grouped[others].first())
    merged = merged.reset_index()
    hours = merged["horizon_hours"]
    names = hours.map({h: horizon_name(h, rest=False) for h in hours.unique()})
    return merged.assign(horizon=names.mask(merged["rest_of_window"].astype(bool), "rest"))


def cells(rows: pd.DataFrame) -> Iterator[tuple[Place, pd.DataFrame]]:
    """The rows of one model and family at each landmark and horizon, and pooled over landmarks.

    First all rows, then each horizon over all landmarks, then each landmark; `all` and nan stand for pooled.
    """
    yield {"landmark_hours": np.nan, "horizon": "all"}, rows
    for horizon, part in rows.groupby("horizon", sort=True):
        yield {"landmark_hours": np.nan, "horizon": horizon}, part
    for landmark, at in rows.groupby("landmark_hours", sort=True):
        for horizon, part in at.groupby("horizon", sort=True):
            yield {"landmark_hours": landmark, "horizon": horizon}, part


def row_arrays(rows: pd.DataFrame) -> tuple[Array, Array, NDArray[np.object_], Array]:
    """Risk, severe, patient and weight of the rows, as `metrics` takes them."""
    return (
        rows["risk"].to_numpy(dtype=np.float64),
        rows["severe"].to_numpy(dtype=np.float64),
        rows["patient_id"].to_numpy(dtype=object),
        rows["weight"].to_numpy(dtype=np.float64),
    )


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
    groups = [
        ({"model": model, "family": family, **place}, rows)
        for (model, family), part in averaged(predictions).groupby(["model", "family"], sort=True)
        for place, rows in cells(part)
    ]
    lines: list[dict[str, Any]] = []
    for k, (place, rows) in enumerate(groups):
        lines += table_lines(place, metrics(*row_arrays(rows), resamples=resamples, seed=seed).values())
        if progress is not None:
            progress(k + 1, len(groups))
    return pd.DataFrame(lines, columns=list(TABLE_COLUMNS))


def table_lines(place: Place, measured: Iterable[Metric]) -> list[dict[str, Any]]:
    """Lines of a table: where, and metric, value, low, high, n, events, reason."""
    return [
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
        for m in measured
    ]
