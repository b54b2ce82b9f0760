"""Inflammation: acute-phase proteins and cytokines."""

from __future__ import annotations

from functools import partial

from features.declare import measured

_m = partial(measured, theme="inflammation", log_scale=True)

FEATURES = (
    *_m(
        "crp",
        "last_baseline",
        "last_so_far",
        "max_since_index",
        "log2_ratio_since_index",
        "slope_since_dose",
        "hours_since_last_so_far",
        why="Acute-phase answer to interleukin-6, smoothed over about a day.",
        source="pennisi_2021",
    ),
    *_m(
        "ferritin",
        "last_baseline",
        "last_so_far",
        "max_since_index",
        "log2_ratio_since_index",
        "slope_since_dose",
        rising=("max_since_index",),
        why="Rises with macrophage activation; higher peaks in severe CRS.",
        source="lichtenstein_2021",
    ),
    *_m(
        "il6",
        "last_baseline",
        "last_so_far",
        "max_since_index",
        "log2_ratio_since_index",
        "count_since_dose",
        why="Drives fever and the acute phase; rises after tocilizumab although its signal is blocked.",
        source="teachey_2016",
    ),
    *_m(
        "ifn_gamma",
        "last_baseline",
        "max_since_index",
        why="Released by the activated T cells.",
        source="teachey_2016",
    ),
    *_m(
        "il10",
        "last_baseline",
        "max_since_index",
        why="Counter-regulation of the cytokine release.",
        source="lichtenstein_2021",
    ),
    *_m("mcp1", "max_since_index", why="Monocyte attractant, early in severe CRS.", source="hay_2017"),
    *_m("il8", "max_since_index", why="Neutrophil and endothelial activation.", source="lichtenstein_2021"),
    *_m(
        "il15",
        "last_baseline",
        "max_since_index",
        why="Raised by lymphodepletion, drives expansion of the T cells.",
        source="lichtenstein_2021",
    ),
    *_m("il2", "max_since_index", why="Early T-cell activation.", source="lichtenstein_2021"),
    *_m(
        "tnf_alpha", "max_since_index", why="Early T-cell and macrophage product.", source="lichtenstein_2021"
    ),
    *_m(
        "il18",
        "last_baseline",
        "max_since_index",
        why="Inflammasome activity, hyperinflammation.",
        source="lichtenstein_2021",
    ),
    *_m(
        "gm_csf",
        "max_since_index",
        why="Product of the T cells that activates macrophages.",
        source="lichtenstein_2021",
    ),
    *_m("mip1a", "max_since_index", why="Macrophage chemokine.", source="teachey_2016"),
    *_m("sil2ra_u", "last_so_far", why="T-cell activation, insured in Japan.", source="fardet_2014"),
    *_m(
        "procalcitonin", "max_since_index", why="Helps to tell infection from CRS.", source="crsrisk_features"
    ),
)
