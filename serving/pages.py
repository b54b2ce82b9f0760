"""The web pages: a list of patients with their risk, and one patient's page; HTML from the server.

Each page is a pure function of a course, a time and a scorer's answer; what is shown is computed in
`serving.views` and `serving.timeline_view`, put into words by `serving.wording`, drawn by `serving.charts`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from math import isfinite
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from crsrisk.labels import labels as crsrisk_labels
from serving.patient_page import drawn_trend, factor_bars, patient_context
from serving.patients import CohortPatients, PatientCourse, PatientSource, Score
from serving.patients_page import list_context
from serving.problems import where_it_failed
from serving.site import LANGUAGES, Site
from serving.timeline_view import TrendPoint, trend
from serving.views import Assessment, assess, factors, guarded
from serving.wording import Labels, Language, Wording

__all__ = ["CohortPatients", "pages_router"]

LOG = logging.getLogger("crsrisk.serving")
FOLDER = Path(__file__).parent
STATIC: Mapping[str, str] = {
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
KEPT_ASSESSMENTS = 4_096  # of (course, time) pairs
_ORIGIN = re.compile(r"'self'|https?://[A-Za-z0-9.*-]+(:[0-9]{1,5})?")

Hours = Annotated[
    float | None, Query(description="Hours from the index time; the patient's current time if absent.")
]
Lang = Annotated[Language | None, Query(description="Language of the page.")]


def pages_router(
    patients: PatientSource,
    score: Score,
    *,
    language: Language = "en",
    zone: tzinfo = UTC,
    threshold: float | None = None,
    frame_ancestors: Sequence[str] = (),
    stale_minutes: int = 15,
    labels: Labels = crsrisk_labels,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    warm: bool = False,
) -> APIRouter:
    """Routes of the pages, to be mounted beside the REST routes.

    Args:
        patients: whom the list shows.
        score: the body of `POST /v1/risk` in, its answer out; a test may pass three lines.
        language: of a page whose address names none.
        zone: in which clock times are shown.
        threshold: risk (0 to 1) above which the site wants attention; none is shipped, then no band is shown.
        frame_ancestors: origins of the record systems that may embed the pages; none by default.
        stale_minutes: after which an open page says that it is old.
        labels: label table of a language.
        clock: the present, for the time at which a page was made.
        warm: score the patients and start the charts now, in the background, so that the first page is quick.

    Raises:
        ValueError: a threshold outside 0 to 1, or an origin that is none.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold!r}; give a risk between 0 and 1")
    pages = _Pages(
        patients,
        score,
        zone=zone,
        threshold=threshold,
        stale_minutes=stale_minutes,
        labels=labels,
        clock=clock,
    )
    headers = _headers(frame_ancestors)
    if warm:
        Thread(target=pages.warm, name="pages-warm", daemon=True).start()
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def patient_list(request: Request, lang: Lang = None) -> Response:
        return HTMLResponse(pages.list(pages.site(request), lang or language), headers=headers)

    @routes.get("/patients/{course_id:path}/{kind}.svg")
    def chart(
        course_id: str, kind: str, lang: Lang = None, as_of: Hours = None, narrow: bool = False
    ) -> Response:
        svg = pages.chart(course_id, kind, lang or language, as_of, narrow)
        if svg is None:
            return Response(status_code=404, headers=headers)
        return Response(svg, media_type="image/svg+xml", headers=headers)

    @routes.get("/patients/{course_id:path}")
    def patient(request: Request, course_id: str, lang: Lang = None, as_of: Hours = None) -> Response:
        status, html = pages.patient(pages.site(request), course_id, lang or language, as_of)
        return HTMLResponse(html, status, headers=headers)

    @routes.get("/charts/frequency.svg")
    def dots(
        count: Annotated[int, Query(ge=0, le=100)],
        upper: Annotated[int, Query(ge=0, le=100)],
        lang: Lang = None,
    ) -> Response:
        from serving.charts import frequency_svg

        title = pages.wording(lang or language).text("page.frequency.alt", count=count)
        return Response(frequency_svg(count, upper, title=title), media_type="image/svg+xml", headers=headers)

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            return Response(status_code=404, headers=headers)
        kept = headers | {
            "Cache-Control": "public, max-age=31536000, immutable"
        }  # the address names the content
        return Response((FOLDER / "static" / name).read_bytes(), media_type=STATIC[name], headers=kept)

    return routes


