"""Oxygen, pressors, blood pressure: they define the grade and stay out of a model unless asked for."""

from __future__ import annotations

from functools import partial

from features.declare import Feature, Floats, Inputs, Need, measured

_m = partial(
    measured,
    theme="support",
    role="support",
    source="lee_2019_astct",
    why="Part of the definition of the grade.",
)


def _shock_index(inputs: Inputs) -> Floats:
    """Latest heart rate over latest systolic pressure; nan unless the pressure is above 0."""
    pressure = inputs.get("sbp", "so_far", "last").copy()
    pressure[pressure <= 0] = float("nan")
    return inputs.get("heart_rate", "so_far", "last") / pressure


FEATURES = (
    *_m("sbp", "last_baseline", "last_so_far", "min_last_24h", "slope_last_24h", "change_since_index"),
    *_m("map", "min_last_24h"),
    *_m("spo2", "last_so_far", "min_last_24h"),
    *_m("o2_flow", "max_last_24h"),
    *_m("fio2", "max_last_24h"),
    *_m("resp_support", "last_so_far", "max_last_24h"),
    *_m("norepinephrine_rate", "max_last_24h"),
    *_m("vasopressor_count", "max_last_24h"),
    *_m("fluid_bolus", "count_last_24h"),
    Feature(
        name="shock_index_last_so_far",
        analyte="shock_index",
        window="so_far",
        statistic="last",
        unit="1",
        meaning="Latest heart rate over latest systolic pressure; it holds a blood pressure.",
        source="crsrisk_features",
        theme="support",
        role="support",
        needs=(Need("heart_rate", "so_far", "last"), Need("sbp", "so_far", "last")),
        derive=_shock_index,
    ),
)
