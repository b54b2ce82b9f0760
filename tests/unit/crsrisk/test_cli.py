"""The command line turns results into text or JSON, and errors into one line and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from crsrisk import __version__
from crsrisk.cli import _hours, app
from crsrisk.errors import CrsRiskError

run = CliRunner()

VERBS = [
    "demo",
    "simulate",
    "template",
    "check",
    "grade",
    "features",
    "crossvalidate",
    "train",
    "evaluate",
    "learn",
    "score",
    "promote",
    "rollback",
    "models",
    "report",
    "serve",
    "doctor",
]


def test_the_version_is_printed():
    result = run.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.strip()) == (0, f"crsrisk {__version__}")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_offers_json(verb):
    result = run.invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_a_missing_cohort_is_one_line_and_exit_code_2(tmp_path):
    result = run.invoke(app, ["features", str(tmp_path / "none"), "--out", str(tmp_path / "f.csv")])
    assert result.exit_code == 2
    assert result.stderr.startswith("crsrisk: ")
    assert "Traceback" not in result.stderr


def test_simulate_refuses_a_folder_that_holds_something(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    result = run.invoke(app, ["simulate", str(tmp_path), "--courses", "5"])
    assert result.exit_code == 2
    assert "not an empty folder; name a new one" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_template_then_check_runs(tmp_path):
    made = run.invoke(app, ["template", str(tmp_path / "mine"), "--json"])
    assert json.loads(made.stdout) == {"folder": str(tmp_path / "mine")}
    checked = run.invoke(app, ["check", str(tmp_path / "mine"), "--json"])
    assert "ok" in json.loads(checked.stdout)


@pytest.mark.parametrize(("text", "hours"), [("", None), ("24,0", (0.0, 24.0)), ("12.5", (12.5,))])
def test_landmarks_are_hours_in_order(text, hours):
    assert _hours(text) == hours


@pytest.mark.parametrize("text", ["a,b", "-1", "24,24", "nan"])
def test_landmarks_that_are_no_hours_are_refused(text):
    with pytest.raises(CrsRiskError, match=r"e\.g\. 0,24,48"):
        _hours(text)


def test_importing_crsrisk_loads_none_of_the_heavy_libraries():
    probe = (
        "import crsrisk, crsrisk.cli, sys;"
        "print([m for m in ('mlflow', 'shap', 'lightgbm', 'sklearn', 'pandas') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_python_api_names_every_verb():
    import crsrisk

    assert set(VERBS) <= set(crsrisk.__all__)
    with pytest.raises(AttributeError, match="it has"):
        crsrisk.convertt  # noqa: B018


def test_no_module_hides_a_verb():
    """Importing crsrisk.NAME would put the module in the place of the function."""
    from importlib.util import find_spec

    import crsrisk

    assert [
        name for name in crsrisk.__all__ if find_spec(f"crsrisk.{name}") is not None and name != "__version__"
    ] == []
