"""What a registered version left behind: model, tags, metrics, parameters, tables, figures and notes of its run."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from crsrisk.errors import CrsRiskError, ModelError
from training.artefact import load_model, read_manifest
from training.champions import list_models
from training.model import RiskModel
from training.registry import CHAMPION, DATA, PREFIX, fetch, mlflow_client

if TYPE_CHECKING:
    import pandas as pd

OURS = "crsrisk"
Row = dict[str, str]  # of a logged table, every cell as text
# Aggregates alone: tables with a row per patient stay where they are.
TABLES = (
    "attrition",
    "therapies",
    "metrics",
    "sensitivity_uncertain_grades",
    "comparisons",
    "calibration_groups",
    "calibration_smooth",
    "roc",
    "precision_recall",
    "decision_curve",
    "alerts",
    "subgroups",
    "validation",
    "with_support",
    "without_against_with_support",
    "instability",
    "treatment_policy",
    "without_rescue",
    "positivity",
    "rescue_sensitivity",
    "usual_care",
    "without_against_usual_care",
    "predictors",
    "strategies",
)
FIGURES = ("calibration", "roc", "precision_recall", "decision_curve", "shap_beeswarm")
LARGEST_FIGURE = 3_000_000  # bytes; a larger drawing would make the report unwieldy


@dataclass(frozen=True, eq=False, kw_only=True)
class Logged:
    """All that a report is made of.

    version: as `training.champions.list_models` gives it, with `promoted`. metrics: MLflow's, by name with
    `_low` and `_high`. tables: by stem, every cell as the text that was logged. figures: SVG by stem, only those
    whose data was not logged as a table. absent: stems of TABLES that the run lacks.
    """

    version: Mapping[str, Any]
    tags: Mapping[str, str]
    model: RiskModel
    manifest: Mapping[str, Any]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, bytes]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Registered name."""
        return str(self.version["name"])

    @property
    def number(self) -> str:
        """Number of the version."""
        return str(self.version["version"])

    @property
    def family(self) -> str:
        """Key of the family."""
        return str(self.version["family"])

    @property
    def patients(self) -> int:
        """Patients that the version learned from."""
        return int(self.version["n_patients"])

    @property
    def events(self) -> int:
        """Patients with severe CRS among them."""
        return int(self.version["n_events"])

    @property
    def answers(self) -> bool:
        """Whether this version is the champion today."""
        return CHAMPION in self.version["aliases"]

    @property
    def simulated(self) -> bool:
        """Whether it learned from simulated patients."""
        return self.model.simulated or bool(self.version["simulated"])

    @property
    def absent(self) -> tuple[str, ...]:
        """Tables that the run lacks."""
        return tuple(stem for stem in TABLES if stem not in self.tables)

    def table(self, stem: str) -> pd.DataFrame | None:
        """A table that has rows; None when it was not logged or is empty."""
        found = self.tables.get(stem)
        return None if found is None or found.empty else found

    def image(self, stem: str) -> str:
        """A logged drawing as an address that needs no other file; '' when there is none."""
        drawn = self.figures.get(stem)
        return "" if drawn is None else "data:image/svg+xml;base64," + base64.b64encode(drawn).decode("ascii")


def read_logged(
    name: str, version: str | None = None, *, tracking_uri: str, store_url: str | None = None
) -> Logged:
    """What a version left behind.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: its number; None: the champion, or the newest where none was promoted.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.

    Raises:
        ModelError: no such name or version, its files or its run can't be read, or they contradict each other.
    """
    found = _listed(name, version, tracking_uri, store_url)
    title = f"{name} version {found['version']}"
    run = _run(tracking_uri, found["run_id"], title)
    with mlflow_client(tracking_uri) as client, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        root = str(run.info.artifact_uri)
        files = {entry.path for entry in client.list_artifacts(found["run_id"])}
        tags = dict(client.get_model_version(name, found["version"]).tags)
        model, manifest = _model(found, tags, folder, title)
        there = {
            part: {Path(entry.path).stem for entry in client.list_artifacts(found["run_id"], part)}
            for part in ("tables", "figures")
        }
        tables = {stem: _table(root, stem, folder) for stem in TABLES if stem in there["tables"]}
        drawn = {
            stem: _content(root, f"figures/{stem}.svg", folder)
            for stem in FIGURES
            if stem in there["figures"] and not _replaced(stem, tables)
        }
        notes = _notes(root, folder) if "notes.txt" in files else ()
    logged = Logged(
        version=found,
        tags=tags,
        model=model,
        manifest=manifest,
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tables=tables,
        figures={stem: svg for stem, svg in drawn.items() if len(svg) <= LARGEST_FIGURE},
        notes=notes,
    )
    _agree(logged, title)
    return logged


