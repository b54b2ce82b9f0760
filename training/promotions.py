"""Promote, roll back, look back: decisions about who answers, each with its reason and evidence in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crsrisk.errors import CrsRiskError, ModelError
from training.champions import Loaded, acting_user, load_decided, load_each, mirror, open_store
from training.registry import DEFAULT_TRACKING_URI, Verified, load_whole, tag_version, version_tags, versions

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from training.champion_ledger import Action, Champion, Entry
    from training.champion_store import ChampionStore, Decision
    from training.gate_evidence import Leaks, Pseudonyms
    from training.gate_pairs import Compared, Side
    from training.gate_verdict import Verdict
    from training.model import RiskModel

log = logging.getLogger("crsrisk.promotions")


def promote(
    name: str,
    version: str,
    reason: str,
    *,
    cohort: Cohort | None = None,
    demonstration: bool = False,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
    who: str | None = None,
) -> dict[str, Any]:
    """Make a version the champion, where the gate lets it pass; says what it replaced, why and on which evidence.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: number of the version.
        reason: why, for the ledger.
        cohort: validation cohort on which both are judged; None: on the patients of the training.
        demonstration: skip the gate, for a version trained on simulated patients alone and only where no
            champion learned from real ones.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.
        who: who decides; None: the setting `user`, or the account of the system.

    Raises:
        CrsRiskError: no reason is given.
        GateError: the gate refuses; the refusal stands in the ledger.
        PromotionConflictError: another decision came between; nothing was changed.
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    if not reason.strip():
        raise CrsRiskError("a promotion without a reason; say why this version shall answer")
    store = open_store(tracking_uri, store_url)
    mirror(store, versions(tracking_uri), tracking_uri)
    champion = store.champion(name)
    challenger = load_whole(name, version, tracking_uri=tracking_uri)
    if champion is not None and champion.version == challenger.info.version:
        raise ModelError(f"{name} version {version} is the champion already; nothing was changed")
    if demonstration:
        verdict, data = _demonstrated(challenger, champion, tracking_uri), {"demonstration": True}
    else:
        verdict, data = _judged(store, challenger, champion, cohort, tracking_uri)
    evidence = data | verdict.to_dict() | {"files_digest": challenger.tags["files_digest"]}
    if not verdict.passed:
        store.note(_decision("refuse", challenger, reason, who, evidence))
        raise verdict.refusal()
    entry = store.change(_decision("promote", challenger, reason, who, evidence), champion)
    return _announced(store, entry, tracking_uri)


def rollback(
    name: str,
    reason: str,
    *,
    to: str | None = None,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
    who: str | None = None,
) -> dict[str, Any]:
    """Let the champion before the present one answer again; says which, what it replaced and why.

    Args:
        name: registered name.
        reason: why, for the ledger.
        to: an earlier champion; None: the one before. A version that was itself rolled back is none.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.
        who: who decides; None: the setting `user`, or the account of the system.

    Raises:
        CrsRiskError: no reason is given.
        PromotionConflictError: another decision came between; nothing was changed.
        ModelError: there is no such earlier champion, or its files are incomplete, altered or made for other
            features.
    """
    from training.champion_ledger import stack

    if not reason.strip():
        raise CrsRiskError("a rollback without a reason; say why the champion shall no longer answer")
    store = open_store(tracking_uri, store_url)
    mirror(store, versions(tracking_uri), tracking_uri)
    champion = store.champion(name)
    earlier = stack(store.entries(name), name)[:-1]
    accepted = list(dict.fromkeys(entry.version for entry in reversed(earlier)))
    if champion is not None and champion.version in accepted:  # it answers already
        accepted.remove(champion.version)
    if champion is None or not accepted:
        raise ModelError(f"{name} has no earlier champion to go back to; see: crsrisk models --history")
    if to is not None and to not in accepted:
        raise ModelError(f"{name} version {to} is no earlier champion; accepted: {accepted}")
    entry_of = {entry.version: entry for entry in earlier}
    wanted = entry_of[to or accepted[0]]
    verified = load_whole(name, wanted.version, tracking_uri=tracking_uri)
    if verified.info.digest != wanted.digest:
        raise ModelError(
            f"{name} version {wanted.version} is not the model that was promoted then; promote another version"
        )
    evidence = {"returns_to": wanted.sequence, "files_digest": verified.tags["files_digest"]}
    entry = store.change(_decision("rollback", verified, reason, who, evidence), champion)
    return _announced(store, entry, tracking_uri)


def history(
    name: str | None = None,
    *,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
) -> list[dict[str, Any]]:
    """The ledger, oldest first: of one registered name, or all."""
    return [entry.to_dict() for entry in open_store(tracking_uri, store_url).entries(name)]


def verify(*, tracking_uri: str = DEFAULT_TRACKING_URI, store_url: str | None = None) -> list[str]:
    """What is wrong with the ledger, in sentences; empty when chain, champions and MLflow's notes agree.

    Each promoted version carries the hash of its entry as a tag: a ledger that was written anew from some
    entry on does not have it.
    """
    store = open_store(tracking_uri, store_url)
    problems = store.problems()
    hashes = {str(entry.sequence): entry.hash for entry in store.entries()}
    for model in versions(tracking_uri):
        sequence, _, noted = model["ledger"].partition(" ")
        if noted and hashes.get(sequence) != noted:
            promoted = f"{model['name']} version {model['version']}"
            problems.append(f"ledger entry {sequence} is not the one by which {promoted} was promoted")
    return problems


