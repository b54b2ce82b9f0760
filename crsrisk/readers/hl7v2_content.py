"""Walks the segments of one HL7 v2 message: whose they are, under which order and specimen they stand."""

from collections.abc import Iterator
from dataclasses import replace

from crsrisk.readers.account import Account
from crsrisk.readers.hl7v2_fields import Codings, Settings
from crsrisk.readers.hl7v2_files import Stored
from crsrisk.readers.hl7v2_message import Message, Segment, component
from crsrisk.readers.hl7v2_patients import NO_PATIENT, Patient, Patients
from crsrisk.readers.hl7v2_segments import (
    Header,
    Order,
    Under,
    administration,
    common_order,
    disease,
    requested,
    result,
    stay,
)
from crsrisk.readers.hl7v2_times import Clock, offset_of
from crsrisk.readers.record import Record
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME

MESSAGE = "HL7 message"
CONTENT = {"ORU": "OBX", "OUL": "OBX", "RAS": "RXA", "ADT": "PV1", "PPR": "PRB"}
"""The segment that holds content, by type of message; other messages are not needed."""
READ = {"OBX": result, "RXA": administration, "PV1": stay, "PRB": disease}

KNOWN = frozenset(
    {
        "MSH", "SFT", "UAC", "EVN", "PID", "PD1", "NK1", "PV1", "PV2", "MRG", "ROL", "ARV", "PRT", "DB1", "AL1", "IAM",
        "DG1", "DRG", "PR1", "GT1", "IN1", "IN2", "IN3", "ACC", "UB1", "UB2", "PDA", "ORC", "OBR", "OBX", "NTE", "TQ1",
        "TQ2", "CTD", "FT1", "CTI", "SPM", "SAC", "SID", "INV", "EQU", "TCD", "DSC", "BLG", "RXO", "RXR", "RXC", "RXE",
        "RXA", "RXD", "RXG", "RXV", "CDO", "GOL", "PTH", "VAR", "PRB",
    }
)  # fmt: skip
"""Segments that may stand in such messages, versions 2.3 to 2.8; those of a site begin with Z."""
GOES_ON = frozenset({"OBX", "NTE", "RXA", "RXR"})
"""Segments that continue the order before them."""
FEW_FIELDS = 3
"""A line with more may have been a segment; free text that was torn at a line end has fewer."""
BEGINS = frozenset({"ORC", "OBR", "SPM", *CONTENT.values()})
LOST_PATIENT = (
    "NO_PATIENT: behind a line that is no segment, and may have been the header of another patient; "
    "accepted: messages whose segments are whole"
)
NO_TYPE = "BAD_RECORD: no type of message in MSH-9; accepted: ORU^R01, OUL^R22, RAS^O17, ADT, PPR"
TEST_MESSAGE = "NOT_SUPPORTED: a message for training or tests (MSH-11 T or D); accepted: P"


class _Watch:
    """Watches a message for lines that are no segments and may have been the header of another patient.

    Behind one, only what plainly goes on is still the patient's: results with rising numbers in OBX-1; behind two
    in a row, nothing is.
    """

    def __init__(self) -> None:
        self._begun = False
        self._shaken = False
        self._run = 0
        self._last = 0

    def lost(self, segment: Segment) -> bool:
        """Whether from this segment on nobody knows whose they are."""
        if segment.name not in KNOWN and not segment.name.startswith("Z"):
            self._shaken |= self._begun
            looks_whole = len(segment.fields) > FEW_FIELDS
            self._begun |= looks_whole
            self._run += looks_whole
            return self._run > 1
        self._run = 0
        self._begun |= segment.name in BEGINS
        number = segment.field(1)
        place = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0
        goes_on = segment.name in GOES_ON and (segment.name != "OBX" or place > self._last)
        if segment.name == "OBX":
            self._last = place
        elif segment.name == "OBR":
            self._last = 0
        return self._shaken and not goes_on


