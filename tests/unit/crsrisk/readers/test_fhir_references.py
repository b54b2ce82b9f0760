"""Whose results they are, and what a reference leads to; nothing is fetched."""

from __future__ import annotations

import pytest

from crsrisk.readers.fhir_index import relative_of
from tests.fhir_builders import (
    administration,
    observation,
    patient,
    read,
    read_bundle,
    read_lines,
    resource,
    write_lines,
)

UUID = "urn:uuid:b76ef6f6-f6e3-c110-5039-eee64ef6ab6a"
HOSPITAL = "urn:oid:1.2.392.100495.20.3.51.11311234567"
TOCILIZUMAB = {"coding": [{"system": "http://www.whocc.no/atc", "code": "L04AC07"}]}


def patients_of(found) -> list[str]:
    return [one.patient_id for one in found.records if one.kind == "result"]


def of(reference: str, **rest) -> dict:
    return observation(subject={"reference": reference, **rest})


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/p1",
        "https://ehr.example/fhir/Patient/p1",
        "Patient/p1/_history/4",
        "http://other/Patient/p1/_history/1",
    ],
)
def test_relative_absolute_and_versioned_references_name_the_same_patient(tmp_path, reference):
    assert patients_of(read_lines(tmp_path, of(reference))) == ["p1"]


@pytest.mark.parametrize(
    "reference", ["", "Patient/", "p1", "Group/1", "Patient", UUID, "#p1", "urn:oid:1.2", "Patient?name=x"]
)
def test_a_reference_that_leads_to_no_patient_is_set_aside(tmp_path, reference):
    found = read_lines(tmp_path, patient(), of(reference))
    assert (patients_of(found), found.codes) == ([], ["NO_PATIENT"])


def test_a_bare_id_counts_where_the_type_is_said(tmp_path):
    assert patients_of(read_lines(tmp_path, of("p1", type="Patient"))) == ["p1"]


def test_a_full_url_leads_to_the_patient_wherever_it_stands_in_the_bundle(tmp_path):
    found = read_bundle(
        tmp_path, {"resource": of(UUID)}, {"fullUrl": UUID, "resource": patient(id="p9")}, kind="transaction"
    )
    assert patients_of(found) == ["p9"]


def test_a_patient_without_id_is_called_by_the_identifier(tmp_path):
    nameless = patient(id=None, identifier=[{"system": HOSPITAL, "value": "826739"}])
    found = read_bundle(tmp_path, {"fullUrl": UUID, "resource": nameless}, {"resource": of(UUID)})
    assert patients_of(found) == [f"{HOSPITAL}|826739"]


def test_a_patient_without_id_and_identifier_is_called_by_the_uuid(tmp_path):
    found = read_bundle(tmp_path, {"fullUrl": UUID, "resource": patient(id=None)}, {"resource": of(UUID)})
    assert patients_of(found) == [UUID.removeprefix("urn:uuid:")]


def test_full_urls_count_in_their_own_bundle_alone(tmp_path):
    for number in (1, 2):
        entries = [{"fullUrl": UUID, "resource": patient(id=f"p{number}")}, {"resource": of(UUID)}]
        write_lines(tmp_path, [{"resourceType": "Bundle", "entry": entries}], f"b{number}.json")
    write_lines(tmp_path, [of(UUID)], "c.ndjson")
    found = read(tmp_path / "source")
    assert (patients_of(found), found.codes) == (["p1", "p2"], ["NO_PATIENT"])


@pytest.mark.parametrize(
    "subject",
    [
        {"identifier": {"system": HOSPITAL, "value": "826739"}},
        {"reference": f"Patient?identifier={HOSPITAL}|826739"},
        {"reference": "#c"},
    ],
)
def test_an_identifier_leads_to_the_patient_who_bears_it(tmp_path, subject):
    bearer = patient(id="p7", identifier=[{"system": HOSPITAL, "value": "826739"}])
    contained = [{"resourceType": "Patient", "id": "c", "identifier": bearer["identifier"]}]
    assert patients_of(read_lines(tmp_path, observation(subject=subject, contained=contained), bearer)) == [
        "p7"
    ]


def test_an_identifier_of_nobody_in_the_source_names_the_patient_itself(tmp_path):
    subject = {"identifier": {"system": HOSPITAL, "value": "826739"}}
    assert patients_of(read_lines(tmp_path, observation(subject=subject))) == [f"{HOSPITAL}|826739"]


def test_an_identifier_of_two_patients_is_not_decided(tmp_path):
    shared = [{"system": HOSPITAL, "value": "1"}]
    subject = {"identifier": shared[0]}
    found = read_lines(
        tmp_path,
        patient(id="a", identifier=shared),
        patient(id="b", identifier=shared),
        observation(subject=subject),
    )
    assert (patients_of(found), found.codes) == ([], ["NO_PATIENT"])


def test_our_own_identifier_names_the_patient(tmp_path):
    named = patient(identifier=[{"system": "urn:crsrisk", "value": "症例 1/2"}])
    assert patients_of(read_lines(tmp_path, of("Patient/p1"), named)) == ["症例 1/2"]


