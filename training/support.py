"""The second analysis with the variables that define the grade: oxygen, pressors, blood pressure.

The model leaves them out, since a value of the same hour is the outcome itself. With them it shows what they
would add; where that is much, it is the grade that speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from training.comparisons import comparisons
from training.crossvalidate import DEFAULT_FOLDS, OURS, CrossValidation, Prepared, Progress, crossvalidate
from training.resampling import RESAMPLES

WITH_SUPPORT = "with_support"


def with_support(prepared: Prepared) -> Prepared:
    """The same cohort with support variables among the predictors."""
    from features.registry import predictors

    return replace(prepared, names=tuple(f.name for f in predictors(support=True)))


def support_analysis(
    prepared: Prepared,
    without: CrossValidation,
    *,
    n_folds: int = DEFAULT_FOLDS,
    families: Sequence[str] | None = None,
    trials: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold metrics of our recipe with support variables, and the paired differences without - with.

    Args:
        prepared: the cohort that `without` was cross-validated on.
        without: its cross-validation, on `n_folds` folds dealt with `seed`.
        n_folds: the same as there.
        families: the same as there.
        trials: the same as there.
        seed: the same as there.
        resamples: bootstrap resamples for the intervals.
        jobs: how many folds are fitted at once.
        progress: told about every step.

    Returns:
        Metrics as `evaluate`, model `with_support`; and `comparisons` of `crsrisk` with it.
    """
    found = crossvalidate(
        with_support(prepared),
        n_folds=n_folds,
        families=families,
        baselines=False,
        trials=trials,
        seed=seed,
        resamples=resamples,
        jobs=jobs,
        progress=progress,
    )
    detail = found.detail.assign(model=WITH_SUPPORT)
    ours = without.detail[without.detail["model"] == OURS]
    both = pd.concat([ours, detail], ignore_index=True)
    differences = comparisons(both, OURS, resamples=resamples, seed=seed)
    return found.table.assign(model=WITH_SUPPORT), differences
