"""Vital signs that do not define the grade beyond fever, and consciousness."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="vitals")

FEATURES = (
    *_m(
        "temperature",
        "last_so_far",
        "max_since_dose",
        "max_last_24h",
        "slope_last_24h",
        "hours_above_38_since_dose",
        "hours_above_38_last_24h",
        "hours_above_39_since_dose",
        rising=("max_since_dose", "hours_above_38_since_dose", "hours_above_39_since_dose"),
        why="Fever opens CRS; every ASTCT grade requires it.",
        source="lee_2019_astct",
    ),
    *_m(
        "heart_rate",
        "last_baseline",
        "last_so_far",
        "max_last_24h",
        "change_since_index",
        "slope_last_24h",
        why="Rises with fever and before hypotension.",
        source="crsrisk_features",
    ),
    *_m(
        "resp_rate",
        "last_so_far",
        "max_last_24h",
        why="Rises before oxygen is needed.",
        source="crsrisk_features",
    ),
    *_m("ice_score", "min_since_dose", why="Neurotoxicity often accompanies CRS.", source="lee_2019_astct"),
)
