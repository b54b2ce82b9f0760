"""Runs, artefacts and registered versions in MLflow, which only this module imports (late: it takes seconds).

A version is registered last, in one transaction, after everything it consists of was written, read back and
verified. So a run that dies leaves no version, and never touches the champion: `promote` alone does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

from crsrisk._version import __version__
from crsrisk.errors import CrsRiskError, ModelError
from training.artefact import load_model, read_manifest, save_model
from training.model import RiskModel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from training.pipeline import TrainedFamily

EXPERIMENT = "crsrisk"
PREFIX = "crsrisk-"
CHAMPION, CHALLENGER = "champion", "challenger"
DEFAULT_TRACKING_URI = "sqlite:///crsrisk_data/mlflow.db"
DATA = "artifacts/model"  # our data inside a version; MLflow names the first part
PACKAGES = ("crsrisk", "features", "training", "serving")
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "lightgbm",
    "scikit-learn",
    "scipy",
    "pydantic",
    "fastapi",
)
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}

Progress = Callable[[str, int, int], None]


class Metric(NamedTuple):
    """A metric with its interval; low and high are nan when there is none."""

    value: float
    low: float
    high: float


class ModelInfo(NamedTuple):
    """Which registered version answers."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class FamilyRun:
    """What one family's child run records: the model and how it came about.

    metrics: by name, `auroc_pooled` or `auroc_landmark24_horizon72`; logged as name, name_low and name_high.
    tables: by file stem, logged as CSV (attrition, metrics, calibration...). figures: by file stem, as SVG.
    """

    model: RiskModel
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def family(self) -> str:
        """Key of the family."""
        if self.model.family is None:
            raise ModelError("a model without a family can't be registered; name its family")
        return self.model.family

    @classmethod
    def of(cls, trained: TrainedFamily) -> FamilyRun:
        """What the pipeline trained, with everything that a run records of it."""
        return cls(
            model=trained.model,
            metrics={name: Metric(*interval) for name, interval in trained.metrics().items()},
            params=trained.params,
            tables=trained.tables(),
            figures=trained.figures(),
            notes=trained.notes,
        )


@dataclass(frozen=True)
class Registered:
    """A registered version and the run that made it."""

    info: ModelInfo
    family: str
    run_id: str


def model_name(family: str) -> str:
    """Name under which a family's versions are registered."""
    return PREFIX + family


def log_training(
    families: Sequence[FamilyRun],
    *,
    dataset_digest: str,
    params: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    progress: Progress | None = None,
) -> list[Registered]:
    """One parent run, a child run per family, and then a new version per family with the alias `challenger`.

    Args:
        families: what was trained.
        dataset_digest: digest of the cohort.
        params: of the whole training: seed, trials, folds...
        tables: of the whole training, logged with the parent run.
        tracking_uri: MLflow tracking and registry address; artefacts of SQLite lie beside its file.
        progress: told about every step.

    Raises:
        ModelError: an artefact read back differs from what was written; nothing is registered then.
    """
    steps = _Steps(progress, total=4 * len(families) + 1)
    with _mlflow(tracking_uri) as client:
        experiment = _experiment(client, tracking_uri)
        tags = {"dataset_digest": dataset_digest, "crsrisk_version": __version__} | _git()
        with _run(client, experiment, "train", tags) as parent:
            _log(client, parent, params=dict(params) | tags, tables=tables or {})
            steps.done("run")
            child = tags | {"mlflow.parentRunId": parent}
            logged = [_log_family(client, experiment, family, child, steps) for family in families]
            # only now that every family is complete does the registry hear of them
            return [_register(client, entry, steps) for entry in logged]


