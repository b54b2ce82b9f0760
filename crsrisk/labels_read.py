"""The optional tables of a cohort folder that say what happened: grades over time and adjudicated peaks."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.courses_read import CourseTable, table_numbers
from crsrisk.events_read import course_rows, event_hours
from crsrisk.ledger import Ledger
from crsrisk.problems import Problems
from crsrisk.tables import RawTable
from crsrisk.times import FURTHEST_HOURS
from crsrisk.values import EMPTY_VALUE

SEVERE = 3
GRADES_KNOWN = ("course_id", "time", "hours", "grade", "system", "state", "low", "high", "rule")
OUTCOMES_KNOWN = ("course_id", "peak_grade", "system", "onset_hours", "severe_hours")


def read_grades(
    table: RawTable, courses: CourseTable, problems: Problems, ledger: Ledger
) -> pd.DataFrame | None:
    """Grades over time, sorted by course_id, hours and system; None when they can't be read.

    An empty grade means not gradable and stays nan. Columns that `crsrisk grade` writes (state, low, high,
    rule) and unknown ones are kept.
    """
    if not _has_columns(table, ("course_id", "grade", "system"), problems):
        return None
    course = course_rows(table, courses, problems)
    hours = event_hours(table, courses, course, problems)
    grade = _grade(table, "grade", problems)
    if hours is None:
        return None
    columns: dict[str, object] = {
        "course_id": table.texts("course_id").to_pylist(),
        "hours": hours,
        "grade": grade,
        "system": _system(table, problems),
    }
    for name in ("low", "high"):
        if table.has(name):
            columns[name] = _grade(table, name, problems)
    _keep_rest(table, columns, GRADES_KNOWN, ledger)
    ledger.count("grades", table.rows)
    return _typed(columns).sort_values(["course_id", "hours", "system"], kind="stable", ignore_index=True)


def read_outcomes(
    table: RawTable, courses: CourseTable, problems: Problems, ledger: Ledger
) -> pd.DataFrame | None:
    """Adjudicated peaks, sorted by course_id and system; None when they can't be read.

    A row without a peak_grade says nothing: it is rejected and counted.
    """
    if not _has_columns(table, ("course_id", "peak_grade", "system"), problems):
        return None
    course_rows(table, courses, problems)
    peak = _grade(table, "peak_grade", problems)
    columns: dict[str, object] = {
        "course_id": table.texts("course_id").to_pylist(),
        "peak_grade": np.nan_to_num(peak).astype(np.int64),
        "system": _system(table, problems),
        "onset_hours": _hours(table, "onset_hours", problems),
        "severe_hours": _hours(table, "severe_hours", problems),
    }
    _keep_rest(table, columns, OUTCOMES_KNOWN, ledger)
    built = _typed(columns)
    _check_outcomes(table, built, problems)
    empty = np.isnan(peak)
    rows = table.lines[empty]
    ledger.reject(
        "outcomes", rows, ["peak_grade"] * len(rows), ["peak_grade"] * len(rows), [EMPTY_VALUE] * len(rows)
    )
    ledger.count("outcomes", table.rows, rejected=len(rows))
    return built[~empty].sort_values(["course_id", "system"], kind="stable", ignore_index=True)


def _check_outcomes(table: RawTable, outcomes: pd.DataFrame, problems: Problems) -> None:
    again = outcomes.duplicated(["course_id", "system"]).to_numpy()
    accepted = "one row per course_id and system"
    problems.add_rows(
        table.file, table.lines[again], "course_id", "a course that stands there already", accepted
    )
    mild = ((outcomes["peak_grade"] < SEVERE) & outcomes["severe_hours"].notna()).to_numpy()
    came = f"hours of severe CRS with a peak below grade {SEVERE}"
    problems.add_rows(
        table.file, table.lines[mild], "severe_hours", came, "an empty cell, or the peak corrected"
    )
    before = (outcomes["severe_hours"] < outcomes["onset_hours"]).to_numpy()
    came = "severe CRS before its onset"
    problems.add_rows(table.file, table.lines[before], "severe_hours", came, "hours from onset_hours on")
    none = ((outcomes["peak_grade"] == 0) & outcomes["onset_hours"].notna()).to_numpy()
    came = "an onset with a peak of grade 0"
    problems.add_rows(
        table.file, table.lines[none], "onset_hours", came, "an empty cell, or the peak corrected"
    )


def _has_columns(table: RawTable, required: tuple[str, ...], problems: Problems) -> bool:
    missing = [column for column in required if not table.has(column)]
    for column in missing:
        problems.add(f"{table.file}: column {column} is missing; accepted: {', '.join(required)} in each row")
    return not missing


def _grade(table: RawTable, column: str, problems: Problems) -> NDArray[np.float64]:
    numbers = table_numbers(table, column)
    inside = np.isin(numbers.values, np.arange(6.0)) & (numbers.comparators == 0)
    wrong = ~inside & ~numbers.empty
    problems.add_rows(table.file, table.lines[wrong], column, "no grade", "whole numbers 0 to 5")
    return numbers.values


def _hours(table: RawTable, column: str, problems: Problems) -> NDArray[np.float64]:
    numbers = table_numbers(table, column)
    wrong = numbers.bad | (numbers.comparators > 0) | (numbers.values < 0) | (numbers.values > FURTHEST_HOURS)
    accepted = "hours from the index time, 0 or above, or an empty cell"
    problems.add_rows(table.file, table.lines[wrong], column, "no number of hours", accepted)
    return numbers.values + 0.0


def _system(table: RawTable, problems: Problems) -> list[str]:
    systems: list[str] = table.texts("system").to_pylist()
    empty = [line for line, system in zip(table.lines.tolist(), systems, strict=True) if not system]
    accepted = "ASTCT, Lee2014, Penn, CTCAEv5 or another name"
    problems.add_rows(table.file, empty, "system", "an empty cell", accepted)
    return systems


def _keep_rest(table: RawTable, columns: dict[str, object], known: tuple[str, ...], ledger: Ledger) -> None:
    for name in table.columns:
        if name not in columns and name not in ("time", "hours"):
            columns[name] = table.texts(name).to_pylist()
            if name not in known:
                ledger.unused(table.name, "column", name, table.rows)


def _typed(columns: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.array(cells, dtype="str") if isinstance(cells, list) else cells
            for name, cells in columns.items()
        }
    )
