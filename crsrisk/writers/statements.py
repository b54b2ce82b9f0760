"""A dated cohort as statements about patients: what a writer of rows or messages has to say, one row each.

Decided here once for such formats: which event is an administration, where the doses of a therapy stand, and what
becomes of the columns of courses.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.readers.drugs import is_drug
from crsrisk.therapies import is_engager
from crsrisk.times import NOT_A_TIME, whole_microseconds
from crsrisk.units import DIMENSIONLESS
from crsrisk.values import number_or_none
from crsrisk.writers.coded import require_dated

DOSE = "bsab_dose"


class Statement(NamedTuple):
    """One row of `statements`."""

    patient_id: str
    kind: str
    name: str
    start_us: int
    end_us: int
    known_us: int
    value: str
    unit: str
    comparator: str
    source_id: str


COLUMNS = Statement._fields
_PERSON = ("sex", "site", "indication")


def statements(cohort: Cohort) -> pd.DataFrame:
    """Everything that a cohort says, sorted by patient, time (first what has none), name and value.

    Columns: patient_id; kind (`result`, `drug`, `procedure`, `person`, `stay`); name, the code in our own system
    ('crp', 'therapy:KEY', 'grade:ASTCT', 'sex'); start_us and end_us, microseconds in UTC, NOT_A_TIME for facts
    of a person; known_us, NOT_A_TIME when it is the start; value, unit and comparator as reported; source_id.

    Events of variables that the catalogue does not list are left out: they are not used either.

    Raises:
        CrsRiskError: a course has no index time.
    """
    require_dated(cohort)
    parts = [
        _events(cohort),
        _cells(cohort),
        _baseline(cohort),
        _person(cohort),
        _stays(cohort),
        *_grades(cohort),
    ]
    told = pd.concat([part for part in parts if len(part)], ignore_index=True)
    order = ["patient_id", "start_us", "name", "value", "known_us"]
    return told.sort_values(order, kind="stable", ignore_index=True)


def by_patient(told: pd.DataFrame) -> Iterator[tuple[str, list[Statement]]]:
    """The statements of one patient after the other."""
    columns = (told[name].tolist() for name in COLUMNS)
    everything = map(Statement._make, zip(*columns, strict=True))
    for patient_id, rows in groupby(everything, key=lambda one: one.patient_id):
        yield patient_id, list(rows)


def _index_us(cohort: Cohort) -> NDArray[np.int64]:
    index = cohort.courses["index_time"].astype("datetime64[us, UTC]").astype("int64")
    return np.asarray(index, dtype=np.int64)


def _table(rows: int, **columns: Any) -> pd.DataFrame:
    """Rows with the columns given and the usual content in the others."""
    usual: Mapping[str, Any] = {
        "kind": "result", "start_us": NOT_A_TIME, "known_us": NOT_A_TIME,
        "value": "", "unit": "", "comparator": "", "source_id": "",
    }  # fmt: skip
    cells = {**usual, **columns}
    cells.setdefault("end_us", cells["start_us"])
    return pd.DataFrame({name: cells[name] for name in COLUMNS}, index=range(rows))


def _events(cohort: Cohort) -> pd.DataFrame:
    events = cohort.events
    course = cohort.position_of(events["course_id"])
    index_us = _index_us(cohort)[course]
    start = index_us + whole_microseconds(events["hours"].to_numpy())
    known = index_us + whole_microseconds(events["available_hours"].to_numpy())
    name = events["variable"].to_numpy(dtype=object)
    drugs = [variable for variable in events["variable"].unique() if is_drug(variable)]
    kind = np.where(events["variable"].isin(drugs).to_numpy(), "drug", "result")
    therapy = cohort.courses["therapy"].to_numpy(dtype=object)[course]
    dose = (name == DOSE) & _engager(cohort)[course]
    name[dose] = "therapy:" + therapy[dose]
    return _table(
        len(events),
        patient_id=cohort.courses["patient_id"].to_numpy(dtype=object)[course],
        kind=kind,
        name=name,
        start_us=start,
        known_us=np.where(known == start, NOT_A_TIME, known),
        value=events["raw_value"].to_numpy(dtype=object),
        unit=events["raw_unit"].to_numpy(dtype=object),
        comparator=events["comparator"].to_numpy(dtype=object),
        source_id=events["source_id"].to_numpy(dtype=object),
    )


def _engager(cohort: Cohort) -> NDArray[np.bool_]:
    by_course = cohort.therapy_by_course()
    return np.array([is_engager(by_course[course]) for course in cohort.courses["course_id"]], dtype=np.bool_)


def _cells(cohort: Cohort) -> pd.DataFrame:
    """Infusions of cells, and first doses of engagers of which no dose is recorded."""
    events = cohort.events
    dosed = cohort.courses["course_id"].isin(events.loc[events["variable"] == DOSE, "course_id"]).to_numpy()
    engager = _engager(cohort)
    chosen = cohort.courses[~(engager & dosed)]
    return _table(
        len(chosen),
        patient_id=chosen["patient_id"].to_numpy(dtype=object),
        kind=np.where(engager[chosen.index], "drug", "procedure"),
        name="therapy:" + chosen["therapy"].to_numpy(dtype=object),
        start_us=_index_us(cohort)[chosen.index],
    )


def _baseline(cohort: Cohort) -> pd.DataFrame:
    """Columns of courses that are analytes, as results at the index time in canonical units."""
    known = analytes()
    parts = []
    for column in cohort.courses.columns:
        if column not in known or column in _PERSON:
            continue
        numbers = cohort.courses[column].to_numpy(dtype=np.float64)
        there = np.flatnonzero(~np.isnan(numbers))
        unit = known[column].unit
        parts.append(
            _table(
                there.size,
                patient_id=cohort.courses["patient_id"].to_numpy(dtype=object)[there],
                name=column,
                start_us=_index_us(cohort)[there],
                value=np.array([number_text(one) for one in numbers[there].tolist()], dtype=object),
                unit="" if unit in DIMENSIONLESS else unit,
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else _table(0, patient_id=[], name=[])


def number_text(number: float) -> str:
    """The shortest text that reads as this very number.

    >>> number_text(3.0), number_text(54.3), number_text(-0.0)
    ('3', '54.3', '0')
    """
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return repr(number)


def marked(value: str, comparator: str) -> str:
    """The value with its comparator, unless the reported text holds one already.

    >>> marked("0.5", "<"), marked("<0.5", "<"), marked("0.5", "")
    ('<0.5', '<0.5', '0.5')
    """
    if not comparator or (number_or_none(value) or (0.0, 0))[1]:
        return value
    return comparator + value


def _person(cohort: Cohort) -> pd.DataFrame:
    """Sex, site and indication of each patient, once."""
    told = cohort.courses.melt(["patient_id"], list(_PERSON), "name", "value").astype(object)
    told = told[told["value"] != ""].drop_duplicates()
    return _table(
        len(told),
        patient_id=told["patient_id"].to_numpy(),
        kind="person",
        name=told["name"].to_numpy(),
        value=told["value"].to_numpy(),
    )


def _stays(cohort: Cohort) -> pd.DataFrame:
    """The time under observation: from the first event to the end of follow-up, where that is known."""
    courses = cohort.courses
    until = courses["follow_up_hours"].to_numpy(dtype=np.float64)
    first = courses["course_id"].map(cohort.events.groupby("course_id")["hours"].min()).fillna(0.0).to_numpy()
    there = np.flatnonzero(~np.isnan(until))
    index_us = _index_us(cohort)[there]
    return _table(
        there.size,
        patient_id=courses["patient_id"].to_numpy(dtype=object)[there],
        kind="stay",
        name="stay",
        start_us=index_us + whole_microseconds(np.minimum(first[there], 0.0)),
        end_us=index_us + whole_microseconds(until[there]),
    )


def _grades(cohort: Cohort) -> list[pd.DataFrame]:
    """Grades over time, and adjudicated peaks with their onset and severe hours."""
    parts = []
    if cohort.grades is not None:
        grades = cohort.grades[cohort.grades["grade"].notna()]
        parts.append(_graded(cohort, grades, "grade", grades["grade"], grades["hours"]))
    if cohort.outcomes is not None:
        outcomes = cohort.outcomes
        parts.append(_graded(cohort, outcomes, "peak_grade", outcomes["peak_grade"], 0.0))
        for name, column in (("onset", "onset_hours"), ("severe", "severe_hours")):
            dated = outcomes[outcomes[column].notna()]
            parts.append(_graded(cohort, dated, name, 1.0, dated[column]))
    return parts


def _graded(cohort: Cohort, table: pd.DataFrame, name: str, value: Any, hours: Any) -> pd.DataFrame:
    course = cohort.position_of(table["course_id"])
    at = np.broadcast_to(np.asarray(hours, dtype=np.float64), len(table))
    numbers = np.broadcast_to(np.asarray(value, dtype=np.float64), len(table))
    return _table(
        len(table),
        patient_id=cohort.courses["patient_id"].to_numpy(dtype=object)[course],
        name=(name + ":" + table["system"]).to_numpy(dtype=object),
        start_us=_index_us(cohort)[course] + whole_microseconds(at),
        value=np.array([number_text(one) for one in numbers.tolist()], dtype=object),
    )
