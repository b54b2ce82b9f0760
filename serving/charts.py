"""Charts of the pages as SVG: altair specifications rendered by vl-convert, offline, readable without colour.

Every function takes plain data and labels that are already in the reader's language. The first chart of a
process takes about a second (the renderer starts); equal charts are rendered once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from math import ceil
from typing import Any

BLUE, VERMILION, GREEN, ORANGE, INK, GREY, RULE = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#1B2733", "#5A6B7B", "#C9D3DC",
)  # fmt: skip  # Okabe-Ito, and three greys
FONTS = (
    "'Noto Sans JP', 'Noto Sans CJK JP', 'Hiragino Sans', 'Yu Gothic UI', Meiryo, 'Segoe UI', "
    "'Helvetica Neue', Arial, sans-serif"
)
SHAPES: Mapping[str, str] = {
    "anti_il6": "diamond",
    "steroid": "square",
    "other": "cross",
    "vasopressor": "triangle-up",
    "oxygen": "circle",
}
LABELS = 300  # pixels for the names of factors beside their bars
WIDE, NARROW = 800, 340  # pixels; the narrow one is for a side pane of 400
GRADE_FILL = ("#FFFFFF", "#DDE5EC", "#A9B8C6", "#51606E", "#2C3843", "#0E141A")
STATE_FILL = "#F3E3C3"  # review and not gradable, which are not grades


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """An estimate in percent at `hours`; None where there was none, which is drawn as a gap."""

    hours: float
    risk: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """A grade in force; `grade` is None for a state that is no grade."""

    start: float
    end: float
    text: str
    grade: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A treatment at `hours`; `lane` is its row's label, `kind` a key of `SHAPES`, open when stopped."""

    hours: float
    lane: str
    kind: str
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class TrendData:
    """Everything that the trend chart draws, and the words on it."""

    points: Sequence[RiskPoint]
    spans: Sequence[Span]
    marks: Sequence[Mark]
    doses: Sequence[tuple[float, str]]
    now: float
    title: str
    description: str
    axis_time: str
    axis_risk: str
    lane_grade: str
    threshold: float | None = None  # percent


@dataclass(frozen=True, kw_only=True)
class FactorBar:
    """One contribution in log odds with its label."""

    label: str
    log_odds: float


def trend_svg(trend: TrendData, *, narrow: bool = False) -> str:
    """Risk over time with its interval, above lanes of CRS grades and treatments."""
    width = NARROW - 96 if narrow else WIDE - 120
    return _render(_trend_spec(trend, width, narrow), trend.title, trend.description)


def factors_svg(
    bars: Sequence[FactorBar], *, title: str, description: str, axis: str, narrow: bool = False
) -> str:
    """Contributions as bars to the right (raising) and to the left (lowering), in the order given."""
    return _render(_factors_spec(bars, axis, narrow), title, description)


def frequency_svg(count: int, upper: int, *, title: str) -> str:
    """A hundred dots: `count` filled, those up to `upper` ringed (end of the interval), the others pale."""
    return _render(_frequency_spec(count, upper), title, title)


def _trend_spec(trend: TrendData, width: int, narrow: bool) -> dict[str, Any]:
    import altair as alt

    # one unit of room on both sides, so that marks at 0 h and now are not cut
    last = max(trend.now, 12.0)
    first = min([0.0, *(m.hours for m in trend.marks)])
    x_scale = alt.Scale(domain=[first - last * 0.01, last * 1.01], nice=False)
    every = next((s for s in (6, 12, 24, 48, 96, 168, 336) if last / s <= (5 if narrow else 10)), 336)
    ticks = list(range(0, ceil(last) + 1, every))

    def x(title: str | None, labels: bool) -> Any:
        axis = alt.Axis(
            values=ticks, title=title, labels=labels, ticks=labels, grid=True, domain=labels, format="d"
        )
        return alt.X("hours:Q", scale=x_scale, axis=axis)

    top = _risk_layers(alt, trend, x(None, False)).properties(width=width, height=150 if narrow else 190)
    lanes = _lane_layers(alt, trend, x(trend.axis_time, True), x_scale)
    count = 1 + len({m.lane for m in trend.marks})
    lanes = lanes.properties(width=width, height=26 * count)
    chart = alt.vconcat(top, lanes, spacing=8).resolve_scale(x="shared")
    return _styled(chart, narrow)


