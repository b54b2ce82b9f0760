"""The events table of a cohort folder: results, vital signs, treatments and doses in the order of time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.courses_read import CourseTable, add_time_problems, table_numbers, table_times
from crsrisk.events import ReportedEvents, SortedEvents, sort_out
from crsrisk.ledger import AVAILABLE_BEFORE_SPECIMEN, Ledger
from crsrisk.problems import Problems
from crsrisk.tables import RawTable
from crsrisk.times import FURTHEST_HOURS, MICROSECONDS_PER_HOUR, OK, hours_between, whole_microseconds
from crsrisk.values import SYMBOLS, column_to_blame, comparator_codes

REQUIRED = ("course_id", "variable", "value", "unit")
KNOWN = {*REQUIRED, "time", "hours", "available_time", "available_hours", "comparator", "source_id"}


@dataclass(frozen=True)
class EventTable:
    """Columns of the used events and of the events of unknown variables."""

    used: Mapping[str, object]
    unused: Mapping[str, object]


def read_events(
    table: RawTable, courses: CourseTable, as_of_us: int | None, problems: Problems, ledger: Ledger
) -> EventTable:
    """The events of known courses; what is not used goes to the ledger, what stops reading to problems."""
    nothing = EventTable({}, {})
    before = len(problems.sentences)
    for column in REQUIRED:
        if not table.has(column):
            problems.add(
                f"{table.file}: column {column} is missing; accepted: {', '.join(REQUIRED)}, time or hours"
            )
    course = course_rows(table, courses, problems)
    hours = event_hours(table, courses, course, problems)
    available = _available_hours(table, courses, course, problems)
    if as_of_us is not None and courses.index_us is None:
        problems.add(
            "courses: as_of needs absolute times; accepted: index_time in courses; leave as_of out for hours"
        )
    if len(problems.sentences) > before or hours is None or available is None:
        return nothing
    as_of = None
    if as_of_us is not None and courses.index_us is not None:
        as_of = hours_between(courses.index_us, np.array([as_of_us]))
    variable, variables = table.coded("variable")
    unit, units = table.coded("unit")
    source, _ = table.coded("source_id")
    mark, marks = table.coded("comparator")
    reported = ReportedEvents(
        course=course,
        hours=hours,
        available_hours=available,
        variable=variable,
        variables=variables,
        unit=unit,
        units=units,
        numbers=table_numbers(table, "value"),
        comparators=comparator_codes(marks)[mark],
        source=source,
        row=table.lines,
    )
    decided = sort_out(reported, as_of)
    _account(table, reported, decided, ledger)
    return EventTable(
        _cells(table, courses, reported, decided, decided.order),
        _cells(table, courses, reported, decided, np.flatnonzero(decided.unknown)),
    )


def course_rows(table: RawTable, courses: CourseTable, problems: Problems) -> NDArray[np.int64]:
    """Row in `courses.frame` of each row's course_id, -1 for an unknown one, which is a problem."""
    code, ids = table.coded("course_id")
    rows = np.array([courses.position.get(course_id, -1) for course_id in ids], dtype=np.int64)[code]
    accepted = f"a course_id of {courses.file}; add the course or remove the rows"
    if table.has("course_id"):
        problems.add_rows(
            table.file, table.lines[rows < 0], "course_id", "a course that is not there", accepted
        )
    return rows


def event_hours(
    table: RawTable, courses: CourseTable, course: NDArray[np.int64], problems: Problems
) -> NDArray[np.float64] | None:
    """Hours from the index time of each row, None when the table has not exactly one of time and hours."""
    if table.has("time") == table.has("hours"):
        came = "both time and hours" if table.has("time") else "neither time nor hours"
        problems.add(f"{table.file}: {came}; accepted: exactly one of the two columns in a table")
        return None
    column = "time" if table.has("time") else "hours"
    return _moments(table, column, courses, course, problems, may_be_empty=False)


def _available_hours(
    table: RawTable, courses: CourseTable, course: NDArray[np.int64], problems: Problems
) -> NDArray[np.float64] | None:
    given = [column for column in ("available_time", "available_hours") if table.has(column)]
    if len(given) > 1:
        problems.add(f"{table.file}: both {' and '.join(given)}; accepted: one of the two columns in a table")
        return None
    if not given:
        return np.full(table.rows, np.nan)
    return _moments(table, given[0], courses, course, problems, may_be_empty=True)


