"""Promote, roll back, look back: decisions about who answers, each with its reason and evidence in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crsrisk.errors import CrsRiskError
from training.champions import acting_user, mirror, open_store
from training.registry import (
    DEFAULT_TRACKING_URI,
    Verified,
    load_whole,
    versions,
)

if TYPE_CHECKING:
    from training.champion_ledger import Action, Entry
    from training.champion_store import ChampionStore, Decision


def promote(
    name: str,
    version: str,
    reason: str,
    *,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
    who: str | None = None,
) -> dict[str, Any]:
    """Make a version the champion: what it was, what it replaced and why."""
    if not reason.strip():
        raise CrsRiskError("a promotion without a reason; say why this version shall answer")
    store = open_store(tracking_uri, store_url)
    mirror(store, versions(tracking_uri), tracking_uri)
    champion = store.champion(name)
    challenger = load_whole(name, version, tracking_uri=tracking_uri)
    decision = _decision(
        "promote", challenger, reason, who, {"files_digest": challenger.tags["files_digest"]}
    )
    entry = store.change(decision, champion)
    return _announced(store, entry, tracking_uri)


def _decision(
    action: Action, verified: Verified, reason: str, who: str | None, evidence: Mapping[str, Any]
) -> Decision:
    from training.champion_store import Decision

    return Decision(
        who=who or acting_user(),
        action=action,
        name=verified.info.name,
        version=verified.info.version,
        digest=verified.info.digest,
        feature_digest=verified.model.feature_digest,
        reason=reason.strip(),
        evidence=evidence,
    )


def _announced(store: ChampionStore, entry: Entry, tracking_uri: str) -> dict[str, Any]:
    """Tell MLflow what was decided, and the caller."""
    mirror(store, versions(tracking_uri), tracking_uri)
    return entry.to_dict() | {"previous": entry.previous or None}
