"""The real service on a free port, and a headless Chromium that fails loudly when it is absent."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta, timezone
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from serving.api import create_app
from serving.pages import CohortPatients, pages_router
from serving.scorer import Scorer
from training.champions import load_champions

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from tests.conftest import Registry

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WARD = 30  # courses on the list
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium; an error, not a skip, where none is installed."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.fail(f"no browser: none of {NAMES} is installed; run `make browser`", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(trained_registry: Registry, small_cohort: Cohort) -> Iterator[str]:
    """Where the service answers: the registry's champions, and the small cohort as its ward."""
    models, refused = load_champions(trained_registry.tracking_uri)
    assert refused == {}
    scorer = Scorer(models)
    ward = small_cohort.subset(small_cohort.courses["course_id"].tolist()[:WARD])
    tokyo = timezone(timedelta(hours=9), "JST")
    pages = pages_router(CohortPatients(ward), scorer.score, zone=tokyo)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(create_app(scorer, pages=pages), port=port, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the service ended while it started"
        assert time.monotonic() < deadline, "the service did not start within 30 s"
        time.sleep(0.05)
    urlopen(
        f"http://127.0.0.1:{port}/", timeout=300
    ).close()  # scores the ward, which a busy machine does slowly
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=10)
