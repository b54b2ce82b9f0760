"""Cohort in, feature table out: rows are course x dose x landmark, columns the declared features.

The same code serves a whole cohort and one patient; pandas stands only at the two borders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crsrisk.errors import CrsRiskError, TimeError
from crsrisk.therapies import Therapy, is_engager, window_hours
from features.declare import Feature, Floats, Need
from features.engine import Events, Plan, Request, Rows, WindowName, compute_statistics, plan_requests
from features.grade_series import grade_series
from features.registry import FEATURES
from features.segments import Statistic

if TYPE_CHECKING:
    import pandas as pd

    from crsrisk.cohort import Cohort

Ints = NDArray[np.int64]

DEFAULT_LANDMARKS = (0.0, 12.0, 24.0, 48.0, 72.0)
DOSE_VARIABLE = "bsab_dose"
FEVER_VARIABLE = "temperature"
SERIES = ("grade", "crs_onset")
SMALL = 5_000  # below this many events a dictionary is faster than pandas' hash table
MILLIGRAMS = {"mg": 1.0, "ug": 1e-3, "mcg": 1e-3}


def _is_cd28(therapy: Therapy) -> float:
    if therapy.class_ != "cart":
        return 0.0
    return np.nan if therapy.costimulation is None else float("CD28" in therapy.costimulation)


def _full_dose_mg(therapy: Therapy) -> float:
    """Highest dose of the published schedule in mg; nan unless every dose is given in mg or ug."""
    if not therapy.doses or any(dose.unit not in MILLIGRAMS for dose in therapy.doses):
        return np.nan
    return max(dose.amount * MILLIGRAMS[dose.unit] for dose in therapy.doses)


THERAPY_FACTS: dict[str, Callable[[Therapy], float]] = {
    "is_engager": lambda therapy: float(is_engager(therapy)),
    "is_engineered_t": lambda therapy: float(therapy.class_ == "engineered_t"),
    "is_cd28": _is_cd28,
    "full_dose_mg": _full_dose_mg,
}


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of courses at landmarks.

    rows: course_id, patient_id, therapy, dose (1 for cells), dose_hours (of the dose, from the index time
        of the course), landmark_hours (from the dose), as_of_hours (dose_hours + landmark_hours).
    values: (n_rows, n_features), nan = missing.
    times: hours of the value behind each number, from the index time; nan where there is none. None unless
        asked for.
    """

    rows: pd.DataFrame
    values: Floats
    names: tuple[str, ...]
    times: Floats | None = None

    def frame(self) -> pd.DataFrame:
        """Rows and features side by side."""
        import pandas as pd

        return pd.concat([self.rows, pd.DataFrame(self.values, columns=list(self.names))], axis=1)


class _Doses(NamedTuple):
    """Index doses sorted by course and hours; `known` is when the record of the dose was there."""

    course: Ints
    dose: Ints
    hours: Floats
    window_end: Floats
    known: Floats


class _Plan(NamedTuple):
    """The engine's requests behind some features, without repetition, and where each column comes from.

    direct: columns that are statistics of the engine, and their place there; derived: the other columns.
    """

    variables: Mapping[str, int]
    requests: tuple[Request, ...]
    place: Mapping[Need, int]
    engine: Plan
    direct: tuple[Ints, Ints]
    derived: tuple[tuple[int, Feature], ...]


def _same(need: Need) -> Need:
    """A need that equals itself: nan thresholds do not."""
    return need._replace(threshold=-np.inf) if isnan(need.threshold) else need


@cache
def _plan(features: tuple[Feature, ...]) -> _Plan:
    needs = list(dict.fromkeys(_same(need) for feature in features for need in feature.requests))
    needs.sort(key=lambda need: (need.statistic, need.window, need.analyte, need.threshold))
    always = {DOSE_VARIABLE, FEVER_VARIABLE, *SERIES}
    variables = {name: i for i, name in enumerate(sorted({need.analyte for need in needs} | always))}
    requests = tuple(Request(variables[n.analyte], n.window, n.statistic, n.threshold) for n in needs)
    place = {need: i for i, need in enumerate(needs)}
    into = np.array([j for j, f in enumerate(features) if f.derive is None], dtype=np.int64)
    source = np.array([place[_same(f.requests[0])] for f in features if f.derive is None], dtype=np.int64)
    derived = tuple((j, f) for j, f in enumerate(features) if f.derive is not None)
    return _Plan(variables, requests, place, plan_requests(requests), (into, source), derived)


def _codes(names: pd.Series, lookup: Mapping[str, int]) -> Ints:
    """Code of each name, -1 for names that are not in the lookup."""
    if len(names) <= SMALL:
        return np.fromiter(
            (lookup.get(name, -1) for name in names.tolist()), dtype=np.int64, count=len(names)
        )
    import pandas as pd

    return pd.Index(list(lookup)).get_indexer(pd.Index(names)).astype(np.int64)


