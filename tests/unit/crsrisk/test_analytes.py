"""The analyte catalogue and its codes."""

import pytest

from crsrisk.analytes import analyte, analyte_for_code, analytes
from crsrisk.errors import UnknownVariableError

LOINC = "http://loinc.org"
JLAC10 = "http://medis.or.jp/CodeSystem/master-JLAC10-17digits"
JLAC10_OLD = "urn:oid:1.2.392.200119.4.1005"


def test_an_analyte_tells_its_unit_limits_and_names():
    crp = analyte("crp")
    assert (crp.unit, crp.hard_low, crp.hard_high) == ("mg/L", 0.0, 1000.0)
    assert (crp.name_en, crp.name_ja) == ("C-reactive protein", "C反応性蛋白（CRP）")


def test_an_unknown_variable_says_what_to_do():
    with pytest.raises(UnknownVariableError, match=r"'il12p70' is not in the analyte catalogue .* add a row"):
        analyte("il12p70")


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        analytes()["new"] = analyte("crp")  # type: ignore[index]


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (LOINC, "1988-5", "crp"),
        ("LOINC", "2276-4", "ferritin"),
        ("urn:oid:2.16.840.1.113883.6.1", "8310-5", "temperature"),
        (LOINC, "33762-6", "nt_probnp"),  # public lists call it IL-1 beta
        (LOINC, "26881-3", "il6"),  # public lists call it procalcitonin
        (LOINC, "3150-0", "fio2"),
        ("omop", "3020460", "crp"),
        ("omop", "3051714", "d_dimer"),
    ],
)
def test_a_verified_code_finds_its_analyte(system, code, expected):
    assert analyte_for_code(system, code) == expected


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (LOINC, "3150-6"),  # fails the check digit, often quoted for FiO2
        (LOINC, "30522-7"),  # cardiac hs-CRP, name not seen
        (LOINC, "26882-1"),  # not IL-6 mass
        (LOINC, "770-8"),  # neutrophils in percent
        (LOINC, ""),
        ("omop", "37021210"),  # D-dimer in DDU
        ("http://example.org/local", "1988-5"),
        (JLAC10, "2A160000001930951"),  # neutrophils in percent
        (JLAC10, "ZZZZZ000002327101"),
    ],
)
def test_a_code_that_is_not_verified_finds_nothing(system, code):
    assert analyte_for_code(system, code) is None


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (JLAC10, "5C070000002306201", "crp"),
        (JLAC10, "5C070000002206201", "crp"),  # plasma
        ("urn:oid:1.2.392.200119.4.504", "3C015000002327101", "creatinine"),
        (JLAC10_OLD, "3C015", "creatinine"),
        (JLAC10, "2A990000001930952", "wbc"),
        (JLAC10, "2A990000001930953", "hemoglobin"),
        (JLAC10, "2A990000001930955", "platelets"),
        (JLAC10, "2B030000002231157", "inr"),
        (JLAC10, "9P100000000000001", "temperature"),
    ],
)
def test_a_japanese_code_is_matched_on_analyte_material_and_result(system, code, expected):
    assert analyte_for_code(system, code) == expected


def test_creatinine_in_urine_is_not_creatinine():
    assert analyte_for_code(JLAC10, "3C015000000127101") is None


def test_a_panel_prefix_alone_is_ambiguous():
    assert analyte_for_code(JLAC10_OLD, "2A990") is None
