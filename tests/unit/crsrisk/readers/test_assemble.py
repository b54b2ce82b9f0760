"""What becomes of the records of a patient."""

from __future__ import annotations

import pyarrow as pa
import pytest

from crsrisk.readers.account import Account
from crsrisk.readers.assemble import Part, assemble
from crsrisk.readers.record import Record, batches
from crsrisk.readers.site_map import SiteMap, StatedCourse
from crsrisk.times import NOT_A_TIME

HOUR = 3_600_000_000
DAY = 24 * HOUR
ZERO = 400 * DAY


def given(therapy: str = "axi-cel_LBCL3L", at: float = 0, patient: str = "p1", **rest) -> Record:
    start = ZERO + int(at * HOUR)
    return Record("infusion", "procedure", patient, f"urn:crsrisk|therapy:{therapy}", start, start, **rest)


def told(code: str, value: str, at: float = 1, unit: str = "", **rest) -> Record:
    rest = {"kind": "result", "patient_id": "p1", **rest}
    system = "" if "|" in code else "urn:crsrisk|"
    start = ZERO + int(at * HOUR)
    end = rest.pop("end", at)
    end_us = NOT_A_TIME if end is None else ZERO + int(end * HOUR)
    return Record(
        f"{code} at {at}", codes=system + code, start_us=start, end_us=end_us, value=value, unit=unit, **rest
    )


def person(fact: str, value: str) -> Record:
    return Record(fact, "person", "p1", f"urn:crsrisk|{fact}", value=value)


class Assembled:
    """A part, and what became of the records."""

    def __init__(self, tmp_path, *records: Record, site: SiteMap | None = None) -> None:
        table = pa.Table.from_batches(list(batches(records)))
        with Account(tmp_path / "quarantine.csv") as account:
            account.records(len(records))
            self.part: Part = assemble(table, site or SiteMap(), account)
            account.verify()
            self.account = account.to_dict()
        self.quarantine = (tmp_path / "quarantine.csv").read_text()

    @property
    def fates(self) -> dict[str, int]:
        return {fate: count for fate, count in self.account["records"].items() if count and fate != "read"}

    @property
    def events(self) -> list[tuple[float, str, str]]:
        rows = self.part.events[["time_us", "variable", "value"]].itertuples(index=False)
        return [((time - ZERO) / HOUR, variable, value) for time, variable, value in rows]


def test_a_result_of_a_treated_patient_is_an_event_with_its_raw_value_and_unit(tmp_path):
    made = Assembled(
        tmp_path, given(), told("crp", "8,200.5", unit="mg/dL"), told("crp", "8.2", 2, unit="mg/dL")
    )
    assert made.events == [(2.0, "crp", "8.2")]
    assert made.fates == {"event": 1, "course": 1, "quarantined": 1}
    assert "IMPOSSIBLE_VALUE: outside" in made.quarantine
    assert "8,200" not in made.quarantine


def test_a_missing_unit_is_set_aside_unless_the_site_states_it(tmp_path):
    assert Assembled(tmp_path, given(), told("crp", "8")).fates == {"course": 1, "quarantined": 1}
    stated = Assembled(tmp_path, given(), told("crp", "8"), site=SiteMap(units={"crp": "mg/dL"}))
    assert stated.fates == {"course": 1, "event": 1}
    assert list(stated.account["adjusted"].values()) == [1]
    assert stated.part.events["unit"].tolist() == ["mg/dL"]


@pytest.mark.parametrize(
    ("unit", "value", "code"),
    [
        ("K", "8", "UNKNOWN_UNIT"),
        ("mg/L", "120/80", "BAD_NUMBER"),
        ("mg/L", "5+", "BAD_NUMBER"),
        ("mg/L", "", "EMPTY"),
    ],
)
def test_what_can_not_be_read_is_set_aside_with_its_reason_and_position(tmp_path, unit, value, code):
    made = Assembled(tmp_path, given(), told("crp", value, unit=unit))
    assert made.fates == {"course": 1, "quarantined": 1}
    assert f"record,crp at 1,p1,{code}" in made.quarantine.replace('"', "")


def test_an_unknown_code_is_kept_as_an_event_that_is_not_used(tmp_path):
    made = Assembled(tmp_path, given(), told("http://loinc.org|1-0", "3", unit="x"))
    assert made.events == [(1.0, "http://loinc.org|1-0", "3")]
    assert made.fates == {"course": 1, "unknown_code": 1}


def test_a_local_code_is_what_the_site_map_says(tmp_path):
    site = SiteMap(codes={"urn:oid:1.2|LAB7": "crp", "urn:oid:1.2|LAB8": "ignore"})
    records = [told("urn:oid:1.2|LAB7", "3", unit="mg/L"), told("urn:oid:1.2|LAB8", "3", unit="mg/L")]
    made = Assembled(tmp_path, given(), *records, site=site)
    assert made.events == [(1.0, "crp", "3")]
    assert made.fates == {"course": 1, "event": 1, "ignored": 1}