def load_registered(
    name: str,
    version: str | None = None,
    *,
    alias: str = CHAMPION,
    tracking_uri: str = DEFAULT_TRACKING_URI,
) -> tuple[RiskModel, ModelInfo]:
    """A registered model whose files are those that were registered.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: number of the version; the one with `alias` when None.
        alias: champion or challenger.
        tracking_uri: MLflow tracking and registry address.

    Raises:
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    with _mlflow(tracking_uri) as client:
        found = _version(client, name, version, alias)
        with tempfile.TemporaryDirectory() as folder:
            return _verified(found, _download(found, DATA, folder, tracking_uri))


def load_uri(uri: str, *, tracking_uri: str = DEFAULT_TRACKING_URI) -> tuple[RiskModel, ModelInfo]:
    """The model of `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        ModelError: the address has another form, or what it names can't be used.
    """
    path = uri.removeprefix("models:/") if uri.startswith("models:/") else ""
    name, _, version = path.partition("/")
    if name and version.isdigit():
        return load_registered(name, version, tracking_uri=tracking_uri)
    name, _, alias = path.partition("@")
    if name and alias and "/" not in path:
        return load_registered(name, alias=alias, tracking_uri=tracking_uri)
    raise ModelError(f"model address {uri!r}; accepted: models:/NAME/VERSION or models:/NAME@ALIAS")


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


def load_champions(
    tracking_uri: str = DEFAULT_TRACKING_URI,
) -> tuple[dict[str, tuple[RiskModel, ModelInfo]], dict[str, str]]:
    """The champion of each family, and by registered name why a champion is refused."""
    models: dict[str, tuple[RiskModel, ModelInfo]] = {}
    refused: dict[str, str] = {}
    for entry in list_models(tracking_uri):
        if CHAMPION not in entry["aliases"]:
            continue
        try:
            model, info = load_registered(entry["name"], entry["version"], tracking_uri=tracking_uri)
        except ModelError as error:
            refused[entry["name"]] = str(error)
        else:
            models[entry["family"]] = (model, info)
    return models, refused


def promote(
    name: str, version: str, reason: str, *, tracking_uri: str = DEFAULT_TRACKING_URI
) -> dict[str, Any]:
    """Make a version the champion: what it was, what it replaced and why.

    Raises:
        CrsRiskError: no reason is given.
        ModelError: no such version, or its files are incomplete, altered or made for other features.
    """
    if not reason.strip():
        raise CrsRiskError("a promotion without a reason; say why this version shall answer")
    with _mlflow(tracking_uri) as client:
        found = _version(client, name, version, None)
        with tempfile.TemporaryDirectory() as folder:
            whole = _download(found, "", folder, tracking_uri)
            if _tree_digest(whole) != found.tags["files_digest"]:
                raise ModelError(f"{name} version {version}: its files were altered; train a new version")
            _, info = _verified(found, whole / DATA)
        previous = client.get_registered_model(name).aliases.get(CHAMPION)
        promoted = {
            "reason": reason.strip(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "previous": None if previous is None else str(previous),
        }
        for key, value in promoted.items():
            client.set_model_version_tag(name, info.version, f"promoted_{key}", value or "none")
        client.set_registered_model_alias(
            name, CHAMPION, info.version
        )  # last: this alone changes who answers
        return {"name": name, "version": info.version, "digest": info.digest} | promoted


def list_models(tracking_uri: str = DEFAULT_TRACKING_URI) -> list[dict[str, Any]]:
    """Every registered version of ours with its aliases, newest first within a name."""
    with _mlflow(tracking_uri) as client:
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


# ---- one family


class _Logged(NamedTuple):
    """A complete, verified MLflow model that is not registered yet; `tags` are for its version."""

    family: str
    run_id: str
    info: Any
    tags: dict[str, str]


def _log_family(
    client: Any, experiment: str, run: FamilyRun, tags: Mapping[str, str], steps: _Steps
) -> _Logged:
    family, model = run.family, run.model
    with _run(client, experiment, family, dict(tags) | {"family": family}) as run_id:
        facts = {
            "family": family,
            "strategy": model.strategy,
            "seed": model.seed,
            "feature_digest": model.feature_digest,
            "n_patients": model.n_patients,
            "n_events": model.n_events,
        }
        given = {f"lightgbm_{name}": value for name, value in model.parameters.items()}
        notes = "\n".join([*model.notes, *run.notes])
        _log(client, run_id, params=facts | given | dict(run.params), tables=run.tables, metrics=run.metrics)
        if notes:
            client.log_text(run_id, notes + "\n", "notes.txt")
        steps.done(f"{family}: run")
        for stem, figure in run.figures.items():
            client.log_figure(run_id, figure, f"figures/{stem}.svg")
        steps.done(f"{family}: figures")
        with tempfile.TemporaryDirectory() as folder:
            manifest = save_model(model, Path(folder) / "model")
            info = _log_model(run_id, Path(folder) / "model")
        version_tags = {
            "digest": manifest["digest"],
            "family": family,
            "strategy": model.strategy,
            "feature_digest": model.feature_digest,
            "contract": str(manifest["contract"]),
            "dataset_digest": tags["dataset_digest"],
            "crsrisk_version": __version__,
            "n_patients": str(model.n_patients),
            "n_events": str(model.n_events),
        }
        with tempfile.TemporaryDirectory() as folder:
            written = _fetch(info.model_uri, folder)
            if read_manifest(written / DATA)["digest"] != manifest["digest"]:
                raise ModelError(f"{family}: the artefact store returned other files than were written")
            load_model(written / DATA)
            version_tags["files_digest"] = _tree_digest(written)
        steps.done(f"{family}: artefacts")
        return _Logged(run.family, run_id, info, version_tags)


def _log_model(run_id: str, data: Path) -> Any:
    """Log data and code as an MLflow model; without a Python object nothing is pickled."""
    import mlflow

    entry = _package("serving") / "model_entry.py"
    with without_hint_warnings(), mlflow.start_run(run_id=run_id, log_system_metrics=False):
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(entry),
            code_paths=[str(_package(name)) for name in PACKAGES],
            artifacts={"model": str(data)},
            pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
        )


@contextmanager
def without_hint_warnings() -> Iterator[None]:
    """Silence for MLflow's warning about the hint list[dict[str, Any]], which is the contract's.

    MLflow partly sets a filter of its own before it warns, so that a filter of ours alone has no say.
    """
    _stay_offline()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*inferred as AnyType.*")
        shown: Callable[..., None] = warnings.showwarning

        def show(message: Warning | str, *place: Any, **more: Any) -> None:
            if "inferred as AnyType" not in str(message):
                shown(message, *place, **more)

        warnings.showwarning = show
        yield


def _register(client: Any, logged: _Logged, steps: _Steps) -> Registered:
    from mlflow.exceptions import MlflowException

    name = model_name(logged.family)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    steps.done(f"{logged.family}: registering")
    found = client.create_model_version(
        name,
        source=logged.info.model_uri,
        run_id=logged.run_id,
        tags=logged.tags,
        model_id=logged.info.model_id,
    )
    client.set_registered_model_alias(name, CHALLENGER, found.version)
    return Registered(
        ModelInfo(name, str(found.version), logged.tags["digest"]), logged.family, logged.run_id
    )


def _log(
    client: Any,
    run_id: str,
    *,
    params: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, Metric] | None = None,
) -> None:
    from mlflow import entities

    now = int(datetime.now(UTC).timestamp() * 1000)
    numbers = {
        f"{name}{suffix}": float(number)
        for name, estimate in (metrics or {}).items()
        for suffix, number in zip(("", "_low", "_high"), estimate, strict=True)
        if isfinite(number)
    }
    logged = [entities.Metric(name, number, now, 0) for name, number in numbers.items()]
    stated = [entities.Param(name, _param(value)) for name, value in params.items()]
    for start in range(0, max(len(logged), len(stated)), 90):
        client.log_batch(run_id, metrics=logged[start : start + 90], params=stated[start : start + 90])
    for stem, table in tables.items():
        client.log_text(run_id, _without_identifiers(table).to_csv(index=False), f"tables/{stem}.csv")


def _without_identifiers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with running numbers for courses and patients: many people read an MLflow server."""
    import pandas as pd

    numbered = table.copy()
    for name in ("course_id", "patient_id"):
        if name in numbered:
            numbered[name] = pd.factorize(numbered[name])[0] + 1
    return numbered


def _param(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 5000 else text[:4990] + "..."


# ---- versions


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


def _verified(found: Any, folder: Path) -> tuple[RiskModel, ModelInfo]:
    manifest = read_manifest(folder)
    if manifest["digest"] != found.tags["digest"]:
        raise ModelError(f"{found.name} version {found.version}: its files were altered; train a new version")
    return load_model(folder), ModelInfo(found.name, str(found.version), manifest["digest"])


def _download(found: Any, path: str, folder: str, tracking_uri: str) -> Path:
    address = f"models:/{found.name}/{found.version}" + (f"/{path}" if path else "")
    try:
        return _fetch(address, folder)
    except (OSError, CrsRiskError) as error:
        raise ModelError(
            f"{found.name} version {found.version}: its files can't be read from the artefact store of "
            f"{urlparse(tracking_uri).scheme} ({type(error).__name__}); train a new version"
        ) from None


def _fetch(address: str, folder: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=address, dst_path=folder))
    except MlflowException as error:
        raise ModelError(f"the artefacts can't be read ({error.error_code})") from None


def _listed(found: Any, aliases: list[str]) -> dict[str, Any]:
    tags = found.tags
    return {
        "name": found.name,
        "version": str(found.version),
        "aliases": aliases,
        "family": tags["family"],
        "strategy": tags["strategy"],
        "digest": tags["digest"],
        "n_patients": int(tags["n_patients"]),
        "n_events": int(tags["n_events"]),
        "dataset_digest": tags["dataset_digest"],
        "created": datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        "promoted": {
            key: tags[f"promoted_{key}"]
            for key in ("time", "reason", "previous")
            if f"promoted_{key}" in tags
        },
        "run_id": found.run_id,
    }


def _tree_digest(folder: Path) -> str:
    text = json.dumps(tree_files(folder), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# ---- MLflow itself


class _Steps:
    """Counts steps for the progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.count = progress, total, 0

    def done(self, what: str) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress(f"MLflow: {what}", self.count, self.total)


@contextmanager
def _mlflow(tracking_uri: str) -> Iterator[Any]:
    """A client for this address; MLflow's global addresses are set meanwhile and given back."""
    _stay_offline()
    import logging

    import mlflow
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _make_folder(tracking_uri)
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


def _stay_offline() -> None:
    """No telemetry and no chatter from MLflow, unless the environment says otherwise; before its first import."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def _make_folder(tracking_uri: str) -> None:
    path = _sqlite_path(tracking_uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)


def _sqlite_path(tracking_uri: str) -> Path | None:
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return Path(tracking_uri.removeprefix("sqlite:///")).resolve()


def _experiment(client: Any, tracking_uri: str) -> str:
    """The experiment's id; with SQLite its artefacts lie in the folder `artifacts` beside the database."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    path = _sqlite_path(tracking_uri)
    location = None if path is None else (path.parent / "artifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


@contextmanager
def _run(client: Any, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """A run that ends as FINISHED, or as FAILED when an error leaves it."""
    run_id = str(client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)
    try:
        yield run_id
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _package(name: str) -> Path:
    """Folder of an installed package, without importing it: training must not import serving."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModelError(f"package {name!r} is not installed; install crsrisk again")
    return Path(spec.origin).parent


def _git() -> dict[str, str]:
    """Commit of the code when it runs from its repository, with `-dirty` for changes not committed."""
    git, folder = shutil.which("git"), _package("crsrisk").parent
    if git is None:
        return {}

    def ask(*words: str) -> str | None:
        answer = subprocess.run(  # noqa: S603  # fixed words, no user input
            [git, "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None or ask("ls-files", "--error-unmatch", "crsrisk/__init__.py") is None:
        return {}
    dirty = bool(ask("status", "--porcelain", "--", *PACKAGES))
    return {"git_commit": commit + ("-dirty" if dirty else "")}
