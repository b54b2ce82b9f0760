"""What the two pages show, computed before any HTML: rows of the list and the parts of a patient's page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from crsrisk.errors import CrsRiskError
from crsrisk.priors import prior
from serving.patients import GradeChange, PatientCourse, PatientEvent, Score
from serving.problems import RequestError, where_it_failed
from serving.timeline_view import PRESSORS, headline, treated_with
from serving.wording import Wording, whole_percent

LOG = logging.getLogger("crsrisk.serving")
Freshness = Literal["timely", "stale", "missing", "baseline", "fixed"]
State = Literal["severe", "not_assessable", "assessed"]
Direction = Literal["up", "down", "same"]
CHANGE_HOURS = 12.0  # the arrow of the list compares with this long before
STALE_HOURS = 24.0  # as `quality.stale` of the REST answer counts it
BASELINE_WINDOWS = ("baseline", "before_dose")  # their values are old by definition
KEY_LABS = ("crp", "ferritin", "ldh", "platelets")  # what the list names when it was never measured
FACTORS = 5  # largest contributions shown in each direction
FAILED: Mapping[str, Any] = {
    "abstained": True,
    "reason": "FAILED: the course could not be scored",
    "risks": (),
    "explanation": None,
    "scores": (),
    "quality": {"used": 0, "missing": (), "stale": (), "rejected": ()},
    "therapy_seen": True,
    "model": None,
    "notes": (),
}
"""What stands in for an answer when the scorer refused the course."""
GRADING_INPUTS = ("temperature", "sbp", "map", "spo2", "o2_flow", "resp_support")


@dataclass(frozen=True, slots=True)
class Change:
    """How the estimate moved: direction and whole points, over so many hours."""

    direction: Direction
    points: float
    hours: float


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One patient at one time: the answer of the scorer and what the pages conclude from it."""

    course: PatientCourse
    as_of_hours: float
    answer: Mapping[str, Any]
    state: State
    dose: int | None
    dose_hours: float
    risk: Mapping[str, Any] | None  # the entry of `risks` shown first
    change: Change | None
    severe: GradeChange | None
    known: tuple[PatientEvent, ...]

    @property
    def probability(self) -> float:
        """The risk shown first; 0 where there is none, for sorting within one state only."""
        return self.risk["probability"] if self.risk else 0.0

    @property
    def since_dose(self) -> float:
        """Hours since the infusion or the latest dose."""
        return self.as_of_hours - self.dose_hours

    @property
    def newest_hours(self) -> float | None:
        """Time of the newest value known, None when there is none."""
        return max((e.hours for e in self.known), default=None)

    @property
    def data_age(self) -> float | None:
        """Hours since the newest value."""
        return None if self.newest_hours is None else max(self.as_of_hours - self.newest_hours, 0.0)

    @property
    def stale(self) -> bool:
        """Whether nothing was recorded in the last 24 h."""
        return self.data_age is None or self.data_age > STALE_HOURS

    @property
    def missing_key_labs(self) -> tuple[str, ...]:
        """Key laboratory values that were never measured."""
        return tuple(v for v in self.answer["quality"]["missing"] if v in KEY_LABS)

    @property
    def treated(self) -> tuple[str, ...]:
        """Lanes of treatment given since the latest dose."""
        return treated_with(self.course, self.as_of_hours)


def assess(course: PatientCourse, as_of_hours: float, score: Score) -> Assessment:
    """One patient at one time, as a guarded scorer answers."""
    answer = score(course.request(as_of_hours))
    dose, dose_hours = course.dose_at(as_of_hours)
    died = str(answer["reason"] or "").startswith("DIED")
    severe = None if died else course.severe_since(as_of_hours)
    shown = None if severe else headline(answer)
    state: State = "severe" if severe else "not_assessable" if shown is None else "assessed"
    before = as_of_hours - CHANGE_HOURS
    change = None
    if shown is not None and before >= dose_hours:
        change = _change(headline(score(course.request(before))), shown)
    return Assessment(
        course=course,
        as_of_hours=as_of_hours,
        answer=answer,
        state=state,
        dose=dose,
        dose_hours=dose_hours,
        risk=shown,
        change=change,
        severe=severe,
        known=course.known_at(as_of_hours),
    )


