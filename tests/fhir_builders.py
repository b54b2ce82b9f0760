"""FHIR resources for tests, and the reader run on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crsrisk.readers.account import Account
from crsrisk.readers.fhir import read_fhir
from crsrisk.readers.record import Record
from crsrisk.readers.site_map import SiteMap

TEN = "2026-11-01T10:00:00+09:00"
TEN_US = 1_793_494_800_000_000
HOUR_US = 3_600_000_000
CRP = {"coding": [{"system": "http://loinc.org", "code": "1988-5"}]}
MG_DL = {"unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}


class Read(NamedTuple):
    """What the reader gave: records, the account, rows of the quarantine (what, position, patient, reason)."""

    records: list[Record]
    account: Mapping[str, Any]
    quarantine: list[list[str]]

    @property
    def codes(self) -> list[str]:
        """Code of each reason in the quarantine."""
        return [row[3].partition(":")[0] for row in self.quarantine]

    def items(self, what: str) -> tuple[int, int, int]:
        """Items of a kind: carried, not needed, quarantined."""
        parts = self.account["items"][what]
        return parts["carried"], parts["not_needed"], parts["quarantined"]


def read(source: Path, site: SiteMap | None = None) -> Read:
    """Read a source; every item must be accounted for."""
    import csv

    sheet = source.parent / "quarantine-of-test.csv"
    with Account(sheet) as account:
        tables = list(read_fhir(source, site or SiteMap(), account))
        for table in tables:
            account.records(table.num_rows)
            account.fate("event", table.num_rows)
        account.verify()
        counted = account.to_dict()
    with sheet.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    records = [Record(**row) for table in tables for row in table.to_pylist()]
    return Read(records, counted, rows)


def read_lines(folder: Path, *resources: Any, site: SiteMap | None = None) -> Read:
    """Read resources from one NDJSON file."""
    return read(write_lines(folder, resources), site)


def write_lines(folder: Path, resources: Iterable[Any], name: str = "all.ndjson") -> Path:
    """An NDJSON file; text and bytes are written as they are."""
    place = folder / "source"
    place.mkdir(exist_ok=True)
    lines = [one if isinstance(one, bytes) else _line(one) for one in resources]
    (place / name).write_bytes(b"\n".join(lines) + b"\n")
    return place / name


def _line(one: Any) -> bytes:
    text = one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
    return text.encode("utf-8")


def read_bundle(folder: Path, *entries: Any, site: SiteMap | None = None, kind: str = "collection") -> Read:
    """Read a Bundle of these entries; a resource alone becomes an entry."""
    whole = [one if "resourceType" not in one else {"resource": one} for one in entries]
    bundle = {"resourceType": "Bundle", "type": kind, "entry": whole}
    return read(write_lines(folder, [bundle], "bundle.json"), site)


def observation(**elements: Any) -> dict[str, Any]:
    """A CRP of 8.2 mg/dL at ten; elements replace or, when None, remove."""
    whole = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": CRP,
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": TEN,
        "valueQuantity": {"value": 8.2, **MG_DL},
    }
    return _with(whole, elements)


def administration(**elements: Any) -> dict[str, Any]:
    """Tocilizumab 480 mg at ten."""
    whole = {
        "resourceType": "MedicationAdministration",
        "id": "m1",
        "status": "completed",
        "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "L04AC07"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": TEN,
        "dosage": {"dose": {"value": 480, "unit": "mg"}},
    }
    return _with(whole, elements)


def resource(kind: str, **elements: Any) -> dict[str, Any]:
    """A resource of patient p1."""
    return _with({"resourceType": kind, "subject": {"reference": "Patient/p1"}}, elements)


def patient(**elements: Any) -> dict[str, Any]:
    """Patient p1, female."""
    return _with({"resourceType": "Patient", "id": "p1", "gender": "female"}, elements)


def _with(whole: dict[str, Any], elements: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**whole, **elements}.items() if value is not None}
