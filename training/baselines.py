"""What a model has to beat, on the same folds: the base rate, published scores, the last grade, a linear model.

Each takes training rows and held-out rows of one family and gives risks of the held-out rows. Whatever is
learned (medians, coefficients, strength of the penalty) is learned from the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.boosting import INNER_FOLDS, scaled_weight
from training.design import Design
from training.evaluate import fit_logistic
from training.offset import sigmoid
from training.ridge import Columns, Problem, choose_strength, fit
from training.split import patient_folds

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Published scores and the last grade: the column that holds each one's latest value at the landmark.
UNIVARIABLE: Mapping[str, str] = {
    "easix": "easix_log2_so_far",
    "s_easix": "s_easix_log2_so_far",
    "m_easix": "m_easix_log2_so_far",
    "hscore": "hscore_points_so_far",
    "ice": "ice_score_min_since_dose",
    "last_grade": "grade_last_so_far",
}
SCORES = ("easix", "s_easix", "m_easix", "hscore", "ice")
LAST_GRADE = "last_grade"
MEASURED_SHARE = 0.05  # a score that fewer rows have is not compared
CELL_EVENTS = 50  # below this a linear model of a single landmark and horizon did worse than one over all
_REST = -1.0


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out rows of one family, with their offsets (log odds)."""

    train: Design
    test: Design
    train_offset: Array
    test_offset: Array

    def take(self, train: Index, test: Index) -> Split:
        """Some of the rows."""
        return Split(
            self.train.take(train), self.test.take(test), self.train_offset[train], self.test_offset[test]
        )


def prior(split: Split) -> Array:
    """The published base rate alone."""
    return sigmoid(split.test_offset)


def univariable(split: Split, column: str) -> Array:
    """Logistic regression on one column for each landmark and horizon; a gap takes the training median."""
    risk = np.empty(len(split.test))
    learned, asked = split.train.column(column), split.test.column(column)
    severe, weight = split.train.severe, split.train.weight
    for train, test in _cells(split.train, split.test):
        x, z = learned[train], asked[test]
        known = x[~np.isnan(x)]
        median = float(np.median(known)) if len(known) else 0.0
        x, z = np.where(np.isnan(x), median, x), np.where(np.isnan(z), median, z)
        risk[test] = _one_column(x, z, severe[train], weight[train])
    return risk


def _one_column(x: Array, z: Array, severe: Array, weight: Array) -> Array:
    """Risks at z from a regression on x; the cell's smoothed rate where it has one class or one value."""
    events = float((weight * severe).sum())
    total = float(weight.sum())
    spread = float(x.std()) if len(x) else 0.0
    if severe.sum() < 2 or events >= total or spread == 0.0:
        return np.full(len(z), (events + 0.5) / (total + 1.0))
    centre = float(x.mean())
    columns = np.column_stack([np.ones_like(x), (x - centre) / spread])
    beta = fit_logistic(columns, severe, weight, ridge=0.1)
    return sigmoid(beta[0] + beta[1] * (z - centre) / spread)


def logistic(split: Split, log_scale: Mapping[str, bool], seed: int) -> Array:
    """Ridge logistic regression, its strength chosen on inner patient folds.

    A landmark and horizon with CELL_EVENTS or more severe patients has a regression of its own; the others
    share one over all rows. The offset is a column without penalty: the regression may trust the base rate
    more or less.
    """
    log = np.array([log_scale.get(name, False) for name in split.train.names])
    risk = np.full(len(split.test), np.nan)
    for train, test in _cells(split.train, split.test):
        if split.train.take(train).severe_patients() >= CELL_EVENTS:
            risk[test] = _ridge(split.take(train, test), log, seed)
    rest = np.flatnonzero(np.isnan(risk))
    if len(rest):
        risk[rest] = _ridge(split.take(np.arange(len(split.train)), rest), log, seed)
    return risk


def _ridge(split: Split, log: NDArray[np.bool_], seed: int) -> Array:
    """One ridge logistic regression; the base rate where the training rows have fewer than two events."""
    train, test = split.train, split.test
    if train.severe_patients() < 2:
        return sigmoid(split.test_offset)
    weight = scaled_weight(train)
    free = _free_columns(train, split.train_offset, train)

    def problem_of(learn: Index, held: Index) -> tuple[Problem, Problem]:
        columns = Columns.learn(train.values[np.unique(train.base[learn])], log)
        lines, base = np.unique(train.base, return_inverse=True)
        whole = Problem(columns.apply(train.values[lines]), base, free, train.severe, weight)
        return whole.take(learn), whole.take(held)

    severe = train.rows.groupby("patient_id")["severe"].transform("max").astype(str).to_numpy(dtype=object)
    patients = train.rows["patient_id"].to_numpy(dtype=object)
    fold = patient_folds(patients, severe, min(INNER_FOLDS, train.patients()), seed)
    strength, _ = choose_strength(fold, problem_of, train.severe, weight)
    columns = Columns.learn(train.values[np.unique(train.base)], log)
    lines, base = np.unique(train.base, return_inverse=True)
    beta = fit(Problem(columns.apply(train.values[lines]), base, free, train.severe, weight), strength)
    lines, base = np.unique(test.base, return_inverse=True)
    outside = _free_columns(test, split.test_offset, train)
    held_out = Problem(columns.apply(test.values[lines]), base, outside, test.severe, test.weight)
    return sigmoid(held_out.margin(beta))


def _free_columns(rows: Design, offset: Array, train: Design) -> Array:
    """Unpenalised columns: one, offset, and 0/1 per landmark and fixed horizon of the training rows."""
    marks = np.unique(train.landmark)[1:]
    fixed = np.unique(train.horizon[~train.rows["rest_of_window"].to_numpy()])
    is_rest = rows.rows["rest_of_window"].to_numpy()
    columns = [np.ones(len(rows)), offset]
    columns += [(rows.landmark == mark).astype(np.float64) for mark in marks]
    columns += [((rows.horizon == h) & ~is_rest).astype(np.float64) for h in fixed]
    return np.column_stack(columns)


def _cells(train: Design, test: Design) -> Iterator[tuple[Index, Index]]:
    """Training and held-out rows of each landmark and horizon that the held-out rows have."""
    learn, held = _cell_keys(train), _cell_keys(test)
    for key in np.unique(held, axis=0):
        yield np.flatnonzero((learn == key).all(axis=1)), np.flatnonzero((held == key).all(axis=1))


def _cell_keys(rows: Design) -> Array:
    horizon = np.where(rows.rows["rest_of_window"].to_numpy(), _REST, rows.horizon)
    return np.column_stack([rows.landmark, horizon])


def measured_share(rows: Design, column: str) -> float:
    """Share of rows that have a value of this column."""
    return float((~np.isnan(rows.column(column))).mean()) if len(rows) and column in rows.names else 0.0
