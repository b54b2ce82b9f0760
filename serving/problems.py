"""Errors as RFC 9457 problem details: where in the request, what is accepted, and never what was sent."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from crsrisk.errors import CrsRiskError, ModelError, TimeError, UnknownTherapyError
from serving.schema import RiskRequest

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50

TITLES: Mapping[str, tuple[int, str]] = {
    "malformed-json": (400, "The body is not JSON"),
    "not-found": (404, "There is nothing at this address"),
    "method-not-allowed": (405, "This address does not take this method"),
    "body-too-large": (413, "The body is too large"),
    "media-type": (415, "The body has another media type than this address takes"),
    "invalid-request": (422, "The request does not follow the contract"),
    "unknown-therapy": (422, "The therapy is not known"),
    "unusable-input": (422, "The input can't be used"),
    "server-error": (500, "The service failed"),
    "explanation-withheld": (500, "The explanation did not add up to the risk"),
    "not-ready": (503, "No model is loaded"),
}

REGISTER_THERAPY = (
    "The therapy is not in the catalogue. Send one of its keys, or register the therapy in therapies.toml "
    "with name, class (cart, engager or engineered_t), targets, setting (heme or solid) and source; optional "
    "are costimulation, expected_onset_hours and indication."
)

_SAFE_NAME = re.compile(r"[a-z_]{1,40}")


class RequestError(CrsRiskError):
    """What the client is told; `errors` holds JSON pointers without the values found there."""

    def __init__(
        self,
        code: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        places = "; ".join(f"{error['pointer'] or '/'}: {error['detail']}" for error in self.errors)
        super().__init__(f"{detail} {places}".strip())

    @property
    def status(self) -> int:
        """HTTP status of the problem."""
        return TITLES[self.code][0]

    def body(self, request_id: str) -> dict[str, Any]:
        """The problem as RFC 9457 details of this request."""
        status, title = TITLES[self.code]
        return {
            "type": f"urn:crsrisk:problem:{self.code}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "instance": f"urn:crsrisk:request:{request_id}",
            "code": self.code,
            "errors": [dict(error) for error in self.errors],
        }


def parse_request(raw: bytes | str) -> RiskRequest:
    """The request of a JSON text, checked against the contract.

    Raises:
        RequestError: not JSON (400) or not as the contract says (422), with pointers.
    """
    try:
        request = RiskRequest.model_validate_json(raw)
    except ValidationError as error:
        raise problem_of_validation(error) from None
    twice = _doubled_name(raw)
    if twice:
        raise RequestError(
            "invalid-request", f"The field {twice!r} stands twice in one object; send it once."
        )
    return request


def parse_body(body: Mapping[str, Any]) -> RiskRequest:
    """The request of a body held in Python; aware datetimes may stand for ISO 8601 text.

    Raises:
        RequestError: not as the contract says, with pointers.
    """
    try:
        text = json.dumps(body, default=_as_text)
    except (TypeError, ValueError, RecursionError):
        raise RequestError(
            "malformed-json", "The body holds what JSON can't; send text, numbers, lists and objects."
        ) from None
    return parse_request(text)


def problem_of_validation(error: ValidationError) -> RequestError:
    """Pydantic's findings as a problem with JSON pointers."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return RequestError("malformed-json", f"{_without_text(found[0]['msg'])}; send one JSON object.")
    shown = tuple(_field_problem(finding) for finding in found[:MAX_ERRORS])
    more = f" The first {MAX_ERRORS} of {len(found)} are listed." if len(found) > MAX_ERRORS else ""
    count = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
    return RequestError("invalid-request", f"{count} not as the contract says; see errors.{more}", shown)


def problem_of_error(error: Exception) -> RequestError:
    """The problem that tells a client about an error; an unexpected one reveals only that it happened."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UnknownTherapyError):
        pointer = {"pointer": "/course/therapy", "code": "unknown_therapy", "detail": REGISTER_THERAPY}
        return RequestError("unknown-therapy", REGISTER_THERAPY, (pointer,))
    if isinstance(error, ModelError):
        return RequestError(
            "explanation-withheld",
            "The answer was withheld because it failed its own check; tell the operator.",
        )
    if isinstance(error, TimeError):
        return RequestError("unusable-input", str(error))
    if isinstance(error, CrsRiskError):
        detail = "The course or its observations can't be used; check them against the contract."
        return RequestError("unusable-input", detail)
    return RequestError(
        "server-error", "The request could not be answered; tell the operator the request id."
    )


def json_pointer(location: Iterable[str | int]) -> str:
    """JSON Pointer (RFC 6901) of a place in the request.

    >>> json_pointer(("observations", 0, "value"))
    '/observations/0/value'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def where_it_failed(error: BaseException) -> str:
    """Type of an error and the lines of code it passed, without its message, which may quote data."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    lines = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {lines}"


def _field_problem(finding: ErrorDetails) -> dict[str, str]:
    location: Sequence[str | int] = finding["loc"]
    if finding["type"] == "extra_forbidden" and not _SAFE_NAME.fullmatch(str(location[-1])):
        # a name the client made up may itself be about a patient
        return {
            "pointer": json_pointer(location[:-1]),
            "code": "extra_forbidden",
            "detail": "An unknown field stands here; remove it",
        }
    return {"pointer": json_pointer(location), "code": finding["type"], "detail": finding["msg"]}


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError


def _without_text(message: str) -> str:
    """The parser's message; it names line and column only."""
    return message.replace("Invalid JSON: ", "Not JSON: ")


class _DoubledError(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _DoubledError(name)
        seen.add(name)


def _doubled_name(raw: bytes | str) -> str | None:
    try:
        json.loads(raw, object_pairs_hook=_once)
    except _DoubledError as doubled:
        return doubled.name
    return None
