"""From trained versions to their reports and to a hospital's own evaluation, by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from crsrisk.cli import app
from crsrisk.simulator import simulate
from tests.unit.training.report_pages import read_page, read_run

pytestmark = pytest.mark.xdist_group("registry")
run = CliRunner()
NAME = "crsrisk-cd19_cart"
MODEL = f"models:/{NAME}@champion"
FILES = ["model_card.json", "report.en.html", "report.ja.html"]


@pytest.fixture
def registry(trained_registry, monkeypatch):
    """The command line with the settings of a site whose models are trained and promoted."""
    monkeypatch.setenv("CRSRISK_TRACKING_URI", trained_registry.tracking_uri)
    monkeypatch.setenv("CRSRISK_STORE_URL", f"sqlite:///{trained_registry.folder}/store.db")
    return trained_registry


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Another hospital: 60 simulated courses that no model saw."""
    made = simulate(60, 91, therapies=("axi-cel_LBCL3L",))
    return made.write(tmp_path_factory.mktemp("elsewhere") / "cohort")


def ask(*words: object) -> dict:
    """What a verb answers as JSON."""
    result = run.invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# ---- report


def test_training_leaves_the_report_of_every_version_in_its_run(trained_registry, tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(trained_registry.tracking_uri, trained_registry.tracking_uri)
    assert len(trained_registry.names) > 1
    for name in trained_registry.names:
        [version] = client.search_model_versions(f"name = '{name}'")
        kept = sorted(Path(e.path).name for e in client.list_artifacts(version.run_id, "report"))
        assert kept == FILES
        folder = Path(client.download_artifacts(version.run_id, "report", str(tmp_path)))
        page = read_page(folder / "report.en.html")
        logged = read_run(trained_registry.tracking_uri, name, version.version, tmp_path)
        shown = {c.attributes["data-metric"]: c.attributes["data-value"] for c in page.facts("metric")}
        assert {metric: float(value) for metric, value in shown.items()} == {
            metric: value
            for metric, value in logged.metrics.items()
            if not metric.endswith(("_low", "_high"))
        }
        card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
        assert (card["model"]["name"], card["model"]["version"]) == (name, str(version.version))


def test_what_the_training_logs_is_enough_for_every_section_but_asked_for_analyses(registry, tmp_path):
    told = ask("report", NAME, "1", "--out", tmp_path / "r.html")
    asked_for = {"validation", "with_support", "without_against_with_support"}
    assert set(told["not_logged"]) == asked_for | {"usual_care", "without_against_usual_care"}
    assert told["model_card"] == str(tmp_path / "model_card.json")


def test_a_folder_takes_the_report_in_each_language(registry, tmp_path):
    for language in ("en", "ja"):
        told = ask("report", NAME, "--out", tmp_path / "out", "--language", language)
        assert told["report"] == str(tmp_path / "out" / f"report.{language}.html")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES
    assert "champion：このバージョンが回答する" in (tmp_path / "out" / "report.ja.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["crsrisk-x"], "no model 'crsrisk-x' is registered; there are"),
        ([NAME, "9"], f"{NAME} has no version '9'; it has ['1']"),
        ([NAME, "1", "--language", "fr"], "language 'fr'; accepted: en, ja"),
    ],
)
def test_a_report_that_can_not_be_made_is_one_line_and_leaves_nothing(registry, tmp_path, words, message):
    result = run.invoke(app, ["report", *words, "--out", str(tmp_path / "r.html")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


# ---- evaluate


@pytest.fixture
def evaluated(registry, elsewhere, tmp_path):
    """The champion on the other hospital: what the verb answered, and its folder."""
    return ask("evaluate", elsewhere, "--model", MODEL, "--out", tmp_path / "out"), tmp_path / "out"


def test_a_hospital_evaluates_the_champion_on_its_own_patients(evaluated, elsewhere):
    told, folder = evaluated
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))["files"]
    )
    assert (told["model"]["name"], told["model"]["version"], told["family"]) == (NAME, "1", "cd19_cart")
    assert (told["patients"], told["folder"]) == (60, str(folder))
    assert {v["horizon"] for v in told["verdicts"]} == {"rest", "24", "72"}
    table = pd.read_csv(folder / "metrics.csv")
    pooled = table[(table["model"] == "crsrisk") & table["landmark_hours"].isna()]
    said = {(m["horizon"], m["metric"]): m["value"] for m in told["metrics"]}
    assert len(said) == len(pooled)
    for row in pooled.dropna(subset="value").to_dict("records"):
        assert said[row["horizon"], row["metric"]] == pytest.approx(row["value"])
    words = (folder / "summary.txt").read_text(encoding="utf-8")
    assert words.startswith(f"{NAME} version 1 on 60 patients, {told['events']} with severe CRS")
    courses = pd.read_csv(elsewhere / "courses.csv", dtype="str")
    written = "".join(p.read_text(encoding="utf-8") for p in folder.iterdir())
    assert [c for c in {*courses["course_id"], *courses["patient_id"]} if c in written] == []