def guarded(score: Score) -> Score:
    """The same scorer, which abstains where it would refuse: one course must not cost the ward its list."""

    def answer(body: dict[str, Any]) -> Mapping[str, Any]:
        try:
            return score(body)
        except (ValueError, RequestError) as error:
            LOG.warning(json.dumps({"event": "page_not_scored", "where": where_it_failed(error)}))
            return FAILED

    return answer


def _change(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Change | None:
    if before is None:
        return None
    moved = float(now["probability"] - before["probability"])
    direction: Direction = "same" if whole_percent(abs(moved)) == 0 else "up" if moved > 0 else "down"
    return Change(direction, abs(moved), CHANGE_HOURS)


def sections(
    assessments: Sequence[Assessment], threshold: float | None
) -> dict[State, tuple[Assessment, ...]]:
    """The list in its order: severe already, not assessable (never below the low risks), then by risk.

    With a threshold, those above it come first among the assessed, rising before falling.
    """

    def order(a: Assessment) -> tuple[bool, float]:
        return (threshold is not None and a.probability > threshold, a.probability)

    severe = sorted((a for a in assessments if a.state == "severe"), key=lambda a: -_hours(a))
    unknown = sorted((a for a in assessments if a.state == "not_assessable"), key=lambda a: -a.since_dose)
    assessed = sorted((a for a in assessments if a.state == "assessed"), key=order, reverse=True)
    return {"severe": tuple(severe), "not_assessable": tuple(unknown), "assessed": tuple(assessed)}


def _hours(assessment: Assessment) -> float:
    return assessment.severe.hours if assessment.severe else 0.0


@dataclass(frozen=True, slots=True)
class Factor:
    """One contribution, ready to be shown."""

    label: str
    value: str
    time: str
    freshness: Freshness
    log_odds: float
    source_variable: str


@dataclass(frozen=True, slots=True)
class Factors:
    """The largest contributions in each direction and the sum of the rest."""

    raising: tuple[Factor, ...]
    lowering: tuple[Factor, ...]
    others: int
    others_log_odds: float
    base: float


def factors(assessment: Assessment, wording: Wording) -> Factors | None:
    """What the estimate rests on; None when there is none."""
    explanation = assessment.answer["explanation"]
    if explanation is None or assessment.state != "assessed":
        return None
    ordered = sorted(explanation["contributions"], key=lambda c: -abs(c["log_odds"]))
    raising = [c for c in ordered if c["log_odds"] > 0][:FACTORS]
    lowering = [c for c in ordered if c["log_odds"] < 0][:FACTORS]
    rest = [c for c in ordered if c not in raising and c not in lowering]
    return Factors(
        raising=tuple(_factor(c, assessment, wording) for c in raising),
        lowering=tuple(_factor(c, assessment, wording) for c in lowering),
        others=len(rest),
        others_log_odds=sum(c["log_odds"] for c in rest),
        base=explanation["base"],
    )


def _factor(contribution: Mapping[str, Any], assessment: Assessment, wording: Wording) -> Factor:
    variable, window, in_analyte_unit = _declared(contribution["feature"], contribution["unit"])
    value, hours = contribution["value"], _hours_of(contribution["time"], assessment)
    missing = value is None
    shown = wording.text("page.factors.not_measured")
    if not missing:
        unit = _site_unit(variable, assessment) if in_analyte_unit else None
        shown = shown_value(variable, value, contribution["unit"], unit, wording)
    return Factor(
        label=wording.text_or(f"feature.{contribution['feature']}", contribution["label"]),
        value=shown,
        time="" if hours is None else moment_and_age(hours, assessment, wording),
        freshness=_freshness(value, hours, variable, window, assessment),
        log_odds=contribution["log_odds"],
        source_variable=variable,
    )


def _freshness(
    value: float | None, hours: float | None, variable: str, window: str, assessment: Assessment
) -> Freshness:
    if value is None:
        return "missing"
    if hours is None:
        return "fixed"
    if window in BASELINE_WINDOWS:
        return "baseline"
    old = assessment.as_of_hours - hours > STALE_HOURS
    return "stale" if old or variable in assessment.answer["quality"]["stale"] else "timely"


def _declared(feature: str, unit: str) -> tuple[str, str, bool]:
    """Analyte and window of a feature, and whether it is in the analyte's own unit (a slope is not)."""
    from crsrisk.analytes import analytes
    from features.registry import FEATURES

    declared = next((f for f in FEATURES if f.name == feature), None)
    if declared is None:
        return "", "", False
    known = analytes().get(declared.analyte)
    return declared.analyte, declared.window, known is not None and known.unit == unit


def _site_unit(variable: str, assessment: Assessment) -> str | None:
    """The unit in which the site last reported the analyte."""
    return next((e.site_unit for e in reversed(assessment.known) if e.variable == variable), None) or None


def shown_value(variable: str, value: float, unit: str, site_unit: str | None, wording: Wording) -> str:
    """A canonical value in the unit that the site reports, where that unit is known; else in its own."""
    from crsrisk.units import factor

    known = factor(variable, site_unit) if site_unit else None
    if known is None:
        return wording.value(value, unit)
    scale, shift = known
    return wording.value((value - shift) / scale, unit if (scale, shift) == (1.0, 0.0) else site_unit)


def _hours_of(time: Any, assessment: Assessment) -> float | None:
    """Hours of the course at which a contribution's value was taken."""
    if time is None:
        return None
    moment = time if isinstance(time, datetime) else datetime.fromisoformat(time)
    return (moment - assessment.course.start).total_seconds() / 3600.0


def moment_and_age(hours: float, assessment: Assessment, wording: Wording) -> str:
    """A time of the course and how long ago it was."""
    age = wording.text("page.ago", age=wording.age(max(assessment.as_of_hours - hours, 0.0)))
    return wording.text(
        "page.moment_and_age", moment=wording.moment(hours, assessment.course.index_time), age=age
    )


@dataclass(frozen=True, slots=True)
class BaseRate:
    """The published rate of severe CRS of a therapy, over the whole window."""

    rate: float
    low: float
    high: float
    level: str


def base_rate(course: PatientCourse) -> BaseRate | None:
    """The published rate that a clinician may compare with; None where no cohort was published."""
    try:
        found = prior(course.therapy, "severe")
    except CrsRiskError:
        return None
    return BaseRate(found.rate, found.low, found.high, found.level)


@dataclass(frozen=True, slots=True)
class GradingInput:
    """What the grading rule reads: the newest value of a sign or a support."""

    name: str
    value: str
    time: str


def grading_inputs(assessment: Assessment, wording: Wording) -> tuple[GradingInput, ...]:
    """The newest temperature, blood pressure, oxygen and running pressors; unrecorded ones say so."""
    newest = {e.variable: e for e in assessment.known}  # known is in the order of time
    shown = [v for v in GRADING_INPUTS if v in newest or v in ("temperature", "resp_support")]
    if not {"sbp", "map"} & newest.keys():
        shown.insert(1, "sbp")
    running = [v for v in PRESSORS if v in newest and newest[v].value > 0]
    return tuple(_grading_input(v, newest.get(v), assessment, wording) for v in [*shown, *running])


def _grading_input(
    variable: str, event: PatientEvent | None, assessment: Assessment, wording: Wording
) -> GradingInput:
    name = wording.name(variable)
    if event is None:
        return GradingInput(name, wording.text("page.grade.not_recorded"), "")
    if variable == "resp_support":
        value = wording.text_or(f"page.grade.device.{int(event.value)}", str(int(event.value)))
    else:
        unit = _canonical_unit(variable)
        value = event.comparator + shown_value(variable, event.value, unit, event.site_unit or None, wording)
    age = wording.age(max(assessment.as_of_hours - event.hours, 0.0))
    return GradingInput(name, value, wording.text("page.ago", age=age))


def _canonical_unit(variable: str) -> str:
    from crsrisk.analytes import analyte

    return analyte(variable).unit


def grade_text(change: GradeChange | None, wording: Wording) -> str:
    """A grade in words: none, a number, a range, review or not gradable."""
    if change is None:
        return wording.text("page.grade.unknown")
    if change.state == "graded" and change.grade is None:
        return wording.text("page.trend.grade_state.range", low=int(change.low), high=int(change.high))
    grade = int(change.grade) if change.grade is not None else 0
    return wording.text(f"page.trend.grade_state.{change.state}", grade=grade)
