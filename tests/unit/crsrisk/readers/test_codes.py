"""What codes stand for."""

from __future__ import annotations

import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.codes import Meaning, check_targets, codings, meaning
from crsrisk.readers.site_map import SiteMap, read_site_map, site_map

ATC = "http://www.whocc.no/atc"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def of(*pairs: tuple[str, str], **site) -> Meaning | None:
    return meaning(codings(*pairs), SiteMap(**site))


def test_the_first_coding_that_is_known_counts():
    assert of(("urn:local", "X1"), ("http://loinc.org", "1988-5")) == Meaning("variable", "crp")


def test_the_site_map_wins_over_the_catalogue():
    pairs = (("urn:local", "X1"), ("http://loinc.org", "1988-5"))
    assert of(*pairs, codes={"urn:local|X1": "ferritin"}) == Meaning("variable", "ferritin")
    assert of(*pairs, codes={"http://loinc.org|1988-5": "ignore"}) == Meaning("ignore", "")


def test_a_code_without_a_system_is_found_by_itself():
    assert of(("", "LAB7"), codes={"LAB7": "crp"}) == Meaning("variable", "crp")


def test_a_drug_a_product_and_a_disease_are_found():
    assert of((ATC, "L04AC07")) == Meaning("variable", "tocilizumab_dose")
    assert of((ATC, "L01FX07")) == Meaning("product", "blina")
    assert of((ICD, "C90.00")) == Meaning("disease", "MM")


@pytest.mark.parametrize("code", ["C83.30", "C8330", "C83.3"])
def test_a_prefix_covers_its_codes_with_and_without_the_point(code):
    assert of((ICD, code)) == Meaning("disease", "LBCL")


def test_a_device_has_a_fixed_value():
    assert of(("x", "vent"), codes={"x|vent": "device:resp_support=4"}) == Meaning(
        "variable", "resp_support", "4"
    )


def test_an_unknown_code_stands_for_nothing():
    assert of(("http://loinc.org", "99999-9")) is None
    assert of(("urn:unknown:system", "1988-5")) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"codes": {"a|b": "no_such_variable"}}, "target 'no_such_variable'"),
        ({"units": {"crp": "K"}}, "crp = 'K'; accepted"),
        ({"units": {"nothing": "mg/L"}}, "'nothing' is no analyte key"),
        ({"therapies": {"tisa-cel": "tisa"}}, "accepted: a key of the catalogue"),
    ],
)
def test_a_map_that_names_what_does_not_exist_is_refused(content, said):
    with pytest.raises(CrsRiskError, match=said):
        check_targets(site_map(content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"zone": "UTC"}, "'zone' is not known"),
        ({"time_zone": "Tokyo"}, "time_zone 'Tokyo' is not known"),
        ({"lookback_days": -1}, "no number of days above 0"),
        ({"lookback_days": float("inf")}, "at most 36525"),
        ({"codes": {"a": 1}}, "other than text"),
        ({"codes": []}, "no table"),
        ({"courses": {"p": {"therapy": "x"}}}, "entry 1 of"),
        ({"courses": {"p": {"therapy": "x", "index_time": "2026-01-01T00:00:00"}}}, "without an offset"),
        ({"investigational": {"x": {"name": "X"}}}, "class is missing"),
    ],
)
def test_a_map_that_says_something_unknown_is_refused(content, said):
    with pytest.raises(CrsRiskError, match=said):
        site_map(content)


def test_no_map_says_nothing():
    assert read_site_map(None) == SiteMap()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"= 1", None])
def test_a_file_that_is_no_map_is_refused(tmp_path, content):
    file = tmp_path / "map.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CrsRiskError, match="no site map"):
        read_site_map(file)


def test_several_stated_courses_of_one_patient_are_sorted():
    times = ["2026-03-01T00:00:00+09:00", "2026-01-01T00:00:00+09:00"]
    found = site_map({"courses": {"p": [{"therapy": "tec_MM", "index_time": time} for time in times]}})
    stated = found.courses["p"]
    assert stated[0].index_us < stated[1].index_us


def test_codings_that_stand_for_different_things_contradict_each_other():
    assert of(("http://loinc.org", "1988-5"), ("http://loinc.org", "2276-4")).kind == "contradicting"
    assert of(("http://loinc.org", "1988-5"), ("http://loinc.org", "76485-2")) == Meaning("variable", "crp")
