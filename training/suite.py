"""All that is measured about one family's held-out risks, beside the table of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from training.alerts import alerts
from training.comparisons import comparisons
from training.decision_curve import decision_curve
from training.evaluate import averaged
from training.net_benefit import GRID
from training.resampling import RESAMPLES
from training.subgroups import subgroups


@dataclass(frozen=True, eq=False)
class Suite:
    """Tables of one family.

    decision_curve: net benefit of every model and of alerting for everybody and nobody. alerts: load, PPV,
    sensitivity and lead time of our model. subgroups: metrics of our model. comparisons: paired differences
    of our model with every other. extra: further tables by file stem (validation, support, instability).
    """

    decision_curve: pd.DataFrame
    alerts: pd.DataFrame
    subgroups: pd.DataFrame
    comparisons: pd.DataFrame
    extra: dict[str, pd.DataFrame] = field(default_factory=dict)

    def tables(self) -> dict[str, pd.DataFrame]:
        """All of them by file stem."""
        return {
            "decision_curve": self.decision_curve,
            "alerts": self.alerts,
            "subgroups": self.subgroups,
            "comparisons": self.comparisons,
            **self.extra,
        }


def suite(
    predictions: pd.DataFrame,
    onsets: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    ours: str,
    thresholds: Sequence[float] = GRID,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Suite:
    """Measure held-out risks.

    Args:
        predictions: of all models, see `evaluate`.
        onsets: timed severe CRS, see `LandmarkTable.onsets`.
        groups: levels of each course, see `course_groups`.
        ours: the model that the alerts, subgroups and comparisons are about.
        thresholds: at which net benefit and alerts are reported; none of them is recommended.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    predictions = averaged(predictions)
    mine = predictions[predictions["model"] == ours]
    return Suite(
        decision_curve=decision_curve(predictions, thresholds, resamples=resamples, seed=seed),
        alerts=alerts(mine, onsets, thresholds, resamples=resamples, seed=seed),
        subgroups=subgroups(mine, groups, resamples=resamples, seed=seed),
        comparisons=comparisons(predictions, ours, thresholds=thresholds, resamples=resamples, seed=seed),
    )
