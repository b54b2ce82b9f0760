"""Observations of FHIR R4 as records: results, panels of components, and what a laboratory took back."""

from functools import lru_cache

from crsrisk.analytes import JLAC10_SYSTEMS
from crsrisk.readers.codes import OWN, PERSON_FACTS
from crsrisk.readers.fhir_elements import (
    BAD_RECORD,
    NOT_A_RESULT,
    Object,
    answer,
    concept_codes,
    object_of,
    plain_value,
    quantity,
)
from crsrisk.readers.fhir_scope import NO_CODE, Scope
from crsrisk.readers.fhir_times import NO_TIME, RefusedError
from crsrisk.readers.record import CODE_SEPARATOR, Record
from crsrisk.times import NOT_A_TIME
from crsrisk.values import EMPTY_VALUE

COMPONENT = "Observation.component"
BOTH = "BAD_RECORD: a value and a reason for its absence; accepted: one of them"
NO_TIMING = "NOT_SUPPORTED: effectiveTiming; accepted: effectiveDateTime, effectivePeriod, effectiveInstant"

STATUSES = {
    "final": "final", "amended": "final", "corrected": "final", "preliminary": "preliminary",
    "registered": "preliminary", "cancelled": "withdrawn", "entered-in-error": "withdrawn",
}  # fmt: skip

Value = tuple[str, str, str]
_PRIMITIVES = ("valueInteger", "valueString", "valueBoolean")
_NO_NUMBERS = (
    "valueRange", "valueRatio", "valueSampledData", "valueTime", "valueDateTime", "valuePeriod",
)  # fmt: skip
_OWN_FACTS = tuple(f"{OWN}|{fact}" for fact in PERSON_FACTS)


def observation(resource: Object, scope: Scope) -> list[Record]:
    """Records of one Observation: its value and each component; none for a panel of members.

    Raises:
        RefusedError: nothing of it can be used.
    """
    patient = scope.patient(resource.get("subject"), resource)
    status = scope.status(resource, STATUSES)
    codes = _codes(resource, scope)
    if status == "withdrawn":
        return _withdrawn(resource, codes, patient, scope)
    is_fact = _is_own_fact(codes)
    start = NOT_A_TIME if is_fact else _effective(resource, scope)
    issued = resource.get("issued")
    known = NOT_A_TIME if issued is None else scope.clock.moment(issued)
    revised, revision = scope.version(resource)
    identity = scope.identity(resource, codes, start)
    components = resource.get("component")
    found = _value(resource, codes, scope)
    records = []
    if found is not None:
        (value, unit, comparator), codes = found
        if not codes:
            raise RefusedError(NO_CODE)
        kind = "person" if is_fact else "result"
        records.append(
            Record(
                scope.position, kind, patient, codes, start, start, known, value, unit, comparator,
                "", "", status, identity, revised, revision,
            )
        )  # fmt: skip
    if components:
        frame = Record(
            scope.position, "result", patient, codes, start, start, known, status=status,
            identity=identity, revised_us=revised, revision=revision,
        )  # fmt: skip
        records += _components(components, frame, scope)
    elif found is None:
        return _without_value(resource, codes, patient, scope)
    return records


@lru_cache(maxsize=65_536)
def _is_own_fact(codes: str) -> bool:
    """Whether a fact of a person is told, which has no time."""
    return any(part in _OWN_FACTS for part in codes.split(CODE_SEPARATOR))


def _codes(resource: Object, scope: Scope) -> str:
    codes = concept_codes(resource.get("code"))
    if "specimen" in resource and _has_short_jlac10(codes):
        material = scope.other_material(resource)
        if material:
            return _of_material(codes, material)
    return codes


@lru_cache(maxsize=65_536)
def _has_short_jlac10(codes: str) -> bool:
    """Whether a code of JLAC10 names the analyte alone (5 characters), so that the specimen tells the material."""
    return any(_is_short_jlac10(part) for part in codes.split(CODE_SEPARATOR))


def _is_short_jlac10(part: str) -> bool:
    system, _, code = part.rpartition("|")
    return len(code) == 5 and system in JLAC10_SYSTEMS


def _of_material(codes: str, material: str) -> str:
    """The codes with the material in those of JLAC10 that lack it: urine is not serum."""
    return CODE_SEPARATOR.join(
        f"{part}0000{material}998" if _is_short_jlac10(part) else part for part in codes.split(CODE_SEPARATOR)
    )


