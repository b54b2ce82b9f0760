"""The limits of the gate: one row per limit with its unit and its reason. They are our conventions.

None is from a paper: the literature gives methods for intervals, not margins for this decision. They were set so
that simulated challengers that are better pass and those that are worse don't (docs/decisions/0190); a change
belongs into that note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

THRESHOLDS = (
    0.02,
    0.05,
    0.10,
    0.20,
)  # risks between which published products lie; none is an advice to alert


@dataclass(frozen=True)
class Rule:
    """One limit of one row of the gate."""

    row: str
    name: str
    limit: float
    unit: str
    why: str


RULES = (
    Rule(
        "same_patients",
        "least_events",
        30,
        "patients with severe CRS, and as many without",
        "fewer give differences whose intervals are wider than any margin below",
    ),
    Rule(
        "sample_size",
        "own_events",
        100,
        "patients with severe CRS, and as many without, that the model learned from",
        "what training asks of a family with trees of its own",
    ),
    Rule(
        "sample_size",
        "shared_events",
        30,
        "patients with severe CRS, and as many without, that the model learned from",
        "what training asks of a family on shared trees; below it there is only the published rate",
    ),
    Rule(
        "leaks",
        "findings",
        0,
        "certain leaks, and suspected ones of the cohort that is compared on",
        "a leak makes every evaluation on that cohort wrong; on another one a suspicion can be put to the test",
    ),
    Rule(
        "leaks",
        "highest_auroc",
        0.97,
        "AUROC",
        "no early prediction of severe CRS comes near; such risks have seen the outcome",
    ),
    Rule(
        "discrimination",
        "least_difference",
        -0.01,
        "AUROC, challenger - champion",
        "the estimate itself may not be lower by more than what another seed would do",
    ),
    Rule(
        "discrimination",
        "least_low",
        -0.03,
        "AUROC, lower end of the 95 % interval of the difference",
        "a loss of 0.03 or more has to be ruled out, about what a new predictor gains",
    ),
    Rule(
        "calibration",
        "level",
        0.223,
        "log odds, calibration in the large",
        "log 1.25: expected and observed events within 0.8 to 1.25; the interval must reach into it",
    ),
    Rule(
        "calibration",
        "level_estimate",
        0.405,
        "log odds, calibration in the large",
        "log 1.5: wrong by half is refused however wide the interval",
    ),
    Rule("calibration", "slope_low", 0.8, "calibration slope", "the interval must reach up to it"),
    Rule("calibration", "slope_high", 1.25, "calibration slope", "the interval must reach down to it"),
    Rule(
        "calibration",
        "ici_worse",
        0.1,
        "share of the event rate, ICI of challenger - champion",
        "a mean distance from the observed risk that is larger for certain, and by a tenth of the rate",
    ),
    Rule(
        "calibration",
        "ici_estimate",
        0.25,
        "share of the event rate, ICI of challenger - champion",
        "a quarter of the rate is refused however wide the interval",
    ),
    Rule(
        "net_benefit",
        "least_difference",
        -0.10,
        "share of the event rate, challenger - champion at each threshold",
        "a tenth of what a perfect model gains over treating nobody is refused however wide the interval",
    ),
    Rule(
        "net_benefit",
        "least_certain",
        -0.02,
        "share of the event rate, challenger - champion at each threshold",
        "a smaller loss is refused when the interval, widened for the number of thresholds, says that it is one",
    ),
    Rule(
        "worst_subgroup",
        "least_difference",
        -0.03,
        "AUROC, challenger - champion in a subgroup",
        "refused when the interval, widened for the number of subgroups, says that there is a loss",
    ),
    Rule(
        "worst_subgroup",
        "level",
        0.405,
        "log odds, calibration in the large in a subgroup",
        "log 1.5: refused when the widened interval lies beyond it",
    ),
    Rule(
        "worst_subgroup",
        "closer",
        0.1,
        "log odds, calibration in the large in a subgroup, champion against challenger",
        "and only where the champion is closer by this: the challenger need not mend what it did not break",
    ),
    Rule("published_score", "least_difference", 0.0, "AUROC, challenger - score", "it must be better"),
    Rule(
        "published_score",
        "least_low",
        -0.03,
        "AUROC, lower end of the 95 % interval of the difference",
        "as for the champion",
    ),
    Rule(
        "batch",
        "auroc",
        0.10,
        "AUROC, new - known patients, of champion and of challenger",
        "labels or inputs of the new patients mean something else, or tell the outcome",
    ),
    Rule(
        "batch",
        "level",
        0.405,
        "log odds, the champion's calibration in the large, new - known patients",
        "log 1.5: the new patients have other risks than the old ones with the same inputs",
    ),
    Rule(
        "batch",
        "labels",
        0.1,
        "known patients with another label than before, per known patient with severe CRS",
        "adjudication corrects a few labels; more are another outcome or a join gone wrong",
    ),
    Rule(
        "batch",
        "z",
        2.5,
        "standard errors",
        "three comparisons are made; of a hundred honest batches four are stopped, and a validation cohort decides",
    ),
)
LIMITS: Mapping[tuple[str, str], float] = MappingProxyType(
    {(rule.row, rule.name): rule.limit for rule in RULES}
)
