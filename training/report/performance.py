"""How good the held-out risks are: by landmark and horizon, against every other model, and their calibration."""

from __future__ import annotations

from training.report.blocks import Block, Cell, Items, Section, Table, Text, text_cell, with_note, with_reason
from training.report.cells import count_cell, metric_cell, style_of, table_cell
from training.report.figures import auroc_by_landmark, calibration, curves, too_few
from training.report.logged import OURS, Logged, Row, metric_name, table_rows
from training.report.people import missing, ranking
from training.report.tables import differences
from training.report.wording import Wording
from training.table import ORDER

DISCRIMINATION = ("auroc", "average_precision", "brier", "scaled_brier", "log_loss")
CALIBRATION = ("calibration_slope", "calibration_intercept", "expected_observed", "ici")
COMPARED = ("auroc", "average_precision", "brier", "calibration_slope", "expected_observed")
Rows = list[tuple[int, Row]]


def performance(logged: Logged, wording: Wording) -> Section:
    """Discrimination and accuracy at every landmark and horizon, against the other models, and the curves."""
    blocks: list[Block] = [Text(text=wording.text("performance.text")), *ranking(logged, wording)]
    if logged.table("metrics") is None:
        blocks.append(missing(logged, "metrics", wording))
        if logged.metrics:
            blocks.append(_bare(logged, wording))
    else:
        blocks += _by_place(logged, DISCRIMINATION, "performance.caption", wording)
        forest = auroc_by_landmark(logged, wording)
        if forest is not None:
            blocks.append(forest)
        blocks += _models(logged, wording)
    blocks += differences(logged, "comparisons", "differences.caption", wording)
    few = too_few(logged, wording)
    drawn = [] if few else [curves(logged, stem, wording) for stem in ("roc", "precision_recall")]
    blocks += [few] if few else [figure for figure in drawn if figure is not None]
    blocks.append(Text(text=wording.text("performance.metrics"), weight="quiet"))
    blocks.append(Items(items=[(_meaning(m, wording), "") for m in (*DISCRIMINATION, *CALIBRATION)]))
    return Section(key="performance", title=wording.text("section.performance"), blocks=blocks)


def calibrated(logged: Logged, wording: Wording) -> Section:
    """Whether as many patients become severe as the risks say."""
    blocks: list[Block] = [Text(text=wording.text("calibration.text"))]
    figure = too_few(logged, wording) or calibration(logged, wording)
    blocks.append(missing(logged, "calibration_groups", wording) if figure is None else figure)
    blocks += _groups(logged, wording)
    if logged.table("metrics") is not None:
        blocks += _by_place(logged, CALIBRATION, "calibration.caption", wording)
    return Section(key="calibration", title=wording.text("section.calibration"), blocks=blocks)


def _by_place(logged: Logged, metrics: tuple[str, ...], caption: str, wording: Wording) -> list[Block]:
    """Metrics of ours at each landmark and horizon, and over all landmarks."""
    table = logged.table("metrics")
    if table is None:
        return []
    places: dict[tuple[float, str], dict[str, tuple[int, Row]]] = {}
    for place, row in enumerate(table_rows(table)):
        if row["model"] == OURS:
            mark = float(row["landmark_hours"]) if row["landmark_hours"] else float("inf")
            places.setdefault((mark, row["horizon"]), {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    for mark, horizon in sorted(places, key=lambda key: (key[0], _horizon_order(key[1]))):
        found = places[mark, horizon]
        first, counted = next(iter(found.values()))
        cells = [
            metric_cell(logged, metric_name(found[m][1]), found[m][1], wording)
            if m in found
            else text_cell(wording.text("number.none"))
            for m in metrics
        ]
        counts = [count_cell("metrics", first, counted, c, wording) for c in ("n", "events")]
        rows.append(with_reason(text_cell(_place(mark, horizon, wording)), [*counts, *cells]))
    names = [wording.text(f"metric.{m}") for m in metrics]
    heads = (
        wording.text("column.place"),
        wording.text("column.patients"),
        wording.text("column.events"),
        *names,
    )
    return [Table(caption=wording.text(caption), head=heads, rows=rows, shape="wide")]


def _place(mark: float, horizon: str, wording: Wording) -> str:
    if mark == float("inf"):
        return wording.text("place.pooled", horizon=wording.horizon(horizon))
    return wording.text("place", landmark=wording.hours(mark), horizon=wording.horizon(horizon))


def _horizon_order(horizon: str) -> tuple[int, float]:
    return (0, float(horizon)) if horizon.replace(".", "").isdigit() else (1 if horizon == "rest" else 2, 0.0)


def _bare(logged: Logged, wording: Wording) -> Table:
    """The metrics by their names alone, for a run without the table that explains them."""
    names = sorted(n for n in logged.metrics if not n.endswith(("_low", "_high")))
    rows = [(text_cell(name), metric_cell(logged, name, None, wording)) for name in names]
    heads = (wording.text("column.metric"), wording.text("column.value"))
    return Table(caption=wording.text("performance.bare"), head=heads, rows=rows)


def _models(logged: Logged, wording: Wording) -> list[Block]:
    """Every model on the same folds: the rest of the window over all landmarks."""
    table = logged.table("metrics")
    if table is None:
        return []
    found: dict[str, dict[str, tuple[int, Row]]] = {}
    for place, row in enumerate(table_rows(table)):
        if row["horizon"] == "rest" and row["landmark_hours"] == "":
            found.setdefault(row["model"], {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    for model in sorted(found, key=lambda m: ORDER.index(m) if m in ORDER else len(ORDER)):
        cells = []
        for metric in COMPARED:
            if metric not in found[model]:
                cells.append(text_cell(wording.text("number.none")))
                continue
            place, row = found[model][metric]
            cells.append(
                metric_cell(logged, metric_name(row), row, wording)
                if model == OURS
                else table_cell(
                    "metrics", place, row, "value", wording, style=style_of(metric), bounds=("low", "high")
                )
            )
        rows.append(with_reason(text_cell(wording.word("model", model)), cells))
    names = [wording.text(f"metric.{m}") for m in COMPARED]
    shown = Table(
        caption=wording.text("models.caption"), head=(wording.text("column.model"), *names), rows=rows
    )
    return [with_note(shown)]


def _groups(logged: Logged, wording: Wording) -> list[Block]:
    """The groups of the calibration figure as a table."""
    table = logged.table("calibration_groups")
    if table is None or logged.model.booster_text is None:  # groups of a base rate are the folds
        return []
    counted = [c for c in ("rows", "patients") if c in table]  # early releases did not count patients
    rows: list[tuple[Cell, ...]] = []
    for place, row in enumerate(table_rows(table)):
        rows.append(
            (
                text_cell(str(place + 1)),
                *(count_cell("calibration_groups", place, row, c, wording) for c in counted),
                table_cell("calibration_groups", place, row, "predicted", wording, style="share"),
                table_cell(
                    "calibration_groups",
                    place,
                    row,
                    "observed",
                    wording,
                    style="share",
                    bounds=("low", "high"),
                ),
            )
        )
    heads = [wording.text(f"column.{c}") for c in ("group", *counted, "predicted", "observed")]
    return [Table(caption=wording.text("calibration.groups"), head=heads, rows=rows, folded=True)]


def _meaning(metric: str, wording: Wording) -> str:
    return wording.text(
        "metric.line", name=wording.text(f"metric.{metric}"), meaning=wording.text(f"metric.{metric}.meaning")
    )
