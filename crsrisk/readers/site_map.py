"""The site map: what only the hospital can say, in one TOML file that a person wrote or confirmed.

Local codes, the unit of a variable that arrives without one, the zone of times without an offset, which indication a
product was given for, and explicit time zeros. A statement of the map is no guess; nothing is taken from anywhere
else.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.therapies import Therapy, therapy_from_table
from crsrisk.times import parse_time

LOOKBACK_DAYS = 90.0
"""Records more than this before the first dose are left out: they precede apheresis and bridging therapy."""
SERIES_GAP_DAYS = 90.0
"""An engager series ends after this time without a dose; the next dose opens a new course."""

MOST_DAYS = 36_525.0
SECTIONS = (
    "time_zone", "site", "encoding", "lookback_days", "series_gap_days",
    "codes", "units", "therapies", "courses", "investigational", "csv", "hl7v2",
)  # fmt: skip
_COURSE_FIELDS = {"therapy", "index_time"}


@dataclass(frozen=True)
class StatedCourse:
    """A time zero that the site states for one patient; it wins over everything found in the data."""

    therapy: str
    index_us: int


@dataclass(frozen=True)
class SiteMap:
    """Statements of a site; everything may be absent.

    codes: 'system|code' -> target: an analyte key, `product:NAME`, `therapy:KEY`, `disease:TOKEN`,
        `grade:SYSTEM`, `peak_grade:SYSTEM`, `device:VARIABLE=VALUE` or `ignore`; see `codes.target_meaning`.
    units: variable -> the unit in which it arrives when none is given.
    therapies: product name -> therapy key, where the data can't tell the indication.
    courses: patient_id -> explicit time zeros, sorted by time.
    registered: investigational therapies by key, as in therapies.toml of a cohort folder.
    csv, hl7v2: settings of these readers, checked by them.
    """

    time_zone: ZoneInfo | None = None
    site: str = ""
    encoding: str = "utf-8"
    lookback_days: float = LOOKBACK_DAYS
    series_gap_days: float = SERIES_GAP_DAYS
    codes: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    therapies: Mapping[str, str] = field(default_factory=dict)
    courses: Mapping[str, tuple[StatedCourse, ...]] = field(default_factory=dict)
    csv: Mapping[str, Any] = field(default_factory=dict)
    hl7v2: Mapping[str, Any] = field(default_factory=dict)
    registered: Mapping[str, Therapy] = field(default_factory=dict)


def read_site_map(path: Path | None) -> SiteMap:
    """The site map in a TOML file, an empty one for None.

    Raises:
        CrsRiskError: the file is missing, no TOML, or says something that is not known; all of it in one message.
    """
    if path is None:
        return SiteMap()
    try:
        content = tomllib.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise CrsRiskError(
            f"{path.name}: no site map; accepted: a TOML file in UTF-8, see docs/convert.md"
        ) from None
    return site_map(content, path.name)


def site_map(content: Mapping[str, Any], name: str = "site map") -> SiteMap:
    """The site map in parsed TOML.

    Raises:
        CrsRiskError: everything that is not known or not of the right kind.
    """
    problems = [
        f"{named(key)} is not known; accepted: {', '.join(SECTIONS)}"
        for key in content
        if key not in SECTIONS
    ]
    texts = {key: _text(content, key, problems) for key in ("time_zone", "site", "encoding")}
    numbers = {key: _number(content, key, problems) for key in ("lookback_days", "series_gap_days")}
    tables = {key: _texts(content, key, problems) for key in ("codes", "units", "therapies")}
    settings = {key: _table(content, key, problems) for key in ("csv", "hl7v2")}
    zone = _zone(texts["time_zone"], problems)
    stated = _stated_courses(_table(content, "courses", problems), problems)
    registered = _registered(_table(content, "investigational", problems), problems)
    if problems:
        raise CrsRiskError(f"{name}: " + "; ".join(problems))
    return SiteMap(
        time_zone=zone,
        site=texts["site"],
        encoding=texts["encoding"] or "utf-8",
        lookback_days=numbers["lookback_days"] or LOOKBACK_DAYS,
        series_gap_days=numbers["series_gap_days"] or SERIES_GAP_DAYS,
        codes=tables["codes"],
        units=tables["units"],
        therapies=tables["therapies"],
        courses=stated,
        csv=settings["csv"],
        hl7v2=settings["hl7v2"],
        registered=registered,
    )


def _text(content: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        problems.append(f"{key} is no text")
        return ""
    return value


def _number(content: Mapping[str, Any], key: str, problems: list[str]) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_DAYS:
        problems.append(f"{key} is no number of days above 0, at most {MOST_DAYS:.0f}")
        return None
    return float(value)


def _table(content: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, Mapping):
        problems.append(f"{key} is no table; accepted: [{key}] with lines NAME = VALUE")
        return {}
    return MappingProxyType(dict(value))


def _texts(content: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, str]:
    table = _table(content, key, problems)
    if not all(isinstance(value, str) for value in table.values()):
        problems.append(f"[{key}] holds something other than text")
        return {}
    return table


def _zone(name: str, problems: list[str]) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        problems.append(f"time_zone {named(name)} is not known; accepted: names such as Asia/Tokyo or UTC")
        return None


def _stated_courses(table: Mapping[str, Any], problems: list[str]) -> Mapping[str, tuple[StatedCourse, ...]]:
    found: dict[str, tuple[StatedCourse, ...]] = {}
    for number, (patient, entries) in enumerate(table.items(), start=1):
        courses = []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, Mapping) or set(entry) != _COURSE_FIELDS:
                problems.append(f"entry {number} of [courses]: accepted: therapy and index_time")
                continue
            try:
                courses.append(StatedCourse(str(entry["therapy"]), parse_time(entry["index_time"])))
            except CrsRiskError as error:
                problems.append(f"entry {number} of [courses]: index_time: {error}")
        found[patient] = tuple(sorted(courses, key=lambda course: course.index_us))
    return found


def _registered(table: Mapping[str, Any], problems: list[str]) -> Mapping[str, Therapy]:
    found: dict[str, Therapy] = {}
    for key, entry in table.items():
        if not isinstance(entry, Mapping):
            problems.append(f"[investigational] {named(key)} is no table")
            continue
        try:
            found[key] = therapy_from_table(key, entry)
        except CrsRiskError as error:
            problems.append(str(error))
    return found