def test_the_cohort_that_it_learned_from_is_pointed_out(registry, small_cohort_folder, tmp_path):
    told = ask("evaluate", small_cohort_folder, "--model", f"models:/{NAME}/1", "--out", tmp_path / "out")
    assert told["notes"][0].startswith("This is the cohort that the model learned from")


def test_patients_that_it_learned_from_are_counted(registry, small_cohort_folder, elsewhere, tmp_path):
    known = pd.read_csv(small_cohort_folder / "courses.csv", dtype="str")["patient_id"]
    for renamed, expected in ((7, 53), (60, 0)):
        folder = shutil.copytree(elsewhere, tmp_path / f"cohort{renamed}")
        courses = pd.read_csv(folder / "courses.csv", dtype="str")
        courses["patient_id"] = [*(f"new{k}" for k in range(renamed)), *known[: 60 - renamed]]
        courses.to_csv(folder / "courses.csv", index=False)
        told = ask("evaluate", folder, "--model", MODEL, "--out", tmp_path / f"out{renamed}")
        found = [
            note for note in told["notes"] if "have the id of a patient whom the model learned from" in note
        ]
        assert [note.split(" have ")[0] for note in found] == (
            [f"{expected} of 60 patients"] * bool(expected)
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("cd19_cart", "model address 'cd19_cart'; accepted: models:/NAME/VERSION or models:/NAME@ALIAS"),
        (f"models:/{NAME}/9", "9"),
        (
            "models:/crsrisk-heme_engager/1",
            "no labelled rows of family 'heme_engager'; the cohort has ['cd19_cart']",
        ),
    ],
)
def test_a_model_that_can_not_be_evaluated_here_is_refused(registry, elsewhere, tmp_path, model, message):
    result = run.invoke(app, ["evaluate", str(elsewhere), "--model", model, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("crsrisk: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_and_a_missing_cohort_are_refused(registry, elsewhere, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    full = run.invoke(app, ["evaluate", str(elsewhere), "--model", MODEL, "--out", str(tmp_path)])
    assert (full.exit_code, "not an empty folder; name a new one" in full.stderr) == (2, True)
    none = run.invoke(
        app, ["evaluate", str(tmp_path / "none"), "--model", MODEL, "--out", str(tmp_path / "o")]
    )
    assert (none.exit_code, "Traceback" in none.stderr) == (2, False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_cohort_without_labels_is_refused(registry, tmp_path):
    empty = simulate(3, 5, therapies=("axi-cel_LBCL3L",)).write(tmp_path / "cohort")
    for name in ("grades.csv", "outcomes.csv"):
        (empty / name).unlink(missing_ok=True)
    events = pd.read_csv(empty / "events.csv", dtype="str")
    events[events["variable"] == "crp"].to_csv(empty / "events.csv", index=False)
    result = run.invoke(app, ["evaluate", str(empty), "--model", MODEL, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no course has an ASTCT grade" in result.stderr
    assert not (tmp_path / "out").exists()
