"""From one HL7 v2 segment to one record: results (OBX), administrations (RXA), stays (PV1), diseases (PRB)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from crsrisk.readers.drugs import is_rate_unit
from crsrisk.readers.hl7v2_fields import (
    BAD_STATUS,
    NO_RESULT,
    WITHOUT_VALUE,
    Codings,
    rate_of,
    reported,
    status_of,
    unit_of,
)
from crsrisk.readers.hl7v2_files import Stored
from crsrisk.readers.hl7v2_message import Delimiters, Segment, component, split
from crsrisk.readers.hl7v2_times import ABSENT, DATE_ONLY, Clock, same_day
from crsrisk.readers.record import CODE_SEPARATOR, Record
from crsrisk.times import NOT_A_TIME

STAYS = {"A01": "", "A02": "", "A03": "", "A04": "", "A08": "", "A11": "withdrawn", "A13": "open"}
"""Events of ADT that tell of a stay: came, moved, left, registered, changed; cancelled, leaving cancelled."""
CANCELLED = frozenset({"CA", "OC", "CR"})
"""HL7 table 0119: the order is or was cancelled."""
NOT_GIVEN = frozenset({"RE", "NA"})
"""HL7 table 0322: refused, not administered."""
SUSPECTED = "疑"
"""In the text of a Japanese disease: suspected, not established."""
LONGEST_VALUE = 200
"""Characters; a longer text is a report and holds no value of a variable."""
NUMBERS_ARE_WHOLE = 4
"""Fields of a torn ORC, its name among them, whose last one may be half of ORC-3."""

NO_CODE = "NO_CODE: no code; accepted: code^text^system, such as 1988-5^CRP^LN"
END_BEFORE_START = "BAD_RECORD: RXA-4 before RXA-3; accepted: the end after the start"


@dataclass(frozen=True)
class Header:
    """What holds for all segments of a message.

    kind, event: of MSH-9. where: the message, for a person. sent_us: of MSH-7, NOT_A_TIME when it has none.
    """

    kind: str
    event: str
    where: str
    marks: Delimiters
    clock: Clock
    sent_us: int
    stored: Stored | None

    def position(self, segment: Segment) -> str:
        """Where a segment stands, for a person."""
        return f"{self.where} segment {segment.number}"


@dataclass
class Order:
    """The order under which results or administrations stand.

    number: of the filler, else of the placer. observed, specimen: OBR-7 and SPM-17 as they stand. damaged: why
    nothing under it can be used.
    """

    number: str = ""
    observed: str = ""
    specimen: str = ""
    known_us: int = NOT_A_TIME
    cancelled: bool = False
    damaged: str = ""
    seen: Counter[tuple[str, str, int]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Under:
    """What a segment stands under: its message, its order, and how coded fields are read."""

    header: Header
    order: Order
    codings: Codings

    def record(self, segment: Segment, status: str, **said: Any) -> Record:
        """A record of a segment; the patient is filled in later.

        A file that an SS-MIX2 storage marks as deleted or as an older version only takes back; the valid one
        counts before others of the same time.
        """
        valid = self.header.stored is None or self.header.stored.flag == "1"
        return Record(
            position=self.header.position(segment),
            patient_id="",
            status=status if valid else "withdrawn",
            revised_us=self.header.sent_us,
            revision=int(self.header.stored is not None and valid),
            **said,
        )

    def identity(self, segment: str, codes: str, part: str, at_us: int) -> str:
        """What stays the same when a statement is told again; its place among equals of one order."""
        self.order.seen[codes, part, at_us] += 1
        again = self.order.seen[codes, part, at_us]
        code = codes.split(CODE_SEPARATOR, 1)[0]
        return "/".join((segment, self.order.number, code, part, str(at_us), str(again)))

    def moment(self, text: str, *, late: bool = False) -> tuple[int, str]:
        """The moment in a field, and why there is none."""
        return self.header.clock.moment(component(text, 1, self.header.marks), late=late)


def common_order(orc: Segment, marks: Delimiters) -> Order:
    """The order of an ORC segment."""
    cut = bool(orc.damaged) and len(orc.fields) <= NUMBERS_ARE_WHOLE
    return Order(
        number=orc.field(3) or orc.field(2),
        cancelled=component(orc.field(1), 1, marks) in CANCELLED,
        damaged=orc.damaged if cut else "",
    )


def requested(obr: Segment, before: Order, header: Header) -> Order:
    """The order of an OBR segment, with what its ORC or the specimen before it say."""
    marks = header.marks
    reported_us, _ = header.clock.moment(component(obr.field(22), 1, marks), late=True)
    return Order(
        number=obr.field(3) or before.number or obr.field(2),
        observed=component(obr.field(7), 1, marks),
        specimen=before.specimen,
        known_us=reported_us,
        cancelled=before.cancelled or component(obr.field(25), 1, marks) == "X",
        damaged=before.damaged or obr.damaged,
    )


def result(obx: Segment, under: Under) -> Record | str:
    """The record of an OBX segment, the reason why there is none, or '' when it holds no value."""
    marks, order = under.header.marks, under.order
    letter, kind = component(obx.field(11), 1, marks).upper(), obx.field(2).strip().upper()
    status = status_of(letter)
    if not status:
        return "" if letter in NO_RESULT else BAD_STATUS
    told = reported(kind, obx.field(5), marks)
    if kind in WITHOUT_VALUE or (letter in ("I", "U") and not told.value) or len(told.value) > LONGEST_VALUE:
        return ""
    codes = under.codings.of(obx.field(3), marks)
    at_us, reason = _observed(component(obx.field(14), 1, marks), order, under.header.clock)
    unit, contradiction = unit_of(split(obx.field(6), marks.repetition)[0], marks)
    if not codes or reason or contradiction:
        return (NO_CODE if not codes else "") or reason or contradiction
    return under.record(
        obx,
        "withdrawn" if order.cancelled else status,
        kind="result",
        codes=codes,
        start_us=at_us,
        end_us=at_us,
        known_us=order.known_us,
        value=told.value,
        unit=unit,
        comparator=told.comparator,
        identity=under.identity("OBX", codes, component(obx.field(4), 1, marks), at_us),
    )


def _observed(text: str, order: Order, clock: Clock) -> tuple[int, str]:
    """When a result was taken: OBX-14, SPM-17, OBR-7, the first that has a time.

    A date alone is passed over for a time of the same day; a text that is no time is not.
    """
    found, day = ABSENT, ""
    for stated in (text, order.specimen, order.observed):
        moment, reason = clock.moment(stated)
        if not reason:
            return (moment, "") if not day or same_day(day, stated) else (NOT_A_TIME, DATE_ONLY)
        if reason not in (ABSENT, DATE_ONLY):
            return NOT_A_TIME, reason
        if reason == DATE_ONLY:
            found, day = DATE_ONLY, day or stated
    return NOT_A_TIME, found


def administration(rxa: Segment, under: Under) -> Record | str:
    """The record of an RXA segment, or the reason why there is none. Without an end it is a moment, as HL7 says."""
    marks = under.header.marks
    codes = under.codings.of(rxa.field(5), marks)
    start_us, reason = under.moment(rxa.field(3))
    end_us, bad_end = under.moment(rxa.field(4)) if rxa.field(4) else (start_us, "")
    unit, contradiction = unit_of(split(rxa.field(7), marks.repetition)[0], marks)
    if not codes or reason or bad_end or contradiction:
        return (NO_CODE if not codes else "") or reason or bad_end or contradiction
    if end_us < start_us:
        return END_BEFORE_START
    amount = component(rxa.field(6), 1, marks)
    rate, rate_unit, is_the_rate = rate_of(component(rxa.field(12), 1, marks), amount, unit)
    if is_rate_unit(unit) and not rate:
        rate, rate_unit, is_the_rate = amount, unit, True
    completion, action = (component(rxa.field(number), 1, marks).upper() for number in (20, 21))
    taken_back = under.order.cancelled or completion in NOT_GIVEN or action == "D"
    return under.record(
        rxa,
        "withdrawn" if taken_back else "final",
        kind="drug",
        codes=codes,
        start_us=start_us,
        end_us=end_us,
        known_us=under.moment(rxa.field(22), late=True)[0],
        value="" if is_the_rate else amount,
        unit="" if is_the_rate else unit,
        rate=rate,
        rate_unit=rate_unit,
        identity=under.identity("RXA", codes, rxa.field(2), start_us),
    )


def stay(pv1: Segment, under: Under) -> Record | str:
    """The stay of a PV1 segment; '' when the message tells of none."""
    event = STAYS.get(under.header.event)
    came, left = pv1.field(44), pv1.field(45)
    if event is None or not (came or left):
        return ""
    start_us, reason = under.moment(came or left)
    end_us, bad_end = under.moment(left) if left and event != "open" else (NOT_A_TIME, "")
    if reason or bad_end:
        return reason or bad_end
    return under.record(
        pv1,
        "withdrawn" if event == "withdrawn" else "final",
        kind="stay",
        codes="",
        start_us=start_us,
        end_us=end_us,
        identity=f"PV1/{component(pv1.field(19), 1, under.header.marks) or start_us}",
    )


def disease(prb: Segment, under: Under) -> Record | str:
    """The disease of a PRB segment; '' when it is only suspected. A date is enough for it, and not needed."""
    marks = under.header.marks
    codes = under.codings.of(prb.field(3), marks)
    if not codes:
        return NO_CODE
    if SUSPECTED in prb.field(3):
        return ""
    return under.record(
        prb,
        "withdrawn" if component(prb.field(1), 1, marks) == "DE" else "final",
        kind="condition",
        codes=codes,
        identity=f"PRB/{prb.field(4) or codes}",
    )
