"""How CRS was treated where the version learned, and what its numbers owe to that."""

from __future__ import annotations

from training.report.blocks import Block, Cell, Section, Table, Text, text_cell, with_note, with_reason
from training.report.cells import count_cell, metric_cell, style_of, table_cell
from training.report.logged import Logged, metric_name, table_rows
from training.report.people import missing, unknown_policy
from training.report.tables import Found, counted_heads, differences, pooled
from training.report.wording import Style, Wording

ESTIMATES = ("as_treated", "rescue_censored", "without_rescue")
OUTCOMES = ("severe", "severe_before_rescue", "severe_or_rescue")
SENSITIVITY = ("base_risk", "auroc", "calibration_slope", "expected_observed")
POSITIVITY: dict[str, Style] = {
    "patients": "count",
    "rescued": "count",
    "severe": "count",
    "untreated": "share",
    "near_certain": "share",
    "effective": "share",
    "effective_severe": "rate",
    "recovered": "ratio",
}


def treatment(logged: Logged, wording: Wording) -> Section:
    """Policy of the training cohort, risk without rescue, sensitivity to rescue, the model that sees treatment."""
    blocks: list[Block] = [Text(text=wording.text("treatment.text"))]
    blocks += _policy(logged, wording)
    blocks += _without(logged, wording)
    blocks += _positivity(logged, wording)
    blocks += _sensitivity(logged, wording)
    blocks += pooled(logged, "usual_care", "treatment.usual_care", wording)
    if logged.table("usual_care") is not None:
        blocks += differences(
            logged, "without_against_usual_care", "treatment.usual_care_differences", wording
        )
    return Section(key="treatment", title=wording.text("section.treatment"), blocks=blocks)


def _policy(logged: Logged, wording: Wording) -> list[Block]:
    """First uses of each drug by the state of the patient; what a site compares its own care with."""
    table = logged.table("treatment_policy")
    if table is None:
        return [missing(logged, "treatment_policy", wording)]
    if unknown_policy(logged):
        return [Text(text=wording.text("treatment.no_policy"), weight="note")]
    rows: list[tuple[Cell, ...]] = []
    for place, row in enumerate(table_rows(table)):
        if not float(row["exposed"] or 0):
            continue
        since = row["hours_since_onset"]
        state = wording.word("state_of_crs", row["context"])
        if since:
            state = wording.text("treatment.since", state=state, hours=wording.hours(float(since)))
        rows.append(
            (
                text_cell(wording.word("drug", row["drug"])),
                text_cell(state),
                count_cell("treatment_policy", place, row, "started", wording),
                table_cell("treatment_policy", place, row, "exposed", wording, style="rate"),
                table_cell("treatment_policy", place, row, "rate", wording, style="rate"),
            )
        )
    heads = [wording.text(f"column.{c}") for c in ("drug", "state_of_crs", "started", "exposed", "rate")]
    return [Table(caption=wording.text("treatment.policy"), head=heads, rows=rows, folded=True)]


def _without(logged: Logged, wording: Wording) -> list[Block]:
    """The risk had nobody been rescued, beside the risk as treated."""
    table = logged.table("without_rescue")
    if table is None:
        return [missing(logged, "without_rescue", wording)]
    found: dict[str, dict[tuple[str, str], Found]] = {}
    for place, row in enumerate(table_rows(table)):
        at = (row["landmark_hours"], row["horizon"])
        found.setdefault(row["definition"], {}).setdefault(at, {})[row["estimate"]] = (place, row)
    blocks: list[Block] = []
    for definition, places in found.items():
        named = wording.word("rescue", definition)
        given = [e["without_rescue"][1] for e in places.values() if "without_rescue" in e]
        if not any(row["value"] for row in given):  # the other shares alone would be of selected patients
            said, lang = wording.said(next((row["reason"] for row in given if row["reason"]), ""))
            refused = wording.text("treatment.refused", rescue=named, reasons=said)
            blocks.append(Text(text=refused, weight="note", lang=lang))
            continue
        rows = []
        for (landmark, horizon), estimates in sorted(places.items(), key=_in_order):
            first = estimates.get("as_treated", next(iter(estimates.values())))
            counts = [count_cell("without_rescue", *first, c, wording) for c in ("n", "events")]
            cells = [_estimate(logged, definition, estimates, name, wording) for name in ESTIMATES]
            rows.append(with_reason(text_cell(_place(landmark, horizon, wording)), [*counts, *cells]))
        heads = (
            *counted_heads("column.place", wording),
            *(wording.text(f"estimate.{name}") for name in ESTIMATES),
        )
        caption = wording.text("treatment.without", rescue=named)
        blocks.append(with_note(Table(caption=caption, head=heads, rows=rows, shape="wide")))
        blocks.append(Text(text=wording.text("treatment.without.text"), weight="quiet"))
    return blocks