def _events(cohort: Cohort, variables: Mapping[str, int]) -> Events:
    """The cohort's timeline as arrays, without variables that no feature uses."""
    timeline = cohort.timeline()
    code = _codes(timeline["variable"], variables)
    course = _codes(
        timeline["course_id"], {name: i for i, name in enumerate(cohort.courses["course_id"].tolist())}
    )
    hours = timeline["hours"].to_numpy(dtype=np.float64)
    known = np.fmax(hours, timeline["available_hours"].to_numpy(dtype=np.float64))
    value = timeline["value"].to_numpy(dtype=np.float64)
    events = Events(course, code, hours, known, value, len(variables))
    return events.take((code >= 0) & (course >= 0))


def _with_series(events: Events, cohort: Cohort, codes: Mapping[str, int]) -> Events:
    """Events and the series derived from them: the grade at each change, and each onset."""
    series = grade_series(cohort, events, codes[FEVER_VARIABLE])
    onset = series.onset
    size = int(onset.sum())
    names = np.repeat([codes["grade"], codes["crs_onset"]], [series.course.size, size])
    hours = np.concatenate((series.hours, series.hours[onset]))
    return Events(
        np.concatenate((events.course, series.course, series.course[onset])),
        np.concatenate((events.variable, names)),
        np.concatenate((events.hours, hours)),
        np.concatenate((events.known, hours)),
        np.concatenate((events.value, series.grade, series.hours[onset])),
        events.n_variables,
    )


def _therapies(cohort: Cohort) -> list[Therapy]:
    """Therapy of each course, in the order of `courses`."""
    by_course = cohort.therapy_by_course()
    return [by_course[course] for course in cohort.courses["course_id"].tolist()]


def _doses(events: Events, dose_variable: int, therapies: Sequence[Therapy]) -> _Doses:
    """Index doses of every course: each dose of an engager opens one, cells count from the first infusion."""
    n_courses = len(therapies)
    engager = np.fromiter((is_engager(t) for t in therapies), dtype=bool, count=n_courses)
    longest = np.fromiter((window_hours(t) for t in therapies), dtype=np.float64, count=n_courses)
    given = (events.variable == dose_variable) & (events.value > 0)
    given &= engager[events.course]
    course, hours, known = events.course[given], events.hours[given], events.known[given]
    without = np.setdiff1d(np.arange(n_courses), course)
    course = np.concatenate((course, without))
    hours = np.concatenate((hours, np.zeros(without.size)))
    known = np.concatenate((known, np.zeros(without.size)))
    order = np.lexsort((known, hours, course))
    course, hours, known = course[order], hours[order], known[order]
    new = np.ones(course.size, dtype=bool)
    new[1:] = (np.diff(course) > 0) | (np.diff(hours) > 0)
    course, hours, known = course[new], hours[new], known[new]
    dose = np.arange(course.size) - np.searchsorted(course, course) + 1
    window_end = longest[course]
    follows = course[1:] == course[:-1]
    window_end[:-1] = np.where(follows, np.minimum(window_end[:-1], np.diff(hours)), window_end[:-1])
    return _Doses(course, dose, hours, window_end, known)


def index_doses(cohort: Cohort) -> pd.DataFrame:
    """Every index dose: course_id, dose, dose_hours (from the index time), window_end_hours (from the dose).

    Each `bsab_dose` above 0 opens a dose of an engager, whose window ends at 168 h or at the next dose;
    cells have dose 1 at hour 0 with 336 h, also when the infusion was split. An engager without a recorded
    dose has dose 1 at hour 0.
    """
    import pandas as pd

    doses = _doses(_events(cohort, {DOSE_VARIABLE: 0}), 0, _therapies(cohort))
    course_id = cohort.courses["course_id"].to_numpy()[doses.course]
    return pd.DataFrame(
        {
            "course_id": pd.array(course_id, dtype="str"),
            "dose": doses.dose,
            "dose_hours": doses.hours,
            "window_end_hours": doses.window_end,
        }
    )


class _RowInputs:
    """What the derivations read, for all rows at once."""

    def __init__(
        self, plan: _Plan, therapies: Sequence[Therapy], rows: Rows, dose: Ints, landmark: Floats
    ) -> None:
        self._plan = plan
        self._therapies = therapies
        self.course = rows.course
        self.dose = dose.astype(np.float64)
        self.dose_hours = rows.dose_hours
        self.as_of_hours = rows.as_of
        self.landmark_hours = landmark
        self.statistics = np.empty((0, 0))

    def therapy(self, fact: str) -> Floats:
        """A fact about the therapy of each row's course."""
        value = {key: THERAPY_FACTS[fact](t) for key, t in {t.key: t for t in self._therapies}.items()}
        return np.array([value[t.key] for t in self._therapies], dtype=np.float64)[self.course]

    def get(
        self, analyte: str, window: WindowName, statistic: Statistic, threshold: float = -np.inf
    ) -> Floats:
        """One statistic of the engine per row."""
        return self.statistics[:, self._plan.place[Need(analyte, window, statistic, threshold)]]


