"""One patient's course from records (REST bodies, Python dicts), by the same rules as a cohort folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.analytes import analyte_for_code
from crsrisk.cohort_frames import (
    COURSE_TEXTS,
    EVENT_COLUMNS,
    TEXT,
    UNUSED_EVENT_COLUMNS,
    Cohort,
    frame,
)
from crsrisk.courses_read import KNOWN, SEXES, is_baseline
from crsrisk.errors import CohortError, TimeError
from crsrisk.events import ReportedEvents, SortedEvents, sort_out
from crsrisk.ledger import AVAILABLE_BEFORE_SPECIMEN, Ledger
from crsrisk.problems import Problems, named
from crsrisk.therapies import Therapy, therapy
from crsrisk.times import (
    ACCEPTED,
    FURTHEST_HOURS,
    MICROSECONDS_PER_HOUR,
    NOT_A_TIME,
    microseconds,
    parse_time,
)
from crsrisk.units import canonical_unit_name
from crsrisk.values import (
    BAD_NUMBER,
    NOT_A_PLAIN_NUMBER,
    SYMBOLS,
    Numbers,
    column_to_blame,
    comparator_codes,
    number_or_none,
    rule_for,
    standardise,
)

FIELDS = frozenset(
    {
        "variable", "system", "code", "value", "unit", "time", "hours", "available_time", "available_hours",
        "comparator", "source_id",
    }
)  # fmt: skip
DUPLICATE = "DUPLICATE: the same as an observation that is used"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An observation that is not used: its place in the list, and why, without its value."""

    index: int
    reason: str


class _UnusableError(Exception):
    """An observation without a place in the course; the text is the reason."""


@dataclass(slots=True)
class _Observations:
    """Observations that have a name and a moment, column by column."""

    index: list[int] = field(default_factory=list)  # place in the list that was sent
    hours: list[float] = field(default_factory=list)
    available: list[float] = field(default_factory=list)
    variable: list[str] = field(default_factory=list)
    unit: list[str] = field(default_factory=list)
    number: list[float] = field(default_factory=list)
    comparator: list[int] = field(default_factory=list)
    mark: list[str] = field(default_factory=list)
    empty: list[bool] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)

    def add(self, index: int, observation: Mapping[str, object], index_us: int | None) -> None:
        """Take one observation in.

        Raises:
            _UnusableError: with the reason.
        """
        if not observation.keys() <= FIELDS:
            raise _UnusableError(f"UNKNOWN_FIELD: accepted: {', '.join(sorted(FIELDS))}")
        variable = _name(observation)
        hours = _hours(observation, "time", "hours", index_us)
        if hours is None:
            raise _UnusableError(f"BAD_TIME: neither time nor hours; accepted: {ACCEPTED}, or hours")
        available = _hours(observation, "available_time", "available_hours", index_us)
        unit = _optional_text(observation, "unit")
        mark = _optional_text(observation, "comparator")
        source = _optional_text(observation, "source_id")
        value = observation.get("value")
        read = number_or_none(value)
        self.index.append(index)
        self.hours.append(hours)
        self.available.append(nan if available is None else available)
        self.variable.append(variable)
        self.unit.append(unit)
        self.number.append(nan if read is None else read[0])
        self.comparator.append(0 if read is None else read[1])
        self.mark.append(mark)
        self.empty.append(value is None or value == "")
        self.raw.append(str(value) if isinstance(value, str | int | float) else "")
        self.source.append(source)


def _name(observation: Mapping[str, object]) -> str:
    variable, system, code = observation.get("variable"), observation.get("system"), observation.get("code")
    if isinstance(variable, str) and variable.strip() and system is None and code is None:
        return variable.strip()
    if variable is None and isinstance(system, str) and isinstance(code, str):
        found = analyte_for_code(system, code)
        if found is None:
            raise _UnusableError(
                f"UNKNOWN_CODE: {named(code)} of {named(system)}; accepted: a code of the catalogue"
            )
        return found
    raise _UnusableError("MISSING_VARIABLE: accepted: either variable, or system and code, as text")


def _optional_text(observation: Mapping[str, object], name: str) -> str:
    value = observation.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _UnusableError(f"BAD_TEXT: {name} is a {type(value).__name__}; accepted: text")
    return value.strip()


