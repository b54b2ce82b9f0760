"""Decision curves: net benefit of every model at a grid of thresholds, with patient-clustered intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from training.evaluate import averaged, cells, row_arrays
from training.net_benefit import GRID, TREAT_ALL, TREAT_NONE, net_benefit, treat_all
from training.resampling import RESAMPLES, Drawn, Patients

COLUMNS = (
    "model",
    "family",
    "landmark_hours",
    "horizon",
    "threshold",
    "net_benefit",
    "low",
    "high",
    "against_all",
    "against_all_low",
    "against_all_high",
    "n",
    "events",
    "reason",
)


def decision_curve(
    predictions: pd.DataFrame,
    thresholds: Sequence[float] = GRID,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Net benefit of every model by family, at each landmark and horizon and pooled; columns COLUMNS.

    Alerting for everybody and for nobody stand beside the models as `treat_all` and `treat_none`. The
    difference to nobody is the net benefit itself; `against_all` is the paired difference to everybody.

    Args:
        predictions: see `evaluate`.
        thresholds: risks at or above which an alert would be given.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    lines: list[dict[str, Any]] = []
    for family, of_family in averaged(predictions).groupby("family", sort=True):
        models = sorted(of_family["model"].unique().tolist())
        for model, part in of_family.groupby("model", sort=True):
            for place, rows in cells(part):
                named = {"family": family, **place}
                found = _cell(rows, thresholds, resamples, seed, reference=model == models[0])
                lines += [{"model": name or model, **named, **line} for name, line in found]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _cell(
    rows: pd.DataFrame, thresholds: Sequence[float], resamples: int, seed: int, *, reference: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Lines of one model (named '') in one cell; with `reference` also of the strategies without a model."""
    risk, severe, patient, weight = row_arrays(rows)
    patients = Patients.of(patient, resamples, seed)
    everybody = treat_all(severe, weight, patients, thresholds)
    curves = {"": net_benefit(risk, severe, weight, patients, thresholds)}
    if reference:
        nobody = Drawn(0.0, np.zeros(patients.resamples))
        curves |= {TREAT_ALL: everybody, TREAT_NONE: [nobody] * len(thresholds)}
    n, events = patients.n, patients.events(severe)
    lines = []
    for name, curve in curves.items():
        for threshold, drawn, of_all in zip(thresholds, curve, everybody, strict=True):
            low, high, reason = drawn.interval(events, n - events)
            against = drawn.minus(of_all)
            against_low, against_high, _ = against.interval(events, n - events)
            lines.append(
                (
                    name,
                    {
                        "threshold": threshold,
                        "net_benefit": drawn.value,
                        "low": low,
                        "high": high,
                        "against_all": against.value,
                        "against_all_low": against_low,
                        "against_all_high": against_high,
                        "n": n,
                        "events": events,
                        "reason": reason,
                    },
                )
            )
    return lines
