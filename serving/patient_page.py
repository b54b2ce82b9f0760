"""What one patient's page shows, as the variables of its template and the data of its charts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.charts import FactorBar, Mark, RiskPoint, Span, TrendData
from serving.patients import GradeChange
from serving.patients_page import PageWords
from serving.timeline_view import GradeSpan, Treatment, TrendPoint, grade_spans, treatments
from serving.views import (
    Assessment,
    Factors,
    base_rate,
    factors,
    grade_text,
    grading_inputs,
)
from serving.wording import Wording, number

LOOK_BACK_HOURS = 12.0
LOW_FLOW = 1
_COUNTED = r"(?P<events>\d+) severe in (?P<patients>\d+) patients"
NOTES = (
    (re.compile(rf"Insufficient events: {_COUNTED}"), "page.note.offset"),
    (re.compile(rf"Few events: {_COUNTED}"), "page.note.shared"),
    (re.compile(r"The model was trained on simulated patients"), "page.note.simulated"),
    (re.compile(r"The model saw no patient with this therapy"), "page.model.therapy_unseen"),
    (re.compile(r"Published rate of severe CRS"), "page.note.published"),
    (re.compile(r"Few inputs: "), "page.note.few_inputs"),
    (re.compile(r"Implausible values: (?P<names>[a-z0-9_, ]+)\."), "page.note.implausible"),
)
"""The scorer's notes by how they begin, and the labels that say the same."""


def patient_context(
    assessment: Assessment, points: Sequence[TrendPoint], wording: Wording, threshold: float | None
) -> dict[str, Any]:
    """Variables of the template of one patient's page."""
    words = PageWords(wording, threshold)
    course, hours, answer = assessment.course, assessment.as_of_hours, assessment.answer
    explanation, model = answer["explanation"], answer["model"]
    grades = course.grades_at(hours)

    def rule(rule_id: str) -> str:
        return wording.text_or(f"page.rule.{rule_id}", rule_id)

    def horizon_of(_: Assessment, risk: Mapping[str, Any]) -> str:
        return words.horizon_hours(risk["horizon_hours"])

    return words.context() | {
        "title": wording.text("page.patient.title", course=course.course_id),
        "a": assessment,
        "earlier": hours - LOOK_BACK_HOURS if hours - LOOK_BACK_HOURS >= 0 else None,
        "later": hours + LOOK_BACK_HOURS if hours + LOOK_BACK_HOURS < course.now_hours else None,
        "looking_back": hours < course.now_hours,
        "rule": rule,
        "horizon_of": horizon_of,
        "needed": lambda _: _needed(assessment, wording),
        "trend": {
            "alt": _trend_alt(points, wording),
            "points": points,
            "events": _events_in_words(assessment, wording),
        },
        "factors": factors(assessment, wording),
        "explained_horizon": "" if explanation is None else words.horizon_hours(explanation["horizon_hours"]),
        "current_grade": grades[-1] if grades else None,
        "worst": _worst(grades, wording),
        "grading": grading_inputs(assessment, wording),
        "base": base_rate(course),
        "number": number,
        "cited": cited,
        "model_line": model and wording.text("page.model.name", name=model["name"], version=model["version"]),
        "digest": model and model["digest"].removeprefix("sha256:")[:12],
        "notes": [_note(note, wording) for note in answer.get("notes", ())],
    }


def cited(source: str) -> str:
    """Keys of docs/sources.bib as a reader cites them.

    >>> cited("luft_2017; lee_2019_astct")
    'Luft 2017; Lee 2019'
    """
    keys = [key.strip().split("_") for key in source.split(";")]
    return "; ".join(" ".join([parts[0].capitalize(), *parts[1:2]]) for parts in keys)


def _needed(assessment: Assessment, wording: Wording) -> str:
    missing = assessment.answer["quality"]["missing"]
    code, _, told = str(assessment.answer["reason"]).partition(": ")
    if code in ("NO_MEASUREMENT", "TOO_FEW_INPUTS") and missing:
        return wording.text("page.abstain.needed_inputs", names=wording.names(missing))
    if code == "IMPLAUSIBLE_INPUT":
        implausible = told.partition(":")[0].split(", ")
        return wording.text("page.needed.IMPLAUSIBLE_INPUT", names=wording.names(implausible))
    return wording.text_or(f"page.needed.{code}", wording.text("page.abstain.needed_none"))


