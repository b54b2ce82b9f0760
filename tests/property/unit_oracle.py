"""An oracle of units beside crsrisk/data/units.csv: what a unit string means for an analyte, worked out from scratch.

Plain units go through ucumvert and pint. What these can't read is spelled out here: counts of cells, enzyme and
arbitrary units, molar masses from the formula, capitals, and words of hospitals. Nothing is taken from the table.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from functools import cache
from typing import Any

from crsrisk.analytes import analyte


def pairs(text: str) -> dict[str, str]:
    """Words and what they stand for, written WORD=MEANING."""
    return dict(pair.split("=") for pair in text.split())


# Standard atomic weights (IUPAC, abridged).
WEIGHT = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Na": 22.990, "Mg": 24.305, "P": 30.974, "K": 39.098,
    "Ca": 40.078,
}  # fmt: skip


def mass_of(**atoms: int) -> float:
    """Grams per mole."""
    return sum(WEIGHT[atom] * count for atom, count in atoms.items())


GRAMS_PER_MOLE = {
    "creatinine": mass_of(C=4, H=7, N=3, O=1),
    "bun": mass_of(N=2),  # urea counted by its nitrogen
    "bilirubin_total": mass_of(C=33, H=36, N=4, O=6),
    "uric_acid": mass_of(C=5, H=4, N=4, O=3),
    "glucose": mass_of(C=6, H=12, O=6),
    "calcium_total": WEIGHT["Ca"], "calcium_ionized": WEIGHT["Ca"], "magnesium": WEIGHT["Mg"],
    "phosphate": WEIGHT["P"],
    "triglycerides": mass_of(C=57, H=104, O=6),  # counted as triolein
    "lactate": mass_of(C=3, H=6, O=3),
    "hemoglobin": 64_458 / 4,  # the monomer: a chain with its haem
    "ferritin": 445_000.0, "bnp": 3_464.0, "nt_probnp": 8_457.0,
    "sodium": WEIGHT["Na"], "potassium": WEIGHT["K"],
}  # fmt: skip
CHARGE = {"sodium": 1, "potassium": 1, "calcium_total": 2, "calcium_ionized": 2, "magnesium": 2}
UREA_PER_NITROGEN = mass_of(C=1, H=4, N=2, O=1) / mass_of(N=2)
ENZYMES = {"ldh", "ast", "alt"}
CELSIUS = {"Cel", "cel", "度", "°C", "degC", "DegC", "C", "Celsius", "celsius"}
FAHRENHEIT = {"[degF]", "°F", "degF", "DegF", "F", "Fahrenheit", "fahrenheit"}
WORDS_FOR_ONE = {
    "{score}": {"{score}", "1", "score", "points", "点"},
    "{count}": {"{count}", "1", "count"},
    "{bool}": {"{bool}", "1", "bool"},
    "{INR}": {"{INR}", "1", "INR", "ratio"},
    "1": {"1"},
}
FRACTIONS = {"1", "{fraction}", "fraction"}
TEN_TO = re.compile(r"(?:[xX×.*]?10(?:\*\*|\*|\^|[eE])|E)(\d+)(?:\{?cells\}?)?|x?10\((\d+)\)")
MULTIPLES = {
    **dict.fromkeys(("", "1", "{cells}", "cells", "個"), 1.0),
    **dict.fromkeys(("K", "k", "千", "thou", "Thou", "Thousand", "thousand"), 1e3),
    **dict.fromkeys(("G", "Giga"), 1e9),
    **dict.fromkeys(("万", "×万"), 1e4),
}
# UCUM's case-insensitive form for units typed in capitals throughout; mega and giga are MA and GA there.
CAPITALS = pairs(
    """
    G=g KG=kg MG=mg UG=ug NG=ng PG=pg FG=fg L=L DL=dL ML=mL UL=uL MOL=mol MMOL=mmol UMOL=umol NMOL=nmol
    PMOL=pmol MEQ=meq EQ=eq MIN=min S=s SEC=s H=h HR=h M=m CM=cm MM=mm MM3=mm3 MM^3=mm3 CM3=cm3 MM2=mm2
    CM2=cm2 KPA=kPa MMHG=mm[Hg] MM[HG]=mm[Hg] TORR=torr U=U IU=U [IU]=U UKAT=ukat NKAT=nkat KAT=kat %=%
    K=K A=a LB=[lb_av] [LB_AV]=[lb_av] [IN_I]=[in_i] HZ=Hz
