"""The analytes that crsrisk knows: names, canonical units, limits and codes, read from `data/analytes.csv`.

A new analyte or code is a new row there, with a source. Only codes whose name was seen enter: a code that
merely exists is not mapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from crsrisk.data_files import listed, number, rows
from crsrisk.errors import UnknownVariableError

KINDS = ("vital", "chemistry", "hematology", "coagulation", "cytokine", "clinical", "intervention")
LOINC_SYSTEMS = frozenset({"http://loinc.org", "urn:oid:2.16.840.1.113883.6.1", "loinc"})
JLAC10_SYSTEMS = frozenset(
    {
        "http://medis.or.jp/CodeSystem/master-JLAC10-17digits",
        "http://jpfhir.jp/fhir/clins/CodeSystem/JLAC10/JP_CLINS_ObsLabResult_CoreLabo_CS",
        "urn:oid:1.2.392.200119.4.504",
        "urn:oid:1.2.392.200119.4.1005",
        "jlac10",
    }
)
OMOP_SYSTEMS = frozenset({"omop"})
# JLAC10 material, characters 10 to 12: whole blood, plasma, serum; 000 where the code has none (vital signs).
# Urine (001) and every other material is another analyte.
JLAC10_MATERIALS = frozenset({"000", "019", "022", "023"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyte:
    """One quantity that an event or a course column may carry.

    `hard_low` and `hard_high` reject a value as impossible; the plausible limits only flag it. Limits and
    values are in `unit`. `jlac10` holds 5-character prefixes; `2A990/52` means that prefix with result id 52,
    since some panels share one prefix.
    """

    key: str
    name_en: str
    name_ja: str
    kind: str
    unit: str
    hard_low: float | None
    hard_high: float | None
    plausible_low: float | None
    plausible_high: float | None
    loinc: tuple[str, ...]
    jlac10: tuple[str, ...]
    omop: tuple[int, ...]
    source: str


@cache
def analytes() -> Mapping[str, Analyte]:
    """All analytes by key, in the order of the file."""
    found = {
        row["key"]: Analyte(
            key=row["key"],
            name_en=row["name_en"],
            name_ja=row["name_ja"],
            kind=row["kind"],
            unit=row["unit"],
            hard_low=number(row["hard_low"]),
            hard_high=number(row["hard_high"]),
            plausible_low=number(row["plausible_low"]),
            plausible_high=number(row["plausible_high"]),
            loinc=listed(row["loinc"]),
            jlac10=listed(row["jlac10"]),
            omop=tuple(int(code) for code in listed(row["omop"])),
            source=row["source"],
        )
        for row in rows("analytes.csv")
    }
    return MappingProxyType(found)


def analyte(key: str) -> Analyte:
    """The analyte called `key`.

    Raises:
        UnknownVariableError: no such analyte.
    """
    found = analytes().get(key)
    if found is None:
        raise UnknownVariableError(
            f"variable {key[:40]!r} is not in the analyte catalogue ({len(analytes())} keys such as 'crp'); "
            "add a row to crsrisk/data/analytes.csv or leave it unused"
        )
    return found


@cache
def _by_code() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    loinc: dict[str, str] = {}
    jlac10: dict[str, str] = {}
    omop: dict[str, str] = {}
    for found in analytes().values():
        loinc.update(dict.fromkeys(found.loinc, found.key))
        jlac10.update(dict.fromkeys(found.jlac10, found.key))
        omop.update({str(code): found.key for code in found.omop})
    return loinc, jlac10, omop


def _analyte_for_jlac10(code: str) -> str | None:
    known = _by_code()[1]
    if len(code) not in (5, 15, 17):
        return None
    if len(code) > 5 and code[9:12] not in JLAC10_MATERIALS:
        return None
    exact = known.get(code[:5])
    if exact is not None:
        return exact
    return known.get(f"{code[:5]}/{code[15:17]}") if len(code) == 17 else None


def analyte_for_code(system: str, code: str) -> str | None:
    """The key of the analyte that a code stands for, or None when the code is not verified.

    Args:
        system: a LOINC, JLAC10 or OMOP system: FHIR uri, oid, or `loinc`, `jlac10`, `omop` in any case.
        code: the code. JLAC10 is matched on its first 5 characters, its material and, in panels, the result
        id.

    >>> analyte_for_code("http://loinc.org", "1988-5")
    'crp'
    >>> analyte_for_code("urn:oid:1.2.392.200119.4.504", "3C015000002327101")
    'creatinine'
    """
    loinc, _, omop = _by_code()
    name = system.strip()
    name = name if ":" in name else name.lower()
    code = code.strip()
    if name in LOINC_SYSTEMS:
        return loinc.get(code)
    if name in JLAC10_SYSTEMS:
        return _analyte_for_jlac10(code)
    if name in OMOP_SYSTEMS:
        return omop.get(code)
    return None
