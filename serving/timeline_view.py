"""What happened to a patient so far, for the pages: grades as spans, treatments as points, and a trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.patients import GradeChange, PatientCourse, PatientEvent, Score

HEADLINE_HOURS = 72.0  # the horizon shown first; the rest of the window where that is shorter
MOST_POINTS = 24  # of a trend
STEPS = (6.0, 12.0, 24.0)  # hours between its points, the smallest that fits

PRESSORS = (
    "norepinephrine_rate",
    "epinephrine_rate",
    "phenylephrine_rate",
    "dopamine_rate",
    "vasopressin_rate",
)
TREATMENTS: Mapping[str, tuple[str, ...]] = {
    "anti_il6": ("tocilizumab_dose", "siltuximab_dose"),
    "steroid": (
        "dexamethasone_dose",
        "methylprednisolone_dose",
        "hydrocortisone_dose",
        "prednisolone_dose",
        "steroid_pred_eq",
    ),
    "other": ("anakinra_dose", "ruxolitinib_dose", "etanercept_dose"),
    "vasopressor": PRESSORS,
    "oxygen": ("resp_support",),
}
_LANE_OF = {variable: lane for lane, variables in TREATMENTS.items() for variable in variables}
AFTER_CRS = ("anti_il6", "steroid", "other", "vasopressor")  # lanes that make a patient "treated"


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The estimate made at `hours` of the course; the three are None where there was none."""

    hours: float
    risk: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class GradeSpan:
    """A grade in force from `start` to `end`."""

    start: float
    end: float
    change: GradeChange


@dataclass(frozen=True, slots=True)
class Treatment:
    """A treatment given or stopped; `lane` is a key of `TREATMENTS`."""

    hours: float
    lane: str
    variable: str
    value: float
    stopped: bool


def headline(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of `risks` that a page shows first: 72 h, else the longest; None for an abstention."""
    if answer["abstained"] or not answer["risks"]:
        return None
    return next((r for r in answer["risks"] if r["horizon_hours"] == HEADLINE_HOURS), answer["risks"][-1])


def landmarks_so_far(as_of_hours: float, doses: Sequence[float]) -> tuple[float, ...]:
    """Times at which the trend shows an estimate: every dose, a grid between, and the time shown itself.

    >>> landmarks_so_far(15.0, (0.0,))
    (0.0, 6.0, 12.0, 15.0)
    """
    step = next((s for s in STEPS if as_of_hours / s <= MOST_POINTS), STEPS[-1])
    first = max(as_of_hours - MOST_POINTS * step, 0.0)
    grid = {step * k for k in range(int(as_of_hours // step) + 1) if step * k >= first}
    return tuple(sorted(grid | {d for d in doses if first <= d <= as_of_hours} | {as_of_hours}))


def trend(course: PatientCourse, as_of_hours: float, score: Score) -> tuple[TrendPoint, ...]:
    """The estimates as they were made at each landmark so far; after severe CRS there are none."""
    points = []
    for hours in landmarks_so_far(as_of_hours, course.doses):
        severe = course.severe_since(hours) is not None
        shown = None if severe else headline(score(course.request(hours)))
        if shown is None:
            points.append(TrendPoint(hours, None, None, None))
        else:
            points.append(TrendPoint(hours, shown["probability"], shown["low"], shown["high"]))
    return tuple(points)


def grade_spans(course: PatientCourse, as_of_hours: float) -> tuple[GradeSpan, ...]:
    """Spans of one grade each, from the first dose to the time shown."""
    changes = course.grades_at(as_of_hours)
    ends = [*(c.hours for c in changes[1:]), as_of_hours]
    spans = [
        GradeSpan(max(change.hours, 0.0), end, change) for change, end in zip(changes, ends, strict=True)
    ]
    return tuple(s for s in _joined(spans) if s.end > s.start or s.start == as_of_hours)


def _joined(spans: Sequence[GradeSpan]) -> list[GradeSpan]:
    """Neighbours of the same grade and state, though by another rule, as one."""
    joined: list[GradeSpan] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and _alike(last.change, span.change):
            joined[-1] = GradeSpan(last.start, span.end, last.change)
        else:
            joined.append(span)
    return joined


def _alike(one: GradeChange, other: GradeChange) -> bool:
    if one.state != other.state or one.state not in ("none", "graded"):
        return one.state == other.state  # a state that is no grade has no bounds that a reader needs
    return (one.low, one.high) == (other.low, other.high)


def treatments(course: PatientCourse, as_of_hours: float) -> tuple[Treatment, ...]:
    """Treatments since the day before the first dose; running ones by their start and stop alone."""
    found: list[Treatment] = []
    level: dict[str, float] = {}
    for event in course.known_at(as_of_hours):
        lane = _LANE_OF.get(event.variable)
        if lane is None or event.hours < -24.0:
            continue
        running = event.variable in PRESSORS or event.variable == "resp_support"
        if not running and event.value > 0:
            found.append(Treatment(event.hours, lane, event.variable, event.value, stopped=False))
        elif running:
            before = level.get(event.variable, 0.0)
            level[event.variable] = event.value
            if _changed(event, before):
                found.append(
                    Treatment(event.hours, lane, event.variable, event.value, stopped=event.value == 0)
                )
    return tuple(found)


def _changed(event: PatientEvent, before: float) -> bool:
    if event.variable == "resp_support":
        return event.value != before
    return (event.value > 0) != (before > 0)


def treated_with(course: PatientCourse, as_of_hours: float) -> tuple[str, ...]:
    """Lanes of what was given after the latest dose: the untreated course has ended."""
    _, dose_hours = course.dose_at(as_of_hours)
    given = {t.lane for t in treatments(course, as_of_hours) if t.hours > dose_hours and not t.stopped}
    return tuple(lane for lane in AFTER_CRS if lane in given)
