"""A reader's way through the pages in headless Chromium: list, patient, Japanese, side pane, keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request

from crsrisk.labels import labels

pytestmark = pytest.mark.browser

VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", e => {
  window.violations.push(e.violatedDirective + " " + e.blockedURI);
});
"""
PAINTED = "[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt !== '')"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Watched:
    """A page, and everything that went wrong or left the service while it was read."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        page.add_init_script(VIOLATIONS)
        page.on("console", lambda message: self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self._stays(request.url))

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a narrower image took the place of one still on its way
            self.faults.append(f"{request.failure}: {request.url}")

    def _stays(self, url: str) -> None:
        if not url.startswith(self.address):
            self.faults.append(f"left the service: {url}")

    def open(self, path: str) -> None:
        answered = self.page.goto(self.address + path)
        assert answered is not None
        assert answered.status == 200
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_load_state("networkidle")
        self.faults += self.page.evaluate("window.violations")

    def painted(self) -> list[bool]:
        """For each image whether it is drawn and described, once all are, or after half a minute."""
        shown: list[bool] = []
        for _ in range(600):  # wait_for_function would evaluate a string, which the pages' policy forbids
            shown = self.page.evaluate(PAINTED)
            if all(shown):
                break
            self.page.wait_for_timeout(50)
        return shown

    def overflow(self, width: int) -> int:
        """Pixels by which the page is wider than a window of this width."""
        self.page.set_viewport_size({"width": width, "height": 720})
        self.settle()
        return int(self.page.evaluate(OVERFLOW))


@pytest.fixture
def reader(chromium: Browser, address: str) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    watched = Watched(context.new_page(), address)
    yield watched
    context.close()
    assert watched.faults == []


def test_a_reader_opens_the_list_a_patient_and_the_japanese_page(reader: Watched) -> None:
    page = reader.page
    reader.open("/")
    assert page.locator("h1").inner_text() == "Patients"
    for section in ("severe", "not_assessable", "assessed"):
        assert page.locator(f"tbody#{section} th[scope=row] a").count() >= 1
    shown = page.locator("tbody#assessed .number").first.inner_text()

    page.locator("tbody#assessed th[scope=row] a").first.click()
    reader.settle()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("[data-risk]").inner_text() == shown
    assert "of 100 similar patients" in page.locator(".headline").inner_text()
    assert reader.painted() == [True, True, True]  # dots, trend, factors
    assert page.get_by_text(labels("en")["notice"]).count() == 1

    page.get_by_role("link", name="日本語").click()
    reader.settle()
    assert page.locator("html").get_attribute("lang") == "ja"
    assert "同様の患者100人中" in page.locator(".headline").inner_text()
    assert reader.painted() == [True, True, True]
    assert re.search(r"\d{4}年\d{2}月\d{2}日 \d{2}:\d{2} JST", page.locator(".banner").inner_text())


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("section", ["severe", "not_assessable", "assessed"])
def test_every_kind_of_page_fits_a_screen_a_zoomed_one_and_a_side_pane(
    reader: Watched, section: str, language: str
) -> None:
    reader.open(f"/?lang={language}")
    assert [reader.overflow(width) for width in (1280, 640, 400)] == [0, 0, 0]
    reader.page.locator(f"tbody#{section} th[scope=row] a").first.click()
    reader.settle()
    assert [reader.overflow(width) for width in (1280, 640, 400)] == [0, 0, 0]
    assert all(reader.painted())
    assert (reader.page.locator("[data-risk]").count() == 1) == (section == "assessed")


def test_the_keyboard_alone_reaches_a_patient_and_the_table_behind_the_chart(reader: Watched) -> None:
    page = reader.page
    reader.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th[scope=row]') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients/**")
    reader.settle()
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("details table").first.is_visible()


def test_a_page_left_open_says_that_it_is_old(reader: Watched) -> None:
    page = reader.page
    page.clock.install()
    reader.open("/")
    assert not page.locator("#open-since").is_visible()
    page.clock.fast_forward("16:00")
    assert "open for 16 minutes" in page.locator("#open-since").inner_text()
    assert "line-through" in page.locator(".number").first.evaluate(
        "e => getComputedStyle(e).textDecorationLine"
    )


def test_a_printed_page_tells_time_and_version_and_drops_the_navigation(reader: Watched) -> None:
    page = reader.page
    reader.open("/")
    page.locator("tbody#assessed th[scope=row] a").first.click()
    reader.settle()
    page.emulate_media(media="print")
    printed = page.locator("footer").inner_text()
    assert re.search(r"As of .* JST · crsrisk-\w+, version 1", printed)
    assert "Page made at" in printed
    assert not page.locator(".moments").is_visible()
    assert page.locator("details table").first.is_visible()
