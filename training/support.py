"""The second analysis with the variables that define the grade: oxygen, pressors, blood pressure.

The model leaves them out, since a value of the same hour is the outcome itself. With them it shows what they
would add; where that is much, it is the grade that speaks.
"""

from __future__ import annotations

from dataclasses import replace

from training.crossvalidate import Prepared

WITH_SUPPORT = "with_support"


def with_support(prepared: Prepared) -> Prepared:
    """The same cohort with support variables among the predictors."""
    from features.registry import predictors

    return replace(prepared, names=tuple(f.name for f in predictors(support=True)))
