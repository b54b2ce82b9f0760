"""Who is at risk at each landmark, and whether severe CRS followed within each horizon.

A row is a course x dose x landmark x horizon. At risk: treated, alive, followed and not yet severe at the
landmark. Follow-up that ends before the horizon is weighted (inverse probability of censoring), never taken
as no event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from training.censoring import inverse_weights
from training.horizons import DEFAULT_HORIZONS, closing_hours, expand, planned_window_ends
from training.outcomes import CourseOutcomes, course_outcomes

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_TOLERANCE = 1e-9

ROW_COLUMNS = (
    "course_id",
    "patient_id",
    "therapy",
    "family",
    "class_",
    "dose",
    "dose_hours",
    "landmark_hours",
    "horizon_hours",
    "rest_of_window",
    "severe",
    "auxiliary",
    "weight",
)


@dataclass(frozen=True)
class LandmarkTable:
    """Labelled rows and how they came about.

    rows: ROW_COLUMNS; horizon_hours of the rest of the window is its number of hours; severe 0 or 1; auxiliary: grade
        2 or above within the horizon, 0 or 1; weight 1 or above, the inverse probability of having been followed.
    uncertain: the same columns for rows whose grade >= 3 rests on review, not_gradable or a range; severe
        is 1 in
        them, for a sensitivity analysis.
    onsets: timed severe onsets inside a window: course_id, patient_id, therapy, class_, family, dose, hours
        (after
        the dose).
    attrition: step, rows, patients, events (patients with severe CRS among them).
    notes: decisions about this cohort in plain sentences.
    """

    rows: pd.DataFrame
    uncertain: pd.DataFrame
    onsets: pd.DataFrame
    attrition: pd.DataFrame
    notes: tuple[str, ...] = ()
    outcomes: CourseOutcomes | None = field(default=None, repr=False)


def landmark_table(
    cohort: Cohort,
    landmarks: Sequence[float],
    horizons: Sequence[float | None] = DEFAULT_HORIZONS,
    *,
    doses: pd.DataFrame | None = None,
) -> LandmarkTable:
    """Rows at risk with label and weight, from a cohort.

    Args:
        cohort: courses, events and, where there, grades and outcomes.
        landmarks: hours after the dose.
        horizons: hours after the landmark, None for the rest of the window.
        doses: course_id, dose, dose_hours, window_end_hours (from the dose); None: from the cohort's events.

    Raises:
        NotEnoughDataError: no course has an ASTCT label.
    """
    if doses is None:
        from features.matrix import index_doses

        doses = index_doses(cohort)
    outcomes = course_outcomes(cohort)
    steps = _Steps(cohort, outcomes)
    base = _base_rows(cohort, doses, landmarks)
    base = steps.keep("dose x landmark rows inside the window", base, np.ones(len(base), dtype=bool))
    base = steps.keep("an ASTCT label exists", base, outcomes.source[base["course"]] != "")
    base = steps.keep("therapy belongs to a family", base, base["family"].notna().to_numpy())
    base = _at_risk(base, outcomes, steps)
    rows = _with_horizons(base, outcomes, horizons)
    steps.count("rows x horizons", rows)
    rows = _label(rows, outcomes)
    rows = steps.keep("time of severe CRS known where the horizon needs it", rows, rows["timed"].to_numpy())
    uncertain = rows["uncertain"].to_numpy()
    certain = steps.keep("grade 3 or above is certain or ruled out", rows, ~uncertain)
    followed = steps.keep(
        "followed to the horizon (the others are weighted for)", certain, certain["known"].to_numpy()
    )
    weight = inverse_weights(cohort, outcomes, doses, followed)
    left_out = rows[uncertain].assign(severe=1, weight=1.0)
    return LandmarkTable(
        rows=followed.assign(weight=weight)[list(ROW_COLUMNS)].reset_index(drop=True),
        uncertain=left_out[list(ROW_COLUMNS)].reset_index(drop=True),
        onsets=_onsets(cohort, outcomes, doses),
        attrition=steps.table(),
        notes=tuple(_notes(outcomes, len(left_out))),
        outcomes=outcomes,
    )


class _Steps:
    """Counts rows, patients and severe patients after every step."""

    def __init__(self, cohort: Cohort, outcomes: CourseOutcomes) -> None:
        self._severe = outcomes.severe
        self._patient = cohort.courses["patient_id"].to_numpy(dtype=object)
        self._lines: list[tuple[str, int, int, int]] = []
        everyone = np.arange(len(self._patient))
        self._add("courses in the cohort", everyone)

    def keep(self, step: str, rows: pd.DataFrame, keep: Mask) -> pd.DataFrame:
        """The rows kept, counted."""
        kept = rows[keep]
        self.count(step, kept)
        return kept

    def count(self, step: str, rows: pd.DataFrame) -> None:
        """Count rows without dropping any."""
        self._add(step, rows["course"].to_numpy())

    def _add(self, step: str, course: NDArray[np.int64]) -> None:
        courses = np.unique(course)
        events = np.unique(self._patient[courses[self._severe[courses]]].astype(str))
        patients = np.unique(self._patient[courses].astype(str))
        self._lines.append((step, len(course), len(patients), len(events)))

    def table(self) -> pd.DataFrame:
        """The attrition table."""
        return pd.DataFrame(self._lines, columns=["step", "rows", "patients", "events"])


def _base_rows(cohort: Cohort, doses: pd.DataFrame, landmarks: Sequence[float]) -> pd.DataFrame:
    """One row per course, dose and landmark inside the dose's window."""
    known = cohort.therapy_by_course()
    courses = cohort.courses
    family = pd.Series([known[c].family for c in courses["course_id"]], dtype="str")
    class_ = pd.Series([known[c].class_ for c in courses["course_id"]], dtype="str")
    at = cohort.position_of(doses["course_id"])
    opened = pd.DataFrame(
        {
            "course": at,
            "course_id": doses["course_id"].to_numpy(dtype=object),
            "patient_id": courses["patient_id"].to_numpy(dtype=object)[at],
            "therapy": courses["therapy"].to_numpy(dtype=object)[at],
            "dose": doses["dose"].to_numpy(dtype=np.int64),
            "dose_hours": doses["dose_hours"].to_numpy(dtype=np.float64),
            "window_end": doses["window_end_hours"].to_numpy(dtype=np.float64),
        }
    )
    for name in ("course_id", "patient_id", "therapy"):
        opened[name] = opened[name].astype("str")
    opened["family"], opened["class_"] = family.to_numpy()[at], class_.to_numpy()[at]
    opened["doses"] = opened.groupby("course")["dose"].transform("max")
    marks = pd.DataFrame({"landmark_hours": np.unique(np.asarray(landmarks, dtype=np.float64))})
    rows = opened.merge(marks, how="cross").sort_values(["course", "dose", "landmark_hours"], kind="stable")
    rows = rows[rows["landmark_hours"] < rows["window_end"]].reset_index(drop=True)
    # when the next dose came is not known at the landmark: a horizon follows the schedule, as in serving
    rows["planned_end"] = planned_window_ends(
        rows["therapy"].tolist(),
        rows["dose"].to_numpy(),
        rows["landmark_hours"].to_numpy(),
        cohort.therapies,
    )
    return rows


