"""Blood counts: marrow reserve, lymphodepletion, expansion."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="blood_counts")

FEATURES = (
    *_m(
        "platelets",
        "last_baseline",
        "last_so_far",
        "min_since_index",
        "log2_ratio_since_index",
        falling=("last_baseline",),
        log_scale=True,
        why="Low counts before treatment go with severe CRS; denominator of EASIX.",
        source="hay_2017",
    ),
    *_m(
        "anc",
        "last_baseline",
        "last_so_far",
        why="Marrow reserve and lymphodepletion.",
        source="rejeski_2021",
    ),
    *_m(
        "alc",
        "last_baseline",
        "last_so_far",
        why="Lymphodepletion, later expansion.",
        source="crsrisk_features",
    ),
    *_m(
        "monocytes",
        "last_baseline",
        why="Source of interleukin-6 and interleukin-1.",
        source="crsrisk_features",
    ),
    *_m("wbc", "last_baseline", log_scale=True, why="Item of HScore.", source="fardet_2014"),
    *_m("hemoglobin", "last_baseline", "last_so_far", why="Marrow reserve.", source="rejeski_2021"),
)
