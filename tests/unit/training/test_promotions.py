"""Promotion, refusal, rollback and what the ledger says of them, with versions in a registry."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crsrisk.errors import CrsRiskError, GateError, ModelError
from serving.scorer import Scorer
from tests.toy_models import tree_model
from training.champions import list_models, load_champions, load_registered, load_uri, open_store
from training.kept import EVIDENCE
from training.promotions import history, load_champions_at, promote, rollback, verify
from training.registry import load_alias, set_alias, version_tags, versions

pytestmark = pytest.mark.xdist_group("promotions")

NAME = "crsrisk-cd19_cart"
BODY = {
    "course": {
        "course_id": "c1",
        "patient_id": "p1",
        "therapy": "axi-cel_LBCL3L",
        "index_time": "2026-11-01T09:00:00+09:00",
    },
    "as_of": "2026-11-02T21:00:00+09:00",
    "observations": [
        {"variable": name, "value": value, "unit": unit, "time": "2026-11-02T06:00:00+09:00"}
        for name, value, unit in (
            ("crp", 82, "mg/L"),
            ("temperature", 38.9, "Cel"),
            ("ferritin", 5400, "ng/mL"),
        )
    ],
}
BARE, SIMULATED = "5", "4"  # a version without evidence, and one of simulated patients; see conftest


def alias(uri):
    try:
        return load_alias(NAME, "champion", tracking_uri=uri)[1].version
    except ModelError:
        return None


def champion(uri):
    return load_registered(NAME, tracking_uri=uri)[1].version


def test_the_first_champion_passes_the_gate_against_the_published_base_rate(served):
    assert champion(served) == alias(served) == "1"
    [entry] = history(NAME, tracking_uri=served)
    assert (entry["action"], entry["version"], entry["previous"], entry["who"]) == ("promote", "1", "", "ana")
    row = next(r for r in entry["evidence"]["rows"] if r["row"] == "discrimination")
    assert "of the published base rate" in row["sentence"]
    assert row["decides"]["low"] < row["decides"]["number"] < row["decides"]["high"]


def test_an_improved_version_replaces_the_champion_and_the_ledger_says_why(served):
    said = promote(NAME, "2", "more inputs", tracking_uri=served, who="ben")
    assert champion(served) == alias(served) == "2"
    first, second = history(NAME, tracking_uri=served)
    assert second | {"previous": "1"} == said
    assert (second["sequence"], second["previous"], second["reason"]) == (2, "1", "more inputs")
    assert second["prev_hash"] == first["hash"]
    assert second["feature_digest"] == tree_model().feature_digest
    assert second["evidence"]["passed"] is True
    assert second["evidence"]["against"] == "1"
    same = next(r for r in second["evidence"]["rows"] if r["row"] == "same_patients")
    assert "compared with crsrisk-cd19_cart version 1 (700 known, 500 new)" in same["sentence"]
    assert verify(tracking_uri=served) == []


def test_a_poisoned_version_is_refused_by_name_and_the_refusal_stands_in_the_ledger(served):
    with pytest.raises(GateError, match=r"version 3 is not promoted; the gate refuses it:\n  - ") as refused:
        promote(NAME, "3", "more patients", tracking_uri=served, who="ben")
    assert any(reason.startswith("batch: ") for reason in refused.value.reasons)
    assert champion(served) == alias(served) == "1"
    entry = history(NAME, tracking_uri=served)[-1]
    assert (entry["action"], entry["version"], entry["previous"]) == ("refuse", "3", "1")
    assert entry["evidence"]["passed"] is False
    assert entry["evidence"]["rows"] == json.loads(json.dumps(refused.value.verdict["rows"]))
    assert verify(tracking_uri=served) == []


def test_a_version_of_patients_who_were_treated_otherwise_is_refused(served, monkeypatch):
    from training import promotions
    from training.policy import EXPOSED, STARTED, cells, key

    cell = next(c for c in cells() if (c.drug, c.context) == ("tocilizumab", "below_grade2"))

    def treated(started):
        return {key(cell, STARTED): started, key(cell, EXPOSED): 1000.0}

    load_whole, load_decided = promotions.load_whole, promotions.load_decided

    def challenger(*given, **more):
        found = load_whole(*given, **more)
        return found._replace(model=replace(found.model, policy=treated(300.0)))

    def answers(*given, **more):
        model, info = load_decided(*given, **more)
        return replace(model, policy=treated(50.0)), info

    monkeypatch.setattr(promotions, "load_whole", challenger)
    monkeypatch.setattr(promotions, "load_decided", answers)
    with pytest.raises(
        GateError, match=r"care: Tocilizumab in CRS below grade 2: 30\.0 first uses per 100"
    ) as refused:
        promote(NAME, "2", "more inputs", tracking_uri=served)
    assert len(refused.value.reasons) == 1


def test_a_version_that_kept_no_evidence_is_refused(served):
    with pytest.raises(GateError, match="no out-of-fold risks were kept with this version; train it again"):
        promote(NAME, BARE, "why not", tracking_uri=served)
    assert champion(served) == "1"


@pytest.mark.parametrize(
    ("demonstration", "says"),
    [
        (False, "provenance: trained on simulated patients, while the champion learned from real ones"),
        (True, "demonstration: the champion learned from real patients; a demonstration does not replace it"),
    ],
)
def test_a_model_of_simulated_patients_never_replaces_one_of_real_ones(served, demonstration, says):
    with pytest.raises(GateError, match=says):
        promote(NAME, SIMULATED, "a show", demonstration=demonstration, tracking_uri=served)
    assert champion(served) == "1"


def test_a_demonstration_promotes_simulated_models_without_the_gate_and_says_so_in_the_ledger(own):
    said = promote(NAME, SIMULATED, "a show", demonstration=True, tracking_uri=own)
    assert champion(own) == SIMULATED
    assert said["evidence"]["demonstration"] is True
    assert said["evidence"]["rows"][0]["sentence"] == (
        "trained on simulated patients for a demonstration: the gate was not asked"
    )


def test_a_demonstration_does_not_open_the_gate_for_real_models(own):
    with pytest.raises(GateError, match="this one learned from real ones"):
        promote(NAME, "1", "a show", demonstration=True, tracking_uri=own)
    assert load_champions(own) == ({}, {})


def test_the_champion_is_not_promoted_again(served):
    with pytest.raises(ModelError, match="version 1 is the champion already; nothing was changed"):
        promote(NAME, "1", "again", tracking_uri=served)
    assert len(history(NAME, tracking_uri=served)) == 1


def test_altered_evidence_is_found(registered, served):
    run_id, _ = version_tags(NAME, "2", tracking_uri=served)
    [file] = registered.rglob(f"{run_id}/artifacts/tables/{EVIDENCE}.csv")
    before = file.read_bytes()
    file.write_bytes(before.replace(b"0.1", b"0.2", 1))
    try:
        with pytest.raises(ModelError, match=f"table {EVIDENCE} of the run was altered"):
            promote(NAME, "2", "more inputs", tracking_uri=served)
    finally:
        file.write_bytes(before)
    assert champion(served) == "1"


def test_patients_of_another_store_can_not_be_told_apart(own, tmp_path):
    """Pseudonyms were made with the key of the store that was there at training."""
    other = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(GateError, match="no out-of-fold risks were kept"):
        promote(NAME, "2", "more inputs", tracking_uri=own, store_url=other)


def test_an_empty_store_in_place_of_the_ledger_opens_no_way_past_the_gate(served, tmp_path):
    """Nobody is adopted by an alias set by hand, and the alias is left as it was."""
    other = f"sqlite:///{tmp_path}/other.db"
    set_alias(NAME, "champion", "3", tracking_uri=served)
    for call in (
        lambda: load_champions(served, other),
        lambda: promote(NAME, "3", "why not", tracking_uri=served, store_url=other),
    ):
        with pytest.raises(ModelError, match="set store_url to the store that holds it, or restore it"):
            call()
    assert history(tracking_uri=served, store_url=other) == []
    assert alias(served) == "3"


# ---- rollback


def test_a_rollback_lets_the_champion_before_answer_again(served):
    promote(NAME, "2", "more inputs", tracking_uri=served)
    said = rollback(NAME, "alerts doubled", tracking_uri=served, who="ana")
    assert (said["action"], said["version"], said["previous"]) == ("rollback", "1", "2")
    assert champion(served) == alias(served) == "1"
    assert [e["action"] for e in history(NAME, tracking_uri=served)] == ["promote", "promote", "rollback"]
    assert said["evidence"]["returns_to"] == 1
    assert verify(tracking_uri=served) == []


def test_a_rollback_goes_to_an_earlier_champion_only(served):
    with pytest.raises(ModelError, match="has no earlier champion to go back to"):
        rollback(NAME, "worse", tracking_uri=served)
    promote(NAME, "2", "more inputs", tracking_uri=served)
    with pytest.raises(ModelError, match=r"version 3 is no earlier champion; accepted: \['1'\]"):
        rollback(NAME, "worse", to="3", tracking_uri=served)
    assert rollback(NAME, "worse", to="1", tracking_uri=served)["version"] == "1"
    with pytest.raises(ModelError, match="has no earlier champion to go back to"):
        rollback(NAME, "worse", tracking_uri=served)


def test_a_rollback_without_reason_or_without_champion_is_refused(own):
    with pytest.raises(CrsRiskError, match="a rollback without a reason"):
        rollback(NAME, " ", tracking_uri=own)
    with pytest.raises(ModelError, match="has no earlier champion"):
        rollback(NAME, "worse", tracking_uri=own)


def test_a_rollback_to_altered_files_is_refused_and_the_champion_stays(registered, served):
    promote(NAME, "2", "more inputs", tracking_uri=served)
    source = version_folder(served, "1") / "artifacts/model/booster.txt"
    before = source.read_bytes()
    source.write_bytes(before.replace(b"3", b"4", 1))
    try:
        with pytest.raises(ModelError, match="its files were altered"):
            rollback(NAME, "worse", tracking_uri=served)
    finally:
        source.write_bytes(before)
    assert champion(served) == alias(served) == "2"


def version_folder(uri, version):
    from mlflow import MlflowClient

    address = MlflowClient(uri, uri).get_model_version_download_uri(NAME, version)
    return Path(address.removeprefix("file://"))


# ---- looking back


def test_a_past_prediction_is_computed_again_from_the_ledger(served):
    def answer():
        models, _ = load_champions(served)
        return Scorer(models).score(BODY)["risks"]

    earlier, then = answer(), datetime.now(UTC)
    time.sleep(0.01)
    promote(NAME, "2", "more inputs", tracking_uri=served)
    assert answer() != earlier
    again = load_champions_at(then, tracking_uri=served)
    assert [info.version for _, info in again.values()] == ["1"]
    assert Scorer(again).score(BODY)["risks"] == earlier


def test_before_the_first_promotion_nobody_answered(served):
    with pytest.raises(ModelError, match="no champion at 2000-01-01T00:00:00"):
        load_champions_at(datetime(2000, 1, 1, tzinfo=UTC), tracking_uri=served)
    later = load_champions_at(datetime.now(UTC) + timedelta(days=1), tracking_uri=served)
    assert [info.version for _, info in later.values()] == ["1"]


# ---- the mirror in MLflow


def test_an_alias_set_by_hand_does_not_decide_and_is_set_back(served):
    set_alias(NAME, "champion", "3", tracking_uri=served)
    models, _ = load_champions(served)
    assert models["cd19_cart"][1].version == "1"
    assert alias(served) == "1"
    set_alias(NAME, "champion", "3", tracking_uri=served)
    assert load_uri(f"models:/{NAME}@champion", tracking_uri=served)[1].version == "1"
    set_alias(NAME, "champion", None, tracking_uri=served)
    assert [m["version"] for m in list_models(served) if "champion" in m["aliases"]] == ["1"]
    assert alias(served) == "1"


def test_champions_of_an_installation_before_the_ledger_are_adopted_with_an_entry(own):
    set_alias(NAME, "champion", "3", tracking_uri=own)
    models, _ = load_champions(own)
    assert models["cd19_cart"][1].version == "3"
    [entry] = history(tracking_uri=own)
    assert (entry["action"], entry["version"], entry["evidence"]) == ("adopt", "3", {"alias": "champion"})
    assert entry["reason"] == "champion by alias in a registry older than the ledger"
    load_champions(own)
    assert len(history(tracking_uri=own)) == 1


def test_an_alias_that_appears_once_the_ledger_has_entries_is_not_adopted_but_removed(own):
    with pytest.raises(GateError):
        promote(NAME, BARE, "why not", tracking_uri=own)
    set_alias(NAME, "champion", "3", tracking_uri=own)
    assert load_champions(own) == ({}, {})
    assert alias(own) is None


def test_a_registry_that_can_not_be_written_is_served_all_the_same(served, monkeypatch, caplog):
    from training import champions

    def refused(*_, **__):
        raise ModelError("read only")

    set_alias(NAME, "champion", "3", tracking_uri=served)
    monkeypatch.setattr(champions, "set_alias", refused)
    models, _ = load_champions(served)
    assert models["cd19_cart"][1].version == "1"
    assert "the alias champion of crsrisk-cd19_cart could not be set: read only" in caplog.text


def test_a_store_that_belongs_to_another_registry_serves_nothing(served, tmp_path):
    database = sqlite3.connect(tmp_path / "store.db")
    with database:
        database.execute("UPDATE champions SET digest = 'sha256:other'")
    database.close()
    models, refused = load_champions(served)
    assert models == {}
    assert "is not the model that the ledger names" in refused[NAME]


def test_a_registry_on_a_server_needs_the_address_of_the_store():
    with pytest.raises(ModelError, match="the store needs an address; set store_url"):
        load_champions("https://mlflow.example")


# ---- the ledger under attack


def test_a_ledger_written_anew_does_not_fit_what_mlflow_noted(served, tmp_path):
    """The chain is whole and gives the champion; but version 1 was promoted by another entry."""
    promote(NAME, "2", "more inputs", tracking_uri=served)
    assert verify(tracking_uri=served) == []
    first, second = open_store(served).entries()
    forged = replace(first, reason="another reason").sealed()
    follows = replace(second, prev_hash=forged.hash).sealed()
    database = sqlite3.connect(tmp_path / "store.db")
    with database:
        for trigger in ("UPDATE", "DELETE"):
            database.execute(f"DROP TRIGGER champion_ledger_no_{trigger}")
        for entry in (forged, follows):
            database.execute(
                "UPDATE champion_ledger SET reason = ?, prev_hash = ?, hash = ? WHERE sequence = ?",
                (entry.reason, entry.prev_hash, entry.hash, entry.sequence),
            )
    database.close()
    assert open_store(served).problems() == []
    assert verify(tracking_uri=served) == [
        f"ledger entry 2 is not the one by which {NAME} version 2 was promoted",
        f"ledger entry 1 is not the one by which {NAME} version 1 was promoted",
    ]


def test_every_version_is_listed_with_who_promoted_it(served):
    by_version = {m["version"]: m for m in list_models(served)}
    assert by_version["1"]["promoted"]["who"] == "ana"
    assert by_version["2"]["promoted"] == {}
    assert [m["version"] for m in versions(served)] == ["5", "4", "3", "2", "1"]
