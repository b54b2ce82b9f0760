"""The rules for one reported value: is it a number, is its unit known for the variable, is it possible.

One rule per variable and unit serves whole tables and the records of a single patient alike.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf, nan

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.errors import UnitError
from crsrisk.problems import named
from crsrisk.units import accepted_units, canonical_unit_name, factor, parse_number

EMPTY_VALUE = "EMPTY_VALUE: no value"
BAD_NUMBER = "BAD_NUMBER: not a number; accepted: 12.5, 1,200, <0.5"
BAD_COMPARATOR = (
    "BAD_COMPARATOR: accepted: < or > (<= and >= are read as these), the same in value and comparator"
)
MISSING_VARIABLE = "MISSING_VARIABLE: no variable"
FUTURE = "FUTURE: later than as_of"
NOT_A_PLAIN_NUMBER = (
    "BAD_NUMBER: not a plain number in the canonical unit; report limits such as <0.5 as events"
)

_COLUMN_TO_BLAME = {
    "MISSING_VARIABLE": "variable",
    "MISSING_UNIT": "unit",
    "UNKNOWN_UNIT": "unit",
    "BAD_COMPARATOR": "comparator",
    "FUTURE": "time",
    "BAD_TIME": "time",
    "UNKNOWN_CODE": "code",
}

PLAIN_NUMBER = r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"
COMPARATORS = {"": "", "<": "<", ">": ">", "<=": "<", ">=": ">"}
SYMBOLS = np.array(["", "<", ">"], dtype=object)
_CODE = {"": 0, "<": 1, ">": 2}


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with values of a variable in a unit: canonical = value * scale + shift, from low to high."""

    scale: float
    shift: float
    low: float
    high: float
    impossible: str  # reason for a value outside low to high
    refusal: str  # reason why no value in this unit is used, '' when it is


@lru_cache(maxsize=8192)
def rule_for(variable: str, unit: str) -> Rule:
    """The rule of a known variable (or none: '') in a unit ('' when none was given)."""
    if not variable:
        return Rule(nan, nan, -inf, inf, "", MISSING_VARIABLE)
    known = analytes()[variable]
    low = -inf if known.hard_low is None else known.hard_low
    high = inf if known.hard_high is None else known.hard_high
    impossible = f"IMPOSSIBLE_VALUE: outside {low:g} to {high:g} {canonical_unit_name(variable)}"
    conversion = factor(variable, unit or None)
    if conversion is None:
        accepted = ", ".join(accepted_units(variable)[:8])
        came = f"UNKNOWN_UNIT: {named(unit)}" if unit else "MISSING_UNIT: no unit"
        return Rule(nan, nan, low, high, impossible, f"{came}; accepted: {accepted}")
    return Rule(conversion[0], conversion[1], low, high, impossible, "")


@dataclass(frozen=True)
class Numbers:
    """Cells read as numbers; shape (n,) each."""

    values: NDArray[np.float64]  # nan when empty or not a number
    comparators: NDArray[np.int8]  # 0 none, 1 '<', 2 '>'
    empty: NDArray[np.bool_]
    bad: NDArray[np.bool_]


def parse_numbers(texts: pa.Array) -> Numbers:
    """Numbers of a text column; plain ones at once, each distinct other spelling by `units.parse_number`."""
    count = len(texts)
    values = np.full(count, nan)
    comparators = np.zeros(count, dtype=np.int8)
    plain = pc.match_substring_regex(texts, PLAIN_NUMBER)
    is_plain: NDArray[np.bool_] = plain.to_numpy(zero_copy_only=False)
    values[is_plain] = texts.filter(plain).cast(pa.float64()).to_numpy()
    empty: NDArray[np.bool_] = pc.equal(texts, "").to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~is_plain & ~empty)
    if others.size:
        spellings = texts.take(pa.array(others)).dictionary_encode()
        read = [number_or_none(text) for text in spellings.dictionary.to_pylist()]
        index = spellings.indices.to_numpy()
        values[others] = np.array([nan if pair is None else pair[0] for pair in read])[index]
        comparators[others] = np.array([0 if pair is None else pair[1] for pair in read], dtype=np.int8)[
            index
        ]
    bad = ~empty & ~np.isfinite(values)
    values[bad] = nan
    return Numbers(values, comparators, empty, bad)


def number_or_none(value: object) -> tuple[float, int] | None:
    """Number and comparator code (0 none, 1 '<', 2 '>') of one cell, None when it is not a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number, comparator = parse_number(value)
    except UnitError:
        return None
    code = _CODE.get(COMPARATORS.get(comparator, "?"))
    return None if code is None else (number, code)


def standardise(
    values: NDArray[np.float64], rule_of: NDArray[np.int64], rules: list[Rule]
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Values in canonical units, and per value why it is not used ('' when it is).

    Args:
        values: numbers as reported, shape (n,); must be finite where they are to be used.
        rule_of: place in `rules` of each value, shape (n,).
        rules: one per variable and unit.
    """
    reasons = np.full(len(values), "", dtype=object)
    if not len(values):
        return values, reasons
    scale, shift, low, high = np.array([(r.scale, r.shift, r.low, r.high) for r in rules]).T
    moved = (scale != 1.0) | (shift != 0.0)
    with np.errstate(over="ignore"):  # 1e308 becomes infinite and is then outside
        converted = np.rint((values * scale[rule_of] + shift[rule_of]) * 1e9) / 1e9  # as units.convert
    canonical = np.where(moved[rule_of], converted, values)
    outside = (canonical < low[rule_of]) | (canonical > high[rule_of]) | np.isinf(canonical)
    reasons[outside] = np.array([r.impossible for r in rules], dtype=object)[rule_of[outside]]
    refused = np.array([bool(r.refusal) for r in rules])[rule_of]
    reasons[refused] = np.array([r.refusal for r in rules], dtype=object)[rule_of[refused]]
    return canonical, reasons


def agree(written: NDArray[np.int8], column: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Comparator of each value from its text and its comparator column, and where the two contradict."""
    either = np.maximum(written, column)
    return either, (column < 0) | ((written > 0) & (column > 0) & (written != column))


def comparator_codes(texts: list[str]) -> NDArray[np.int8]:
    """Codes 0 none, 1 '<', 2 '>' of comparator cells, -1 for anything else."""
    return np.array([_CODE.get(COMPARATORS.get(text, "?"), -1) for text in texts], dtype=np.int8)


def reason_code(reason: str) -> str:
    """The code before the colon: MISSING_UNIT, UNKNOWN_UNIT, BAD_NUMBER, ..."""
    return reason.partition(":")[0]


def column_to_blame(reason: str) -> str:
    """The column of events that a reason speaks of."""
    return _COLUMN_TO_BLAME.get(reason_code(reason), "value")
