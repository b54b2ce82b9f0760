"""Trees that all families share: grown on every row, each family taking as many as help its own patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.boosting import (
    DEFAULTS,
    InnerFolds,
    Rounds,
    Training,
    dataset,
    grow,
    inner_folds,
    parameters,
    scaled_weight,
)
from training.fit_input import FitInput, offset_of, offset_spec

if TYPE_CHECKING:
    import lightgbm

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SharedTrees:
    """Shared trees of one set of training rows.

    training: rows of all families, each with the offset of its own family. fold: inner fold of each row. rounds: by
    family how many of the trees it takes, and what its rows were given out of fold.
    """

    training: Training
    fold: NDArray[np.int64]
    rounds: Mapping[str, Rounds]
    seed: int

    def text(self, family: str, whole: lightgbm.Dataset, weight: Array | None = None) -> str:
        """The trees that a family takes as a LightGBM text.

        Args:
            family: takes at least one tree.
            whole: `dataset(self.training)`.
            weight: replaces the rows' weights (bootstrap).
        """
        params = parameters(DEFAULTS, self.training.monotone, self.seed)
        return grow(whole, params, self.rounds[family].rounds, weight)


def grow_shared(given: FitInput, seed: int) -> SharedTrees:
    """Choose for every family how many trees of all families together it takes; 0 where they do not help."""
    training = all_rows(given)
    names = training.design.rows["family"].to_numpy(dtype=object)
    fold = inner_folds(training.design, 4, seed)
    families = [str(name) for name in dict.fromkeys(names.tolist())]
    groups = {name: names == name for name in families}
    folds = InnerFolds(training, dataset(training), seed, fold=fold)
    return SharedTrees(training, fold, folds.choose_each(DEFAULTS, groups), seed)


def unshared(given: FitInput, family: str, seed: int) -> SharedTrees:
    """A family by itself: no shared trees, the start of its own trees is its offset."""
    training = all_rows(given)
    training = training.take(given.of_family(family), training.offset[given.of_family(family)])
    none = Rounds(0, np.inf, training.offset)
    return SharedTrees(training, inner_folds(training.design, 4, seed), {family: none}, seed)


def all_rows(given: FitInput) -> Training:
    """Rows of all families, each with the offset of its family and as heavy as its patients."""
    design = given.design
    offset, weight = np.empty(len(design)), np.empty(len(design))
    for name in dict.fromkeys(design.rows["family"].tolist()):
        rows = given.of_family(name)
        part = design.take(rows)
        offset[rows] = offset_of(offset_spec(given, name, part), part, given.extra)
        weight[rows] = scaled_weight(part)
    return Training(design, offset, weight, given.signs(), design.severe)