def _headers(frame_ancestors: Sequence[str]) -> dict[str, str]:
    for origin in frame_ancestors:
        if _ORIGIN.fullmatch(origin) is None:
            raise ValueError(
                f"frame ancestor {origin!r}; accepted: an origin such as 'https://ehr.example.org'"
            )
    ancestors = " ".join(frame_ancestors) or "'none'"
    return {
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


class _Pages:
    """What the routes share: templates, wordings, and assessments that were made before."""

    def __init__(
        self,
        patients: PatientSource,
        score: Score,
        *,
        zone: tzinfo,
        threshold: float | None,
        stale_minutes: int,
        labels: Labels,
        clock: Callable[[], datetime],
    ) -> None:
        self.patients = patients
        self.threshold = threshold
        self.stale_minutes = stale_minutes
        self.clock = clock
        self._wordings = {name: Wording(name, labels(name), zone) for name in LANGUAGES}
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

        score = guarded(score)

        # a course is compared by identity: a source that has new data gives a new object
        @lru_cache(maxsize=KEPT_ASSESSMENTS)
        def assessed(course: PatientCourse, as_of_hours: float) -> Assessment:
            return assess(course, as_of_hours, score)

        @lru_cache(maxsize=256)
        def trended(course: PatientCourse, as_of_hours: float) -> tuple[TrendPoint, ...]:
            return trend(course, as_of_hours, score)

        self.assessed, self.trended = assessed, trended

    def warm(self) -> None:
        """Make what the first list needs; a failure here shows again, and is answered, in the page."""
        from serving.charts import frequency_svg

        try:
            frequency_svg(0, 0, title="")
            for course_id in self.patients.course_ids():
                course = self.patients.course(course_id)
                if course is not None:
                    self.assessed(course, course.now_hours)
        except (
            Exception
        ) as error:  # a thread's own report would quote the message, and with it a patient's data
            LOG.error(json.dumps({"event": "pages_not_warmed", "where": where_it_failed(error)}))

    def site(self, request: Request) -> Site:
        """Addresses under the path at which the service is mounted."""
        return Site(request.scope.get("root_path", ""), self.stale_minutes)

    def wording(self, language: Language) -> Wording:
        """The words of a language."""
        return self._wordings[language]

    def list(self, site: Site, language: Language) -> str:
        """The list of patients as HTML."""
        wording = self.wording(language)
        courses = (self.patients.course(course_id) for course_id in self.patients.course_ids())
        assessments = [self.assessed(c, c.now_hours) for c in courses if c is not None]
        context = list_context(assessments, wording, self.threshold)
        languages = [(name, site.list(self.wording(name))) for name in LANGUAGES]
        return self._render("patients.html", site, wording, languages=languages, here="list", **context)

    def patient(self, site: Site, course_id: str, language: Language, as_of: float | None) -> tuple[int, str]:
        """Status and HTML of one patient's page."""
        wording = self.wording(language)
        course = self.patients.course(course_id)
        if course is None:
            return 404, self._error(site, wording, "not_found")
        hours = _time_shown(course, as_of)
        if hours is None:
            bounds = {"first": 0, "last": int(course.now_hours)}
            return 404, self._error(site, wording, "time", **bounds)
        assessment = self.assessed(course, hours)
        context = patient_context(assessment, self.trended(course, hours), wording, self.threshold)
        languages = [(name, site.patient(self.wording(name), course_id, as_of)) for name in LANGUAGES]
        return 200, self._render(
            "patient.html", site, wording, languages=languages, here="patient", **context
        )

    def chart(
        self, course_id: str, kind: str, language: Language, as_of: float | None, narrow: bool
    ) -> str | None:
        """One chart of a patient's page as SVG; None when there is no such patient, time or chart."""
        from serving.charts import factors_svg, trend_svg

        course = self.patients.course(course_id)
        hours = None if course is None else _time_shown(course, as_of)
        if course is None or hours is None:
            return None
        wording, assessment = self.wording(language), self.assessed(course, hours)
        if kind == "trend":
            data = drawn_trend(assessment, self.trended(course, hours), wording, self.threshold)
            return trend_svg(data, narrow=narrow)
        found = factors(assessment, wording) if kind == "factors" else None
        if found is None:
            return None
        return factors_svg(
            factor_bars(found),
            title=wording.text("page.factors.title"),
            description=wording.text("page.factors.alt"),
            axis=wording.text("page.factors.axis"),
            narrow=narrow,
        )

    def _error(self, site: Site, wording: Wording, key: str, **fields: object) -> str:
        languages = [(name, site.list(self.wording(name))) for name in LANGUAGES]
        return self._render(
            "error.html",
            site,
            wording,
            languages=languages,
            here="error",
            title=wording.text(f"page.error.{key}.title"),
            message=wording.text(f"page.error.{key}.text", **fields),
        )

    def _render(self, template: str, site: Site, wording: Wording, **context: Any) -> str:
        return self._environment.get_template(template).render(
            site=site, w=wording, made_at=self.clock(), **context
        )


def _time_shown(course: PatientCourse, as_of: float | None) -> float | None:
    """The time that a page shows; None for one before the first dose or after the patient's current time."""
    if as_of is None:
        return course.now_hours
    return as_of if isfinite(as_of) and 0 <= as_of <= course.now_hours else None
