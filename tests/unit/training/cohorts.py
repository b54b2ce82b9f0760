"""Cohorts of a few courses, written out event by event."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from crsrisk.cohort import Cohort

AXI, GLOFIT = "axi-cel_LBCL3L", "glofit_DLBCL"


def course(
    course_id: str, *, patient: str | None = None, therapy: str = AXI, follow_up: float = np.nan
) -> dict:
    return {
        "course_id": course_id,
        "patient_id": patient or course_id,
        "therapy": therapy,
        "index_time": pd.NaT,
        "site": "s",
        "indication": "",
        "sex": "female",
        "age": 60.0,
        "weight": 70.0,
        "follow_up_hours": follow_up,
    }


def cohort(
    courses: Sequence[Mapping],
    events: Sequence[tuple[str, float, str, float]] = (),
    *,
    grades: Sequence[tuple[str, float, float, str]] | None = None,
    outcomes: Sequence[Mapping] | None = None,
) -> Cohort:
    """Events are (course_id, hours, variable, value); a quiet temperature at -1 h keeps a course from being empty."""
    every = [*((c["course_id"], -1.0, "temperature", 36.5) for c in courses), *events]
    ids = [c["course_id"] for c in courses]
    every.sort(key=lambda e: (ids.index(e[0]), e[1]))
    text = {"comparator": "", "raw_value": "", "raw_unit": "", "source_id": ""}
    frame = pd.DataFrame(
        [
            {
                "course_id": c,
                "hours": h,
                "available_hours": h,
                "variable": v,
                "value": x,
                **text,
                "row": i + 2,
            }
            for i, (c, h, v, x) in enumerate(every)
        ]
    )
    return Cohort(
        courses=_table(courses),
        events=frame,
        grades=None
        if grades is None
        else pd.DataFrame(grades, columns=["course_id", "hours", "grade", "system"]),
        outcomes=None if outcomes is None else pd.DataFrame(list(outcomes)),
    )


def _table(courses: Sequence[Mapping]) -> pd.DataFrame:
    """Courses with the column types that a reader gives them."""
    table = pd.DataFrame(list(courses))
    times = pd.to_datetime(table["index_time"], utc=True).astype("datetime64[us, UTC]")
    return table.astype({"course_id": "str", "patient_id": "str", "therapy": "str"}).assign(index_time=times)


def quiet(course_id: str, until: float = 336.0) -> list[tuple[str, float, str, float]]:
    """A normal temperature every 12 hours."""
    return [(course_id, float(h), "temperature", 36.8) for h in np.arange(6.0, until + 1, 12.0)]


def severe_at(course_id: str, hours: float) -> list[tuple[str, float, str, float]]:
    """Fever six hours before, then hypotension under one vasopressor: grade 3 from `hours` on."""
    return [
        (course_id, hours - 6.0, "temperature", 39.0),
        (course_id, hours, "temperature", 39.0),
        (course_id, hours, "sbp", 80.0),
        (course_id, hours, "norepinephrine_rate", 0.1),
        (course_id, hours + 12.0, "norepinephrine_rate", 0.0),
    ]
