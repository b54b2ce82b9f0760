"""Other resources of FHIR R4 as records: drugs, procedures, devices, diseases, stays, and the patient."""

import re
from collections.abc import Callable, Mapping

from crsrisk.courses_read import SEXES
from crsrisk.readers.codes import OWN
from crsrisk.readers.fhir_elements import (
    BAD_RECORD,
    Object,
    concept_codes,
    object_of,
    objects_of,
    quantity,
    ratio,
    text_of,
)
from crsrisk.readers.fhir_index import patient_name
from crsrisk.readers.fhir_scope import NO_CODE, Scope
from crsrisk.readers.fhir_times import DATE_ONLY, NO_TIME, RefusedError
from crsrisk.readers.record import CODE_SEPARATOR, Record
from crsrisk.times import NOT_A_TIME

TWO_DOSAGES = "NOT_SUPPORTED: several dosages of one administration; accepted: one"
BAD_SEX = f"BAD_SEX: accepted: {', '.join(SEXES)}"
BAD_BIRTH_DATE = "BAD_BIRTH_DATE: accepted: YYYY-MM-DD, YYYY-MM or YYYY"
BAD_PERIOD = "BAD_TIME: a period that ends before it starts; accepted: start, then end"

PLANNED = "planned"
"""Status of what has not begun: no record."""
_EVENT_STATUSES = {
    "completed": "final", "in-progress": "final", "on-hold": "final", "stopped": "final",
    "not-done": "withdrawn", "entered-in-error": "withdrawn",
}  # fmt: skip
ADMINISTRATION_STATUSES = _EVENT_STATUSES
PROCEDURE_STATUSES = {**_EVENT_STATUSES, "preparation": PLANNED}
DEVICE_USE_STATUSES = {
    "active": "final", "completed": "final", "stopped": "final", "on-hold": "final",
    "intended": PLANNED, "entered-in-error": "withdrawn",
}  # fmt: skip
ENCOUNTER_STATUSES = {
    "arrived": "final", "triaged": "final", "in-progress": "final", "onleave": "final", "finished": "final",
    "planned": PLANNED, "cancelled": "withdrawn", "entered-in-error": "withdrawn",
}  # fmt: skip
VERIFICATIONS = {
    "confirmed": "final", "unconfirmed": "preliminary", "provisional": "preliminary",
    "differential": "preliminary", "refuted": "withdrawn", "entered-in-error": "withdrawn",
}  # fmt: skip

_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)


def medication_administration(resource: Object, scope: Scope) -> list[Record]:
    """One drug that was given: amount and rate as reported.

    Raises:
        RefusedError: patient, drug or time can't be told, or the amount is none.
    """
    patient = scope.patient(resource.get("subject"), resource)
    status = scope.status(resource, ADMINISTRATION_STATUSES)
    if status == "withdrawn":
        return _withdrawn(resource, "drug", patient, scope, _drug_codes, "effective")
    codes = _drug_codes(resource, scope)
    start, end = _occurrence(resource, "effective", scope)
    value, unit, comparator, rate, rate_unit = _dosage(resource.get("dosage"), codes, scope)
    found = _record(resource, "drug", patient, codes, start, end, status, scope)
    return [
        found._replace(value=value, unit=unit, comparator=comparator, rate=rate, rate_unit=rate_unit),
    ]


def _drug_codes(resource: Object, scope: Scope) -> str:
    codes = concept_codes(resource.get("medicationCodeableConcept"))
    if not codes and "medicationReference" in resource:
        codes = scope.referred_codes(resource["medicationReference"], resource, "code")
    return codes


def _own_codes(resource: Object, _: Scope) -> str:
    return concept_codes(resource.get("code"))


def _device_codes(resource: Object, scope: Scope) -> str:
    return scope.referred_codes(resource.get("device"), resource, "type")


def _stay_codes(resource: Object, _: Scope) -> str:
    return concept_codes({"coding": [resource.get("class")]})


