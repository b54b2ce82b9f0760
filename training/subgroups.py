"""How good risks are for therapy, product, sex, age band, site and calendar year; small groups are suppressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crsrisk.cohort import Cohort
from training.evaluate import averaged, metrics, row_arrays, table_lines
from training.resampling import RESAMPLES

# Fewer say nothing about a group, and could point at single patients (our limits).
LEAST_PATIENTS = 20
LEAST_EVENTS = 10
SUBGROUPS = ("therapy", "product", "sex", "age_band", "site", "era")
AGE_BANDS = (
    (18.0, "below 18"),
    (40.0, "18 to 39"),
    (65.0, "40 to 64"),
    (75.0, "65 to 74"),
    (np.inf, "75 and above"),
)
SUPPRESSED, UNKNOWN = "suppressed", "unknown"
COLUMNS = (
    "model",
    "family",
    "subgroup",
    "level",
    "horizon",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "events",
    "reason",
)


def course_groups(cohort: Cohort) -> pd.DataFrame:
    """course_id and the level of each subgroup; `unknown` where the cohort does not say.

    era is the calendar year of the index time; a cohort without dates has no column of it.
    """
    courses = cohort.courses
    known = cohort.therapy_by_course()
    ids = courses["course_id"].tolist()
    found = {
        "course_id": courses["course_id"].to_numpy(dtype=object),
        "therapy": [known[c].key for c in ids],
        "product": [known[c].product for c in ids],
        "sex": _text(courses, "sex"),
        "age_band": [age_band(age) for age in _numbers(courses, "age")],
        "site": _text(courses, "site"),
    }
    if "index_time" in courses and courses["index_time"].notna().any():
        years = pd.to_datetime(courses["index_time"], utc=True).dt.year
        found["era"] = [UNKNOWN if np.isnan(y) else f"{int(y)}" for y in years.to_numpy(dtype=np.float64)]
    return pd.DataFrame(found)


def age_band(age: float) -> str:
    """The band of an age in years.

    >>> age_band(64.9), age_band(float("nan"))
    ('40 to 64', 'unknown')
    """
    return next((name for below, name in AGE_BANDS if age < below), UNKNOWN)


def _text(courses: pd.DataFrame, column: str) -> list[str]:
    if column not in courses:
        return [UNKNOWN] * len(courses)
    values = courses[column].astype("object").where(courses[column].notna(), "").tolist()
    return [str(v).strip() or UNKNOWN for v in values]


def _numbers(courses: pd.DataFrame, column: str) -> list[float]:
    if column not in courses:
        return [np.nan] * len(courses)
    numbers: list[float] = courses[column].to_numpy(dtype=np.float64).tolist()
    return numbers


def subgroups(
    predictions: pd.DataFrame, groups: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Metrics of each level of each subgroup, by horizon, pooled over landmarks; columns COLUMNS.

    A level with fewer than LEAST_PATIENTS patients or LEAST_EVENTS with severe CRS is not shown: those of a
    subgroup are counted together in one line `suppressed`. A subgroup of one level is left out, it repeats
    the whole.

    Args:
        predictions: see `evaluate`.
        groups: see `course_groups`.
        resamples: bootstrap resamples; 0: no intervals.
        seed: of the resampling.
    """
    lines: list[dict[str, Any]] = []
    rows = averaged(predictions.drop(columns=[c for c in SUBGROUPS if c in predictions]))
    rows = rows.merge(groups, on="course_id", how="left", validate="many_to_one")
    for (model, family), part in rows.groupby(["model", "family"], sort=True):
        for name in (c for c in SUBGROUPS if c in groups and len(part[c].unique()) > 1):
            for horizon, at in part.groupby("horizon", sort=True):
                where = {"model": model, "family": family, "subgroup": name, "horizon": horizon}
                lines += _levels(at, where, name, resamples, seed)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _levels(
    rows: pd.DataFrame, where: dict[str, Any], name: str, resamples: int, seed: int
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    small = []
    for level, part in rows.groupby(name, sort=True):
        severe = part.loc[part["severe"] > 0, "patient_id"].nunique()
        if part["patient_id"].nunique() < LEAST_PATIENTS or severe < LEAST_EVENTS:
            small.append(level)
            continue
        found = metrics(*row_arrays(part), resamples=resamples, seed=seed)
        lines += table_lines({**where, "level": level}, found.values())
    if small:
        hidden = rows[rows[name].isin(small)]
        lines.append(
            {
                **where,
                "level": SUPPRESSED,
                "metric": "",
                "value": np.nan,
                "low": np.nan,
                "high": np.nan,
                "n": hidden["patient_id"].nunique(),
                "events": hidden.loc[hidden["severe"] > 0, "patient_id"].nunique(),
                "reason": f"{len(small)} level{'s' if len(small) > 1 else ''} with fewer than {LEAST_PATIENTS} "
                f"patients or {LEAST_EVENTS} with severe CRS",
            }
        )
    return lines
