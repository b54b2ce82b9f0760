"""What the list of patients shows, as the variables of its template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crsrisk.therapies import Therapy
from serving.timeline_view import HEADLINE_HOURS
from serving.views import Assessment, Change, grade_text, sections
from serving.wording import Wording

ARROWS = {"up": "▲", "down": "▼", "same": "■"}
COLUMNS = ("patient", "therapy", "since", "risk", "change", "grade", "data_age", "flags")
FIXED_HORIZONS = (24.0, 72.0)


class PageWords:
    """Phrases about an assessment that both pages use."""

    def __init__(self, wording: Wording, threshold: float | None) -> None:
        self.wording = wording
        self.threshold = threshold

    def horizon(self, assessment: Assessment) -> str:
        """The horizon of the risk shown first."""
        return "" if assessment.risk is None else self.horizon_hours(assessment.risk["horizon_hours"])

    def horizon_hours(self, hours: float) -> str:
        """A horizon; any other than 24 and 72 h is the rest of the window."""
        return self.wording.horizon(hours, fixed=hours in FIXED_HORIZONS)

    def person(self, assessment: Assessment) -> str:
        """Age and sex."""
        course, w = assessment.course, self.wording
        known = [w.text("page.age", years=int(course.age))] if course.age is not None else []
        return w.text("page.list_separator").join([*known, w.text(f"page.sex.{course.sex or 'unknown'}")])

    def therapy_name(self, therapy: Therapy) -> str:
        """The therapy's name in the language of the page."""
        if self.wording.language == "ja" and therapy.name_ja:
            return therapy.name_ja
        return therapy.name

    def grade_now(self, assessment: Assessment) -> str:
        """The grade in force, in words."""
        changes = assessment.course.grades_at(assessment.as_of_hours)
        return grade_text(changes[-1] if changes else None, self.wording)

    def reasons(self, assessment: Assessment) -> list[str]:
        """Why there is no estimate."""
        code, _, sentence = str(assessment.answer["reason"] or "").partition(": ")
        return [
            self.wording.text_or(f"page.reason.{code}", sentence or self.wording.text("page.reason.other"))
        ]

    def band(self, assessment: Assessment) -> str:
        """Above the site's threshold or not; empty without threshold or estimate."""
        if self.threshold is None or assessment.risk is None:
            return ""
        key = "above" if assessment.probability > self.threshold else "below"
        return self.wording.text(f"page.band.{key}", threshold=self.wording.percent(self.threshold))

    def change_text(self, change: Change) -> str:
        """How the estimate moved, in whole percentage points."""
        points = self.wording.points(change.points)
        key = f"page.delta.{change.direction}" + (".one" if points == "1" else "")
        return self.wording.text(key, points=points, hours=int(change.hours))

    def data_age(self, assessment: Assessment) -> str:
        """How old the newest value is."""
        w = self.wording
        if assessment.data_age is None:
            return w.text("page.data.no_data")
        return w.text("page.ago", age=w.age(assessment.data_age))

    def flags(self, assessment: Assessment) -> list[tuple[str, str]]:
        """What a reader must know beside the number: kind and text."""
        w, found = self.wording, []
        if assessment.stale:
            found.append(("stale", w.text("page.flag.stale")))
        if assessment.missing_key_labs:
            found.append(("missing", w.text("page.flag.missing", names=w.names(assessment.missing_key_labs))))
        if assessment.treated:
            lanes = w.text("page.list_separator").join(
                w.text(f"page.treatment.{t}") for t in assessment.treated
            )
            found.append(("treated", w.text("page.flag.treated", names=lanes)))
        if assessment.state == "assessed" and not assessment.answer["therapy_seen"]:
            found.append(("unseen", w.text("page.flag.therapy_unseen")))
        rejected = len(assessment.answer["quality"]["rejected"])
        if rejected:
            found.append(("rejected", w.text("page.flag.rejected", count=rejected)))
        return found

    def context(self) -> dict[str, Any]:
        """The phrases as functions of a template."""
        names = (
            "horizon", "person", "therapy_name", "grade_now", "reasons", "band", "change_text",
            "data_age", "flags",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "threshold": self.threshold,
            "arrows": ARROWS,
        }


def list_context(
    assessments: Sequence[Assessment], wording: Wording, threshold: float | None
) -> dict[str, Any]:
    """Variables of the template of the list."""
    columns = list(COLUMNS)
    if threshold is not None:
        columns.insert(columns.index("grade"), "band")
    shown_first = wording.horizon(HEADLINE_HOURS, fixed=True)
    above = None if threshold is None else sum(a.probability > threshold for a in assessments)
    return PageWords(wording, threshold).context() | {
        "title": wording.text("page.list.title"),
        "total": len(assessments),
        "sections": sections(assessments, threshold),
        "above": above,
        "stale": sum(a.stale for a in assessments),
        "columns": columns,
        "headline_hours": HEADLINE_HOURS,
        "heading": lambda column: wording.text(f"page.list.column.{column}", horizon=shown_first),
    }
