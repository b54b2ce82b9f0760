"""Plots as SVG markup: axes, lines, marks with whiskers, bars; readable without colour and without a script.

Colours are those of Okabe and Ito; every line has a dash pattern of its own, every kind of mark a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, isfinite, log10

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#B34A00", "#00795A", "#8F4A73", "#8A6100", "#2B7BB0"
INK, SOFT, RULE = "#1B2733", "#4D5D6C", "#D5DDE4"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, SOFT)
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "4 2 1 2", "1 4")
SMALL = 12  # pixels of text


@dataclass(frozen=True)
class Axis:
    """From low to high, with ticks where they are wanted and how they are written."""

    low: float
    high: float
    label: str
    ticks: tuple[float, ...]
    write: Callable[[float], str] = field(default=lambda v: f"{v:g}")

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one; values outside are held at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True)
class Line:
    """A curve of the legend: points in data units and a number that picks colour and dashes."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: int = 0
    strong: bool = False


@dataclass(frozen=True)
class Mark:
    """A point with its interval (None: none), along y."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bar:
    """A labelled value with its interval, for a forest plot, or a bar."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round numbers from low to high.

    >>> nice_ticks(0.0, 0.42)
    (0.0, 0.1, 0.2, 0.3, 0.4)
    """
    span = high - low
    if not isfinite(span) or span <= 0:
        return (low,)
    raw = span / count
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return tuple(round(k * step, 12) for k in range(first, last + 1))


def plot(
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    title: str,
    text: str,
    marks: Sequence[Mark] = (),
    marks_name: str = "",
    width: int = 720,
    height: int = 380,
) -> str:
    """Curves and marks over two axes, with a legend at the right.

    title, text: name and description for those who do not see it.
    """
    left, top, right, bottom = 64, 12, 236, 50
    across, down = width - left - right, height - top - bottom

    def px(value: float) -> float:
        return left + across * x.share(value)

    def py(value: float) -> float:
        return top + down * (1 - y.share(value))

    parts = [_frame(left, top, across, down)]
    for tick in x.ticks:
        parts.append(_line(px(tick), top, px(tick), top + down, RULE))
        parts.append(_text(px(tick), top + down + 17, x.write(tick), anchor="middle"))
    for tick in y.ticks:
        parts.append(_line(left, py(tick), left + across, py(tick), RULE))
        parts.append(_text(left - 8, py(tick) + 4, y.write(tick), anchor="end"))
    parts.append(_text(left + across / 2, height - 10, x.label, anchor="middle", colour=INK))
    parts.append(_turned(16, top + down / 2, y.label))
    for line in lines:
        points = " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" {_stroke(line.look, line.strong)}/>')
    for mark in marks:
        parts += _mark(px(mark.x), py(mark.y), mark.low, mark.high, py)
    at = left + across + 16
    for k, line in enumerate(lines):
        row = top + 14 + 24 * k
        parts.append(
            f'<line x1="{at}" y1="{row}" x2="{at + 34}" y2="{row}" {_stroke(line.look, line.strong)}/>'
        )
        parts.append(_text(at + 42, row + 4, line.name, colour=INK))
    if marks_name:
        row = top + 14 + 24 * len(lines)
        parts += _mark(at + 17, row, 1.0, -1.0, lambda v: row + 8 * v)
        parts.append(_text(at + 42, row + 4, marks_name, colour=INK))
    return _svg(parts, width, height, title, text)


def forest(
    rows: Sequence[Bar],
    axis: Axis,
    *,
    title: str,
    text: str,
    reference: float | None = None,
    width: int = 720,
    labels: int = 260,
) -> str:
    """Values with intervals, one line each; `reference` is drawn through all of them."""
    top, line, notes = 10, 26, 190
    across, height = width - labels - notes, top + line * len(rows) + 46
    end = top + line * len(rows)

    def px(value: float) -> float:
        return labels + across * axis.share(value)

    parts = []
    for tick in axis.ticks:
        parts.append(_line(px(tick), top, px(tick), end, RULE))
        parts.append(_text(px(tick), end + 17, axis.write(tick), anchor="middle"))
    if reference is not None:
        parts.append(_line(px(reference), top, px(reference), end, SOFT, dash="4 3"))
    parts.append(_text(labels + across / 2, height - 8, axis.label, anchor="middle", colour=INK))
    for k, row in enumerate(rows):
        y = top + line * (k + 0.5)
        parts.append(_text(labels - 12, y + 4, row.label, anchor="end", colour=INK))
        parts.append(_text(width - notes + 12, y + 4, row.note))
        if row.low is not None and row.high is not None:
            parts.append(_line(px(row.low), y, px(row.high), y, BLUE, width=2.5))
        parts.append(
            f'<rect x="{px(row.value) - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{BLUE}"/>'
        )
    return _svg(parts, width, height, title, text)


def bars(
    rows: Sequence[Bar], axis: Axis, *, title: str, text: str, width: int = 720, labels: int = 330
) -> str:
    """Bars from the axis' low end, each with its label before and its note behind."""
    top, line, notes = 8, 24, 160
    across, height = width - labels - notes, top + line * len(rows) + 46
    end = top + line * len(rows)
    parts = []
    for tick in axis.ticks:
        at = labels + across * axis.share(tick)
        parts.append(_line(at, top, at, end, RULE))
        parts.append(_text(at, end + 17, axis.write(tick), anchor="middle"))
    parts.append(_text(labels + across / 2, height - 8, axis.label, anchor="middle", colour=INK))
    for k, row in enumerate(rows):
        y = top + line * k
        length = across * axis.share(row.value)
        parts.append(_text(labels - 10, y + 16, row.label, anchor="end", colour=INK))
        parts.append(
            f'<rect x="{labels}" y="{y + 5}" width="{max(length, 1):.1f}" height="14" fill="{BLUE}"/>'
        )
        parts.append(_text(labels + length + 8, y + 16, row.note))
    return _svg(parts, width, height, title, text)


def _svg(parts: Sequence[str], width: int, height: int, title: str, text: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}: {escape(text)}">' + "".join(parts) + "</svg>"
    )


def _frame(left: float, top: float, width: float, height: float) -> str:
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#FFFFFF" stroke="{RULE}"/>'


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0, dash: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def _stroke(look: int, strong: bool) -> str:
    colour, dash = COLOURS[look % len(COLOURS)], DASHES[look % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{colour}" stroke-width="{3 if strong else 1.75}"{dashed}'


def _mark(
    x: float, y: float, low: float | None, high: float | None, py: Callable[[float], float]
) -> list[str]:
    parts = []
    if low is not None and high is not None:
        parts.append(_line(x, py(low), x, py(high), VERMILION, width=1.75))
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{VERMILION}"/>')
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = SOFT) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{SMALL}">'
        f"{escape(text)}</text>"
    )


def _turned(x: float, y: float, text: str) -> str:
    return (
        f'<text transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle" fill="{INK}" '
        f'font-size="{SMALL}">{escape(text)}</text>'
    )
