"""Folds of patients: two courses of one patient, and all their landmarks, always stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.errors import CohortError, NotEnoughDataError

FOLD_COLUMNS = ("course_id", "repeat", "fold")


def patient_folds(
    patients: NDArray[np.object_], strata: NDArray[np.object_], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold (from 0) of each entry; entries of one patient share it, strata are dealt out evenly.

    Args:
        patients: patient of each entry, shape (n,).
        strata: stratum of each entry, such as family and severe; a patient takes the largest of its entries.
        n_folds: at least 2.
        seed: the same seed gives the same folds, whatever the order of the entries.

    Raises:
        NotEnoughDataError: fewer patients than folds.
    """
    table = pd.DataFrame({"patient": patients.astype(str), "stratum": strata.astype(str)})
    whole = table.groupby("patient", sort=True)["stratum"].max()
    if len(whole) < n_folds:
        raise NotEnoughDataError(
            f"{len(whole)} patients can't fill {n_folds} folds; use fewer folds or more data"
        )
    rng = np.random.default_rng(seed)
    shuffled = whole.iloc[rng.permutation(len(whole))].sort_values(kind="stable")
    fold = pd.Series(np.arange(len(shuffled)) % n_folds, index=shuffled.index)
    dealt: NDArray[np.int64] = fold.loc[table["patient"]].to_numpy(dtype=np.int64)
    return dealt


def course_folds(courses: pd.DataFrame, *, n_folds: int, repeats: int, seed: int) -> pd.DataFrame:
    """Folds of a cohort as a table course_id, repeat, fold (both from 0).

    courses: course_id, patient_id, family, severe.
    """
    strata = (courses["severe"].astype(int).astype(str) + " " + courses["family"].astype(str)).to_numpy(
        dtype=object
    )
    patients = courses["patient_id"].to_numpy(dtype=object)
    parts = [
        pd.DataFrame(
            {
                "course_id": courses["course_id"].to_numpy(),
                "repeat": repeat,
                "fold": patient_folds(patients, strata, n_folds, seed + 1000 * repeat),
            }
        )
        for repeat in range(repeats)
    ]
    return pd.concat(parts, ignore_index=True)


def read_folds(path: str | Path, courses: pd.DataFrame) -> pd.DataFrame:
    """Folds given as a CSV course_id, repeat, fold, checked against the courses (course_id, patient_id).

    Raises:
        CohortError: columns or courses are missing, unknown or doubled, or a patient is split between folds.
    """
    name = Path(path).name
    try:
        table = pd.read_csv(path, dtype={"course_id": "str"})
    except FileNotFoundError:
        raise CohortError(
            [f"{name}: no such file; give a CSV with columns course_id, repeat, fold"]
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as wrong:
        raise CohortError(
            [f"{name}: not a CSV ({type(wrong).__name__}); columns course_id, repeat, fold"]
        ) from None
    absent = [c for c in FOLD_COLUMNS if c not in table.columns]
    if absent:
        raise CohortError([f"{name}: columns {absent} are absent; it needs course_id, repeat, fold"])
    return checked_folds(table, courses, name)


def checked_folds(table: pd.DataFrame, courses: pd.DataFrame, name: str = "folds") -> pd.DataFrame:
    """The folds in whole numbers, when every course has one fold per repeat and no patient is split."""
    problems = []
    folds = table[list(FOLD_COLUMNS)].copy()
    for column in ("repeat", "fold"):
        numbers = pd.to_numeric(folds[column], errors="coerce")
        wrong = np.flatnonzero((numbers.isna() | (numbers != numbers.round())).to_numpy())
        if len(wrong):
            problems.append(
                f"{name}: row {wrong[0] + 2}, column {column}: not a whole number ({len(wrong)} rows)"
            )
        folds[column] = numbers
    if problems:
        raise CohortError(problems)
    folds = folds.astype({"repeat": "int64", "fold": "int64"})
    known = pd.Index(courses["course_id"])
    unknown = np.flatnonzero(~folds["course_id"].isin(known).to_numpy())
    if len(unknown):
        problems.append(
            f"{name}: row {unknown[0] + 2}, column course_id: not a course of the cohort ({len(unknown)} rows); "
            "remove them or name the right cohort"
        )
    if folds.duplicated(["course_id", "repeat"]).any():
        at = np.flatnonzero(folds.duplicated(["course_id", "repeat"]).to_numpy())
        problems.append(
            f"{name}: row {at[0] + 2}: a course has two folds in one repeat ({len(at)} rows); give one"
        )
    for repeat, part in folds.groupby("repeat"):
        missing = len(known.difference(pd.Index(part["course_id"])))
        if missing:
            problems.append(
                f"{name}: repeat {repeat}: {missing} courses have no fold; every course needs one"
            )
        if part["fold"].min() == part["fold"].max():
            problems.append(f"{name}: repeat {repeat}: one fold only; give two or more")
    patient = folds.merge(courses[["course_id", "patient_id"]], on="course_id")
    pairs = patient[["repeat", "patient_id", "fold"]].drop_duplicates()
    split = int(pairs.duplicated(["repeat", "patient_id"]).sum())
    if split:
        problems.append(
            f"{name}: {split} patients are split between folds; put all courses of a patient into one fold, "
            "or the same patient trains and tests"
        )
    if problems:
        raise CohortError(problems)
    return folds
