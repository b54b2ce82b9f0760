"""`model_card.json`: the 31 source attributes of a predictive decision support intervention (ONC HTI-1).

Always in English, the language of the regulation; the same whatever the language of the report. Numbers are
those that the run logged.
"""

from __future__ import annotations

import json
from typing import Any

from crsrisk._version import __version__
from training.report.about import HEADLINE, HEADLINE_PLACES
from training.report.checklists import ONC, Answered, answered
from training.report.logged import OURS, Logged, table_rows
from training.report.wording import Wording

RULE = "45 CFR 170.315(b)(11)(iv)(B)"
FILE = "model_card.json"
STATUS = {"filled": "filled", "partly": "partly filled", "open": "not available"}


def model_card(logged: Logged) -> dict[str, Any]:
    """The card: which version, and every attribute with its value or who must give it."""
    wording = Wording("en")
    return {
        "card": "crsrisk model card",
        "rule": RULE,
        "notice": wording.labels["notice"],
        "model": {
            "name": logged.name,
            "version": logged.number,
            "digest": str(logged.version["digest"]),
            "family": logged.family,
            "created": str(logged.version["created"]),
            "trained_with": logged.tags.get("crsrisk_version", ""),
            "simulated": logged.simulated,
            "patients": logged.patients,
            "events": logged.events,
        },
        "written_with": __version__,
        "source_attributes": {
            one.item.key: _attribute(one, logged, wording) for one in answered(ONC, logged, wording)
        },
    }


def card_text(logged: Logged) -> str:
    """The card as JSON."""
    return json.dumps(model_card(logged), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _attribute(one: Answered, logged: Logged, wording: Wording) -> dict[str, Any]:
    item = one.item
    who = wording.text(f"by.{item.responsible}")
    value = one.text or f"not available: to be given by {who}"
    found: dict[str, Any] = {
        "item": item.number,
        "asks": item.text_en,
        "status": STATUS[one.state],
        "value": value,
    }
    if one.state != "filled":
        found["to_be_filled_by"] = who
    numbers = {"internal_validity": _metrics, "internal_fairness": _groups}.get(item.key)
    if numbers is not None:
        found["numbers"] = numbers(logged)
    return found


def _metrics(logged: Logged) -> list[dict[str, Any]]:
    """Pooled metrics under their names in the run; low and high are null where there is no interval."""
    names = [f"{m}_{place}" for place in HEADLINE_PLACES for m in HEADLINE]
    return [
        {
            "metric": name,
            "value": logged.metrics[name],
            "low": logged.metrics.get(f"{name}_low"),
            "high": logged.metrics.get(f"{name}_high"),
        }
        for name in names
        if name in logged.metrics
    ]


def _groups(logged: Logged) -> list[dict[str, Any]]:
    """AUROC and expected over observed of every group that is large enough, the rest of the window."""
    table = logged.table("subgroups")
    if table is None:
        return []
    chosen = table[
        (table["model"] == OURS)
        & (table["horizon"] == "rest")
        & table["metric"].isin(["auroc", "expected_observed"])
    ]
    return [
        {
            "group": row["subgroup"],
            "level": row["level"],
            "metric": row["metric"],
            **{name: float(row[name]) if row[name] else None for name in ("value", "low", "high")},
            "patients": int(row["n"]),
            "events": int(row["events"]),
        }
        for row in table_rows(chosen)
    ]
