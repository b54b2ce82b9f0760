"""OMOP rows as records: what is carried, what is set aside and why."""

from __future__ import annotations

import csv
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.omop import read_omop
from crsrisk.readers.record import CODE_SEPARATOR, Record
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME, parse_time

TOKYO = SiteMap(time_zone=ZoneInfo("Asia/Tokyo"))
BERLIN = SiteMap(time_zone=ZoneInfo("Europe/Berlin"))
CRP, LDH = "3020460", "3016436"
MG_L, MG_DL = "8751", "8840"
TIME = "2024-03-05 10:00:00"

Rows = list[dict[str, str]]


def measurement(number: int, **cells: str) -> dict[str, str]:
    usual = {
        "measurement_id": str(number), "person_id": "1", "measurement_concept_id": CRP,
        "measurement_date": "2024-03-05", "measurement_datetime": TIME, "value_as_number": "38.4",
        "operator_concept_id": "", "unit_concept_id": MG_L, "unit_source_value": "",
        "measurement_source_value": "", "value_source_value": "",
    }  # fmt: skip
    return usual | cells


def drug(number: int, **cells: str) -> dict[str, str]:
    usual = {
        "drug_exposure_id": str(number), "person_id": "1", "drug_concept_id": "1", "drug_source_value": "",
        "drug_exposure_start_date": "2024-03-05", "drug_exposure_start_datetime": TIME,
        "drug_exposure_end_date": "2024-03-05", "drug_exposure_end_datetime": "", "quantity": "8",
        "dose_unit_source_value": "mg", "sig": "",
    }  # fmt: skip
    return usual | cells


def spell(number: int, stem: str, **cells: str) -> dict[str, str]:
    """A row of DEVICE_EXPOSURE or PROCEDURE_OCCURRENCE."""
    start = f"{stem}_exposure_start" if stem == "device" else stem
    end = f"{stem}_exposure_end" if stem == "device" else f"{stem}_end"
    key = "device_exposure_id" if stem == "device" else "procedure_occurrence_id"
    usual = {
        key: str(number), "person_id": "1", f"{stem}_concept_id": "4", f"{stem}_source_value": "",
        f"{start}_date": "2024-03-05", f"{start}_datetime": TIME, f"{end}_date": "", f"{end}_datetime": "",
    }  # fmt: skip
    return usual | {name.replace("start", start).replace("end", end): cell for name, cell in cells.items()}


