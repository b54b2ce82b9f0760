"""A cohort written as FHIR is read back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.codes import meaning
from crsrisk.readers.convert import convert
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.writers.fhir import write_fhir
from crsrisk.writers.statements import statements
from tests.fhir_builders import read

COURSES = """course_id,patient_id,therapy,index_time,site,sex,age,follow_up_hours,bm_blasts_pct
c1,{first},axi-cel_LBCL3L,2026-11-01T09:00:00.000001+09:00,A,female,61.25,240,12.5
c2,{second},tec_MM,2026-11-03T09:00:00+09:00,B,male,70,72,
c3,p3,glofit_DLBCL,2026-11-05T09:00:00+09:00,,unknown,,,
"""
EVENTS = """course_id,time,available_time,variable,value,unit,comparator,source_id
c1,2026-11-02T08:00:00+09:00,2026-11-02T09:30:00+09:00,crp,8.20,mg/dL,,lab-1
c1,2026-11-02T08:00:00+09:00,2026-11-02T08:00:00+09:00,il6,<0.50,pg/mL,,
c1,2026-11-02T08:00:00+09:00,2026-11-02T08:00:00+09:00,ferritin,100000,ng/mL,>,
c1,2026-11-02T08:00:00+09:00,2026-11-02T08:00:00+09:00,platelets,"1,200",10*3/uL,,
c1,2026-11-02T09:00:00+09:00,2026-11-02T09:00:00+09:00,norepinephrine_rate,0.05,ug/kg/min,,
c1,2026-11-02T10:00:00+09:00,2026-11-02T10:00:00+09:00,norepinephrine_rate,0,ug/kg/min,,
c1,2026-11-02T10:00:00+09:00,2026-11-02T10:00:00+09:00,tocilizumab_dose,480,mg,,
c1,2026-11-02T10:00:00+09:00,2026-11-02T12:00:00+09:00,dexamethasone_dose,10,mg,,
c1,2026-11-02T10:00:00+09:00,2026-11-02T10:00:00+09:00,resp_support,2,,,
c2,2026-11-03T09:00:00+09:00,2026-11-03T09:00:00+09:00,bsab_dose,4.2,mg,,
c2,2026-11-05T09:00:00+09:00,2026-11-05T09:00:00+09:00,bsab_dose,21,mg,,
c2,2026-11-06T09:00:00+09:00,2026-11-06T09:00:00+09:00,death,1,,,
c3,2026-11-05T10:00:00.5+09:00,2026-11-05T10:00:00.5+09:00,temperature,101.4,degF,,
"""


def made(folder: Path, first: str = "p1", second: str = "p2") -> Cohort:
    folder.mkdir()
    (folder / "courses.csv").write_text(COURSES.format(first=first, second=second), encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    (folder / "grades.csv").write_text(
        "course_id,time,grade,system\nc1,2026-11-02T09:00:00+09:00,2,ASTCT\n", encoding="utf-8"
    )
    (folder / "outcomes.csv").write_text(
        "course_id,peak_grade,system,onset_hours,severe_hours\nc1,3,ASTCT,20.5,30\n", encoding="utf-8"
    )
    return read_cohort(folder)


@pytest.mark.parametrize("names", [("p1", "p2"), ("症例 1", "a/b|c")])
def test_every_statement_comes_back(tmp_path, names):
    cohort = made(tmp_path / "cohort", *names)
    write_fhir(cohort, tmp_path / "fhir")
    found = read(tmp_path / "fhir")
    assert found.quarantine == []
    told = statements(cohort).sort_values(["patient_id", "name", "start_us"])
    back = sorted(
        (one.patient_id, _name(one.codes, one.kind), one.start_us, one.known_us) for one in found.records
    )
    columns = ("patient_id", "name", "start_us", "known_us")
    assert back == sorted(zip(*(told[name].tolist() for name in columns), strict=True))


def _name(codes: str, kind: str) -> str:
    if kind == "stay":
        return "stay"
    target = codes.rpartition("urn:crsrisk|")[2]
    found = meaning(codes, SiteMap())
    assert found is not None
    return target


def test_numbers_are_written_with_the_digits_that_were_reported(tmp_path):
    write_fhir(made(tmp_path / "cohort"), tmp_path / "fhir")
    lines = (tmp_path / "fhir" / "Observation.ndjson").read_text(encoding="utf-8")
    assert '"value":8.20,' in lines
    quantities = [json.loads(line).get("valueQuantity") for line in lines.splitlines()]
    read_back = {(one["value"], one.get("comparator"), one.get("unit")) for one in quantities if one}
    assert {
        (0.5, "<", "pg/mL"),
        (100000, ">", "ng/mL"),
        (1200, None, "10*3/uL"),
        (2, None, None),
    } <= read_back


def test_a_unit_is_coded_only_where_it_is_one_of_ucum(tmp_path):
    write_fhir(made(tmp_path / "cohort"), tmp_path / "fhir")
    lines = (tmp_path / "fhir" / "Observation.ndjson").read_text(encoding="utf-8").splitlines()
    units = {
        one["unit"]: one.get("code")
        for one in (json.loads(line).get("valueQuantity", {}) for line in lines)
        if "unit" in one
    }
    assert (units["pg/mL"], units["degF"]) == ("pg/mL", None)


def test_a_cohort_goes_out_and_comes_back_the_same(tmp_path):
    cohort = made(tmp_path / "cohort")
    write_fhir(cohort, tmp_path / "fhir")
    conversion = convert("fhir", tmp_path / "fhir", tmp_path / "back")
    again = read_cohort(tmp_path / "back")
    assert (conversion.courses, again.courses["patient_id"].tolist()) == (3, ["p1", "p2", "p3"])
    assert _told(again) == _told(cohort)
    for column in ("therapy", "index_time", "site", "sex", "age", "follow_up_hours"):
        ours, theirs = again.courses[column].tolist(), cohort.courses[column].tolist()
        assert ours[:2] == theirs[:2]
    assert again.outcomes is not None
    assert again.outcomes[["peak_grade", "onset_hours", "severe_hours"]].to_numpy().tolist() == [
        [3.0, 20.5, 30.0]
    ]
    assert again.grades is not None
    assert again.grades["grade"].tolist() == [2.0]


def _told(cohort: Cohort) -> set[tuple[object, ...]]:
    patient = dict(zip(cohort.courses["course_id"], cohort.courses["patient_id"], strict=True))
    timeline = cohort.timeline()
    timeline = timeline[timeline["variable"] != "sex_female"]
    columns = ("hours", "available_hours", "variable", "value")
    return set(
        zip(timeline["course_id"].map(patient), *(timeline[name].tolist() for name in columns), strict=True)
    )


def test_a_cohort_in_hours_is_refused(tmp_path):
    simulate(3, 1, therapies=["axi-cel_LBCL3L"]).write(tmp_path / "hours")
    with pytest.raises(CrsRiskError, match="have no index_time; accepted"):
        write_fhir(read_cohort(tmp_path / "hours"), tmp_path / "fhir")
