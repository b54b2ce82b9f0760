"""What a declaration refuses, and what follows from it."""

import pytest

from features.declare import Feature, measured

BASICS = {"theme": "inflammation", "why": "Why.", "source": "hay_2017"}


def test_a_column_gives_name_unit_and_window():
    (slope,) = measured("crp", "slope_since_dose", **BASICS)
    assert (slope.name, slope.unit, slope.window, slope.statistic) == (
        "crp_slope_since_dose",
        "mg/L/d",
        "since_dose",
        "slope",
    )


def test_a_threshold_is_part_of_the_name():
    (hours,) = measured("temperature", "hours_above_38.5_last_24h", **BASICS)
    assert (hours.name, hours.threshold, hours.unit) == ("temperature_hours_above_38.5_last_24h", 38.5, "h")


def test_a_column_without_a_window_is_refused():
    with pytest.raises(ValueError, match="'max_first_day' ends with no window"):
        measured("crp", "max_first_day", **BASICS)


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="crp_median_baseline: statistic 'median'"):
        measured("crp", "median_baseline", **BASICS)


def test_a_sign_for_a_column_that_is_not_declared_is_refused():
    with pytest.raises(ValueError, match=r"crp: sign for columns \['max_baseline'\]"):
        measured("crp", "last_baseline", rising=("max_baseline",), **BASICS)


def test_only_values_in_the_unit_of_the_analyte_are_on_a_log_scale():
    last, slope = measured("crp", "last_baseline", "slope_since_dose", log_scale=True, **BASICS)
    assert last.log_scale
    assert not slope.log_scale


def test_needs_without_a_derivation_are_refused():
    with pytest.raises(ValueError, match="x: needs without a derivation"):
        Feature(
            name="x", analyte="crp", window="baseline", statistic="last", unit="mg/L", meaning="m", source="s",
            theme="t", needs=measured("crp", "last_baseline", **BASICS)[0].requests,
        )  # fmt: skip