def _note(note: str, wording: Wording) -> dict[str, str]:
    """A note of the scorer in the language of the page where it is a known one, else in English as it came."""
    for pattern, key in NOTES:
        found = pattern.match(note)
        if found:
            fields = found.groupdict()
            if "names" in fields:
                fields["names"] = wording.names(fields["names"].split(", "))
            return {"text": wording.text(key, **fields), "language": wording.language}
    return {"text": note, "language": "en"}


def _worst(grades: Sequence[GradeChange], wording: Wording) -> str:
    certain = [g for g in grades if g.grade is not None and g.state in ("none", "graded")]
    return grade_text(max(certain, key=lambda g: g.grade or 0), wording) if certain else ""


def _trend_alt(points: Sequence[TrendPoint], wording: Wording) -> str:
    made = [p.risk for p in points if p.risk is not None]
    if not made:
        return wording.text("page.trend.alt_none")
    first, last = wording.percent(made[0]), wording.percent(made[-1])
    return wording.text("page.trend.alt", first=first, last=last, count=len(made))


def _events_in_words(assessment: Assessment, wording: Wording) -> list[tuple[float, str]]:
    """Doses, grades and treatments so far, oldest first."""
    course, hours = assessment.course, assessment.as_of_hours
    found = [(h, _dose_text(assessment, n, wording)) for n, h in enumerate(course.doses, 1) if h <= hours]
    found += [(s.start, _grade_event(s, wording)) for s in grade_spans(course, hours)]
    found += [(t.hours, _treatment_text(t, wording)) for t in treatments(course, hours)]
    return sorted(found, key=lambda pair: pair[0])


def _grade_event(span: GradeSpan, wording: Wording) -> str:
    return wording.text("page.trend.grade_event", grade=grade_text(span.change, wording))


def _dose_text(assessment: Assessment, position: int, wording: Wording) -> str:
    if assessment.dose is None:
        return wording.text("page.trend.infusion")
    return wording.text("page.trend.dose", dose=position)


def _treatment_text(treatment: Treatment, wording: Wording) -> str:
    name = wording.name(treatment.variable)
    if treatment.stopped:
        return wording.text("page.treatment.stop", name=name)
    if treatment.lane == "oxygen" and treatment.value >= LOW_FLOW:
        device = wording.text_or(f"page.grade.device.{int(treatment.value)}", str(int(treatment.value)))
        return wording.text("page.treatment.device", name=name, device=device)
    return name


def drawn_trend(
    assessment: Assessment, points: Sequence[TrendPoint], wording: Wording, threshold: float | None
) -> TrendData:
    """The data of the trend chart: percentages, grades, doses and treatments so far, with their words."""
    course, hours = assessment.course, assessment.as_of_hours
    doses = [(h, _dose_text(assessment, n, wording)) for n, h in enumerate(course.doses, 1) if h <= hours]
    axis = "page.trend.axis_infusion" if assessment.dose is None else "page.trend.axis_course"
    return TrendData(
        points=[_in_percent(p) for p in points],
        spans=[_span(s, wording) for s in grade_spans(course, hours)],
        marks=[
            Mark(t.hours, wording.text(f"page.treatment.{t.lane}"), t.lane, t.stopped)
            for t in treatments(course, hours)
        ],
        doses=doses,
        now=hours,
        title=wording.text("page.trend.title"),
        description=_trend_alt(points, wording),
        axis_time=wording.text(axis),
        axis_risk=wording.text("page.trend.axis_risk"),
        lane_grade=wording.text("page.trend.grades"),
        threshold=None if threshold is None else threshold * 100,
    )


def _in_percent(point: TrendPoint) -> RiskPoint:
    if point.risk is None or point.low is None or point.high is None:
        return RiskPoint(point.hours, None, None, None)
    return RiskPoint(point.hours, point.risk * 100, point.low * 100, point.high * 100)


def _span(span: GradeSpan, wording: Wording) -> Span:
    change = span.change
    if change.grade is not None and change.state in ("none", "graded"):
        grade = int(change.grade)
        return Span(span.start, span.end, str(grade), grade)
    return Span(span.start, span.end, grade_text(change, wording), None)


def factor_bars(found: Factors) -> list[FactorBar]:
    """The bars of the factor chart, from the strongest raising to the strongest lowering."""
    ordered = [*found.raising, *reversed(found.lowering)]
    return [FactorBar(label=f.label, log_odds=f.log_odds) for f in ordered]
