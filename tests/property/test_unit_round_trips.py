"""Units there and back, for every spelling of every analyte."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crsrisk.analytes import analytes
from crsrisk.errors import UnitError
from crsrisk.units import accepted_units, factor, parse_number, to_canonical

SPELLINGS = [(key, unit) for key in analytes() for unit in accepted_units(key)]
values = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False)


@given(st.sampled_from(SPELLINGS), values)
def test_a_value_comes_back_from_every_unit(spelling, value):
    analyte, unit = spelling
    scale, shift = factor(analyte, unit)
    back = (to_canonical(analyte, value, unit) - shift) / scale
    assert back == pytest.approx(value, rel=1e-9, abs=2e-9 / scale)


@given(st.sampled_from(SPELLINGS), values, values)
def test_a_conversion_keeps_the_order(spelling, one, other):
    analyte, unit = spelling
    low, high = sorted((one, other))
    assert to_canonical(analyte, low, unit) <= to_canonical(analyte, high, unit)


@pytest.mark.parametrize(
    "key", sorted(key for key, found in analytes().items() if found.hard_high is not None)
)
def test_limits_convert_exactly_from_every_unit(key):
    found = analytes()[key]
    for unit in accepted_units(key):
        scale, shift = factor(key, unit)
        for limit in (found.hard_low, found.hard_high):
            there = (limit - shift) / scale
            assert to_canonical(key, there, unit) == pytest.approx(limit, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("key", sorted(analytes()))
def test_every_spelling_survives_full_width_typing(key):
    for unit in accepted_units(key):
        wide = "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in unit)
        assert factor(key, wide) == factor(key, unit)


@given(st.text(max_size=12))
def test_no_text_is_ever_read_as_anything_but_a_finite_number(text):
    try:
        number, comparator = parse_number(text)
    except UnitError:
        return
    assert math.isfinite(number)
    assert comparator in {"", "<", ">"}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_out_is_read_back(value):
    assert parse_number(repr(value)) == (value, "")


@given(st.integers(min_value=0, max_value=10**12))
def test_thousands_separators_do_not_change_a_number(value):
    assert parse_number(f"{value:,}") == (float(value), "")
