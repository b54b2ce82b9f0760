"""Every code of codes.csv is unique, sourced, and stands for something that crsrisk knows."""

import re
from pathlib import Path

import pytest

from crsrisk.analytes import analyte_for_code, analytes
from crsrisk.data_files import listed, number, rows
from crsrisk.readers.codes import Meaning, coding, codings, meaning
from crsrisk.readers.site_map import SiteMap
from crsrisk.therapies import therapies

ROOT = Path(__file__).parents[2]
CODES = rows("codes.csv")
ATC = "http://www.whocc.no/atc"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
CPT = "http://www.ama-assn.org/go/cpt"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
YJ = "http://capstandard.jp/iyaku.info/CodeSystem/YJ-code"
LOINC = "http://loinc.org"
SHAPES = {
    ATC: r"[A-Z]\d\d[A-Z]{2}\d\d",
    RXNORM: r"\d{3,7}",
    SNOMED: r"\d{6,18}",
    ICD10: r"[A-Z]\d\d(\.\d)?\*",
    ICD10CM: r"[A-Z]\d\d(\.\d)?\*",
    ICD10PCS: r"[0-9A-HJ-NP-Z]{7}",
    CPT: r"\d{5}",
    HCPCS: r"[A-Z]\d{4}",
    YJ: r"\d{7}([A-Z]\d?)?\*",
    LOINC: r"\d+-\d",
    "omop": r"\d+",
}
# Approved in the United States, Europe or Japan, yet no code of it was read at a source.
WITHOUT_CODE = {"afami-cel"}
CRS_DRUGS = {
    "tocilizumab_dose", "siltuximab_dose", "anakinra_dose", "dexamethasone_dose", "methylprednisolone_dose",
    "hydrocortisone_dose", "prednisolone_dose", "ruxolitinib_dose", "etanercept_dose", "acetaminophen_dose",
    "nsaid_dose", "norepinephrine_rate", "epinephrine_rate", "vasopressin_rate", "phenylephrine_rate",
    "dopamine_rate",
}  # fmt: skip


def of_kind(kind: str) -> list[dict[str, str]]:
    return [row for row in CODES if row["kind"] == kind]


def targets(kind: str, *systems: str) -> set[str]:
    return {row["target"] for row in of_kind(kind) if row["system"] in systems}


def support(*systems: str) -> set[str]:
    return {row["value"] for row in CODES if row["target"] == "resp_support" and row["system"] in systems}


def meant(system: str, code: str) -> Meaning | None:
    return meaning(coding(system, code), SiteMap())


def test_a_code_stands_once_per_system():
    found = [(row["system"], row["code"]) for row in CODES]
    assert len(found) == len(set(found))


def test_codes_have_the_shape_of_their_system():
    assert {row["system"] for row in CODES} == set(SHAPES)
    assert [row for row in CODES if not re.fullmatch(SHAPES[row["system"]], row["code"])] == []


@pytest.mark.parametrize("system", [RXNORM, SNOMED, LOINC])
def test_check_digits_are_right(system):
    """SNOMED CT ends in a Verhoeff digit, LOINC in a mod 10 digit; RxNorm has none and is only numeric."""
    check = {SNOMED: verhoeff, LOINC: mod10, RXNORM: lambda code: not code.startswith("0")}[system]
    assert [row["code"] for row in CODES if row["system"] == system and not check(row["code"])] == []


def verhoeff(code: str) -> bool:
    turn = [(1, 5, 7, 6, 2, 8, 3, 0, 9, 4)]
    permutation = [tuple(range(10)), turn[0]]
    for _ in range(6):
        permutation.append(tuple(turn[0][digit] for digit in permutation[-1]))
    state = 0
    for place, digit in enumerate(reversed(code)):
        state = dihedral(state, permutation[place % 8][int(digit)])
    return state == 0


def dihedral(a: int, b: int) -> int:
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5


def mod10(code: str) -> bool:
    digits, check = code.split("-")
    odd, even = digits[::-1][::2], digits[::-1][1::2]
    total = sum(int(digit) for digit in even[::-1] + str(int(odd[::-1]) * 2))
    return -total % 10 == int(check)


def test_the_check_of_check_digits_finds_a_wrong_one():
    assert verhoeff("336623009")
    assert not verhoeff("336632009")
    assert mod10("1988-5")
    assert not mod10("1988-4")


def test_kinds_are_known():
    assert {row["kind"] for row in CODES} == {"variable", "product", "therapy", "disease"}


def test_every_variable_is_an_analyte_key():
    assert {row["target"] for row in of_kind("variable")} - set(analytes()) == set()


def test_every_product_and_therapy_is_in_the_catalogue():
    assert {row["target"] for row in of_kind("product")} - {
        one.product for one in therapies().values()
    } == set()
    assert {row["target"] for row in of_kind("therapy")} - set(therapies()) == set()


