"""Resources of FHIR R4 become records."""

from __future__ import annotations

import pytest

from crsrisk.readers.codes import Meaning, meaning
from crsrisk.readers.site_map import SiteMap, site_map
from crsrisk.times import NOT_A_TIME
from tests.fhir_builders import (
    CRP,
    HOUR_US,
    MG_DL,
    TEN,
    TEN_US,
    administration,
    observation,
    patient,
    read_bundle,
    read_lines,
    resource,
)

ELEVEN = "2026-11-01T11:00:00+09:00"
SNOMED = "http://snomed.info/sct"


def concept(*pairs: tuple[str, str], **rest) -> dict:
    return {"coding": [{"system": system, "code": code} for system, code in pairs], **rest}


def test_an_observation_becomes_a_result(tmp_path):
    sent = observation(
        issued="2026-11-01T11:30:00.000+09:00",
        meta={"versionId": "3", "lastUpdated": "2026-11-01T03:00:00Z"},
        referenceRange=[{"high": {"value": 0.3}}],
    )
    (found,) = read_lines(tmp_path, sent).records
    assert found._asdict() == {
        "position": "all.ndjson line 1", "kind": "result", "patient_id": "p1",
        "codes": "http://loinc.org|1988-5", "start_us": TEN_US, "end_us": TEN_US,
        "known_us": TEN_US + HOUR_US * 3 // 2, "value": "8.2", "unit": "mg/dL", "comparator": "",
        "rate": "", "rate_unit": "", "status": "final", "identity": "Observation/o1",
        "revised_us": TEN_US + 2 * HOUR_US, "revision": 3,
    }  # fmt: skip


@pytest.mark.parametrize("number", ["38.40", "1E3", "-0.0", "9" * 200])
def test_numbers_keep_the_digits_that_were_sent(tmp_path, number):
    line = '{"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"}, '
    line += f'"effectiveDateTime": "{TEN}", "code": {{"text": "x"}}, "valueQuantity": {{"value": {number}}}}}'
    assert [one.value for one in read_lines(tmp_path, line).records] == [number]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueQuantity": {"value": 5, "comparator": "<", **MG_DL}}, ("5", "mg/dL", "<")),
        ({"valueInteger": 3}, ("3", "", "")),
        ({"valueString": " <0.5 "}, ("<0.5", "", "")),
        ({"valueBoolean": True}, ("1", "", "")),
        ({"valueBoolean": False}, ("0", "", "")),
        (
            {"valueCodeableConcept": {"coding": [{"code": "260385009", "display": "Negative"}]}},
            ("Negative", "", ""),
        ),
        (
            {"valueCodeableConcept": {"text": "(±)", "coding": [{"code": "2", "display": "±"}]}},
            ("(±)", "", ""),
        ),
        ({"valueCodeableConcept": {"coding": [{"code": "10828004"}]}}, ("code 10828004", "", "")),
    ],
)
def test_values_are_carried_as_they_were_said(tmp_path, value, expected):
    (found,) = read_lines(tmp_path, observation(**{"valueQuantity": None, **value})).records
    assert (found.value, found.unit, found.comparator) == expected


def test_a_coded_answer_can_be_named_by_the_site_map(tmp_path):
    sent = observation(
        valueQuantity=None,
        code=concept(("urn:local", "O2DEV")),
        valueCodeableConcept={"coding": [{"code": "MASK"}]},
    )
    (found,) = read_lines(tmp_path, sent).records
    assert found.codes == "urn:local|O2DEV\x1furn:local|O2DEV=MASK"
    site = site_map({"codes": {"urn:local|O2DEV=MASK": "device:resp_support=2"}})
    assert meaning(found.codes, site) == Meaning("variable", "resp_support", "2")
    assert meaning(found.codes, SiteMap()) is None


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ({"unit": "mg/dL"}, "mg/dL"),
        ({"system": "http://unitsofmeasure.org", "code": "mg/L"}, "mg/L"),
        ({"unit": "milligrams", "system": "http://unitsofmeasure.org", "code": "mg/L"}, "mg/L"),
        ({"unit": "mg/dL", "system": "urn:local", "code": "7"}, "mg/dL"),
        ({"code": "mg/dL"}, "mg/dL"),
        ({}, ""),
    ],
)
def test_a_code_of_ucum_counts_and_the_printed_unit_only_without_one(tmp_path, quantity, unit):
    (found,) = read_lines(tmp_path, observation(valueQuantity={"value": 8.2, **quantity})).records
    assert found.unit == unit


