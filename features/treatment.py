"""Treatments given for CRS follow the outcome: shown, never a predictor. Before the infusion: prophylaxis."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_given = partial(
    measured,
    theme="treatment",
    role="treatment",
    source="lee_2019_astct",
    why="Given for CRS: it follows the outcome.",
)
_prophylaxis = partial(
    measured,
    theme="treatment",
    source="crsrisk_features",
    why="Prophylaxis or premedication, before any CRS.",
)

FEATURES = (
    *_prophylaxis("tocilizumab_dose", "count_baseline"),
    *_prophylaxis("dexamethasone_dose", "count_baseline"),
    *_given("tocilizumab_dose", "count_since_dose", "hours_since_last_so_far"),
    *_given("dexamethasone_dose", "count_since_dose", "hours_since_last_so_far"),
    *_given("methylprednisolone_dose", "count_since_dose"),
    *_given("hydrocortisone_dose", "count_since_dose"),
    *_given("prednisolone_dose", "count_since_dose"),
    *_given("siltuximab_dose", "count_since_dose"),
    *_given("anakinra_dose", "count_since_dose"),
    *_given("ruxolitinib_dose", "count_since_dose"),
    *_given("acetaminophen_dose", "count_last_24h"),
    *_given("nsaid_dose", "count_last_24h"),
)