def write(folder: Path, **tables: Rows) -> Path:
    folder.mkdir(exist_ok=True)
    tables.setdefault("person", [{"person_id": "1", "gender_concept_id": "8532", "year_of_birth": "1961"}])
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as sheet:
            writer = csv.DictWriter(sheet, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return folder


class Reading:
    """What came of a source: records, items by kind, and the quarantine as (position, reason)."""

    def __init__(self, source: Path | str, site: SiteMap, sheet: Path) -> None:
        with Account(sheet) as account:
            batches = list(read_omop(source, site, account))
            rows = sum(batch.num_rows for batch in batches)
            account.records(rows)
            account.fate("event", rows)
            account.verify()
            self.items = account.to_dict()["items"]
        self.records = [Record(**row) for row in pa.Table.from_batches(batches).to_pylist()]
        with sheet.open(encoding="utf-8") as lines:
            self.quarantine = [(row["position"], row["reason"]) for row in csv.DictReader(lines)]

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    def codes_of_reasons(self) -> list[str]:
        return [reason.partition(":")[0] for _, reason in self.quarantine]


def read(tmp_path: Path, site: SiteMap = TOKYO, **tables: Rows) -> Reading:
    return Reading(write(tmp_path / "omop", **tables), site, tmp_path / "quarantine.csv")


def one(tmp_path: Path, site: SiteMap = TOKYO, **cells: str) -> Record:
    found = read(tmp_path, site, measurement=[measurement(1, **cells)])
    assert found.quarantine == []
    return found.of("result")[0]


def us(text: str) -> int:
    return parse_time(text)


def test_without_a_zone_nothing_is_read_and_the_line_to_write_is_named(tmp_path):
    folder = write(tmp_path / "omop", measurement=[measurement(1)])
    with pytest.raises(CrsRiskError, match='time_zone = "Asia/Tokyo"'):
        Reading(folder, SiteMap(), tmp_path / "quarantine.csv")


def test_a_result_is_carried_as_it_is_reported(tmp_path):
    assert one(tmp_path, measurement_source_value="CRP", value_as_number="38.40") == Record(
        position="MEASUREMENT 1",
        kind="result",
        patient_id="1",
        codes=f"omop|{CRP}{CODE_SEPARATOR}|CRP",
        start_us=us("2024-03-05T10:00:00+09:00"),
        end_us=us("2024-03-05T10:00:00+09:00"),
        value="38.40",
        unit="mg/L",
        identity="MEASUREMENT/1",
    )


def test_long_identifiers_keep_every_digit(tmp_path):
    found = one(tmp_path, measurement_id="9007199254740993", person_id="1234567890123")
    assert (found.patient_id, found.identity) == ("1234567890123", "MEASUREMENT/9007199254740993")


def test_a_date_without_a_time_is_set_aside_not_made_midnight(tmp_path):
    rows = [measurement(1, measurement_datetime=""), measurement(2, measurement_datetime="2024-03-05")]
    found = read(tmp_path, measurement=rows)
    assert found.of("result") == []
    assert found.codes_of_reasons() == ["DATE_ONLY", "DATE_ONLY"]


def test_a_table_without_datetimes_is_set_aside_row_by_row(tmp_path):
    bare = measurement(1)
    del bare["measurement_datetime"]
    found = read(tmp_path, measurement=[bare, bare | {"measurement_id": "2"}])
    assert found.codes_of_reasons() == ["DATE_ONLY", "DATE_ONLY"]
    assert found.items["MEASUREMENT row"] == {"read": 2, "carried": 0, "not_needed": 0, "quarantined": 2}


def at(hour: int) -> str:
    return f"2024-03-05 {hour:02d}:00:00"


def test_midnights_of_a_filled_table_are_dates_and_its_other_times_are_used(tmp_path):
    rows = [measurement(n, measurement_datetime=at(0 if n < 13 else n)) for n in range(24)]
    found = read(tmp_path, measurement=rows)
    assert len(found.of("result")) == 11
    assert {reason.partition(",")[0] for _, reason in found.quarantine} == {
        "DATE_ONLY: at exactly 00:00:00 like most rows of its concept or table"
    }


def test_midnights_of_charting_every_twelve_hours_are_true(tmp_path):
    rows = [measurement(n, measurement_datetime=at(12 * (n % 2))) for n in range(24)]
    assert len(read(tmp_path, measurement=rows).of("result")) == 24


def test_filled_laboratory_values_are_found_among_timed_vital_signs(tmp_path):
    vitals = [
        measurement(n, measurement_concept_id="3027018", measurement_datetime=at(n % 24)) for n in range(200)
    ]
    filled = [measurement(200 + n, measurement_datetime=at(0)) for n in range(20)]
    found = read(tmp_path, measurement=vitals + filled)
    assert {record.codes for record in found.of("result")} == {"omop|3027018"}
    assert len(found.quarantine) == 20


def test_three_infusions_all_at_midnight_are_dates(tmp_path):
    rows = [spell(n, "procedure", start_datetime=at(0)) for n in range(3)]
    assert read(tmp_path, procedure_occurrence=rows).codes_of_reasons() == ["DATE_ONLY"] * 3


def test_one_midnight_can_not_be_told_from_a_true_one(tmp_path):
    rows = [spell(1, "procedure", start_datetime=at(0))]
    assert len(read(tmp_path, procedure_occurrence=rows).of("procedure")) == 1


@pytest.mark.parametrize(
    ("operator", "comparator"),
    [("4171756", "<"), ("4171754", "<="), ("4172703", ""), ("4171755", ">="), ("4172704", ">"), ("0", "")],
)
def test_operators_are_read_by_their_concepts(tmp_path, operator, comparator):
    assert one(tmp_path, operator_concept_id=operator).comparator == comparator


@pytest.mark.parametrize("operator", ["9999", "less"])
def test_an_unknown_operator_is_set_aside(tmp_path, operator):
    found = read(tmp_path, measurement=[measurement(1, operator_concept_id=operator)])
    assert found.codes_of_reasons() == ["BAD_COMPARATOR"]


@pytest.mark.parametrize(
    ("number", "written", "operator", "value", "comparator"),
    [
        ("0.5", "<0.5", "", "<0.5", ""),
        ("0.5", "<= 0.50", "0", "<= 0.50", ""),
        ("0.5", "0.50", "", "0.50", ""),
        ("1200", "1,200", "", "1,200", ""),
        ("2.39", "２．３９", "", "２．３９", ""),
        ("0.5", "<5", "", "0.5", ""),  # another number: not this one's comparator
        ("0.5", "0.5 mg/L", "", "0.5", ""),
        ("0.5", "<0.5", "4172703", "0.5", ""),  # the operator is stated
        ("0.5", "<0.5", "4171756", "<0.5", "<"),
        ("0.5", "0.50", "4171756", "0.50", "<"),
    ],
)
def test_what_the_source_wrote_is_kept_where_it_is_the_same_number(
    tmp_path, number, written, operator, value, comparator
):
    found = one(tmp_path, value_as_number=number, value_source_value=written, operator_concept_id=operator)
    assert (found.value, found.comparator) == (value, comparator)


def test_the_text_of_the_source_stands_in_for_a_missing_number(tmp_path):
    assert one(tmp_path, value_as_number="NULL", value_source_value="<0.5").value == "<0.5"


@pytest.mark.parametrize(
    ("concept", "written", "unit"),
    [
        (MG_DL, "mg/l", "mg/dL"),  # the concept is that of the number
        ("0", "mg/l", "mg/l"),
        ("", "mg/l", "mg/l"),
        ("999999", "mg/l", "mg/l"),
        ("999999", "", "omop:999999"),  # no unit would let the site map state one
        ("0", "", ""),
    ],
)
def test_units_come_from_the_concept_then_from_the_source(tmp_path, concept, written, unit):
    assert one(tmp_path, unit_concept_id=concept, unit_source_value=written).unit == unit


def concept(number: str, name: str, vocabulary: str, code: str) -> dict[str, str]:
    return {"concept_id": number, "concept_name": name, "vocabulary_id": vocabulary, "concept_code": code}


def test_the_vocabulary_adds_codes_of_standard_and_source_concepts(tmp_path):
    known = [
        concept(CRP, "C reactive protein", "LOINC", "1988-5"),
        concept("2000000001", "CRP", "KDC", "L31"),
        concept("42", "unused", "LOINC", "2276-4"),
    ]
    row = measurement(1, measurement_source_concept_id="2000000001", measurement_source_value="crp ")
    found = read(tmp_path, measurement=[row], concept=known).of("result")[0]
    assert found.codes.split(CODE_SEPARATOR) == [
        f"omop|{CRP}", "http://loinc.org|1988-5", "omop|2000000001", "KDC|L31", "|crp",
    ]  # fmt: skip


def test_one_cell_is_one_code(tmp_path):
    found = one(tmp_path, measurement_concept_id="0", measurement_source_value="local\x1furn:crsrisk|crp")
    assert found.codes == "|local urn:crsrisk|crp"


def test_a_source_concept_that_is_the_standard_one_is_named_once(tmp_path):
    row = measurement(1, measurement_source_concept_id=CRP)
    assert read(tmp_path, measurement=[row]).of("result")[0].codes == f"omop|{CRP}"


def test_vocabulary_files_separated_by_tabs_with_bare_quotes_are_read(tmp_path):
    folder = write(tmp_path / "omop", measurement=[measurement(1, unit_concept_id="8888")])
    (folder / "CONCEPT.csv").write_text(
        'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n1\t5" needle\tSNOMED\t1\n'
        "8888\tcells per cubic millimeter\tUCUM\t{cells}/mm3\n",
        encoding="utf-8",
    )
    found = Reading(folder, TOKYO, tmp_path / "quarantine.csv")
    assert found.of("result")[0].unit == "{cells}/mm3"


def test_farad_does_not_pass_as_fahrenheit(tmp_path):
    rows = [measurement(1, unit_concept_id="8517")]
    found = read(tmp_path, measurement=rows, concept=[concept("8517", "Farad", "UCUM", "F")])
    assert found.of("result")[0].unit == "Farad"


def of_class(kind: str, *cells: str) -> dict[str, str]:
    return concept(*cells) | {"concept_class_id": kind}


def above(drug_concept: str, *ancestors: str) -> Rows:
    return [
        {"ancestor_concept_id": one, "descendant_concept_id": drug_concept}
        for one in (drug_concept, *ancestors)
    ]


def test_a_package_is_known_by_its_only_ingredient(tmp_path):
    known = [
        of_class("Clinical Drug", "101", "dexamethasone 4 MG Injection", "RxNorm", "309696"),
        of_class("Clinical Drug", "102", "acetaminophen 325 MG / codeine 30 MG Tablet", "RxNorm", "993781"),
        of_class("Ingredient", "1", "dexamethasone", "RxNorm", "3264"),
        of_class("Ingredient", "2", "acetaminophen", "RxNorm", "161"),
        of_class("Ingredient", "3", "codeine", "RxNorm", "2670"),
        of_class("ATC 5th", "4", "dexamethasone; systemic", "ATC", "H02AB02"),
    ]
    drugs = [drug(1, drug_concept_id="101"), drug(2, drug_concept_id="102"), drug(3, drug_concept_id="1")]
    ancestors = [*above("101", "1", "4"), *above("102", "2", "3"), *above("1", "4"), *above("999", "1")]
    found = read(tmp_path, drug_exposure=drugs, concept=known, concept_ancestor=ancestors).of("drug")
    rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
    assert [record.codes.split(CODE_SEPARATOR) for record in found] == [
        ["omop|101", f"{rxnorm}|309696", "omop|1", f"{rxnorm}|3264"],
        ["omop|102", f"{rxnorm}|993781"],  # two ingredients: the amount is of neither
        ["omop|1", f"{rxnorm}|3264"],
    ]


@pytest.mark.parametrize(
    ("cells", "amount", "rate"),
    [
        ({}, ("8", "mg"), ("", "")),
        ({"quantity": "0.1", "dose_unit_source_value": "ug/kg/min"}, ("", ""), ("0.1", "ug/kg/min")),
        ({"quantity": "", "dose_unit_source_value": "", "sig": "400 mg"}, ("400", "mg"), ("", "")),
        ({"quantity": "", "sig": "0.1 ug/kg/min"}, ("", ""), ("0.1", "ug/kg/min")),
        ({"quantity": "", "sig": "one tablet daily"}, ("", "mg"), ("", "")),
        ({"quantity": "", "sig": "8 mg every 8 hours"}, ("", "mg"), ("", "")),
    ],
)
def test_a_drug_is_an_amount_or_a_rate_by_its_unit(tmp_path, cells, amount, rate):
    found = read(tmp_path, drug_exposure=[drug(1, **cells)]).of("drug")[0]
    assert ((found.value, found.unit), (found.rate, found.rate_unit)) == (amount, rate)


GIVEN = "2024-03-05T10:00:00+09:00"


@pytest.mark.parametrize(
    ("cells", "end"),
    [
        ({}, GIVEN),
        ({"drug_exposure_end_datetime": "2024-03-05 12:00:00"}, "2024-03-05T12:00:00+09:00"),
        (
            {"drug_exposure_end_date": "2024-04-02"},
            None,
        ),  # 28 days of infusion: the hour of the end is not known
        ({"drug_exposure_end_datetime": "2024-03-05 00:00:00"}, GIVEN),  # a filled date
        ({"dose_unit_source_value": "ug/kg/min"}, None),  # a rate runs until it is changed
    ],
)
def test_an_end_that_is_a_date_is_never_a_time(tmp_path, cells, end):
    found = read(tmp_path, drug_exposure=[drug(1, **cells)]).of("drug")[0]
    assert (found.start_us, found.end_us) == (us(GIVEN), NOT_A_TIME if end is None else us(end))


@pytest.mark.parametrize("end", [{"end_date": "2024-03-04"}, {"end_datetime": "2024-03-05 09:59:59"}])
def test_what_ends_before_it_starts_is_set_aside(tmp_path, end):
    found = read(tmp_path, device_exposure=[spell(1, "device", **end)])
    assert [reason for _, reason in found.quarantine] == [
        "BAD_TIME: it ends before it starts; accepted: an end at the start or later"
    ]


@pytest.mark.parametrize(
    ("stem", "cells", "end"),
    [
        ("device", {}, None),
        ("device", {"end_date": "2024-03-08"}, None),
        ("device", {"end_datetime": "2024-03-08 07:30:00"}, "2024-03-08T07:30:00+09:00"),
        ("procedure", {}, GIVEN),
        ("procedure", {"end_date": "2024-03-05"}, GIVEN),
        ("procedure", {"end_date": "2024-03-08"}, None),
        ("procedure", {"end_datetime": "2024-03-05 11:00:00"}, "2024-03-05T11:00:00+09:00"),
    ],
)
def test_devices_go_on_and_procedures_are_moments_unless_an_end_is_known(tmp_path, stem, cells, end):
    table = "device_exposure" if stem == "device" else "procedure_occurrence"
    found = read(tmp_path, **{table: [spell(1, stem, **cells)]}).of(stem)[0]
    assert (found.start_us, found.end_us) == (us(GIVEN), NOT_A_TIME if end is None else us(end))


def test_a_death_is_a_result_when_its_hour_is_known(tmp_path):
    rows = [
        {"person_id": "1", "death_date": "2024-03-09", "death_datetime": "2024-03-09 04:10:00"},
        {"person_id": "2", "death_date": "2024-03-09", "death_datetime": ""},
    ]
    found = read(tmp_path, death=rows)
    died = found.of("result")[0]
    assert (died.codes, died.value, died.start_us) == (
        "urn:crsrisk|death",
        "1",
        us("2024-03-09T04:10:00+09:00"),
    )
    assert found.codes_of_reasons() == ["DATE_ONLY"]


def test_a_date_is_enough_for_a_condition(tmp_path):
    row = {"condition_occurrence_id": "1", "person_id": "1", "condition_concept_id": "0",
           "condition_source_value": "C83.3", "condition_start_date": "2023-11-01"}  # fmt: skip
    found = read(tmp_path, condition_occurrence=[row]).of("condition")[0]
    assert (found.codes, found.start_us) == ("|C83.3", us("2023-11-01T00:00:00+09:00"))


def test_an_observation_period_includes_its_last_day_and_a_visit_only_its_beginning(tmp_path):
    period = {"observation_period_id": "1", "person_id": "1", "observation_period_start_date": "2024-03-01",
              "observation_period_end_date": "2024-03-31"}  # fmt: skip
    visit = {"visit_occurrence_id": "1", "person_id": "1", "visit_start_date": "2024-03-04",
             "visit_end_date": "2024-03-20"}  # fmt: skip
    timed = visit | {
        "visit_occurrence_id": "2",
        "visit_start_datetime": "2024-03-04 09:00",
        "visit_end_datetime": "",
    }
    found = read(tmp_path, observation_period=[period], visit_occurrence=[timed]).of("stay")
    assert [stay.end_us for stay in found] == [
        us("2024-04-01T00:00:00+09:00"),
        us("2024-03-20T00:00:00+09:00"),
    ]


def person(**cells: str) -> dict[str, str]:
    usual = {"person_id": "1", "gender_concept_id": "8507", "gender_source_value": "", "year_of_birth": "1961",
             "month_of_birth": "", "day_of_birth": "", "birth_datetime": "", "care_site_id": ""}  # fmt: skip
    return usual | cells


def facts(tmp_path: Path, **cells: str) -> dict[str, str]:
    found = read(tmp_path, person=[person(**cells)], measurement=[measurement(1)])
    return {record.codes: record.value for record in found.of("person")}


@pytest.mark.parametrize(
    ("cells", "birth"),
    [
        ({}, "1961"),
        ({"year_of_birth": "1961.0", "month_of_birth": "4.0"}, "1961-04"),
        ({"month_of_birth": "4", "day_of_birth": "9"}, "1961-04-09"),
        ({"birth_datetime": "1961-01-01 00:00:00"}, "1961"),  # filled
        ({"birth_datetime": "1961-04-09 00:00:00"}, "1961-04-09"),
        ({"year_of_birth": "", "birth_datetime": "1961-04-09"}, "1961-04-09"),
        ({"year_of_birth": "unknown"}, "unknown"),  # refused as a birth date where facts are settled
        ({"year_of_birth": ""}, None),
    ],
)
def test_a_birth_is_as_exact_as_the_source_knows_it(tmp_path, cells, birth):
    facts = {
        r.codes: r.value
        for r in read(tmp_path, person=[person(**cells)], measurement=[measurement(1)]).of("person")
    }
    assert facts.get("urn:crsrisk|birth_date") == birth


@pytest.mark.parametrize(
    ("concept_id", "written", "sex"),
    [("8507", "", "male"), ("8532", "", "female"), ("8521", "", "other"), ("8551", "", "unknown"), ("0", "F", "female"),
     ("", "", None), ("77", "", "omop:77")],
)  # fmt: skip
def test_sex_is_told_by_its_concept(tmp_path, concept_id, written, sex):
    found = facts(tmp_path, gender_concept_id=concept_id, gender_source_value=written)
    assert found.get("urn:crsrisk|sex") == sex


def test_the_care_site_is_the_site(tmp_path):
    sites = [{"care_site_id": "5", "care_site_name": "", "care_site_source_value": "North"}]
    found = read(tmp_path, person=[person(care_site_id="5")], care_site=sites, measurement=[measurement(1)])
    assert [r.value for r in found.of("person") if r.codes == "urn:crsrisk|site"] == ["North"]


def test_a_person_of_whom_nothing_is_known_is_not_needed(tmp_path):
    found = read(
        tmp_path, person=[person(gender_concept_id="0", year_of_birth="")], measurement=[measurement(1)]
    )
    assert found.items["PERSON row"] == {"read": 1, "carried": 0, "not_needed": 1, "quarantined": 0}


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"person_id": ""}, "NO_PATIENT"),
        ({"person_id": "1.23E+12"}, "BAD_RECORD"),
        ({"person_id": "SECRET"}, "BAD_RECORD"),
        ({"person_id": "0x10"}, "BAD_RECORD"),
        ({"person_id": "1.5"}, "BAD_RECORD"),
        ({"measurement_id": "SECRET"}, "BAD_RECORD"),
        ({"measurement_concept_id": "0"}, "NO_CODE"),
        ({"measurement_concept_id": "", "measurement_source_value": ""}, "NO_CODE"),
        ({"measurement_date": "", "measurement_datetime": ""}, "NO_TIME"),
        ({"measurement_datetime": "SECRET"}, "BAD_TIME"),
        ({"measurement_datetime": "9999-12-31 10:00:00"}, "BAD_TIME"),
        ({"measurement_datetime": "0001-01-01 00:00:00"}, "BAD_TIME"),
        ({"measurement_datetime": "-2024-01-01 10:00:00"}, "BAD_TIME"),
        ({"measurement_datetime": "2024-02-30 10:00:00"}, "BAD_TIME"),
        ({"measurement_datetime": "2024-03-06 10:00:00"}, "BAD_TIME"),  # another day than measurement_date
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_the_rest_arrives(tmp_path, cells, code):
    found = read(tmp_path, measurement=[measurement(1, **cells), measurement(2)])
    assert found.codes_of_reasons() == [code]
    assert "SECRET" not in found.quarantine[0][1]
    assert [record.position for record in found.of("result")] == ["MEASUREMENT 2"]
    assert found.items["MEASUREMENT row"] == {"read": 2, "carried": 1, "not_needed": 0, "quarantined": 1}


