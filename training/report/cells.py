"""Cells that show logged numbers and name what logged them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from training.report.blocks import Cell
from training.report.logged import Logged
from training.report.wording import Style, Wording

METRIC_STYLE: Mapping[str, Style] = {
    "auroc": "ratio",
    "average_precision": "ratio",
    "scaled_brier": "ratio",
    "expected_observed": "ratio",
    "calibration_slope": "ratio",
    "calibration_intercept": "ratio",
    "risk_without_tocilizumab": "share",
    "risk_without_tocilizumab_and_steroid": "share",
}
Row = Mapping[Any, str]
NO_INTERVAL = "no interval"
_PLACE = re.compile(r"_(pooled|landmark).*")  # of a metric's name


def style_of(metric: str) -> Style:
    """How a metric is written."""
    return METRIC_STYLE.get(metric, "plain")


def metric_cell(logged: Logged, name: str, row: Row | None, wording: Wording) -> Cell:
    """A metric of ours with its interval, or the reason why it or its interval is not defined.

    name: as MLflow has it. row: the line of the table `metrics`, which alone knows the reasons.
    """
    reason = "" if row is None else row.get("reason", "")
    if name not in logged.metrics:
        why, lang = wording.said(reason)
        undefined = wording.text("number.undefined")
        return Cell(text=undefined, sub=why, why=True, sub_lang=lang, facts={"undefined": name})
    style = style_of(_PLACE.sub("", name))
    value, facts = logged.metrics[name], {"metric": name, "value": repr(logged.metrics[name])}
    low, high = (logged.metrics.get(f"{name}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        why, lang = wording.said(reason or NO_INTERVAL)
        return Cell(text=wording.number(value, style), sub=why, why=True, sub_lang=lang, facts=facts)
    facts |= {"low": repr(low), "high": repr(high)}
    return Cell(text=wording.number(value, style), sub=wording.interval(low, high, style), facts=facts)


def table_cell(
    stem: str,
    place: int,
    row: Row,
    column: str,
    wording: Wording,
    *,
    style: Style = "plain",
    bounds: tuple[str, str] | None = None,
) -> Cell:
    """A number of a logged table.

    Args:
        stem: of the table.
        place: number of the row in it, from 0.
        row: the row, every cell as text.
        column: which number.
        wording: of the report.
        style: how it is written.
        bounds: columns of its interval; the column `reason` speaks where they are empty.
    """
    given = row.get(column, "")
    facts = {"table": stem, "row": str(place), "column": column, "value": given}
    reason, lang = wording.said(row.get("reason", ""))
    if given == "":
        undefined = wording.text("number.undefined")
        return Cell(text=undefined, sub=reason, why=True, sub_lang=lang, facts=facts)
    text = wording.number(float(given), style)
    if bounds is None:
        return Cell(text=text, facts=facts)
    low, high = (row.get(name, "") for name in bounds)
    if low == "" or high == "":
        why, lang = (reason, lang) if reason else wording.said(NO_INTERVAL)
        return Cell(text=text, sub=why, why=True, sub_lang=lang, facts=facts)
    facts |= {"low": low, "high": high, "bounds": " ".join(bounds)}
    return Cell(text=text, sub=wording.interval(float(low), float(high), style), facts=facts)


def count_cell(stem: str, place: int, row: Row, column: str, wording: Wording) -> Cell:
    """A count of a logged table, without a reason."""
    bare = {k: v for k, v in row.items() if k != "reason"}
    return table_cell(stem, place, bare, column, wording, style="count")


def tag_cell(logged: Logged, tag: str, wording: Wording, style: Style = "count") -> Cell:
    """A number that the version carries as a tag."""
    given = logged.tags[tag]
    return Cell(text=wording.number(float(given), style), facts={"tag": tag, "value": given})


def model_cell(field: str, value: float, wording: Wording, style: Style = "plain") -> Cell:
    """A number of the model's own files, named by its path in model.json."""
    return Cell(text=wording.number(value, style), facts={"model": field, "value": repr(value)})
