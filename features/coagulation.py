"""Coagulation: consumption and acute phase."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="coagulation")

FEATURES = (
    *_m(
        "fibrinogen",
        "last_baseline",
        "last_so_far",
        "change_since_index",
        why="Acute-phase rise, later consumption.",
        source="fardet_2014",
    ),
    *_m(
        "d_dimer",
        "last_baseline",
        "max_since_index",
        "log2_ratio_since_index",
        log_scale=True,
        why="Activation of coagulation by the endothelium.",
        source="hay_2017",
    ),
    *_m("inr", "max_since_index", why="Consumption, liver.", source="hay_2017"),
    *_m("aptt", "max_since_index", why="Consumption.", source="hay_2017"),
)
