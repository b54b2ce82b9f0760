"""Registered versions in MLflow: find, verify, load, list; here and in `training.track` alone MLflow is imported.

Which version answers is not MLflow's to say: its alias `champion` mirrors our own store (`training.champions`),
because an alias is decided by whoever writes last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

from crsrisk.errors import CrsRiskError, ModelError
from training.artefact import load_model, read_manifest
from training.model import RiskModel

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "crsrisk-"
CHAMPION, CHALLENGER = "champion", "challenger"
DEFAULT_TRACKING_URI = "sqlite:///crsrisk_data/mlflow.db"
DATA = "artifacts/model"  # our data inside a version; MLflow names the first part
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


class ModelInfo(NamedTuple):
    """Which registered version answers."""

    name: str
    version: str
    digest: str


class Verified(NamedTuple):
    """A version whose every file is the one that was registered; tags as MLflow keeps them."""

    model: RiskModel
    info: ModelInfo
    run_id: str
    tags: dict[str, str]


def model_name(family: str) -> str:
    """Name under which a family's versions are registered."""
    return PREFIX + family


def load_version(
    name: str, version: str, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> tuple[RiskModel, ModelInfo]:
    """A registered model whose data is what was registered.

    Raises:
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    with mlflow_client(tracking_uri) as client:
        return _loaded(_version(client, name, version, None), tracking_uri)


def load_alias(
    name: str, alias: str, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> tuple[RiskModel, ModelInfo]:
    """The model that MLflow's alias names, verified. Who is champion is asked of `training.champions`.

    Raises:
        ModelError: no such alias, or its files are incomplete, altered or made for other features.
    """
    with mlflow_client(tracking_uri) as client:
        return _loaded(_version(client, name, None, alias), tracking_uri)


def load_whole(name: str, version: str, *, tracking_uri: str = DEFAULT_TRACKING_URI) -> Verified:
    """A registered model of which every file, code and requirements included, is what was registered.

    Raises:
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    with mlflow_client(tracking_uri) as client, tempfile.TemporaryDirectory() as folder:
        found = _version(client, name, version, None)
        whole = _download(found, "", folder, tracking_uri)
        if tree_digest(whole) != found.tags["files_digest"]:
            raise ModelError(f"{name} version {version}: its files were altered; train a new version")
        model, info = _verified(found, whole / DATA)
        return Verified(model, info, str(found.run_id), dict(found.tags))


def model_beside(folder: Path) -> tuple[RiskModel, ModelInfo]:
    """The model of a version that MLflow has unpacked, with the name and version that MLflow noted beside it.

    Raises:
        ModelError: its files are incomplete, altered or made for other features.
    """
    model = load_model(folder)
    noted: dict[str, str] = {}
    meta = folder.parent.parent / "registered_model_meta"
    if meta.is_file():
        lines = meta.read_text(encoding="utf-8").splitlines()
        noted = {
            key.strip(): value.strip(" '\"") for key, _, value in (line.partition(":") for line in lines)
        }
    name = noted.get("model_name") or model_name(str(model.family))
    return model, ModelInfo(name, noted.get("model_version", "unregistered"), read_manifest(folder)["digest"])


def versions(tracking_uri: str = DEFAULT_TRACKING_URI) -> list[dict[str, Any]]:
    """Every registered version of ours with MLflow's aliases, newest first within a name."""
    with mlflow_client(tracking_uri) as client:
        listed = []
        for registered in client.search_registered_models(f"name LIKE '{PREFIX}%'", max_results=100):
            aliases: dict[str, list[str]] = {}
            for alias, number in registered.aliases.items():
                aliases.setdefault(str(number), []).append(alias)
            found = client.search_model_versions(f"name = '{registered.name}'", max_results=1000)
            listed += [
                _listed(v, sorted(aliases.get(str(v.version), []))) for v in found if "digest" in v.tags
            ]
    return sorted(listed, key=lambda m: (m["name"], -int(m["version"])))


def version_tags(
    name: str, version: str, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> tuple[str, dict[str, str]]:
    """Run and tags of a version.

    Raises:
        ModelError: no such version.
    """
    with mlflow_client(tracking_uri) as client:
        found = _version(client, name, version, None)
        return str(found.run_id), dict(found.tags)


def run_table(
    run_id: str, stem: str, digest: str, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> pd.DataFrame:
    """A table that a run logged, as text columns, when it still has the digest that was noted.

    Raises:
        ModelError: it is not there or was altered.
    """
    import pandas as pd

    with mlflow_client(tracking_uri) as client, tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(client.download_artifacts(run_id, f"tables/{stem}.csv", folder))
            content = path.read_bytes()
        except (OSError, CrsRiskError):
            raise ModelError(f"table {stem} of the run can't be read; train a new version") from None
    if text_digest(content) != digest:
        raise ModelError(f"table {stem} of the run was altered; train a new version")
    return pd.read_csv(io.BytesIO(content), dtype="str", keep_default_na=False)


def set_alias(
    name: str, alias: str, version: str | None, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> None:
    """Let an alias name a version, or none.

    Raises:
        ModelError: MLflow refuses.
    """
    with mlflow_client(tracking_uri) as client:
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, version)


def tag_version(
    name: str, version: str, tags: Mapping[str, str], *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> None:
    """Note facts with a version.

    Raises:
        ModelError: MLflow refuses.
    """
    with mlflow_client(tracking_uri) as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)


def tree_files(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path of every file that makes up a version.

    What MLflow and Python add when they load a version is left out.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "registered_model_meta" and "__pycache__" not in path.parts
    }


def tree_digest(folder: Path) -> str:
    """Digest of all files that make up a version."""
    return text_digest(json.dumps(tree_files(folder), sort_keys=True, separators=(",", ":")).encode())


def text_digest(content: bytes) -> str:
    """Digest as tags and manifests state it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def fetch(address: str, folder: str) -> Path:
    """Files at an address of MLflow, copied into a folder.

    Raises:
        ModelError: they can't be read.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=address, dst_path=folder))
    except MlflowException as error:
        raise ModelError(f"the artefacts can't be read ({error.error_code})") from None


# ---- one version


def _version(client: Any, name: str, version: str | None, alias: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    wanted = f"{name} version {version}" if version is not None else f"{name}@{alias}"
    try:
        if version is None:
            found = client.get_model_version_by_alias(name, alias)
        else:
            found = client.get_model_version(name, str(version))
    except MlflowException:
        raise ModelError(f"{wanted} is not registered; see the list of: crsrisk models") from None
    absent = {"digest", "files_digest", "family"} - set(found.tags)
    if absent or found.status != "READY":
        raise ModelError(f"{wanted} was not registered by crsrisk or is incomplete; train a new version")
    return found


def _loaded(found: Any, tracking_uri: str) -> tuple[RiskModel, ModelInfo]:
    with tempfile.TemporaryDirectory() as folder:
        return _verified(found, _download(found, DATA, folder, tracking_uri))


def _verified(found: Any, folder: Path) -> tuple[RiskModel, ModelInfo]:
    manifest = read_manifest(folder)
    if manifest["digest"] != found.tags["digest"]:
        raise ModelError(f"{found.name} version {found.version}: its files were altered; train a new version")
    return load_model(folder), ModelInfo(found.name, str(found.version), manifest["digest"])


def _download(found: Any, path: str, folder: str, tracking_uri: str) -> Path:
    address = f"models:/{found.name}/{found.version}" + (f"/{path}" if path else "")
    try:
        return fetch(address, folder)
    except (OSError, CrsRiskError) as error:
        raise ModelError(
            f"{found.name} version {found.version}: its files can't be read from the artefact store of "
            f"{urlparse(tracking_uri).scheme} ({type(error).__name__}); train a new version"
        ) from None


def _listed(found: Any, aliases: list[str]) -> dict[str, Any]:
    tags = found.tags
    return {
        "name": found.name,
        "version": str(found.version),
        "aliases": aliases,
        "family": tags["family"],
        "strategy": tags["strategy"],
        "digest": tags["digest"],
        "feature_digest": tags["feature_digest"],
        "n_patients": int(tags["n_patients"]),
        "n_events": int(tags["n_events"]),
        "dataset_digest": tags["dataset_digest"],
        "created": datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        "run_id": found.run_id,
        "simulated": tags.get("simulated") == "true",
        "ledger": tags.get("ledger", ""),
    }


# ---- MLflow itself


@contextmanager
def mlflow_client(tracking_uri: str) -> Iterator[Any]:
    """A client for this address; MLflow's global addresses are set meanwhile and given back.

    Raises:
        ModelError: MLflow refuses what is asked inside.
    """
    stay_offline()
    import logging

    import mlflow
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    path = sqlite_path(tracking_uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    try:
        yield mlflow.MlflowClient(tracking_uri, tracking_uri)
    except MlflowException as error:
        raise ModelError(
            f"MLflow at a {urlparse(tracking_uri).scheme} address refused ({error.error_code}); "
            "check the tracking address and that its server or file can be reached"
        ) from error
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def stay_offline() -> None:
    """No telemetry and no chatter from MLflow, unless the environment says otherwise; before its first import."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def without_hint_warnings() -> Iterator[None]:
    """Silence for MLflow's warning about the hint list[dict[str, Any]], which is the contract's.

    MLflow partly sets a filter of its own before it warns, so that a filter of ours alone has no say.
    """
    stay_offline()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*inferred as AnyType.*")
        shown: Callable[..., None] = warnings.showwarning

        def show(message: Warning | str, *place: Any, **more: Any) -> None:
            if "inferred as AnyType" not in str(message):
                shown(message, *place, **more)

        warnings.showwarning = show
        yield


def sqlite_path(url: str) -> Path | None:
    """File of a SQLite address; None for another kind."""
    if not url.startswith("sqlite:///"):
        return None
    return Path(url.removeprefix("sqlite:///")).resolve()