def test_records_before_the_lookback_and_of_untreated_patients_are_outside(tmp_path):
    early = told("crp", "3", -91 * 24, "mg/L")
    other = told("crp", "3", 1, "mg/L", patient_id="p2")
    assert Assembled(tmp_path, given(), early, other).fates == {"course": 1, "outside": 2}


def test_a_value_between_two_courses_is_early_course_of_the_first_and_baseline_of_the_second(tmp_path):
    second = given("tisa-cel_LBCL", 60 * 24)
    made = Assembled(tmp_path, given(), second, told("crp", "3", 59 * 24, "mg/L"))
    assert made.part.events["course_id"].tolist() == ["p1-1", "p1-2"]
    assert made.part.courses["follow_up_hours"].tolist() == [60 * 24.0, 0.0]
    assert made.fates == {"course": 2, "event": 1}


def test_doses_of_an_engager_are_events_with_their_amounts(tmp_path):
    first, second = (given("tec_MM", at, value=value, unit="mg") for at, value in ((0, "4.2"), (72, "21")))
    made = Assembled(tmp_path, first, second)
    assert made.events == [(0.0, "bsab_dose", "4.2"), (72.0, "bsab_dose", "21")]
    assert made.fates == {"dose": 2}


def test_a_pressor_period_is_told_again_every_12_hours_and_ends_with_0(tmp_path):
    record = told("norepinephrine_rate", "", 2, kind="drug", end=28, rate="0.1", rate_unit="ug/kg/min")
    made = Assembled(tmp_path, given(), record)
    rates = [(2.0, "0.1"), (14.0, "0.1"), (26.0, "0.1"), (28.0, "0")]
    assert made.events == [(at, "norepinephrine_rate", rate) for at, rate in rates]
    assert made.fates == {"course": 1, "event": 1}


def test_a_heart_rate_over_a_period_is_no_infusion(tmp_path):
    record = told("heart_rate", "110", 2, "/min", end=30)
    assert Assembled(tmp_path, given(), record).events == [(2.0, "heart_rate", "110")]


def test_an_infusion_without_an_end_is_told_once(tmp_path):
    record = told("norepinephrine_rate", "", 2, kind="drug", end=None, rate="0.1", rate_unit="ug/kg/min")
    assert Assembled(tmp_path, given(), record).events == [(2.0, "norepinephrine_rate", "0.1")]


def test_the_dose_of_a_drug_counts_not_the_speed_at_which_it_ran(tmp_path):
    record = told("tocilizumab_dose", "560", unit="mg", kind="drug", rate="100", rate_unit="mL/h")
    assert Assembled(tmp_path, given(), record).events == [(1.0, "tocilizumab_dose", "560")]


def test_a_question_leaves_the_patient_out_and_says_what_to_write(tmp_path):
    made = Assembled(tmp_path, given(), given("tisa-cel_LBCL", 20), told("crp", "3", unit="mg/L"))
    assert made.fates == {"outside": 1, "quarantined": 2}
    assert [(patient, asked.code) for patient, asked in made.part.questions] == [("p1", "TWO_TIME_ZEROS")]
    assert "[courses." in made.quarantine


def test_the_answer_in_the_site_map_makes_the_course(tmp_path):
    site = SiteMap(courses={"p1": (StatedCourse("axi-cel_LBCL3L", ZERO + 5 * HOUR),)})
    made = Assembled(tmp_path, given(), given("tisa-cel_LBCL", 20), told("crp", "3", 6, "mg/L"), site=site)
    assert made.part.courses[["therapy", "index_us"]].to_numpy().tolist() == [
        ["axi-cel_LBCL3L", ZERO + 5 * HOUR]
    ]


def test_a_patient_whose_therapy_no_record_tells_has_the_course_that_the_site_states(tmp_path):
    site = SiteMap(courses={"p1": (StatedCourse("axi-cel_LBCL3L", ZERO),)})
    made = Assembled(tmp_path, told("crp", "3", unit="mg/L"), site=site)
    assert made.events == [(1.0, "crp", "3")]


def test_facts_of_the_patient_stand_in_courses(tmp_path):
    facts = [person("sex", "female"), person("birth_date", "1970-07-01"), person("site", "kyoto")]
    weight = told("weight", "61.5", -3, "kg")
    row = Assembled(tmp_path, given(), *facts, weight).part.courses.iloc[0]
    assert (row["sex"], row["site"], row["weight"], row["age"]) == ("female", "kyoto", 61.5, 0.6)


