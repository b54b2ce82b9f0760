"""Endothelium and organs: capillary leak, kidney, liver, perfusion."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="endothelium")

FEATURES = (
    *_m(
        "creatinine",
        "last_baseline",
        "max_since_index",
        "log2_ratio_since_index",
        log_scale=True,
        why="Kidney function, numerator of EASIX.",
        source="korell_2022",
    ),
    *_m(
        "albumin",
        "last_baseline",
        "min_since_index",
        "change_since_index",
        why="Falls with capillary leak and as negative acute-phase protein.",
        source="crsrisk_features",
    ),
    *_m(
        "weight",
        "change_since_index",
        why="Fluid that stays in the tissue weighs.",
        source="crsrisk_features",
    ),
    *_m(
        "ang2",
        "last_baseline",
        "last_so_far",
        log_scale=True,
        why="Released by the activated endothelium.",
        source="hay_2017",
    ),
    *_m("lactate", "max_since_index", log_scale=True, why="Poor perfusion.", source="crsrisk_features"),
    *_m(
        "ast",
        "last_baseline",
        "max_since_index",
        log_scale=True,
        why="Liver injury; item of HScore.",
        source="fardet_2014",
    ),
    *_m("bilirubin_total", "last_so_far", log_scale=True, why="Liver function.", source="crsrisk_features"),
    *_m("triglycerides", "last_so_far", log_scale=True, why="Item of HScore.", source="fardet_2014"),
    *_m(
        "nt_probnp",
        "last_baseline",
        log_scale=True,
        why="Cardiac reserve before treatment.",
        source="crsrisk_features",
    ),
)
