"""What acting on the risks would mean: net benefit and alert load at thresholds, none of which is recommended."""

from __future__ import annotations

from training.alerts import MEASURES
from training.report.blocks import Block, Cell, Section, Table, Text, text_cell, with_note, with_reason
from training.report.cells import table_cell
from training.report.figures import decision_curve, too_few
from training.report.logged import OURS, Logged, Row, table_rows
from training.report.people import missing, ranking
from training.report.wording import Style, Wording
from training.table import ORDER

STRATEGIES = (*ORDER, "treat_all", "treat_none")
BENEFIT_COLUMNS = {"net_benefit": ("low", "high"), "against_all": ("against_all_low", "against_all_high")}
ALERT_STYLE: dict[str, Style] = {
    "alerts_per_100_patient_days": "rate",
    "ppv": "share",
    "sensitivity": "share",
    "onsets_alerted": "share",
    "lead_hours_median": "hours",
}


def benefit(logged: Logged, wording: Wording) -> Section:
    """Net benefit of the rest of the window over all landmarks."""
    blocks: list[Block] = [
        Text(text=wording.text("benefit.text")),
        *ranking(logged, wording, "ranking.threshold"),
    ]
    figure = too_few(logged, wording) or decision_curve(logged, wording)
    if figure is not None:
        blocks.append(figure)
    table = logged.table("decision_curve")
    if table is None:
        blocks.append(missing(logged, "decision_curve", wording))
    else:
        blocks += _curve_tables(table_rows(table), wording)
    return Section(key="benefit", title=wording.text("section.benefit"), blocks=blocks)


def _curve_tables(lines: list[Row], wording: Wording) -> list[Block]:
    """Ours against everybody and nobody, and, folded, the net benefit of every model."""
    chosen: dict[tuple[str, str], tuple[int, Row]] = {}
    for place, row in enumerate(lines):
        if row["horizon"] == "rest" and row["landmark_hours"] == "":
            chosen[row["model"], row["threshold"]] = (place, row)
    thresholds = sorted({t for _, t in chosen}, key=float)
    ours: list[tuple[Cell, ...]] = []
    for threshold in thresholds:
        if (OURS, threshold) not in chosen:
            continue
        place, row = chosen[OURS, threshold]
        cells = [
            table_cell("decision_curve", place, row, column, wording, bounds=bounds)
            for column, bounds in BENEFIT_COLUMNS.items()
        ]
        ours.append(with_reason(_threshold(threshold, wording), cells))
    models = sorted({m for m, _ in chosen}, key=lambda m: STRATEGIES.index(m) if m in STRATEGIES else 99)
    every: list[tuple[Cell, ...]] = []
    for threshold in thresholds:
        cells = [
            table_cell("decision_curve", *chosen[m, threshold], "net_benefit", wording)
            if (m, threshold) in chosen
            else text_cell(wording.text("number.none"))
            for m in models
        ]
        every.append((_threshold(threshold, wording), *cells))
    first = wording.text("column.threshold")
    return [
        with_note(
            Table(
                caption=wording.text("benefit.caption"),
                head=(first, wording.text("column.net_benefit"), wording.text("column.against_all")),
                rows=ours,
            )
        ),
        Table(
            caption=wording.text("benefit.every"),
            head=(first, *(wording.word("model", m) for m in models)),
            rows=every,
            folded=True,
            shape="wide",
        ),
    ]


def alert_load(logged: Logged, wording: Wording) -> Section:
    """Alerts, how often right, and how long before severe CRS."""
    blocks: list[Block] = [
        Text(text=wording.text("alerts.text")),
        *ranking(logged, wording, "ranking.threshold"),
    ]
    table = logged.table("alerts")
    if table is None:
        blocks.append(missing(logged, "alerts", wording))
        return Section(key="alerts", title=wording.text("section.alerts"), blocks=blocks)
    lines = table_rows(table)
    horizons = sorted({r["horizon"] for r in lines}, key=lambda h: (h != "rest", h))
    for horizon in horizons:
        found: dict[str, dict[str, tuple[int, Row]]] = {}
        for place, row in enumerate(lines):
            if row["model"] == OURS and row["horizon"] == horizon and row["landmark_hours"] == "":
                found.setdefault(row["threshold"], {})[row["metric"]] = (place, row)
        rows: list[tuple[Cell, ...]] = []
        for threshold in sorted(found, key=float):
            cells = [
                table_cell(
                    "alerts",
                    *found[threshold][metric],
                    "value",
                    wording,
                    style=ALERT_STYLE[metric],
                    bounds=("low", "high"),
                )
                if metric in found[threshold]
                else text_cell(wording.text("number.none"))
                for metric in MEASURES
            ]
            rows.append(with_reason(_threshold(threshold, wording), cells))
        names = [wording.text(f"alert.{m}") for m in MEASURES]
        if rows:
            blocks.append(
                with_note(
                    Table(
                        caption=wording.text("alerts.caption", horizon=wording.horizon(horizon)),
                        head=(wording.text("column.threshold"), *names),
                        rows=rows,
                        folded=horizon != "rest",
                        shape="wide",
                    )
                )
            )
    return Section(key="alerts", title=wording.text("section.alerts"), blocks=blocks)


def _threshold(threshold: str, wording: Wording) -> Cell:
    return text_cell(wording.number(float(threshold), "threshold"))
