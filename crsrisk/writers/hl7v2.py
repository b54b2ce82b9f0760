"""Writes a cohort as HL7 v2.5 messages, one file per patient: ADT^A03 stays, RAS^O17 administrations, ORU^R01 results.

Our own codes are told as `99CRSRISK`. Times are UTC to 0.1 ms, the most that HL7 v2 holds. Each result says in OBR-22
when it was known; MSH-7 is the last moment that the patient's messages speak of, so that files don't depend on a clock.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from pathlib import Path

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.readers.codes import OWN
from crsrisk.times import NOT_A_TIME
from crsrisk.writers.coded import codings_of
from crsrisk.writers.statements import Statement, by_patient, marked, statements

SYSTEMS = {OWN: "99CRSRISK", "http://loinc.org": "LN"}
"""Names of the systems that a written cohort uses; each must be in coding_systems.csv."""
RESULTS_PER_MESSAGE = 400
SEXES = {"female": "F", "male": "M", "other": "O", "unknown": "U"}
ESCAPES = {
    "\\": "\\E\\",
    "|": "\\F\\",
    "^": "\\S\\",
    "~": "\\R\\",
    "&": "\\T\\",
    "\r": "\\X0D\\",
    "\n": "\\X0A\\",
}
ROUTE = "RXR|OTH^Other/Miscellaneous^HL70162"
NO_AMOUNT = '""'
"""HL7's null, since RXA-6 must stand there."""
PSEUDONYM = "^^^^^^S"
"""PID-5, which HL7 wants: no name, of the type 'pseudonym' of table 0200."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def write_hl7v2(cohort: Cohort, out: Path) -> None:
    """Write files of HL7 v2.5 messages into the folder `out`.

    Args:
        cohort: with index times.
        out: absent or empty.

    Raises:
        CrsRiskError: a course has no index time.
    """
    told = statements(cohort)
    out.mkdir(parents=True, exist_ok=True)
    for number, (patient_id, rows) in enumerate(by_patient(told), start=1):
        with (out / f"{number:06d}.hl7").open("w", encoding="utf-8", newline="") as file:
            for message in _Patient(number, patient_id, rows).messages():
                file.write("\r".join(message) + "\r")


class _Patient:
    """The messages of one patient."""

    def __init__(self, number: int, patient_id: str, told: Sequence[Statement]) -> None:
        self._told = told
        self._number = number
        self._messages = 0
        moments = [us for one in told for us in (one.start_us, one.end_us, one.known_us) if us != NOT_A_TIME]
        self._first, self._last = (
            min(one.start_us for one in told if one.start_us != NOT_A_TIME),
            max(moments),
        )
        sex = next(
            (SEXES.get(one.value, "") for one in told if (one.kind, one.name) == ("person", "sex")), ""
        )
        self._pid = f"PID|1||{escaped(patient_id)}^^^^PI||{PSEUDONYM}|||{sex}"

    def messages(self) -> Iterator[list[str]]:
        """Segments of each message."""
        yield from self._stays([one for one in self._told if one.kind == "stay"])
        yield from self._administrations([one for one in self._told if one.kind in ("drug", "procedure")])
        yield from self._results([one for one in self._told if one.kind == "result" or self._is_fact(one)])

    @staticmethod
    def _is_fact(one: Statement) -> bool:
        return one.kind == "person" and one.name != "sex"  # sex stands in PID-8

    def _head(self, kind: str) -> list[str]:
        self._messages += 1
        control = f"{self._number:06d}-{self._messages:04d}"
        sent = _time(self._last)
        msh = [
            "MSH",
            "^~\\&",
            "crsrisk",
            "",
            "",
            "",
            sent,
            "",
            kind,
            control,
            "P",
            "2.5",
            *[""] * 5,
            "UNICODE UTF-8",
        ]
        return ["|".join(msh), self._pid]

    def _stays(self, told: Sequence[Statement]) -> Iterator[list[str]]:
        for number, one in enumerate(told, start=1):
            msh, pid = self._head("ADT^A03^ADT_A03")
            visit = [
                "PV1",
                "1",
                "I",
                *[""] * 16,
                str(number),
                *[""] * 24,
                _time(one.start_us),
                _time(one.end_us),
            ]
            yield [msh, f"EVN||{_time(self._last)}", pid, "|".join(visit)]

    def _administrations(self, told: Sequence[Statement]) -> Iterator[list[str]]:
        segments = self._head("RAS^O17^RAS_O17") if told else []
        for number, one in enumerate(told, start=1):
            amount = escaped(marked(one.value, one.comparator)) or NO_AMOUNT
            known = _time(_known(one))
            rxa = [
                "RXA", "0", "1", _time(one.start_us), _time(one.end_us), _coded(one.name),
                amount, escaped(one.unit), *[""] * 12, "CP", "A", known,
            ]  # fmt: skip
            segments += [f"ORC|RE||A{number}", "|".join(rxa), ROUTE]
        if segments:
            yield segments

    def _results(self, told: Sequence[Statement]) -> Iterator[list[str]]:
        """Results in messages of at most RESULTS_PER_MESSAGE; those taken and known together in one order."""
        timed = [one if one.start_us != NOT_A_TIME else one._replace(start_us=self._first) for one in told]
        timed.sort(key=lambda one: (one.start_us, _known(one)))
        order = 0
        for begin in range(0, len(timed), RESULTS_PER_MESSAGE):
            segments = self._head("ORU^R01^ORU_R01")
            part = timed[begin : begin + RESULTS_PER_MESSAGE]
            for (start, known), group in groupby(part, key=lambda one: (one.start_us, _known(one))):
                order += 1
                taken = _time(start)
                obr = ["OBR", str(order), "", f"R{order}", f"results^Results^{SYSTEMS[OWN]}", "", "", taken]
                segments.append("|".join([*obr, *[""] * 14, _time(known), "", "", "F"]))
                segments += [_obx(place, one, taken) for place, one in enumerate(group, start=1)]
            yield segments


def _known(one: Statement) -> int:
    return one.start_us if one.known_us == NOT_A_TIME else one.known_us


def _obx(place: int, one: Statement, taken: str) -> str:
    kind, value = _typed(one.value, one.comparator)
    return f"OBX|{place}|{kind}|{_coded(one.name)}||{value}|{escaped(one.unit)}|||||F|||{taken}"


def _typed(value: str, comparator: str) -> tuple[str, str]:
    """Type of a value for OBX-2, and the value as OBX-5 has it."""
    if comparator and _NUMBER.fullmatch(value):
        return "SN", f"{escaped(comparator)}^{value}"
    return ("NM" if _NUMBER.fullmatch(value) else "ST"), escaped(marked(value, comparator))


@cache
def _coded(name: str) -> str:
    """A statement's codes as a coded element: the standard one first, ours as the alternate."""
    known = analytes().get(name)
    text = escaped(known.name_en if known is not None else name)
    return "^".join(f"{escaped(code)}^{text}^{SYSTEMS[system]}" for system, code in codings_of(name))


def escaped(text: str) -> str:
    r"""A text whose delimiters are escape sequences.

    >>> escaped("10^3/uL")
    '10\\S\\3/uL'
    """
    return "".join(ESCAPES.get(mark, mark) for mark in text)


def _time(us: int) -> str:
    """YYYYMMDDHHMMSS[.SSSS]+0000 of microseconds, to the nearest 0.1 ms."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(us / 100) * 100)
    parts = f".{moment.microsecond // 100:04d}" if moment.microsecond else ""
    return f"{moment:%Y%m%d%H%M%S}{parts}+0000"
