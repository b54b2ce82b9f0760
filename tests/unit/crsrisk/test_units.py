"""Units: only what is listed is accepted, and every factor is right."""

import csv
import math
import warnings
from pathlib import Path

import pytest

from crsrisk.errors import UnitError, UnknownVariableError
from crsrisk.units import (
    accepted_units,
    canonical_unit_name,
    convert,
    factor,
    needs_unit,
    normalise_unit,
    parse_number,
    to_canonical,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "unit_conversions.csv"


def golden() -> list[tuple[str, float, str, float]]:
    with GOLDEN.open(encoding="utf-8") as file:
        return [
            (row["analyte"], float(row["value"]), row["unit"], float(row["canonical"]))
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(("analyte", "value", "unit", "canonical"), golden())
def test_conversion_agrees_with_the_golden_table(analyte, value, unit, canonical):
    assert to_canonical(analyte, value, unit) == pytest.approx(canonical, rel=1e-9)


@pytest.mark.parametrize("unit", ["°F", "[degF]", "degF", "℉", "Ｆ"])
def test_100_4_fahrenheit_is_a_fever_of_exactly_38(unit):
    assert to_canonical("temperature", 100.4, unit) == 38.0


@pytest.mark.parametrize(
    ("analyte", "unit", "scale"),
    [
        ("crp", "ｍｇ／ｄＬ", 10.0),
        ("crp", "㎎/㎗", 10.0),
        ("crp", " mg / dL ", 10.0),
        ("ferritin", "\u00b5g/L", 1.0),
        ("ferritin", "\u03bcg/L", 1.0),
        ("platelets", "万/μＬ", 10.0),
        ("platelets", "×10⁴/µL", 10.0),
        ("platelets", "x10^3/uL", 1.0),
        ("platelets", "K/uL", 1.0),
        ("platelets", "10⁹/L", 1.0),
        ("temperature", "℃", 1.0),
        ("wbc", "/㎣", 0.001),
        ("norepinephrine_rate", "γ", 1.0),
    ],
)
def test_typing_of_a_unit_does_not_matter(analyte, unit, scale):
    assert factor(analyte, unit) == (scale, 0.0)


@pytest.mark.parametrize(
    ("analyte", "unit"),
    [
        ("crp", "nmol/L"),  # three factors are in use
        ("d_dimer", "ug/mL"),  # FEU or DDU
        ("d_dimer", "ug/mL{DDU}"),  # the factor 2 is approximate
        ("tocilizumab_dose", "mg/kg"),  # needs the weight
        ("platelets", "g/L"),  # G/L is another unit
        ("hemoglobin", "10*3/uL"),
        ("crp", "mg"),
        ("crp", "Mg/dL"),
        ("sil2ra_pg", "U/mL"),
        ("inr", "%"),
    ],
)
def test_a_unit_that_could_mean_something_else_is_refused(analyte, unit):
    assert factor(analyte, unit) is None
    with pytest.raises(UnitError, match="accepted: "):
        to_canonical(analyte, 1.0, unit)


@pytest.mark.parametrize("unit", [None, "", "  ", "\u3000"])
def test_a_missing_unit_is_refused_where_a_unit_exists(unit):
    assert factor("crp", unit) is None
    with pytest.raises(UnitError, match="crp: no unit; accepted: mg/L"):
        to_canonical("crp", 1.0, unit)


@pytest.mark.parametrize("analyte", ["resp_support", "death", "prior_lines", "inr", "extramedullary"])
def test_a_flag_count_score_or_ratio_needs_no_unit(analyte):
    assert not needs_unit(analyte)
    assert to_canonical(analyte, 1.0, None) == 1.0


def test_an_unknown_variable_is_named_and_nothing_is_converted():
    assert factor("nonsense", None) is None
    with pytest.raises(UnknownVariableError, match="'nonsense' is not in the analyte catalogue"):
        to_canonical("nonsense", 1.0, "mg/L")


def test_the_message_names_variable_and_unit_but_never_the_value():
    with pytest.raises(UnitError) as caught:
        to_canonical("crp", 987.125, "bananas")
    assert "crp: unit 'bananas'" in str(caught.value)
    assert "987" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(UnitError, match="not a finite number"):
        to_canonical("crp", value, "mg/L")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", (12.5, "")),
        ("<0.5", (0.5, "<")),
        ("＜0.5", (0.5, "<")),
        ("< 0.5", (0.5, "<")),
        ("<=0.5", (0.5, "<")),
        ("≦0.5", (0.5, "<")),
        (">1000", (1000.0, ">")),
        ("≧1000", (1000.0, ">")),
        ("＞＝1,000", (1000.0, ">")),
        ("1,200", (1200.0, "")),
        ("1,234,567.5", (1234567.5, "")),
        ("１２．５", (12.5, "")),
        (" 3 ", (3.0, "")),
        ("-1.5", (-1.5, "")),
        ("－1.5", (-1.5, "")),
        (".5", (0.5, "")),
        ("1e3", (1000.0, "")),
        (7, (7.0, "")),
        (7.25, (7.25, "")),
    ],
)
def test_a_number_is_read_with_its_comparator(text, expected):
    assert parse_number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5+", "120/80", "nan", "NaN", "inf", "-inf", "1,20", "12,34", "0,500", "1 200", "1.2.3",
        "10²", "½", "①", "١٢", "<", "<>5", "5 mg/L", "~5", "5-6", "1_000", "0x10", "1e309", "1e-", "--5",
        True, False, None, [1.0], b"5", math.nan, math.inf, 10**400,
    ],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(UnitError, match=r"the value is (a|not)"):
        parse_number(text)


