"""Reports as a test reads them, and a registry with an old and a complete version of a toy model."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from tests.toy_models import tree_model
from training.evaluate import evaluate
from training.pipeline import metric_names
from training.registry import DATA
from training.report.evidence import curve_tables
from training.report.logged import TABLES
from training.suite import suite
from training.track import FamilyRun, Metric, log_training

FAMILY, NAME = "cd19_cart", "crsrisk-cd19_cart"
PATIENTS = 150
SPITEFUL = '<script>alert("x")</script> & "quoted"'


@dataclass
class Cell:
    """A cell of a table: its text without the second line, the second line, and its attributes."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    sub: str = ""
    sub_lang: str = ""


@dataclass
class Page(HTMLParser):
    """What a report holds: every tag, the cells of its tables, and all text."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    text: str = ""
    foreign: list[str] = field(default_factory=list)  # texts marked as of another language

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._cell: Cell | None = None
        self._sub, self._foreign, self._style = 0, 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self._style = tag == "style"
        if tag in ("td", "th"):
            self._cell = Cell(tag, given)
            self.cells.append(self._cell)
        if tag == "span" and given.get("class") == "sub":
            self._sub = 1
            if self._cell is not None:
                self._cell.sub_lang = given.get("lang", "")
        if tag != "html" and "lang" in given:
            self._foreign = 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None
        if tag == "span":
            self._sub = self._foreign = 0
        if tag in ("li", "p"):
            self._foreign = 0
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            return
        self.text += data
        if self._foreign and data.strip():
            self.foreign.append(data.strip())
        if self._cell is not None:
            if self._sub:
                self._cell.sub += data.strip()
            else:
                self._cell.text = f"{self._cell.text} {data.strip()}".strip()

    def facts(self, name: str) -> list[Cell]:
        """Cells with this data attribute."""
        return [cell for cell in self.cells if f"data-{name}" in cell.attributes]


def read_page(file: Path) -> Page:
    """A report, parsed."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


@dataclass
class Run:
    """What MLflow holds of a version, read without our own code."""

    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    model: dict
    tables: dict[str, pd.DataFrame]