def _at_risk(base: pd.DataFrame, outcomes: CourseOutcomes, steps: _Steps) -> pd.DataFrame:
    """Rows of patients who are alive, followed and not yet severe at the landmark."""

    def now(rows: pd.DataFrame) -> tuple[NDArray[np.int64], Array]:
        return rows["course"].to_numpy(), (rows["dose_hours"] + rows["landmark_hours"]).to_numpy()

    course, as_of = now(base)
    settled = outcomes.settled & ~outcomes.other_death
    followed = settled[course] | (outcomes.follow_up_hours[course] > as_of)
    base = steps.keep("alive and followed at the landmark", base, followed)
    course, as_of = now(base)
    base = steps.keep("not yet severe at the landmark", base, ~(outcomes.severe_hours[course] <= as_of))
    course, as_of = now(base)
    unsure = _maybe_between(outcomes, course, np.full(len(as_of), -np.inf), as_of)
    base = steps.keep("not possibly severe already at the landmark", base, ~unsure)
    course, as_of = now(base)
    return steps.keep(
        "before CRS onset where the time of severe CRS is unknown", base, _placed(base, outcomes, as_of)
    )


def _placed(base: pd.DataFrame, outcomes: CourseOutcomes, as_of: Array) -> Mask:
    """False where an adjudicated peak without a time leaves open whether the patient was severe already.

    Then, for severe and other courses alike, the landmark must lie before the onset of CRS, and the course
    must have one dose, since the dose that the peak belongs to is not known.
    """
    course = base["course"].to_numpy()
    untimed = outcomes.settled & (outcomes.peak_only | (outcomes.severe & np.isnan(outcomes.severe_hours)))
    onset = outcomes.onset_hours[course]
    before_onset = ~outcomes.had_crs[course] | np.where(np.isnan(onset), as_of <= 0, as_of < onset)
    single = base["doses"].to_numpy() == 1
    return ~untimed[course] | (before_onset & single)


def _with_horizons(
    base: pd.DataFrame, outcomes: CourseOutcomes, horizons: Sequence[float | None]
) -> pd.DataFrame:
    row, hours, rest = expand(
        base["landmark_hours"].to_numpy(dtype=np.float64),
        base["planned_end"].to_numpy(dtype=np.float64),
        horizons,
    )
    rows = base.iloc[row].assign(horizon_hours=hours, rest_of_window=rest).reset_index(drop=True)
    if not outcomes.peak_only:
        return rows
    only_peak = outcomes.settled[rows["course"].to_numpy()]
    return rows[~only_peak | rows["rest_of_window"].to_numpy()].reset_index(drop=True)


