"""What POST /v1/risk takes and answers (docs/rest.md): strict, no unknown field, no time without an offset.

The models describe the wire; the rules for one observation (unit, range, code) are those of the cohort folder
and apply later, so that a bad observation is reported under `quality.rejected` and does not lose the patient.
"""

from __future__ import annotations

import re
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from crsrisk.times import ISO_WITH_OFFSET, ISO_WITHOUT_OFFSET

CONTRACT = 1
MAX_OBSERVATIONS = 10_000
FIRST_YEAR, LAST_YEAR = 1900, 2199
NOTICE = "Research estimate for information only; it gives no order and does not replace clinical judgement."

_WITH_OFFSET = re.compile(ISO_WITH_OFFSET, re.ASCII)
_TIME_WANTED = "a time must be ISO 8601 text with an offset, for example 2026-11-01T09:00:00+09:00"


def _time(value: object) -> datetime:
    """ISO 8601 text with an offset, as in the cohort folder; pydantic alone would read 0 as 1970-01-01."""
    if not isinstance(value, str):
        raise PydanticCustomError("time_text", _TIME_WANTED)
    if _WITH_OFFSET.match(value) is None:
        naive = re.match(ISO_WITHOUT_OFFSET, value, re.ASCII) is not None
        raise PydanticCustomError("time_offset" if naive else "time_text", _TIME_WANTED)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("time_text", _TIME_WANTED) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise PydanticCustomError("time_range", "a time must lie between the years 1900 and 2199")
    return moment


def _value(value: object) -> float | str:
    """A finite number, or text such as '<0.5' that the rules of the cohort folder read."""
    if isinstance(value, str):
        if len(value) > 64:
            raise PydanticCustomError("value_text", "a value as text has at most 64 characters")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("value_type", "a value is a number, or text such as '<0.5'")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise PydanticCustomError("finite_number", "a number must be finite")
    return number


Time = Annotated[datetime, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ShortText = Annotated[str, StringConstraints(max_length=64)]
Value = Annotated[
    Any, PlainValidator(_value), WithJsonSchema({"type": ["number", "string"], "maxLength": 64})
]


class _In(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, frozen=True
    )


class Course(_In):
    """One infusion of cells, or one series of an engager."""

    course_id: Text
    patient_id: Text
    therapy: Text = Field(description="Key of the therapy catalogue.")
    index_time: Time = Field(description="Infusion of cells, or first dose of an engager.")
    age: float | None = Field(None, ge=0, le=130, description="Years at the index time.")
    sex: Literal["female", "male", "other", "unknown"] | None = None
    weight: float | None = Field(None, gt=0, le=500, description="kg")
    site: Text | None = None
    indication: Text | None = None


class Observation(_In):
    """One measurement, finding or treatment: a variable of the analyte catalogue, or a system and a code."""

    variable: ShortText | None = None
    system: Text | None = Field(None, description="Code system, for example http://loinc.org")
    code: ShortText | None = None
    value: Value = Field(description="Number, or text such as '<0.5' or '1,200'.")
    unit: ShortText | None = Field(
        None, description="Needed for every variable that has a unit; never guessed."
    )
    time: Time = Field(description="When it was taken or given.")
    available_time: Time | None = Field(
        None, description="When the result was known; the same as time if absent."
    )
    comparator: Literal["<", ">", "<=", ">="] | None = None
    source_id: Text | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Observation:
        coded = self.system is not None and self.code is not None
        half = (self.system is None) != (self.code is None)
        if half or coded == (self.variable is not None):
            raise PydanticCustomError("one_name", "give either variable, or system and code together")
        return self


class RiskRequest(_In):
    """One patient at one moment; nothing known after `as_of` is used."""

    model_config = ConfigDict(json_schema_extra={"examples": []})

    course: Course
    as_of: Time = Field(description="Moment of the prediction.")
    observations: list[Observation] = Field(max_length=MAX_OBSERVATIONS)


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Out):
    """The registered version that answered."""

    name: str
    version: str
    digest: str


class Risk(_Out):
    """Probability of severe CRS (ASTCT grade 3 or above) within the horizon, with its 90 % interval."""

    horizon_hours: float
    probability: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Contribution(_Out):
    """One predictor's share of the log odds before calibration."""

    feature: str
    label: str
    value: float | None
    unit: str
    time: datetime | None
    log_odds: float


class Calibration(_Out):
    """Last step of the model: log odds of the risk = intercept + slope x (base + sum of contributions)."""

    intercept: float
    slope: float


class Explanation(_Out):
    """Base and contributions that give the risk at `horizon_hours`, largest contribution first."""

    horizon_hours: float
    base: float
    contributions: list[Contribution]
    calibration: Calibration
    log_odds: float


class Score(_Out):
    """A published score at `as_of`."""

    name: str
    value: float
    source: str


class GradeNow(_Out):
    """ASTCT grade at `as_of` as derived from the observations; `now` is null when it can't be told."""

    now: int | None
    state: Literal["none", "graded", "review", "not_gradable"]
    rule: str


class RejectedObservation(_Out):
    """An observation that was not used, by its place in the request."""

    index: int
    reason: str


class Quality(_Out):
    """What the estimate rests on."""

    used: int = Field(description="Observations that were used.")
    missing: list[str] = Field(description="Variables the model uses that have no value.")
    stale: list[str] = Field(description="Variables whose last value is older than 24 hours.")
    rejected: list[RejectedObservation]


class RiskAnswer(_Out):
    """Risk per horizon with its explanation, or the reason why none is given."""

    prediction_id: str
    as_of: datetime
    dose: int
    landmark_hours: float
    contract: Literal[1]
    therapy: str
    family: str | None
    therapy_seen: bool
    model: ModelName | None
    risks: list[Risk]
    explanation: Explanation | None
    scores: list[Score]
    grade: GradeNow
    quality: Quality
    abstained: bool
    reason: str | None
    notes: list[str]
    notice: str


class ServedModel(_Out):
    """A model version that answers."""

    name: str
    version: str
    digest: str
    family: str
    strategy: str
    feature_digest: str
    n_patients: int
    n_events: int
    therapies_seen: list[str]


class ModelList(_Out):
    """The versions that answer now, one per family."""

    contract: Literal[1]
    models: list[ServedModel]


class FieldProblem(_Out):
    """One thing wrong with the request; `pointer` is a JSON Pointer (RFC 6901), without the value there."""

    pointer: str
    code: str
    detail: str


class Problem(_Out):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldProblem] = []


EXAMPLE: dict[str, Any] = {
    "course": {
        "course_id": "c1",
        "patient_id": "p1",
        "therapy": "axi-cel_LBCL3L",
        "index_time": "2026-11-01T09:00:00+09:00",
        "age": 61,
        "sex": "female",
    },
    "as_of": "2026-11-02T21:00:00+09:00",
    "observations": [
        {"variable": "crp", "value": 8.2, "unit": "mg/dL", "time": "2026-11-02T06:00:00+09:00"},
        {
            "system": "http://loinc.org",
            "code": "2276-4",
            "value": 5400,
            "unit": "ng/mL",
            "time": "2026-11-02T06:00:00+09:00",
        },
        {"variable": "temperature", "value": 38.6, "unit": "Cel", "time": "2026-11-02T18:00:00+09:00"},
    ],
}
