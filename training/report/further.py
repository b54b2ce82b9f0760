"""Where the numbers may not hold: groups, other sites, products and years, uncertain grades, other samples."""

from __future__ import annotations

from training.report.blocks import Block, Cell, Section, Table, Text, text_cell, with_reason
from training.report.cells import count_cell, table_cell
from training.report.drawing import Bar
from training.report.figures import auroc_bar, auroc_by_group
from training.report.logged import OURS, Logged, Row, table_rows
from training.report.people import missing
from training.report.tables import GROUP_METRICS, Found, counted_heads, differences, metric_cells, pooled
from training.report.wording import Wording
from training.subgroups import LEAST_EVENTS, LEAST_PATIENTS, SUPPRESSED, UNKNOWN
from training.validation import BY, POOLED

SMALL_LEVEL = f"fewer than {LEAST_PATIENTS} patients or {LEAST_EVENTS} with severe CRS"


def groups(logged: Logged, wording: Wording) -> Section:
    """Metrics of every group that is large enough, for the rest of the window."""
    blocks: list[Block] = [
        Text(text=wording.text("groups.text", patients=LEAST_PATIENTS, events=LEAST_EVENTS))
    ]
    table = logged.table("subgroups")
    if table is None:
        blocks.append(missing(logged, "subgroups", wording))
        return Section(key="groups", title=wording.text("section.groups"), blocks=blocks)
    found: dict[tuple[str, str], Found] = {}
    for place, row in enumerate(table_rows(table)):
        if row["model"] == OURS and row["horizon"] == "rest":
            found.setdefault((row["subgroup"], row["level"]), {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    drawn: list[Bar] = []
    for (group, level), metrics in found.items():
        name = level_name(group, level, wording)
        label = wording.text("group", group=wording.word("subgroup", group), level=name)
        if level == SUPPRESSED:
            first, counted = next(iter(metrics.values()))
            counts = [count_cell("subgroups", first, counted, c, wording) for c in ("n", "events")]
            rows.append((_named(label, counted["reason"], wording), *counts, *_hidden(wording)))
            continue
        rows.append(_line("subgroups", label, metrics, wording))
        if "auroc" in metrics and metrics["auroc"][1]["low"]:
            drawn.append(auroc_bar(label, metrics["auroc"][1], wording))
    figure = None if logged.model.booster_text is None else auroc_by_group(drawn, wording)
    if figure is not None:
        blocks.append(figure)
    heads = (
        *counted_heads("column.group_name", wording),
        *(wording.text(f"metric.{m}") for m in GROUP_METRICS),
    )
    blocks.append(Table(caption=wording.text("groups.caption"), head=heads, rows=rows, shape="wide"))
    return Section(key="groups", title=wording.text("section.groups"), blocks=blocks)


def level_name(group: str, level: str, wording: Wording) -> str:
    """A level of a subgroup in words."""
    if level in (SUPPRESSED, UNKNOWN):
        return wording.text(f"level.{level}")
    if group == "therapy":
        return wording.therapy(level)
    return wording.said(level)[0] if group == "age_band" else wording.word("level", level)


def elsewhere(logged: Logged, wording: Wording) -> Section:
    """The recipe fitted without a site, product or later time and judged on it; and with support variables."""
    blocks: list[Block] = [Text(text=wording.text("elsewhere.text"))]
    table = logged.table("validation")
    if table is None:
        blocks.append(missing(logged, "validation", wording))
    else:
        found: dict[tuple[str, str, str], Found] = {}
        for place, row in enumerate(table_rows(table)):
            if row["horizon"] in ("rest", ""):
                key = (row["design"], row["level"], row.get("reason", "") if row["metric"] == "" else "")
                found.setdefault(key, {})[row["metric"]] = (place, row)
        rows: list[tuple[Cell, ...]] = []
        for (design, level, why), metrics in found.items():
            named = wording.text(
                "group", group=wording.word("design", design), level=_held(design, level, wording)
            )
            counted = next(iter(metrics.values()))[1]
            if why:
                none = [text_cell(wording.text("number.none"))] * (2 + len(GROUP_METRICS))
                rows.append((_named(named, why, wording), *none))
            elif level != POOLED and _small(counted):
                few = text_cell(wording.text("number.suppressed"))
                rows.append((_named(named, SMALL_LEVEL, wording), few, few, *_hidden(wording)))
            else:
                rows.append(_line("validation", named, metrics, wording))
        heads = (
            *counted_heads("column.held_out", wording),
            *(wording.text(f"metric.{m}") for m in GROUP_METRICS),
        )
        blocks.append(Table(caption=wording.text("elsewhere.caption"), head=heads, rows=rows, shape="wide"))
    blocks += pooled(logged, "with_support", "elsewhere.support", wording)
    if logged.table("with_support") is not None:
        blocks += differences(
            logged, "without_against_with_support", "elsewhere.support_differences", wording
        )
    return Section(key="elsewhere", title=wording.text("section.elsewhere"), blocks=blocks)


def _line(stem: str, label: str, metrics: Found, wording: Wording) -> tuple[Cell, ...]:
    """Counts and metrics of one level."""
    first, counted = next(iter(metrics.values()))
    counts = [count_cell(stem, first, counted, c, wording) for c in ("n", "events")]
    return with_reason(text_cell(label), [*counts, *metric_cells(stem, metrics, GROUP_METRICS, wording)])


def _named(label: str, reason: str, wording: Wording) -> Cell:
    """The name of a row without numbers, and why it has none."""
    said, lang = wording.said(reason)
    return text_cell(label, sub=said, sub_lang=lang)


def _hidden(wording: Wording) -> list[Cell]:
    return [text_cell(wording.text("number.suppressed"))] * len(GROUP_METRICS)


def _small(row: Row) -> bool:
    """Whether a level has fewer patients or events than may be shown."""
    return int(row["n"]) < LEAST_PATIENTS or int(row["events"]) < LEAST_EVENTS


def _held(design: str, level: str, wording: Wording) -> str:
    return level if level != POOLED and design in BY else wording.said(level)[0]


def stability(logged: Logged, wording: Wording) -> Section:
    """How far other samples of patients would move the risks, and what uncertain grades do to the metrics."""
    blocks: list[Block] = [Text(text=wording.text("stability.text"))]
    table = logged.table("instability")
    if table is None:
        blocks.append(missing(logged, "instability", wording))
    else:
        rows: list[tuple[Cell, ...]] = []
        for place, row in enumerate(table_rows(table)):
            name = wording.text(
                f"instability.{row['measure']}",
                threshold=wording.number(float(row["threshold"]), "threshold") if row["threshold"] else "",
            )
            rows.append(
                (
                    text_cell(name),
                    table_cell("instability", place, row, "value", wording, style="share"),
                    count_cell("instability", place, row, "refits", wording),
                )
            )
        heads = [wording.text(f"column.{c}") for c in ("measure", "value", "refits")]
        blocks.append(Table(caption=wording.text("stability.caption"), head=heads, rows=rows))
    blocks += pooled(logged, "sensitivity_uncertain_grades", "stability.sensitivity", wording)
    return Section(key="stability", title=wording.text("section.stability"), blocks=blocks)
