"""Addresses of the pages and their files, with everything in them quoted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from crsrisk import __version__
from serving.wording import Language, Wording, whole_percent

if TYPE_CHECKING:
    from serving.views import Assessment

LANGUAGES: tuple[Language, ...] = ("en", "ja")


@dataclass(frozen=True)
class Site:
    """Addresses under `root`, the path at which the service is mounted behind a proxy.

    >>> from datetime import UTC
    >>> Site("/crs").patient(Wording("ja", {}, UTC), "a/b?", 12.0)
    '/crs/patients/a%2Fb%3F?lang=ja&as_of=12'
    """

    root: str = ""
    stale_minutes: int = 15
    version: str = __version__

    def list(self, wording: Wording) -> str:
        """The list of patients."""
        return f"{self.root}/?{urlencode({'lang': wording.language})}"

    def patient(self, wording: Wording, course_id: str, as_of: float | None = None) -> str:
        """One patient's page, at a time in hours or at the current one."""
        query = {"lang": wording.language} | ({} if as_of is None else {"as_of": f"{as_of:.12g}"})
        return f"{self.root}/patients/{quote(course_id, safe='')}?{urlencode(query)}"

    def chart(self, wording: Wording, assessment: Assessment, kind: str, *, narrow: bool = False) -> str:
        """A chart of one patient's page."""
        query = {"lang": wording.language, "as_of": f"{assessment.as_of_hours:.12g}"}
        if narrow:
            query["narrow"] = "true"
        course_id = quote(assessment.course.course_id, safe="")
        return f"{self.root}/patients/{course_id}/{kind}.svg?{urlencode(query)}"

    def dots(self, wording: Wording, risk: Mapping[str, Any]) -> str:
        """The hundred dots of a risk and the upper end of its interval."""
        query = {
            "count": whole_percent(risk["probability"]),
            "upper": whole_percent(risk["high"]),
            "lang": wording.language,
        }
        return f"{self.root}/charts/frequency.svg?{urlencode(query)}"

    def asset(self, name: str) -> str:
        """A static file; its digest in the address lets browsers keep it."""
        return f"{self.root}/static/{name}?v={_digest(name)}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "static" / name).read_bytes()).hexdigest()[:10]