def _dosage(given: object, codes: str, scope: Scope) -> tuple[str, str, str, str, str]:
    """Amount, unit, comparator, rate, unit of the rate; '' for what is not given."""
    if isinstance(given, list):  # as in other releases of FHIR
        if len(given) > 1:
            raise RefusedError(TWO_DOSAGES)
        given = given[0] if given else None
    if given is None:
        return "", "", "", "", ""
    if not isinstance(given, dict):
        raise RefusedError(BAD_RECORD)
    amount = quantity(given["dose"], codes, scope.unit_of) if "dose" in given else None
    rate: tuple[str, str] | None = None
    if "rateQuantity" in given:
        found = quantity(given["rateQuantity"], codes, scope.unit_of)
        rate = None if found is None else found[:2]
    elif "rateRatio" in given:
        rate = ratio(given["rateRatio"], scope.unit_of)
    return *(amount or ("", "", "")), *(rate or ("", ""))


def procedure(resource: Object, scope: Scope) -> list[Record]:
    """One procedure that was done, such as an infusion of cells or ventilation.

    Raises:
        RefusedError: patient, code or time can't be told.
    """
    patient = scope.patient(resource.get("subject"), resource)
    status = scope.status(resource, PROCEDURE_STATUSES)
    if status == PLANNED:
        return []
    if status == "withdrawn":
        return _withdrawn(resource, "procedure", patient, scope, _own_codes, "performed")
    codes = _own_codes(resource, scope)
    start, end = _occurrence(resource, "performed", scope)
    return [_record(resource, "procedure", patient, codes, start, end, status, scope)]


def device_use(resource: Object, scope: Scope) -> list[Record]:
    """One use of a device, by the type of the Device that it refers to.

    Raises:
        RefusedError: patient, device or time can't be told.
    """
    patient = scope.patient(resource.get("subject"), resource)
    status = scope.status(resource, DEVICE_USE_STATUSES)
    if status == PLANNED:
        return []
    if status == "withdrawn":
        return _withdrawn(resource, "device", patient, scope, _device_codes, "timing")
    codes = _device_codes(resource, scope)
    start, end = _occurrence(resource, "timing", scope)
    return [_record(resource, "device", patient, codes, start, end, status, scope)]


def condition(resource: Object, scope: Scope) -> list[Record]:
    """One disease; a date is enough for it, and it then has no time.

    Raises:
        RefusedError: patient or code can't be told, or a time is none.
    """
    patient = scope.patient(resource.get("subject"), resource)
    verified = concept_codes(resource.get("verificationStatus")).split(CODE_SEPARATOR)
    found = (VERIFICATIONS.get(part.rpartition("|")[2]) for part in verified)
    status = next((one for one in found if one), "final")
    if status == "withdrawn":
        return _withdrawn(resource, "condition", patient, scope, _own_codes, "onset")
    codes, start = _own_codes(resource, scope), _onset(resource, scope)
    return [_record(resource, "condition", patient, codes, start, start, status, scope)]


def _onset(resource: Object, scope: Scope) -> int:
    onset = resource.get("onsetDateTime", object_of(resource.get("onsetPeriod")).get("start"))
    if onset is None:
        return NOT_A_TIME
    try:
        return scope.clock.moment(onset)
    except RefusedError as error:
        if error.reason != DATE_ONLY:
            raise
        return NOT_A_TIME


def encounter(resource: Object, scope: Scope) -> list[Record]:
    """One stay.

    Raises:
        RefusedError: patient or period can't be told.
    """
    patient = scope.patient(resource.get("subject"), resource)
    status = scope.status(resource, ENCOUNTER_STATUSES)
    if status == PLANNED:
        return []
    if status == "withdrawn":
        return _withdrawn(resource, "stay", patient, scope, _stay_codes, "period")
    codes = _stay_codes(resource, scope)
    start, end = _period(resource.get("period"), scope)
    return [_record(resource, "stay", patient, codes, start, end, status, scope, needs_code=False)]


def patient(resource: Object, scope: Scope) -> list[Record]:
    """Sex, date of birth and death; none of a patient who is replaced by another one.

    Each fact is an item of the account of its own: the others count when one can't be used.

    Raises:
        RefusedError: the patient has no name.
    """
    own = patient_name(resource, scope.full_url)
    name = scope.patient_id = scope.resolved(own)
    if scope.is_replaced(own):
        return []
    revised, revision = scope.version(resource)
    frame = Record(scope.position, "person", name, "", revised_us=revised, revision=revision)
    facts = [_fact(resource, element, frame, scope) for element in _FACTS]
    return [fact for fact in facts if fact is not None]