def test_two_different_units_of_one_value_are_not_decided(tmp_path):
    both = {"value": 8.2, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/L"}
    read = read_lines(tmp_path, observation(valueQuantity=both))
    assert (read.records, read.codes) == ([], ["BAD_UNIT"])


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("final", "final"),
        ("amended", "final"),
        ("corrected", "final"),
        ("preliminary", "preliminary"),
        ("registered", "preliminary"),
        ("cancelled", "withdrawn"),
        ("entered-in-error", "withdrawn"),
        ("unknown", "preliminary"),
        (None, "preliminary"),
    ],
)
def test_status_of_an_observation(tmp_path, status, expected):
    read = read_lines(tmp_path, observation(status=status))
    assert [one.status for one in read.records] == [expected]
    assert bool(read.account["adjusted"]) == (status in ("unknown", None))


def test_a_withdrawn_result_needs_neither_value_nor_time(tmp_path):
    sent = observation(status="entered-in-error", valueQuantity=None, effectiveDateTime=None)
    (found,) = read_lines(tmp_path, sent).records
    assert (found.status, found.identity, found.start_us) == ("withdrawn", "Observation/o1", NOT_A_TIME)


def test_a_version_without_its_value_takes_the_earlier_one_back(tmp_path):
    sent = observation(valueQuantity=None, dataAbsentReason={"text": "hemolysed"})
    (found,) = read_lines(tmp_path, sent).records
    assert (found.status, found.identity) == ("withdrawn", "Observation/o1")


def blood_pressure(**elements) -> dict:
    parts = [
        {"code": concept(("http://loinc.org", "8480-6")), "valueQuantity": {"value": 120, "unit": "mmHg"}},
        {"code": concept(("http://loinc.org", "8462-4")), "valueQuantity": {"value": 80, "unit": "mmHg"}},
    ]
    code = concept(("http://loinc.org", "85354-9"))
    return observation(code=code, valueQuantity=None, component=parts, **elements)


def test_components_of_a_blood_pressure_are_results(tmp_path):
    read = read_lines(tmp_path, blood_pressure())
    assert [(one.codes, one.value, one.identity) for one in read.records] == [
        ("http://loinc.org|8480-6", "120", "Observation/o1#http://loinc.org|8480-6"),
        ("http://loinc.org|8462-4", "80", "Observation/o1#http://loinc.org|8462-4"),
    ]
    assert read.items("Observation.component") == (2, 0, 0)


def test_a_withdrawn_panel_takes_its_components_back(tmp_path):
    found = read_lines(tmp_path, blood_pressure(status="entered-in-error")).records
    assert {(one.identity.partition("#")[2], one.status) for one in found} == {
        ("", "withdrawn"),
        ("http://loinc.org|8480-6", "withdrawn"),
        ("http://loinc.org|8462-4", "withdrawn"),
    }


def test_a_bad_component_leaves_the_others(tmp_path):
    sent = blood_pressure()
    sent["component"][0]["valueQuantity"] = {"value": [120]}
    sent["component"].append({"code": CRP, "dataAbsentReason": {"text": "not done"}})
    read = read_lines(tmp_path, sent)
    assert [(one.value, one.status) for one in read.records] == [("80", "final"), ("", "withdrawn")]
    assert read.quarantine[0][:3] == ["Observation.component", "all.ndjson line 1, component 1", "p1"]


