"""The four packages belong together, and nothing unsafe is read or written."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import crsrisk

ROOT = Path(crsrisk.__file__).resolve().parent.parent
PACKAGES = ("crsrisk", "features", "training", "serving")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_ours(name):
    module = importlib.import_module(name)
    assert module.__version__ == crsrisk.__version__
    assert Path(module.__file__).resolve().parent.parent == ROOT


def test_the_project_file_lists_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == found


def test_the_version_is_stated_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == crsrisk.__version__


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!+-]+", line) for line in lines)


def test_no_pickle_outside_tests():
    unsafe = re.compile(
        r"\b(import|from) (pickle|cloudpickle|joblib|dill)\b|joblib\.(load|dump)|pickle\.loads?"
    )
    places = [p for package in (*PACKAGES, "benchmarks") for p in (ROOT / package).rglob("*.py")]
    assert [p.name for p in places if unsafe.search(p.read_text(encoding="utf-8"))] == []


def test_every_decision_has_a_number_of_its_own():
    numbers = [p.name[:4] for p in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