def test_a_row_without_an_id_is_carried_and_named_by_its_place(tmp_path):
    found = one(tmp_path, measurement_id="")
    assert (found.position, found.identity) == ("MEASUREMENT row 1", "")


@pytest.mark.parametrize("clock", ["2024-10-27 02:30:00", "2024-03-31 02:30:00"])
def test_a_local_time_that_is_not_one_moment_is_set_aside(tmp_path, clock):
    rows = [measurement(1, measurement_date=clock[:10], measurement_datetime=clock)]
    assert read(tmp_path, BERLIN, measurement=rows).codes_of_reasons() == ["AMBIGUOUS_TIME"]


@pytest.mark.parametrize(
    ("clock", "moment"),
    [
        ("2024-03-05 10:00:00", "2024-03-05T09:00:00Z"),
        ("2024-03-05T10:00", "2024-03-05T09:00:00Z"),
        ("2024-03-05 10:00:00.1234567", "2024-03-05T09:00:00.123456Z"),
        ("2024-03-05 10:00:00 UTC", "2024-03-05T10:00:00Z"),
        ("2024-03-05T10:00:00+09:00", "2024-03-05T01:00:00Z"),
    ],
)
def test_times_are_local_unless_they_say_their_offset(tmp_path, clock, moment):
    assert one(tmp_path, BERLIN, measurement_datetime=clock).start_us == us(moment)


