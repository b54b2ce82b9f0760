"""TRIPOD+AI, PROBAST+AI and the source attributes of ONC HTI-1 as tables: answered, or naming who must answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from crsrisk.data_files import rows
from training.report.answers import answer
from training.report.blocks import Block, Cell, Section, Table, Text, text_cell
from training.report.logged import Logged
from training.report.wording import Wording

TRIPOD, DEVELOPMENT, EVALUATION, ONC = (
    "tripod_ai",
    "probast_ai_development",
    "probast_ai_evaluation",
    "onc_hti_1",
)
State = Literal["filled", "partly", "open"]


@dataclass(frozen=True)
class Item:
    """One item of a guideline, in our own short words.

    number: as published. applies: D (development), E (evaluation) or both. answer: what the program can say, ''
    for nothing. by: who completes or judges it, '' for nobody. section: of the report that holds more.
    """

    guideline: str
    number: str
    part: str
    applies: str
    key: str
    text_en: str
    text_ja: str
    answer: str
    by: str
    section: str
    source: str

    @property
    def responsible(self) -> str:
        """Who gives or completes the answer, also where the program usually gives it whole."""
        return self.by or ("developer" if self.guideline == ONC else "authors")

    def text(self, wording: Wording) -> str:
        """What the item asks for."""
        return self.text_en if wording.language == "en" else self.text_ja


@dataclass(frozen=True)
class Answered:
    """An item with what the program says of this version."""

    item: Item
    text: str
    state: State


@cache
def items(guideline: str) -> tuple[Item, ...]:
    """Items of a guideline in the published order."""
    return tuple(Item(**row) for row in rows("reporting_items.csv") if row["guideline"] == guideline)


def answered(guideline: str, logged: Logged, wording: Wording) -> list[Answered]:
    """Every item of a guideline with its answer; one that nobody answered stays open."""
    found = []
    for item in items(guideline):
        text = answer(item.answer, logged, wording) if item.answer else ""
        state: State = "open" if not text else "partly" if item.by else "filled"
        found.append(Answered(item, text, state))
    return found


def tripod(logged: Logged, wording: Wording) -> Section:
    """The 27 items of TRIPOD+AI (52 with their parts)."""
    return _section("tripod", [TRIPOD], logged, wording)


def probast(logged: Logged, wording: Wording) -> Section:
    """The signalling questions of PROBAST+AI, with evidence; the judgement is an assessor's."""
    return _section("probast", [DEVELOPMENT, EVALUATION], logged, wording)


def onc(logged: Logged, wording: Wording) -> Section:
    """The 31 source attributes, as in model_card.json."""
    return _section("card", [ONC], logged, wording)


def _section(key: str, guidelines: list[str], logged: Logged, wording: Wording) -> Section:
    blocks: list[Block] = [Text(text=wording.text(f"{key}.text"))]
    for guideline in guidelines:
        found = answered(guideline, logged, wording)
        counts = {state: sum(one.state == state for one in found) for state in ("filled", "partly", "open")}
        blocks.append(Text(text=wording.text("checklist.counts", **counts), weight="quiet"))
        blocks.append(_table(guideline, found, wording))
    return Section(key=key, title=wording.text(f"section.{key}"), blocks=blocks)


def _table(guideline: str, found: list[Answered], wording: Wording) -> Table:
    lines = []
    for one in found:
        item = one.item
        number = Cell(text=item.number, sub=wording.word("part", item.part))
        state = wording.text(f"state.{one.state}")
        who = wording.text(f"by.{item.responsible}") if one.state != "filled" else ""
        link = item.section if one.text else ""
        lines.append(
            (
                number,
                text_cell(item.text(wording)),
                Cell(text=one.text or wording.text("checklist.nothing"), link=link),
                Cell(
                    text=state,
                    sub=wording.text(f"to.{'judge' if _judged(guideline) else 'fill'}", who=who)
                    if who
                    else "",
                ),
            )
        )
    heads = [wording.text(f"column.{c}") for c in ("item", "asks", "answer", "state")]
    return Table(caption=wording.text(f"checklist.{guideline}"), head=heads, rows=lines, shape="checklist")


def _judged(guideline: str) -> bool:
    return guideline in (DEVELOPMENT, EVALUATION)
