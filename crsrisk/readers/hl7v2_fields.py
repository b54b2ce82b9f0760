"""Fields of HL7 v2 as records carry them: codings, units, results and their status."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from crsrisk.analytes import analytes
from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.codes import coding
from crsrisk.readers.coding_systems import coding_systems
from crsrisk.readers.hl7v2_message import Delimiters, component, components, split, unescape
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.site_map import SiteMap
from crsrisk.units import factor

TWO_UNITS = (
    "BAD_RECORD: the unit field names two different units; accepted: one, or the same in two spellings"
)
BAD_STATUS = "BAD_RECORD: no status of HL7 table 0085 in OBX-11; accepted: F, C, U, P, R, S, I, D, X, W"

SETTINGS = ("patient_id_type", "patient_id_authority", "systems", "message_time_is_known_time")
LOCAL = frozenset({"", "L"})
UCUM = "UCUM"

FINAL = frozenset({"F", "C", "U", "A", "V"})
"""HL7 table 0085: final, corrected, status changed to final; from version 2.7 on amended, verified."""
PRELIMINARY = frozenset({"P", "R", "S", "I"})
"""Preliminary, entered but not verified, partial, specimen in the laboratory."""
WITHDRAWN = frozenset({"D", "X", "W"})
"""Deleted, no result can be obtained, posted as wrong (for another patient)."""
NO_RESULT = frozenset({"O", "N"})
"""Order detail alone, not asked for."""
WITHOUT_VALUE = frozenset(
    {"ED", "RP", "NA", "MA", "CD", "AD", "PN", "XPN", "XCN", "XAD", "XON", "XTN", "CX", "EI"}
)
"""Types of OBX-2 that hold documents, curves, persons or addresses."""
CODED = frozenset({"CE", "CWE", "CNE", "CF"})
TEXTS = frozenset({"ST", "TX", "FT", ""})
COMPARATORS = frozenset({"<", "<=", ">", ">="})
_PER = re.compile(r"([\d.,]+)\s*([^\d\s.,].*)")
_EVERY = re.compile(r"([SMHD])(\d*)", re.IGNORECASE)
_TIME_UNITS = {"S": "s", "M": "min", "H": "h", "D": "d"}


@dataclass(frozen=True)
class Settings:
    """What the table [hl7v2] of a site map states.

    patient_id_type, patient_id_authority: which repetition of PID-3 names the patient; '' for the first.
    systems: names of code systems in OBX-3 or RXA-5, and the system they stand for.
    message_time_is_known_time: a result without OBR-22 was known when its message was made. False for messages
        that were made again long after, as when a storage is filled later.
    """

    patient_id_type: str = ""
    patient_id_authority: str = ""
    systems: Mapping[str, str] = field(default_factory=dict)
    message_time_is_known_time: bool = True


def settings_of(site: SiteMap) -> Settings:
    """The settings of a site map.

    Raises:
        CrsRiskError: a setting that is not known or not of its kind.
    """
    stated = dict(site.hl7v2)
    wrong = [name for name in stated if name not in SETTINGS]
    texts = {name: stated.get(name, "") for name in ("patient_id_type", "patient_id_authority")}
    wrong += [name for name, value in texts.items() if not isinstance(value, str)]
    systems = stated.get("systems", {})
    if not isinstance(systems, Mapping) or not all(isinstance(value, str) for value in systems.values()):
        wrong.append("systems")
    known = stated.get("message_time_is_known_time", True)
    if not isinstance(known, bool):
        wrong.append("message_time_is_known_time")
    if wrong:
        raise CrsRiskError(
            f"site map: [hl7v2] {', '.join(named(name) for name in wrong)}: accepted: patient_id_type and "
            "patient_id_authority (text), systems (NAME = SYSTEM), message_time_is_known_time (true or false)"
        )
    return Settings(**texts, systems={name.upper(): value for name, value in systems.items()},
                    message_time_is_known_time=known)  # fmt: skip


class Codings:
    """Reads coded fields (code^text^system^code^text^system), each distinct one once."""

    def __init__(self, settings: Settings) -> None:
        stated = settings.systems
        known = coding_systems("hl7v2")

        @lru_cache(maxsize=1 << 14)
        def read(text: str, marks: Delimiters) -> str:
            parts = [*components(text, marks), "", "", "", "", "", ""]
            found = []
            for first in (0, 3):
                code, name = parts[first].strip('"'), parts[first + 2].upper()
                if not code:
                    continue
                system = stated.get(name) or (known[name].system if name in known else parts[first + 2])
                found.append(coding("" if name in LOCAL and name not in stated else system, code))
            return CODE_SEPARATOR.join(dict.fromkeys(one.replace(CODE_SEPARATOR, " ") for one in found))

        self._read = read

    def of(self, text: str, marks: Delimiters) -> str:
        """Codings as records carry them, '' when the field holds no code."""
        return self._read(split(text, marks.repetition)[0], marks)


@lru_cache(maxsize=1 << 14)
def unit_of(text: str, marks: Delimiters) -> tuple[str, str]:
    """The unit in a field, and the reason why it can't be told.

    Of a code and a text (`mm(hg)^mmHg^ISO+`) the one that some analyte accepts, UCUM first; two that are accepted
    and mean different things are a contradiction.
    """
    parts = [*components(text, marks), "", "", "", "", "", ""]
    order = (3, 0, 1, 4) if parts[5].upper() == UCUM else (0, 1, 3, 4)
    names = list(dict.fromkeys(parts[place] for place in order if parts[place] and parts[place] != '""'))
    if len(names) < 2:
        return (names[0] if names else ""), ""
    meanings = {name: _meanings(name) for name in names}
    known = [name for name in names if meanings[name]]
    for other in known[1:]:
        if not _agree(meanings[known[0]], meanings[other]):
            return "", TWO_UNITS
    return (known or names)[0], ""


@lru_cache(maxsize=4096)
def _meanings(unit: str) -> Mapping[str, tuple[float, float]]:
    """Analyte -> (scale, shift) of those that accept a unit."""
    found = {key: factor(key, unit) for key in analytes()}
    return {key: pair for key, pair in found.items() if pair is not None}


def _agree(one: Mapping[str, tuple[float, float]], other: Mapping[str, tuple[float, float]]) -> bool:
    common = one.keys() & other.keys()
    return bool(common) and all(one[key] == other[key] for key in common)


@dataclass(frozen=True)
class Reported:
    """Value and comparator of a result."""

    value: str
    comparator: str = ""


def reported(kind: str, text: str, marks: Delimiters) -> Reported:
    """The value in OBX-5, as its type in OBX-2 says.

    Of a structured number the comparator stands apart; ranges and ratios stay text. Of a coded value the text, or
    the code where there is none. Several repetitions stay one text, which is no number.
    """
    if len(split(text, marks.repetition)) > 1:
        return Reported(" ".join(text.split()))
    if kind == "SN":
        return _structured(components(text, marks))
    if kind in CODED:
        parts = components(text, marks)
        return Reported((parts[1] if len(parts) > 1 else "") or parts[0])
    told = unescape(text, marks) if kind in TEXTS else component(text, 1, marks)
    return Reported(" ".join(told.split()))


def _structured(parts: Sequence[str]) -> Reported:
    mark, first, between, second = (*parts, "", "", "", "")[:4]
    if mark in COMPARATORS and not between and not second:
        return Reported(first, mark)
    if mark in ("", "=") and not between and not second:
        return Reported(first)
    return Reported(f"{mark}{first}{between}{second}")


def status_of(letter: str) -> str:
    """Status of a record for a letter of HL7 table 0085; '' when there is no such letter.

    An absent letter counts as final: some senders leave OBX-11 empty.
    """
    if letter in FINAL or not letter:
        return "final"
    return "withdrawn" if letter in WITHDRAWN else "preliminary" if letter in PRELIMINARY else ""


def rate_of(text: str, amount: str, unit: str) -> tuple[str, str, bool]:
    """Rate and its unit in RXA-12, and whether the amount of RXA-6 is that of the rate.

    >>> rate_of("102ml/hr", "1", "HON"), rate_of("H1", "25", "mL"), rate_of("", "8", "mg")
    (('102', 'ml/hr', False), ('25', 'mL/h', True), ('', '', False))
    """
    per = _EVERY.fullmatch(text)
    if per is not None and amount:
        often = "" if per[2] in ("", "1") else per[2]
        return amount, f"{unit}/{often}{_TIME_UNITS[per[1].upper()]}", True
    stated = _PER.fullmatch(text)
    return (stated[1], stated[2], False) if stated is not None else ("", "", False)
