"""FHIR R4 to records: Bundles and Bulk Data, streamed; tolerant in what it reads, strict in what it reports.

Every resource is carried, not needed, or set aside with its reason and position. Nothing is ever fetched.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from crsrisk.data_files import rows
from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.account import Account
from crsrisk.readers.fhir_elements import Object
from crsrisk.readers.fhir_index import BUNDLE_DEPTH, build_index
from crsrisk.readers.fhir_json import Entry, bundle_entry
from crsrisk.readers.fhir_observation import observation
from crsrisk.readers.fhir_resources import (
    condition,
    device_use,
    encounter,
    medication_administration,
    patient,
    procedure,
    reports_errors,
)
from crsrisk.readers.fhir_scope import Scope
from crsrisk.readers.fhir_source import NOT_JSON, FhirFile, entries, fhir_files
from crsrisk.readers.fhir_times import RefusedError
from crsrisk.readers.record import Record, batches
from crsrisk.readers.site_map import SiteMap

NO_TYPE = "BAD_RECORD: no resourceType; accepted: a resource of FHIR R4"
UNKNOWN_TYPE = "BAD_RECORD: no resource type of FHIR R4; accepted: the types of R4"
SOURCE_ERROR = (
    "SOURCE_ERROR: the source reports an error: something is missing from this export; export it again"
)
NESTED = "NOT_SUPPORTED: Bundles within Bundles more than 4 deep; accepted: fewer"

Converter = Callable[[Object, Scope], list[Record]]
CONVERTERS: Mapping[str, Converter] = {
    "Observation": observation,
    "MedicationAdministration": medication_administration,
    "Procedure": procedure,
    "DeviceUseStatement": device_use,
    "Condition": condition,
    "Encounter": encounter,
    "Patient": patient,
}
"""Resource types of which records are made; all others are counted and not needed."""


def read_fhir(source: Path | str, site: SiteMap, account: Account) -> Iterator[pa.RecordBatch]:
    """Records of a FHIR source.

    Args:
        source: a Bundle or resource (.json), Bulk Data (.ndjson, .ndjson.gz), or a folder of them.
        site: zone of times without an offset, codes of the site, encoding.
        account: takes every resource.

    Raises:
        CrsRiskError: nothing in the source is FHIR.
    """
    path = Path(source)
    files = [file for file in fhir_files(path) if _is_readable(file, account, alone=path.is_file())]
    try:
        " ".encode(site.encoding)
    except LookupError:
        raise CrsRiskError(
            f"encoding {named(site.encoding)} is not known; accepted: utf-8, cp932, ..."
        ) from None
    if not files:
        raise CrsRiskError(f"{named(path.name)} holds no FHIR; accepted: files named .json or .ndjson (.gz)")
    reading = _Reading(Scope(build_index(files, site.encoding), site, account), account)
    yield from batches(reading.records(files, site.encoding))
    if reading.unreadable and not reading.resources:
        raise CrsRiskError(
            f"{named(path.name)} holds no FHIR resource that can be read; accepted: FHIR R4 as JSON or NDJSON in UTF-8"
        )


def _is_readable(file: FhirFile, account: Account, *, alone: bool) -> bool:
    """Whether a file is read; others are counted."""
    if file.is_json or (alone and not file.is_xml):
        return True
    account.read("file")
    if file.is_xml:
        account.quarantine("file", file.name, NOT_JSON)
    else:
        account.not_needed("file")
    return False


class _Reading:
    """One pass over the files, with the number of resources and of what could not be read."""

    def __init__(self, scope: Scope, account: Account) -> None:
        self._scope = scope
        self._account = account
        self._good: Counter[tuple[str, bool]] = Counter()
        self.resources = 0
        self.unreadable = 0

    def records(self, files: list[FhirFile], encoding: str) -> Iterator[Record]:
        """Records of all resources, in the order of files and of resources in them."""
        for file in files:
            self._scope.enter(file.name)
            for entry in entries(file, encoding):
                yield from self._read(entry)
            self._tell()

    def _read(self, entry: Entry, depth: int = 0) -> list[Record]:
        """Records of one entry; its fate is told to the account."""
        resource = entry.resource
        kind = resource.get("resourceType") if type(resource) is dict else None
        convert = CONVERTERS.get(kind) if isinstance(kind, str) else None
        if convert is None or kind is None:
            return self._without_records(entry, kind, depth)
        scope = self._scope
        scope.position, scope.full_url, scope.patient_id = entry.position, entry.full_url, ""
        try:
            found = convert(resource, scope)
        except RefusedError as error:
            self.resources += 1
            self._account.read(kind)
            self._account.quarantine(kind, entry.position, error.reason, scope.patient_id)
            return []
        self._good[kind, bool(found)] += 1
        return found

    def _tell(self) -> None:
        """Tell the account of good resources; once per file, since a call for each would take its time."""
        for (kind, carried), count in self._good.items():
            self.resources += count
            self._account.read(kind, count)
            (self._account.carry if carried else self._account.not_needed)(kind, count)
        self._good.clear()

    def _without_records(self, entry: Entry, kind: Any, depth: int) -> list[Record]:
        """What is no resource of which records are made; the resources of a Bundle within."""
        resource = entry.resource
        if resource is None and entry.what:
            self._count(entry.what, entry, entry.reason)
            self.unreadable += bool(entry.reason)
            return []
        if not isinstance(kind, str) or kind not in _types():
            self._count("resource", entry, UNKNOWN_TYPE if isinstance(kind, str) else NO_TYPE)
            self.unreadable += 1
            return []
        self.resources += 1
        if kind != "Bundle":
            failed = kind == "OperationOutcome" and reports_errors(resource)
            self._count(kind, entry, SOURCE_ERROR if failed else "")
            return []
        inner = resource.get("entry")
        too_deep = isinstance(inner, list) and depth >= BUNDLE_DEPTH
        self._count(kind, entry, NESTED if too_deep else "")
        found = []
        for number, one in enumerate(inner if isinstance(inner, list) and not too_deep else (), start=1):
            found += self._read(bundle_entry(f"{entry.position} entry {number}", one), depth + 1)
        return found

    def _count(self, what: str, entry: Entry, reason: str) -> None:
        """One item that is not needed, or set aside for a reason."""
        self._account.read(what)
        if reason:
            self._account.quarantine(what, entry.position, reason)
        else:
            self._account.not_needed(what)


@cache
def _types() -> frozenset[str]:
    return frozenset(row["type"] for row in rows("fhir_resources.csv"))