@pytest.mark.parametrize(
    "elements", [{"hasMember": [{"reference": "Observation/2"}]}, {"status": "registered"}]
)
def test_a_panel_of_members_and_an_order_without_result_are_not_needed(tmp_path, elements):
    sent = observation(valueQuantity=None, **elements)
    assert read_lines(tmp_path, sent).items("Observation") == (0, 1, 0)


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"valueQuantity": None}, "EMPTY_VALUE"),
        ({"code": None}, "NO_CODE"),
        ({"subject": None}, "NO_PATIENT"),
        ({"subject": {"reference": "Group/7"}}, "NO_PATIENT"),
        ({"status": "finished"}, "BAD_STATUS"),
        ({"effectiveDateTime": None}, "NO_TIME"),
        ({"effectiveDateTime": "2026-11-01"}, "DATE_ONLY"),
        ({"effectiveDateTime": "2026-11"}, "DATE_ONLY"),
        ({"effectiveDateTime": "2026-11-01T10:00:00"}, "BAD_TIME"),
        ({"effectiveDateTime": "yesterday, in the morning"}, "BAD_TIME"),
        ({"effectiveDateTime": "2026-13-01T10:00:00Z"}, "BAD_TIME"),
        ({"effectiveDateTime": 20261101}, "BAD_TIME"),
        ({"effectiveDateTime": None, "effectiveTiming": {}}, "NOT_SUPPORTED"),
        ({"issued": "2026-11-01"}, "DATE_ONLY"),
        ({"valueQuantity": [8.2]}, "BAD_RECORD"),
        ({"valueQuantity": {"value": {"a": 1}}}, "BAD_RECORD"),
        ({"valueQuantity": None, "valueRange": {}}, "NOT_SUPPORTED"),
        ({"valueQuantity": None, "valueString": "a report " * 100}, "NOT_SUPPORTED"),
        ({"dataAbsentReason": {"text": "error"}}, "BAD_RECORD"),
        ({"component": {"code": "x"}}, "BAD_RECORD"),
    ],
)
def test_an_observation_that_cant_be_used_is_set_aside_with_its_reason(tmp_path, elements, code):
    read = read_lines(tmp_path, patient(), observation(**elements))
    assert (read.codes, read.items("Observation")) == ([code], (0, 0, 1))
    assert read.quarantine[0][1] == "all.ndjson line 2"


def test_a_result_over_a_period_belongs_to_its_end(tmp_path):
    sent = observation(effectiveDateTime=None, effectivePeriod={"start": TEN, "end": ELEVEN})
    (found,) = read_lines(tmp_path, sent).records
    assert (found.start_us, found.end_us) == (TEN_US + HOUR_US, TEN_US + HOUR_US)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-01T09:30:00", "2026-11-01T14:30:00Z"),
        ("2026-11-01T01:30:00", "AMBIGUOUS_TIME"),  # 01:30 comes twice that night
        ("2026-03-08T02:30:00", "AMBIGUOUS_TIME"),  # and 02:30 not at all that night
        ("2026-11-01T09:30:00+09:00", "2026-11-01T00:30:00Z"),
    ],
)
def test_a_time_without_offset_needs_the_zone_of_the_site(tmp_path, time, expected):
    new_york = site_map({"time_zone": "America/New_York"})  # clocks changed on 2026-03-08 and 2026-11-01
    sent = observation(effectiveDateTime=time)
    read = read_lines(tmp_path, sent, site=new_york)
    if expected == "AMBIGUOUS_TIME":
        assert read.codes == [expected]
    else:
        again = read_lines(tmp_path, observation(effectiveDateTime=expected))
        assert [one.start_us for one in read.records] == [one.start_us for one in again.records]


def ratio(above: int, unit: str, below: int, per: str) -> dict:
    return {"numerator": {"value": above, "unit": unit}, "denominator": {"value": below, "unit": per}}


def test_an_administration_becomes_a_drug(tmp_path):
    (found,) = read_lines(tmp_path, administration()).records
    assert (found.kind, found.codes, found.value, found.unit) == (
        "drug",
        "http://www.whocc.no/atc|L04AC07",
        "480",
        "mg",
    )
    assert (found.start_us, found.end_us, found.identity) == (TEN_US, TEN_US, "MedicationAdministration/m1")


@pytest.mark.parametrize(
    ("dosage", "rate"),
    [
        ({"rateQuantity": {"value": 0.05, "unit": "ug/kg/min"}}, ("0.05", "ug/kg/min")),
        ({"rateRatio": ratio(5, "ug", 1, "min")}, ("5", "ug/min")),
        ({"rateRatio": ratio(250, "mL", 8, "h")}, ("31.25", "mL/h")),
        ([{"rateQuantity": {"value": 3, "unit": "mg/h"}}], ("3", "mg/h")),
        ({"text": "as needed"}, ("", "")),
        (None, ("", "")),
    ],
)  # fmt: skip
def test_rates_are_told_apart_from_amounts(tmp_path, dosage, rate):
    (found,) = read_lines(tmp_path, administration(dosage=dosage)).records
    assert (found.value, found.rate, found.rate_unit) == ("", *rate)