"""
)
SPOKEN = pairs(
    """
    mcg=ug mcL=uL mcl=uL mEq=meq IU=U iu=U [IU]=U u=U units=U 単位=U [USP'U]=U k[IU]=kU hr=h 分=min 時=h
    時間=h sec=s seconds=s 秒=s mmHg=mm[Hg] mmhg=mm[Hg] MMHG=mm[Hg] Torr=torr beats=1 {beats}=1 breaths=1
    {breaths}=1 回=1 拍=1 y=a yr=a yrs=a year=a years=a 歳=a 才=a month=mo months=mo か月=mo ヶ月=mo lb=[lb_av]
    lbs=[lb_av] in=[in_i] inch=[in_i] inches=[in_i] Kg=kg cc=cm3 mm^2=mm2 cm^2=cm2 cm^3=cm3 mm^3=mm3
    ul=uL dl=dL ml=mL l=L nl=nL
    cumm=mm3 insp=1 kgs=kg hour=h [iU]=U k[iU]=kU gm=g mm(hg)=mm[Hg]
"""
)


@cache
def registry() -> Any:
    """Pint with the units of UCUM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ucumvert

        return ucumvert.PintUcumRegistry()


def typed(text: str) -> str:
    """A unit without differences of typing: width, kinds of mu, superscripts, blanks."""
    superscripts = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda run: "^" + unicodedata.normalize("NFKC", run.group()), text)
    return "".join(unicodedata.normalize("NFKC", superscripts).replace("μ", "u").split())


@cache
def meaning(key: str, text: str) -> tuple[float, float] | None:
    """(scale, shift) to the canonical unit of an analyte, None when the string is no unit of it."""
    unit, canonical = typed(text), analyte(key).unit
    if canonical == "Cel":
        return _temperature(unit)
    if canonical in WORDS_FOR_ONE:
        return (1.0, 0.0) if unit in WORDS_FOR_ONE[canonical] else None
    if canonical == "%" and unit in FRACTIONS and key != "pt_activity":
        return 100.0, 0.0
    for reading in (_counted, _rated, _annotated):
        scale = reading(key, unit, canonical)
        if scale is not None:
            return scale, 0.0
    return None


def _temperature(unit: str) -> tuple[float, float] | None:
    if unit in CELSIUS:
        return 1.0, 0.0
    if unit in FAHRENHEIT:
        return 5 / 9, -160 / 9
    return (1.0, -273.15) if unit == "K" else None


def _counted(key: str, unit: str, canonical: str) -> float | None:
    """Cells, cells per volume, cells per kilogram."""
    if not canonical.startswith("10*"):
        return None
    factor, _, below = canonical.partition("/")
    own = 10.0 ** int(factor.removeprefix("10*"))
    many, slash, per = unit.partition("/")
    ten = TEN_TO.fullmatch(many)
    power = int(ten[1] or ten[2]) if ten else 0
    count = 10.0**power if ten and power < 20 else MULTIPLES.get(many)
    if count is None or (below == "" and (slash or many == "")):
        return None
    if (
        ten is None
        and many in ("K", "k", "G", "Giga", "thou", "Thou", "Thousand", "thousand", "千", "万", "個")
        and not below.endswith("L")
    ):
        return None
    if ten is not None and many.startswith("E") and not below.endswith("L"):
        return None
    if below == "":
        return count / own
    if below == "kg":
        return count / own if per == "kg" else None
    volume = _ratio("uL" if per == "UL" else _plain(per), below)
    return None if volume is None else count / own / volume


def _rated(key: str, unit: str, canonical: str) -> float | None:
    """Infusion rates by weight, gamma, and beats or breaths by minute."""
    if canonical == "ug/kg/min" and unit in ("γ", "gamma"):
        return 1.0
    if (key in ("heart_rate", "resp_rate") and unit in ("bpm", "BPM")) or (key, unit) == (
        "heart_rate",
        "(hb)",
    ):
        return 1.0
    if key == "o2_flow" and unit in ("LPM", "lpm"):
        return 1.0
    return None


