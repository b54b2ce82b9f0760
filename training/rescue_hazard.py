"""How fast rescue comes, given the patient's state: a pooled regression of its hazard over short stretches of time.

Every dose window is cut at steps of some hours and wherever the grade changes. On each stretch the hazard is constant,
its logarithm linear in the state: pooled logistic regression in the limit of short steps (dagostino_1990), without
its error where rescue is likely within a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.crossvalidate import Prepared
from training.episodes import STATES, Spans, changes, grade2_since, split, states
from training.outcomes import CourseOutcomes
from training.rescue import Rescue
from training.ridge import Columns

Array = NDArray[np.float64]
Index = NDArray[np.int64]
STEP_HOURS = 3.0  # longer steps leave more bias: docs/decisions/0182
STATE = (
    "temperature_max_last_24h",
    "temperature_hours_above_38_since_dose",
    "heart_rate_last_so_far",
    "sbp_min_last_24h",
    "spo2_min_last_24h",
    "o2_flow_max_last_24h",
    "fluid_bolus_count_last_24h",
    "crp_last_so_far",
    "ferritin_last_so_far",
    "age_last_baseline",
)
"""Features at the start of a step; the grade is taken at the start of each stretch."""
DAYS = (0.0, 24.0, 72.0, 168.0)  # hours since the dose at which the level of the hazard may change
RIDGE = 3.0  # on standardised columns, in rescues: a column that few rescues support stays near 0
LEAST_OF_SITE = 20  # patients below which a site has no column of its own
CHARTING_HOURS = 0.5  # a rescue charted so shortly before a change of grade answered it: our convention
SHORTEST_HOURS = 0.25  # of the stretch that ends by rescue: charting is not more exact


@dataclass(frozen=True, eq=False)
class RescueHazard:
    """Hazard of rescue on every stretch in which a dose was at risk of it.

    spans: windows are positions in `Rescue.doses`. rate: per hour, given the state. plain: per hour, given the
    hours since the dose alone. rescued: whether the stretch ended by rescue. grade2: whether it was spent at grade 2.
    """

    spans: Spans
    rate: Array
    plain: PlainHazard
    rescued: NDArray[np.bool_]
    grade2: NDArray[np.bool_]

    def survival(self, window: Index, start: Array, until: Array) -> Array:
        """Probability of no rescue in (start, until] given the history of each window; shapes (n,)."""
        gone = np.concatenate([[0.0], np.cumsum(self.rate * self.spans.hours)])

        def total(hours: Array) -> Array:
            place = self.spans.at(window, hours)
            inside = np.clip(hours, self.spans.start[place], self.spans.stop[place]) - self.spans.start[place]
            return np.where(place < 0, np.nan, gone[place] + self.rate[place] * inside)

        between: Array = np.exp(total(start) - total(until))
        return between


@dataclass(frozen=True)
class PlainHazard:
    """Hazard per hour by band of DAYS since the dose, first and later doses apart; shape (2, bands)."""

    rate: Array

    def survival(self, later: NDArray[np.bool_], start: Array, until: Array) -> Array:
        """Probability of no rescue between two hours since the dose; shapes (n,)."""
        edges = np.append(DAYS, np.inf)
        low, high = np.maximum(start[:, None], edges[:-1]), np.minimum(until[:, None], edges[1:])
        between: Array = np.exp(
            -(self.rate[later.astype(np.int64)] * np.maximum(high - low, 0.0)).sum(axis=1)
        )
        return between


def rescue_hazard(
    prepared: Prepared,
    rescue: Rescue,
    outcomes: CourseOutcomes,
    windows: NDArray[np.bool_],
    *,
    step_hours: float = STEP_HOURS,
) -> RescueHazard:
    """Fit the hazard on the windows marked, where they are at risk of rescue.

    Args:
        prepared: the cohort.
        rescue: of it.
        outcomes: of it.
        windows: which of `rescue.doses` enter.
        step_hours: how often the state is looked at.

    Raises:
        ValueError: no window is at risk, or none of them was rescued.
    """
    severe = outcomes.severe_hours[rescue.course]
    stop = np.fmin(np.fmin(rescue.stop, severe), outcomes.follow_up_hours[rescue.course])
    ends = np.where(windows & rescue.timed, np.minimum(rescue.hours + CHARTING_HOURS, stop), rescue.start)
    ends = np.maximum(ends, rescue.start)
    steps = np.arange(0.0, float((ends - rescue.start).max(initial=0.0)), step_hours)
    number = np.arange(len(rescue.course))
    points = [(number, rescue.start + step) for step in steps]
    points += [(number, rescue.start + hours) for hours in DAYS[1:]]
    spans = split(rescue.start, ends, [*points, *changes(outcomes, rescue.course)])
    if not len(spans.window):
        raise ValueError("no window is at risk of rescue")
    last = np.append(spans.window[1:] != spans.window[:-1], True)
    rescued = last & np.isfinite(rescue.hours[spans.window])
    if not rescued.any():
        raise ValueError("nobody was rescued: there is no hazard to model")
    exposure = np.maximum(spans.hours, np.where(rescued, SHORTEST_HOURS, 0.0))
    columns = _columns(prepared, rescue, outcomes, spans, steps)
    beta = fit_rate(columns, rescued.astype(np.float64), exposure, free=len(DAYS))
    rate = np.exp(np.clip(columns @ beta, -20.0, 5.0))
    course = rescue.course[spans.window]
    moderate = states(outcomes, course, spans.start) == STATES.index("grade2")
    return RescueHazard(spans, rate, _plain(rescue, spans, exposure, rescued), rescued, moderate)


def fit_rate(columns: Array, events: Array, exposure: Array, *, free: int, ridge: float = RIDGE) -> Array:
    """Coefficients of a Poisson regression of events per exposure, by damped Newton steps.

    Args:
        columns: shape (n, p).
        events: 0 or 1, shape (n,).
        exposure: hours, shape (n,).
        free: first columns without penalty; they sum to 1 in every row and start at the mean rate.
        ridge: penalty on the squared coefficients of the others.
    """
    penalty = np.full(columns.shape[1], ridge)
    penalty[:free] = 1e-3
    beta = np.zeros(columns.shape[1])
    start = np.log(events.sum() / exposure.sum())
    beta[:free] = start
    for _ in range(100):
        expected = exposure * np.exp(np.clip(columns @ beta, -30.0, 30.0))
        pull = penalty * beta
        pull[:free] = penalty[:free] * (beta[:free] - start)
        gradient = columns.T @ (events - expected) - pull
        curvature = (columns * expected[:, None]).T @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        largest = float(np.abs(step).max())
        beta = beta + step * min(1.0, 1.0 / largest if largest > 0 else 1.0)
        if largest < 1e-8:
            break
    return beta


def _columns(
    prepared: Prepared, rescue: Rescue, outcomes: CourseOutcomes, spans: Spans, steps: Array
) -> Array:
    """Bands since the dose without penalty; grade, its duration, the state at the latest step, and the site."""
    course = rescue.course[spans.window]
    since = spans.start - rescue.start[spans.window]
    bands = (np.searchsorted(DAYS, since + 1e-9, side="right") - 1)[:, None] == np.arange(len(DAYS))
    state = states(outcomes, course, spans.start)
    crs, moderate = state == STATES.index("below_grade2"), state == STATES.index("grade2")
    onset = np.log1p(np.nan_to_num(np.maximum(spans.start - outcomes.onset_hours[course], 0.0)))
    began = np.log1p(
        np.nan_to_num(np.maximum(spans.start - grade2_since(outcomes, course, spans.start), 0.0))
    )
    exact = np.column_stack([crs, moderate, crs * onset, moderate * onset, moderate * began])
    looked = _state(prepared, rescue, spans, steps)
    sites = _sites(prepared, course)
    both = np.hstack([sites * crs[:, None], sites * moderate[:, None]])
    return np.hstack([bands.astype(np.float64), exact, looked, looked * moderate[:, None], both])


def _state(prepared: Prepared, rescue: Rescue, spans: Spans, steps: Array) -> Array:
    """STATE at the step before each span's start: imputed and standardised."""
    from features.matrix import compute_features
    from features.registry import feature

    table = compute_features(prepared.cohort, steps.tolist(), features=[feature(name) for name in STATE])
    width = float(steps[1] - steps[0]) if len(steps) > 1 else np.inf
    since = spans.start - rescue.start[spans.window]
    step = np.floor((since + 1e-9) / width) * width if np.isfinite(width) else np.zeros(len(since))
    known = pd.MultiIndex.from_frame(table.rows[["course_id", "dose", "landmark_hours"]])
    doses = rescue.doses.iloc[spans.window]
    wanted = pd.MultiIndex.from_arrays([doses["course_id"], doses["dose"], step])
    values = table.values[known.get_indexer(wanted)]
    log = np.array([prepared.log_scale.get(name, False) for name in STATE])
    return Columns.learn(values, log).apply(values)