def test_every_disease_selects_a_therapy():
    parts = [key.split("_", 1)[1] for key in therapies()]
    for token in {row["target"] for row in of_kind("disease")}:
        assert any(part.startswith(token) or part.endswith(token) for part in parts), token


def test_fixed_values_stand_only_where_the_code_tells_them_and_within_the_limits():
    for row in CODES:
        value = number(row["value"])
        tells = row["kind"] == "variable" and row["target"] in {"resp_support", "renal_replacement", "death"}
        assert (value is not None) == tells, row
        if value is not None:
            analyte = analytes()[row["target"]]
            assert analyte.hard_low <= value <= analyte.hard_high, row
    assert {row["value"] for row in CODES if row["target"] == "resp_support"} == {"0", "1", "2", "3", "4"}


def test_drugs_stand_for_doses_and_rates():
    drugs = {row["target"] for row in of_kind("variable") if not row["value"] and row["system"] != LOINC}
    assert drugs == CRS_DRUGS
    units = {analytes()[key].unit for key in drugs}
    assert units == {"mg", "ug/kg/min", "[USP'U]/min"}


def test_no_code_says_otherwise_than_the_analytes():
    for row in CODES:
        listed_as = analyte_for_code(row["system"], row["code"])
        assert listed_as is None, row


def test_every_source_resolves_in_the_bibliography():
    text = (ROOT / "docs" / "sources.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.MULTILINE))
    assert [row for row in CODES if not row["source"] or set(listed(row["source"])) - known] == []


def test_every_code_has_the_name_that_was_read_beside_it():
    assert [row for row in CODES if not row["name"]] == []
    assert [row for row in CODES if any(cell != cell.strip() for cell in row.values())] == []
    assert re.findall(r"UNVERIFIED|ASSUM|remembered|from memory", str(CODES)) == []


def test_every_drug_of_crs_has_an_atc_code_and_most_an_rxnorm_code():
    assert CRS_DRUGS - targets("variable", ATC) == set()
    assert CRS_DRUGS - targets("variable", RXNORM) == {"siltuximab_dose"}


def test_every_approved_product_has_a_code():
    approved = {
        row["key"].split("_")[0]
        for row in rows("therapies.csv")
        if row["approved_us"] or row["approved_eu"] or row["approved_jp"]
    }
    assert approved - targets("product", ATC, RXNORM, HCPCS, ICD10PCS) == WITHOUT_CODE


@pytest.mark.parametrize("system", [SNOMED, ICD10PCS])
def test_invasive_and_non_invasive_ventilation_and_high_flow_have_codes(system):
    assert {"2", "3", "4"} <= support(system)


@pytest.mark.parametrize("system", [ICD10, ICD10CM, SNOMED])
def test_every_disease_has_a_code(system):
    every = {"ALL", "LBCL", "FL", "MCL", "CLL", "MM", "SCLC", "UM", "mCRPC", "GC", "NB", "SS"}
    assert targets("disease", system) == every


@pytest.mark.parametrize(
    ("code", "disease"),
    [("C83.3", "LBCL"), ("C83.30", "LBCL"), ("C82", "FL"), ("C82.10", "FL"), ("C82.41", "LBCL")],
)
def test_the_longest_prefix_decides_and_a_prefix_is_a_code_itself(code, disease):
    assert meant(ICD10CM, code) == Meaning("disease", disease)


def test_whole_codes_are_not_prefixes():
    assert meant(ATC, "H02AB02") == Meaning("variable", "dexamethasone_dose")
    assert meant(ATC, "H02AB021") is None
    assert meant(ATC, "H02AB") is None


def test_a_route_of_its_own_is_a_therapy_of_its_own():
    assert meant(YJ, "4291476A1028") == Meaning("therapy", "mosun_FL_iv")
    assert meant(YJ, "4291476A4027") == Meaning("therapy", "mosun_FL_sc")


def test_topical_and_combined_drugs_stand_for_nothing():
    for code in ("2646704M2222", "1149117F1039", "2456402C1044", "2451700Q1032"):
        assert meant(YJ, code) is None


def test_powders_and_syrups_stand_for_nothing_because_their_grams_are_not_grams_of_drug():
    for code in ("1141007C1075", "1141007Q1048", "1141007R1060", "2456002B1062", "2454002S1122"):
        assert meant(YJ, code) is None


def test_oxygen_without_a_device_stands_for_no_level_of_support():
    assert meant(SNOMED, "57485005") is None
    assert meant(SNOMED, "336623009") == Meaning("variable", "resp_support", "1")


def test_the_analytes_answer_for_what_the_codes_do_not_list():
    assert meant("omop", "40171288") == Meaning("variable", "tocilizumab_dose")
    several = codings((SNOMED, "57485005"), (LOINC, "3151-8"))
    assert meaning(several, SiteMap()) == Meaning("variable", "o2_flow")