def _hours(observation: Mapping[str, object], time: str, hours: str, index_us: int | None) -> float | None:
    """Hours from the index time by one of two fields, None when neither is there."""
    moment, number = observation.get(time), observation.get(hours)
    if moment is not None and number is not None:
        raise _UnusableError(f"BAD_TIME: both {time} and {hours}; accepted: one of the two")
    if moment is not None:
        if index_us is None:
            raise _UnusableError(f"BAD_TIME: {time} without an index_time of the course; accepted: {hours}")
        try:
            found = (parse_time(moment) - index_us) / MICROSECONDS_PER_HOUR
        except TimeError as error:
            raise _UnusableError(f"BAD_TIME: {time}: {error}") from None
    elif number is None:
        return None
    else:
        read = number_or_none(number)
        if read is None or read[1]:
            raise _UnusableError(f"BAD_TIME: {hours} is no number; accepted: hours from the index time")
        found = read[0] + 0.0
    if abs(found) > FURTHEST_HOURS:
        raise _UnusableError(f"BAD_TIME: {time} is more than a century from the index time; accepted: less")
    if moment is None and index_us is not None:
        found = round(found * MICROSECONDS_PER_HOUR) / MICROSECONDS_PER_HOUR  # as in a cohort folder
    return found


def course_from_records(
    course: Mapping[str, object],
    observations: Sequence[Mapping[str, object]],
    as_of: datetime | None,
    therapies: Mapping[str, Therapy] | None = None,
) -> tuple[Cohort, list[Rejected]]:
    """A cohort of one course, and the observations that it doesn't use.

    Every index that the list does not name was used.

    Args:
        course: course_id, patient_id, therapy; optional index_time (aware datetime or ISO 8601 text with
            offset), site, indication, age (years), sex, weight (kg), follow_up_hours and baseline predictors
            in canonical units. Without index_time, observations count in hours.
        observations: variable (or system and code), value, unit, and time or hours; optional available_time
            or available_hours, comparator, source_id.
        as_of: aware time of the prediction; what is later, or known later, is rejected. Needs index_time.
        therapies: investigational therapies by key.

    Raises:
        CohortError: the course can't be used; one sentence per problem.
        UnknownTherapyError: neither the catalogue nor `therapies` lists the therapy.
        TimeError: as_of has no time zone.
    """
    ledger = Ledger()
    courses, index_us = _course(course, ledger)
    course_id = str(course["course_id"]).strip()
    used = therapy(str(course["therapy"]).strip(), therapies)
    as_of_hours = None
    if as_of is not None:
        if index_us is None:
            raise CohortError(
                ["course: as_of without index_time; accepted: index_time with an offset beside it"]
            )
        as_of_hours = np.array([(microseconds(as_of) - index_us) / MICROSECONDS_PER_HOUR])
    read, rejected = _read_observations(observations, index_us)
    decided = _sorted_out(read, as_of_hours)
    unknown, duplicate, reasons = (
        decided.unknown.tolist(),
        decided.duplicate.tolist(),
        decided.reasons.tolist(),
    )
    for row, index in enumerate(read.index):
        if unknown[row]:
            rejected.append(Rejected(index, f"UNKNOWN_VARIABLE: {named(read.variable[row])}; kept, not used"))
            ledger.unused("events", "variable", read.variable[row], 1)
        elif duplicate[row]:
            rejected.append(Rejected(index, DUPLICATE))
        elif reasons[row]:
            rejected.append(Rejected(index, reasons[row]))
    rejected.sort(key=lambda one: one.index)
    _account(observations, read, decided, rejected, ledger)
    cohort = Cohort(
        courses=courses,
        events=frame(EVENT_COLUMNS, **_cells(course_id, read, decided, decided.order.tolist())),
        therapies={} if therapies is None else {key: therapies[key] for key in therapies if key == used.key},
        ledger=ledger,
        unused_events=frame(
            UNUSED_EVENT_COLUMNS, **_cells(course_id, read, decided, np.flatnonzero(decided.unknown).tolist())
        ),
    )
    return cohort, rejected


def _account(
    observations: Sequence[Mapping[str, object]],
    read: _Observations,
    decided: SortedEvents,
    rejected: list[Rejected],
    ledger: Ledger,
) -> None:
    unknown, duplicates = int(decided.unknown.sum()), int(decided.duplicate.sum())
    refused = [one for one in rejected if not one.reason.startswith(("UNKNOWN_VARIABLE", "DUPLICATE"))]
    name_of = dict(zip(read.index, read.variable, strict=True))
    ledger.reject(
        "events",
        np.array([one.index for one in refused], dtype=np.int64),
        [column_to_blame(one.reason) for one in refused],
        [name_of.get(one.index, "") for one in refused],
        [one.reason for one in refused],
    )
    ledger.adjust("events", "available_hours", AVAILABLE_BEFORE_SPECIMEN, decided.moved)
    total = len(observations)
    ledger.count("courses", 1)
    ledger.count("events", total, rejected=len(refused), unused=unknown, duplicates=duplicates)


