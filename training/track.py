"""Runs, artefacts and new versions in MLflow, which only this module and `training.registry` import (late).

A version is registered last, in one transaction, after everything it consists of was written, read back and
verified. So a run that dies leaves no version, and never touches the champion: `training.promotions` alone does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crsrisk._version import __version__
from crsrisk.errors import ModelError
from training.artefact import load_model, read_manifest, save_model
from training.kept import Kept, digest_tag
from training.model import RiskModel
from training.registry import (
    CHALLENGER,
    CHAMPION,
    DATA,
    DEFAULT_TRACKING_URI,
    PREFIX,
    ModelInfo,
    fetch,
    mlflow_client,
    model_beside,
    model_name,
    sqlite_path,
    text_digest,
    tree_digest,
    tree_files,
    without_hint_warnings,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from training.pipeline import TrainedFamily

__all__ = [  # the names of the registry that callers of this module use
    "CHALLENGER",
    "CHAMPION",
    "PREFIX",
    "FamilyRun",
    "Metric",
    "ModelInfo",
    "Registered",
    "log_files",
    "log_training",
    "model_beside",
    "model_name",
    "tree_files",
    "without_hint_warnings",
]

EXPERIMENT = "crsrisk"
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
    "sqlalchemy",
    "fastapi",
)

Progress = Callable[[str, int, int], None]


class Metric(NamedTuple):
    """A metric with its interval; low and high are nan when there is none."""

    value: float
    low: float
    high: float


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
    kept: Kept = field(default_factory=Kept)

    @property
    def family(self) -> str:
        """Key of the family."""
        if self.model.family is None:
            raise ModelError("a model without a family can't be registered; name its family")
        return self.model.family

    @classmethod
    def of(cls, trained: TrainedFamily, kept: Kept | None = None) -> FamilyRun:
        """What the pipeline trained, with everything that a run records of it."""
        return cls(
            model=trained.model,
            metrics={name: Metric(*interval) for name, interval in trained.metrics().items()},
            params=trained.params,
            tables=trained.tables(),
            figures=trained.figures(),
            notes=trained.notes,
            kept=kept or Kept(),
        )


@dataclass(frozen=True)
class Registered:
    """A registered version and the run that made it."""

    info: ModelInfo
    family: str
    run_id: str


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
    with mlflow_client(tracking_uri) as client:
        experiment = _experiment(client, tracking_uri)
        tags = {"dataset_digest": dataset_digest, "crsrisk_version": __version__} | _git()
        with _run(client, experiment, "train", tags) as parent:
            _log(client, parent, params=dict(params) | tags, tables=tables or {})
            steps.done("run")
            child = tags | {"mlflow.parentRunId": parent}
            logged = [_log_family(client, experiment, family, child, steps) for family in families]
            # only now that every family is complete does the registry hear of them
            return [_register(client, entry, steps) for entry in logged]


def log_files(run_id: str, files: Mapping[str, str], folder: str, *, tracking_uri: str) -> None:
    """Add texts to a run, by file name, in a folder of its artefacts."""
    with mlflow_client(tracking_uri) as client:
        for name, text in files.items():
            client.log_text(run_id, text, f"{folder}/{name}")


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
        digests = _log_tables(client, run_id, run.kept.tables)
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
            **run.kept.tags,
            **{digest_tag(stem): digest for stem, digest in digests.items()},
        }
        with tempfile.TemporaryDirectory() as folder:
            written = fetch(info.model_uri, folder)
            if read_manifest(written / DATA)["digest"] != manifest["digest"]:
                raise ModelError(f"{family}: the artefact store returned other files than were written")
            load_model(written / DATA)
            version_tags["files_digest"] = tree_digest(written)
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
    _log_tables(client, run_id, tables)


def _log_tables(client: Any, run_id: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Log tables as CSV; the digest of each by file stem."""
    digests = {}
    for stem, table in tables.items():
        text = _without_identifiers(table).to_csv(index=False)
        client.log_text(run_id, text, f"tables/{stem}.csv")
        digests[stem] = text_digest(text.encode("utf-8"))
    return digests


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


class _Steps:
    """Counts steps for the progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.count = progress, total, 0

    def done(self, what: str) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress(f"MLflow: {what}", self.count, self.total)


def _experiment(client: Any, tracking_uri: str) -> str:
    """The experiment's id; with SQLite its artefacts lie in the folder `artifacts` beside the database."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    path = sqlite_path(tracking_uri)
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
