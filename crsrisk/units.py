"""Units: every accepted spelling of every analyte stands in `data/units.csv`; nothing else is accepted.

No general unit parser is used: the libraries read `K/uL` as kelvin per microlitre, take D-dimer units of two
kinds for one, and refuse what hospitals write. A unit that is missing or not listed stops the value; it is
never guessed.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from crsrisk.analytes import analyte
from crsrisk.data_files import number, rows
from crsrisk.errors import UnitError

DIMENSIONLESS = frozenset({"1", "{bool}", "{score}", "{count}", "{INR}"})
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_NUMBER = re.compile(
    r"(?P<comparator><=|>=|<|>)?\s*"
    r"(?P<digits>[+-]?(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|[+-]?\.[0-9]+)"
    r"(?P<exponent>[eE][+-]?[0-9]{1,3})?"
)
# Full-width forms only: the wider NFKC would read a superscript as a digit and 10² as 102.
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | str.maketrans(
    {"\u3000": " ", "\u2212": "-", "≦": "<=", "≤": "<=", "≧": ">=", "≥": ">="}
)
_ACCEPTED_NUMBERS = "a finite number such as 12.5, 1,200, <0.5 or >1000"


@cache
def normalise_unit(unit: str) -> str:
    """A unit's spelling without differences of typing: full width, kinds of mu, superscripts and spaces.

    Case stays as it is: `g/L` and `G/L` are different units.

    >>> normalise_unit("ｍｇ／ｄＬ"), normalise_unit("10⁹ / L")
    ('mg/dL', '10^9/L')
    """
    if unit.isascii():
        return "".join(unit.split())
    with_powers = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run.group().translate(_SUPERSCRIPTS), unit)
    return "".join(unicodedata.normalize("NFKC", with_powers).split())


@cache
def _number(cell: str) -> float | None:
    return number(cell)


@cache
def _rows() -> tuple[dict[str, str], ...]:
    return tuple(rows("units.csv"))


@cache
def _table() -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Analyte -> normalised spelling -> (scale, shift)."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for row in _rows():
        scale, shift = _number(row["scale"]), _number(row["shift"])
        if not scale or shift is None:
            raise ValueError(f"units.csv: {row['analyte']} in {row['spelling']!r} has no scale or no shift")
        found.setdefault(row["analyte"], {})[normalise_unit(row["spelling"])] = (scale, shift)
    return MappingProxyType(found)


@cache
def accepted_units(analyte_key: str) -> tuple[str, ...]:
    """The spellings of units that are accepted for an analyte, the canonical one first."""
    canonical = analyte(analyte_key).unit
    listed = [row["spelling"] for row in _rows() if row["analyte"] == analyte_key]
    return (canonical, *(spelling for spelling in listed if spelling != canonical))


def canonical_unit_name(analyte_key: str) -> str:
    """The unit (UCUM) in which crsrisk keeps an analyte."""
    return analyte(analyte_key).unit


def needs_unit(analyte_key: str) -> bool:
    """Whether a value of this analyte must come with a unit; flags, counts, scores and ratios need none."""
    return analyte(analyte_key).unit not in DIMENSIONLESS


def factor(analyte_key: str, unit: str | None) -> tuple[float, float] | None:
    """(scale, shift) with canonical = value * scale + shift, or None when the unit is not accepted.

    A missing unit (None or empty) is (1, 0) for flags, counts and scores and None for all others.
    """
    if unit is None or not unit.strip():
        known = analyte_key in _table() and not needs_unit(analyte_key)
        return (1.0, 0.0) if known else None
    return _table().get(analyte_key, {}).get(normalise_unit(unit))


def convert(value: float, scale: float, shift: float) -> float:
    """`value * scale + shift` to nine decimals, so that 100.4 degF is 38 Cel and not a hair below.

    The same steps on a numpy array, `numpy.rint((values * scale + shift) * 1e9) / 1e9`, give the same bits.
    """
    if scale == 1.0 and shift == 0.0:
        return value
    return float(round((value * scale + shift) * 1e9)) / 1e9


def to_canonical(analyte_key: str, value: float, unit: str | None) -> float:
    """A value of an analyte in its canonical unit.

    Args:
        analyte_key: key of the analyte catalogue.
        value: the number as sent, finite.
        unit: its unit as sent; None or empty only for flags, counts, scores and ratios.

    Raises:
        UnitError: the unit is missing or not accepted for this analyte, or the value is not finite.
        UnknownVariableError: no such analyte.

    >>> to_canonical("crp", 8.2, "mg/dL")
    82.0
    """
    found = factor(analyte_key, unit)
    if found is None:
        raise UnitError(_unit_message(analyte_key, unit))
    if not math.isfinite(value):
        raise UnitError(f"{analyte_key}: the value is not a finite number; send {_ACCEPTED_NUMBERS}")
    return convert(value, *found)


def _unit_message(analyte_key: str, unit: str | None) -> str:
    spellings = accepted_units(analyte_key)
    some = ", ".join(spellings[:8]) + (f" and {len(spellings) - 8} more" if len(spellings) > 8 else "")
    came = "no unit" if unit is None or not unit.strip() else f"unit {unit.strip()[:40]!r}"
    return f"{analyte_key}: {came}; accepted: {some}; send one of these, the value is not used"


def parse_number(text: str | float | int) -> tuple[float, str]:
    """A laboratory's number and its comparator: `"<0.5"` gives `(0.5, "<")`, `"1,200"` gives `(1200.0, "")`.

    Full-width characters count as the usual ones; `<=` gives `"<"` and `>=` gives `">"`, since a reporting
    limit is meant either way.

    Raises:
        UnitError: anything else, among it booleans, empty text, `nan`, infinities and ranges. The message
            never repeats what came.
    """
    if isinstance(text, bool) or not isinstance(text, str | float | int):
        raise UnitError(f"the value is a {type(text).__name__}, not a number; send {_ACCEPTED_NUMBERS}")
    if not isinstance(text, str):
        return _finite(text), ""
    match = _NUMBER.fullmatch(text.translate(_PLAIN).strip())
    if match is None:
        raise UnitError(f"the value is not a number; send {_ACCEPTED_NUMBERS}")
    digits = match["digits"].replace(",", "") + (match["exponent"] or "")
    return _finite(float(digits)), (match["comparator"] or "")[:1]


def _finite(value: float | int) -> float:
    try:
        number_ = float(value)
    except OverflowError:
        number_ = math.inf
    if not math.isfinite(number_):
        raise UnitError(f"the value is not finite; send {_ACCEPTED_NUMBERS}")
    return number_
