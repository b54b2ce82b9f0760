"""Figures of a training run: reliability, ROC, precision-recall and SHAP; curve data first, drawings late.

The data functions need numpy alone. matplotlib and shap are imported when something is drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.model import RiskModel
from training.net_benefit import net_benefit, treat_all
from training.resampling import Patients
from training.smooth_calibration import Curve, smooth_calibration
from training.subgroups import LEAST_PATIENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.pipeline import TrainedFamily

Array = NDArray[np.float64]
BINS = 10


def reliability(
    risk: Array, severe: Array, weight: Array, patient: NDArray[np.object_], bins: int = BINS
) -> pd.DataFrame:
    """Mean risk and observed share per group of equal size: predicted, observed, low, high, rows, patients.

    The 95 % Wilson interval counts a group as many rows as its patients are worth (Kish's effective size of
    the patients' weights, kish_1965): rows of one patient are alike. There are as many groups as leave each
    about LEAST_PATIENTS patients, at most `bins`; groups that would split equal risks are merged.
    """
    code = np.unique(patient, return_inverse=True)[1]
    bins = int(np.clip((code.max() + 1) // LEAST_PATIENTS, 1, bins))
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, bins + 1)))
    group = np.clip(np.searchsorted(edges, risk, side="left") - 1, 0, None)
    lines = []
    for k in np.unique(group):
        at = group == k
        total = weight[at].sum()
        share = float((weight[at] * severe[at]).sum() / total)
        of_patients = np.bincount(code[at], weights=weight[at])
        low, high = _wilson(share, float(total**2 / (of_patients**2).sum()))
        mean = float((weight[at] * risk[at]).sum() / total)
        lines.append((mean, share, low, high, int(at.sum()), len(np.unique(code[at]))))
    return pd.DataFrame(lines, columns=["predicted", "observed", "low", "high", "rows", "patients"])


def _wilson(share: float, n: float) -> tuple[float, float]:
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def roc_points(risk: Array, severe: Array, weight: Array) -> Curve:
    """False positive share (x) against true positive share (y), from the strictest threshold on."""
    order = np.argsort(-risk, kind="stable")
    last = np.append(risk[order][1:] != risk[order][:-1], True)
    true = np.cumsum((weight * severe)[order])[last]
    false = np.cumsum((weight * (1 - severe))[order])[last]
    return Curve(np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1]))


def precision_recall_points(risk: Array, severe: Array, weight: Array) -> Curve:
    """Recall (x) against precision (y), from the strictest threshold on."""
    order = np.argsort(-risk, kind="stable")
    last = np.append(risk[order][1:] != risk[order][:-1], True)
    true = np.cumsum((weight * severe)[order])[last]
    flagged = np.cumsum(weight[order])[last]
    return Curve(true / true[-1], true / flagged)


def shap_values(model: RiskModel, design: Array) -> Array:
    """SHAP values of the trees (log odds before calibration) by the `shap` package, shape (n, n_features + 2)."""
    shap = _shap()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LightGBM binary classifier with TreeExplainer")
        explained: Array = np.asarray(shap.TreeExplainer(model.booster).shap_values(design))
    return explained


def _shap() -> Any:
    """The shap package; its colour maps announce a change of matplotlib that does not concern us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        import shap
    return shap


def beeswarm(model: RiskModel, design: Array, *, shown: int = 15) -> Figure:
    """SHAP values of the most important features, a dot per row, coloured by the feature's value."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shap = _shap()
    measured = ~np.all(np.isnan(design), axis=0)  # a feature without a value has nothing to colour
    explanation = shap.Explanation(
        values=shap_values(model, design)[:, measured],
        data=design[:, measured],
        feature_names=[model.names[k] for k in np.flatnonzero(measured)],
    )
    figure = plt.figure(figsize=(9, 6))
    shap.plots.beeswarm(explanation, max_display=shown, show=False, plot_size=None, ax=figure.add_subplot())
    figure.axes[0].set_xlabel("SHAP value (log odds before calibration)")
    figure.tight_layout()
    plt.close(figure)
    return figure


def family_figures(trained: TrainedFamily, *, most_rows: int = 2000) -> dict[str, Figure]:
    """The figures of one family: calibration, roc, precision_recall, decision_curve and, with trees, shap_beeswarm.

    All but the last show out-of-fold risks of the rest of the window at all landmarks; they are left out
    where the rows have one class only.
    """
    found = prediction_figures(trained.evaluation.detail)
    if trained.model.booster is not None:
        rows = trained.rows
        rng = np.random.default_rng(trained.model.seed)
        chosen = rng.choice(len(rows), size=min(most_rows, len(rows)), replace=False)
        found["shap_beeswarm"] = beeswarm(trained.model, rows.matrix[np.sort(chosen)])
    return found


def prediction_figures(detail: pd.DataFrame) -> dict[str, Figure]:
    """Calibration, roc, precision_recall and decision_curve of the rest of the window at all landmarks.

    None where the rows have one class only.
    """
    from matplotlib.figure import Figure

    rest = detail[detail["rest_of_window"].to_numpy()]
    severe = rest["severe"].to_numpy(dtype=np.float64)
    if not 0 < severe.sum() < len(severe):
        return {}
    drawn: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
        "calibration": draw_calibration,
        "roc": _draw_roc,
        "precision_recall": _draw_pr,
        "decision_curve": draw_decision_curve,
    }
    found = {}
    for name, draw in drawn.items():
        figure = Figure(figsize=(6, 5.5), layout="constrained")
        draw(figure.add_subplot(), rest)
        found[name] = figure
    return found


def _arrays(rows: pd.DataFrame) -> tuple[Array, Array, Array]:
    columns = (rows[name].to_numpy(dtype=np.float64) for name in ("risk", "severe", "weight"))
    risk, severe, weight = columns
    return risk, severe, weight


def draw_calibration(axes: Axes, rest: pd.DataFrame) -> None:
    """Observed against predicted risk of our model: tenths with intervals and the smooth curve."""
    ours = rest[rest["model"] == "crsrisk"]
    risk, severe, weight = _arrays(ours)
    groups = reliability(risk, severe, weight, ours["patient_id"].to_numpy(dtype=object))
    smooth = smooth_calibration(risk, severe, weight)
    top = max(float(groups["high"].max()), float(groups["predicted"].max())) * 1.05
    axes.plot([0, top], [0, top], color="0.6", linewidth=1, label="perfect")
    axes.plot(smooth.x, smooth.y, label="smooth")
    error = np.abs(groups[["low", "high"]].to_numpy().T - groups["observed"].to_numpy())
    axes.errorbar(groups["predicted"], groups["observed"], yerr=error, fmt="o", label="groups, 95 % interval")
    axes.set(xlabel="predicted risk", ylabel="observed share with severe CRS", xlim=(0, top), ylim=(0, top))
    axes.legend()


def _draw_roc(axes: Axes, rest: pd.DataFrame) -> None:
    for name, rows in rest.groupby("model", sort=True):
        curve = roc_points(*_arrays(rows))
        axes.plot(curve.x, curve.y, label=str(name), linewidth=2.5 if name == "crsrisk" else 1)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.set(xlabel="false positive share", ylabel="true positive share")
    axes.legend()


def _draw_pr(axes: Axes, rest: pd.DataFrame) -> None:
    for name, rows in rest.groupby("model", sort=True):
        curve = precision_recall_points(*_arrays(rows))
        axes.plot(curve.x, curve.y, label=str(name), linewidth=2.5 if name == "crsrisk" else 1)
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1))
    axes.legend()


def draw_decision_curve(axes: Axes, rest: pd.DataFrame, points: int = 60) -> None:
    """Net benefit of every model against alerting for everybody and for nobody."""
    shown = rest[rest["model"] == "crsrisk"]
    top = float(np.clip(shown["risk"].quantile(0.99), 0.05, 0.95))
    grid: list[float] = np.linspace(0.0, top, points).tolist()
    for name, rows in rest.groupby("model", sort=True):
        risk, severe, weight = _arrays(rows)
        patients = Patients.of(rows["patient_id"].to_numpy(dtype=object), 0, 0)
        curve = [b.value for b in net_benefit(risk, severe, weight, patients, grid)]
        axes.plot(grid, curve, label=str(name), linewidth=2.5 if name == "crsrisk" else 1)
    _, severe, weight = _arrays(shown)
    patients = Patients.of(shown["patient_id"].to_numpy(dtype=object), 0, 0)
    everybody = np.array([b.value for b in treat_all(severe, weight, patients, grid)])
    highest = float(everybody[0])
    axes.plot(grid, everybody, color="0.5", linestyle="--", linewidth=1, label="alert for everybody")
    axes.axhline(0.0, color="0.5", linewidth=1, label="alert for nobody")
    axes.set(xlabel="threshold of the risk", ylabel="net benefit", ylim=(-0.3 * highest, 1.1 * highest))
    axes.legend()