def _grid(doses: _Doses, landmarks: Sequence[float]) -> tuple[Rows, Ints, Floats]:
    """Rows, dose numbers and landmarks as asked for: every landmark before the end of its dose's window."""
    wanted = np.unique(np.asarray(landmarks, dtype=np.float64))
    if wanted.size == 0 or not np.isfinite(wanted).all() or wanted[0] < 0:
        raise TimeError(f"landmarks {list(landmarks)}; give hours at or above 0, for example 0, 24, 48")
    dose, landmark = np.nonzero(wanted < doses.window_end[:, None])
    hours = doses.hours[dose]
    return Rows(doses.course[dose], hours, hours + wanted[landmark]), doses.dose[dose], wanted[landmark]


def _at(doses: _Doses, cohort: Cohort, at: pd.DataFrame) -> tuple[Rows, Ints, Floats]:
    """Explicit rows: of the latest dose given and recorded by then, else of a first one at the index time."""
    course = _codes(at["course_id"], {name: i for i, name in enumerate(cohort.courses["course_id"].tolist())})
    as_of = at["as_of_hours"].to_numpy(dtype=np.float64)
    if (course < 0).any():
        row = int(np.flatnonzero(course < 0)[0])
        raise CrsRiskError(f"row {row} of `at` names a course that is not in the cohort; add it to courses")
    if not np.isfinite(as_of).all() or (as_of < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(as_of) & (as_of >= 0)))[0])
        raise TimeError(
            f"row {row} of `at`: as_of_hours is before the index time or no number; give hours from it"
        )
    hours, number = np.zeros(course.size), np.ones(course.size, dtype=np.int64)
    begin, end = np.searchsorted(doses.course, course), np.searchsorted(doses.course, course, side="right")
    for i, (first, last, time) in enumerate(zip(begin.tolist(), end.tolist(), as_of.tolist(), strict=True)):
        given = [k for k in range(first, last) if max(doses.hours[k], doses.known[k]) <= time]
        if given:
            hours[i], number[i] = doses.hours[given[-1]], len(given)
    return Rows(course, hours, as_of), number, as_of - hours


def compute_features(
    cohort: Cohort,
    landmarks: Sequence[float] = DEFAULT_LANDMARKS,
    *,
    with_times: bool = False,
    at: pd.DataFrame | None = None,
    features: Sequence[Feature] | None = None,
) -> FeatureTable:
    """Every declared feature of every course at every landmark; nothing known after the landmark enters.

    Args: cohort: courses and events. landmarks: hours after each dose; a landmark at or after the end of
        the dose's window makes no row. with_times: also give the hours of the value behind each number. at:
        explicit rows `course_id`, `as_of_hours` instead of landmarks; the landmark counts from the latest
        dose given and recorded by then. features: the columns; None for all declared features.

    Raises:
        TimeError: a landmark below 0, or an `as_of_hours` before the index time.
        CrsRiskError: `at` names a course that the cohort does not have.
    """
    plan = _plan(FEATURES if features is None else tuple(features))
    therapies = _therapies(cohort)
    events = _events(cohort, plan.variables)
    doses = _doses(events, plan.variables[DOSE_VARIABLE], therapies)
    rows, number, landmark = _grid(doses, landmarks) if at is None else _at(doses, cohort, at)
    inputs = _RowInputs(plan, therapies, rows, number, landmark)
    events = _with_series(events, cohort, plan.variables)
    computed = compute_statistics(events, rows, plan.requests, with_times=with_times, plan=plan.engine)
    inputs.statistics = computed.values
    values, times = _columns(inputs, plan, computed.times)
    names = tuple(feature.name for feature in (FEATURES if features is None else features))
    return FeatureTable(_row_frame(cohort, inputs, number), values, names, times)


def _columns(inputs: _RowInputs, plan: _Plan, engine_times: Floats | None) -> tuple[Floats, Floats | None]:
    """Feature columns, and the times behind them: of a derived feature the latest of its inputs."""
    into, source = plan.direct
    shape = (inputs.course.size, into.size + len(plan.derived))
    values = np.empty(shape)
    values[:, into] = inputs.statistics[:, source]
    times = None if engine_times is None else np.full(shape, np.nan)
    if times is not None and engine_times is not None:
        times[:, into] = engine_times[:, source]
    for j, feature in plan.derived:
        if feature.derive is not None:
            values[:, j] = feature.derive(inputs)
        if times is not None and engine_times is not None and feature.needs:
            place = [plan.place[_same(need)] for need in feature.needs]
            times[:, j] = np.fmax.reduce(engine_times[:, place], axis=1)
    if times is not None:
        times[np.isnan(values)] = np.nan
    return values, times


def _row_frame(cohort: Cohort, inputs: _RowInputs, number: Ints) -> pd.DataFrame:
    import pandas as pd

    courses = cohort.courses
    columns: dict[str, Any] = {
        name: courses[name].array.take(inputs.course) for name in ("course_id", "patient_id", "therapy")
    }
    columns["dose"] = number
    columns["dose_hours"] = inputs.dose_hours
    columns["landmark_hours"] = inputs.landmark_hours
    columns["as_of_hours"] = inputs.as_of_hours
    return pd.DataFrame(columns)