def test_an_infusion_that_goes_on_has_no_end(tmp_path):
    sent = administration(status="in-progress", effectiveDateTime=None, effectivePeriod={"start": TEN})
    (found,) = read_lines(tmp_path, sent).records
    assert (found.start_us, found.end_us) == (TEN_US, NOT_A_TIME)


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"medicationCodeableConcept": None}, "NO_CODE"),
        (
            {"medicationCodeableConcept": None, "medicationReference": {"reference": "Medication/9"}},
            "NO_CODE",
        ),
        ({"dosage": [{}, {}]}, "NOT_SUPPORTED"),
        ({"dosage": "8 mg/kg"}, "BAD_RECORD"),
        ({"dosage": {"rateRatio": {"numerator": {"value": 5}, "denominator": {"value": 0}}}}, "BAD_NUMBER"),
        ({"dosage": {"rateRatio": {"numerator": {"value": "many"}}}}, "BAD_NUMBER"),
        ({"effectiveDateTime": None, "effectivePeriod": {"start": ELEVEN, "end": TEN}}, "BAD_TIME"),
        ({"effectiveDateTime": None, "effectivePeriod": {"start": "2026-11-01"}}, "DATE_ONLY"),
    ],
)
def test_an_administration_that_cant_be_used_is_set_aside(tmp_path, elements, code):
    read = read_lines(tmp_path, patient(), administration(**elements))
    assert (read.codes, read.items("MedicationAdministration")) == ([code], (0, 0, 1))


@pytest.mark.parametrize("status", ["not-done", "entered-in-error"])
def test_a_drug_that_was_not_given_is_withdrawn(tmp_path, status):
    (found,) = read_lines(tmp_path, administration(status=status)).records
    assert (found.status, found.identity) == ("withdrawn", "MedicationAdministration/m1")


def test_procedures_devices_diseases_and_stays(tmp_path):
    read = read_lines(
        tmp_path,
        resource("Procedure", status="completed", code=concept((SNOMED, "1")), performedDateTime=TEN),
        resource("Procedure", status="preparation", code=concept((SNOMED, "1"))),
        resource("Device", id="d1", type=concept((SNOMED, "2"))),
        resource(
            "DeviceUseStatement",
            status="active",
            device={"reference": "Device/d1"},
            timingPeriod={"start": TEN},
        ),
        resource("Condition", code=concept((SNOMED, "3")), onsetDateTime="2024-05"),
        resource(
            "Condition", code=concept((SNOMED, "4")), verificationStatus=concept(("urn:v", "refuted")), id="c"
        ),
        resource(
            "Encounter", status="finished", period={"start": TEN, "end": ELEVEN}, **{"class": {"code": "IMP"}}
        ),
    )
    assert [(one.kind, one.codes, one.status) for one in read.records] == [
        ("procedure", f"{SNOMED}|1", "final"),
        ("device", f"{SNOMED}|2", "final"),
        ("condition", f"{SNOMED}|3", "final"),
        ("condition", "", "withdrawn"),
        ("stay", "|IMP", "final"),
    ]
    assert read.items("Procedure") == (1, 1, 0)
    assert read.items("Device") == (0, 1, 0)
    assert [one.start_us for one in read.records[2:4]] == [NOT_A_TIME, NOT_A_TIME]
    assert (read.records[4].start_us, read.records[4].end_us) == (TEN_US, TEN_US + HOUR_US)


def test_a_stay_that_is_dated_by_days_is_set_aside(tmp_path):
    read = read_lines(
        tmp_path, patient(), resource("Encounter", status="finished", period={"start": "2026-11-01"})
    )
    assert read.codes == ["DATE_ONLY"]


