"""One patient through the scorer, and many through the routes; contributions against shap.TreeExplainer.

shap hands a LightGBM model back to LightGBM, so the two cost the same; what the service saves is importing shap.

The model has 60 trees of depth 2 with 15 refits behind its interval, the patient 100 observations. Everything runs
in one process and one thread per request; A and B alternate.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.figure import Figures, run
from serving.api import create_app
from serving.problems import parse_request
from serving.scorer import Scorer
from tests.toy_models import loaded, tree_model

INFUSION = datetime(2026, 11, 1, 9, tzinfo=UTC)
CARE = (
    ("crp", 82.0, "mg/L"), ("ferritin", 5400.0, "ng/mL"), ("ldh", 300.0, "U/L"), ("platelets", 90.0, "10*3/uL"),
    ("creatinine", 1.0, "mg/dL"), ("temperature", 38.4, "Cel"), ("heart_rate", 100.0, "/min"),
    ("sbp", 120.0, "mm[Hg]"), ("resp_rate", 18.0, "/min"), ("spo2", 97.0, "%"),
)  # fmt: skip
REPEATS, CLIENTS, REQUESTS = 60, 8, 120


def body() -> dict[str, Any]:
    """A patient with 100 observations at 36 hours."""
    rng = np.random.default_rng(1)
    observations = [
        {"variable": v, "value": x * rng.uniform(0.95, 1.05), "unit": u, "time": _time(hours)}
        for hours in range(-18, 36, 6)
        for v, x, u in CARE
    ]
    observations += [{"variable": v, "value": x, "unit": u, "time": _time(35)} for v, x, u in CARE]
    course = {
        "course_id": "c",
        "patient_id": "p",
        "therapy": "axi-cel_LBCL3L",
        "index_time": _time(0),
        "age": 61,
    }
    return {"course": course, "as_of": _time(36), "observations": observations}


def _time(hours: float) -> str:
    return (INFUSION + timedelta(hours=hours)).isoformat()


def interleaved(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each action; one of each in turn, after one round unmeasured."""
    taken: list[list[float]] = [[] for _ in actions]
    for k in range(repeats + 1):
        for times, action in zip(taken, actions, strict=True):
            start = time.perf_counter()
            action()
            if k:
                times.append((time.perf_counter() - start) * 1000)
    return [statistics.median(times) for times in taken]


async def requests_per_second(app: Any, raw: bytes, requests: int) -> float:
    """Requests per second of an ASGI application with CLIENTS clients in the same process."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/risk", "raw_path": b"/v1/risk", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("x", 80),
    }  # fmt: skip
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            status: list[int] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": raw, "more_body": False}

            async def send(message: dict[str, Any], status: list[int] = status) -> None:
                if message["type"] == "http.response.start":
                    status.append(message["status"])

            await app(dict(scope), receive, send)
            assert status == [200]

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return requests / (time.perf_counter() - start)


class Inline:
    """The same answer without a worker thread: the event loop waits for each score."""

    def __init__(self, scorer: Scorer) -> None:
        from starlette.requests import Request
        from starlette.responses import Response

        async def app(scope: Any, receive: Any, send: Any) -> None:
            request = parse_request(await Request(scope, receive).body())
            answer = scorer.score(request)
            await Response(json.dumps(answer).encode(), media_type="application/json")(scope, receive, send)

        self.app: Callable[[Any, Any, Any], Awaitable[None]] = app


def main() -> int:
    figures = Figures("serving")
    model = tree_model(refits=15)
    scorer = Scorer(loaded(model))
    sent = body()
    raw = json.dumps(sent).encode()
    request = parse_request(raw)

    booster = model.booster
    assert booster is not None
    rng = np.random.default_rng(2)
    design = rng.lognormal(3.0, 1.0, size=(3, len(model.names)))  # one patient at three horizons
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from shap import TreeExplainer

        explainer = TreeExplainer(booster)
        ours, shap_ms = interleaved(
            REPEATS,
            lambda: booster.predict(design, pred_contrib=True, num_threads=1),
            lambda: explainer.shap_values(design),
        )
        exact = booster.predict(design, pred_contrib=True, num_threads=1)[:, :-1]
        difference = float(np.abs(exact - explainer.shap_values(design)).max())
    figures.add(
        "contributions differ from shap.TreeExplainer by", difference, "at most 1e-9", ok=difference <= 1e-9
    )
    figures.add("contributions of one patient, p50 ms", round(ours, 3), "at most 1.5 times shap.TreeExplainer",
                ok=ours <= shap_ms * 1.5, against=f"shap.TreeExplainer {shap_ms:.3f}")  # fmt: skip

    scored, checked = interleaved(REPEATS, lambda: scorer.score(request), lambda: parse_request(raw))
    figures.add("score of one patient, p50 ms", round(scored, 2), "at most 25 ms", ok=scored <= 25.0,
                against=f"reading and checking the body {checked:.2f}")  # fmt: skip

    threaded_app, inline_app = create_app(scorer), Inline(scorer).app
    threaded, inline = [], []
    for _ in range(3):
        threaded.append(asyncio.run(requests_per_second(threaded_app, raw, REQUESTS)))
        inline.append(asyncio.run(requests_per_second(inline_app, raw, REQUESTS)))
    best, other = max(threaded), max(inline)
    figures.add("requests per second, 8 clients", round(best, 1), "at least 0.8 of scoring in the event loop",
                ok=best >= 0.8 * other, against=f"in the event loop {other:.1f}")  # fmt: skip
    return figures.finish()


if __name__ == "__main__":
    run(main)