def test_a_refused_number_does_not_appear_in_the_message():
    with pytest.raises(UnitError) as caught:
        parse_number("98765/43210")
    assert "98765" not in str(caught.value)


def test_accepted_units_start_with_the_canonical_one():
    assert accepted_units("platelets")[0] == "10*3/uL" == canonical_unit_name("platelets")
    assert "万/µL" in accepted_units("platelets")


def test_case_of_a_unit_stays():
    assert normalise_unit("G/L") != normalise_unit("g/L")


def test_the_table_is_the_same_on_numpy_arrays_to_the_last_bit():
    numpy = pytest.importorskip("numpy")
    values = numpy.linspace(90.0, 110.0, 2001)
    scale, shift = factor("temperature", "[degF]")
    expected = numpy.rint((values * scale + shift) * 1e9) / 1e9
    assert [convert(float(value), scale, shift) for value in values] == expected.tolist()


# Standard atomic weights (IUPAC, abridged); the factors in units.csv must follow from them.
WEIGHT = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "P": 30.974, "Ca": 40.078, "Mg": 24.305}


def molar_mass(**atoms: int) -> float:
    return sum(WEIGHT[atom] * count for atom, count in atoms.items())


@pytest.mark.parametrize(
    ("analyte", "unit", "grams_per_mole", "to_mg_dl"),
    [
        ("creatinine", "umol/L", molar_mass(C=4, H=7, N=3, O=1), 1e-4),
        ("bilirubin_total", "umol/L", molar_mass(C=33, H=36, N=4, O=6), 1e-4),
        ("uric_acid", "umol/L", molar_mass(C=5, H=4, N=4, O=3), 1e-4),
        ("glucose", "mmol/L", molar_mass(C=6, H=12, O=6), 0.1),
        ("bun", "mmol/L", molar_mass(N=2), 0.1),
        ("calcium_total", "mmol/L", WEIGHT["Ca"], 0.1),
        ("magnesium", "mmol/L", WEIGHT["Mg"], 0.1),
        ("phosphate", "mmol/L", WEIGHT["P"], 0.1),
        ("triglycerides", "mmol/L", molar_mass(C=57, H=104, O=6), 0.1),  # counted as triolein
    ],
)
def test_a_molar_factor_follows_from_the_atomic_weights(analyte, unit, grams_per_mole, to_mg_dl):
    scale, shift = factor(analyte, unit)
    assert shift == 0.0
    assert scale == pytest.approx(grams_per_mole * to_mg_dl, rel=5e-4)


def test_molar_factors_the_other_way_round_follow_too():
    assert factor("lactate", "mg/dL")[0] == pytest.approx(10 / molar_mass(C=3, H=6, O=3), rel=5e-4)
    assert factor("calcium_ionized", "mg/dL")[0] == pytest.approx(10 / WEIGHT["Ca"], rel=5e-4)
    assert factor("bun", "mg/dL{urea}")[0] == pytest.approx(
        molar_mass(N=2) / molar_mass(C=1, H=4, N=2, O=1), rel=5e-4
    )


