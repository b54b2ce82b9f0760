"""Which version of each name answers, and its model: our own store decides, MLflow's alias mirrors it."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from crsrisk.errors import ModelError, PromotionConflictError
from crsrisk.settings import load_settings
from training.model import RiskModel
from training.registry import (
    CHAMPION,
    DEFAULT_TRACKING_URI,
    ModelInfo,
    load_alias,
    load_version,
    set_alias,
    sqlite_path,
    versions,
)

if TYPE_CHECKING:
    from training.champion_ledger import Champion
    from training.champion_store import ChampionStore

Loaded = tuple[RiskModel, ModelInfo]
ADOPTED = "champion by alias in a registry older than the ledger"
_log = logging.getLogger("crsrisk.champions")


def open_store(tracking_uri: str, store_url: str | None = None) -> ChampionStore:
    """The store of champions at an address; None: the file `store.db` beside a registry in SQLite.

    Raises:
        ModelError: no address is given and the registry is a server, or the store can't be used.
    """
    from training.champion_store import ChampionStore

    if store_url is None:
        path = sqlite_path(tracking_uri)
        if path is None:
            raise ModelError("the registry is no SQLite file, so the store needs an address; set store_url")
        store_url = f"sqlite:///{path.parent / 'store.db'}"
    return ChampionStore(store_url)


def load_registered(
    name: str,
    version: str | None = None,
    *,
    alias: str = CHAMPION,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
) -> Loaded:
    """A registered model whose files are those that were registered.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: number of the version; the one with `alias` when None.
        alias: champion, which the store knows, or challenger.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.

    Raises:
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    if version is not None:
        return load_version(name, version, tracking_uri=tracking_uri)
    if alias != CHAMPION:
        return load_alias(name, alias, tracking_uri=tracking_uri)
    store = open_store(tracking_uri, store_url)
    mirror(store, versions(tracking_uri), tracking_uri)
    champion = store.champion(name)
    if champion is None:
        raise ModelError(f"{name}@{CHAMPION} is not registered; see the list of: crsrisk models")
    return load_decided(name, champion.version, champion.digest, tracking_uri=tracking_uri)


def load_uri(uri: str, *, tracking_uri: str = DEFAULT_TRACKING_URI, store_url: str | None = None) -> Loaded:
    """The model of `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        ModelError: the address has another form, or what it names can't be used.
    """
    path = uri.removeprefix("models:/") if uri.startswith("models:/") else ""
    name, _, version = path.partition("/")
    if name and version.isdigit():
        return load_version(name, version, tracking_uri=tracking_uri)
    name, _, alias = path.partition("@")
    if name and alias and "/" not in path:
        return load_registered(name, alias=alias, tracking_uri=tracking_uri, store_url=store_url)
    raise ModelError(f"model address {uri!r}; accepted: models:/NAME/VERSION or models:/NAME@ALIAS")


def load_champions(
    tracking_uri: str = DEFAULT_TRACKING_URI, store_url: str | None = None
) -> tuple[dict[str, Loaded], dict[str, str]]:
    """The champion of each family, and by registered name why a champion is refused."""
    store = open_store(tracking_uri, store_url)
    return load_each(mirror(store, versions(tracking_uri), tracking_uri), tracking_uri)


def load_each(
    champions: Mapping[str, Champion], tracking_uri: str
) -> tuple[dict[str, Loaded], dict[str, str]]:
    """These champions' models by family, and by registered name why one is refused."""
    models: dict[str, Loaded] = {}
    refused: dict[str, str] = {}
    for name, champion in sorted(champions.items()):
        try:
            model, info = load_decided(name, champion.version, champion.digest, tracking_uri=tracking_uri)
        except ModelError as error:
            refused[name] = str(error)
        else:
            models[str(model.family)] = (model, info)
    return models, refused