class MessageReader:
    """Reads the messages of one source."""

    def __init__(self, site: SiteMap, settings: Settings, patients: Patients, account: Account) -> None:
        self._zone = site.time_zone
        self._settings = settings
        self._codings = Codings(settings)
        self._patients = patients
        self._account = account

    def records(self, message: Message, where: str, stored: Stored | None) -> Iterator[Record]:
        """The records of one message; the message and its segments with content are accounted for."""
        header = self._header(message, where, stored)
        reason = _unusable(message.segments[0], header)
        if reason:
            self._account.quarantine(MESSAGE, where, reason)
            return
        if header.kind not in CONTENT:
            self._account.not_needed(MESSAGE)
            return
        named = [
            self._patients.identify(segment, header.marks, stored)
            for segment in message.segments
            if segment.name == "PID"
        ]
        if not any(patient.patient_id for patient in named):
            self._account.quarantine(MESSAGE, where, named[0].reason if named else NO_PATIENT)
            return
        carried = self._note_facts(message, header, named)
        for record in self._content(message, header, named):
            carried = True
            yield record
        if carried:
            self._account.carry(MESSAGE)
        else:
            self._account.not_needed(MESSAGE)

    def _header(self, message: Message, where: str, stored: Stored | None) -> Header:
        msh, marks = message.segments[0], message.delimiters
        sent = component(msh.field(7), 1, marks)
        clock = Clock(self._zone or offset_of(sent))
        sent_us, _ = clock.moment(sent, late=True)
        kind, event = (component(msh.field(9), number, marks).upper() for number in (1, 2))
        return Header(kind, event, where, marks, clock, sent_us, stored)

    def _note_facts(self, message: Message, header: Header, named: list[Patient]) -> bool:
        """Whether the message says something about its patients; a deleted file says nothing."""
        if header.stored is not None and header.stored.flag == "0":
            return False
        told = False
        pids = [segment for segment in message.segments if segment.name == "PID"]
        for pid, patient in zip(pids, named, strict=True):
            if patient.patient_id:
                shared = (patient.patient_id, header.position(pid), header.sent_us)
                told |= self._patients.note(pid, header.marks, header.clock, *shared)
        return told

    def _content(self, message: Message, header: Header, named: list[Patient]) -> Iterator[Record]:
        """Records of the segments with content, each under its patient, specimen and order."""
        patients = iter(named)
        by_specimen = header.kind == "OUL"  # SPM {OBR [ORC] {OBX}}, elsewhere ORC OBR {OBX} {SPM}
        patient, before, order = Patient(), Order(), Order()
        watch = _Watch()
        for segment in message.segments:
            if segment.name == "PID":
                patient, before, order = next(patients), Order(), Order()
                watch = _Watch()
            elif watch.lost(segment):
                patient = Patient(reason=LOST_PATIENT)
            if segment.name == "SPM":
                taken = component(segment.field(17), 1, header.marks)
                order = replace(Order() if by_specimen else order, specimen=taken)
                order.damaged = order.damaged or segment.damaged
                before = order if by_specimen else before
            elif segment.name == "ORC" and by_specimen:
                common = common_order(segment, header.marks)
                order.number = order.number or common.number
                order.cancelled |= common.cancelled
            elif segment.name == "ORC":
                before = order = common_order(segment, header.marks)
            elif segment.name == "OBR":
                order = requested(segment, before, header)
                before = before if by_specimen else Order()
            elif segment.name == CONTENT[header.kind]:
                yield from self._told(segment, Under(header, order, self._codings), patient)

    def _told(self, segment: Segment, under: Under, patient: Patient) -> Iterator[Record]:
        what = f"{segment.name} segment"
        self._account.read(what)
        reason = patient.reason or segment.damaged or under.order.damaged
        found = reason or READ[segment.name](segment, under)
        if isinstance(found, Record):
            self._account.carry(what)
            known_us = found.known_us
            if known_us == NOT_A_TIME and found.kind in ("result", "drug"):
                known_us = under.header.sent_us if self._settings.message_time_is_known_time else NOT_A_TIME
            yield found._replace(patient_id=patient.patient_id, known_us=known_us)
        elif found:
            self._account.quarantine(what, under.header.position(segment), found, patient.patient_id)
        else:
            self._account.not_needed(what)


def _unusable(msh: Segment, header: Header) -> str:
    if not header.kind:
        return NO_TYPE
    if component(msh.field(11), 1, header.marks).upper() in ("T", "D"):
        return TEST_MESSAGE
    return ""