def _estimate(logged: Logged, definition: str, found: Found, name: str, wording: Wording) -> Cell:
    """One estimate at one place; that without rescue is also a metric of the run."""
    if name not in found:
        return text_cell(wording.text("number.none"))
    place, row = found[name]
    metric = metric_name({**row, "metric": f"risk_without_{definition}"})
    if name == "without_rescue" and metric in logged.metrics:
        return metric_cell(logged, metric, row, wording)
    return table_cell("without_rescue", place, row, "value", wording, style="share", bounds=("low", "high"))


def _positivity(logged: Logged, wording: Wording) -> list[Block]:
    """Whether patients without rescue can stand for those who were rescued."""
    table = logged.table("positivity")
    if table is None:
        return [missing(logged, "positivity", wording)]
    if not any(float(n) for n in table["rescued"] if n):
        return []
    rows: list[tuple[Cell, ...]] = []
    for place, row in enumerate(table_rows(table)):
        cells = [
            table_cell("positivity", place, {**row, "reason": ""}, column, wording, style=style)
            for column, style in POSITIVITY.items()
        ]
        said, lang = wording.said(row["reasons"])
        rows.append(
            (Cell(text=wording.word("rescue", row["definition"]), sub=said, sub_lang=lang, why=True), *cells)
        )
    heads = [wording.text("column.rescue"), *(wording.text(f"positivity.{c}") for c in POSITIVITY)]
    return [Table(caption=wording.text("treatment.positivity"), head=heads, rows=rows, shape="wide")]


def _sensitivity(logged: Logged, wording: Wording) -> list[Block]:
    """The same risks against severe CRS, severe CRS before rescue, and severe CRS or rescue."""
    table = logged.table("rescue_sensitivity")
    if table is None:
        return [missing(logged, "rescue_sensitivity", wording)]
    found: dict[tuple[str, str], Found] = {}
    for place, row in enumerate(table_rows(table)):
        if row["horizon"] == "rest" and row["landmark_hours"] == "":
            found.setdefault((row["definition"], row["outcome"]), {})[row["metric"]] = (place, row)
    rows: list[tuple[Cell, ...]] = []
    for (definition, outcome), metrics in found.items():
        name = wording.text(f"outcome.{outcome}", rescue=wording.word("rescue", definition))
        counts = [
            count_cell("rescue_sensitivity", *next(iter(metrics.values())), c, wording)
            for c in ("n", "events")
        ]
        cells = [
            table_cell(
                "rescue_sensitivity",
                *metrics[metric],
                "value",
                wording,
                style="share" if metric == "base_risk" else style_of(metric),
                bounds=("low", "high"),
            )
            if metric in metrics
            else text_cell(wording.text("number.none"))
            for metric in SENSITIVITY
        ]
        rows.append(with_reason(text_cell(name), [*counts, *cells]))
    heads = (
        wording.text("column.outcome"),
        wording.text("column.patients"),
        wording.text("column.with_outcome"),
        *(wording.text(f"metric.{metric}") for metric in SENSITIVITY),
    )
    return [Table(caption=wording.text("treatment.sensitivity"), head=heads, rows=rows, shape="wide")]


def _in_order(item: tuple[tuple[str, str], Found]) -> tuple[float, str]:
    """Landmarks in order, pooled ones last."""
    (landmark, horizon), _ = item
    return (float(landmark) if landmark else float("inf"), horizon)


def _place(landmark: str, horizon: str, wording: Wording) -> str:
    named = wording.horizon(horizon)
    if landmark == "":
        return wording.text("place.pooled", horizon=named)
    return wording.text("place", landmark=wording.hours(float(landmark)), horizon=named)