def read_run(uri: str, name: str, version: str, folder: Path) -> Run:
    """The run behind a version."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    found = client.get_model_version(name, version)
    run = client.get_run(found.run_id)
    there = {Path(e.path).stem for e in client.list_artifacts(found.run_id, "tables")}
    tables = {}
    for stem in there & set(TABLES):
        path = client.download_artifacts(found.run_id, f"tables/{stem}.csv", str(folder))
        content = Path(path).read_text(encoding="utf-8")
        empty = not content.strip()
        tables[stem] = (
            pd.DataFrame() if empty else pd.read_csv(io.StringIO(content), dtype="str", keep_default_na=False)
        )
    home = Path(client.get_model_version_download_uri(name, version).removeprefix("file://"))
    model = json.loads((home / DATA / "model.json").read_text(encoding="utf-8"))
    return Run(dict(run.data.metrics), dict(run.data.params), dict(found.tags), model, tables)


def rounds_to(text: str, value: float) -> bool:
    """Whether a shown number is this value, rounded to the digits that are shown."""
    plain = text.replace("\u00a0", " ").replace("−", "-").replace(",", "")
    found = re.fullmatch(r"(-?\d+(?:\.(\d+))?)( ?%)?", plain)
    if not found:
        return False
    scale = 100.0 if found[3] else 1.0
    return abs(float(found[1]) - value * scale) <= 0.5 * 10.0 ** -len(found[2] or "") * 1.000001


def interval_rounds_to(text: str, low: float, high: float) -> bool:
    """Whether a shown interval has these ends."""
    ends = re.split(r" to |〜", text)
    return len(ends) == 2 and rounds_to(ends[0], low) and rounds_to(ends[1], high)


def detail(severe_share: float = 0.25) -> pd.DataFrame:
    """Held-out rows of ours and two other models: three landmarks, two horizons, PATIENTS patients."""
    rng = np.random.default_rng(5)
    lines = []
    for patient in range(PATIENTS):
        worse = rng.normal()
        severe_patient = rng.random() < severe_share * (1.6 if worse > 0 else 0.4)
        for landmark in (0.0, 24.0, 48.0):
            for horizon, rest in ((72.0, False), (336.0 - landmark, True)):
                severe = float(severe_patient and (rest or landmark == 48.0))
                for model, noise in (("crsrisk", 0.6), ("logistic", 1.0), ("easix", 2.0)):
                    margin = -1.8 + 0.8 * worse + 1.2 * severe + noise * rng.normal()
                    lines.append(
                        {
                            "model": model, "repeat": 0, "fold": patient % 2, "course_id": f"course-{patient}",
                            "patient_id": f"patient-{patient}", "therapy": "axi-cel_LBCL3L", "family": FAMILY,
                            "dose": 1, "landmark_hours": landmark, "horizon_hours": horizon, "rest_of_window": rest,
                            "severe": severe, "weight": 1.0, "risk": 1.0 / (1.0 + np.exp(-margin)),
                        }
                    )  # fmt: skip
    return pd.DataFrame(lines)


def groups() -> pd.DataFrame:
    """Levels of the courses: two sexes, one large and one small site."""
    return pd.DataFrame(
        {
            "course_id": [f"course-{k}" for k in range(PATIENTS)],
            "therapy": "axi-cel_LBCL3L",
            "sex": ["female" if k % 2 else "male" for k in range(PATIENTS)],
            "site": ["big" if k > 5 else "tiny" for k in range(PATIENTS)],
        }
    )


def complete_tables() -> dict[str, pd.DataFrame]:
    """Every table that a report can show, of one set of held-out rows."""
    rows = detail()
    onsets = rows[(rows["severe"] == 1) & rows["rest_of_window"]].drop_duplicates("course_id")
    onsets = onsets.assign(hours=60.0)[["course_id", "patient_id", "dose", "hours"]]
    measured = suite(
        rows, onsets, groups(), ours="crsrisk", thresholds=(0.05, 0.1, 0.2), resamples=40, seed=1
    )
    table = evaluate(rows, resamples=40, seed=1)
    metric = {"family": FAMILY, "strategy": "own", "train_patients": 100, "train_events": 20, "low": 0.6,
              "high": 0.9, "n": 60, "events": 15, "reason": ""}  # fmt: skip
    ours = table[table["model"] == "crsrisk"]
    return {
        **measured.tables(),
        "metrics": table,
        "sensitivity_uncertain_grades": ours,
        "with_support": ours.assign(model="with_support"),
        "without_against_with_support": measured.comparisons,
        "attrition": pd.DataFrame(
            {
                "step": ["courses in the cohort", "a step of another release"],
                "rows": [1400, 900],
                "patients": [400, 390],
                "events": [90, 88],
            }
        ),
        **curve_tables(FAMILY, rows),
        "therapies": pd.DataFrame(
            {
                "family": FAMILY,
                "therapy": ["axi-cel_LBCL3L", "brexu-cel_ALL"],
                "patients": [391, 9],
                "events": [84, 6],
            }
        ),
        "predictors": pd.DataFrame(
            {
                "family": FAMILY,
                "feature": ["crp_max_since_index", "ferritin_max_since_index", "landmark_hours"],
                "rows": 1200,
                "missing": [0.125, 0.5, 0.0],
                "q25": [10.0, np.nan, np.nan],
                "median": [55.5, np.nan, np.nan],
                "q75": [120.0, np.nan, np.nan],
                "mean_abs_shap": [0.41, 0.2, 0.05],
                "direction": [0.9, -0.8, 0.1],
            }
        ),
        "validation": pd.DataFrame(
            [
                {**metric, "design": "leave_one_site_out", "level": "big", "horizon": "rest", "metric": "auroc",
                 "value": 0.75},
                {**metric, "design": "leave_one_site_out", "level": "tiny", "horizon": "rest", "metric": "auroc",
                 "value": 0.31, "n": 6, "events": 2},
                {**metric, "design": "temporal", "level": "later", "metric": "", "n": 0, "events": 0, "low": np.nan,
                 "high": np.nan, "reason": "the cohort has no dates; a temporal split needs index times"},
            ]
        ),
        "instability": pd.DataFrame(
            {
                "family": FAMILY,
                "measure": ["mean_absolute_error", "p95_absolute_error", "decisions_changed"],
                "threshold": [np.nan, np.nan, 0.1],
                "value": [0.021, 0.08, 0.033],
                "n": 450,
                "refits": 15,
                "reason": "",
            }
        ),
        **treatment_tables(ours, measured.comparisons),
        "strategies": pd.DataFrame(
            {"family": FAMILY, "repeat": 0, "fold": [0, 1], "strategy": "own", "events": [40, 45]}
        ),
    }  # fmt: skip


def treatment_tables(ours: pd.DataFrame, differences: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is logged about treatment: with an estimate for one definition of rescue and a refusal for the other."""
    refused = (
        "4 patients were severe without rescue before, 10 are needed; 25% of the rescues were all but certain"
    )
    place = {"family": FAMILY, "landmark_hours": np.nan, "horizon": "rest", "n": 140, "events": 30}
    risks = [
        {
            **place,
            "definition": definition,
            "estimate": name,
            "value": value,
            "low": value / 2,
            "high": value * 2,
            "reason": "",
        }
        for definition, values in (
            ("tocilizumab", (0.2, 0.15, 0.25)),
            ("tocilizumab_and_steroid", (0.2, 0.18)),
        )
        for name, value in zip(("as_treated", "rescue_censored", "without_rescue"), values, strict=False)
    ]
    risks.append(
        {
            **risks[-1],
            "estimate": "without_rescue",
            "value": np.nan,
            "low": np.nan,
            "high": np.nan,
            "reason": refused,
        }
    )
    weights = {
        "family": FAMILY,
        "patients": 140,
        "rescued": 31,
        "severe": 22,
        "untreated": 0.4,
        "near_certain": 0.05,
        "effective": 0.7,
        "effective_severe": 15.2,
        "recovered": 1.02,
        "truncated": 0.01,
        "estimable": True,
        "reasons": "",
    }
    base = {
        **place,
        "model": "crsrisk",
        "metric": "base_risk",
        "value": 0.2,
        "low": 0.1,
        "high": 0.3,
        "reason": "",
    }
    return {
        "treatment_policy": pd.DataFrame(
            {
                "drug": ["tocilizumab", "steroid"],
                "context": ["prophylaxis", "grade2"],
                "hours_since_onset": [np.nan, 12.0],
                "started": [3.0, 8.0],
                "exposed": [150.0, 21.4],
                "rate": [2.0, 37.4],
            }
        ),
        "without_rescue": pd.DataFrame(risks),
        "positivity": pd.DataFrame(
            [
                {**weights, "definition": "tocilizumab"},
                {**weights, "definition": "tocilizumab_and_steroid", "severe": 4, "reasons": refused},
            ]
        ),
        "rescue_sensitivity": pd.DataFrame(
            [
                {**base, "definition": "tocilizumab", "outcome": outcome}
                for outcome in ("severe", "severe_before_rescue", "severe_or_rescue")
            ]
        ),
        "usual_care": ours.assign(model="usual_care"),
        "without_against_usual_care": differences.assign(model="usual_care"),
    }  # fmt: skip


def log_versions(uri: str) -> None:
    """Version 1 as an early release logged it, version 2 with everything."""
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().plot([0, 1], [0, 1])
    old = FamilyRun(
        model=tree_model(),
        metrics={"auroc_pooled_horizonrest": Metric(0.7125, 0.61, 0.81)},
        params={"folds": 5},
        figures={"calibration": drawn, "shap_beeswarm": drawn},
    )
    tables = complete_tables()
    ours = tables["metrics"][tables["metrics"]["model"] == "crsrisk"]
    full = FamilyRun(
        model=tree_model(),
        metrics={name: Metric(*interval) for name, interval in metric_names(ours).items()}
        | {"risk_without_tocilizumab_pooled_horizonrest": Metric(0.25, 0.125, 0.5)},
        params={"folds": 2, "trials": 3, "resamples": 40},
        tables=tables,
        notes=[f"{FAMILY}: LightGBM does not beat EASIX here (AUROC 0.700 against 0.710).", SPITEFUL],
    )
    for run in (old, full):
        log_training([run], dataset_digest="sha256:cohort", params={"seed": 1}, tracking_uri=uri)
