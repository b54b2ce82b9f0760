"""How much a single risk would have differed had other patients been in the training data (riley_2023).

The risks of bootstrap refits stand beside those of the model. The instability of a row is the mean absolute
difference between them (mean absolute prediction error); a row's decision at a threshold is unstable in as
many refits as fall on its other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crsrisk.therapies import Therapy
from training.design import Design
from training.fit import fit_family
from training.fit_input import FitInput, start_of
from training.model import RiskModel
from training.net_benefit import GRID
from training.offset import sigmoid
from training.resampling import Array
from training.single_thread import single_thread

SUMMARY_COLUMNS = ("family", "measure", "threshold", "value", "n", "refits", "reason")
ROW_COLUMNS = (
    "course_id",
    "dose",
    "landmark_hours",
    "horizon_hours",
    "risk",
    "low",
    "high",
    "mean_absolute_error",
)


@dataclass(frozen=True, eq=False)
class Instability:
    """Per row and in summary.

    rows: ROW_COLUMNS; low and high hold the middle 95 % of the refits' risks. summary: SUMMARY_COLUMNS; mean
    and 95th percentile of the rows' mean absolute error, and for each threshold the share of refits that
    would have decided otherwise.
    """

    rows: pd.DataFrame
    summary: pd.DataFrame


def refit_risks(model: RiskModel, rows: Design, extra: Mapping[str, Therapy] | None = None) -> Array:
    """Risks of the model's own bootstrap refits, shape (n_refits, n_rows).

    Only the trees were refitted; levels and calibration are the model's.
    """
    known = {} if extra is None else extra
    start = start_of(model.offset, rows, known)
    keys = rows.rows["therapy"].tolist()
    risks = [
        sigmoid(replace(model, booster_text=text).log_odds(rows.matrix, start, keys, extra))
        for text in model.bootstrap_texts
    ]
    return np.stack(risks) if risks else np.empty((0, len(rows)))


def recipe_risks(
    given: FitInput,
    family: str,
    rows: Design,
    *,
    refits: int,
    trials: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    """Risks of refits of the whole recipe on bootstrap samples of patients, shape (n_refits, n_rows).

    Rounds, parameters, calibration and levels are chosen anew in each: slower, and what a new training would
    really do.
    """
    rng = np.random.default_rng(seed)
    patient = given.design.patient
    order = np.argsort(patient, kind="stable")
    first = np.searchsorted(patient[order], np.arange(patient.max() + 2))
    found = []
    for k in range(refits):
        drawn = np.sort(rng.integers(0, patient.max() + 1, patient.max() + 1))
        taken = np.concatenate([order[first[p] : first[p + 1]] for p in drawn])
        sample = replace(given, design=given.design.take(taken))
        if sample.of_family(family).any():
            with single_thread():
                model = fit_family(sample, family, trials=trials, seed=seed + k + 1, refits=0)
            start = start_of(model.offset, rows, given.extra)
            keys = rows.rows["therapy"].tolist()
            found.append(sigmoid(model.log_odds(rows.matrix, start, keys, given.extra)))
        if progress is not None:
            progress(k + 1, refits)
    return np.stack(found) if found else np.empty((0, len(rows)))


def instability(
    family: str, rows: Design, risk: Array, refitted: Array, thresholds: Sequence[float] = GRID
) -> Instability:
    """How the refits' risks differ from the model's.

    Args:
        family: for the tables.
        rows: what was predicted, n rows.
        risk: the model's, shape (n,).
        refitted: the refits', shape (n_refits, n).
        thresholds: at which decisions are compared.
    """
    k = len(refitted)
    if k < 2 or not len(rows):
        reason = "fewer than two refits" if k < 2 else "no rows"
        line = (family, "mean_absolute_error", np.nan, np.nan, len(rows), k, reason)
        return Instability(
            pd.DataFrame(columns=list(ROW_COLUMNS)), pd.DataFrame([line], columns=list(SUMMARY_COLUMNS))
        )
    error = np.abs(refitted - risk).mean(axis=0)
    low, high = np.quantile(refitted, [0.025, 0.975], axis=0)
    each = rows.rows[["course_id", "dose", "landmark_hours", "horizon_hours"]].assign(
        risk=risk, low=low, high=high, mean_absolute_error=error
    )
    weight = rows.weight
    lines = [
        (family, "mean_absolute_error", np.nan, float(np.average(error, weights=weight)), len(rows), k, ""),
        (family, "p95_absolute_error", np.nan, float(np.quantile(error, 0.95)), len(rows), k, ""),
    ]
    for threshold in thresholds:
        other = ((refitted >= threshold) != (risk >= threshold)).mean(axis=0)
        share = float(np.average(other, weights=weight))
        lines.append((family, "decisions_changed", threshold, share, len(rows), k, ""))
    return Instability(each, pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS)))


def model_instability(
    model: RiskModel, rows: Design, extra: Mapping[str, Therapy] | None = None
) -> Instability:
    """Instability of a model under its own bootstrap refits."""
    start = start_of(model.offset, rows, {} if extra is None else extra)
    keys = rows.rows["therapy"].tolist()
    risk = sigmoid(model.log_odds(rows.matrix, start, keys, extra))
    return instability(str(model.family), rows, risk, refit_risks(model, rows, extra))


def instability_notes(family: str, summary: pd.DataFrame) -> list[str]:
    """One sentence on how far refits move a risk; none where nothing was refitted."""
    mean = summary[(summary["measure"] == "mean_absolute_error") & summary["value"].notna()]
    high = summary[(summary["measure"] == "p95_absolute_error") & summary["value"].notna()]
    if mean.empty or high.empty:
        return []
    return [
        f"{family}: with other patients of the same kind in the training data a risk would have been off by "
        f"{mean['value'].iloc[0]:.1%} on average, by {high['value'].iloc[0]:.1%} or more in one row of twenty "
        f"({mean['refits'].iloc[0]} bootstrap refits)."
    ]