def load_decided(name: str, version: str, digest: str, *, tracking_uri: str = DEFAULT_TRACKING_URI) -> Loaded:
    """The version that the ledger names, if it still has the digest that the ledger names.

    Raises:
        ModelError: it is not registered, altered or made for other features, or is another model by now.
    """
    model, info = load_version(name, version, tracking_uri=tracking_uri)
    if info.digest != digest:
        raise ModelError(
            f"{name} version {version} is not the model that the ledger names; registry and store do not belong "
            "together, or the version was replaced"
        )
    return model, info


def list_models(
    tracking_uri: str = DEFAULT_TRACKING_URI, store_url: str | None = None
) -> list[dict[str, Any]]:
    """Every registered version of ours, newest first within a name; the alias champion is the store's.

    `promoted` holds time, who, reason and previous version of the decision by which a version last came to
    answer, and is empty for one that never did.
    """
    from training.champion_ledger import CHANGING

    store = open_store(tracking_uri, store_url)
    listed = versions(tracking_uri)
    champions = mirror(store, listed, tracking_uri)
    decided = {(e.name, e.version): e for e in store.entries() if e.action in CHANGING}
    for model in listed:
        others = [alias for alias in model["aliases"] if alias != CHAMPION]
        champion = champions.get(model["name"])
        answers = champion is not None and champion.version == model["version"]
        model["aliases"] = sorted([*others, *([CHAMPION] if answers else [])])
        entry = decided.get((model["name"], model["version"]))
        model["promoted"] = (
            {}
            if entry is None
            else {"time": entry.time, "who": entry.who, "reason": entry.reason, "previous": entry.previous}
        )
    return listed


def mirror(store: ChampionStore, listed: Iterable[dict[str, Any]], tracking_uri: str) -> dict[str, Champion]:
    """Let MLflow's aliases name the store's champions; those of a registry older than the ledger are adopted.

    The mirror never decides: where MLflow can't be written, a warning is logged and the store still counts.

    Args:
        store: the store of champions.
        listed: the versions as `training.registry.versions` gives them.
        tracking_uri: MLflow tracking and registry address.

    Returns:
        The champions by registered name.

    Raises:
        ModelError: the registry's versions were decided about in another store than this empty one.
    """
    known = list(listed)
    shown = {model["name"]: model["version"] for model in known if CHAMPION in model["aliases"]}
    champions = store.champions()
    if not champions and not store.entries():
        if any(model["ledger"] for model in known):  # nobody gets past the gate by way of an empty store
            raise ModelError(
                "the store of champions is empty, while versions of the registry carry entries of a ledger; set "
                "store_url to the store that holds it, or restore it. If it is lost, train into a new registry"
            )
        if shown:
            champions = _adopted(store, known)
    registered = {(model["name"], model["version"]) for model in known}
    for name in sorted({*shown, *champions}):
        wanted = champions[name].version if name in champions else None
        if shown.get(name) == wanted or (wanted is not None and (name, wanted) not in registered):
            continue
        try:
            set_alias(name, CHAMPION, wanted, tracking_uri=tracking_uri)
        except ModelError as error:
            _log.warning("the alias champion of %s could not be set: %s", name, error)
    return champions


def _adopted(store: ChampionStore, listed: Iterable[dict[str, Any]]) -> dict[str, Champion]:
    """The champions of an installation from before the ledger, now with an entry each."""
    from training.champion_store import Decision

    decisions = [
        Decision(
            who=acting_user(),
            action="adopt",
            name=model["name"],
            version=model["version"],
            digest=model["digest"],
            feature_digest=model["feature_digest"],
            reason=ADOPTED,
            evidence={"alias": CHAMPION},
        )
        for model in listed
        if CHAMPION in model["aliases"]
    ]
    try:
        store.adopt(decisions)
    except PromotionConflictError:  # another process adopted or promoted first
        _log.info("the champions were adopted by another process")
    return store.champions()


def acting_user() -> str:
    """Who decides, for the ledger: the setting `user`, or the account of the system."""
    named = load_settings().user
    if named:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as containers have
        return f"uid {os.getuid()}"
