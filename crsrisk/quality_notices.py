"""What the owner of a usable cohort should know: sentences with counts, never values."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pandas as pd

from crsrisk.cohort_frames import Cohort
from crsrisk.times import MICROSECONDS_PER_HOUR, microseconds
from crsrisk.values import reason_code

SEVERE_GRADE = 3
OWN_TREES = 100
"""Severe cases from which a family carries trees of its own; design of the risk model, not from a paper."""
SHARED_TREES = 30
"""Severe cases of all families together from which they share trees; below: published rates alone."""


def notices(cohort: Cohort, by_therapy: pd.DataFrame, now: datetime) -> Iterator[str]:
    """Sentences about a cohort.

    Args:
        cohort: the cohort.
        by_therapy: the table of courses by therapy of the quality report.
        now: aware time after which an event lies in the future.
    """
    if cohort.events.empty:
        yield "no events are used: grades, early-course features and time-dependent risks need them"
    yield from _about_labels(cohort, by_therapy)
    yield from _about_courses(cohort, by_therapy)
    yield from _about_events(cohort, now)
    yield from _about_what_is_not_used(cohort)


def _about_labels(cohort: Cohort, by_therapy: pd.DataFrame) -> Iterator[str]:
    for name, table in (("outcomes", cohort.outcomes), ("grades", cohort.grades)):
        if table is not None:
            for system, rows in table["system"].value_counts().sort_index().items():
                if system != "ASTCT":
                    yield f"{name}: {rows} rows graded by {system}; kept, but labels come from ASTCT alone"
    graded = int(by_therapy["graded"].sum())
    if not graded:
        yield "no ASTCT grades are recorded: labels can only come from events, by `crsrisk grade`"
        return
    courses, severe = len(cohort.courses), int(by_therapy["severe"].sum())
    if graded < courses:
        yield f"{courses - graded} of {courses} courses have no ASTCT grade recorded"
    if severe in (0, graded):
        yield f"one class only: {severe} severe of {graded}; training and evaluation need both"
    timed = set() if cohort.outcomes is None else set(_timed(cohort.outcomes))
    if severe and cohort.grades is None and len(timed) < severe:
        yield (
            f"{severe - len(timed)} of {severe} severe courses lack the hour of grade {SEVERE_GRADE}: "
            "only their rest-of-window label is known"
        )
    counted = by_therapy[["family", "graded", "severe"]].groupby("family").sum()
    shared = counted["severe"].sum() >= SHARED_TREES
    for family, row in counted.iterrows():
        if family and row["severe"] < OWN_TREES:
            instead = (
                "trees are shared by all families"
                if shared
                else "published rates of the therapy are used, with published scores beside them"
            )
            yield (
                f"{family}: {row['severe']} severe of {row['graded']} cannot carry a model of their own "
                f"({OWN_TREES} needed, {SHARED_TREES} in all families for shared trees); {instead}"
            )


def _timed(outcomes: pd.DataFrame) -> pd.Series:
    return outcomes.loc[outcomes["severe_hours"].notna() & (outcomes["system"] == "ASTCT"), "course_id"]


def _about_courses(cohort: Cohort, by_therapy: pd.DataFrame) -> Iterator[str]:
    again = int((cohort.courses["patient_id"].value_counts() > 1).sum())
    if again:
        yield f"{again} patients have more than one course; splits keep them together"
    for key in by_therapy.loc[by_therapy["family"] == "", "therapy"]:
        yield f"therapy {key}: no family fits; it gets the rate of its class, and the model abstains"
    empty = len(cohort.courses) - cohort.events["course_id"].nunique()
    if empty and len(cohort.events):
        yield f"{empty} of {len(cohort.courses)} courses have no used event"


def _about_events(cohort: Cohort, now: datetime) -> Iterator[str]:
    events = cohort.events
    position = cohort.position_of(events["course_id"])
    hours = events["hours"].to_numpy()
    dated = cohort.courses["index_time"]
    if dated.notna().any() and len(events):
        index_us = dated.astype("datetime64[us, UTC]").astype("int64").to_numpy()[position]
        future = int((hours > (microseconds(now) - index_us) / MICROSECONDS_PER_HOUR).sum())
        if future:
            yield f"{future} events lie in the future; check the year and the offset of their times"
    follow_up = cohort.courses["follow_up_hours"].to_numpy()[position]
    after = int((hours > np.nan_to_num(follow_up, nan=np.inf)).sum())
    if after:
        yield f"{after} events lie after the end of their course's follow_up_hours"
    moments = events[["course_id", "hours", "variable", "available_hours"]]
    conflicts = int(moments.duplicated().sum())
    if conflicts:
        yield f"{conflicts} events repeat a variable at one moment with another value or source; all are kept"


def _about_what_is_not_used(cohort: Cohort) -> Iterator[str]:
    duplicates = int(cohort.counts["duplicates"].sum()) if len(cohort.counts) else 0
    if duplicates:
        yield f"{duplicates} events are exact duplicates and count once"
    if len(cohort.rejected):
        codes = pd.Series([reason_code(reason) for reason in cohort.rejected["reason"]]).value_counts()
        counted = ", ".join(f"{count} {code}" for code, count in codes.items())
        yield f"{len(cohort.rejected)} values are rejected: {counted}"
    variables = cohort.unused[cohort.unused["kind"] == "variable"]
    if len(variables):
        yield f"{len(variables)} unknown variables ({variables['rows'].sum()} events) are kept but not used"
    columns = cohort.unused[cohort.unused["kind"] == "column"]
    if len(columns):
        yield f"{len(columns)} unknown columns are kept but not used"
    for row in cohort.adjusted.itertuples(index=False):
        yield f"{row.rows} values of {row.table} adjusted, {row.column}: {row.reason}"
