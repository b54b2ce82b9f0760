"""Small cohorts for the tests of the features: events as tuples, courses by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan

import pandas as pd

from crsrisk.cohort_frames import EVENT_COLUMNS, Cohort, frame

CELLS = "axi-cel_LBCL3L"
ENGAGER = "glofit_DLBCL"
Event = tuple[str, float, str, float] | tuple[str, float, str, float, float]


def cohort_of(
    events: Iterable[Event],
    *,
    courses: Sequence[str] = ("a",),
    therapy: str | Mapping[str, str] = CELLS,
    **columns: Sequence[float],
) -> Cohort:
    """A cohort; an event is (course, hours, variable, value) or the same and the hour at which it was known."""
    found = sorted(events, key=lambda event: (event[0], event[1], event[2]))
    blank = [""] * len(found)
    table = frame(
        EVENT_COLUMNS,
        course_id=[event[0] for event in found],
        hours=[float(event[1]) for event in found],
        available_hours=[float(event[4] if len(event) == 5 else event[1]) for event in found],
        variable=[event[2] for event in found],
        value=[float(event[3]) for event in found],
        comparator=blank,
        raw_value=blank,
        raw_unit=blank,
        source_id=blank,
        row=list(range(2, len(found) + 2)),
    )
    keys = [therapy if isinstance(therapy, str) else therapy[course] for course in courses]
    texts = {
        "course_id": list(courses),
        "patient_id": [f"p{course}" for course in courses],
        "therapy": keys,
        "site": [""] * len(keys),
        "indication": [""] * len(keys),
        "sex": ["unknown"] * len(keys),
    }
    built = {name: pd.array(values, dtype="str") for name, values in texts.items()}
    numbers = {"age": [nan] * len(keys), "weight": [nan] * len(keys), "follow_up_hours": [nan] * len(keys)}
    return Cohort(courses=pd.DataFrame({**built, **numbers, **columns}), events=table)
