"""Elements of FHIR R4 as text; every one may be absent or of the wrong type, since real feeds break profiles."""

from collections.abc import Callable, Mapping
from decimal import Decimal, DivisionByZero, InvalidOperation, localcontext
from functools import lru_cache
from typing import Any

from crsrisk.readers.codes import meaning
from crsrisk.readers.fhir_times import RefusedError
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.site_map import SiteMap
from crsrisk.units import factor

BAD_RECORD = "BAD_RECORD: an element of another type; accepted: the types of FHIR R4"
LONG_VALUE = "NOT_SUPPORTED: a value of more than 256 characters; accepted: numbers and short text"
NOT_A_RESULT = (
    "NOT_SUPPORTED: a value that is no single result; accepted: Quantity, CodeableConcept, string, integer, "
    "boolean"
)
TWO_UNITS = "BAD_UNIT: unit and UCUM code name different units; accepted: one unit"
BAD_RATIO = "BAD_NUMBER: a ratio that is no number; accepted: numerator and denominator with a value above 0"

UCUM_SYSTEMS = frozenset(
    {"http://unitsofmeasure.org", "http://unitsofmeasure.org/", "urn:oid:2.16.840.1.113883.6.8"}
)
LONGEST_VALUE = 256
_KEPT = 65_536

Object = Mapping[str, Any]
UnitOf = Callable[[str, Any, Any, Any], str]


def text_of(value: object) -> str:
    """Text without blanks around it; '' for everything else."""
    return value.strip() if isinstance(value, str) else ""


def object_of(value: object) -> Object:
    """An object, an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Object]:
    """The objects of an array; those of the wrong type are left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def coding_text(system: str, code: str) -> str:
    """One coding as records carry it; a version behind the system is left out."""
    system = system.partition("|")[0].strip().replace(CODE_SEPARATOR, "")
    return f"{system}|{code.strip().replace(CODE_SEPARATOR, '')}"


def concept_codes(concept: object) -> str:
    """The codings of a CodeableConcept as records carry them; its text when there is none; '' without both."""
    if type(concept) is not dict:
        return ""
    codings = concept.get("coding")
    if type(codings) is list:
        pairs = []
        for one in codings:
            if type(one) is dict:
                code = one.get("code")
                if type(code) is str and code:
                    system = one.get("system")
                    pairs.append((system, code) if type(system) is str else ("", code))
        if pairs:
            return _joined(tuple(pairs))
    text = text_of(concept.get("text"))
    return coding_text("", text) if text and len(text) <= LONGEST_VALUE else ""


@lru_cache(maxsize=_KEPT)
def _joined(pairs: tuple[tuple[str, str], ...]) -> str:
    return CODE_SEPARATOR.join(coding_text(system, code) for system, code in pairs)


def unit_reader(site: SiteMap) -> UnitOf:
    """A function that tells the unit of a quantity from codes of the variable, `unit`, `system` and `code`.

    A code of UCUM counts, the printed unit only without one. When both are units of the variable and differ, there
    is no telling which is meant.
    """

    @lru_cache(maxsize=_KEPT)
    def agreed(codes: str, unit: str, code: str) -> str:
        meant = meaning(codes, site)
        if meant is not None and meant.kind == "variable":
            printed, coded = factor(meant.target, unit), factor(meant.target, code)
            if printed is not None and coded is not None and printed != coded:
                return ""
        return code

    def unit_of(codes: str, unit: object, system: object, code: object) -> str:
        unit, code = text_of(unit), text_of(code)
        if not code or not unit or unit == code:
            return code or unit
        if system not in UCUM_SYSTEMS:
            return unit
        found = agreed(codes, unit, code)
        if not found:
            raise RefusedError(TWO_UNITS)
        return found

    return unit_of


def plain_value(value: object) -> str:
    """A primitive value as text.

    Raises:
        RefusedError: an object, an array, or a long text.
    """
    if type(value) is str:
        if len(value) > LONGEST_VALUE:
            raise RefusedError(LONG_VALUE)
        return value.strip()
    if isinstance(value, bool):
        return "1" if value else "0"
    raise RefusedError(BAD_RECORD)


def quantity(value: object, codes: str, unit_of: UnitOf) -> tuple[str, str, str] | None:
    """Value, unit and comparator of a Quantity as reported; None when it holds no value.

    Raises:
        RefusedError: an element of the wrong type, or two different units.
    """
    if type(value) is not dict:
        raise RefusedError(BAD_RECORD)
    number = value.get("value")
    if number is None:
        return None
    unit, code = value.get("unit"), value.get("code")
    if type(unit) is not str or (code is not None and code != unit):
        unit = unit_of(codes, unit, value.get("system"), code)
    return plain_value(number), unit.strip(), text_of(value.get("comparator"))


def ratio(value: object, unit_of: UnitOf) -> tuple[str, str] | None:
    """The quotient of a Ratio and its unit, such as 5 and 'ug/min'; None when it is empty.

    Raises:
        RefusedError: a part that is no number, or a denominator that is not above 0.
    """
    parts = object_of(value)
    above = quantity(parts.get("numerator", {}), "", unit_of)
    below = quantity(parts.get("denominator", {}), "", unit_of) or ("1", "", "")
    if above is None:
        return None
    try:
        with localcontext() as context:
            context.traps[InvalidOperation] = True
            number, per = Decimal(above[0]), Decimal(below[0])
            if above[2] or below[2] or not number.is_finite() or not per.is_finite() or per <= 0:
                raise RefusedError(BAD_RATIO)
            result = above[0] if per == 1 else str(number / per)
    except (InvalidOperation, DivisionByZero, ArithmeticError):
        raise RefusedError(BAD_RATIO) from None
    return result, f"{above[1]}/{below[1]}" if below[1] else above[1]


def answer(concept: object) -> tuple[str, str]:
    """A CodeableConcept that answers: its words, and its code for the site map.

    A code is never taken for a number: codes of SNOMED CT look like one.
    """
    found = object_of(concept)
    codings = objects_of(found.get("coding"))
    code = next((text_of(one.get("code")) for one in codings if text_of(one.get("code"))), "")
    words = text_of(found.get("text")) or next(
        (text_of(one.get("display")) for one in codings if text_of(one.get("display"))), ""
    )
    if len(words) > LONGEST_VALUE or len(code) > LONGEST_VALUE:
        raise RefusedError(LONG_VALUE)
    return words or (f"code {code}" if code else ""), code
