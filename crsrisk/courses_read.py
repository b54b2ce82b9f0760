"""The courses table of a cohort folder: one row per infusion of cells or series of an engager."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.ledger import Ledger
from crsrisk.problems import Problems
from crsrisk.tables import RawTable
from crsrisk.times import ACCEPTED, CAME, NOT_A_TIME, OK, parse_times
from crsrisk.units import canonical_unit_name
from crsrisk.values import BAD_NUMBER, NOT_A_PLAIN_NUMBER, Numbers, parse_numbers, rule_for, standardise

SEXES = ("female", "male", "other", "unknown")
REQUIRED = ("course_id", "patient_id", "therapy")
TEXTS = ("site", "indication")
KNOWN = {*REQUIRED, *TEXTS, "index_time", "sex", "follow_up_hours"}


_EMPTY = 1


@dataclass(frozen=True)
class CourseTable:
    """Validated courses, sorted by course_id, and what the other tables need of them."""

    frame: pd.DataFrame
    lines: NDArray[np.int64]  # line in the file of each row of the frame
    position: Mapping[str, int]  # course_id -> row of the frame
    index_us: NDArray[np.int64] | None  # index time in microseconds since 1970, None for data in hours
    file: str

    def part(self, first: int, stop: int) -> "CourseTable":
        """The courses in these rows of the frame; the rest of the table is not looked at again."""
        rows = slice(first, stop)
        frame = self.frame.iloc[rows].reset_index(drop=True)
        return CourseTable(
            frame=frame,
            lines=self.lines[rows],
            position={course_id: row for row, course_id in enumerate(frame["course_id"].tolist())},
            index_us=None if self.index_us is None else self.index_us[rows],
            file=self.file,
        )


def is_baseline(name: str) -> bool:
    """Whether a column of courses is a baseline predictor of the analyte catalogue."""
    return name not in KNOWN and name in analytes()


def read_courses(table: RawTable, problems: Problems, ledger: Ledger) -> CourseTable | None:
    """The courses, None when they can't be identified; the reasons are then among the problems."""
    if table.rows == 0:
        problems.add(f"{table.file}: no courses; accepted: at least one row")
        return None
    missing = [column for column in REQUIRED if not table.has(column)]
    for column in missing:
        problems.add(f"{table.file}: column {column} is missing; accepted: {', '.join(REQUIRED)} in each row")
    if missing:
        return None
    for column in REQUIRED:
        empty = [
            line for line, text in zip(table.lines, table.texts(column).to_pylist(), strict=True) if not text
        ]
        problems.add_rows(table.file, empty, column, "an empty cell", "text in each row")
    _check_ids(table, problems)
    columns: dict[str, object] = {name: _text(table.texts(name)) for name in (*REQUIRED, *TEXTS)}
    columns["sex"] = _sex(table, problems)
    index_us = _index_times(table, problems)
    moments = np.full(table.rows, NOT_A_TIME) if index_us is None else index_us
    columns["index_time"] = pd.to_datetime(pd.Series(moments.astype("datetime64[us]")), utc=True)
    columns["follow_up_hours"] = _follow_up(table, problems)
    for name in ("age", "weight", *(name for name in table.columns if is_baseline(name))):
        if name not in columns:
            columns[name] = _baseline(table, name, ledger)
    for name in table.columns:
        if name not in columns:
            columns[name] = _text(table.texts(name))
            ledger.unused("courses", "column", name, table.rows)
    ledger.count("courses", table.rows)
    built = pd.DataFrame(columns)
    order = np.argsort(built["course_id"].to_numpy(dtype=object), kind="stable")
    ids = built["course_id"].to_numpy(dtype=object)[order]
    return CourseTable(
        frame=built.take(order).reset_index(drop=True),
        lines=table.lines[order],
        position={course_id: row for row, course_id in reversed(list(enumerate(ids)))},
        index_us=None if index_us is None else index_us[order],
        file=table.file,
    )


def _text(cells: pa.Array) -> pd.Series:
    return pd.Series(pd.array(cells, dtype="str"))


