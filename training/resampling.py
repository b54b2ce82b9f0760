"""Patients drawn with replacement, with all their rows; a value with what the resamples give for it.

Rows of one patient are alike, and a bootstrap of rows would give intervals that are too narrow. Everything
is vectorised over the resamples: most metrics need only sums per patient and one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
RESAMPLES = 1000
LEVEL = 0.95
FEWEST_EVENTS = (
    10  # a bootstrap of fewer patients of one kind gives intervals that look far too sure (our limit)
)
_CHUNK = 2_000_000  # numbers in memory at once


@lru_cache(maxsize=8)
def draws(n: int, resamples: int, seed: int) -> Array:
    """How often each patient is drawn in each resample, shape (resamples, n); read only.

    Kept, since every model and metric of one set of patients uses the same resamples.
    """
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    drawn: Array = (
        np.bincount(patients.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)
    )
    drawn.setflags(write=False)
    return drawn


@dataclass(frozen=True, eq=False)
class Patients:
    """Which patient each row belongs to, and how the patients are drawn.

    code: patient of each row as a number from 0, shape (n_rows,). n: patients. resamples: 0 for none.
    """

    code: Index
    n: int
    resamples: int
    seed: int

    @classmethod
    def of(cls, patient: NDArray[np.object_], resamples: int, seed: int) -> Patients:
        """From the patients' names; the same names give the same draws, whatever the order of the rows."""
        if not len(patient):
            return cls(np.empty(0, dtype=np.int64), 0, 0, seed)
        names, code = np.unique(np.asarray(patient).astype(str), return_inverse=True)
        return cls(code.astype(np.int64), len(names), resamples, seed)

    def sums(self, columns: Array) -> Array:
        """Sums of the columns over the rows of each patient, shape (n, n_columns)."""
        return np.stack([np.bincount(self.code, weights=c, minlength=self.n) for c in columns.T], axis=1)

    def drawn_sums(self, columns: Array) -> Array:
        """Sums of the columns over the rows of each resample, shape (resamples, n_columns)."""
        if not self.resamples:
            return np.empty((0, columns.shape[1]))
        return draws(self.n, self.resamples, self.seed) @ self.sums(columns)

    def chunks(self, width: int) -> Iterator[Array]:
        """Draws of some resamples at a time, so many that `width` numbers for each fit into memory."""
        if not self.resamples:
            return
        drawn = draws(self.n, self.resamples, self.seed)
        step = max(1, _CHUNK // max(width, 1))
        for start in range(0, self.resamples, step):
            yield drawn[start : start + step]

    def events(self, severe: Array) -> int:
        """Patients with severe CRS in any of their rows."""
        return len(np.unique(self.code[severe == 1]))


@dataclass(frozen=True, eq=False)
class Drawn:
    """A value, and the same in every resample, shape (resamples,); nan where a resample does not define it.

    centred: the value is a distance, which noise can only add to, so that the resamples lie above it and it
        lies above the truth. The interval is widened back by that much; see docs/decisions/0151.
    least: what the value can't fall below.
    """

    value: float
    resamples: Array
    centred: bool = False
    least: float = -np.inf

    def minus(self, other: Drawn) -> Drawn:
        """The paired difference, resample by resample."""
        centred = self.centred or other.centred
        return Drawn(self.value - other.value, self.resamples - other.resamples, centred)

    def quantiles(self) -> tuple[float, float] | None:
        """Bounds of the 95 % percentile interval; None without a resample that defines the value."""
        known = self.resamples[np.isfinite(self.resamples)]
        if not len(known) or not np.isfinite(self.value):
            return None
        known = np.sort(known)
        low, high = (_quantile(known, q) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        if self.centred:
            # the resamples are as far from the value as the value is from the truth: once back for the resamples,
            # once more on the side of the truth, and the resamples turned around the value (basic bootstrap)
            moved = self.value - _quantile(known, 0.5)
            turned = 2 * self.value - high, 2 * self.value - low
            low = min(low + min(moved, 2 * moved), turned[0])
            high = max(high + max(moved, 2 * moved), turned[1])
        return max(low, self.least), high

    def interval(self, events: int, others: int) -> tuple[float, float, str]:
        """Low, high and, where there is none, the reason; `events` and `others` count patients.

        There is no interval below FEWEST_EVENTS patients of either kind, nor where the resamples miss the
        value.
        """
        bounds = self.quantiles()
        if bounds is None:
            return np.nan, np.nan, ""
        fewest = min(events, others)
        if fewest < FEWEST_EVENTS:
            kind = "with" if events == fewest else "without"
            return np.nan, np.nan, f"{fewest} {kind} severe CRS: too few for an interval"
        low, high = bounds
        if not low <= self.value <= high:
            return np.nan, np.nan, "the resamples give no interval around it"
        return low, high, ""


def _quantile(ordered: Array, q: float) -> float:
    """The quantile of sorted values as numpy gives it; thousands of intervals make numpy's generality felt."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
