"""What stands around every route: request id, limits, headers, a log line, and no error that escapes.

Pure ASGI, outside the routes: an exception that left the application would be logged by the server with its
message, and a message may quote a patient's data.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import MEDIA_TYPE, RequestError, problem_of_error, where_it_failed

MAX_BODY_BYTES = 5_000_000
LOG = logging.getLogger("crsrisk.serving")

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)

_REQUEST_ID = re.compile(rb"[0-9a-fA-F-]{16,64}")


class Shell:
    """The application with limits, headers and log around it."""

    def __init__(self, app: ASGIApp, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection go through untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        try:
            limited = _Limited(scope, receive, self.max_body_bytes)
            await self.app(scope, limited, answer)
        except Exception as error:  # the last place where an error can be kept from the server's log
            problem = problem_of_error(error)
            if problem.status >= 500:
                LOG.error(
                    json.dumps({"event": "failed", "request_id": request_id, "where": where_it_failed(error)})
                )
            if not answer.started:
                await answer.problem(problem)
        finally:
            _log(scope, request_id, answer.status, time.perf_counter() - started)


class _Answer:
    """`send` that adds our headers to what a route sends."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send = send
        self.request_id = request_id
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, int(message["status"])
            present = {name.lower() for name, _ in message["headers"]}
            extra = [header for header in SECURITY_HEADERS if header[0] not in present]
            own = (b"x-request-id", self.request_id.encode())
            message["headers"] = [*message["headers"], *extra, own]
        await self.send(message)

    async def problem(self, problem: RequestError) -> None:
        """Send a problem as the whole answer."""
        body = json.dumps(problem.body(self.request_id)).encode()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


class _Limited:
    """`receive` that stops at the limit, by the announced length and by what really comes."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self.receive = receive
        self.limit = limit
        self.taken = 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > limit:
            raise too_large(limit)

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.taken += len(message.get("body", b""))
            if self.taken > self.limit:
                raise too_large(self.limit)
        return message


def too_large(limit: int) -> RequestError:
    """The problem of a body above the limit."""
    return RequestError(
        "body-too-large",
        f"At most {limit} bytes are taken; send fewer patients or observations in one request.",
        headers={"Connection": "close"},
    )


def _request_id(scope: Scope) -> str:
    """The caller's id when it can't be anything but an id (hexadecimal), else one of our own."""
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _log(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    """One line per request: the route's template, never the address as sent, no header, no body."""
    route: Any = scope.get("route")
    facts = {
        "event": "request",
        "request_id": request_id,
        "method": scope["method"] if scope["method"] in _METHODS else "OTHER",
        "route": getattr(route, "path", None) or "-",
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    LOG.info(json.dumps(facts))


_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
