"""Patients of a cohort folder, written out by hand."""

from pathlib import Path

import pytest

from crsrisk.cohort import read_cohort
from serving.patients import CohortPatients, PatientEvent
from serving.timeline_view import grade_spans, landmarks_so_far, treated_with, treatments

COURSES = """course_id,patient_id,therapy,age,sex,bm_blasts_pct
c1,p1,axi-cel_LBCL3L,61,female,12
c2,p2,axi-cel_LBCL3L,55,male,
"""
EVENTS = """course_id,hours,available_hours,variable,value,unit
c1,-24,-20,crp,1.2,mg/dL
c1,6,6,temperature,38.6,Cel
c1,6.5,6.5,sbp,84,mm[Hg]
c1,7,12,crp,8.2,mg/dL
c1,8,8,norepinephrine_rate,0.1,ug/kg/min
c1,8,8,tocilizumab_dose,560,mg
c1,20,20,norepinephrine_rate,0,ug/kg/min
c1,20,20,sbp,118,mm[Hg]
c1,100,100,temperature,36.8,Cel
c2,4,4,temperature,37.0,Cel
c2,90,90,temperature,36.9,Cel
"""


@pytest.fixture
def ward(tmp_path: Path) -> CohortPatients:
    (tmp_path / "courses.csv").write_text(COURSES, encoding="utf-8")
    (tmp_path / "events.csv").write_text(EVENTS, encoding="utf-8")
    return CohortPatients(read_cohort(tmp_path), {"c1": 24.0})


def test_courses_carry_who_they_are_and_the_units_of_their_site(ward: CohortPatients) -> None:
    course = ward.course("c1")
    assert course is not None
    assert (course.patient_id, course.age, course.sex, course.therapy.key) == (
        "p1",
        61.0,
        "female",
        "axi-cel_LBCL3L",
    )
    assert course.baseline == {"bm_blasts_pct": 12.0}
    assert course.events[0] == PatientEvent(-24.0, -20.0, "crp", 12.0, "", "mg/dL")
    assert ward.course("c3") is None


def test_a_given_time_is_kept_and_a_demo_time_lies_inside_the_records(ward: CohortPatients) -> None:
    times = {course_id: ward.course(course_id).now_hours for course_id in ward.course_ids()}
    assert times["c1"] == 24.0
    assert times["c2"] == 342.0  # shown after its window, so that the demo has a case without an estimate


def test_the_severe_grade_is_that_of_the_grading_engine_as_it_was_known(ward: CohortPatients) -> None:
    course = ward.course("c1")
    assert course.severe_since(7.9) is None
    severe = course.severe_since(24.0)
    assert (severe.hours, severe.low, severe.rule) == (8.0, 3.0, "one_vasopressor")
    assert [(s.start, s.end, s.change.grade) for s in grade_spans(course, 24.0)] == [
        (6.0, 6.5, 1.0),
        (6.5, 8.0, 2.0),
        (8.0, 20.0, 3.0),
        (20.0, 24.0, 1.0),
    ]


def test_a_running_treatment_shows_its_start_and_its_stop(ward: CohortPatients) -> None:
    course = ward.course("c1")
    assert [(t.hours, t.lane, t.stopped) for t in treatments(course, 24.0)] == [
        (8.0, "vasopressor", False),
        (8.0, "anti_il6", False),
        (20.0, "vasopressor", True),
    ]
    assert treated_with(course, 24.0) == ("anti_il6", "vasopressor")
    assert treated_with(course, 7.0) == ()


def test_a_result_that_came_later_is_not_known_before(ward: CohortPatients) -> None:
    course = ward.course("c1")
    assert [e.value for e in course.known_at(11.9) if e.variable == "crp"] == [12.0]
    assert [e.value for e in course.known_at(12.0) if e.variable == "crp"] == [12.0, 82.0]


def test_the_baseline_of_the_courses_table_reaches_the_scorer(ward: CohortPatients) -> None:
    assert ward.course("c1").request(0.0)["observations"][-1] == {
        "variable": "bm_blasts_pct",
        "value": 12.0,
        "unit": "%",
        "time": "2000-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("as_of", "doses", "expected"),
    [
        (0.0, (0.0,), (0.0,)),
        (20.0, (0.0,), (0.0, 6.0, 12.0, 18.0, 20.0)),
        (26.0, (0.0, 21.0), (0.0, 6.0, 12.0, 18.0, 21.0, 24.0, 26.0)),
        (200.0, (0.0,), (*range(0, 193, 12), 200.0)),
    ],
)
def test_a_trend_has_every_dose_a_grid_and_the_time_shown(
    as_of: float, doses: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert landmarks_so_far(as_of, doses) == expected


def test_a_demo_shows_a_severe_patient_alive(tmp_path: Path) -> None:
    (tmp_path / "courses.csv").write_text(
        "course_id,patient_id,therapy\nc1,p1,axi-cel_LBCL3L\n", encoding="utf-8"
    )
    died = "c1,130,130,death,1,1\nc1,130,130,death_crs,1,1\n"
    late = "\n".join(f"{c},{float(h) + 120},{float(k) + 120},{v},{x},{u}" for c, h, k, v, x, u in _rows("c1"))
    (tmp_path / "events.csv").write_text(f"{EVENTS.splitlines()[0]}\n{late}\n{died}", encoding="utf-8")
    course = CohortPatients(read_cohort(tmp_path)).course("c1")
    assert course is not None
    assert course.severe_since(course.now_hours).hours == 128.0
    assert course.now_hours == 129.0


def _rows(course_id: str) -> list[list[str]]:
    rows = [line.split(",") for line in EVENTS.splitlines()[1:]]
    return [row for row in rows if row[0] == course_id and float(row[1]) < 10]