def load_champions_at(
    moment: datetime,
    *,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
) -> dict[str, Loaded]:
    """The models that answered at an aware time by family, to compute their predictions again.

    Raises:
        ModelError: nobody answered then, or one of the versions is gone, altered or made for other features.
    """
    from training.champion_ledger import replay, stamp

    when = stamp(moment)
    entries = open_store(tracking_uri, store_url).entries()
    models, refused = load_each(replay(entry for entry in entries if entry.time <= when), tracking_uri)
    if refused or not models:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ModelError(reasons or f"there was no champion at {when}; see: crsrisk models --history")
    return models


def real_champions(*, tracking_uri: str = DEFAULT_TRACKING_URI, store_url: str | None = None) -> list[str]:
    """Names whose champion learned from patients that exist."""
    store = open_store(tracking_uri, store_url)
    champions = mirror(store, versions(tracking_uri), tracking_uri)
    return sorted(name for name, one in champions.items() if not _simulated(one, tracking_uri))


# ---- the gate


def _judged(
    store: ChampionStore,
    challenger: Verified,
    champion: Champion | None,
    cohort: Cohort | None,
    tracking_uri: str,
) -> tuple[Verdict, dict[str, Any]]:
    """Every row of the gate, and on which data."""
    from training.gate import Learned, judge
    from training.gate_evidence import Pseudonyms
    from training.gate_kept import kept_side, stated_leaks
    from training.gate_pairs import from_training

    name, version = challenger.info.name, challenger.info.version
    pseudonyms = Pseudonyms(store.pseudonym_key())
    mine = kept_side(name, version, pseudonyms, tracking_uri=tracking_uri)
    theirs = (
        None if champion is None else kept_side(name, champion.version, pseudonyms, tracking_uri=tracking_uri)
    )
    leaks, elsewhere = stated_leaks(challenger.tags), None
    data: dict[str, Any] = {"data": "training", "against": None if champion is None else champion.version}
    if cohort is None:
        compared = from_training(mine, theirs)
    else:
        compared, elsewhere = _on_cohort(cohort, challenger, mine, champion, theirs, pseudonyms, tracking_uri)
        data["data"] = cohort.digest()
    model = challenger.model
    learned = Learned(
        strategy=model.strategy,
        patients=model.n_patients,
        events=model.n_events,
        predictors=len(model.feature_names),
        leaks=leaks,
        leaks_elsewhere=elsewhere,
        care=_changed_care(model, champion, tracking_uri),
        simulated=model.simulated,
        champion_real=champion is not None and not _simulated(champion, tracking_uri),
    )
    return judge(name, version, learned, compared), data


def _on_cohort(
    cohort: Cohort,
    challenger: Verified,
    mine: Side,
    champion: Champion | None,
    theirs: Side | None,
    pseudonyms: Pseudonyms,
    tracking_uri: str,
) -> tuple[Compared, Leaks]:
    """Both on a validation cohort, and what its own leak report found."""
    from training.crossvalidate import prepare
    from training.gate_evidence import leak_findings
    from training.gate_pairs import from_cohort

    loaded = None
    if champion is not None and theirs is not None:
        model, _ = load_decided(champion.name, champion.version, champion.digest, tracking_uri=tracking_uri)
        loaded = (model, theirs)
    prepared = prepare(cohort, challenger.model.landmarks or None)
    compared = from_cohort(
        prepared, str(challenger.model.family), (challenger.model, mine), loaded, pseudonyms
    )
    return compared, leak_findings(cohort)


def _changed_care(challenger: RiskModel, champion: Champion | None, tracking_uri: str) -> str:
    """What changed in the treatment of CRS between what champion and challenger learned from; empty for nothing."""
    from training.policy_change import compared_policies

    if champion is None:
        return ""
    try:
        model, _ = load_decided(champion.name, champion.version, champion.digest, tracking_uri=tracking_uri)
    except ModelError as error:
        log.warning("the treatment policy of the champion is not known: %s", error)
        return ""
    return " ".join(
        change.sentence() for change in compared_policies(model.policy, challenger.policy).changed[:3]
    )


def _demonstrated(challenger: Verified, champion: Champion | None, tracking_uri: str) -> Verdict:
    """One row: whether the gate may be skipped, which is for simulated patients alone."""
    from training.gate_verdict import GateRow, Verdict

    limit = "for models of simulated patients, where no champion learned from real ones"
    if not challenger.model.simulated:
        fault = "a demonstration is for models trained on simulated patients; this one learned from real ones"
    elif champion is not None and not _simulated(champion, tracking_uri):
        fault = "the champion learned from real patients; a demonstration does not replace it"
    else:
        fault = ""
    told = fault or "trained on simulated patients for a demonstration: the gate was not asked"
    row = GateRow("demonstration", not fault, told, limit)
    return Verdict(challenger.info.name, challenger.info.version, (row,))


def _simulated(champion: Champion, tracking_uri: str) -> bool:
    """Whether a champion learned from simulated patients; one that can't tell counts as real."""
    try:
        _, tags = version_tags(champion.name, champion.version, tracking_uri=tracking_uri)
        if "simulated" in tags:
            return tags["simulated"] == "true"
        model, _ = load_decided(champion.name, champion.version, champion.digest, tracking_uri=tracking_uri)
    except ModelError:
        return False
    return model.simulated


# ---- the ledger


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
    """Tell MLflow what was decided, as far as it listens, and the caller."""
    mirror(store, versions(tracking_uri), tracking_uri)
    try:
        tag_version(
            entry.name,
            entry.version,
            {"promoted_reason": entry.reason, "ledger": f"{entry.sequence} {entry.hash}"},
            tracking_uri=tracking_uri,
        )
    except ModelError as error:
        log.warning("the tags of %s version %s could not be set: %s", entry.name, entry.version, error)
    return entry.to_dict() | {"previous": entry.previous or None}
