"""Published scores at a moment from the latest values known then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

INPUTS = ("ldh", "creatinine", "platelets", "crp")
MG_PER_L_IN_MG_PER_DL = 10.0


def published_scores(timeline: pd.DataFrame, as_of_hours: float) -> list[dict[str, Any]]:
    """Scores of one course whose inputs are all there: name, value, source (a key of docs/sources.bib).

    Args:
        timeline: one course: hours, available_hours, variable, value in canonical units.
        as_of_hours: nothing later, or known later, is used.
    """
    from crsrisk import scores

    latest = _latest(timeline, as_of_hours)
    ldh, creatinine, platelets, crp = (latest.get(name, np.nan) for name in INPUTS)
    if np.isfinite(platelets) and platelets <= 0:
        return []
    found = (
        ("EASIX", scores.easix(ldh, creatinine, platelets), "pennisi_2021"),
        ("s-EASIX", scores.s_easix(ldh, platelets), "pennisi_2021"),
        ("m-EASIX", scores.m_easix(ldh, crp / MG_PER_L_IN_MG_PER_DL, platelets), "pennisi_2021"),
    )
    return [
        {"name": name, "value": float(value), "source": source}
        for name, value, source in found
        if np.isfinite(value)
    ]


def _latest(timeline: pd.DataFrame, as_of_hours: float) -> dict[str, float]:
    """Newest value of each input; the timeline is sorted by hours."""
    columns = (timeline[name].tolist() for name in ("hours", "available_hours", "variable", "value"))
    return {
        variable: value
        for hours, available, variable, value in zip(*columns, strict=True)
        if variable in INPUTS and hours <= as_of_hours and not available > as_of_hours
    }