def _moments(
    table: RawTable,
    column: str,
    courses: CourseTable,
    course: NDArray[np.int64],
    problems: Problems,
    *,
    may_be_empty: bool,
) -> NDArray[np.float64] | None:
    """Hours of a column of times or hours, nan where empty or a problem."""
    if not column.endswith("time"):
        return _given_hours(table, column, courses, problems, may_be_empty=may_be_empty)
    if courses.index_us is None:
        problems.add(
            f"{table.file}, column {column}: times, but {courses.file} has no index_time; accepted: "
            f"index_time in each row of {courses.file}, or hours here"
        )
        return None
    found, kinds = table_times(table, column)
    add_time_problems(table, column, kinds, problems, may_be_empty=may_be_empty)
    good = (kinds == OK) & (course >= 0)
    hours = np.full(table.rows, np.nan)
    hours[good] = hours_between(courses.index_us[course[good]], found[good])
    _check_reach(table, column, hours, problems)
    return hours


def _given_hours(
    table: RawTable, column: str, courses: CourseTable, problems: Problems, *, may_be_empty: bool
) -> NDArray[np.float64]:
    numbers = table_numbers(table, column)
    wrong = numbers.bad | (numbers.comparators > 0) | (numbers.empty & (not may_be_empty))
    accepted = "a number of hours from the index time, negative before it"
    problems.add_rows(table.file, table.lines[wrong], column, "no number of hours", accepted)
    _check_reach(table, column, numbers.values, problems)
    if courses.index_us is None:
        return numbers.values + 0.0
    near = np.where(np.abs(numbers.values) <= FURTHEST_HOURS, numbers.values, 0.0)
    exact = (
        whole_microseconds(near) / MICROSECONDS_PER_HOUR
    )  # so that hours and times stand for the same moment
    return np.where(np.isnan(numbers.values), np.nan, exact)


def _check_reach(table: RawTable, column: str, hours: NDArray[np.float64], problems: Problems) -> None:
    far = np.abs(hours) > FURTHEST_HOURS
    accepted = (
        f"at most {FURTHEST_HOURS:.0f} hours before or after the index time; correct the year or the unit"
    )
    problems.add_rows(table.file, table.lines[far], column, "a moment more than a century away", accepted)


def _account(table: RawTable, reported: ReportedEvents, decided: SortedEvents, ledger: Ledger) -> None:
    for column in table.columns:
        if column not in KNOWN:
            ledger.unused("events", "column", column, table.rows)
    for code, rows in enumerate(np.bincount(reported.variable[decided.unknown]).tolist()):
        if rows:
            ledger.unused("events", "variable", reported.variables[code], rows)
    rejected = np.flatnonzero(decided.reasons != "")
    names = np.array([*reported.variables, ""], dtype=object)[reported.variable[rejected]]
    reasons = decided.reasons[rejected].tolist()
    columns = [column_to_blame(reason) for reason in reasons]
    ledger.reject("events", table.lines[rejected], columns, names.tolist(), reasons)
    ledger.adjust("events", "available_hours", AVAILABLE_BEFORE_SPECIMEN, decided.moved)
    ledger.count(
        "events",
        table.rows,
        rejected=len(rejected),
        unused=int(decided.unknown.sum()),
        duplicates=int(decided.duplicate.sum()),
    )
    if ledger.used("events") != len(decided.order):
        raise AssertionError("an event is used, rejected, unused or a duplicate")


def _cells(
    table: RawTable,
    courses: CourseTable,
    reported: ReportedEvents,
    decided: SortedEvents,
    rows: NDArray[np.int64],
) -> Mapping[str, object]:
    """Columns of the chosen events, in the order of `rows`."""
    chosen = pa.array(rows)
    ids = pa.array(courses.frame["course_id"])
    symbols = pa.array(SYMBOLS.tolist(), pa.string())
    return {
        "course_id": pc.take(ids, pa.array(reported.course[rows])),
        "hours": reported.hours[rows],
        "available_hours": decided.available_hours[rows],
        "variable": table.texts("variable").take(chosen),
        "value": decided.values[rows],
        "comparator": pc.take(symbols, pa.array(decided.comparators[rows].clip(0))),
        "raw_value": table.texts("value").take(chosen),
        "raw_unit": table.texts("unit").take(chosen),
        "source_id": table.texts("source_id").take(chosen),
        "row": table.lines[rows],
    }
