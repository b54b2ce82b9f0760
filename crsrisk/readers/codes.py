"""What a code stands for: the site map first, then the catalogues `codes.csv` and `analytes.csv`.

A code that neither lists stands for nothing; its record is kept as an event that is not used.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from crsrisk.analytes import analyte_for_code, analytes
from crsrisk.data_files import rows
from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.site_map import SiteMap
from crsrisk.therapies import therapies
from crsrisk.units import accepted_units, factor

OWN = "urn:crsrisk"
"""System of our own names: 'urn:crsrisk|crp', 'urn:crsrisk|therapy:tec_MM', 'urn:crsrisk|birth_date'."""
ICD10 = frozenset({"http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10-cm"})
PREFIXES = ("product", "therapy", "disease", "grade", "peak_grade", "onset", "severe")
_TARGETS = "ignore, device:VARIABLE=VALUE, or " + ", ".join(f"{prefix}:NAME" for prefix in PREFIXES)
PERSON_FACTS = ("sex", "birth_date", "site", "indication")


class Meaning(NamedTuple):
    """What a code stands for.

    kind: `variable`, `product`, `therapy`, `disease`, `person`, `ignore`, or about CRS by a grading system: `grade` (at
        a time), `peak_grade` (of the course), `onset` and `severe` (the time is that of the onset, of grade 3).
    target: analyte key, product, therapy key, token of a disease, grading system, or fact of a person.
    value: fixed value of the variable, such as resp_support 4 of a ventilator; '' when the record brings it.
    """

    kind: str
    target: str
    value: str = ""


CONTRADICTING = Meaning("contradicting", "")
"""Of codings that the catalogue takes for different things."""


def coding(system: str, code: str) -> str:
    """One coding as records carry it."""
    return f"{system}|{code}"


def codings(*pairs: tuple[str, str]) -> str:
    """Several codings as records carry them, the preferred one first."""
    return CODE_SEPARATOR.join(f"{system}|{code}" for system, code in pairs)


def meaning(codes: str, site: SiteMap) -> Meaning | None:
    """The meaning of a record: of the first coding that the site map knows, else the only one of the catalogue.

    Args:
        codes: as in `Record.codes`.
        site: the site map, whose codes are 'system|code', or 'code' alone for a code without a system.
    """
    parts = [part for part in codes.split(CODE_SEPARATOR) if part]
    for part in parts:
        stated = site.codes.get(part) or site.codes.get(part.removeprefix("|"))
        if stated is not None:
            return target_meaning(stated)
    found = dict.fromkeys(_catalogue_meaning(*part.split("|", 1)) if "|" in part else None for part in parts)
    known = [one for one in found if one is not None]
    return CONTRADICTING if len(known) > 1 else (known[0] if known else None)


def target_meaning(target: str) -> Meaning | None:
    """The meaning that a target of the site map or of our own system states; None when there is none such."""
    if target == "ignore":
        return Meaning("ignore", "")
    kind, colon, rest = target.partition(":")
    if colon and kind in PREFIXES:
        return Meaning(kind, rest)
    if colon and kind == "device":
        variable, _, value = rest.partition("=")
        return Meaning("variable", variable, value) if variable in analytes() else None
    if target in PERSON_FACTS:
        return Meaning("person", target)
    return Meaning("variable", target) if target in analytes() else None


def check_targets(site: SiteMap) -> None:
    """Refuse a site map that names what does not exist.

    Raises:
        CrsRiskError: targets or units that are not known, all in one message.
    """
    wrong = sorted({target for target in site.codes.values() if target_meaning(target) is None})
    problems = [f"[codes] target {named(target)}; accepted: an analyte key, {_TARGETS}" for target in wrong]
    for variable, unit in site.units.items():
        if variable not in analytes():
            problems.append(f"[units] {named(variable)} is no analyte key")
        elif factor(variable, unit) is None:
            accepted = ", ".join(accepted_units(variable)[:8])
            problems.append(f"[units] {variable} = {named(unit)}; accepted: {accepted}")
    known = {**therapies(), **site.registered}
    keys = [("therapies", key) for key in site.therapies.values()]
    keys += [("courses", course.therapy) for courses in site.courses.values() for course in courses]
    for section, key in keys:
        if key not in known:
            problems.append(
                f"[{section}] therapy {named(key)}; accepted: a key of the catalogue or of [investigational]"
            )
    if problems:
        raise CrsRiskError("site map: " + "; ".join(problems))


def _catalogue_meaning(system: str, code: str) -> Meaning | None:
    if system == OWN:
        return target_meaning(code)
    exact, prefixes = _table()
    if system in ICD10 and len(code) > 3 and "." not in code:
        code = f"{code[:3]}.{code[3:]}"  # claims leave the point out: C8330 is C83.30, not C83.3
    found = exact.get((system, code))
    if found is not None:
        return found
    for length in range(len(code), 0, -1):
        found = prefixes.get((system, code[:length]))
        if found is not None:
            return found
    variable = analyte_for_code(system, code)
    return None if variable is None else Meaning("variable", variable)


@cache
def _table() -> tuple[Mapping[tuple[str, str], Meaning], Mapping[tuple[str, str], Meaning]]:
    """Meanings of whole codes and of prefixes (`C83.3*`) in codes.csv, by system and code."""
    exact: dict[tuple[str, str], Meaning] = {}
    prefixes: dict[tuple[str, str], Meaning] = {}
    for row in rows("codes.csv"):
        into = prefixes if row["code"].endswith("*") else exact
        into[row["system"], row["code"].removesuffix("*")] = Meaning(row["kind"], row["target"], row["value"])
    return MappingProxyType(exact), MappingProxyType(prefixes)