def _annotated(key: str, unit: str, canonical: str) -> float | None:
    """Everything else; D-dimer only in fibrinogen equivalents, urea nitrogen also as urea."""
    if key == "d_dimer":
        match = re.fullmatch(r"(.+?)(?:\{FEU\}|\(FEU\)|FEU)(/m?L)?", unit)
        rest = "" if match is None else match[1] + (match[2] or "")
        return _scale(key, rest, canonical.removesuffix("{FEU}")) if rest else None
    if key == "bun":
        match = re.fullmatch(r"(.+?)(?:\{urea\}|urea)", unit)
        if match is not None:
            scale = _scale(key, match[1], canonical) if "mol" not in match[1] else None
            return None if scale is None else scale / UREA_PER_NITROGEN
    return _scale(key, unit, canonical)


def _scale(key: str, unit: str, canonical: str) -> float | None:
    for plain in _readings(unit):
        found = _by_substance(key, plain, _plain(canonical))
        if found is not None:
            return found
    return None


def _readings(unit: str) -> list[str]:
    """UCUM for a string: capitals throughout are capitals of UCUM, anything else is read with its case."""
    letters = [letter for letter in unit if letter.isalpha() and letter.isascii()]
    if letters and all(letter.isupper() for letter in letters) and "USP" not in unit:
        parts = unit.split("/")
        if all(part in CAPITALS or part == "" for part in parts):
            return ["/".join(CAPITALS.get(part, part) for part in parts)]
    return [_plain(unit)]


def _plain(unit: str) -> str:
    unit = re.sub(r"^(m?)g%$", r"\1g/dL", unit)
    return "/".join(SPOKEN.get(part, part) for part in unit.split("/"))


def _by_substance(key: str, unit: str, canonical: str) -> float | None:
    equivalents = "eq" in unit  # which pint takes for moles
    found = None if equivalents else _ratio(unit, canonical)
    if found is not None:
        return found
    if key in ENZYMES and "kat" in unit:  # 1 U is 1 umol/min
        katals = _ratio(unit, "kat/L")
        return None if katals is None else katals * 6e7
    if equivalents and key not in CHARGE:
        return None
    if equivalents:
        moles = _ratio(unit.replace("eq", "mol"), "mol/L")
        return None if moles is None else _from_moles(key, moles / CHARGE[key], canonical)
    if key in GRAMS_PER_MOLE:
        moles = _ratio(unit, "mol/L")
        if moles is not None:
            return _from_moles(key, moles, canonical)
        grams = _ratio(unit, "g/L")
        per_litre = _ratio(canonical, "mol/L")
        if grams is not None and per_litre is not None:
            return grams / GRAMS_PER_MOLE[key] / per_litre
    return None


def _from_moles(key: str, moles: float, canonical: str) -> float | None:
    """mol/L in the canonical unit, of moles or of mass."""
    own = _ratio(canonical, "mol/L")
    if own is not None:
        return moles / own
    grams = _ratio(canonical, "g/L")
    return None if grams is None else moles * GRAMS_PER_MOLE[key] / grams


@cache
def _ratio(unit: str, other: str) -> float | None:
    """How many of one unit of UCUM another holds; None when they do not measure the same."""
    arbitrary = [one.replace("U", "{U}", 1) if re.match(r"k?U(/|$)", one) else one for one in (unit, other)]
    if ("{U}" in arbitrary[0]) != ("{U}" in arbitrary[1]):
        return None
    ucum = registry()
    try:
        one, two = (ucum.from_ucum(_named(part)) for part in (unit, other))
        return float((1.0 * one).to(two.units).magnitude / two.magnitude)
    except Exception:  # whatever the parsers raise: the string is no unit
        return None


def _named(unit: str) -> str:
    """UCUM that ucumvert knows: torr is no unit there, an empty numerator is 1."""
    unit = re.sub(r"^torr$", "mm[Hg]", unit)
    return unit if not unit.startswith("/") else f"1{unit}"
