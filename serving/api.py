"""The REST interface (docs/rest.md): routes, OpenAPI 3.1, and problem details for every error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, Protocol

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from crsrisk import __version__
from serving.problems import (
    MEDIA_TYPE,
    TITLES,
    RequestError,
    parse_request,
    problem_of_error,
    where_it_failed,
)
from serving.schema import (
    CONTRACT,
    EXAMPLE,
    NOTICE,
    ModelList,
    Problem,
    RiskAnswer,
    RiskRequest,
)
from serving.shell import MAX_BODY_BYTES, Shell

LOG = logging.getLogger("crsrisk.serving")
MAX_BATCH = 1_000
WORKERS = 4  # scores at the same time; more only wait for each other
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_REF = "#/components/schemas/{model}"


class Scores(Protocol):
    """What the routes need of a scorer; a test may pass three lines."""

    def score(self, request: RiskRequest) -> dict[str, Any]:
        """The answer of POST /v1/risk."""

    def models(self) -> list[dict[str, Any]]:
        """The versions that answer."""


def create_app(
    scorer: Scores, *, pages: APIRouter | None = None, max_body_bytes: int = MAX_BODY_BYTES
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        scorer: answers the risks; immutable, shared by all requests.
        pages: routes of the web pages, mounted beside the REST routes.
        max_body_bytes: larger bodies get status 413.
    """
    app = FastAPI(
        title="crsrisk", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None
    )
    _add_errors(app)
    app.include_router(_health(scorer))
    app.include_router(_risk(scorer))
    if pages is not None:
        app.include_router(pages)
    app.add_middleware(Shell, max_body_bytes=max_body_bytes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _risk(scorer: Scores) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["risk"])
    workers = CapacityLimiter(WORKERS)

    @routes.post(
        "/risk",
        summary="Risk of severe CRS of one patient",
        responses=_statuses(RiskAnswer, 400, 413, 415, 422, 500, 503),
        openapi_extra=_takes("application/json", {"$ref": _REF.format(model="RiskRequest")}, EXAMPLE),
    )
    async def risk(request: Request) -> Response:
        """Probability of ASTCT grade 3 or above per horizon, with interval and explanation, or why none."""
        _media_type(request, ("application/json",))
        body = parse_request(await request.body())
        _ready(scorer)
        answer = await to_thread.run_sync(scorer.score, body, limiter=workers)  # decision 0072
        return Response(_text(answer), media_type="application/json")

    @routes.post(
        "/risk/batch",
        summary="Risks of many patients, one JSON object per line",
        response_class=StreamingResponse,
        responses=_statuses(None, 400, 413, 415, 422, 500, 503)
        | {
            200: {
                "description": "One line per line sent, in its order: an answer or a problem",
                "content": _LINES,
            }
        },
        openapi_extra=_takes(
            NDJSON[0], {"type": "string", "description": "A RiskRequest per line"}, _EXAMPLE_LINE
        ),
    )
    async def batch(request: Request) -> Response:
        """Each line is answered by one line, so a bad one does not hold up the others."""
        _media_type(request, NDJSON)
        lines = (await request.body()).rstrip().split(b"\n")
        if len(lines) > MAX_BATCH:
            raise RequestError("body-too-large", f"At most {MAX_BATCH} lines are taken; split the batch.")
        _ready(scorer)
        answers = _answers(scorer, lines, request.state.request_id)
        return StreamingResponse(answers, media_type=NDJSON[0])

    @routes.get(
        "/models",
        summary="Versions that answer now",
        response_model=ModelList,
        responses=_statuses(ModelList, 500),
    )
    async def models() -> Response:
        """One registered version per therapy family."""
        return JSONResponse({"contract": CONTRACT, "models": scorer.models()})

    return routes


def _health(scorer: Scores) -> APIRouter:
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live", summary="The process runs", responses=_statuses(None, 500))
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/ready", summary="A model is loaded", responses=_statuses(None, 500, 503))
    async def ready() -> dict[str, Any]:
        _ready(scorer)
        loaded = {model["name"]: model["version"] for model in scorer.models()}
        return {"status": "ok", "version": __version__, "models": loaded}

    return routes


def _answers(scorer: Scores, lines: list[bytes], request_id: str) -> Iterator[bytes]:
    """An answer or a problem per line; runs in a worker thread, line by line."""
    for number, line in enumerate(lines):
        try:
            yield _text(scorer.score(parse_request(line))) + b"\n"
        except Exception as error:  # one patient's failure must not cost the others their answer
            problem = problem_of_error(error)
            if problem.status >= 500:
                facts = {
                    "event": "failed",
                    "request_id": request_id,
                    "line": number,
                    "where": where_it_failed(error),
                }
                LOG.error(json.dumps(facts))
            yield json.dumps(problem.body(request_id) | {"line": number}).encode() + b"\n"


def _ready(scorer: Scores) -> None:
    if not scorer.models():
        raise RequestError(
            "not-ready", "No champion is loaded; train and promote a model, then start the service again."
        )


def _media_type(request: Request, accepted: tuple[str, ...]) -> None:
    sent = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if sent not in accepted or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("media-type", f"Send {accepted[0]} without content encoding.")


def _text(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _add_errors(app: FastAPI) -> None:
    """Every error leaves as problem details; the shell catches what comes from outside the routes."""

    def reply(request: Request, problem: RequestError) -> Response:
        body = problem.body(request.state.request_id)
        return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers)

    async def ours(request: Request, error: Exception) -> Response:
        return reply(request, problem_of_error(error))

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class only
        findings = [
            {
                "pointer": "",
                "code": str(finding["type"]),
                "detail": f"{finding['loc'][0]} parameter is not usable",
            }
            for finding in error.errors()
        ]
        return reply(
            request, RequestError("invalid-request", "A parameter can't be used; see errors.", findings)
        )

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        code = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}.get(error.status_code)
        if code is None:
            return reply(request, RequestError("server-error", "The request could not be answered."))
        detail = {
            "not-found": "See /openapi.json for the addresses.",
            "method-not-allowed": "See the Allow header.",
        }
        problem = RequestError(code, detail.get(code, TITLES[code][1]), headers=dict(error.headers or {}))
        return reply(request, problem)

    app.add_exception_handler(RequestError, ours)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(HTTPException, http)


_DESCRIPTION = (
    "Risk of severe cytokine release syndrome (ASTCT grade 3 or above) after T-cell-engaging therapy. "
    + NOTICE
)
_EXAMPLE_LINE = json.dumps(EXAMPLE)
_LINES = {NDJSON[0]: {"schema": {"type": "string", "description": "A RiskAnswer or a Problem per line"}}}


def _statuses(answer: type[Any] | None, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The documented statuses of a route."""
    documented: dict[int | str, dict[str, Any]] = {}
    if answer is not None:
        documented[200] = {"description": (answer.__doc__ or "").splitlines()[0], "model": answer}
    for status in errors:
        titles = " or ".join(dict.fromkeys(title for code, title in TITLES.values() if code == status))
        documented[status] = {
            "description": titles,
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
        }
    return documented


def _takes(media_type: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    content = {media_type: {"schema": schema, "examples": {"patient": {"value": example}}}}
    return {"requestBody": {"required": True, "content": content}}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 with the request's schema, which the routes read by themselves, among the components."""
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, schemas = models_json_schema(
            [(RiskRequest, "validation"), (Problem, "serialization")], ref_template=_REF
        )
        components = description.setdefault("components", {}).setdefault("schemas", {})
        components |= schemas["$defs"]
        app.openapi_schema = description
    return app.openapi_schema
