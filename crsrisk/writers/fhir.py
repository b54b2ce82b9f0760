"""Writes a cohort as FHIR R4 Bulk Data: a folder of Patient.ndjson, Observation.ndjson, and so on.

Drugs are MedicationAdministrations, infusions of cells Procedures, the time under observation an Encounter, all else
Observations. Numbers are written with the digits that were reported.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.readers.codes import OWN
from crsrisk.times import iso
from crsrisk.values import SYMBOLS, number_or_none
from crsrisk.writers.coded import codings_of
from crsrisk.writers.statements import number_text, statements

UCUM = "http://unitsofmeasure.org"
ENCOUNTER_CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}
SOURCE_IDS = f"{OWN}:source_id"

Resource = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
# json.dumps would write a float with digits of its own; the text of the number takes the place of this mark.
_MARK = "\ue000number\ue000"


class _Statement(NamedTuple):
    """One row of `statements`, with times as text ('' for none) and the id of the Patient resource."""

    subject: str
    kind: str
    name: str
    start: str
    end: str
    known: str
    value: str
    unit: str
    comparator: str
    source_id: str


def write_fhir(cohort: Cohort, out: Path) -> None:
    """Write a folder of NDJSON files, one per resource type.

    Args:
        cohort: with index times.
        out: absent or empty.

    Raises:
        CrsRiskError: a course has no index time.
    """
    told = statements(cohort)
    out.mkdir(parents=True, exist_ok=True)
    ids = _patient_ids(told["patient_id"].unique().tolist())
    genders = _genders(told)
    _write_patients(out / "Patient.ndjson", ids, genders)
    is_gender = (told["name"] == "sex") & (told["value"] == told["patient_id"].map(genders))
    rest = told[~is_gender]
    counts: dict[str, int] = {}
    with ExitStack() as opened:
        files: dict[str, TextIO] = {}
        for one in _statements(rest, ids):
            kind, resource, number = _resource(one)
            counts[kind] = counts.get(kind, 0) + 1
            if kind not in files:
                files[kind] = opened.enter_context(
                    (out / f"{kind}.ndjson").open("w", encoding="utf-8", newline="")
                )
            whole = {"resourceType": kind, "id": f"{kind}-{counts[kind]}", **resource}
            files[kind].write(json_line(whole, number))


def json_line(resource: Mapping[str, Any], number: str = "") -> str:
    """One line of NDJSON; `number` is the text of the number that stands at the mark."""
    text = json.dumps(resource, ensure_ascii=False, separators=(",", ":"))
    return text.replace(f'"{_MARK}"', number, 1) + "\n"


def _patient_ids(patients: list[str]) -> dict[str, str]:
    """Ids of the Patient resources: the patients' own, or numbers where one could not be an id of FHIR."""
    if all(_ID.fullmatch(patient) for patient in patients):
        return {patient: patient for patient in patients}
    return {patient: str(number) for number, patient in enumerate(sorted(patients), start=1)}


def _genders(told: pd.DataFrame) -> dict[str, str]:
    sexes = told[told["name"] == "sex"]
    return dict(zip(reversed(sexes["patient_id"].tolist()), reversed(sexes["value"].tolist()), strict=True))


def _write_patients(file: Path, ids: Mapping[str, str], genders: Mapping[str, str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        for patient, own in ids.items():
            resource: Resource = {"resourceType": "Patient", "id": own}
            if own != patient:
                resource["identifier"] = [{"system": OWN, "value": patient}]
            if patient in genders:
                resource["gender"] = genders[patient]
            lines.write(json_line(resource))


def _statements(told: pd.DataFrame, ids: Mapping[str, str]) -> "map[_Statement]":
    times = {name: iso(told[f"{name}_us"].to_numpy(dtype=np.int64)) for name in ("start", "end", "known")}
    columns: list[list[str]] = [
        told["patient_id"].map(ids).tolist(),
        told["kind"].tolist(),
        told["name"].tolist(),
        *times.values(),
        *(told[name].tolist() for name in ("value", "unit", "comparator", "source_id")),
    ]
    return map(_Statement, *columns)


def _resource(one: _Statement) -> tuple[str, Resource, str]:
    """Type and elements of the resource that says it, and the text of its number."""
    # An administration can't tell when it became known; an Observation of the same variable can.
    make = _MAKERS.get(one.kind, _observation) if not one.known else _observation
    return make(one)


def _observation(one: _Statement) -> tuple[str, Resource, str]:
    resource: Resource = {"status": "final", "code": _concept(one.name), "subject": _subject(one)}
    if one.start:
        resource["effectiveDateTime"] = one.start
    if one.known:
        resource["issued"] = one.known
    number = ""
    if one.kind == "person":
        resource["valueString"] = one.value
    elif one.value:
        quantity, number = _quantity(one)
        resource["valueQuantity" if number else "valueString"] = quantity if number else one.value
    return "Observation", _with_source(resource, one), number


def _administration(one: _Statement) -> tuple[str, Resource, str]:
    resource: Resource = {
        "status": "completed",
        "medicationCodeableConcept": _concept(one.name),
        "subject": _subject(one),
        "effectiveDateTime": one.start,
    }
    number = ""
    if one.value:
        quantity, number = _quantity(one)
        is_rate = one.name.endswith("_rate") and "comparator" not in quantity
        resource["dosage"] = {"rateQuantity" if is_rate else "dose": quantity}
    return "MedicationAdministration", _with_source(resource, one), number


def _procedure(one: _Statement) -> tuple[str, Resource, str]:
    resource: Resource = {
        "status": "completed",
        "code": _concept(one.name),
        "subject": _subject(one),
        "performedDateTime": one.start,
    }
    return "Procedure", _with_source(resource, one), ""


def _encounter(one: _Statement) -> tuple[str, Resource, str]:
    resource: Resource = {
        "status": "finished",
        "class": ENCOUNTER_CLASS,
        "subject": _subject(one),
        "period": {"start": one.start, "end": one.end},
    }
    return "Encounter", resource, ""


_MAKERS: Mapping[str, Callable[[_Statement], tuple[str, Resource, str]]] = {
    "drug": _administration,
    "procedure": _procedure,
    "stay": _encounter,
}


def _concept(name: str) -> Resource:
    concept: Resource = {"coding": [{"system": system, "code": code} for system, code in codings_of(name)]}
    known = analytes().get(name)
    if known is not None:
        concept["text"] = known.name_en
    return concept


def _subject(one: _Statement) -> Resource:
    return {"reference": f"Patient/{one.subject}"}


def _with_source(resource: Resource, one: _Statement) -> Resource:
    if one.source_id:
        resource["identifier"] = [{"system": SOURCE_IDS, "value": one.source_id}]
    return resource


def _quantity(one: _Statement) -> tuple[Resource, str]:
    """The Quantity with a mark for its number, and the text of that; ('', {}) when the value is no number."""
    read = number_or_none(one.value)
    if read is None:
        return {}, ""
    number, sign = read
    quantity: Resource = {"value": _MARK}
    comparator = one.comparator or str(SYMBOLS[sign])
    if comparator:
        quantity["comparator"] = comparator
    if one.unit:
        quantity["unit"] = one.unit
        known = analytes().get(one.name)
        if known is not None and known.unit == one.unit:
            quantity |= {"system": UCUM, "code": one.unit}
    return quantity, one.value if _JSON_NUMBER.fullmatch(one.value) else number_text(number)