def _check_ids(table: RawTable, problems: Problems) -> None:
    patient_of: dict[str, str] = {}
    again: list[int] = []
    other: list[int] = []
    ids = table.texts("course_id").to_pylist()
    patients = table.texts("patient_id").to_pylist()
    for line, course, patient in zip(table.lines.tolist(), ids, patients, strict=True):
        if course and course in patient_of:
            (again if patient_of[course] == patient else other).append(line)
        patient_of.setdefault(course, patient)
    problems.add_rows(
        table.file, again, "course_id", "a course_id that stands there already", "one row per course_id"
    )
    problems.add_rows(
        table.file, other, "patient_id", "a second patient in one course", "one patient per course; "
        "give each patient's course an own course_id",
    )  # fmt: skip


def _sex(table: RawTable, problems: Problems) -> pd.Series:
    cells = ["unknown" if text == "" else text for text in table.texts("sex").to_pylist()]
    wrong = [line for line, text in zip(table.lines.tolist(), cells, strict=True) if text not in SEXES]
    problems.add_rows(table.file, wrong, "sex", "another word", ", ".join(SEXES))
    return pd.Series(cells, dtype="str")


def _index_times(table: RawTable, problems: Problems) -> NDArray[np.int64] | None:
    if not table.has("index_time"):
        return None
    found, kinds = table_times(table, "index_time")
    if (kinds == 1).all():
        return None  # the column is there, but empty throughout: data in hours
    add_time_problems(table, "index_time", kinds, problems)
    return found


def table_times(table: RawTable, column: str) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Microseconds since 1970 and kinds (as `parse_times`) of a column of text or Parquet timestamps."""
    cells = table.columns[column]
    if not pa.types.is_timestamp(cells.type):
        return parse_times(table.texts(column))
    null = cells.is_null().to_numpy(zero_copy_only=False)
    kinds = np.where(null, np.int8(1), np.int8(OK if cells.type.tz is not None else 2))
    found = cells.cast(pa.timestamp("us", cells.type.tz), safe=False).cast(pa.int64()).fill_null(NOT_A_TIME)
    return np.where(kinds == OK, found.to_numpy(), NOT_A_TIME), kinds


def add_time_problems(
    table: RawTable, column: str, kinds: NDArray[np.int8], problems: Problems, *, may_be_empty: bool = False
) -> None:
    """Note the rows whose time can't be used."""
    for kind, came in CAME.items():
        if not (may_be_empty and kind == 1):
            problems.add_rows(table.file, table.lines[kinds == kind], column, came, ACCEPTED)


def table_numbers(table: RawTable, column: str) -> Numbers:
    """Numbers of a column, from text or as Parquet holds them; an absent column is empty."""
    if not table.has(column) or not table.is_number(column):
        return parse_numbers(table.texts(column))
    cells = table.columns[column].cast(pa.float64(), safe=False)
    null = cells.is_null().to_numpy(zero_copy_only=False)
    values = cells.fill_null(np.nan).to_numpy().copy()
    empty = null | np.isnan(values)
    bad = np.isinf(values)
    values[bad] = np.nan
    return Numbers(values, np.zeros(len(values), dtype=np.int8), empty, bad)


def _follow_up(table: RawTable, problems: Problems) -> NDArray[np.float64]:
    hours = table_numbers(table, "follow_up_hours")
    wrong = hours.bad | (hours.comparators > 0) | (hours.values < 0)
    problems.add_rows(
        table.file,
        table.lines[wrong],
        "follow_up_hours",
        "no number of hours",
        "a number from 0, or an empty cell",
    )
    return hours.values


def _baseline(table: RawTable, name: str, ledger: Ledger) -> NDArray[np.float64]:
    numbers = table_numbers(table, name)
    rule = rule_for(name, canonical_unit_name(name))
    values, reasons = standardise(numbers.values, np.zeros(table.rows, dtype=np.int64), [rule])
    reasons[numbers.empty] = ""
    reasons[numbers.bad] = BAD_NUMBER
    reasons[numbers.comparators > 0] = NOT_A_PLAIN_NUMBER
    wrong = np.flatnonzero(reasons != "")
    names = [name] * len(wrong)
    ledger.reject("courses", table.lines[wrong], names, names, reasons[wrong].tolist())
    return np.where(reasons == "", values, np.nan)
