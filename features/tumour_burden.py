"""Tumour burden and what drives expansion: disease, cell dose."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="tumour_burden")

FEATURES = (
    *_m(
        "ldh",
        "last_baseline",
        "last_so_far",
        "max_since_index",
        "log2_ratio_since_index",
        "slope_since_dose",
        rising=("last_baseline",),
        log_scale=True,
        why="Tumour burden and turnover; numerator of EASIX.",
        source="korell_2022",
    ),
    *_m(
        "bm_blasts_pct",
        "last_baseline",
        rising=("last_baseline",),
        why="High marrow burden goes with severe CRS.",
        source="hay_2017",
    ),
    *_m("blasts_pb_pct", "last_baseline", why="Circulating burden.", source="hay_2017"),
    *_m("bm_plasma_cell_pct", "last_baseline", why="Marrow burden in myeloma.", source="crsrisk_features"),
    *_m("tumor_spd", "last_baseline", log_scale=True, why="Burden on imaging.", source="crsrisk_features"),
    *_m("tumor_mtv", "last_baseline", log_scale=True, why="Burden on PET.", source="crsrisk_features"),
    *_m("extramedullary", "last_baseline", why="Disease outside the marrow.", source="crsrisk_features"),
    *_m("uric_acid", "last_baseline", why="Cell turnover.", source="crsrisk_features"),
    *_m("cell_dose_total", "last_baseline", log_scale=True, why="Cells given.", source="hay_2017"),
    *_m("cell_dose_kg", "last_baseline", log_scale=True, why="Cells given per weight.", source="hay_2017"),
)
