"""The second model: risk under usual care, given what was given for CRS so far.

The model that answers does not see treatment: it follows the outcome. This one does, so its risk is that of a patient
treated as this one was, and treated from now on as patients were in training. It shows what treatment so far
explains; it says nothing of what a treatment would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from features.registry import feature, usual_care_predictors
from training.crossvalidate import Prepared
from training.fit import fit_family
from training.fit_input import FitInput
from training.model import RiskModel
from training.shared import SharedTrees

USUAL_CARE = "usual_care"
NOTE = (
    "Conditional on the treatment given so far: the risk under usual care, for a second analysis. It is not the effect "
    "of a treatment, since those treated were sicker."
)


def with_treatment(prepared: Prepared) -> Prepared:
    """The same cohort with treatment up to the landmark among the predictors."""
    return replace(prepared, names=tuple(f.name for f in usual_care_predictors()))


def fit_usual_care(
    given: FitInput,
    family: str,
    *,
    trials: int = 0,
    seed: int = 0,
    refits: int = 15,
    shared: SharedTrees | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RiskModel:
    """One family's model that also sees treatment so far; the recipe is that of `fit_family`.

    Args:
        given: rows of `with_treatment(prepared)`.
        family: whose model.
        trials: see `fit_family`.
        seed: see `fit_family`.
        refits: see `fit_family`.
        shared: `shared_trees` of the same rows.
        progress: see `fit_family`.

    Raises:
        ValueError: the rows hold no treatment.
        NotEnoughDataError: the family has no labelled rows.
    """
    if not any(feature(name).role == "treatment" for name in given.design.names):
        raise ValueError("the rows hold no treatment; take those of with_treatment(prepared)")
    model = fit_family(
        given, family, trials=trials, seed=seed, refits=refits, shared=shared, progress=progress
    )
    return replace(model, notes=(*model.notes, NOTE))
