"""Kind (f): rows, not patients, in given folds.

Folds come as a CSV `course_id, repeat, fold` (further columns, such as `landmark_hours`, may stand beside), or as a
column of courses that looks like a split. In one repeat a patient, and whoever is the same patient under another
id, must lie in one fold; otherwise the model is tested on a patient from whom it learned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.leaks.finding import ROWS_NAMED, Finding, first
from crsrisk.leaks.twins import Twin
from crsrisk.leaks.view import Ints, View
from crsrisk.problems import Problems
from crsrisk.tables import RawTable, read_table

SPLIT_COLUMNS = frozenset(
    {
        "fold",
        "folds",
        "split",
        "splits",
        "cv_fold",
        "fold_id",
        "partition",
        "train_test",
        "data_split",
        "subset",
    }
)
MOST_PARTS = 50
REMEDY = (
    "put all courses of a patient into one fold of a repeat; `crsrisk crossvalidate` without --folds does"
)


@dataclass(frozen=True)
class Folds:
    """Folds by row: course (row of `cohort.courses`), part (code of repeat and fold), repeat, line in the file."""

    name: str
    column: str
    course: Ints
    repeat: Ints
    fold: Ints
    line: Ints


def given_folds(view: View, path: str | Path, problems: Problems) -> Folds | None:
    """Folds of a CSV file; None after noting why it can't be read.

    Rows of courses that the cohort does not have, courses without a fold and repeats of one fold are problems, too,
    but the rest is looked at.
    """
    file = Path(path)
    if not file.is_file():
        problems.add(f"{file.name}: no such file; accepted: a CSV with columns course_id, repeat, fold")
        return None
    table = read_table(file, file.name, problems) if file.suffix in (".csv", ".parquet") else None
    if table is None:
        if not problems.sentences:
            problems.add(f"{file.name}: neither .csv nor .parquet; accepted: course_id, repeat, fold as CSV")
        return None
    absent = [column for column in ("course_id", "fold") if not table.has(column)]
    if absent:
        problems.add(
            f"{file.name}: column {' and '.join(absent)} missing; accepted: course_id, repeat, fold. Rows that name no "
            "course can't be kept with their patient"
        )
        return None
    return _placed(view, table, problems)


def _placed(view: View, table: RawTable, problems: Problems) -> Folds:
    ids = pd.Index(table.texts("course_id").to_pylist())
    course = pd.Index(view.cohort.courses["course_id"].to_numpy(dtype=object)).get_indexer(ids)
    repeats = table.texts("repeat").to_pylist()
    folds = table.texts("fold").to_pylist()
    lines = table.lines
    problems.add_rows(
        table.file,
        lines[course < 0],
        "course_id",
        "not a course of the cohort",
        "its course_ids; name the right cohort",
    )
    empty = np.array([not fold for fold in folds], dtype=np.bool_)
    problems.add_rows(table.file, lines[empty], "fold", "an empty cell", "the number of a fold")
    kept = (course >= 0) & ~empty
    repeat, _ = pd.factorize(np.array(repeats, dtype=object)[kept], sort=True)
    fold, _ = pd.factorize(np.array(folds, dtype=object)[kept], sort=True)
    found = Folds(
        table.file,
        "fold",
        course[kept].astype(np.int64),
        repeat.astype(np.int64),
        fold.astype(np.int64),
        lines[kept],
    )
    for code in np.unique(found.repeat).tolist():
        mine = found.repeat == code
        missing = view.n - len(np.unique(found.course[mine]))
        if missing:
            problems.add(
                f"{table.file}: {missing} courses have no fold in a repeat; accepted: a fold for each course"
            )
        if len(np.unique(found.fold[mine])) < 2:
            problems.add(f"{table.file}: one fold alone in a repeat; accepted: two or more folds")
    return found


def split_columns(view: View) -> Iterator[Folds]:
    """Columns of courses that name a split: each as folds of one repeat."""
    for column in view.columns:
        if column.texts is None or column.name.strip().casefold() not in SPLIT_COLUMNS:
            continue
        there = np.flatnonzero(column.texts != "")
        fold, names = pd.factorize(column.texts[there], sort=True)
        if 2 <= len(names) <= MOST_PARTS:
            yield Folds(
                "courses", column.name, there, np.zeros(there.size, dtype=np.int64), fold.astype(np.int64),
                view.lines[there],
            )  # fmt: skip


def fold_findings(view: View, folds: Folds, twins: Sequence[Twin]) -> Iterator[Finding]:
    """Courses, patients and pairs of equal courses that are split between the folds of a repeat."""
    patient, _ = pd.factorize(view.cohort.courses["patient_id"])
    by_course = _split(folds, folds.course)
    if by_course.any():
        what = "rows, not patients, are dealt out: one course stands in several folds of a repeat"
        yield _finding(folds, by_course, view.n, "COURSE_SPLIT", what, "courses", folds.course)
    by_patient = _split(folds, patient[folds.course]) & ~np.isin(folds.course, folds.course[by_course])
    if by_patient.any():
        what = "courses of one patient stand in several folds of a repeat"
        of = len(np.unique(patient))
        yield _finding(folds, by_patient, of, "PATIENT_SPLIT", what, "patients", patient[folds.course])
    for certain in (True, False):
        chosen = [twin for twin in twins if twin.certain == certain]
        apart = [twin for twin in chosen if _apart(folds, twin)]
        if apart:
            yield _pairs(view, folds, apart, certain)


def _split(folds: Folds, unit: Ints) -> NDArray[np.bool_]:
    """Rows whose unit (course or patient) has several folds in their repeat."""
    group = folds.repeat * (int(unit.max(initial=0)) + 1) + unit
    low = np.full(int(group.max(initial=0)) + 1, np.iinfo(np.int64).max)
    high = np.full(len(low), -1, dtype=np.int64)
    np.minimum.at(low, group, folds.fold)
    np.maximum.at(high, group, folds.fold)
    found: NDArray[np.bool_] = low[group] != high[group]
    return found


def _apart(folds: Folds, twin: Twin) -> bool:
    one, other = (folds.course == course for course in (twin.one, twin.other))
    for repeat in np.unique(folds.repeat[one]).tolist():
        here = folds.repeat == repeat
        if np.any(other & here) and set(folds.fold[one & here]) != set(folds.fold[other & here]):
            return True
    return False


def _finding(
    folds: Folds, rows: NDArray[np.bool_], of: int, code: str, what: str, unit: str, units: Ints
) -> Finding:
    number = len(np.unique(units[rows]))
    repeats = len(np.unique(folds.repeat[rows]))
    return Finding(
        kind="f",
        code=code,
        level="error",
        table=folds.name,
        variables=(folds.column,),
        rows=int(rows.sum()),
        first_rows=first(np.sort(folds.line[rows])[:100]),
        courses=len(np.unique(folds.course[rows])),
        what=what,
        size=f"{number} of {of} {unit}, in {repeats} of {len(np.unique(folds.repeat))} repeats",
        do=REMEDY,
    )


def _pairs(view: View, folds: Folds, apart: Sequence[Twin], certain: bool) -> Finding:
    courses = np.unique([course for twin in apart for course in (twin.one, twin.other)])
    lines = np.sort(folds.line[np.isin(folds.course, courses)])
    pairs = sorted(
        (int(min(view.lines[[twin.one, twin.other]])), int(max(view.lines[[twin.one, twin.other]])))
        for twin in apart
    )
    return Finding(
        kind="f",
        code="COPIES_SPLIT" if certain else "LIKELY_COPIES_SPLIT",
        level="error" if certain else "warning",
        table=folds.name,
        variables=(folds.column,),
        rows=len(lines),
        first_rows=first(lines[:100]),
        courses=len(courses),
        pairs=tuple(pairs[:ROWS_NAMED]),
        what="courses that look like one patient stand in different folds (pairs are lines of courses)",
        size=f"{len(apart)} pairs",
        do="settle the findings of kind (c) first, then deal out the folds again by patient",
    )
