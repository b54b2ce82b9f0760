"""How CRS was treated where a family's model learned, and what its numbers owe to that."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from training.crossvalidate import OURS, Prepared
from training.policy import Policy, policy_table
from training.resampling import RESAMPLES
from training.rescue import DEFINITIONS, rescue_sensitivity
from training.without_rescue import WithoutRescue, without_rescue


@dataclass(frozen=True, eq=False)
class TreatmentAnalysis:
    """Tables of one family.

    policy: first uses of each drug by state, see `policy_table`. sensitivity: metrics and base risk with rescue as
    a competing event or part of the outcome, see `rescue_sensitivity`. without: the risk without rescue for each
    definition of it, with the diagnostics of its weights.
    """

    policy: pd.DataFrame
    sensitivity: pd.DataFrame
    without: tuple[WithoutRescue, ...]

    def tables(self) -> dict[str, pd.DataFrame]:
        """By file stem."""
        risks = [found.table for found in self.without]
        diagnostics = [
            {"definition": found.definition, "family": found.family, **found.positivity.to_dict()}
            for found in self.without
        ]
        positivity = pd.DataFrame(diagnostics)
        return {
            "treatment_policy": self.policy,
            "rescue_sensitivity": self.sensitivity,
            "without_rescue": pd.concat(risks, ignore_index=True),
            "positivity": positivity.assign(reasons=positivity["reasons"].map("; ".join)),
        }

    def notes(self) -> list[str]:
        """What a reader must know, in plain sentences: what an estimate rests on, or why there is none."""
        told = [found for found in self.without if found.positivity.estimable] or self.without[:1]
        return [note for found in told for note in found.notes()]


def treatment_analysis(
    prepared: Prepared,
    detail: pd.DataFrame,
    family: str,
    policy: Policy,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TreatmentAnalysis:
    """Everything about treatment that needs no further model.

    Args:
        prepared: the cohort.
        detail: out-of-fold risks of the family, `CrossValidation.detail`.
        family: whose model.
        policy: `treatment_policy` of the family.
        resamples: bootstrap resamples for the intervals.
        seed: of the resampling.
    """
    ours = detail[detail["model"] == OURS]
    return TreatmentAnalysis(
        policy=policy_table(policy),
        sensitivity=rescue_sensitivity(prepared, ours, resamples=resamples, seed=seed),
        without=tuple(
            without_rescue(prepared, family, definition=definition, resamples=resamples, seed=seed)
            for definition in DEFINITIONS
        ),
    )
