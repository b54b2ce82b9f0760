"""Where the pages get their patients: courses, what is known of them, and the request for a scorer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Protocol

from crsrisk.errors import CrsRiskError
from crsrisk.therapies import Therapy, is_engager, window_hours

if TYPE_CHECKING:
    from crsrisk.cohort_frames import Cohort

NOMINAL_INDEX_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # stands in requests for courses that know only hours
DEMO_HOURS = (36.0, 12.0, 60.0, 24.0, 84.0, 48.0)  # after a dose; a demo's patients are spread over them
AFTER_ONSET = 6.0  # hours after which a demo shows a severe or doubtful course
SEVERE = 3.0


@dataclass(frozen=True, slots=True)
class PatientEvent:
    """One value of a course: `hours` from its index time, `known_hours` when the result was known.

    `value` is in the analyte's canonical unit; `site_unit` is the unit in which the site reported it.
    """

    hours: float
    known_hours: float
    variable: str
    value: float
    comparator: str = ""
    site_unit: str = ""


@dataclass(frozen=True, slots=True)
class GradeChange:
    """The ASTCT grade from `hours` on, as it could be told then; `grade` is None when it is not certain."""

    hours: float
    grade: float | None
    state: str
    low: float
    high: float
    rule: str


@dataclass(frozen=True, kw_only=True, eq=False)  # compared by identity: new data, new object
class PatientCourse:
    """One course: who, which therapy, everything recorded, and the patient's current time.

    `now_hours` is the latest time that a page shows, in hours from the index time. `index_time` is None where
    the data hold hours alone; the pages then show hours, not the clock.
    """

    course_id: str
    patient_id: str
    therapy: Therapy
    now_hours: float
    index_time: datetime | None = None
    age: float | None = None
    sex: str | None = None
    weight: float | None = None
    site: str = ""
    events: tuple[PatientEvent, ...] = ()  # by hours
    grades: tuple[GradeChange, ...] = ()  # by hours; empty where the records hold nothing to grade from
    baseline: Mapping[str, float] = field(
        default_factory=dict
    )  # further predictors of the courses table, canonical

    @cached_property
    def doses(self) -> tuple[float, ...]:
        """Hours of the doses of an engager; (0,) for an infusion of cells."""
        if not is_engager(self.therapy):
            return (0.0,)
        given = sorted({e.hours for e in self.events if e.variable == "bsab_dose" and e.value > 0})
        return tuple(given) or (0.0,)

    @property
    def start(self) -> datetime:
        """The index time; a nominal one where the data hold hours alone."""
        return self.index_time or NOMINAL_INDEX_TIME

    def dose_at(self, hours: float) -> tuple[int | None, float]:
        """Number (None for cells, which have one) and hours of the latest dose, at a time of the course."""
        number = max(bisect_right(self.doses, hours), 1)
        return (number if is_engager(self.therapy) else None), self.doses[number - 1]

    def known_at(self, hours: float) -> tuple[PatientEvent, ...]:
        """What had happened and was known by then."""
        return tuple(e for e in self.events if e.hours <= hours and e.known_hours <= hours)

    def grades_at(self, hours: float) -> tuple[GradeChange, ...]:
        """Changes of the grade up to then."""
        return tuple(g for g in self.grades if g.hours <= hours)

    def severe_since(self, hours: float) -> GradeChange | None:
        """The first grade that was 3 or above for certain up to then; the risk is that before it."""
        certain = (g for g in self.grades_at(hours) if g.state in ("none", "graded"))
        return next((g for g in certain if g.low >= SEVERE), None)

    def request(self, as_of_hours: float) -> dict[str, Any]:
        """The body of `POST /v1/risk` at a time: only what was known then, in canonical units."""
        from crsrisk.units import canonical_unit_name

        start = self.start
        course: dict[str, Any] = {
            "course_id": self.course_id,
            "patient_id": self.patient_id,
            "therapy": self.therapy.key,
            "index_time": start.isoformat(),
        }
        course |= {
            name: value
            for name, value in (("age", self.age), ("sex", self.sex), ("weight", self.weight))
            if value is not None
        }
        observations = [
            _observation(
                e.variable, e.value, canonical_unit_name(e.variable), start + timedelta(hours=e.hours)
            )
            | _if_there(comparator=e.comparator)
            | _if_there(available_time=_later(e, start))
            for e in self.known_at(as_of_hours)
        ]
        observations += [
            _observation(variable, value, canonical_unit_name(variable), start)
            for variable, value in self.baseline.items()
        ]
        as_of = start + timedelta(hours=as_of_hours)
        return {"course": course, "as_of": as_of.isoformat(), "observations": observations}


def _later(event: PatientEvent, start: datetime) -> str:
    """When the result was known, where that was after it was taken."""
    late = event.known_hours > event.hours
    return (start + timedelta(hours=event.known_hours)).isoformat() if late else ""


def _if_there(**fields: str) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


def _observation(variable: str, value: float, unit: str, time: datetime) -> dict[str, Any]:
    return {"variable": variable, "value": value, "unit": unit, "time": time.isoformat()}


class PatientSource(Protocol):
    """What the pages need of a store of patients; both answers may change from call to call."""

    def course_ids(self) -> Sequence[str]:
        """All courses that the list shows."""
        ...

    def course(self, course_id: str) -> PatientCourse | None:
        """One course, None when there is none of that id."""
        ...


class CohortPatients:
    """The patients of a cohort folder, each at a current time of their own.

    Args:
        cohort: the folder, read.
        now_hours: current time by course_id, in hours from the index time. Courses that it leaves out are
            spread over `DEMO_HOURS` after one of their first three doses. Where that leaves nobody severe, or
            nobody whose grade is in doubt, the first such course is shown six hours later; where no grade is
            ever in doubt and everybody was measured, one course is shown after its window. So a demo has every
            kind of page.
    """

    def __init__(self, cohort: Cohort, now_hours: Mapping[str, float] | None = None) -> None:
        self._courses = _courses(cohort)
        _set_times(self._courses, now_hours or {})

    def course_ids(self) -> Sequence[str]:
        """All courses of the cohort, in its order."""
        return tuple(self._courses)

    def course(self, course_id: str) -> PatientCourse | None:
        """One course, None when the cohort has none of that id."""
        return self._courses.get(course_id)


def _courses(cohort: Cohort) -> dict[str, PatientCourse]:
    events, grades = _events(cohort), _grades(cohort)
    therapies = cohort.therapy_by_course()
    baseline = _baseline_columns(cohort)
    found: dict[str, PatientCourse] = {}
    for row in cohort.courses.to_dict("records"):
        course_id = str(row["course_id"])
        known = {name: float(row[name]) for name in baseline if not isnan(row[name])}
        found[course_id] = PatientCourse(
            course_id=course_id,
            patient_id=str(row["patient_id"]),
            therapy=therapies[course_id],
            now_hours=0.0,
            index_time=_time(row.get("index_time")),
            age=known.pop("age", None),
            sex=str(row["sex"]) if row.get("sex") in ("female", "male", "other", "unknown") else None,
            weight=known.pop("weight", None),
            site=str(row.get("site") or ""),
            events=tuple(events.get(course_id, ())),
            grades=tuple(grades.get(course_id, ())),
            baseline=known,
        )
    return found


def _baseline_columns(cohort: Cohort) -> list[str]:
    from crsrisk.analytes import analytes

    return [c for c in cohort.courses.columns if c in analytes() and c != "sex"]


def _time(value: Any) -> datetime | None:
    moment = None if value is None else value.to_pydatetime()
    return moment if isinstance(moment, datetime) and moment.tzinfo is not None else None  # NaT has no zone


def _events(cohort: Cohort) -> dict[str, list[PatientEvent]]:
    columns = ("course_id", "hours", "available_hours", "variable", "value", "comparator", "raw_unit")
    found: dict[str, list[PatientEvent]] = {}
    rows = zip(*(cohort.events[name].tolist() for name in columns), strict=True)
    for course_id, hours, available, variable, value, comparator, unit in rows:
        event = PatientEvent(hours, max(hours, available), variable, value, comparator, unit)
        found.setdefault(course_id, []).append(event)
    return found


def _grades(cohort: Cohort) -> dict[str, list[GradeChange]]:
    """Grades as they could be told at the time; none where the records hold nothing to grade from."""
    from crsrisk.grade_timeline import grade_events

    try:
        graded = grade_events(cohort.timeline(), cohort.courses, cohort.therapies, known=True)
    except CrsRiskError:
        return {}
    found: dict[str, list[GradeChange]] = {}
    columns = ("course_id", "hours", "grade", "state", "low", "high", "rule")
    for course_id, hours, grade, state, low, high, rule in zip(
        *(graded[name].tolist() for name in columns), strict=True
    ):
        certain = None if isnan(grade) else float(grade)
        found.setdefault(course_id, []).append(GradeChange(hours, certain, state, low, high, rule))
    return found


def _set_times(courses: dict[str, PatientCourse], given: Mapping[str, float]) -> None:
    for position, (course_id, course) in enumerate(courses.items()):
        now = given.get(course_id)
        courses[course_id] = replace(course, now_hours=_demo_time(course, position) if now is None else now)
    free = [course_id for course_id in courses if course_id not in given]
    for onset in (_severe_hours, _uncertain_hours):
        shown = any(_reached(onset(c), c.now_hours) for c in courses.values())
        chosen = None if shown else next((i for i in free if _seen_alive(courses[i], onset)), None)
        if chosen is not None:
            now = _alive(courses[chosen], (onset(courses[chosen]) or 0.0) + AFTER_ONSET)
            courses[chosen] = replace(courses[chosen], now_hours=now)
            free.remove(chosen)
    if not any(_reached(_uncertain_hours(c), c.now_hours) or _unmeasured(c) for c in courses.values()):
        calm = next((i for i in reversed(free) if _severe_hours(courses[i]) is None), None)
        if calm is not None:
            end = courses[calm].doses[-1] + window_hours(courses[calm].therapy)
            courses[calm] = replace(courses[calm], now_hours=end + AFTER_ONSET)


def _unmeasured(course: PatientCourse) -> bool:
    return all(e.variable == "bsab_dose" for e in course.events)


def _reached(onset: float | None, now: float) -> bool:
    return onset is not None and onset <= now


def _alive(course: PatientCourse, hours: float) -> float:
    """That time, or an hour before the patient's death."""
    deaths = [e.known_hours - 1 for e in course.events if e.variable == "death" and e.value > 0]
    return min([hours, *deaths])


def _seen_alive(course: PatientCourse, onset: Callable[[PatientCourse], float | None]) -> bool:
    return _reached(onset(course), _alive(course, inf))


def _severe_hours(course: PatientCourse) -> float | None:
    onset = course.severe_since(inf)
    return None if onset is None else onset.hours


def _uncertain_hours(course: PatientCourse) -> float | None:
    """When grade 3 or above could first not be ruled out, in a course that was not severe for certain before."""
    doubtful = next((g for g in course.grades if g.high >= SEVERE), None)
    if doubtful is None or doubtful == course.severe_since(doubtful.hours):
        return None
    return doubtful.hours


def _demo_time(course: PatientCourse, position: int) -> float:
    """A time after one of the first three doses, inside its window and before a death or the last record."""
    spread = min(DEMO_HOURS[position % len(DEMO_HOURS)], window_hours(course.therapy) - 1)
    wanted = course.doses[min(position % 3, len(course.doses) - 1)] + spread
    last = max((e.known_hours for e in course.events), default=wanted)
    return max(_alive(course, min(wanted, last)), 0.0)


Score = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Body of `POST /v1/risk` in, its answer out."""
