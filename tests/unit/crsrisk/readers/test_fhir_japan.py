"""JP Core and JP-CLINS: JLAC10 with material, local codes, Japanese drug codes and units."""

from __future__ import annotations

import pytest

from crsrisk.readers.codes import meaning
from crsrisk.readers.site_map import SiteMap, site_map
from tests.fhir_builders import TEN, administration, observation, patient, read_bundle, read_lines

CLINS = "http://jpfhir.jp/fhir/clins/CodeSystem"
CORE_LABO = f"{CLINS}/JLAC10/JP_CLINS_ObsLabResult_CoreLabo_CS"
LOCAL = f"{CLINS}/JP_CLINS_ObsLabResult_LocalCode_CS"
JLAC10 = "urn:oid:1.2.392.200119.4.504"
SHORT_JLAC10 = "urn:oid:1.2.392.200119.4.1005"
MATERIALS = "http://jpfhir.jp/fhir/core/CodeSystem/JP_ObservationSampleMaterialCode_CS"
MEMBER = "http://jpfhir.jp/fhir/clins/Idsysmem/JP_Insurance_memberID"
UUID = "urn:uuid:0a48a4bf-0d87-4efb-aafd-d45e0842a4dd"


def laboratory(*codings: tuple[str, str], **elements) -> dict:
    """A result as JP-CLINS profiles it: several codings, text, institution, identifier, contained encounter."""
    whole = {
        "meta": {
            "lastUpdated": "2021-07-05T15:38:59.000+09:00",
            "profile": ["http://jpfhir.jp/fhir/eCS/StructureDefinition/JP_Observation_LabResult_eCS|1"],
        },
        "language": "ja",
        "contained": [{"resourceType": "Encounter", "id": "e", "status": "finished"}],
        "identifier": [{"system": "urn:instance", "value": "1311234567-9990767-OBSLAB1388-099"}],
        "code": {"coding": [{"system": s, "code": c, "display": "検査"} for s, c in codings], "text": "検査"},
        "subject": {"reference": UUID},
        "encounter": {"reference": "#e"},
        "issued": "2026-11-01T12:00:00+09:00",
        "valueQuantity": {"value": 8.2, "unit": "mg/dL"},
        "specimen": {"type": "Specimen", "display": "血清"},
    }
    return observation(**{**whole, **elements})


def variable_of(codes: str, site: SiteMap | None = None) -> str | None:
    found = meaning(codes, site or SiteMap())
    return None if found is None else found.target


def test_a_result_of_jp_clins_is_told_by_its_jlac10_code(tmp_path):
    sent = laboratory((LOCAL, "0000181800"), (CORE_LABO, "5C070000002302301"))
    person = patient(id="pt", identifier=[{"system": MEMBER, "value": "00012345:あいう:１８７:05"}])
    found = read_bundle(tmp_path, {"fullUrl": UUID, "resource": person}, {"resource": sent})
    (result,) = [one for one in found.records if one.kind == "result"]
    assert variable_of(result.codes) == "crp"
    assert (result.patient_id, result.value, result.unit) == ("pt", "8.2", "mg/dL")
    assert found.quarantine == []


def test_a_result_may_name_the_insured_person_alone(tmp_path):
    identifier = {"system": MEMBER, "value": "00012345:あいう:１８７:05"}
    found = read_lines(
        tmp_path, laboratory((JLAC10, "5C070000002302301"), subject={"identifier": identifier})
    )
    assert [one.patient_id for one in found.records] == [f"{MEMBER}|00012345:あいう:１８７:05"]


def test_a_local_code_is_what_the_site_map_says(tmp_path):
    site = site_map({"codes": {f"{LOCAL}|0000181800": "crp"}})
    found = read_lines(
        tmp_path, patient(id="pt"), laboratory((LOCAL, "0000181800"), subject={"reference": "Patient/pt"})
    )
    codes = found.records[-1].codes
    assert (variable_of(codes), variable_of(codes, site)) == (None, "crp")


@pytest.mark.parametrize(
    ("material", "expected"), [("023", "creatinine"), ("019", "creatinine"), ("001", None)]
)
def test_a_short_jlac10_code_takes_its_material_from_the_specimen(tmp_path, material, expected):
    kind = {"coding": [{"system": MATERIALS, "code": material}]}
    specimen = {"resourceType": "Specimen", "id": "s", "type": kind}
    subject = {"reference": "Patient/pt"}
    contained = laboratory(
        (SHORT_JLAC10, "3C015"), subject=subject, contained=[specimen], specimen={"reference": "#s"}
    )
    separate = laboratory((SHORT_JLAC10, "3C015"), subject=subject, specimen={"reference": "Specimen/s"})
    assert variable_of(read_lines(tmp_path, contained).records[0].codes) == expected
    assert variable_of(read_lines(tmp_path, separate, specimen).records[0].codes) == expected
    bundle = read_bundle(tmp_path, separate, {"fullUrl": "urn:s", "resource": specimen})
    assert variable_of(bundle.records[0].codes) == expected


def test_a_long_jlac10_code_names_its_material_itself(tmp_path):
    urine = laboratory((JLAC10, "3C015000000127101"), subject={"reference": "Patient/pt"})
    assert variable_of(read_lines(tmp_path, urine).records[0].codes) is None


def test_japanese_units_are_carried_as_printed(tmp_path):
    sent = laboratory((JLAC10, "2A990000001930955"), subject={"reference": "Patient/pt"})
    sent["valueQuantity"] = {"value": 12.3, "unit": "×10^4/μL"}
    (found,) = read_lines(tmp_path, sent).records
    assert (variable_of(found.codes), found.unit) == ("platelets", "×10^4/μL")


@pytest.mark.parametrize(
    "system", ["http://capstandard.jp/iyaku.info/CodeSystem/YJ-code", "urn:oid:1.2.392.100495.20.1.73"]
)
def test_drugs_come_with_the_codes_of_the_hospital(tmp_path, system):
    sent = administration(medicationCodeableConcept={"coding": [{"system": system, "code": "6399421A1020"}]})
    assert [one.codes for one in read_lines(tmp_path, sent).records] == [f"{system}|6399421A1020"]


def test_dates_of_japanese_stays_are_not_filled_up(tmp_path):
    stay = {
        "resourceType": "Encounter",
        "id": "e",
        "status": "finished",
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2021-07-05"},
    }
    found = read_lines(tmp_path, patient(), stay, observation(effectiveDateTime=TEN))
    assert (found.codes, len(found.records)) == (["DATE_ONLY"], 2)
