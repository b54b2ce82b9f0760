"""What a MEDS code states: codings, kind of record, and the unit or fact that some data sets put into the code."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from crsrisk.readers.codes import OWN, Meaning, coding, meaning
from crsrisk.readers.coding_systems import CodingSystem, coding_systems
from crsrisk.readers.drugs import is_drug
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.site_map import SiteMap

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
PARTS = "//"
OLD_PARTS = "/"
"""MEDS before 0.3 wrote 'LOINC/1988-5'."""
NO_UNIT = "UNK"
"""What MEDS extraction tools write into a code for an absent part."""
STAYS = frozenset({"HOSPITAL_ADMISSION", "HOSPITAL_DISCHARGE", "ICU_ADMISSION", "ICU_DISCHARGE"})
"""Codes under which the public MEDS data sets of hospitals tell that a patient came or left."""
SEX = "GENDER"
SEXES = {"F": "female", "FEMALE": "female", "M": "male", "MALE": "male", "O": "other", "OTHER": "other"}


class Code(NamedTuple):
    """One code.

    kind: of the record; `birth` for the date of birth, whose value is the date of the row.
    codes: codings as in `Record.codes`.
    codes_without_unit: the same with the code read without its last part, '' when it has none to spare.
    unit: the last part of such a code.
    value: what the code itself states, such as the sex; '' when the row brings the value.
    """

    kind: str
    codes: str
    codes_without_unit: str = ""
    unit: str = ""
    value: str = ""


_NAMED = {
    BIRTH: Code("birth", coding(OWN, "birth_date")),
    DEATH: Code("result", coding(OWN, "death"), value="1"),
}
CodeReader = Callable[[str], Code]


def code_reader(site: SiteMap, parents: Mapping[str, Sequence[str]]) -> CodeReader:
    """A function that reads codes of one data set, each distinct code once.

    Args:
        site: local codes of the site.
        parents: codes of other vocabularies that stand for a code.
    """

    @lru_cache(maxsize=1 << 17)
    def read(text: str) -> Code:
        return _read(text.replace(CODE_SEPARATOR, " "), parents.get(text, ()), site)

    return read


def _read(text: str, parents: Sequence[str], site: SiteMap) -> Code:
    named = _NAMED.get(text)
    if named is not None:
        return named
    name, parts = _split(text)
    if name.upper() == SEX and parts:
        return Code("person", coding(OWN, "sex"), value=SEXES.get(parts[0].upper(), "unknown"))
    others = [_coding(*_split(parent.replace(CODE_SEPARATOR, " "))) for parent in parents]
    full = CODE_SEPARATOR.join(dict.fromkeys([_coding(name, parts), *others]))
    stay = name.upper() in STAYS or full == coding(OWN, "stay")
    kind = "stay" if stay else _kind(name, full, site)
    if len(parts) < 2:
        return Code(kind, full)
    short = CODE_SEPARATOR.join(dict.fromkeys([full, _coding(name, parts[:-1])]))
    return Code(kind, full, short, "" if parts[-1] == NO_UNIT else parts[-1])


def _split(text: str) -> tuple[str, list[str]]:
    """Name of the vocabulary and parts of the code; a code without a vocabulary has no name."""
    name, *parts = text.split(PARTS)
    if parts:
        return name, parts
    name, slash, rest = text.partition(OLD_PARTS)
    if slash and rest and name.upper() in coding_systems("meds"):
        return name, [rest]
    return (text, []) if text.upper() in STAYS else ("", [text])


def _coding(name: str, parts: Sequence[str]) -> str:
    known = coding_systems("meds").get(name.upper())
    return coding(name if known is None else known.system, PARTS.join(parts))


def _kind(name: str, codes: str, site: SiteMap) -> str:
    known = coding_systems("meds").get(name.upper(), CodingSystem("", ""))
    return known.kind or _kind_of(meaning(codes, site))


def _kind_of(found: Meaning | None) -> str:
    if found is None:
        return "result"
    if found.kind == "variable":
        return "drug" if is_drug(found.target) else "result"
    return {"product": "drug", "therapy": "drug", "disease": "condition", "person": "person"}.get(
        found.kind, "result"
    )
