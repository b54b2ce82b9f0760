"""Tables of metrics that several sections share: pooled over landmarks, and paired differences."""

from __future__ import annotations

from training.report.blocks import Block, Cell, Table, text_cell, with_note, with_reason
from training.report.cells import count_cell, style_of, table_cell
from training.report.logged import Logged, Row, table_rows
from training.report.people import missing
from training.report.wording import Style, Wording
from training.table import ORDER

GROUP_METRICS = ("auroc", "calibration_slope", "expected_observed", "brier")
DIFFERENCES = ("auroc", "brier", "log_loss", "calibration_slope_distance", "ici")
Found = dict[str, tuple[int, Row]]


def pooled(logged: Logged, stem: str, caption: str, wording: Wording) -> list[Block]:
    """A table of metrics: its horizons, pooled over landmarks."""
    table = logged.table(stem)
    if table is None:
        return [missing(logged, stem, wording)]
    found: dict[str, Found] = {}
    for place, row in enumerate(table_rows(table)):
        if row["landmark_hours"] == "" and row["horizon"] != "all":
            found.setdefault(row["horizon"], {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    for horizon in sorted(found, key=lambda h: (h != "rest", h)):
        first, counted = next(iter(found[horizon].values()))
        counts = [count_cell(stem, first, counted, c, wording) for c in ("n", "events")]
        metrics = metric_cells(stem, found[horizon], GROUP_METRICS, wording)
        rows.append(with_reason(text_cell(wording.horizon(horizon)), [*counts, *metrics]))
    heads = (
        *counted_heads("column.horizon", wording),
        *(wording.text(f"metric.{m}") for m in GROUP_METRICS),
    )
    return [Table(caption=wording.text(caption), head=heads, rows=rows, shape="wide")]


def differences(logged: Logged, stem: str, caption: str, wording: Wording) -> list[Block]:
    """Paired differences: this model minus the other, on the same patients, the rest of the window."""
    table = logged.table(stem)
    if table is None:
        return [missing(logged, stem, wording)]
    chosen: dict[str, dict[str, tuple[int, Row]]] = {}
    for place, row in enumerate(table_rows(table)):
        if row["horizon"] == "rest" and row["metric"] in DIFFERENCES:
            chosen.setdefault(row["model"], {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    for model in sorted(chosen, key=lambda m: ORDER.index(m) if m in ORDER else len(ORDER)):
        cells = [
            table_cell(
                stem,
                *chosen[model][metric],
                "difference",
                wording,
                style=_difference_style(metric),
                bounds=("low", "high"),
            )
            if metric in chosen[model]
            else text_cell(wording.text("number.none"))
            for metric in DIFFERENCES
        ]
        rows.append(with_reason(text_cell(wording.word("model", model)), cells))
    names = [
        wording.text(
            "differences.column", metric=wording.text(f"metric.{m}"), better=wording.text(f"better.{m}")
        )
        for m in DIFFERENCES
    ]
    shown = Table(
        caption=wording.text(caption),
        head=(wording.text("column.against"), *names),
        rows=rows,
    )
    return [with_note(shown)]


def _difference_style(metric: str) -> Style:
    return "benefit" if metric in ("brier", "ici") else "plain"


def metric_cells(stem: str, found: Found, names: tuple[str, ...], wording: Wording) -> list[Cell]:
    """Metrics of one row of a logged table, with intervals."""
    return [
        table_cell(stem, *found[name], "value", wording, style=style_of(name), bounds=("low", "high"))
        if name in found
        else text_cell(wording.text("number.none"))
        for name in names
    ]


def counted_heads(first: str, wording: Wording) -> tuple[str, str, str]:
    """Heads of what a row is, its patients and its severe patients."""
    return wording.text(first), wording.text("column.patients"), wording.text("column.events")