def test_facts_of_a_patient_are_items_of_their_own(tmp_path):
    sent = patient(gender="F", birthDate="1961-04", deceasedDateTime=TEN)
    read = read_lines(tmp_path, sent)
    assert [(one.kind, one.codes, one.value, one.start_us) for one in read.records] == [
        ("person", "urn:crsrisk|birth_date", "1961-04", NOT_A_TIME),
        ("result", "urn:crsrisk|death", "1", TEN_US),
    ]
    assert (read.codes, read.items("Patient")) == (["BAD_SEX"], (1, 0, 0))


@pytest.mark.parametrize(
    ("elements", "code"),
    [({"deceasedDateTime": "2026-11-03"}, "DATE_ONLY"), ({"deceasedBoolean": True}, "NO_TIME")],
)
def test_a_death_without_its_hour_is_set_aside_not_put_at_midnight(tmp_path, elements, code):
    read = read_lines(tmp_path, patient(**elements))
    assert (read.codes, [one.value for one in read.records]) == ([code], ["female"])


def test_what_a_cohort_does_not_need_is_counted(tmp_path):
    read = read_lines(
        tmp_path, resource("MedicationRequest"), resource("Organization"), resource("Organization")
    )
    assert (read.items("Organization"), read.items("MedicationRequest")) == ((0, 2, 0), (0, 1, 0))


def test_what_is_no_resource_of_r4_is_set_aside(tmp_path):
    read = read_lines(tmp_path, patient(), {"resourceType": "Banana"}, {"id": "x"}, "[1]", '"text"')
    assert read.codes == ["BAD_RECORD"] * 4
    assert [row[1] for row in read.quarantine] == [f"all.ndjson line {number}" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(("severity", "codes"), [("error", ["SOURCE_ERROR"]), ("information", [])])
def test_an_error_that_the_source_reports_is_not_passed_over(tmp_path, severity, codes):
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity}]}
    assert read_bundle(tmp_path, patient(), outcome).codes == codes


def test_codes_without_system_with_a_version_or_as_text_are_carried(tmp_path):
    codes = concept(("http://loinc.org|2.72", "1988-5"))
    codes["coding"] += [{"code": "CRP1"}, {"display": "no code"}, "junk"]
    read = read_lines(tmp_path, observation(code=codes), observation(id="o2", code={"text": "CRP (local)"}))
    assert [one.codes for one in read.records] == ["http://loinc.org|1988-5\x1f|CRP1", "|CRP (local)"]


def test_an_unusable_time_of_writing_is_counted_and_the_result_kept(tmp_path):
    read = read_lines(tmp_path, observation(meta={"lastUpdated": "soon", "versionId": "v7"}))
    assert [(one.revised_us, one.revision) for one in read.records] == [(NOT_A_TIME, 0)]
    assert [reason.partition(":")[0] for reason in read.account["adjusted"]] == ["VERSION_TIME"]


def test_a_result_without_id_is_known_by_identifier_code_and_time(tmp_path):
    order = [{"system": "urn:lab", "value": "order-7"}]
    crp = observation(id=None, identifier=order)
    ferritin = observation(id=None, identifier=order, code=concept(("http://loinc.org", "2276-4")))
    nameless = observation(id=None)
    found = read_lines(tmp_path, crp, ferritin, crp, nameless).records
    assert found[0].identity == found[2].identity != found[1].identity
    assert found[3].identity == ""


def test_our_own_facts_of_a_person_need_no_time(tmp_path):
    sent = observation(
        code=concept(("urn:crsrisk", "site")), effectiveDateTime=None, valueQuantity=None, valueString="A"
    )
    (found,) = read_lines(tmp_path, sent).records
    assert (found.kind, found.codes, found.value) == ("person", "urn:crsrisk|site", "A")


def test_reasons_repeat_no_value_and_no_identifier(tmp_path):
    read = read_lines(
        tmp_path,
        patient(id="P-SECRET"),
        observation(subject={"reference": "P-SECRET"}, status="SECRET", id="SECRET"),
    )
    reasons = str(read.account)
    assert read.codes == ["NO_PATIENT"]
    assert "SECRET" not in reasons


def test_an_empty_site_map_is_enough(tmp_path):
    assert len(read_lines(tmp_path, observation(), site=SiteMap()).records) == 1
