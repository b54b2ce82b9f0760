"""Fuzzed unit strings: no wrong unit is accepted, by an oracle that knows nothing of the table of units."""

from __future__ import annotations

import random

import pytest

from crsrisk.analytes import analytes
from crsrisk.errors import UnitError
from crsrisk.units import accepted_units, factor, needs_unit, parse_number, to_canonical
from tests.property.unit_oracle import CHARGE, GRAMS_PER_MOLE, meaning

STRINGS, SEED = 1_000, 20_261_101
WITH_UNITS = [key for key in analytes() if needs_unit(key)]
SUFFIXES = (
    "/hpf",
    "/HPF",
    "H",
    "(calc)",
    "{FEU}",
    "FEU",
    "?",
    ".",
    "/d",
    "/24h",
    "/kg",
    "/m2",
    "*",
    "x",
    "s",
)
SPELLED = (
    "K/uL", "x10^3/uL", "10*3/ul", "10^9/L", "万/µL", "MG/DL", "IU/L", "mg/L", "g/L", "G/L", "mmol/L",
    "/hpf", "%", "ng/mL", "µkat/L", "U/mL", "10*4/uL", "M/uL", "10*6/uL", "T/L", "mEq/L", "mg%", "gm/dL",
    "γ", "mg/kg", "ug/min",
)  # fmt: skip
PREFIXES = "munpkMGcdfhµ"


def agrees(key: str, accepted: tuple[float, float], oracle: tuple[float, float] | None) -> bool:
    """Whether a factor is that of the oracle: to a thousandth by molar masses, else to a hundred-thousandth."""
    if oracle is None:
        return False
    tolerance = 1e-3 if key in GRAMS_PER_MOLE or key in CHARGE else 1e-5
    scale = abs(accepted[0] / oracle[0] - 1)
    return scale <= tolerance and abs(accepted[1] - oracle[1]) <= 1e-9


def swapped(text: str, draw: random.Random, letters: str) -> str:
    """One letter of the text, if it is among these, replaced by another of them."""
    places = [place for place, letter in enumerate(text) if letter in letters]
    if not places:
        return text
    place = draw.choice(places)
    return text[:place] + draw.choice(letters) + text[place + 1 :]


def mutated(unit: str, draw: random.Random) -> str:
    """A unit with one slip of typing, or another prefix, power, denominator or rest."""
    place = draw.randrange(len(unit))
    return draw.choice([
        unit.upper,
        unit.lower,
        unit.swapcase,
        lambda: unit[:place] + unit[place].swapcase() + unit[place + 1 :],
        lambda: unit.replace("µ", "u").replace("u", draw.choice("µμum")),
        lambda: "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in unit),
        lambda: f" {unit[:place]} {unit[place:]}",
        lambda: unit + draw.choice(SUFFIXES),
        lambda: unit.replace("/", ""),
        lambda: unit.replace("/", " per "),
        lambda: unit[:place] + unit[place + 1 :],
        lambda: unit[:place] + unit[place] + unit[place:],
        lambda: swapped(unit, draw, PREFIXES),
        lambda: swapped(unit, draw, "mM"),
        lambda: swapped(unit, draw, "Ll"),
        lambda: swapped(unit, draw, "0123456789"),
        lambda: swapped(unit, draw, "*^eE"),
        lambda: draw.choice(PREFIXES) + unit,
        lambda: unit.replace("dL", "L") if "dL" in unit else unit.replace("L", "dL"),
        lambda: unit.replace("/L", "/mL") if "/L" in unit else unit.replace("/mL", "/L"),
    ])()  # fmt: skip


def fuzzed() -> list[tuple[str, str]]:
    """Analyte and unit string: mutations of its own spellings, of others', and units as hospitals write them."""
    draw = random.Random(SEED)
    found: dict[tuple[str, str], None] = {}
    while len(found) < STRINGS:
        key = draw.choice(WITH_UNITS)
        kind = draw.random()
        owner = key if kind < 0.7 else draw.choice(WITH_UNITS)
        text = draw.choice(SPELLED) if kind > 0.9 else draw.choice(accepted_units(owner))
        for _ in range(draw.choice((0, 1, 1, 1, 2)) if kind > 0.7 else draw.choice((1, 1, 2, 3))):
            text = mutated(text, draw) or text
        found[key, text] = None
    return list(found)