def _risk_layers(alt: Any, trend: TrendData, x: Any) -> Any:
    rows = _segments(trend.points)
    highest = max([r["high"] for r in rows] + [trend.threshold or 0.0], default=0.0)
    y_max = min(100, max(10, 10 * ceil(highest * 1.05 / 10)))
    y_axis = alt.Axis(title=trend.axis_risk, tickCount=4, format="d")
    scale = alt.Scale(domain=[0, y_max], nice=False)
    y = alt.Y("risk:Q", scale=scale, axis=y_axis)
    low = alt.Y("low:Q", scale=scale, axis=y_axis)
    points = alt.Chart(alt.Data(values=rows))
    band = points.mark_area(color=BLUE, opacity=0.2).encode(x=x, y=low, y2="high:Q", detail="segment:N")
    line = points.mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y=y, detail="segment:N")
    dots = points.mark_point(color=BLUE, filled=True, size=34, opacity=1).encode(x=x, y=y)
    lone = alt.Chart(alt.Data(values=[r for r in rows if r["alone"]]))
    bars = lone.mark_rule(color=BLUE, opacity=0.45, strokeWidth=5).encode(x=x, y=low, y2="high:Q")
    layers = [band, bars, *_dose_layers(alt, trend, x, y_max), line, dots]
    if trend.threshold is not None:
        at = alt.Chart(alt.Data(values=[{"risk": trend.threshold}]))
        layers.append(at.mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y))
    return alt.layer(*layers)


def _segments(points: Sequence[RiskPoint]) -> list[dict[str, Any]]:
    """The estimates as rows; neighbours without a gap between them share a segment."""
    rows: list[dict[str, Any]] = []
    segment = 0
    for point in points:
        if point.risk is None:
            segment += 1
            continue
        rows.append(
            {
                "hours": point.hours, "risk": point.risk, "low": point.low, "high": point.high,
                "segment": segment,
            }
        )  # fmt: skip
    for row in rows:
        row["alone"] = sum(r["segment"] == row["segment"] for r in rows) == 1
    return rows


def _dose_layers(alt: Any, trend: TrendData, x: Any, y_max: float) -> list[Any]:
    rows = [{"hours": hours, "text": text, "top": y_max} for hours, text in trend.doses]
    doses = alt.Chart(alt.Data(values=rows))
    rule = doses.mark_rule(color=GREY, strokeDash=[2, 3]).encode(x=x)
    text = doses.mark_text(align="left", baseline="top", dx=4, dy=2, fontSize=11, color=GREY)
    y = alt.Y("top:Q", scale=alt.Scale(domain=[0, y_max], nice=False))
    return [rule, text.encode(x=x, y=y, text="text:N")]


def _lane_layers(alt: Any, trend: TrendData, x: Any, x_scale: Any) -> Any:
    lanes = [trend.lane_grade, *dict.fromkeys(m.lane for m in trend.marks)]
    y_axis = alt.Axis(title=None, domain=False, ticks=False, labelLimit=110, labelPadding=6, grid=False)
    y = alt.Y("lane:N", sort=lanes, scale=alt.Scale(domain=lanes), axis=y_axis)
    spans = alt.Chart(alt.Data(values=[_span_row(s, trend) for s in trend.spans]))
    bars = spans.mark_bar(stroke=GREY, strokeWidth=0.8, height=18).encode(
        x=x, x2="end:Q", y=y, color=alt.Color("fill:N", scale=None)
    )
    texts = (
        spans.transform_filter("datum.shown")
        .mark_text(fontSize=11, fontWeight="bold")
        .encode(x=alt.X("middle:Q", scale=x_scale), y=y, text="text:N", color=alt.Color("ink:N", scale=None))
    )
    rows = [
        {"hours": m.hours, "lane": m.lane, "shape": SHAPES[m.kind], "fill": "#FFFFFF" if m.stopped else INK}
        for m in trend.marks
    ]
    marks = alt.Chart(alt.Data(values=rows)).mark_point(size=62, stroke=INK, strokeWidth=1.3, opacity=1)
    marks = marks.encode(
        x=x,
        y=y,
        shape=alt.Shape("shape:N", scale=None),
        fill=alt.Fill("fill:N", scale=None),
    )
    return alt.layer(bars, texts, marks)


def _span_row(span: Span, trend: TrendData) -> dict[str, Any]:
    width = (span.end - span.start) / max(trend.now, 12.0)
    return {
        "hours": span.start,
        "end": span.end,
        "middle": (span.start + span.end) / 2,
        "lane": trend.lane_grade,
        "text": span.text,
        "shown": width >= 0.018 * max(len(span.text), 1) + 0.006,
        "fill": STATE_FILL if span.grade is None else GRADE_FILL[min(span.grade, 5)],
        "ink": "#FFFFFF" if (span.grade or 0) >= 3 else INK,
    }