def _course(course: Mapping[str, object], ledger: Ledger) -> tuple[pd.DataFrame, int | None]:
    """The courses table of one course, and its index time in microseconds since 1970, None for hours."""
    problems = Problems()
    texts = {name: _text(course.get(name), name, problems) for name in ("site", "indication", "sex")}
    for name in ("course_id", "patient_id", "therapy"):
        texts[name] = _text(course.get(name), name, problems)
        if not texts[name]:
            problems.add(f"course, {name}: nothing; accepted: text; send it")
    texts["sex"] = texts["sex"] or "unknown"
    if texts["sex"] not in SEXES:
        problems.add(f"course, sex: another word; accepted: {', '.join(SEXES)}")
    index_us = _index_time(course.get("index_time"), problems)
    follow_up = _follow_up(course.get("follow_up_hours"), problems)
    numbers = {"follow_up_hours": follow_up, "age": nan, "weight": nan}
    for name, value in course.items():
        if is_baseline(name):
            numbers[name] = _baseline(name, value, ledger)
        elif name not in KNOWN:
            ledger.unused("courses", "column", name, 1)
    if problems.sentences:
        raise problems.error()
    moments = np.array([NOT_A_TIME if index_us is None else index_us]).astype("datetime64[us]")
    columns: dict[str, object] = {name: pd.array([texts[name]], dtype=TEXT) for name in COURSE_TEXTS}
    columns["index_time"] = pd.DatetimeIndex(moments).tz_localize("UTC")
    columns |= {name: np.array([value]) for name, value in numbers.items()}
    return pd.DataFrame(columns, copy=False), index_us


def _text(value: object, name: str, problems: Problems) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        problems.add(f"course, {name}: {type(value).__name__}; accepted: text")
        return ""
    return value.strip()


def _index_time(value: object, problems: Problems) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(value)
    except TimeError as error:
        problems.add(f"course, index_time: {error}")
        return None


def _follow_up(value: object, problems: Problems) -> float:
    if value is None:
        return nan
    read = number_or_none(value)
    if read is None or read[1] or read[0] < 0:
        problems.add("course, follow_up_hours: no number of hours; accepted: a number from 0, or nothing")
        return nan
    return read[0]


def _baseline(name: str, value: object, ledger: Ledger) -> float:
    """A baseline predictor in its canonical unit; nan, noted in the ledger, when it can't be used."""
    if value is None or value == "":
        return nan
    read = number_or_none(value)
    if read is None:
        reason = BAD_NUMBER
    elif read[1]:
        reason = NOT_A_PLAIN_NUMBER
    else:
        rule = rule_for(name, canonical_unit_name(name))
        _, reasons = standardise(np.array([read[0]]), np.zeros(1, dtype=np.int64), [rule])
        reason = str(reasons[0])
        if not reason:
            return read[0]
    ledger.reject("courses", np.zeros(1, dtype=np.int64), [name], [name], [reason])
    return nan


def _read_observations(
    observations: Sequence[Mapping[str, object]], index_us: int | None
) -> tuple[_Observations, list[Rejected]]:
    read, rejected = _Observations(), []
    for index, observation in enumerate(observations):
        try:
            read.add(index, observation, index_us)
        except _UnusableError as unusable:
            rejected.append(Rejected(index, str(unusable)))
    return read, rejected


def _sorted_out(read: _Observations, as_of_hours: NDArray[np.float64] | None) -> SortedEvents:
    variable, variables = _coded(read.variable)
    unit, units = _coded(read.unit)
    source, _ = _coded(read.source)
    numbers = np.array(read.number, dtype=np.float64)
    empty = np.array(read.empty, dtype=np.bool_)
    bad = np.isnan(numbers) & ~empty
    reported = ReportedEvents(
        course=np.zeros(len(variable), dtype=np.int64),
        hours=np.array(read.hours, dtype=np.float64),
        available_hours=np.array(read.available, dtype=np.float64),
        variable=variable,
        variables=variables,
        unit=unit,
        units=units,
        numbers=Numbers(numbers, np.array(read.comparator, dtype=np.int8), empty, bad),
        comparators=comparator_codes(read.mark),
        source=source,
        row=np.array(read.index, dtype=np.int64),
    )
    return sort_out(reported, as_of_hours)


def _coded(texts: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    codes = {text: code for code, text in enumerate(sorted(set(texts)))}
    return np.array([codes[text] for text in texts], dtype=np.int64), list(codes)


def _cells(
    course_id: str, read: _Observations, decided: SortedEvents, rows: list[int]
) -> Mapping[str, object]:
    return {
        "course_id": [course_id] * len(rows),
        "hours": [read.hours[row] for row in rows],
        "available_hours": decided.available_hours[rows],
        "variable": [read.variable[row] for row in rows],
        "value": decided.values[rows],
        "comparator": SYMBOLS[decided.comparators[rows].clip(0)],
        "raw_value": [read.raw[row] for row in rows],
        "raw_unit": [read.unit[row] for row in rows],
        "source_id": [read.source[row] for row in rows],
        "row": [read.index[row] for row in rows],
    }