def _fact(resource: Object, element: str, frame: Record, scope: Scope) -> Record | None:
    """The record of one element of a Patient; None when it is absent or set aside."""
    fact, read = _FACTS[element]
    try:
        found = read(resource, frame, scope)
    except RefusedError as error:
        scope.account.read(f"Patient.{element}")
        scope.account.quarantine(f"Patient.{element}", scope.position, error.reason, frame.patient_id)
        return None
    if found is None:
        return None
    scope.account.read(f"Patient.{element}")
    scope.account.carry(f"Patient.{element}")
    return found._replace(codes=f"{OWN}|{fact}", identity=f"Patient/{frame.patient_id}#{fact}")


def _sex(resource: Object, frame: Record, _: Scope) -> Record | None:
    given = resource.get("gender")
    if given is None:
        return None
    if text_of(given) not in SEXES:
        raise RefusedError(BAD_SEX)
    return frame._replace(value=text_of(given))


def _birth_date(resource: Object, frame: Record, _: Scope) -> Record | None:
    given = resource.get("birthDate")
    if given is None:
        return None
    if not _DATE.fullmatch(text_of(given)):
        raise RefusedError(BAD_BIRTH_DATE)
    return frame._replace(value=text_of(given))


def _death(resource: Object, frame: Record, scope: Scope) -> Record | None:
    """A result, not a fact of the person: it counts from its moment on."""
    moment = resource.get("deceasedDateTime")
    if moment is None:
        if resource.get("deceasedBoolean") is True:
            raise RefusedError(NO_TIME)
        return None
    at = scope.clock.moment(moment)
    return frame._replace(kind="result", start_us=at, end_us=at, value="1")


_FACTS: Mapping[str, tuple[str, Callable[[Object, Record, Scope], Record | None]]] = {
    "gender": ("sex", _sex),
    "birthDate": ("birth_date", _birth_date),
    "deceased": ("death", _death),
}


def _occurrence(resource: Object, element: str, scope: Scope) -> tuple[int, int]:
    """Start and end of what happened; the same for a moment, NOT_A_TIME as the end of what goes on."""
    moment = resource.get(f"{element}DateTime")
    if moment is not None:
        at = scope.clock.moment(moment)
        return at, at
    return _period(resource.get(f"{element}Period"), scope)


def _period(given: object, scope: Scope) -> tuple[int, int]:
    period = object_of(given)
    if period.get("start") is None:
        raise RefusedError(NO_TIME)
    start = scope.clock.moment(period["start"])
    if period.get("end") is None:
        return start, NOT_A_TIME
    end = scope.clock.moment(period["end"])
    if end < start:
        raise RefusedError(BAD_PERIOD)
    return start, end


def _record(
    resource: Object,
    kind: str,
    patient_id: str,
    codes: str,
    start: int,
    end: int,
    status: str,
    scope: Scope,
    *,
    needs_code: bool = True,
) -> Record:
    if needs_code and not codes:
        raise RefusedError(NO_CODE)
    revised, revision = scope.version(resource)
    return Record(
        scope.position, kind, patient_id, codes, start, end, status=status,
        identity=scope.identity(resource, codes, start), revised_us=revised, revision=revision,
    )  # fmt: skip


def _withdrawn(
    resource: Object,
    kind: str,
    patient_id: str,
    scope: Scope,
    codes_of: Callable[[Object, Scope], str],
    time: str,
) -> list[Record]:
    """A record that takes back earlier versions; none when it does not say of what.

    Without an id the identity needs code and time, so both are read where they can be.
    """
    try:
        codes = codes_of(resource, scope)
    except RefusedError:
        codes = ""
    try:
        if time == "onset":
            start = _onset(resource, scope)
        elif time == "period":
            start = _period(resource.get("period"), scope)[0]
        else:
            start = _occurrence(resource, time, scope)[0]
    except RefusedError:
        start = NOT_A_TIME
    identity = scope.identity(resource, codes, start)
    if not identity:
        return []
    revised, revision = scope.version(resource)
    return [
        Record(
            scope.position, kind, patient_id, "", status="withdrawn",
            identity=identity, revised_us=revised, revision=revision,
        )
    ]  # fmt: skip


def reports_errors(resource: Object) -> bool:
    """Whether an OperationOutcome tells that something is missing."""
    return any(
        text_of(issue.get("severity")) in ("error", "fatal") for issue in objects_of(resource.get("issue"))
    )
