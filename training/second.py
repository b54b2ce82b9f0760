"""A second model of the same cohort with other predictors than the one that answers: same recipe, same folds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from training.comparisons import comparisons
from training.crossvalidate import DEFAULT_FOLDS, OURS, CrossValidation, Prepared, Progress, crossvalidate
from training.resampling import RESAMPLES


def second_analysis(
    name: str,
    prepared: Prepared,
    first: CrossValidation,
    *,
    n_folds: int = DEFAULT_FOLDS,
    families: Sequence[str] | None = None,
    trials: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold metrics of our recipe with other predictors, and the paired differences first - second.

    Args:
        name: of the second model in both tables.
        prepared: the cohort of `first` with other predictors: `with_support` or `with_treatment` of it.
        first: cross-validation of the model that answers, on `n_folds` folds dealt with `seed`.
        n_folds: the same as there.
        families: the same as there.
        trials: the same as there.
        seed: the same as there.
        resamples: bootstrap resamples for the intervals.
        jobs: how many folds are fitted at once.
        progress: told about every step.

    Returns:
        Metrics as `evaluate`; and `comparisons` of `crsrisk` with the second model.
    """
    found = crossvalidate(
        prepared,
        n_folds=n_folds,
        families=families,
        baselines=False,
        trials=trials,
        seed=seed,
        resamples=resamples,
        jobs=jobs,
        progress=progress,
    )
    ours = first.detail[first.detail["model"] == OURS]
    both = pd.concat([ours, found.detail.assign(model=name)], ignore_index=True)
    return found.table.assign(model=name), comparisons(both, OURS, resamples=resamples, seed=seed)