def _label(rows: pd.DataFrame, outcomes: CourseOutcomes) -> pd.DataFrame:
    """Adds severe, auxiliary (grade 2 or above), known (followed), timed (placeable), uncertain (a possible grade)."""
    course = rows["course"].to_numpy()
    start = (rows["dose_hours"] + rows["landmark_hours"]).to_numpy()
    end = closing_hours(rows)
    when = outcomes.severe_hours[course]
    untimed = outcomes.severe[course] & np.isnan(when)
    rest = rows["rest_of_window"].to_numpy()
    auxiliary = _overlaps(outcomes.moderate, course, start, end) | (outcomes.moderate_peak[course] & rest)
    severe = ((when > start) & (when <= end + _TOLERANCE)) | (untimed & rows["rest_of_window"].to_numpy())
    followed = outcomes.follow_up_hours[course] >= end - _TOLERANCE
    maybe = _maybe_between(outcomes, course, start, end)
    return rows.assign(
        severe=severe.astype(np.int64),
        auxiliary=(auxiliary | severe).astype(np.int64),
        known=severe | outcomes.settled[course] | followed,
        timed=~untimed | rows["rest_of_window"].to_numpy(),
        uncertain=maybe & ~severe,
    )


def _maybe_between(outcomes: CourseOutcomes, course: NDArray[np.int64], start: Array, end: Array) -> Mask:
    """Whether a stretch of possible severity begins in (start, end], per row."""
    result = np.zeros(len(course), dtype=bool)
    if outcomes.maybe.empty or not len(course):
        return result
    possible = outcomes.maybe.sort_values(["course", "start"])
    stretch_course = possible["course"].to_numpy()
    stretch = possible["start"].to_numpy()
    first = np.searchsorted(stretch_course, course, side="left")
    last = np.searchsorted(stretch_course, course, side="right")
    for k in range(int((last - first).max(initial=0))):
        at = first + k
        inside = at < last
        value = stretch[np.minimum(at, len(stretch) - 1)]
        result |= inside & (value > start) & (value <= end + _TOLERANCE)
    return result


def _overlaps(stretches: pd.DataFrame, course: NDArray[np.int64], start: Array, end: Array) -> Mask:
    """Whether a stretch of the course lies at least partly in (start, end], per row.

    stretches: course, start, end, sorted by both; those of one course do not overlap.
    """
    of, begin, stop = (stretches[name].to_numpy() for name in ("course", "start", "end"))
    result = np.zeros(len(course), dtype=bool)
    first, last = np.searchsorted(of, course, side="left"), np.searchsorted(of, course, side="right")
    for k in range(int((last - first).max(initial=0))):
        at = np.minimum(first + k, max(len(of) - 1, 0))
        inside = first + k < last
        result |= inside & (begin[at] <= end + _TOLERANCE) & (stop[at] > start)
    return result


def _onsets(cohort: Cohort, outcomes: CourseOutcomes, doses: pd.DataFrame) -> pd.DataFrame:
    """Timed severe onsets with the dose in whose window they lie."""
    at = cohort.position_of(doses["course_id"])
    after = outcomes.severe_hours[at] - doses["dose_hours"].to_numpy(dtype=np.float64)
    inside = (after > 0) & (after <= doses["window_end_hours"].to_numpy(dtype=np.float64) + _TOLERANCE)
    known = cohort.therapy_by_course()
    chosen = doses[inside]
    ids = chosen["course_id"].tolist()
    return pd.DataFrame(
        {
            "course_id": pd.Series(ids, dtype="str"),
            "patient_id": pd.Series(
                cohort.courses["patient_id"].to_numpy(dtype=object)[at[inside]], dtype="str"
            ),
            "therapy": pd.Series([known[c].key for c in ids], dtype="str"),
            "class_": pd.Series([known[c].class_ for c in ids], dtype="str"),
            "family": pd.Series([known[c].family for c in ids], dtype="str"),
            "dose": chosen["dose"].to_numpy(dtype=np.int64),
            "hours": after[inside],
        }
    )


def _notes(outcomes: CourseOutcomes, uncertain_rows: int) -> list[str]:
    notes = []
    if outcomes.peak_only:
        notes.append(
            "Only the peak grade is known, not when grade 3 was reached: just the rest of the window is labelled, "
            "and courses past the onset of CRS at a landmark are not at risk there."
        )
    for system, rows in sorted(outcomes.other_systems.items()):
        notes.append(f"{rows} rows graded by {system} were not used: only ASTCT grades may be pooled.")
    unlabelled = int((outcomes.source == "").sum())
    if unlabelled:
        notes.append(f"{unlabelled} courses have no ASTCT label from any source and were left out.")
    if uncertain_rows:
        notes.append(
            f"{uncertain_rows} rows were left out because grade 3 or above rests only on review, not gradable signs "
            "or a range; they count as severe in the sensitivity analysis."
        )
    deaths = int(outcomes.other_death.sum())
    if deaths:
        notes.append(f"{deaths} courses ended by death from another cause; follow-up ends there.")
    return notes
