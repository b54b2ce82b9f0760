"""Tables that a training logs for its report: curves of the held-out risks, predictors, patients by therapy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.design import Design
from training.figures import precision_recall_points, reliability, roc_points
from training.model import RiskModel
from training.resampling import Array
from training.smooth_calibration import Curve, smooth_calibration
from training.subgroups import LEAST_PATIENTS

if TYPE_CHECKING:
    from training.pipeline import TrainedFamily

POINTS = 60  # of a curve: more can't be seen
MOST_ROWS = 2000  # explained for the overview
GROUP_COLUMNS = ("family", "horizon", "predicted", "observed", "low", "high", "rows", "patients")
CURVE_COLUMNS = ("family", "model", "horizon", "x", "y")
PREDICTOR_COLUMNS = (
    "family",
    "feature",
    "rows",
    "missing",
    "q25",
    "median",
    "q75",
    "mean_abs_shap",
    "direction",
)
THERAPY_COLUMNS = ("family", "therapy", "patients", "events")


def report_tables(trained: TrainedFamily) -> dict[str, pd.DataFrame]:
    """What a run logs of one family for its report, by file stem; none has a row of a patient."""
    family = trained.family
    return {
        **curve_tables(family, trained.evaluation.detail),
        "predictors": predictor_table(trained.model, trained.rows),
        "therapies": therapy_table(family, trained.rows),
    }


def curve_tables(family: str, detail: pd.DataFrame, *, ours: str = "crsrisk") -> dict[str, pd.DataFrame]:
    """calibration_groups, calibration_smooth, roc, precision_recall of the rest of the window over all landmarks.

    Empty tables where the rows have one class only. detail: see `CrossValidation.detail`.
    """
    rest = detail[detail["rest_of_window"].to_numpy(dtype=bool)]
    found: dict[str, list[pd.DataFrame]] = {"calibration_smooth": [], "roc": [], "precision_recall": []}
    groups = pd.DataFrame(columns=list(GROUP_COLUMNS))
    for name, rows in rest.groupby("model", sort=True):
        risk, severe, weight = (rows[c].to_numpy(dtype=np.float64) for c in ("risk", "severe", "weight"))
        if not 0 < severe.sum() < len(severe):
            continue
        curves = {"roc": roc_points, "precision_recall": precision_recall_points}
        for stem, points in curves.items():
            found[stem].append(_curve(family, str(name), _thinned(points(risk, severe, weight))))
        if name == ours:
            found["calibration_smooth"].append(_curve(family, ours, smooth_calibration(risk, severe, weight)))
            patient = rows["patient_id"].to_numpy(dtype=object)
            groups = reliability(risk, severe, weight, patient).assign(family=family, horizon="rest")
    tables = {
        stem: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(CURVE_COLUMNS))
        for stem, parts in found.items()
    }
    return {"calibration_groups": groups[list(GROUP_COLUMNS)], **tables}


def _curve(family: str, model: str, curve: Curve) -> pd.DataFrame:
    frame = pd.DataFrame({"family": family, "model": model, "horizon": "rest", "x": curve.x, "y": curve.y})
    return frame[list(CURVE_COLUMNS)]


def _thinned(curve: Curve) -> Curve:
    """At most POINTS points, the first and the last among them."""
    if len(curve.x) <= POINTS:
        return curve
    at = np.unique(np.linspace(0, len(curve.x) - 1, POINTS).round().astype(np.int64))
    return Curve(curve.x[at], curve.y[at])


def predictor_table(model: RiskModel, rows: Design) -> pd.DataFrame:
    """Share of missing values and quartiles of each predictor over the landmarks, and what the trees make of it.

    mean_abs_shap is the mean absolute contribution (log odds before calibration) over at most MOST_ROWS rows;
    direction the rank correlation of value and contribution (1: higher raises the risk). Both are nan without
    trees, quartiles where fewer than LEAST_PATIENTS patients were measured.
    """
    lines, first = np.unique(rows.base, return_index=True)
    values = rows.values[lines]
    patient = rows.rows["patient_id"].to_numpy(dtype=object)[first]
    measured = ~np.isnan(values)
    importance, direction = _contributions(model, rows)
    found = []
    for k, name in enumerate((*rows.names, "landmark_hours", "horizon_hours")):
        line = {"family": str(model.family), "feature": name, "rows": len(lines)}
        line |= {"missing": 0.0, "q25": np.nan, "median": np.nan, "q75": np.nan}
        if k < len(rows.names):
            line["missing"] = float(1.0 - measured[:, k].mean())
            if len(set(patient[measured[:, k]].tolist())) >= LEAST_PATIENTS:
                quartiles = np.quantile(values[measured[:, k], k], [0.25, 0.5, 0.75]).tolist()
                line |= dict(zip(("q25", "median", "q75"), quartiles, strict=True))
        found.append({**line, "mean_abs_shap": importance[k], "direction": direction[k]})
    return pd.DataFrame(found, columns=list(PREDICTOR_COLUMNS))


def _contributions(model: RiskModel, rows: Design) -> tuple[Array, Array]:
    """Mean absolute contribution and rank correlation with the value, for each column of the design matrix."""
    width = len(rows.names) + 2
    if model.booster is None:
        return np.full(width, np.nan), np.full(width, np.nan)
    rng = np.random.default_rng(model.seed)
    chosen = np.sort(rng.choice(len(rows), size=min(MOST_ROWS, len(rows)), replace=False))
    matrix = rows.take(chosen).matrix
    explained = np.asarray(model.booster.predict(matrix, pred_contrib=True, num_threads=1))[:, :-1]
    direction = np.array([_rank_correlation(matrix[:, k], explained[:, k]) for k in range(width)])
    return np.abs(explained).mean(axis=0), direction


def _rank_correlation(value: Array, contribution: Array) -> float:
    known = ~np.isnan(value)
    x, y = value[known], contribution[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: Array) -> NDArray[np.float64]:
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def therapy_table(family: str, rows: Design) -> pd.DataFrame:
    """Patients, and those with severe CRS among them, by therapy."""
    by = rows.rows.groupby("therapy", sort=True)
    severe = rows.rows[rows.rows["severe"] == 1].groupby("therapy")["patient_id"].nunique()
    found = pd.DataFrame({"patients": by["patient_id"].nunique()})
    found["events"] = severe.reindex(found.index).fillna(0).astype(np.int64)
    found.index.name = "therapy"
    return found.reset_index().assign(family=family)[list(THERAPY_COLUMNS)]
