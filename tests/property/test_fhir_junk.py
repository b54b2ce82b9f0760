"""No resource, line or file stops the FHIR reader: every item is carried, not needed or set aside."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.codes import meaning
from crsrisk.readers.fhir import read_fhir
from crsrisk.readers.fhir_times import NO_TIME
from crsrisk.readers.record import KINDS, STATUSES
from crsrisk.readers.site_map import SiteMap
from tests.fhir_builders import TEN, administration, observation, patient, resource

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CODED = {"coding": [{"system": "http://snomed.info/sct", "code": "1"}], "text": "x"}
GOOD: list[dict[str, Any]] = [
    observation(issued=TEN, meta={"versionId": "1", "lastUpdated": TEN}, dataAbsentReason=None),
    observation(id="o2", valueQuantity=None, component=[{"code": CODED, "valueQuantity": {"value": 1, "unit": "kPa"}}]),
    observation(id="o3", valueQuantity=None, valueCodeableConcept=CODED, specimen={"reference": "Specimen/s"}),
    administration(dosage={"rateRatio": {"numerator": {"value": 5, "unit": "ug"}, "denominator": {"value": 1}}}),
    administration(id="m2", medicationCodeableConcept=None, medicationReference={"reference": "Medication/m"}),
    resource("Procedure", id="r", status="completed", code=CODED, performedPeriod={"start": TEN, "end": TEN}),
    resource("DeviceUseStatement", id="u", status="active", device={"reference": "Device/d"}, timingDateTime=TEN),
    resource("Condition", id="c", code=CODED, verificationStatus=CODED, onsetDateTime="2024"),
    resource("Encounter", id="e", status="finished", period={"start": TEN}, **{"class": {"code": "IMP"}}),
    patient(birthDate="1961", deceasedDateTime=TEN, link=[{"type": "replaces", "other": {"reference": "Patient/q"}}],
            identifier=[{"system": "urn:x", "value": "1"}]),
    {"resourceType": "Medication", "id": "m", "code": CODED},
    {"resourceType": "Device", "id": "d", "type": CODED},
    {"resourceType": "Specimen", "id": "s", "type": CODED},
    {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": "urn:uuid:1", "resource": patient()}]},
    {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]},
]  # fmt: skip

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["Patient/p1", "#c", "urn:uuid:1", TEN, "2026-11-01", "final", "withdrawn", "\x1f|", "9" * 400])
)  # fmt: skip
NAMES = st.sampled_from(
    ["id", "resourceType", "entry", "resource", "code", "coding", "value", "unit", "reference", "status", "x"]
) | st.text(max_size=6)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every element of a resource."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, one in inner for place in places(one, (*path, name)))]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good resource in which one or two elements are replaced by anything or removed."""
    whole = copy.deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(whole)))
        if not path:
            return draw(JUNK)
        within: Any = whole
        for name in path[:-1]:
            within = within[name]
        if draw(st.booleans()):
            within[path[-1]] = draw(JUNK)
        else:
            within.pop(path[-1])
    return whole


def read_files(files: dict[str, bytes]) -> list[Any]:
    """Records of a folder with these files; every item is accounted for and every record is well formed."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
        with Account(Path(place) / "quarantine.csv") as account:
            tables = list(read_fhir(source, SiteMap(), account))
            account.verify()
    records = [row for table in tables for row in table.to_pylist()]
    for one in records:
        assert one["patient_id"]
        assert one["position"]
        assert one["kind"] in KINDS
        assert one["status"] in STATUSES
        if one["status"] != "withdrawn" and one["kind"] not in ("person", "condition"):
            assert one["start_us"] > -(2**62), NO_TIME
        meaning(one["codes"], SiteMap())
    return records


@SETTINGS
@given(junk=st.lists(damaged(), min_size=1, max_size=6))
def test_damaged_resources_leave_the_good_ones(junk):
    good = json.dumps(observation(id="good", subject={"reference": "Patient/good"})).encode()
    lines = [json.dumps(one).encode() for one in junk]
    ndjson = read_files({"all.ndjson": b"\n".join([*lines, good])})
    entries = b",".join(b'{"resource":' + one + b"}" for one in [*lines, good])
    bundle = read_files({"all.json": b'{"resourceType":"Bundle","entry":[' + entries + b"]}"})
    for records in (ndjson, bundle):
        assert [one["value"] for one in records if one["identity"] == "Observation/good"] == ["8.2"]


@SETTINGS
@given(lines=st.lists(st.binary(max_size=60), max_size=6), at=st.integers(0, 6))
def test_lines_of_any_bytes_leave_the_good_ones(lines, at):
    parts = [part for line in lines for part in line.split(b"\n")]
    parts.insert(min(at, len(parts)), json.dumps(observation(id="good")).encode())
    records = read_files({"all.ndjson": b"\n".join(parts)})
    assert [one["value"] for one in records if one["identity"] == "Observation/good"] == ["8.2"]


@SETTINGS
@given(cut=st.integers(0, 2400), indent=st.sampled_from([None, 1]), flip=st.booleans())
def test_what_stands_before_a_fault_of_a_file_arrives(cut, indent, flip):
    entries = [{"resource": observation(id=f"o{number}")} for number in range(8)]
    text = json.dumps({"resourceType": "Bundle", "entry": entries}, indent=indent)
    content = text[:cut].encode() + (b"\xff" + text[cut + 1 :].encode() if flip else b"")
    before = [f"o{number}" for number in range(8) if f'"o{number}"' in text[:cut]]
    whole = before[:-1]  # the entry of the last id may hold the fault
    try:
        found = [one["identity"].partition("/")[2] for one in read_files({"all.json": content})]
    except CrsRiskError:
        found = []
    assert found[: len(whole)] == whole
