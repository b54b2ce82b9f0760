"""What the version is, what it predicts and for whom, its main numbers, and its limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from crsrisk.therapies import CELL_WINDOW_HOURS, ENGAGER_WINDOW_HOURS
from training.fit import OWN_EVENTS
from training.report.blocks import (
    Block,
    Cell,
    Items,
    Section,
    Table,
    Text,
    shared_reason,
    text_cell,
    without_reason,
)
from training.report.cells import count_cell, metric_cell, tag_cell
from training.report.logged import OURS, Logged, Row, metric_name, table_rows
from training.report.people import ranking, unknown_policy
from training.report.wording import Wording
from training.resampling import FEWEST_EVENTS

HEADLINE = (
    "auroc",
    "average_precision",
    "calibration_slope",
    "calibration_intercept",
    "expected_observed",
    "ici",
    "brier",
    "scaled_brier",
    "log_loss",
)
FINDINGS = ("error_findings", "leaks_suspected")  # tags of a version
HEADLINE_PLACES = ("pooled_horizonrest", "pooled_horizon72", "pooled_horizon24")


def status(logged: Logged, wording: Wording) -> str:
    """Champion, challenger or neither, today."""
    aliases = logged.version["aliases"]
    return wording.text(f"status.{next((a for a in ('champion', 'challenger') if a in aliases), 'neither')}")


def banners(logged: Logged, wording: Wording) -> list[str]:
    """What stands under the title, loudly."""
    found = [wording.labels["notice"]]
    if logged.simulated:
        found.append(wording.text("banner.simulated"))
    if few_events(logged):
        found.append(
            wording.text(
                f"banner.few.{logged.model.strategy}",
                events=logged.events,
                patients=logged.patients,
                own=OWN_EVENTS,
            )
        )
    return found


def few_events(logged: Logged) -> bool:
    """Whether patients of either outcome are too few for an own model."""
    return min(logged.events, logged.patients - logged.events) < OWN_EVENTS


def short(logged: Logged, wording: Wording) -> Section:
    """The version at a glance and its main numbers."""
    made = datetime.fromisoformat(str(logged.version["created"]))
    said = [
        ("model", text_cell(wording.text("named", name=logged.name, version=logged.number))),
        ("family", text_cell(wording.name("family", logged.family))),
        ("status", text_cell(status(logged, wording))),
        ("made", text_cell(wording.moment(made))),
        ("patients", tag_cell(logged, "n_patients", wording)),
        ("events", tag_cell(logged, "n_events", wording)),
        ("strategy", text_cell(wording.text(f"strategy.{logged.model.strategy}"))),
        ("origin", text_cell(wording.text("origin.simulated" if logged.simulated else "origin.real"))),
        ("digest", text_cell(str(logged.version["digest"]))),
    ]
    facts = Table(
        caption=wording.text("short.facts"),
        head=(wording.text("column.fact"), wording.text("column.value")),
        rows=[(text_cell(wording.text(f"fact.{key}")), cell) for key, cell in said],
    )
    return Section(
        key="short",
        title=wording.text("section.short"),
        blocks=[
            facts,
            *ranking(logged, wording),
            *_headline(logged, wording),
            Text(text=wording.text("short.note"), weight="quiet"),
        ],
    )


def _headline(logged: Logged, wording: Wording) -> list[Block]:
    """Pooled metrics of ours at each horizon."""
    rows = _pooled_rows(logged)
    places = [
        p
        for p in HEADLINE_PLACES
        if any(f"{m}_{p}" in rows or f"{m}_{p}" in logged.metrics for m in HEADLINE)
    ]
    if not places:
        return [Text(text=wording.text("short.no_metrics"), weight="note")]
    counts, lines = _counts(places, rows, logged, wording), []
    columns = [
        [metric_cell(logged, f"{m}_{p}", rows.get(f"{m}_{p}", (0, None))[1], wording) for m in HEADLINE]
        for p in places
    ]
    for k, column in enumerate(columns):
        reason = shared_reason(column)
        if reason is not None and counts:
            counts[1][k] = replace(counts[1][k], sub=reason[0], sub_lang=reason[1])
            columns[k] = [without_reason(cell, reason) for cell in column]
    for name, line in zip(("patients", "events"), counts, strict=False):
        lines.append((text_cell(wording.text(f"column.{name}")), *line))
    for k, metric in enumerate(HEADLINE):
        cells = [column[k] for column in columns]
        if any("metric" in cell.facts or cell.sub for cell in cells):
            lines.append((_metric_name(metric, wording), *cells))
    heads = [wording.horizon(place.removeprefix("pooled_horizon")) for place in places]
    return [
        Table(
            caption=wording.text("short.metrics"),
            head=(wording.text("column.metric"), *heads),
            rows=lines,
        )
    ]


def _counts(
    places: list[str], rows: dict[str, tuple[int, Row]], logged: Logged, wording: Wording
) -> list[list[Cell]]:
    """Patients and severe patients of each column; nothing where the table that holds them is absent."""
    if logged.table("metrics") is None:
        return []
    first = [next(rows[f"{m}_{p}"] for m in HEADLINE if f"{m}_{p}" in rows) for p in places]
    return [[count_cell("metrics", place, row, c, wording) for place, row in first] for c in ("n", "events")]


def _pooled_rows(logged: Logged) -> dict[str, tuple[int, Row]]:
    """Our lines of the table of metrics, pooled over landmarks, with their place, by name of the metric."""
    table = logged.table("metrics")
    if table is None:
        return {}
    lines = enumerate(table_rows(table))
    return {
        metric_name(row): (place, row)
        for place, row in lines
        if row["model"] == OURS and row["landmark_hours"] == ""
    }


def _metric_name(metric: str, wording: Wording) -> Cell:
    return text_cell(wording.text(f"metric.{metric}"), sub=wording.text(f"metric.{metric}.ideal"))


def purpose(logged: Logged, wording: Wording) -> Section:
    """What it predicts, when, for whom, and what it is not for."""
    facts = [
        ("outcome", wording.labels["severe"]),
        ("population", population(logged, wording)),
        ("moments", moments(logged, wording)),
        ("horizons", horizons(logged, wording)),
        (
            "window",
            wording.text(
                "purpose.window.text", cells=f"{CELL_WINDOW_HOURS:g}", engagers=f"{ENGAGER_WINDOW_HOURS:g}"
            ),
        ),
        ("output", wording.text("answer.output")),
        ("users", wording.text("answer.users")),
        ("role", wording.text("answer.decision_role")),
        ("not_for", wording.text("answer.out_of_scope")),
    ]
    table = Table(
        caption=wording.text("purpose.caption"),
        head=(wording.text("column.fact"), wording.text("column.value")),
        rows=[(text_cell(wording.text(f"purpose.{key}")), text_cell(text)) for key, text in facts],
    )
    return Section(key="purpose", title=wording.text("section.purpose"), blocks=[table])


def population(logged: Logged, wording: Wording) -> str:
    """For whom."""
    family = wording.name("family", logged.family)
    return wording.text("answer.population", family=family, therapies=seen(logged, wording))


def seen(logged: Logged, wording: Wording) -> str:
    """Therapies that it learned from."""
    keys = sorted(logged.model.therapies_seen)
    return wording.list([wording.therapy(key) for key in keys]) or wording.text("number.none")


def unevaluated(logged: Logged, wording: Wording) -> list[str]:
    """Horizons that it answers without a metric of theirs."""
    table = logged.table("metrics")
    if table is None:
        return []
    measured = set(table.loc[(table["model"] == OURS) & (table["value"] != ""), "horizon"])
    names = ["rest" if h is None else f"{h:g}" for h in logged.model.horizons]
    return [wording.horizon(name) for name in names if name not in measured]


def moments(logged: Logged, wording: Wording) -> str:
    """Landmarks that it was trained at."""
    return wording.text("purpose.landmarks", hours=wording.list([f"{h:g}" for h in logged.model.landmarks]))


def horizons(logged: Logged, wording: Wording) -> str:
    """Horizons that it answers."""
    names = [wording.horizon("rest" if h is None else f"{h:g}") for h in logged.model.horizons]
    return wording.list(names)


def limits(logged: Logged, wording: Wording) -> list[str]:
    """What speaks against believing or using the numbers, the gravest first."""
    found = []
    if logged.simulated:
        found.append(wording.text("limit.simulated"))
    if few_events(logged):
        found.append(
            wording.text(f"limit.few.{logged.model.strategy}", events=logged.events, patients=logged.patients)
        )
    if min(logged.events, logged.patients - logged.events) < FEWEST_EVENTS:
        found.append(wording.text("limit.no_intervals", least=FEWEST_EVENTS))
    if not logged.answers:
        found.append(wording.text("limit.not_promoted"))
    if any(int(logged.tags.get(tag, "0")) for tag in FINDINGS):
        found.append(findings(logged, wording))
    if logged.table("validation") is None:
        found.append(wording.text("limit.one_cohort"))
    found.append(wording.text("limit.therapies", therapies=seen(logged, wording)))
    absent = unevaluated(logged, wording)
    if absent:
        found.append(wording.text("limit.horizons", horizons=wording.list(absent)))
    care = ("external", "care", *(["no_policy"] if unknown_policy(logged) else []))
    found += [wording.text(f"limit.{key}") for key in (*care, "unknown", "threshold", "device")]
    if logged.absent:
        found.append(wording.text("limit.absent", count=len(logged.absent)))
    return found


def findings(logged: Logged, wording: Wording) -> str:
    """What the quality and leak report of the cohort found at training; '' where the version does not say."""
    given = {tag: logged.tags[tag] for tag in FINDINGS if tag in logged.tags}
    if len(given) == len(FINDINGS):
        return wording.text("answer.findings.leaks", **given)
    return wording.text("answer.findings", **given) if given else ""


def limitations(logged: Logged, wording: Wording) -> Section:
    """The limits, and what the model does not beat."""
    blocks: list[Block] = [Items(items=[(text, "") for text in limits(logged, wording)])]
    beaten = [note for note in logged.notes if "does not beat" in note or "can't rank them" in note]
    if beaten:
        blocks.append(Text(text=wording.text("limits.not_beaten"), weight="loud"))
        blocks.append(Items(items=[wording.said(note) for note in beaten]))
    return Section(key="limits", title=wording.text("section.limits"), blocks=blocks)
