"""Charts: what they draw, and that they stand on their own."""

import re
import xml.etree.ElementTree as ET  # reads our own charts

import pytest

from serving.charts import (
    FactorBar,
    Mark,
    RiskPoint,
    Span,
    TrendData,
    factors_svg,
    frequency_svg,
    trend_svg,
)

NAMESPACE = "{http://www.w3.org/2000/svg}"


def trend(*risks: float | None, **fields: object) -> TrendData:
    points = [
        RiskPoint(6.0 * k, r, None if r is None else r / 2, None if r is None else r * 2)
        for k, r in enumerate(risks)
    ]
    known: dict[str, object] = {
        "points": points,
        "spans": [Span(0.0, 12.0, "0", 0), Span(12.0, 24.0, "2", 2)],
        "marks": [Mark(13.0, "IL-6 blockade", "anti_il6", False)],
        "doses": [(0.0, "infusion")],
        "now": 24.0,
        "title": "Course so far",
        "description": "From 5 % to 9 %.",
        "axis_time": "Hours after infusion",
        "axis_risk": "Risk (%)",
        "lane_grade": "CRS grade",
    }
    return TrendData(**{**known, **fields})


def read(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314


def words(svg: str) -> set[str]:
    return {"".join(t.itertext()) for t in read(svg).iter(f"{NAMESPACE}text")}


def lines(svg: str) -> list[str]:
    """Outlines of the drawn lines, one per stretch without a gap."""
    found = re.findall(
        r'<path aria-label="[^"]*" role="graphics-symbol" aria-roledescription="line mark"[^>]*>', svg
    )
    return [re.search(r' d="([^"]*)"', path).group(1) for path in found]


@pytest.mark.parametrize("narrow", [False, True])
def test_a_chart_has_a_title_and_a_description_of_its_own(narrow: bool) -> None:
    root = read(trend_svg(trend(5.0, 9.0), narrow=narrow))
    assert root.attrib["role"] == "img"
    named = {element.attrib["id"]: element.text for element in root if "id" in element.attrib}
    assert [named[key] for key in root.attrib["aria-labelledby"].split()] == [
        "Course so far",
        "From 5 % to 9 %.",
    ]


def test_a_gap_is_a_gap_and_not_a_line_across() -> None:
    assert len(lines(trend_svg(trend(5.0, 6.0, 7.0)))) == 1
    assert len(lines(trend_svg(trend(5.0, 6.0, None, 7.0, 8.0)))) == 2


def test_without_any_estimate_grades_and_treatments_are_still_drawn() -> None:
    svg = trend_svg(trend(None, None))
    assert {"infusion", "CRS grade", "IL-6 blockade", "2"} <= words(svg)


def test_labels_are_text_in_the_readers_language() -> None:
    svg = trend_svg(trend(5.0, 9.0, axis_time="投与後の時間", doses=[(0.0, "投与")]))
    assert {"投与後の時間", "投与"} <= words(svg)


def test_nothing_is_fetched_and_nothing_is_styled_inline() -> None:
    for svg in (
        trend_svg(trend(5.0, 9.0)),
        factors_svg([FactorBar(label="CRP", log_odds=0.4)], title="t", description="d", axis="a"),
        frequency_svg(6, 11, title="t"),
    ):
        assert not re.search(r"\sstyle=|<style|<script|<image|<foreignObject|url\(", svg)
        assert set(re.findall(r"https?://[^\"' ]+", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_marks_differ_by_shape_and_open_marks_are_stops() -> None:
    def path_of(kind: str, stopped: bool) -> tuple[str, str]:
        svg = trend_svg(trend(5.0, marks=[Mark(6.0, "lane", kind, stopped)]))
        found = re.search(r'<path aria-label="hours: 6; lane[^>]*>', svg)
        assert found is not None
        drawn = found.group(0)
        return re.search(r' d="([^"]*)"', drawn).group(1), re.search(r'fill="([^"]*)"', drawn).group(1)

    shapes = {path_of(kind, False)[0] for kind in ("anti_il6", "steroid", "other", "vasopressor", "oxygen")}
    assert len(shapes) == 5
    assert path_of("vasopressor", False)[1] != path_of("vasopressor", True)[1]


def test_factors_keep_their_order_and_their_signs_even_under_one_name() -> None:
    bars = [FactorBar(label="CRP", log_odds=0.7), FactorBar(label="CRP", log_odds=-0.2)]
    svg = factors_svg(bars, title="t", description="d", axis="log odds")
    assert {"+0.70", "−0.20", "CRP", "log odds"} <= words(svg)
    assert re.findall(
        r'aria-label="log_odds: ([^;]*); [^"]*" role="[^"]*" aria-roledescription="bar"', svg
    ) == [
        "0.7",
        "−0.2",
    ]


@pytest.mark.parametrize(("count", "upper"), [(0, 3), (6, 11), (100, 100)])
def test_as_many_dots_are_filled_as_patients_of_a_hundred(count: int, upper: int) -> None:
    svg = frequency_svg(count, upper, title="t")
    filled = re.findall(r'aria-roledescription="point"[^>]*fill="#D55E00"', svg)
    assert len(filled) == count


def test_hostile_text_stays_text() -> None:
    svg = factors_svg(
        [FactorBar(label="<script>alert(1)</script>", log_odds=0.4)],
        title="</title><script>",
        description='"&<',
        axis="a",
    )
    read(svg)
    assert "<script" not in svg


def test_the_threshold_is_drawn_when_the_site_has_one() -> None:
    assert trend_svg(trend(5.0, threshold=20.0)).count("stroke-dasharray") > trend_svg(trend(5.0)).count(
        "stroke-dasharray"
    )