def test_a_fact_stated_in_two_ways_is_not_used(tmp_path):
    made = Assembled(tmp_path, given(), person("sex", "female"), person("sex", "male"))
    assert made.part.courses["sex"].tolist() == ["unknown"]
    assert made.fates == {"course": 1, "quarantined": 2}


def test_only_a_year_of_birth_gives_an_age_that_is_counted_as_adjusted(tmp_path):
    made = Assembled(tmp_path, given(), person("birth_date", "1950"))
    assert made.part.courses["age"].tolist() == [20.6]
    assert [reason.partition(":")[0] for reason in made.account["adjusted"]] == ["AGE_FROM_YEAR"]


def test_follow_up_ends_with_the_stay_or_with_the_last_record(tmp_path):
    stay = Record("stay", "stay", "p1", "", ZERO - HOUR, ZERO + 30 * HOUR)
    crp = told("crp", "3", 20, "mg/L")
    assert Assembled(tmp_path, given(), crp).part.courses["follow_up_hours"].tolist() == [20.0]
    assert Assembled(tmp_path, given(), crp, stay).part.courses["follow_up_hours"].tolist() == [30.0]


def test_grades_and_peaks_go_to_their_tables(tmp_path):
    records = [told("grade:ASTCT", "2", 20), told("peak_grade:ASTCT", "3", 0), told("severe:ASTCT", "1", 40)]
    made = Assembled(tmp_path, given(), *records, told("grade:ASTCT", "9", 22))
    assert made.part.grades[["grade", "system"]].to_numpy().tolist() == [[2.0, "ASTCT"]]
    outcome = made.part.outcomes.iloc[0]
    assert (outcome["peak_grade"], outcome["system"], outcome["severe_hours"]) == (3.0, "ASTCT", 40.0)
    assert made.fates == {"course": 1, "grade": 3, "quarantined": 1}


def test_a_record_without_a_time_is_set_aside(tmp_path):
    made = Assembled(tmp_path, given(), told("crp", "3", unit="mg/L")._replace(start_us=NOT_A_TIME))
    assert made.fates == {"course": 1, "quarantined": 1}
    assert "NO_TIME" in made.quarantine


def test_a_disease_code_selects_the_indication(tmp_path):
    disease = Record("condition", "condition", "p1", "urn:crsrisk|disease:ALL")
    record = given()._replace(codes="urn:crsrisk|product:tisa-cel")
    assert Assembled(tmp_path, record, disease).part.courses["therapy"].tolist() == ["tisa-cel_ALL"]


def test_a_preliminary_result_without_a_final_one_is_used_and_counted(tmp_path):
    made = Assembled(tmp_path, given(), told("crp", "3", unit="mg/L", status="preliminary"))
    assert made.fates == {"course": 1, "event": 1}
    assert list(made.account["adjusted"]) == ["PRELIMINARY: no final version came"]


def test_no_record_gives_no_course(tmp_path):
    assert len(Assembled(tmp_path, told("crp", "3", unit="mg/L")).part.courses) == 0


def rates(*periods: tuple[float, float | None, str]) -> list[Record]:
    return [
        told("norepinephrine_rate", "", at, kind="drug", end=end, rate=rate, rate_unit="ug/kg/min")
        for at, end, rate in periods
    ]


def test_a_pump_that_ends_does_not_stop_the_next_one(tmp_path):
    made = Assembled(tmp_path, given(), *rates((10, 14, "0.1"), (13.75, 23, "0.2")))
    found = [(at, value) for at, _, value in made.events]
    assert found == [(10.0, "0.1"), (13.75, "0.2"), (14.0, "0.2"), (23.0, "0")]
    assert made.fates == {"course": 1, "event": 2}


def test_of_two_pumps_the_higher_rate_counts_while_both_run(tmp_path):
    made = Assembled(tmp_path, given(), *rates((10, 20, "0.3"), (12, 15, "0.1")))
    assert [(at, value) for at, _, value in made.events] == [
        (10.0, "0.3"), (12.0, "0.1"), (12.0, "0.3"), (15.0, "0.3"), (20.0, "0"),
    ]  # fmt: skip


def test_a_cannula_that_stays_charted_does_not_end_ventilation(tmp_path):
    cannula, ventilator = (
        told("resp_support", level, at, end=end) for level, at, end in (("1", 0, 60), ("4", 20, 40))
    )
    made = Assembled(tmp_path, given(), cannula, ventilator)
    levels = {at: value for at, _, value in made.events}
    assert [levels[at] for at in (0.0, 12.0, 20.0, 32.0, 40.0, 52.0)] == ["1", "1", "4", "4", "1", "1"]


def test_a_device_code_that_answers_no_is_no_device(tmp_path):
    site = SiteMap(codes={"x|nppv": "device:resp_support=3"})
    records = [told("x|nppv", answer, at) for at, answer in ((1, "false"), (2, "true"), (3, ""), (4, "off"))]
    made = Assembled(tmp_path, given(), *records, site=site)
    assert made.events == [(2.0, "resp_support", "3"), (3.0, "resp_support", "3")]
    assert made.fates == {"course": 1, "event": 2, "quarantined": 2}


