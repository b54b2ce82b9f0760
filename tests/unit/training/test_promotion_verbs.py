"""The verbs promote, rollback, models --history and score --at on a registry with champions."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

import crsrisk
from crsrisk import verbs
from crsrisk.cli import app
from crsrisk.errors import CrsRiskError, ModelError
from tests.unit.training.test_promotions import BODY
from training.champions import load_registered

pytestmark = pytest.mark.xdist_group("promotions")

NAME = "crsrisk-cd19_cart"
run = CliRunner()


@pytest.fixture
def here(served, tmp_path, monkeypatch):
    """Settings name a registry whose version 1 answers; the store has an address of its own."""
    store = tmp_path / "elsewhere" / "decisions.db"
    store.parent.mkdir()
    (tmp_path / "store.db").rename(store)
    monkeypatch.setenv("CRSRISK_TRACKING_URI", served)
    monkeypatch.setenv("CRSRISK_STORE_URL", f"sqlite:///{store}")
    monkeypatch.setenv("CRSRISK_USER", "ben")
    return served, f"sqlite:///{store}"


def champion(here):
    return load_registered(NAME, tracking_uri=here[0], store_url=here[1])[1].version


def test_a_promotion_prints_decision_and_rows_and_a_rollback_takes_it_back(here):
    done = run.invoke(app, ["promote", NAME, "2", "--reason", "more inputs"])
    assert done.exit_code == 0, done.stderr
    decided, *rows = done.stdout.splitlines()
    assert decided.endswith(f"ben: promote {NAME} version 2 (before: version 1): more inputs")
    assert len(rows) == 11
    assert any(row.startswith("   passed  discrimination: AUROC 0.") for row in rows)
    assert champion(here) == "2"
    back = run.invoke(app, ["rollback", NAME, "--reason", "alerts doubled", "--json"])
    assert json.loads(back.stdout)["version"] == "1"
    assert champion(here) == "1"


def test_a_refusal_names_the_rows_with_exit_code_2_and_json_gives_all_of_them(here):
    refused = run.invoke(app, ["promote", NAME, "3", "--reason", "more patients", "--json"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"crsrisk: {NAME} version 3 is not promoted; the gate refuses it:\n  - ")
    assert "\n  - batch: " in refused.stderr
    rows = {row["row"]: row["passed"] for row in json.loads(refused.stdout)["rows"]}
    assert rows["batch"] is False
    assert rows["sample_size"] is True
    assert champion(here) == "1"


def test_the_history_tells_who_when_why_and_on_which_evidence(here):
    run.invoke(app, ["promote", NAME, "3", "--reason", "more patients"])
    told = run.invoke(app, ["models", "--history"]).stdout
    assert f"ana: promote {NAME} version 1: first version\n" in told
    assert f"ben: refuse {NAME} version 3 (before: version 1): more patients\n" in told
    assert "\n   FAILED  batch: auroc of the champion is " in told
    entries = json.loads(run.invoke(app, ["models", "--history", "--json"]).stdout)
    assert [(e["sequence"], e["action"], e["version"]) for e in entries] == [
        (1, "promote", "1"),
        (2, "refuse", "3"),
    ]
    assert entries == crsrisk.history(NAME)


def test_a_reason_of_several_lines_is_told_on_one(here):
    run.invoke(app, ["promote", NAME, "3", "--reason", "more\n9  2026-01-01  eve: promote"])
    told = run.invoke(app, ["models", "--history"]).stdout
    assert "version 3 (before: version 1): more 9 2026-01-01 eve: promote\n" in told


def test_a_missing_reason_is_refused_by_both(here):
    for words in (["promote", NAME, "2"], ["rollback", NAME]):
        assert run.invoke(app, words).exit_code == 2
        empty = run.invoke(app, [*words, "--reason", " "])
        assert empty.exit_code == 2
        assert "without a reason; say why" in empty.stderr


def test_a_past_risk_is_computed_again_by_its_time(here):
    earlier, then = crsrisk.score_patient(BODY), datetime.now(UTC).isoformat()
    time.sleep(0.01)
    crsrisk.promote(NAME, "2", reason="more inputs")
    now, again = crsrisk.score_patient(BODY), crsrisk.score_patient(BODY, at=then)
    assert (earlier["model"]["version"], now["model"]["version"]) == ("1", "2")
    assert again["model"] == earlier["model"]
    assert again["risks"] == earlier["risks"] != now["risks"]
    assert again["explanation"] == earlier["explanation"]


@pytest.mark.parametrize(
    ("model", "at", "says"),
    [
        (None, "2026-03-01T09:00:00", r"give ISO 8601 with offset, e\.g\. 2026-03-01T09:00:00\+09:00"),
        (None, "yesterday", "time 'yesterday'; give ISO 8601 with offset"),
        (f"models:/{NAME}/2", "2026-03-01T09:00:00Z", "give one of the two"),
    ],
)
def test_a_time_that_says_nothing_is_refused(here, model, at, says):
    with pytest.raises(CrsRiskError, match=says):
        crsrisk.score_patient(BODY, model=model, at=at)


def test_before_the_first_champion_there_is_nothing_to_compute(here):
    with pytest.raises(ModelError, match="there was no champion at 2001-01-01T00:00:00"):
        crsrisk.score_patient(BODY, at="2001-01-01T09:00:00+09:00")


def ledger():
    [found] = [f for f in verbs.doctor() if f["what"] == "ledger of champions"]
    return found["ok"], found["found"]


def test_the_doctor_looks_at_the_ledger(here, monkeypatch, tmp_path):
    assert ledger() == (True, "every entry is whole")
    database = sqlite3.connect(here[1].removeprefix("sqlite:///"))
    with database:
        database.execute("UPDATE champions SET version = '3'")
    database.close()
    assert ledger() == (False, f"the champion of {NAME} is not the one that the ledger gives")
    monkeypatch.setenv("CRSRISK_STORE_URL", "mysql://somewhere/else")
    assert ledger()[0] is False
    monkeypatch.setenv("CRSRISK_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db")
    assert ledger() == (True, "no registry yet; crsrisk train makes it")
    assert not (tmp_path / "new").exists()
