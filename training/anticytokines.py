"""Drugs given against cytokine release: which, when, and without the premedication of an engager dose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crsrisk.cohort import Cohort

DRUGS: Mapping[str, tuple[str, ...]] = {
    "tocilizumab": ("tocilizumab_dose",),
    "steroid": ("dexamethasone_dose", "methylprednisolone_dose", "hydrocortisone_dose", "prednisolone_dose"),
    "other": ("siltuximab_dose", "anakinra_dose", "ruxolitinib_dose"),
}
"""Groups of drugs by analyte; the same that `features.treatment` declares as given for CRS."""
PREMEDICATION_HOURS = (
    4.0  # a steroid up to so long before an engager dose belongs to the dose: our convention
)


def given_drugs(cohort: Cohort, doses: pd.DataFrame) -> pd.DataFrame:
    """What was given: course (row number of `cohort.courses`), hours, drug (key of DRUGS), sorted by all three.

    A dose of 0 was not given. Why a steroid was given is in no record: neurotoxicity counts as well.

    Args:
        cohort: whose events.
        doses: `features.matrix.index_doses` of it, for premedication.
    """
    group = {variable: drug for drug, variables in DRUGS.items() for variable in variables}
    events = cohort.events
    drug = events["variable"].map(group)
    there = drug.notna().to_numpy() & ~(events["value"].to_numpy(dtype=np.float64) <= 0)
    found = pd.DataFrame(
        {
            "course": cohort.position_of(events.loc[there, "course_id"]),
            "hours": events.loc[there, "hours"].to_numpy(dtype=np.float64),
            "drug": drug[there].to_numpy(dtype=object),
        }
    )
    found = found[~_premedication(found, cohort, doses)]
    return found.sort_values(["course", "hours", "drug"], ignore_index=True)


def _premedication(found: pd.DataFrame, cohort: Cohort, doses: pd.DataFrame) -> pd.Series:
    """Whether a steroid was given shortly before an index dose."""
    dosed = pd.DataFrame(
        {
            "course": cohort.position_of(doses["course_id"]),
            "dose": doses["dose_hours"].to_numpy(dtype=np.float64),
        }
    ).sort_values("dose", kind="stable")
    times = found.reset_index().sort_values("hours", kind="stable")
    following = pd.merge_asof(
        times, dosed, left_on="hours", right_on="dose", by="course", direction="forward"
    ).set_index("index")
    wait = following["dose"] - following["hours"]
    return ((following["drug"] == "steroid") & (wait <= PREMEDICATION_HOURS)).reindex(found.index)


def first_hours(
    given: pd.DataFrame, drugs: tuple[str, ...], course: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> np.ndarray:
    """First hour in (start, stop) at which one of the drugs was given to each course; inf where none was.

    Args:
        given: see `given_drugs`.
        drugs: keys of DRUGS.
        course: row number of each stretch's course, shape (n,).
        start: hour of the course after which it counts, shape (n,).
        stop: hour before which it counts, shape (n,).
    """
    wanted = given[given["drug"].isin(list(drugs))]
    of, hours = wanted["course"].to_numpy(), wanted["hours"].to_numpy(dtype=np.float64)
    order = np.lexsort((hours, of))
    of, hours = of[order], hours[order]
    place, last = np.searchsorted(of, course, side="left"), np.searchsorted(of, course, side="right")
    found = np.full(len(course), np.inf)
    open_ = np.ones(len(course), dtype=bool)
    for k in range(int((last - place).max(initial=0))):
        at = np.minimum(place + k, max(len(hours) - 1, 0))
        fits = open_ & (place + k < last)
        fits[fits] = (hours[at[fits]] > start[fits]) & (hours[at[fits]] < stop[fits])
        found[fits] = hours[at[fits]]
        open_ &= ~fits
    return found
