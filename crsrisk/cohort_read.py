"""Reads and validates a cohort folder: every problem is told at once, no row is dropped in silence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from crsrisk.cohort_frames import (
    EVENT_COLUMNS,
    UNUSED_EVENT_COLUMNS,
    Cohort,
    frame,
)
from crsrisk.contract import Folder, Tables, find_folder, read_tables
from crsrisk.courses_read import CourseTable, read_courses
from crsrisk.errors import CrsRiskError, UnknownTherapyError
from crsrisk.events_read import EventTable, read_events
from crsrisk.labels_read import read_grades, read_outcomes
from crsrisk.ledger import Ledger
from crsrisk.problems import Problems, named
from crsrisk.raw_table import RawTable
from crsrisk.therapies import Therapy, therapy, therapy_from_table
from crsrisk.times import microseconds


def read_cohort(path: str | Path, *, as_of: datetime | None = None) -> Cohort:
    """The cohort in a folder, events in canonical units, with everything that was not used and why.

    Args:
        path: folder with courses, and optionally events, grades, outcomes, therapies.toml, cohort.toml.
        as_of: aware time; events later than it are rejected as FUTURE (needs absolute times).

    Raises:
        CohortError: the folder can't be used; one sentence per problem with file, row, column, what came and
            what is accepted.
        TimeError: as_of has no time zone.
    """
    as_of_us = None if as_of is None else microseconds(as_of)
    problems, ledger = Problems(), Ledger()
    folder = find_folder(Path(path), problems)
    tables = {} if folder is None else read_tables(folder, problems)
    base = None if folder is None else read_base(folder, tables.get("courses"), problems, ledger)
    cohort = None if base is None else build_cohort(base, tables, problems, ledger, as_of_us)
    if cohort is None:
        raise problems.error()
    return cohort


@dataclass(frozen=True)
class CohortBase:
    """What all parts of a cohort share: its courses and therapies."""

    path: Path
    courses: CourseTable
    therapies: Mapping[str, Therapy]  # of therapies.toml
    simulated: bool

    def part(self, first: int, stop: int) -> "CohortBase":
        """The same with the courses in these rows alone."""
        return replace(self, courses=self.courses.part(first, stop))


def read_base(
    folder: Folder, courses_table: RawTable | None, problems: Problems, ledger: Ledger
) -> CohortBase | None:
    """The courses and therapies of a folder, None when no course can be identified."""
    if courses_table is None:
        if not problems.sentences:
            problems.add("courses: missing; accepted: courses.csv or courses.parquet; see `crsrisk template`")
        return None
    registered = _read_therapies(folder.therapies, problems)
    courses = read_courses(courses_table, problems, ledger)
    if courses is None:
        return None
    _check_therapies(courses, registered, folder.therapies, problems)
    return CohortBase(folder.path, courses, registered, folder.simulated)


def build_cohort(
    base: CohortBase, tables: Tables, problems: Problems, ledger: Ledger, as_of_us: int | None = None
) -> Cohort | None:
    """The cohort of some courses and of all rows that belong to them, None when there are problems."""
    events, grades, outcomes = EventTable({}, {}), None, None
    if "events" in tables:
        events = read_events(tables["events"], base.courses, as_of_us, problems, ledger)
    if "grades" in tables:
        grades = read_grades(tables["grades"], base.courses, problems, ledger)
    if "outcomes" in tables:
        outcomes = read_outcomes(tables["outcomes"], base.courses, problems, ledger)
    if problems.sentences:
        return None
    return Cohort(
        courses=base.courses.frame,
        events=frame(EVENT_COLUMNS, **events.used),
        grades=grades,
        outcomes=outcomes,
        therapies=base.therapies,
        path=base.path,
        ledger=ledger,
        unused_events=frame(UNUSED_EVENT_COLUMNS, **events.unused),
        simulated=base.simulated,
    )


def _read_therapies(entries: Mapping[str, Any], problems: Problems) -> Mapping[str, Therapy]:
    """Investigational therapies of therapies.toml by key; what is wrong with an entry goes to problems."""
    registered: dict[str, Therapy] = {}
    for key, entry in entries.items():
        if not isinstance(entry, Mapping):
            problems.add(
                f"therapies.toml: {named(key)} is no table; accepted: [{key}] with name, class, targets, ..."
            )
            continue
        try:
            registered[key] = therapy_from_table(key, entry)
        except CrsRiskError as error:
            problems.add(str(error))
    return registered


def _check_therapies(
    courses: CourseTable, registered: Mapping[str, Therapy], entries: Mapping[str, Any], problems: Problems
) -> None:
    keys = courses.frame["therapy"]
    for key in keys.unique().tolist():
        if not key or (key in entries and key not in registered):
            continue  # a problem already
        try:
            therapy(key, registered)
        except UnknownTherapyError as error:
            lines = courses.lines[(keys == key).to_numpy()]
            more = f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else ""
            problems.add(f"{courses.file}, row {lines.min()}, column therapy{more}: {error}")