def test_the_time_of_knowledge_is_read_from_a_column_of_its_own(tmp_path):
    rows = [measurement(1, known_datetime="2024-03-05 11:20:00"), measurement(2, known_datetime="")]
    found = read(tmp_path, measurement=rows).of("result")
    assert [record.known_us for record in found] == [us("2024-03-05T11:20:00+09:00"), NOT_A_TIME]


@pytest.mark.parametrize(("clock", "code"), [("soon", "BAD_TIME"), ("2024-03-05", "DATE_ONLY")])
def test_a_time_of_knowledge_that_is_none_is_set_aside(tmp_path, clock, code):
    assert read(tmp_path, measurement=[measurement(1, known_datetime=clock)]).codes_of_reasons() == [code]


def test_what_is_missing_is_told_at_once(tmp_path):
    bare = {"measurement_id": "1", "person_id": "1", "value_as_number": "1"}
    folder = write(tmp_path / "omop", measurement=[bare], drug_exposure=[{"person_id": "1"}])
    with pytest.raises(CrsRiskError) as error:
        Reading(folder, TOKYO, tmp_path / "quarantine.csv")
    assert str(error.value).split("\n") == [
        "DRUG_EXPOSURE has no column drug_exposure_id, drug_concept_id, drug_exposure_start_datetime (or "
        "drug_exposure_start_date); accepted: as of OMOP CDM 5.4",
        "MEASUREMENT has no column measurement_concept_id, measurement_datetime (or measurement_date); accepted: as of "
        "OMOP CDM 5.4",
    ]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "no table of events"),
        ({"person": [{"name": "x"}], "measurement": [measurement(1)]}, "PERSON has no column person_id"),
    ],
)
def test_a_source_without_its_tables_is_refused(tmp_path, tables, message):
    folder = write(tmp_path / "omop", **tables)
    with pytest.raises(CrsRiskError, match=message):
        Reading(folder, TOKYO, tmp_path / "quarantine.csv")


def test_a_vocabulary_without_codes_is_refused(tmp_path):
    folder = write(tmp_path / "omop", measurement=[measurement(1)], concept=[{"concept_id": "1"}])
    with pytest.raises(CrsRiskError, match="CONCEPT has no column concept_name, vocabulary_id, concept_code"):
        Reading(folder, TOKYO, tmp_path / "quarantine.csv")


def test_patients_of_our_own_export_keep_their_names(tmp_path):
    persons = [
        {"person_id": "1", "gender_concept_id": "8507", "person_source_value": "urn:crsrisk|P-7"},
        {"person_id": "2", "gender_concept_id": "8507", "person_source_value": "1234567"},
    ]
    rows = [measurement(1), measurement(2, person_id="2"), measurement(3, person_id="3")]
    found = read(tmp_path, person=persons, measurement=rows)
    assert [record.patient_id for record in found.of("result")] == ["P-7", "2", "3"]
