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
    inner_folds,
    parameters,
    refit,
    scaled_weight,
)
from training.calibrate import within_line
from training.fit_input import FitInput, offset_spec, start_of
from training.offset import Start, Within

if TYPE_CHECKING:
    import lightgbm

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SharedTrees:
    """Shared trees of one set of training rows.

    training: rows of all families, each with the offset of its own family. start: where each of these rows starts from.
    fold: inner fold of each row. rounds: by family how many of the trees it takes, and what its rows were given out of
    fold. within: how much sooner severe CRS comes where these trees say more; None: there are no such trees.
    """

    training: Training
    start: Start
    fold: NDArray[np.int64]
    rounds: Mapping[str, Rounds]
    within: Within | None
    seed: int

    def refit(self, family: str, whole: lightgbm.Dataset, weight: Array) -> str:
        """The trees that a family takes, grown on a bootstrap sample, as a LightGBM text.

        Args:
            family: takes at least one tree.
            whole: `dataset(self.training)`.
            weight: replaces the rows' weights.
        """
        params = parameters(DEFAULTS, self.training.monotone, self.seed)
        return refit(whole, params, self.rounds[family].rounds, weight)


def grow_shared(given: FitInput, seed: int) -> SharedTrees:
    """Choose for every family how many trees of all families together it takes; 0 where they do not help."""
    training, start = all_rows(given)
    names = training.design.rows["family"].to_numpy(dtype=object)
    fold = inner_folds(training.design, 4, seed)
    families = [str(name) for name in dict.fromkeys(names.tolist())]
    groups = {name: names == name for name in families}
    folds = InnerFolds(training, dataset(training), seed, fold=fold)
    rounds = folds.choose_each(DEFAULTS, groups)
    trees = np.zeros(len(names))
    for name, mine in groups.items():
        trees[mine] = rounds[name].margin - training.offset[mine]
    within = within_line(training.design, start, trees, training.weight)
    return SharedTrees(training, start, fold, rounds, within, seed)


def unshared(given: FitInput, family: str, seed: int) -> SharedTrees:
    """A family by itself: no shared trees, the start of its own trees is its offset."""
    training, start = all_rows(given)
    mine = given.of_family(family)
    training = training.take(mine, training.offset[mine])
    none = Rounds(0, np.inf, training.offset)
    return SharedTrees(
        training, start.take(mine), inner_folds(training.design, 4, seed), {family: none}, None, seed
    )


def all_rows(given: FitInput) -> tuple[Training, Start]:
    """Rows of all families, as heavy as the patients of their family, and where each starts from."""
    design = given.design
    window, within, weight = (np.empty(len(design)) for _ in range(3))
    for name in dict.fromkeys(design.rows["family"].tolist()):
        rows = given.of_family(name)
        part = design.take(rows)
        begin = start_of(offset_spec(given, name, part), part, given.extra)
        window[rows], within[rows] = begin.window, begin.within
        weight[rows] = scaled_weight(part)
    start = Start(window, within)
    return Training(design, start.log_odds(), weight, given.signs(), design.severe), start
