"""Patients in HL7 v2 messages: who a message is about, and the newest facts about each of them.

Facts stand in every message; they are kept until the end, so that each is told once, as the newest message has it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.codes import OWN, coding
from crsrisk.readers.hl7v2_fields import Settings
from crsrisk.readers.hl7v2_files import Stored
from crsrisk.readers.hl7v2_message import REPLACED, Delimiters, Segment, component, split
from crsrisk.readers.hl7v2_times import Clock, date_of
from crsrisk.readers.record import Record
from crsrisk.times import NOT_A_TIME

NO_PATIENT = (
    "NO_PATIENT: no identifier in PID-3; accepted: one, of the type and authority that [hl7v2] asks for"
)
OTHER_PATIENT = (
    "NO_PATIENT: PID-3 names another patient than the file or its folder; accepted: the same in both"
)
DEATH, DEATH_ITEM = "death", "PID-29 death"
SEXES = {"F": "female", "M": "male", "O": "other", "A": "other", "N": "other", "U": "unknown"}
"""HL7 table 0001; A is ambiguous, N not applicable."""
MOST_FACTS = 200_000
"""Facts held before they are told; a second time for some patients then, which does no harm."""
_ENOUGH = 5
"""Fields of a torn PID that hold PID-3 whole."""


@dataclass(frozen=True)
class Patient:
    """The patient of the segments that follow; the reason why there is none."""

    patient_id: str = ""
    reason: str = NO_PATIENT


@dataclass(frozen=True)
class _Fact:
    """One fact as one message has it."""

    position: str
    value: str  # of a death without a time the reason
    revised_us: int
    start_us: int = NOT_A_TIME


class Patients:
    """Reads PID segments and holds what they say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._facts: dict[tuple[str, str], dict[tuple[str, int], _Fact]] = {}
        self._authorities: dict[str, str] = {}

    def identify(self, pid: Segment, marks: Delimiters, stored: Stored | None) -> Patient:
        """The patient that PID-3 names.

        Raises:
            CrsRiskError: one identifier came from two authorities: two persons, or one; only the site can tell.
        """
        if pid.damaged and len(pid.fields) < _ENOUGH:
            return Patient()
        named = [one for one in split(pid.field(3), marks.repetition) if component(one, 1, marks)]
        ids = {component(one, 1, marks).lstrip("0") for one in named}
        wanted = [one for one in named if self._is_wanted(one, marks)]
        patient_id = component(wanted[0], 1, marks) if wanted else ""
        if not patient_id or REPLACED in patient_id:
            return Patient()
        if stored is not None and stored.patient.lstrip("0") not in ids:
            return Patient(reason=OTHER_PATIENT)
        self._check_authority(patient_id, component(wanted[0], 4, marks))
        return Patient(patient_id, "")

    def _is_wanted(self, one: str, marks: Delimiters) -> bool:
        type_, authority = self._settings.patient_id_type, self._settings.patient_id_authority
        return (not type_ or component(one, 5, marks) == type_) and (
            not authority or component(one, 4, marks) == authority
        )

    def _check_authority(self, patient_id: str, authority: str) -> None:
        if authority and self._authorities.setdefault(patient_id, authority) != authority:
            raise CrsRiskError(
                "PID-3: one identifier came from two assigning authorities; accepted: identifiers of one; write "
                'patient_id_authority = "NAME" under [hl7v2] into the site map'
            )

    def note(
        self, pid: Segment, marks: Delimiters, clock: Clock, patient_id: str, position: str, revised_us: int
    ) -> bool:
        """Keep the facts of a PID segment; whether it holds any. A death without a time is kept to be told of."""
        if pid.damaged:
            return False
        birth, sex, died = (component(pid.field(number), 1, marks) for number in (7, 8, 29))
        told = {"sex": SEXES.get(sex.upper(), sex), "birth_date": date_of(birth)}
        for fact, value in told.items():
            if value:
                self._keep(patient_id, fact, _Fact(position, value, revised_us))
        if died:
            died_us, reason = clock.moment(died)
            self._keep(patient_id, DEATH, _Fact(position, reason or "1", revised_us, died_us))
        return bool(sex or birth or died)

    def _keep(self, patient_id: str, fact: str, told: _Fact) -> None:
        """Keep a fact unless a newer message said it; equally new ones that differ are both kept."""
        held = self._facts.setdefault((patient_id, fact), {})
        newest = max((one.revised_us for one in held.values()), default=told.revised_us)
        if told.revised_us < newest:
            return
        if told.revised_us > newest:
            held.clear()
        held.setdefault((told.value, told.start_us), told)

    @property
    def full(self) -> bool:
        """Whether the facts should be told now."""
        return len(self._facts) >= MOST_FACTS

    def facts(self, account: Account) -> Iterator[Record]:
        """The newest facts of all patients, once; a death without a time is set aside."""
        for (patient_id, fact), held in self._facts.items():
            for told in held.values():
                person = fact != DEATH
                if not person:
                    account.read(DEATH_ITEM)
                    if told.start_us == NOT_A_TIME:
                        account.quarantine(DEATH_ITEM, told.position, told.value, patient_id)
                        continue
                    account.carry(DEATH_ITEM)
                yield Record(
                    position=told.position,
                    kind="person" if person else "result",
                    patient_id=patient_id,
                    codes=coding(OWN, fact),
                    start_us=told.start_us,
                    end_us=told.start_us,
                    value=told.value,
                    identity=f"PID/{fact}",
                    revised_us=told.revised_us,
                )
        self._facts.clear()