def test_a_disease_that_is_denied_selects_no_indication(tmp_path):
    disease = Record("condition", "condition", "p1", "urn:crsrisk|disease:ALL", value="false")
    record = given()._replace(codes="urn:crsrisk|product:tisa-cel")
    made = Assembled(tmp_path, record, disease)
    assert [asked.code for _, asked in made.part.questions] == ["WHICH_INDICATION"]


def test_an_impossible_dose_is_a_question_not_a_shorter_series(tmp_path):
    doses = [
        given("tec_MM", at, value=value, unit="mg") for at, value in ((0, "4.5"), (72, "22500"), (144, "110"))
    ]
    made = Assembled(tmp_path, *doses)
    assert [asked.code for _, asked in made.part.questions] == ["DOSE_WITHOUT_AMOUNT"]


def test_the_unit_that_the_site_states_for_doses_counts_for_the_dose_clock(tmp_path):
    doses = [given("tec_MM", at, value=value) for at, value in ((0, "4.5"), (72, "22.5"))]
    made = Assembled(tmp_path, *doses, site=SiteMap(units={"bsab_dose": "mg"}))
    assert made.events == [(0.0, "bsab_dose", "4.5"), (72.0, "bsab_dose", "22.5")]


def test_a_continuous_infusion_told_by_its_rate_has_what_runs_in_a_day_as_dose(tmp_path):
    rising = [
        given("blina_RRALL", at, rate=rate, rate_unit="ug/d")._replace(end_us=ZERO + (at + 168) * HOUR)
        for at, rate in ((0, "9"), (168, "28"))
    ]
    made = Assembled(tmp_path, *rising)
    assert made.events == [(0.0, "bsab_dose", "9"), (168.0, "bsab_dose", "28")]
    assert made.part.events["unit"].tolist() == ["ug", "ug"]


def test_a_pressor_in_a_unit_that_can_not_be_used_is_told_to_the_site(tmp_path):
    record = told("norepinephrine_rate", "", 2, kind="drug", end=28, rate="5", rate_unit="mL/h")
    made = Assembled(tmp_path, given(), record)
    assert list(made.account["notices"].values()) == [1]


def test_a_stay_before_the_course_does_not_end_its_follow_up(tmp_path):
    old = Record("stay", "stay", "p1", "", ZERO - 400 * DAY, ZERO - 390 * DAY)
    open_ = Record("stay", "stay", "p1", "", ZERO - DAY)
    made = Assembled(tmp_path, given(), old, open_, told("crp", "3", 240, "mg/L"))
    assert made.part.courses["follow_up_hours"].tolist() == [240.0]


def test_death_ends_follow_up(tmp_path):
    stay = Record("stay", "stay", "p1", "", ZERO - HOUR, ZERO + 40 * DAY)
    made = Assembled(tmp_path, given(), stay, told("death", "1", 72))
    assert made.part.courses["follow_up_hours"].tolist() == [72.0]


def test_what_lies_after_the_conversion_has_not_happened(tmp_path):
    records = [given(), told("crp", "3", 24, "mg/L"), told("crp", "3", 24 * 365 * 100, "mg/L")]
    with Account(tmp_path / "q.csv") as account:
        account.records(3)
        table = pa.Table.from_batches(list(batches(records)))
        part = assemble(table, SiteMap(), account, now_us=ZERO + 30 * DAY)
        account.verify()
    assert len(part.events) == 1
    assert part.courses["follow_up_hours"].tolist() == [24.0]
    assert "FUTURE" in (tmp_path / "q.csv").read_text()


def test_a_weight_corrected_later_is_no_baseline(tmp_path):
    corrected = told("weight", "99", -2, "kg", known_us=ZERO + 3 * DAY)
    assert Assembled(tmp_path, given(), told("weight", "61", -5, "kg"), corrected).part.courses[
        "weight"
    ].tolist() == [61]


def test_codings_that_contradict_each_other_are_set_aside(tmp_path):
    both = told("crp", "3", unit="mg/L")._replace(codes="urn:crsrisk|crp\x1furn:crsrisk|ferritin")
    made = Assembled(tmp_path, given(), both)
    assert made.fates == {"course": 1, "quarantined": 1}
    assert "CONTRADICTING_CODES" in made.quarantine


def test_a_condition_that_stands_for_a_grade_is_set_aside(tmp_path):
    condition = Record("condition", "condition", "p1", "x|D89.833", ZERO)
    made = Assembled(tmp_path, given(), condition, site=SiteMap(codes={"x|D89.833": "grade:ASTCT"}))
    assert made.fates == {"course": 1, "quarantined": 1}
