"""Labelled rows and their predictors as arrays, ready for a fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.errors import NotEnoughDataError

if TYPE_CHECKING:
    from features.matrix import FeatureTable

Array = NDArray[np.float64]
Index = NDArray[np.int64]
KEY = ("course_id", "dose", "landmark_hours")


@dataclass(frozen=True, eq=False)
class Design:
    """n labelled rows over m landmarks; the horizons of a landmark share its predictors.

    rows: the columns of LandmarkTable.rows, n rows.
    base: landmark (row of `values`) of each row, shape (n,).
    values: predictors, shape (m, n_features), nan = missing.
    names: predictors in the order of the columns.
    """

    rows: pd.DataFrame
    base: Index
    values: Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def severe(self) -> Array:
        """Label, 0 or 1."""
        return self.rows["severe"].to_numpy(dtype=np.float64)

    @cached_property
    def auxiliary(self) -> Array:
        """Grade 2 or above within the horizon, 0 or 1: more frequent than severe CRS and like it."""
        return self.rows["auxiliary"].to_numpy(dtype=np.float64)

    @cached_property
    def weight(self) -> Array:
        """Inverse probability of having been followed."""
        return self.rows["weight"].to_numpy(dtype=np.float64)

    @cached_property
    def patient(self) -> Index:
        """Patient of each row as a number from 0, in the order of the sorted ids."""
        return np.unique(self.rows["patient_id"].to_numpy(dtype=object).astype(str), return_inverse=True)[1]

    @cached_property
    def matrix(self) -> Array:
        """Predictors, landmark and horizon of each row, shape (n, n_features + 2)."""
        return np.column_stack([self.values[self.base], self.landmark, self.horizon])

    @cached_property
    def landmark(self) -> Array:
        """Hours from the dose to the landmark."""
        return self.rows["landmark_hours"].to_numpy(dtype=np.float64)

    @cached_property
    def horizon(self) -> Array:
        """Hours from the landmark to the end of the horizon."""
        return self.rows["horizon_hours"].to_numpy(dtype=np.float64)

    @cached_property
    def dose(self) -> Index:
        """Dose of each row, 1 for cells."""
        return self.rows["dose"].to_numpy(dtype=np.int64)

    @cached_property
    def longest(self) -> NDArray[np.bool_]:
        """Rows at the first landmark of each dose with the longest horizon: each severe onset once."""
        order = np.lexsort(
            (-self.horizon, self.landmark, self.dose, self.rows["course_id"].to_numpy(dtype=object))
        )
        keys = self.rows[["course_id", "dose"]].iloc[order]
        chosen = np.zeros(len(self), dtype=bool)
        chosen[order[~keys.duplicated().to_numpy()]] = True
        return chosen

    def take(self, rows: NDArray[np.bool_] | Index) -> Design:
        """Some of the rows; the predictors stay shared."""
        return replace(
            self, rows=self.rows.iloc[_positions(rows)].reset_index(drop=True), base=self.base[rows]
        )

    def column(self, name: str) -> Array:
        """One predictor of each row."""
        return self.values[self.base, self.names.index(name)]

    def patients(self) -> int:
        """Number of patients."""
        return int(self.rows["patient_id"].nunique())

    def severe_patients(self) -> int:
        """Number of patients with severe CRS in any row."""
        return int(self.rows.loc[self.rows["severe"] == 1, "patient_id"].nunique())


def design(rows: pd.DataFrame, table: FeatureTable, names: tuple[str, ...]) -> Design:
    """Labelled rows joined with the predictors `names` of a feature table.

    Raises:
        NotEnoughDataError: a labelled row has no features.
    """
    position = {name: i for i, name in enumerate(table.names)}
    index = pd.MultiIndex.from_frame(table.rows[list(KEY)])
    base = index.get_indexer(pd.MultiIndex.from_frame(rows[list(KEY)])).astype(np.int64)
    if (base < 0).any():
        raise NotEnoughDataError(
            f"{int((base < 0).sum())} labelled rows have no features; compute features and labels of the same "
            "cohort at the same landmarks"
        )
    chosen = table.values[:, [position[name] for name in names]]
    return Design(rows.reset_index(drop=True), base, np.ascontiguousarray(chosen), names)


def _positions(rows: NDArray[np.bool_] | Index) -> Index:
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
