"""What training patients were like: how much was known of them, and between which values it lay.

Trees answer any row, also one of which they know next to nothing. How much is known of a row is the share of the
trees' split gain on predictors that have a value; it is held against training rows at the same landmark, since little
is known of anybody at the infusion. See docs/decisions/0211.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declare import Feature
from features.registry import FEATURES

if TYPE_CHECKING:
    from lightgbm import Booster

    from training.design import Design

Array = NDArray[np.float64]
FEW = 0.01
"""Share of training rows that had less; below it a row has few inputs. Our convention."""
TOO_FEW = 0.1
"""Of what training rows usually had; below it a row has too few inputs to answer from. Our convention."""
GIVEN = frozenset({"age", "sex", "weight", "height", "bsab_dose", "bsab_step_index"})
"""Analytes that say who the patient is and what was given, not how the patient is."""


class Known(NamedTuple):
    """Share of the trees' gain on predictors with a value, of training rows at a landmark."""

    landmark_hours: float
    few: float  # FEW of the rows had less
    usual: float  # the median


@dataclass(frozen=True)
class Applicability:
    """known: one per training landmark, earliest first. ranges: lowest and highest training value by predictor.

    Both are empty for a model without trees, which reads no value of a patient.
    """

    known: tuple[Known, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def at(self, landmark_hours: float) -> Known | None:
        """What was known at the latest training landmark that is not later than this one."""
        if not self.known:
            return None
        before = [known for known in self.known if known.landmark_hours <= landmark_hours]
        return before[-1] if before else self.known[0]


def applicability(rows: Design, booster: Booster | None) -> Applicability:
    """How much was known of training rows, and between which values.

    Args:
        rows: the family's labelled rows.
        booster: its trees; None for a model without.
    """
    if booster is None:
        return Applicability()
    base, first = np.unique(rows.base, return_index=True)
    values, landmark = rows.values[base], rows.landmark[first]
    share = known_share(values, gains(booster, rows.names))
    known = []
    for hours in np.unique(landmark).tolist():
        few, usual = np.quantile(share[landmark == hours], [FEW, 0.5])
        known.append(Known(hours, float(few), float(usual)))
    there = np.isfinite(values)
    low, high = np.where(there, values, np.inf).min(axis=0), np.where(there, values, -np.inf).max(axis=0)
    columns = [j for j in range(len(rows.names)) if there[:, j].any()]
    return Applicability(tuple(known), {rows.names[j]: (float(low[j]), float(high[j])) for j in columns})


def gains(booster: Booster, names: Sequence[str]) -> Array:
    """Split gain of each predictor, 0 for those that say nothing of how the patient is; shape (n,)."""
    gain: Array = booster.feature_importance(importance_type="gain")[: len(names)].astype(np.float64)
    measured = {f.name for f in FEATURES if _is_measured(f)}
    return gain * np.array([name in measured for name in names], dtype=np.float64)


def known_share(values: Array, gain: Array) -> Array:
    """Share of the gain on predictors with a value, shape (rows,); 1 where trees read nothing measured.

    Args:
        values: predictors, shape (rows, n); nan where nothing was measured.
        gain: of `gains`, shape (n,).
    """
    total = float(gain.sum())
    if total <= 0:
        return np.ones(len(values))
    share: Array = np.isfinite(values) @ gain / total
    return share


def _is_measured(feature: Feature) -> bool:
    """Whether a predictor has a value only when something of the patient was measured."""
    if any(need.statistic == "count" for need in feature.requests):
        return False
    return any(need.analyte not in GIVEN for need in feature.requests)