def test_no_wrong_unit_is_accepted_among_a_thousand_fuzzed_strings():
    accepted = {pair: given for pair in fuzzed() if (given := factor(*pair)) is not None}
    wrong = [(key, unit, given, meaning(key, unit)) for (key, unit), given in accepted.items()
             if not agrees(key, given, meaning(key, unit))]  # fmt: skip
    assert wrong == []
    own = {(key, spelling) for key in WITH_UNITS for spelling in accepted_units(key)}
    assert len(set(accepted) - own) >= 60  # strings that no row of the table spells so, and yet accepted
    assert STRINGS - len(accepted) >= 400


def test_a_string_that_means_another_unit_gives_its_factor_or_is_refused():
    other = [(key, unit) for key, unit in fuzzed() if (oracle := meaning(key, unit)) is not None
             and abs(oracle[0] - 1.0) > 1e-6]  # fmt: skip
    assert len(other) >= 60
    for key, unit in other:
        given = factor(key, unit)
        assert given is None or agrees(key, given, meaning(key, unit)), (key, unit)


@pytest.mark.parametrize("key", sorted(analytes()))
def test_every_accepted_spelling_means_what_the_oracle_works_out(key):
    wrong = [unit for unit in accepted_units(key) if not agrees(key, factor(key, unit), meaning(key, unit))]
    assert wrong == []


def test_the_oracle_knows_right_from_wrong():
    assert meaning("crp", "mg/dL") == (pytest.approx(10.0), 0.0)
    assert meaning("crp", "MG/DL") == (pytest.approx(10.0), 0.0)
    assert meaning("crp", "Mg/dL") == (pytest.approx(1e10), 0.0)
    assert meaning("platelets", "M/uL") is None
    assert meaning("platelets", "10*6/uL") == (pytest.approx(1e3), 0.0)
    assert meaning("wbc", "/hpf") is None
    assert meaning("albumin", "mg/L") == (pytest.approx(1e-4), 0.0)
    assert meaning("d_dimer", "ug/mL") is None
    assert meaning("creatinine", "umol/L")[0] == pytest.approx(1 / 88.4, rel=1e-3)
    assert meaning("calcium_ionized", "meq/L") == (pytest.approx(0.5), 0.0)


@pytest.mark.parametrize(
    ("key", "unit", "canonical_of_one"),
    [
        ("platelets", "K/uL", 1.0),
        ("platelets", "x10^3/uL", 1.0),
        ("wbc", "K/uL", 1.0),
        ("wbc", "x10^3/uL", 1.0),
        ("crp", "MG/DL", 10.0),
        ("creatinine", "MG/DL", 1.0),
        ("ldh", "IU/L", 1.0),
        ("ast", "IU/L", 1.0),
        ("albumin", "mg/L", None),  # ten thousand times less than albumin is: the unit of another test
        ("albumin", "MG/L", None),
        ("platelets", "", None),
        ("crp", "", None),
    ],
)
def test_the_units_of_bad_input_have_one_outcome_each(key, unit, canonical_of_one):
    if canonical_of_one is None:
        with pytest.raises(UnitError, match=f"{key}: (no unit|unit '.*'); accepted: "):
            to_canonical(key, 1.0, unit)
    else:
        assert to_canonical(key, 1.0, unit) == canonical_of_one


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,200", (1200.0, "")), ("5+", None), ("120/80", None), ("<0.5", (0.5, "<")), (">1000", (1000.0, ">"))],
)
def test_the_numbers_of_bad_input_have_one_outcome_each(text, number):
    if number is None:
        with pytest.raises(UnitError, match="the value is not a number"):
            parse_number(text)
    else:
        assert parse_number(text) == number
