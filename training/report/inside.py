"""What the model looks at: SHAP overview, predictors with their definitions, and how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.report.about import few_events
from training.report.blocks import Block, Cell, Section, Table, Text, text_cell
from training.report.cells import model_cell, table_cell
from training.report.figures import direction, feature_name, importance
from training.report.logged import Logged, Row, table_rows
from training.report.people import missing
from training.report.wording import Wording

if TYPE_CHECKING:
    from features.declare import Feature


def overview(logged: Logged, wording: Wording) -> Section:
    """Which predictors move the risk most; associated with it, not causing it."""
    if logged.model.booster_text is None:
        return Section(
            key="shap",
            title=wording.text("section.shap"),
            blocks=[Text(text=wording.text("shap.no_trees"), weight="note")],
        )
    blocks: list[Block] = [Text(text=wording.text("shap.text"))]
    if few_events(logged):
        blocks.append(Text(text=wording.text("shap.few", events=logged.events), weight="note"))
    figure = importance(logged, wording)
    if figure is not None:
        blocks.append(figure)
    table = logged.table("predictors")
    if table is None:
        blocks.append(missing(logged, "predictors", wording))
    else:
        order = sorted(
            (pair for pair in enumerate(table_rows(table)) if pair[1]["mean_abs_shap"]),
            key=lambda pair: -float(pair[1]["mean_abs_shap"]),
        )
        rows: list[tuple[Cell, ...]] = [
            (
                text_cell(feature_name(row["feature"], wording)),
                table_cell("predictors", place, row, "mean_abs_shap", wording),
                text_cell(direction(row, wording)),
            )
            for place, row in order
            if float(row["mean_abs_shap"]) > 0
        ]
        heads = [wording.text(f"column.{c}") for c in ("predictor", "mean_abs_shap", "direction")]
        blocks.append(Table(caption=wording.text("shap.caption"), head=heads, rows=rows, folded=True))
    return Section(key="shap", title=wording.text("section.shap"), blocks=blocks)


def predictors(logged: Logged, wording: Wording) -> Section:
    """Every predictor: meaning, unit, window, source, and how often it was missing."""
    declared = _declared(logged)
    table = logged.table("predictors")
    blocks: list[Block] = [Text(text=wording.text("predictors.text", count=len(logged.model.feature_names)))]
    if logged.model.booster_text is None:
        blocks.append(Text(text=wording.text("predictors.unused"), weight="note"))
    if table is None:
        blocks.append(missing(logged, "predictors", wording))
    lines = {} if table is None else {r["feature"]: (k, r) for k, r in enumerate(table_rows(table))}
    rows = [
        _predictor(name, declared.get(name), lines.get(name), wording) for name in logged.model.feature_names
    ]
    heads = [
        wording.text(f"column.{c}") for c in ("predictor", "unit", "window", "source", "missing", "median")
    ]
    blocks.append(
        Table(caption=wording.text("predictors.caption"), head=heads, rows=rows, folded=True, shape="wide")
    )
    return Section(key="predictors", title=wording.text("section.predictors"), blocks=blocks)


def _declared(logged: Logged) -> dict[str, Feature]:
    """Declarations of the model's predictors, empty where this program's features are others."""
    from features.registry import FEATURES, feature_set_digest

    if feature_set_digest() != logged.model.feature_digest:
        return {}
    return {f.name: f for f in FEATURES}


def _predictor(
    name: str, feature: Feature | None, line: tuple[int, Row] | None, wording: Wording
) -> tuple[Cell, ...]:
    none = text_cell(wording.text("number.none"))
    told = (
        (none, none, none)
        if feature is None
        else (
            text_cell(wording.name("unit", feature.unit)),
            text_cell(wording.word("window", feature.window)),
            text_cell(feature.source),
        )
    )
    numbers = (
        (none, none)
        if line is None
        else (
            table_cell("predictors", *line, "missing", wording, style="share"),
            table_cell("predictors", *line, "median", wording, style="ratio", bounds=("q25", "q75"))
            if line[1]["median"]
            else none,
        )
    )
    return (text_cell(feature_name(name, wording), sub=name), *told, *numbers)


def recipe(logged: Logged, wording: Wording) -> Section:
    """How the version was made: steps, parameters, calibration, versions of programs, digests."""
    model, within = logged.model, logged.model.calibration.within
    facts: list[tuple[str, Cell]] = [
        ("strategy", text_cell(wording.text(f"answer.model_type.{model.strategy}"))),
        ("intercept", model_cell("calibration.intercept", model.calibration.intercept, wording)),
        ("slope", model_cell("calibration.slope", model.calibration.slope, wording)),
        (
            "local_sd",
            model_cell("interval.levels.local_sd", model.interval.levels.local_sd, wording, "ratio"),
        ),
        ("interval", model_cell("interval.level", model.interval.level, wording, "share")),
    ]
    if model.booster_text is not None:
        facts[3:3] = [
            ("within_intercept", model_cell("calibration.within.intercept", within.intercept, wording)),
            ("within_slope", model_cell("calibration.within.slope", within.slope, wording)),
        ]
    rows: list[tuple[Cell, ...]] = [(text_cell(wording.text(f"recipe.{key}")), cell) for key, cell in facts]
    named = {
        "digest": logged.version["digest"],
        "dataset": logged.version["dataset_digest"],
        "features": model.feature_digest,
        "commit": logged.params.get("git_commit", logged.tags.get("git_commit", "")),
        "program": logged.tags.get("crsrisk_version", ""),
        "libraries": ", ".join(f"{k} {v}" for k, v in model.libraries.items()),
        "run": logged.version["run_id"],
    }
    rows += [(text_cell(wording.text(f"recipe.{k}")), text_cell(str(v))) for k, v in named.items() if v]
    heads = (wording.text("column.fact"), wording.text("column.value"))
    given = [
        (text_cell(name), Cell(text=value, facts={"param": name, "value": value}))
        for name, value in sorted(logged.params.items())
    ]
    blocks: list[Block] = [
        Text(text=wording.text("recipe.text")),
        Table(caption=wording.text("recipe.caption"), head=heads, rows=rows),
        Table(caption=wording.text("recipe.params"), head=heads, rows=given, folded=True),
    ]
    return Section(key="recipe", title=wording.text("section.recipe"), blocks=blocks)