def _listed(name: str, version: str | None, tracking_uri: str, store_url: str | None) -> dict[str, Any]:
    """The version as the list of models has it."""
    listed = list_models(tracking_uri, store_url)
    mine = [m for m in listed if m["name"] == name]
    if not mine:
        there = sorted({m["name"] for m in listed})
        hint = f" (did you mean {PREFIX}{name}?)" if PREFIX + name in there else ""
        raise ModelError(
            f"no model {name!r} is registered{hint}; there are {there or 'none'}; see the list of: crsrisk models"
        )
    if version is None:
        return next((m for m in mine if CHAMPION in m["aliases"]), mine[0])
    for one in mine:
        if one["version"] == str(version):
            return one
    numbers = [m["version"] for m in mine]
    raise ModelError(f"{name} has no version {str(version)!r}; it has {numbers}")


def _model(
    found: Mapping[str, Any], tags: Mapping[str, str], folder: Path, title: str
) -> tuple[RiskModel, dict[str, Any]]:
    """The model as data, also of a release whose features this program no longer computes."""
    try:
        data = fetch(f"models:/{found['name']}/{found['version']}/{DATA}", str(folder))
    except (OSError, CrsRiskError):
        raise ModelError(f"{title}: its files can't be read; train a new version") from None
    manifest = read_manifest(data)
    if manifest["digest"] != found["digest"]:
        raise ModelError(f"{title}: its files were altered; train a new version")
    return load_model(data, feature_digest=tags.get("feature_digest", "")), manifest


def _run(tracking_uri: str, run_id: str, title: str) -> Any:
    try:
        with mlflow_client(tracking_uri) as client:
            return client.get_run(run_id)
    except ModelError:
        raise ModelError(
            f"{title}: the run that made it can't be read, and with it the numbers of its report; restore the run "
            "or train a new version"
        ) from None


def _content(root: str, path: str, folder: Path) -> bytes:
    """A file of the run; asked for at its own address, which spares a look into the database for each."""
    parts = urlsplit(root)
    address = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))
    try:
        return fetch(address, str(folder)).read_bytes()
    except (OSError, CrsRiskError):
        raise ModelError(f"{path} of the run can't be read; mend the artefact store") from None


def _table(root: str, stem: str, folder: Path) -> pd.DataFrame:
    import pandas as pd

    content = _content(root, f"tables/{stem}.csv", folder)
    try:
        return pd.read_csv(io.BytesIO(content), dtype="str", keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except ValueError:
        raise ModelError(f"table {stem} of the run is no CSV; train a new version") from None


def _replaced(stem: str, tables: Mapping[str, pd.DataFrame]) -> bool:
    """Whether a drawing can be made from what was logged as a table."""
    needed = {
        "calibration": "calibration_groups",
        "roc": "roc",
        "precision_recall": "precision_recall",
        "decision_curve": "decision_curve",
        "shap_beeswarm": "predictors",
    }
    return needed[stem] in tables


def _notes(root: str, folder: Path) -> tuple[str, ...]:
    lines = _content(root, "notes.txt", folder).decode("utf-8").splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _agree(logged: Logged, title: str) -> None:
    """Metrics stand in two places; a report of numbers that contradict each other helps nobody."""
    table = logged.table("metrics")
    if table is None:
        return
    for row in table_rows(table[table["model"] == OURS]):
        name = metric_name(row)
        for key, column in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high")):
            if key in logged.metrics and row[column] != "" and float(row[column]) != logged.metrics[key]:
                raise ModelError(f"{title}: metric {key} and table metrics differ; one of them was altered")


def table_rows(table: pd.DataFrame) -> list[Row]:
    """The rows of a logged table."""
    return [{str(name): str(cell) for name, cell in row.items()} for row in table.to_dict("records")]


def metric_name(row: Mapping[Any, str]) -> str:
    """Name under which a line of the table `metrics` is logged as a metric.

    >>> metric_name({"metric": "auroc", "landmark_hours": "24.0", "horizon": "rest"})
    'auroc_landmark24_horizonrest'
    """
    if row["landmark_hours"] == "":
        place = "pooled" if row["horizon"] == "all" else f"pooled_horizon{row['horizon']}"
    else:
        place = f"landmark{float(row['landmark_hours']):g}_horizon{row['horizon']}"
    return f"{row['metric']}_{place}"