# Residue masses of amino acids; the natriuretic peptides' molar masses must follow from their sequence.
RESIDUE = {
    "G": 57.0519, "A": 71.0788, "S": 87.0782, "P": 97.1167, "V": 99.1326,
    "T": 101.1051, "C": 103.1388, "L": 113.1594, "I": 113.1594, "N": 114.1038,
    "D": 115.0886, "Q": 128.1307, "K": 128.1741, "E": 129.1155, "M": 131.1926,
    "H": 137.1411, "F": 147.1766, "R": 156.1875, "Y": 163.1760, "W": 186.2132,
}  # fmt: skip
BNP_32 = "SPKMVQGSGCFGRKMDRISSSSGLGCKVLRRH"
NT_PROBNP = "HPLGSPGSASDLETSGLQEQRNHLQGKLSELQVEQTSLEPLQESPRPTGVWKSREVATEGIRGHRKMVLYTLRAPR"


@pytest.mark.parametrize(("analyte", "sequence"), [("bnp", BNP_32), ("nt_probnp", NT_PROBNP)])
def test_a_peptides_factor_follows_from_its_sequence(analyte, sequence):
    mass = sum(RESIDUE[residue] for residue in sequence) + 18.015
    assert factor(analyte, "pmol/L")[0] == pytest.approx(mass / 1000, rel=1e-3)


ORACLE = [
    ("crp", "mg/dL"), ("crp", "ug/mL"), ("crp", "g/L"), ("ferritin", "ug/L"),
    ("ferritin", "ug/dL"), ("albumin", "g/L"), ("albumin", "mg/dL"), ("hemoglobin", "g/L"),
    ("fibrinogen", "g/L"), ("troponin_t", "ng/mL"), ("il6", "ng/L"), ("il6", "fg/mL"),
    ("il6", "ng/mL"), ("fdp", "ng/mL"), ("procalcitonin", "ug/L"), ("creatinine", "mg/L"),
    ("o2_flow", "mL/min"), ("weight", "g"), ("weight", "[lb_av]"), ("height", "m"),
    ("height", "[in_i]"), ("sbp", "kPa"), ("platelets", "10*9/L"), ("platelets", "/uL"),
    ("wbc", "10*6/L"), ("ldh", "ukat/L"), ("fluid_bolus", "L"), ("tumor_spd", "cm2"),
    ("bsab_dose", "ug"), ("heart_rate", "Hz"), ("age", "mo"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ucum():
    """A converter by ucumvert and pint: an oracle for plain UCUM units, never used when running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ucumvert = pytest.importorskip("ucumvert")
        return ucumvert.PintUcumRegistry()


@pytest.mark.parametrize(("analyte", "unit"), ORACLE)
def test_factor_agrees_with_a_ucum_library(ucum, analyte, unit):
    canonical = canonical_unit_name(analyte)
    if unit == "ukat/L":  # the library has no enzyme unit U: 1 U is 1 umol/min
        expected = ucum.from_ucum("umol/s/L").to(ucum.from_ucum("umol/min/L").units).magnitude
    elif canonical == "/min":
        expected = ucum.from_ucum("/s").to(ucum.from_ucum("/min").units).magnitude
    else:
        expected = ucum.from_ucum(unit).to(ucum.from_ucum(canonical).units).magnitude
    assert factor(analyte, unit)[0] == pytest.approx(float(expected), rel=1e-4)


def test_the_library_reads_thousands_of_cells_as_kelvin_so_it_is_only_an_oracle(ucum):
    assert "kelvin" in str(ucum.from_ucum("K/uL").units)
    assert factor("platelets", "K/uL") == (1.0, 0.0)


def test_the_published_test_vectors_hold():
    vectors = [
        ("creatinine", 88.4, "umol/L", 1.0),
        ("crp", 30.0, "mg/L", 10 * 3.0),
        ("ldh", 5.0, "ukat/L", 300.0),
        ("platelets", 175000, "/uL", 175.0),
        ("ferritin", 650, "ug/L", 650.0),
        ("temperature", 100.4, "[degF]", 38.0),
        ("hemoglobin", 90, "g/L", 9.0),
    ]
    for analyte, value, unit, expected in vectors:
        assert to_canonical(analyte, value, unit) == pytest.approx(expected, rel=1e-12), analyte
