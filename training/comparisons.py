"""Our risks against those of every other model on the same rows: paired differences by horizon."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from training.evaluate import ROW_KEY, averaged, row_arrays
from training.net_benefit import GRID
from training.paired import COLUMNS as PAIRED_COLUMNS
from training.paired import paired_differences
from training.resampling import RESAMPLES

COLUMNS = ("family", "horizon", "model", *PAIRED_COLUMNS)


def comparisons(
    predictions: pd.DataFrame,
    ours: str,
    *,
    thresholds: Sequence[float] = GRID,
    horizons: Sequence[str] = ("rest",),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Differences ours - other, pooled over landmarks; columns COLUMNS, `model` names the other.

    Args:
        predictions: see `evaluate`; all models of a family have the same rows.
        ours: model that is compared with the others.
        thresholds: at which net benefits are compared.
        horizons: names of the horizons.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    parts = []
    rows = averaged(predictions)
    key = [k for k in ROW_KEY if k != "model"]
    for (family, horizon), part in rows[rows["horizon"].isin(list(horizons))].groupby(["family", "horizon"]):
        mine = part[part["model"] == ours]
        risk, severe, patient, weight = row_arrays(mine)
        for model in sorted(set(part["model"]) - {ours}):
            other = mine[key].merge(part[part["model"] == model], on=key, how="left", validate="one_to_one")
            found = paired_differences(
                other["risk"].to_numpy(dtype="float64"),
                risk,
                severe,
                patient,
                weight,
                thresholds=thresholds,
                resamples=resamples,
                seed=seed,
            )
            parts.append(found.assign(family=str(family), horizon=str(horizon), model=model))
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
