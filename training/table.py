"""Metrics as a text table, and the sentences that a reader must not miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

METRIC_TITLES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "brier": "Brier",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration in the large",
}
PUBLISHED = ("easix", "s_easix", "m_easix", "hscore", "ice")
TITLES = {
    "easix": "EASIX",
    "s_easix": "s-EASIX",
    "m_easix": "m-EASIX",
    "hscore": "HScore",
    "ice": "ICE",
    "logistic": "penalised logistic regression",
    "last_grade": "the last grade carried forward",
    "prior": "the published base rate",
}
ORDER = ("crsrisk", "logistic", *PUBLISHED, "last_grade", "prior")


def render(table: pd.DataFrame, notes: Sequence[str]) -> str:
    """All models with 95 % intervals, per family: the rest of the window pooled over landmarks, then AUROC by landmark.

    The notes follow.
    """
    blocks = []
    for family, mine in table.groupby("family", sort=True):
        rest = mine[mine["horizon"] == "rest"]
        pooled = rest[rest["landmark_hours"].isna()]
        if len(pooled):
            first = pooled.iloc[0]
            blocks.append(
                f"{family}: rest of window, all landmarks; {first['n']} patients, {first['events']} with severe CRS; "
                "95 % patient-bootstrap intervals"
            )
            blocks.append(_grid(pooled, "metric", list(METRIC_TITLES), METRIC_TITLES))
        cells = rest[rest["landmark_hours"].notna() & (rest["metric"] == "auroc")]
        if len(cells):
            marks = sorted(cells["landmark_hours"].unique().tolist())
            blocks.append(f"{family}: AUROC of the rest of the window by landmark")
            blocks.append(_grid(cells, "landmark_hours", marks, {m: f"{m:g} h" for m in marks}))
    return "\n\n".join([*blocks, "\n".join(notes)])


def _grid(rows: pd.DataFrame, across: str, columns: Sequence[Any], titles: Mapping[Any, str]) -> str:
    models = [m for m in ORDER if m in set(rows["model"])]
    cells = {(r["model"], r[across]): _cell(r) for r in rows.to_dict("records")}
    body = [[model, *(cells.get((model, c), "") for c in columns)] for model in models]
    head = ["model", *(titles[c] for c in columns)]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in [head, *body]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: Mapping[Any, Any]) -> str:
    value, low, high = (float(row[k]) for k in ("value", "low", "high"))
    if np.isnan(value):
        return f"undefined: {row['reason']}" if row["reason"] else "undefined"
    if np.isnan(low):
        return f"{value:.3f} ({row['reason']})" if row.get("reason") else f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})".replace("-0.000", "0.000")


def comparison_notes(table: pd.DataFrame, family: str, strategy: str) -> list[str]:
    """Sentences on what our model does not beat: AUROC of the rest of the window over all landmarks."""
    chosen = table[
        (table["family"] == family)
        & (table["horizon"] == "rest")
        & table["landmark_hours"].isna()
        & (table["metric"] == "auroc")
    ].set_index("model")
    rows = chosen["value"]
    cells = {row["model"]: _cell(row) for row in chosen.reset_index().to_dict("records")}
    if "crsrisk" not in rows or np.isnan(rows["crsrisk"]):
        return [f"{family}: discrimination and calibration are undefined, the rows have one class only."]
    if strategy == "offset":
        linear = (
            f" Penalised logistic regression on the same folds reaches AUROC {cells['logistic']}."
            if "logistic" in cells
            else ""
        )
        return [
            f"{family}: the base rate gives patients of one therapy the same risk and can't rank them; its AUROC "
            f"only reflects how the folds fell.{linear}"
        ]
    ours, name = rows["crsrisk"], "LightGBM"
    found = []
    if "logistic" in rows and ours <= rows["logistic"]:
        found.append(
            f"{family}: {name} does not beat penalised logistic regression here (AUROC {ours:.3f} against "
            f"{rows['logistic']:.3f})."
        )
    scores = rows[[s for s in PUBLISHED if s in rows.index]].dropna()
    for score in scores.index[scores >= ours]:
        found.append(
            f"{family}: {name} does not beat {TITLES[score]} here (AUROC {ours:.3f} against {scores[score]:.3f})."
        )
    if "last_grade" in rows and ours <= rows["last_grade"]:
        found.append(
            f"{family}: {name} does not beat the last grade carried forward here (AUROC {ours:.3f} against "
            f"{rows['last_grade']:.3f})."
        )
    return found