def _effective(resource: Object, scope: Scope) -> int:
    """The moment of a result; of a period its end, when alone the result can be complete."""
    moment = resource.get("effectiveDateTime")
    if moment is None:
        moment = resource.get("effectiveInstant")
    if moment is None:
        period = object_of(resource.get("effectivePeriod"))
        moment = period.get("end")
        if moment is None:
            moment = period.get("start")
    if moment is None:
        raise RefusedError(NO_TIMING if "effectiveTiming" in resource else NO_TIME)
    return scope.clock.moment(moment)


def _value(holder: Object, codes: str, scope: Scope) -> tuple[Value, str] | None:
    """Value, unit and comparator of an Observation or component, and its codes; None when it has no value.

    A coded answer adds the coding 'system|code=answer', by which a site map may name it.
    """
    found: Value | None = None
    if "valueQuantity" in holder:
        found = quantity(holder["valueQuantity"], codes, scope.unit_of)
    elif "valueCodeableConcept" in holder:
        words, code = answer(holder["valueCodeableConcept"])
        if words:
            found = words, "", ""
        if code and codes:
            first = codes.partition(CODE_SEPARATOR)[0]
            codes = f"{codes}{CODE_SEPARATOR}{first}={code}"
    else:
        for name in _PRIMITIVES:
            if name in holder:
                text = plain_value(holder[name])
                found = (text, "", "") if text else None
                break
        else:
            if any(name in holder for name in _NO_NUMBERS):
                raise RefusedError(NOT_A_RESULT)
    if found is not None and "dataAbsentReason" in holder:
        raise RefusedError(BOTH)
    return None if found is None else (found, codes)


def _components(components: object, frame: Record, scope: Scope) -> list[Record]:
    """Records of the components; each is an item of the account of its own."""
    if not isinstance(components, list):
        raise RefusedError(BAD_RECORD)
    records = []
    for number, component in enumerate(components, start=1):
        scope.account.read(COMPONENT)
        try:
            record = _component(component, frame, scope)
        except RefusedError as error:
            position = f"{frame.position}, component {number}"
            scope.account.quarantine(COMPONENT, position, error.reason, frame.patient_id)
            continue
        if record is None:
            scope.account.not_needed(COMPONENT)
            continue
        scope.account.carry(COMPONENT)
        records.append(record)
    return records


def _component(component: object, frame: Record, scope: Scope) -> Record | None:
    if not isinstance(component, dict):
        raise RefusedError(BAD_RECORD)
    plain = concept_codes(component.get("code"))
    if not plain:
        raise RefusedError(NO_CODE)
    identity = _component_identity(frame.identity, plain)
    found = _value(component, plain, scope)
    if found is None:
        if "dataAbsentReason" not in component:
            raise RefusedError(EMPTY_VALUE)
        # A version without the value takes back the value of an earlier one.
        return frame._replace(codes=plain, identity=identity, status="withdrawn") if identity else None
    (value, unit, comparator), codes = found
    return frame._replace(codes=codes, identity=identity, value=value, unit=unit, comparator=comparator)


def _component_identity(identity: str, codes: str) -> str:
    return f"{identity}#{codes.partition(CODE_SEPARATOR)[0]}" if identity else ""


def _without_value(resource: Object, codes: str, patient: str, scope: Scope) -> list[Record]:
    """No value: absent for a reason, which takes back an earlier version; told by members; or not yet there."""
    if "dataAbsentReason" in resource:
        return _withdrawn(resource, codes, patient, scope)
    if "hasMember" in resource or resource.get("status") == "registered":
        return []
    raise RefusedError(EMPTY_VALUE)


def _withdrawn(resource: Object, codes: str, patient: str, scope: Scope) -> list[Record]:
    """Records that take back the value and each component; lenient, since nothing but the identity counts."""
    try:
        start = _effective(resource, scope)
    except RefusedError:
        start = NOT_A_TIME
    identity = scope.identity(resource, codes, start)
    if not identity:
        return []
    revised, revision = scope.version(resource)
    frame = Record(
        scope.position, "result", patient, codes, start, start, status="withdrawn",
        identity=identity, revised_us=revised, revision=revision,
    )  # fmt: skip
    records = [frame]
    components = resource.get("component")
    for component in components if isinstance(components, list) else []:
        plain = concept_codes(object_of(component).get("code"))
        if plain:
            records.append(frame._replace(codes=plain, identity=_component_identity(identity, plain)))
    return records
