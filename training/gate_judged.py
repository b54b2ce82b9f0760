"""Challenger and champion on some of the compared rows: figures alone and differences, each computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from math import isfinite

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.evaluate import metrics
from training.gate_rules import THRESHOLDS
from training.gate_verdict import Figure
from training.paired import paired_differences
from training.subgroups import LEAST_EVENTS, LEAST_PATIENTS, SUBGROUPS

Array = NDArray[np.float64]
Z95 = 1.96


class Judged:
    """Figures of the risks of some rows.

    Args:
        rows: see `gate_pairs.Compared`.
        among: which rows, in words; `all`.
        resamples: bootstrap resamples of the intervals.
        seed: of the resampling.
    """

    def __init__(self, rows: pd.DataFrame, among: str, resamples: int, seed: int) -> None:
        self.rows, self.among = rows, among
        self._resamples, self._seed = resamples, seed
        self._differences: dict[str, dict[str, Figure]] = {}
        self._alone: dict[str, dict[str, Figure]] = {}

    @cached_property
    def rate(self) -> float:
        """Share of the rows with severe CRS, weighted."""
        weight = self._numbers("weight")
        return float((self._numbers("severe") * weight).sum() / weight.sum())

    def difference(self, metric: str, other: str = "champion") -> Figure:
        """Challenger - other."""
        if other not in self._differences:
            found = paired_differences(
                self._numbers(other),
                self._numbers("challenger"),
                self._numbers("severe"),
                self.rows["patient"].to_numpy(dtype=object),
                self._numbers("weight"),
                thresholds=THRESHOLDS,
                resamples=self._resamples,
                seed=self._seed,
            )
            self._differences[other] = {
                line["metric"]: Figure(
                    line["metric"] if other == "champion" else f"{line['metric']} against {other}",
                    line["difference"],
                    line["low"],
                    line["high"],
                    line["first"],
                    line["second"],
                    self.among,
                )
                for line in found.to_dict("records")
            }
        return self._differences[other][metric]

    def alone(self, metric: str, model: str = "challenger") -> Figure:
        """A metric of one set of risks."""
        if model not in self._alone:
            found = metrics(
                self._numbers(model),
                self._numbers("severe"),
                self.rows["patient"].to_numpy(dtype=object),
                self._numbers("weight"),
                resamples=self._resamples,
                seed=self._seed,
            )
            self._alone[model] = {
                name: Figure(f"{name} of the {model}", m.value, m.low, m.high, among=self.among)
                for name, m in found.items()
            }
        return self._alone[model][metric]

    def subgroups(self) -> list[Judged]:
        """Levels with enough patients to be judged, of subgroups with more than one level."""
        return list(self._levels())

    def fewest(self) -> int:
        """Patients of the rarer outcome."""
        return fewest(self.rows)

    def _levels(self) -> Iterator[Judged]:
        for name in SUBGROUPS:
            if name not in self.rows or self.rows[name].nunique() < 2:
                continue
            for value, part in self.rows.groupby(name, sort=True):
                if part["patient"].nunique() >= LEAST_PATIENTS and fewest(part) >= LEAST_EVENTS:
                    yield Judged(part, f"{name} {value}", self._resamples, self._seed)

    def _numbers(self, column: str) -> Array:
        return self.rows[column].to_numpy(dtype=np.float64)


def fewest(rows: pd.DataFrame) -> int:
    """Patients of the rarer outcome."""
    events = int(rows.loc[rows["severe"] > 0, "patient"].nunique())
    return min(events, int(rows["patient"].nunique()) - events)


def reaches(figure: Figure, low: float, high: float) -> bool:
    """Whether the interval has a value inside the limits; without an interval the estimate decides."""
    bottom = figure.low if isfinite(figure.low) else figure.number
    top = figure.high if isfinite(figure.high) else figure.number
    return bottom <= high and top >= low


def standard_error(figure: Figure) -> float:
    """Of a figure, from its interval."""
    return (figure.high - figure.low) / (2 * Z95)


def widened(figure: Figure, comparisons: int) -> Figure:
    """The figure with an interval so wide that those of all comparisons hold together (Bonferroni)."""
    from scipy.stats import norm

    factor = float(norm.ppf(1 - 0.025 / comparisons) / norm.ppf(0.975))
    low = figure.number - factor * (figure.number - figure.low)
    return replace(figure, low=low, high=figure.number + factor * (figure.high - figure.number))
