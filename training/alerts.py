"""What alerts at a threshold would have meant: how many, how often right, and how long before severe CRS.

An alert is a landmark at which the risk of the horizon is at or above the threshold. A landmark stands for
the hours until the next one (the last for as long as the gap before it, a single one for 24 h), or until
severe CRS; the patient-days are the sum of these hours. Nothing here recommends a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from training.evaluate import Metric, averaged, cells, table_lines
from training.net_benefit import GRID, checked_thresholds
from training.resampling import RESAMPLES, Array, Drawn, Index, Patients

SINGLE_LANDMARK_HOURS = 24.0  # our convention: a single landmark stands for one day
MEASURES = ("alerts_per_100_patient_days", "ppv", "sensitivity", "onsets_alerted", "lead_hours_median")
COLUMNS = (
    "model",
    "family",
    "landmark_hours",
    "horizon",
    "threshold",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "events",
    "reason",
)


def alerts(
    predictions: pd.DataFrame,
    onsets: pd.DataFrame,
    thresholds: Sequence[float] = GRID,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """MEASURES of every model by family, horizon and threshold, pooled and at each landmark; columns COLUMNS.

    Args:
        predictions: see `evaluate`.
        onsets: when severe CRS came: course_id, dose, hours (after the dose); see `LandmarkTable.onsets`.
        thresholds: risks at or above which an alert would be given.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    checked_thresholds(thresholds)
    lines: list[dict[str, Any]] = []
    rows = with_watch(averaged(predictions), onsets)
    for (model, family), part in rows.groupby(["model", "family"], sort=True):
        for place, cell in cells(part):
            if place["horizon"] == "all":  # the same hours would count once for each horizon
                continue
            for threshold, found in zip(thresholds, _cell(cell, thresholds, resamples, seed), strict=True):
                where = {"model": model, "family": family, **place, "threshold": threshold}
                lines += table_lines(where, found)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def with_watch(rows: pd.DataFrame, onsets: pd.DataFrame) -> pd.DataFrame:
    """The rows with `onset_hours` (severe CRS after the dose, nan: none) and `watch_hours` (what a row stands for)."""
    when = onsets.rename(columns={"hours": "onset_hours"})
    when = when.groupby(["course_id", "dose"])["onset_hours"].min().reset_index()
    joined = rows.merge(when, on=["course_id", "dose"], how="left")
    marks = np.unique(joined["landmark_hours"].to_numpy(dtype=np.float64))
    gaps = np.diff(marks) if len(marks) > 1 else np.array([SINGLE_LANDMARK_HOURS])
    stands_for = np.append(gaps, gaps[-1])[: len(marks)]
    landmark = joined["landmark_hours"].to_numpy(dtype=np.float64)
    until_onset = joined["onset_hours"].to_numpy(dtype=np.float64) - landmark
    watch = np.fmin(stands_for[np.searchsorted(marks, landmark)], until_onset)
    return joined.assign(watch_hours=np.maximum(watch, 0.0))


def _cell(rows: pd.DataFrame, thresholds: Sequence[float], resamples: int, seed: int) -> list[list[Metric]]:
    """MEASURES at each threshold of one model's rows of one horizon."""
    patients = Patients.of(rows["patient_id"].to_numpy(dtype=object), resamples, seed)
    severe, weight, risk, watch = (
        rows[name].to_numpy(dtype=np.float64) for name in ("severe", "weight", "risk", "watch_hours")
    )
    flagged = risk[:, None] >= np.asarray(thresholds)
    k = len(thresholds)
    columns = np.column_stack(
        [
            weight[:, None] * flagged,
            (weight * severe)[:, None] * flagged,
            weight * severe,
            weight * watch / 24.0,
        ]
    )
    sums = np.vstack([columns.sum(axis=0), patients.drawn_sums(columns)])
    given, right, events, days = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k], sums[:, 2 * k + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (
            ("alerts_per_100_patient_days", 100.0 * given / days[:, None], "no time under watch"),
            ("ppv", right / given, "no alert at this threshold"),
            ("sensitivity", right / events[:, None], "no severe case"),
        )
    n, severe_patients = patients.n, patients.events(severe)
    found: list[list[Metric]] = [
        [_metric(name, Drawn(float(v[0, j]), v[1:, j]), why, n, severe_patients) for name, v, why in ratios]
        for j in range(k)
    ]
    for j, (alerted, lead, why) in enumerate(_leads(rows, flagged, patients)):
        found[j].append(_metric("onsets_alerted", alerted, "no timed severe CRS", n, severe_patients))
        found[j].append(_metric("lead_hours_median", lead, why, n, severe_patients))
    return found


def _metric(name: str, drawn: Drawn, undefined: str, n: int, events: int) -> Metric:
    if not np.isfinite(drawn.value):
        return Metric.undefined(name, n, events, undefined)
    return Metric.of(name, drawn, n, events)


def _leads(rows: pd.DataFrame, flagged: np.ndarray, patients: Patients) -> list[tuple[Drawn, Drawn, str]]:
    """Share of severe onsets with an alert before, and median hours from the first one, at each threshold."""
    timed = rows["onset_hours"].notna().to_numpy() & (rows["onset_hours"] > rows["landmark_hours"]).to_numpy()
    at = np.flatnonzero(timed)
    none = Drawn(np.nan, np.full(patients.resamples, np.nan))
    if not len(at):
        return [(none, none, "no timed severe CRS")] * flagged.shape[1]
    onset = rows.iloc[at].groupby(["course_id", "dose"], sort=True).ngroup().to_numpy()
    m = int(onset.max()) + 1
    patient = np.empty(m, dtype=np.int64)
    patient[onset] = patients.code[at]
    hours = (rows["onset_hours"] - rows["landmark_hours"]).to_numpy(dtype=np.float64)[at]
    found = []
    for flags in flagged[at].T:
        lead = np.full(m, -np.inf)  # the earliest alert is the longest lead
        np.maximum.at(lead, onset[flags], hours[flags])
        found.append(_lead(lead, patient, patients))
    return found


def _lead(lead: Array, patient: Index, patients: Patients) -> tuple[Drawn, Drawn, str]:
    """Share alerted and median lead; `lead` is -inf for onsets without an alert, shape (n_onsets,)."""
    order = np.argsort(lead, kind="stable")
    lead, patient = lead[order], patient[order]
    first = int(np.isinf(lead).sum())
    counts = np.vstack(
        [np.ones((1, len(lead))), *(drawn[:, patient] for drawn in patients.chunks(len(lead)))]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        alerted = counts[:, first:].sum(axis=1) / counts.sum(axis=1)
    if first == len(lead):
        none = Drawn(np.nan, np.full(patients.resamples, np.nan))
        return Drawn(float(alerted[0]), alerted[1:]), none, "no alert before severe CRS"
    medians = _medians(lead[first:], counts[:, first:])
    return Drawn(float(alerted[0]), alerted[1:]), Drawn(float(medians[0]), medians[1:]), ""


def _medians(values: Array, counts: Array) -> Array:
    """Median of sorted values of which each counts as often as stated, one per row of `counts`."""
    running = np.cumsum(counts, axis=1)
    total = running[:, -1]
    low = np.minimum((running < total[:, None] / 2).sum(axis=1), len(values) - 1)
    high = np.minimum((running <= total[:, None] / 2).sum(axis=1), len(values) - 1)
    return np.where(total > 0, (values[low] + values[high]) / 2, np.nan)
