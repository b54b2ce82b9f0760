"""A report opened from disk in headless Chromium: nothing fetched, nothing cut off, whole on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Page

from tests.unit.training.report_pages import NAME, log_versions
from training.report.write import write_report

if TYPE_CHECKING:
    from tests.conftest import Registry

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("registry")]

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll("svg text, th, td, p, li")].filter(e => {
  const r = e.getBoundingClientRect(), f = e.closest("svg");
  if (r.width === 0) return false;
  const b = f ? f.getBoundingClientRect() : {left: 0, right: document.documentElement.clientWidth};
  return r.left < b.left - 1 || r.right > b.right + 1;
}).map(e => e.textContent.trim())"""
FAINT = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => {
    v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(c)) return c; } return "rgb(255, 255, 255)"; };
  return [...document.querySelectorAll("h1, h2, p, th, td, li, a, summary, figcaption, svg text")].filter(e => {
    const s = getComputedStyle(e), ink = e.closest("svg") ? s.fill : s.color;
    const [a, b] = [light(ink), light(ground(e.closest("svg") ? e.closest("figure") : e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5; }).map(e => e.textContent.trim().slice(0, 40));
})()"""


@pytest.fixture(scope="module")
def files(trained_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a trained version of few events, and of one with every table and figure, in both languages."""
    toys = f"sqlite:///{tmp_path_factory.mktemp('toys')}/mlflow.db"
    log_versions(toys)
    made = {}
    for kind, version, uri in (("few", "1", trained_registry.tracking_uri), ("complete", "2", toys)):
        for language in ("en", "ja"):
            file = tmp_path_factory.mktemp(language) / "report.html"
            write_report(NAME, version, file, language=language, tracking_uri=uri)
            made[f"{kind} {language}"] = file
    return made


@pytest.fixture(params=["few en", "few ja", "complete en", "complete ja"])
def opened(request: pytest.FixtureRequest, chromium: Browser, files: dict[str, Path]) -> Iterator[Page]:
    """The report of one language in a window; nothing may be asked for, blocked or complained about."""
    faults: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda asked: faults.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None,
    )
    page.goto(files[request.param].as_uri())
    yield page
    context.close()
    assert faults == []


def test_it_fits_a_wide_window_and_a_telephone(opened: Page) -> None:
    for width in (1280, 400):
        opened.set_viewport_size({"width": width, "height": 720})
        assert opened.evaluate(OVERFLOW) == 0
    opened.set_viewport_size({"width": 1280, "height": 720})
    assert opened.evaluate(CUT) == []


def test_every_text_has_enough_contrast(opened: Page) -> None:
    assert opened.evaluate(FAINT) == []


def test_the_keyboard_reaches_the_content_and_every_folded_table(opened: Page) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "main"
    folded = opened.locator("summary")
    assert folded.count() >= 3
    folded.first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("details").first.get_attribute("open") is not None


def test_on_paper_every_table_is_open_and_nothing_is_cut(opened: Page) -> None:
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 703, "height": 1000})  # A4 less its margins
    heights = opened.evaluate(
        "[...document.querySelectorAll('details table')].map(t => t.getBoundingClientRect().height)"
    )
    assert len(heights) >= 3
    assert min(heights) > 40
    assert opened.evaluate(CUT) == []


def test_the_pdf_is_of_a4_pages_that_name_the_version(opened: Page, tmp_path: Path) -> None:
    content = opened.pdf(prefer_css_page_size=True, path=tmp_path / "report.pdf")
    assert content.startswith(b"%PDF")
    sizes = re.findall(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)\]", content)
    assert len(sizes) >= 8
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {(595, 842)}
    rules = opened.evaluate(
        "[...document.styleSheets[0].cssRules].map(r => r.cssText).filter(t => t.startsWith('@page'))"
    )
    assert any(f'"{opened.title()}"' in rule for rule in rules)


def test_pictures_are_loaded_and_described(opened: Page) -> None:
    shown = opened.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt !== '')")
    assert all(shown)