@pytest.mark.parametrize(
    "links",
    [
        {"old": {"type": "replaced-by", "other": {"reference": "Patient/new"}}},
        {"new": {"type": "replaces", "other": {"reference": "https://ehr.example/Patient/old"}}},
    ],
)
def test_results_of_a_merged_patient_belong_to_the_one_who_remains(tmp_path, links):
    people = [patient(id=name, link=[links[name]] if name in links else None) for name in ("old", "new")]
    found = read_lines(tmp_path, of("Patient/old"), of("Patient/new"), *people)
    assert patients_of(found) == ["new", "new"]
    assert [one.patient_id for one in found.records if one.kind == "person"] == ["new"]
    assert found.items("Patient") == (1, 1, 0)


def test_a_chain_of_merges_leads_to_its_end_and_a_circle_to_one_of_it(tmp_path):
    def replaced(name: str, by: str) -> dict:
        return patient(id=name, link=[{"type": "replaced-by", "other": {"reference": f"Patient/{by}"}}])

    chain = [replaced("a", "b"), replaced("b", "c"), patient(id="c")]
    assert patients_of(read_lines(tmp_path, *chain, of("Patient/a"))) == ["c"]
    circle = [replaced("x", "y"), replaced("y", "x")]
    assert patients_of(read_lines(tmp_path, *circle, of("Patient/x"), of("Patient/y"))) == ["x", "x"]


def test_see_also_does_not_merge(tmp_path):
    link = [{"type": "seealso", "other": {"reference": "Patient/new"}}]
    assert patients_of(read_lines(tmp_path, patient(id="old", link=link), of("Patient/old"))) == ["old"]


def test_one_id_of_two_servers_is_not_decided(tmp_path):
    entries = [
        {"fullUrl": f"https://{server}.example/fhir/Patient/1", "resource": patient(id="1")}
        for server in "ab"
    ]
    found = read_bundle(tmp_path, *entries, {"resource": of("Patient/1")})
    assert (found.records, found.codes) == ([], ["NO_PATIENT"] * 3)


def test_two_subjects_of_one_bundle_are_two_patients(tmp_path):
    assert patients_of(read_bundle(tmp_path, of("Patient/a"), of("Patient/b"))) == ["a", "b"]


def drug(reference: str, **rest) -> dict:
    return administration(
        medicationCodeableConcept=None, medicationReference={"reference": reference}, **rest
    )


def test_a_medication_is_found_contained_in_the_bundle_and_in_the_folder(tmp_path):
    medication = {"resourceType": "Medication", "id": "toci", "code": TOCILIZUMAB}
    expected = "http://www.whocc.no/atc|L04AC07"
    contained = read_lines(tmp_path, drug("#toci", contained=[medication]))
    assert [one.codes for one in contained.records] == [expected]
    bundle = read_bundle(tmp_path, drug(UUID), {"fullUrl": UUID, "resource": medication})
    assert [one.codes for one in bundle.records] == [expected]
    write_lines(tmp_path, [medication], "Medication.ndjson")
    write_lines(
        tmp_path, [drug("Medication/toci"), drug("https://x/Medication/toci")], "Administration.ndjson"
    )
    (tmp_path / "source" / "all.ndjson").unlink()
    (tmp_path / "source" / "bundle.json").unlink()
    assert [one.codes for one in read(tmp_path / "source").records] == [expected] * 2


def test_a_medication_elsewhere_is_known_by_the_words_of_the_reference(tmp_path):
    sent = drug("https://ehr.example/Medication/9")
    sent["medicationReference"]["display"] = "アクテムラ点滴静注用400mg"
    assert [one.codes for one in read_lines(tmp_path, sent).records] == ["|アクテムラ点滴静注用400mg"]


def test_two_medications_of_one_id_are_not_decided(tmp_path):
    other = {"coding": [{"system": "http://www.whocc.no/atc", "code": "H02AB02"}]}
    medications = [{"resourceType": "Medication", "id": "m", "code": code} for code in (TOCILIZUMAB, other)]
    found = read_lines(tmp_path, *medications, drug("Medication/m"))
    assert (found.records, found.codes) == ([], ["NO_CODE"])


def test_a_medication_of_the_same_bundle_comes_first(tmp_path):
    other = {"coding": [{"system": "http://www.whocc.no/atc", "code": "H02AB02"}]}
    for number, code in ((1, TOCILIZUMAB), (2, other)):
        medication = {"resourceType": "Medication", "id": "m", "code": code}
        entries = [
            {"fullUrl": f"urn:{number}", "resource": medication},
            {"resource": drug("Medication/m", id=str(number))},
        ]
        write_lines(tmp_path, [{"resourceType": "Bundle", "entry": entries}], f"b{number}.json")
    assert [one.codes[-7:] for one in read(tmp_path / "source").records] == ["L04AC07", "H02AB02"]


def test_a_device_that_is_not_in_the_source_is_set_aside_not_fetched(tmp_path):
    sent = resource(
        "DeviceUseStatement", status="active", device={"reference": "https://ehr.example/Device/1"}
    )
    assert read_lines(tmp_path, patient(), sent).codes == ["NO_CODE"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/7", "Patient/7"),
        ("https://x.example/a/b/Patient/7", "Patient/7"),
        ("Patient/7/_history/3", "Patient/7"),
        ("urn:uuid:7", ""),
        ("Patient", ""),
        ("/7", ""),
        ("Patient/" + "9" * 300, ""),
    ],
)
def test_the_relative_part_of_a_reference(reference, expected):
    assert relative_of(reference) == expected