def _factors_spec(bars: Sequence[FactorBar], axis: str, narrow: bool) -> dict[str, Any]:
    import altair as alt

    longest = max([abs(b.log_odds) for b in bars] + [0.1])
    rows = [
        {
            "key": f"{position:02d} {bar.label}",  # two factors may carry the same words
            "label": bar.label,
            "log_odds": bar.log_odds,
            "zero": 0,
            "fill": VERMILION if bar.log_odds > 0 else BLUE,
            "text": f"{bar.log_odds:+.2f}".replace("-", "−"),
            "outside": bar.log_odds + (0.03 if bar.log_odds > 0 else -0.03) * longest,
        }
        for position, bar in enumerate(bars)
    ]
    scale = alt.Scale(domain=[-longest * 1.45, longest * 1.45], nice=False)
    ticks = alt.Axis(
        title=axis,
        tickCount=4 if narrow else 8,
        labelExpr="datum.value == 0 ? '0' : format(datum.value, '+.1f')",
    )
    names = alt.Axis(
        title=None, labels=not narrow, labelLimit=LABELS, labelExpr="slice(datum.label, 3)", labelPadding=8,
        domain=False, ticks=False,
    )  # fmt: skip
    x = alt.X("log_odds:Q", scale=scale, axis=ticks)
    y = alt.Y("key:N", sort=[r["key"] for r in rows], axis=names)
    base = alt.Chart(alt.Data(values=rows))
    drawn = base.mark_bar(height=14).encode(x=x, x2="zero:Q", y=y, color=alt.Color("fill:N", scale=None))
    right = base.transform_filter("datum.log_odds > 0").mark_text(align="left", fontSize=11, color=INK)
    left = base.transform_filter("datum.log_odds <= 0").mark_text(align="right", fontSize=11, color=INK)
    texts = [t.encode(x=alt.X("outside:Q", scale=scale), y=y, text="text:N") for t in (right, left)]
    zero = alt.Chart(alt.Data(values=[{"log_odds": 0}])).mark_rule(color=INK).encode(x=x)
    layers = [drawn, zero, *texts]
    if narrow:  # no room beside the bars: each label stands above its own
        above = base.mark_text(align="left", dy=-17, fontSize=11, limit=NARROW - 20, color=INK)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    width = NARROW - 20 if narrow else WIDE - LABELS - 40
    chart = alt.layer(*layers).properties(width=width, height=(42 if narrow else 24) * len(rows))
    return _styled(chart, narrow)


def _frequency_spec(count: int, upper: int) -> dict[str, Any]:
    import altair as alt

    rows = [
        {
            "column": k % 10,
            "row": k // 10,
            "fill": VERMILION if k < count else "#FFFFFF",
            "stroke": VERMILION if k < count else INK if k < upper else "#B4C0CB",
        }
        for k in range(100)
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(shape="circle", size=56, strokeWidth=1.4, opacity=1)
        .encode(
            x=alt.X("column:O", axis=None),
            y=alt.Y("row:O", axis=None),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
        )
        .properties(width=118, height=118)
    )
    return _styled(chart, narrow=False)


def _styled(chart: Any, narrow: bool) -> dict[str, Any]:
    size = 11 if narrow else 12
    text = {"labelFont": FONTS, "titleFont": FONTS, "labelColor": INK, "titleColor": INK}
    config = {
        "font": FONTS,
        "background": "#FFFFFF",
        "view": {"stroke": None},
        "axis": text
        | {
            "labelFontSize": size, "titleFontSize": size, "titleFontWeight": "normal",
            "gridColor": "#E6EBF0", "domainColor": RULE, "tickColor": RULE,
        },
        "text": {"font": FONTS},
    }  # fmt: skip
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec["config"] = config
    spec["padding"] = 4
    return spec


def _render(spec: Mapping[str, Any], title: str, description: str) -> str:
    return _rendered(json.dumps(spec, sort_keys=True, ensure_ascii=False), title, description)


@lru_cache(maxsize=256)
def _rendered(spec: str, title: str, description: str) -> str:
    import vl_convert

    # data stand in the specification; nothing may be fetched
    svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[], show_warnings=False)
    return _accessible(svg, title, description)


def _accessible(svg: str, title: str, description: str) -> str:
    """The same image with a title and a description of its own for those who don't see it."""
    head, rest = svg.split(">", 1)
    key = hashlib.sha256(f"{title}\n{description}".encode()).hexdigest()[:8]
    head = head.replace("<svg ", f'<svg role="img" aria-labelledby="t{key} d{key}" ', 1)
    told = f'<title id="t{key}">{escape(title)}</title><desc id="d{key}">{escape(description)}</desc>'
    return f"{head}>{told}{rest}"
