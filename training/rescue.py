"""Rescue: treatment of CRS before it was severe. When it came, and severe CRS with rescue as part of the outcome.

A model of severe CRS under usual care calls a patient mild whom tocilizumab kept mild. Counting rescue as a competing
event, or together with severe CRS, shows how much of the numbers rests on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.anticytokines import first_hours, given_drugs
from training.crossvalidate import Prepared
from training.episodes import timed
from training.evaluate import TABLE_COLUMNS, Metric, averaged, cells, metrics, row_arrays, table_lines
from training.horizons import closing_hours
from training.outcomes import CourseOutcomes, course_outcomes
from training.resampling import RESAMPLES, Drawn, Patients

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Definition = Literal["tocilizumab", "tocilizumab_and_steroid"]
"""Tocilizumab, or tocilizumab and a steroid both, before severe CRS. Siltuximab, anakinra and ruxolitinib count as
tocilizumab; a steroid counts from the onset of CRS on."""
Outcome = Literal["severe", "severe_before_rescue", "severe_or_rescue"]
"""Severe CRS whatever was given; with rescue as a competing event; composite of both."""
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
WORDS: Mapping[Definition, str] = {
    "tocilizumab": "tocilizumab before severe CRS",
    "tocilizumab_and_steroid": "tocilizumab and a steroid before severe CRS",
}
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BASE_RISK, REST = "base_risk", "rest"
COLUMNS = ("definition", "outcome", *TABLE_COLUMNS)
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Rescue:
    """First rescue after each index dose, one entry per dose; hours of the course.

    doses: course_id, dose, dose_hours, window_end_hours. course: row number in the cohort. hours: of the rescue,
    inf where none came before severe CRS, the end of the window and the end of follow-up. timed: grades of the
    course have times, so that `before severe CRS` has a meaning.
    """

    doses: pd.DataFrame
    course: Index
    hours: Array
    timed: NDArray[np.bool_]

    @property
    def start(self) -> Array:
        """Hour of each dose."""
        return self.doses["dose_hours"].to_numpy(dtype=np.float64)

    @property
    def stop(self) -> Array:
        """Hour at which the window of each dose ends."""
        return self.start + self.doses["window_end_hours"].to_numpy(dtype=np.float64)

    def window_of(self, rows: pd.DataFrame) -> Index:
        """Position in `doses` of each row (course_id, dose)."""
        known = pd.MultiIndex.from_frame(self.doses[["course_id", "dose"]])
        return known.get_indexer(pd.MultiIndex.from_frame(rows[["course_id", "dose"]])).astype(np.int64)


def rescues(prepared: Prepared, definition: Definition = "tocilizumab") -> Rescue:
    """When each dose of a cohort was followed by rescue."""
    from features.matrix import index_doses

    cohort = prepared.cohort
    outcomes = _outcomes(prepared)
    doses = index_doses(cohort)
    course = cohort.position_of(doses["course_id"])
    start = doses["dose_hours"].to_numpy(dtype=np.float64)
    stop = start + doses["window_end_hours"].to_numpy(dtype=np.float64)
    severe = np.where(np.isnan(outcomes.severe_hours), np.inf, outcomes.severe_hours)[course]
    stop = np.minimum(np.minimum(stop, severe), outcomes.follow_up_hours[course])
    given = given_drugs(cohort, doses)
    hours = first_hours(given, ("tocilizumab", "other"), course, start, stop)
    if definition == "tocilizumab_and_steroid":
        onset = outcomes.onset_hours[course]
        begun = np.where(np.isnan(onset), stop, np.nextafter(onset, -np.inf))  # at the onset itself counts
        steroid = first_hours(given, ("steroid",), course, np.maximum(start, begun), stop)
        hours = np.maximum(hours, steroid)
    return Rescue(doses, course, hours, timed(outcomes)[course])


@dataclass(frozen=True, eq=False)
class Standing:
    """How labelled rows stand to rescue; one entry per row.

    window: position in `Rescue.doses`. free: at risk of a first rescue at the landmark: none since the dose, and grades
    with times. start: hour of the landmark. end: hour at which the horizon ends. until: the same, or severe CRS if that
    came first. rescued: rescue came before `until`.
    """

    window: Index
    free: NDArray[np.bool_]
    start: Array
    end: Array
    until: Array
    rescued: NDArray[np.bool_]


def standing(rows: pd.DataFrame, rescue: Rescue, outcomes: CourseOutcomes) -> Standing:
    """Rows (course_id, dose, landmark_hours, horizon_hours, severe) beside the rescues of their doses."""
    window = rescue.window_of(rows)
    start = rescue.start[window] + rows["landmark_hours"].to_numpy(dtype=np.float64)
    end = closing_hours(
        pd.DataFrame(
            {
                "dose_hours": rescue.start[window],
                "window_end": rescue.stop[window] - rescue.start[window],
                "landmark_hours": rows["landmark_hours"].to_numpy(dtype=np.float64),
                "horizon_hours": rows["horizon_hours"].to_numpy(dtype=np.float64),
            }
        )
    )
    severe = rows["severe"].to_numpy() == 1
    until = np.where(severe, np.fmin(outcomes.severe_hours[rescue.course[window]], end), end)
    came = rescue.hours[window]
    free = rescue.timed[window] & (came > start)
    return Standing(window, free, start, end, until, free & (came <= until + _TOLERANCE))


def rescue_sensitivity(
    prepared: Prepared,
    detail: pd.DataFrame,
    *,
    definitions: tuple[Definition, ...] = DEFINITIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """How base risk and metrics change when rescue is a competing event or part of the outcome.

    The risks stay as they are. All outcomes of a definition have the same rows: no rescue up to the landmark.

    Args:
        prepared: the cohort.
        detail: out-of-fold risks of one or more models, `CrossValidation.detail`.
        definitions: of rescue.
        resamples: bootstrap resamples of patients for the intervals.
        seed: of the resampling.

    Returns:
        COLUMNS: BASE_RISK at every landmark and horizon, the weighted share of rows with the outcome (its cumulative
        incidence from the landmark to the horizon), and all metrics of the rest of the window pooled over landmarks.
        A definition without any rescue changes nothing and has no rows.
    """
    outcomes = _outcomes(prepared)
    rows = averaged(detail)
    parts = []
    for definition in definitions:
        found = standing(rows, rescues(prepared, definition), outcomes)
        if not found.rescued.any():
            continue
        for outcome in OUTCOMES:
            severe = _label(rows["severe"].to_numpy(dtype=np.int64), found.rescued, outcome)
            measured = _measured(rows.assign(severe=severe)[found.free], resamples, seed)
            parts.append(measured.assign(definition=definition, outcome=outcome))
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _measured(rows: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """BASE_RISK by model, family, landmark and horizon, METRICS of the rest of the window over all landmarks."""
    lines = []
    for (model, family), part in rows.groupby(["model", "family"], sort=True):
        for place, at in cells(part):
            found = [share(at, resamples=resamples, seed=seed)]
            if place["horizon"] == REST and np.isnan(place["landmark_hours"]):
                found += metrics(*row_arrays(at), resamples=resamples, seed=seed).values()
            lines += table_lines({"model": model, "family": family, **place}, found)
    return pd.DataFrame(lines, columns=list(TABLE_COLUMNS))


def share(rows: pd.DataFrame, *, resamples: int, seed: int, name: str = BASE_RISK) -> Metric:
    """Weighted share of rows with the outcome (severe, weight, patient_id), with a patient-bootstrap interval."""
    severe, weight = (rows[c].to_numpy(dtype=np.float64) for c in ("severe", "weight"))
    patients = Patients.of(rows["patient_id"].to_numpy(dtype=object), resamples, seed)
    columns = np.column_stack([weight * severe, weight])
    with np.errstate(invalid="ignore", divide="ignore"):
        top, whole = np.vstack([columns.sum(axis=0), patients.drawn_sums(columns)]).T
        drawn = top / whole
    return Metric.of(name, Drawn(float(drawn[0]), drawn[1:]), patients.n, patients.events(severe))


def _label(severe: Index, rescued: NDArray[np.bool_], outcome: Outcome) -> Index:
    if outcome == "severe":
        return severe
    if outcome == "severe_before_rescue":
        return severe * ~rescued
    return np.maximum(severe, rescued.astype(np.int64))


def _outcomes(prepared: Prepared) -> CourseOutcomes:
    known = prepared.labels.outcomes
    return course_outcomes(prepared.cohort) if known is None else known