def _sites(prepared: Prepared, course: Index) -> Array:
    """One 0/1 column per site with enough patients."""
    courses = prepared.cohort.courses
    if "site" not in courses.columns:
        return np.empty((len(course), 0))
    site = courses["site"].fillna("").astype(str)
    counts = courses.groupby(site)["patient_id"].nunique()
    kept: Sequence[str] = sorted(str(name) for name in counts.index[counts >= LEAST_OF_SITE])
    of = site.to_numpy(dtype=object)[course]
    return np.column_stack([np.zeros(len(course)), *(of == name for name in kept)])[:, 1:].astype(np.float64)


def _plain(rescue: Rescue, spans: Spans, exposure: Array, rescued: NDArray[np.bool_]) -> PlainHazard:
    """Rescues over hours by band since the dose."""
    since = spans.start - rescue.start[spans.window]
    band = np.searchsorted(DAYS, since + 1e-9, side="right") - 1
    later = (rescue.doses["dose"].to_numpy() > 1)[spans.window]
    code = later * len(DAYS) + band
    events = np.bincount(code, weights=rescued, minlength=2 * len(DAYS))
    hours = np.bincount(code, weights=exposure, minlength=2 * len(DAYS))
    rate = np.divide(events, hours, out=np.zeros_like(events), where=hours > 0)
    return PlainHazard(rate.reshape(2, len(DAYS)))
