"""What a report consists of: sections of paragraphs, lists, tables and figures, as plain data.

A cell that shows a number names what logged it (`facts`, written as data attributes), so that a reader, or a
test, can follow every number back to its run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Weight = Literal["plain", "quiet", "loud", "note"]
Shape = Literal["plain", "wide", "checklist"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table.

    text: as shown. sub: a second line (interval, or the reason why there is no number). why: whether it is such
    a reason. facts: data attributes that name the source of a number, e.g. {"metric": "auroc_pooled", "value":
    "0.71"}. lang, sub_lang: of text and sub where it is not the page's. link: key of the section that holds more.
    """

    text: str
    sub: str = ""
    why: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    lang: str = ""
    sub_lang: str = ""
    link: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the cell shows a logged number."""
        return bool(self.facts)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head; the first cell of a row names it.

    folded: closed until the reader opens it. shape: `wide` for many columns, `checklist` for columns of text.
    note: what holds for every row, with its language where it is not the page's.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    shape: Shape = "plain"
    note: str = ""
    note_lang: str = ""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; `loud` for what nobody may miss. lang: of the text where it is not the page's."""

    text: str
    weight: Weight = "plain"
    lang: str = ""
    kind: Literal["text"] = "text"


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list of sentences, each with its language where it is not the page's ('' else)."""

    items: Sequence[tuple[str, str]]
    kind: Literal["items"] = "items"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as SVG markup (ours) or as an address of an image (logged), with its caption and text."""

    caption: str
    text: str
    svg: str = ""
    image: str = ""
    kind: Literal["figure"] = "figure"


Block = Table | Text | Items | Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report with a heading; key is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report. banners: loud sentences under the title."""

    title: str
    lead: str
    banners: Sequence[str]
    sections: Sequence[Section]
    foot: Sequence[str]


def text_cell(text: str, *, lang: str = "", sub: str = "", sub_lang: str = "") -> Cell:
    """A cell of words."""
    return Cell(text=text, lang=lang, sub=sub, sub_lang=sub_lang)


def with_reason(head: Cell, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A row in which a reason that several cells share is given once, with the name of the row."""
    common = shared_reason(cells)
    if common is None:
        return (head, *cells)
    named = replace(head, sub=common[0], sub_lang=common[1], why=True)
    return (named, *(without_reason(cell, common) for cell in cells))


def with_note(table: Table) -> Table:
    """The table with a reason that all its rows give said once, above them."""
    first = [row[0] for row in table.rows]
    reasons = {(cell.sub, cell.sub_lang) if cell.why else ("", "") for cell in first}
    if len(first) < 2 or len(reasons) > 1 or ("", "") in reasons:
        return table
    rows = [(replace(row[0], sub="", sub_lang="", why=False), *row[1:]) for row in table.rows]
    return replace(table, rows=rows, note=first[0].sub, note_lang=first[0].sub_lang)


def shared_reason(cells: Sequence[Cell]) -> tuple[str, str] | None:
    """The reason that most cells give, with its language; None when no two give the same."""
    counts = Counter((cell.sub, cell.sub_lang) for cell in cells if cell.why and cell.sub)
    common = counts.most_common(1)
    return common[0][0] if common and common[0][1] > 1 else None


def without_reason(cell: Cell, reason: tuple[str, str]) -> Cell:
    """The cell without this reason, which stands elsewhere."""
    return replace(cell, sub="", sub_lang="") if cell.why and (cell.sub, cell.sub_lang) == reason else cell
