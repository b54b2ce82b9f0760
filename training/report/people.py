"""Who the version learned from: the cohort flow and the patients by therapy."""

from __future__ import annotations

from training.report.blocks import Block, Cell, Section, Table, Text, text_cell
from training.report.cells import count_cell, model_cell
from training.report.logged import Logged, table_rows
from training.report.wording import Wording
from training.subgroups import LEAST_PATIENTS


def absent(stem: str, wording: Wording) -> Text:
    """Says that a table was not logged, and what would stand here."""
    return Text(text=wording.text("absent", table=stem, what=wording.text(f"table.{stem}")), weight="note")


def empty(stem: str, wording: Wording) -> Text:
    """Says that a table was logged without rows, and why where that is known."""
    if wording.has(f"empty.{stem}"):
        return Text(text=wording.text(f"empty.{stem}"), weight="note")
    return Text(text=wording.text("empty", what=wording.text(f"table.{stem}")), weight="note")


def missing(logged: Logged, stem: str, wording: Wording) -> Text:
    """Why a table is not shown: not logged, or without rows."""
    return absent(stem, wording) if stem in logged.absent else empty(stem, wording)


def flow(logged: Logged, wording: Wording) -> Section:
    """Who was left out at which step; of the whole training cohort."""
    table = logged.table("attrition")
    if table is None:
        return Section(
            key="flow", title=wording.text("section.flow"), blocks=[missing(logged, "attrition", wording)]
        )
    lines: list[tuple[Cell, ...]] = []
    for place, row in enumerate(table_rows(table)):
        step, lang = wording.said(row["step"])
        counts = [count_cell("attrition", place, row, c, wording) for c in ("rows", "patients", "events")]
        lines.append((text_cell(step, lang=lang), *counts))
    heads = [wording.text(f"column.{name}") for name in ("step", "rows", "patients", "events")]
    blocks: list[Block] = [
        Text(text=wording.text("flow.text")),
        Table(caption=wording.text("flow.caption"), head=heads, rows=lines),
    ]
    return Section(key="flow", title=wording.text("section.flow"), blocks=blocks)


def therapies(logged: Logged, wording: Wording) -> Section:
    """Patients by therapy, published rates, and the shift of each therapy on top of base rate and trees."""
    blocks: list[Block] = []
    table = logged.table("therapies")
    if table is None:
        blocks.append(missing(logged, "therapies", wording))
    else:
        lines: list[tuple[Cell, ...]] = []
        for place, row in enumerate(table_rows(table)):
            small = int(row["patients"]) < LEAST_PATIENTS
            counts = (
                [
                    text_cell(wording.text("number.small", least=LEAST_PATIENTS)),
                    text_cell(wording.text("number.suppressed")),
                ]
                if small
                else [count_cell("therapies", place, row, c, wording) for c in ("patients", "events")]
            )
            lines.append((text_cell(wording.therapy(row["therapy"])), *counts))
        heads = [wording.text(f"column.{name}") for name in ("therapy", "patients", "events")]
        blocks.append(Table(caption=wording.text("therapies.caption"), head=heads, rows=lines))
    blocks += _levels(logged, wording)
    return Section(key="therapies", title=wording.text("section.therapies"), blocks=blocks)


def _levels(logged: Logged, wording: Wording) -> list[Block]:
    """What the model holds of each therapy: published rate and shift."""
    model = logged.model
    shifts = model.interval.levels.shifts
    if not shifts:
        return [Text(text=wording.text("levels.none"), weight="quiet")]
    lines = []
    for key in sorted(shifts):
        rate = model.offset.rates.get(key)
        none = text_cell(wording.text("number.none"))
        published = (
            (none, none)
            if rate is None
            else (
                model_cell(f"offset.rates.{key}.rate", rate.rate, wording, "share"),
                text_cell(wording.word("rate_level", rate.level)),
            )
        )
        at = f"interval.levels.shifts.{key}"
        lines.append(
            (
                text_cell(wording.therapy(key)),
                *published,
                model_cell(f"{at}.mean", shifts[key].mean, wording, "ratio"),
                model_cell(f"{at}.sd", shifts[key].sd, wording, "ratio"),
            )
        )
    columns = ("therapy", "published", "rate_level", "shift", "shift_sd")
    return [
        Table(
            caption=wording.text("levels.caption"),
            head=[wording.text(f"column.{name}") for name in columns],
            rows=lines,
        ),
        Text(text=wording.text("levels.text"), weight="quiet"),
    ]


def ranking(logged: Logged, wording: Wording, key: str = "ranking.offset") -> list[Block]:
    """What measures of ranking are worth where the version is a base rate; nothing for a version with trees."""
    if logged.model.booster_text is not None:
        return []
    return [Text(text=wording.text(key), weight="loud")]


def unknown_policy(logged: Logged) -> bool:
    """Whether no treatment of the training cohort has a known time."""
    table = logged.table("treatment_policy")
    return table is not None and not any(float(n) for n in table["started"] if n)
