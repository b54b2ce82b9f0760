"""The store of champions: compare-and-set, append-only, sealed, and the ledger gives the champions."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from crsrisk.errors import ModelError, PromotionConflictError
from training.champion_ledger import START, Champion, Entry, broken, replay, stack, stamp
from training.champion_store import ChampionStore, Decision
from training.champions import acting_user

NAME = "crsrisk-cd19_cart"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "store.db"


@pytest.fixture
def store(file):
    return ChampionStore(f"sqlite:///{file}")


def decision(version, action="promote", name=NAME):
    return Decision(
        who="ana",
        action=action,
        name=name,
        version=version,
        digest=f"sha256:{version}",
        feature_digest="sha256:features",
        reason="why",
        evidence={"number": 0.5},
    )


def test_a_decision_changes_champion_and_ledger_together(store):
    entry = store.change(decision("1"), None)
    assert store.champion(NAME) == Champion(NAME, "1", "sha256:1", 1, 1)
    assert store.entries() == [entry]
    assert (entry.sequence, entry.previous, entry.prev_hash, entry.who) == (1, "", START, "ana")
    assert entry.hash == entry.computed_hash()
    second = store.change(decision("2"), store.champion(NAME))
    assert store.champion(NAME) == Champion(NAME, "2", "sha256:2", 2, 2)
    assert (second.previous, second.prev_hash) == ("1", entry.hash)
    assert store.problems() == []


@pytest.mark.parametrize("stale", [None, Champion(NAME, "1", "sha256:1", 1, 1)])
def test_who_was_compared_with_an_older_champion_gets_a_conflict(store, stale):
    store.change(decision("1"), None)
    store.change(decision("2"), store.champion(NAME))
    with pytest.raises(PromotionConflictError, match=r"version 2 is champion now; nothing was changed"):
        store.change(decision("3"), stale)
    assert store.champion(NAME).version == "2"
    assert len(store.entries()) == 2


def test_back_to_the_same_version_is_another_revision(store):
    """Version 1 answered, then 2, then 1 again: who judged against the first 1 judged against the past."""
    store.change(decision("1"), None)
    judged = store.champion(NAME)
    store.change(decision("2"), judged)
    store.change(decision("1", "rollback"), store.champion(NAME))
    with pytest.raises(PromotionConflictError):
        store.change(decision("3"), judged)


def test_a_refusal_changes_no_champion(store):
    store.change(decision("1"), None)
    entry = store.note(decision("2", "refuse"))
    assert (entry.sequence, entry.previous) == (2, "1")
    assert store.champion(NAME).version == "1"
    assert replay(store.entries()) == store.champions()


def test_names_do_not_disturb_each_other(store):
    store.change(decision("1"), None)
    store.change(decision("7", name="crsrisk-bcma_cart"), None)
    store.change(decision("2"), store.champion(NAME))
    assert {name: one.version for name, one in store.champions().items()} == {
        NAME: "2",
        "crsrisk-bcma_cart": "7",
    }
    assert [e.version for e in store.entries(NAME)] == ["1", "2"]
    assert replay(store.entries()) == store.champions()


def test_adoption_takes_all_or_nothing_and_only_into_an_empty_ledger(store):
    both = [decision("3", "adopt"), decision("4", "adopt", "crsrisk-bcma_cart")]
    assert [e.sequence for e in store.adopt(both)] == [1, 2]
    assert replay(store.entries()) == store.champions()
    with pytest.raises(PromotionConflictError, match="the ledger has entries already"):
        store.adopt(both)
    assert len(store.entries()) == 2


@pytest.mark.parametrize(
    "statement", ["UPDATE champion_ledger SET who = 'eve'", "DELETE FROM champion_ledger"]
)
def test_the_database_itself_refuses_to_change_the_ledger(store, file, statement):
    store.change(decision("1"), None)
    database = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only"):
        database.execute(statement)
    database.close()
    assert store.problems() == []


def forced(file, statement):
    """Change the ledger all the same, as one could who owns the file."""
    database = sqlite3.connect(file)
    with database:
        database.execute("DROP TRIGGER champion_ledger_no_UPDATE")
        database.execute("DROP TRIGGER champion_ledger_no_DELETE")
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE champion_ledger SET who = 'eve' WHERE sequence = 2", ["ledger entry 2 was altered"]),
        (
            "DELETE FROM champion_ledger WHERE sequence = 2",
            [
                "ledger entry 3 stands at position 2: entries were removed or added",
                "ledger entry 3 does not follow from the entry before it",
            ],
        ),
        (
            "DELETE FROM champion_ledger WHERE sequence = 3",
            [f"the champion of {NAME} is not the one that the ledger"],
        ),
        (
            "UPDATE champions SET version = '9'",
            [f"the champion of {NAME} is not the one that the ledger gives"],
        ),
        ("DELETE FROM champions", [f"the champion of {NAME} is not the one that the ledger gives"]),
    ],
)
def test_what_was_done_behind_the_programs_back_is_found(store, file, statement, says):
    for version in ("1", "2", "3"):
        store.change(decision(version), store.champion(NAME))
    forced(file, statement)
    problems = store.problems()
    for sentence in says:
        assert any(problem.startswith(sentence) for problem in problems), problems


def entries(*steps):
    """A chain of entries from (action, version)."""
    chain, before = [], START
    for number, (action, version) in enumerate(steps, start=1):
        entry = Entry(
            sequence=number,
            time=stamp(datetime(2026, 1, number, tzinfo=UTC)),
            who="ana",
            action=action,
            name=NAME,
            version=version,
            digest=f"sha256:{version}",
            feature_digest="f",
            previous="",
            reason="why",
            evidence="{}",
            prev_hash=before,
        ).sealed()
        chain.append(entry)
        before = entry.hash
    return chain


def test_a_rollback_takes_away_what_it_left_behind():
    def kept(*steps):
        return [e.version for e in stack(entries(*steps), NAME)]

    three = [("adopt", "1"), ("promote", "2"), ("refuse", "9"), ("promote", "3")]
    assert kept(*three) == ["1", "2", "3"]
    assert kept(*three, ("rollback", "2")) == ["1", "2"]
    assert kept(*three, ("rollback", "2"), ("rollback", "1")) == ["1"]
    assert kept(*three, ("rollback", "1"), ("promote", "3")) == ["1", "3"]
    assert stack(entries(*three), "crsrisk-bcma_cart") == []


def test_a_whole_chain_is_not_broken_and_time_does_not_run_backwards_in_it():
    chain = entries(("promote", "1"), ("promote", "2"))
    assert broken(chain, replay(chain)) == []
    late = replace(chain[0], time=stamp(datetime(2027, 1, 1, tzinfo=UTC))).sealed()
    follows = replace(chain[1], prev_hash=late.hash).sealed()
    assert broken([late, follows], replay(chain)) == ["ledger entry 2 is older than the entry before it"]
    odd = replace(chain[0], action="erase").sealed()
    assert "has the unknown action 'erase'" in broken([odd], {})[0]


def test_a_clock_set_back_does_not_reorder_the_ledger(store, monkeypatch):
    from training import champion_store

    class Clock(datetime):
        moments = iter([datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 1, 11, tzinfo=UTC)])

        @classmethod
        def now(cls, tz=None):
            return next(cls.moments)

    monkeypatch.setattr(champion_store, "datetime", Clock)
    store.change(decision("1"), None)
    store.change(decision("2"), store.champion(NAME))
    assert [e.time for e in store.entries()] == ["2026-05-01T12:00:00.000000+00:00"] * 2
    assert store.problems() == []


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="a time without zone"):
        stamp(datetime(2026, 1, 1))


def test_the_key_of_pseudonyms_stays_in_the_store_and_the_file_is_its_owners_alone(store, file):
    key = store.pseudonym_key()
    assert len(key) == 32
    assert ChampionStore(f"sqlite:///{file}").pseudonym_key() == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("store.db", "is no database address; accepted: sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ("mysql://host/database", "names 'mysql'; accepted: sqlite:///FILE"),
        ("sqlite://", "names 'sqlite'; accepted: sqlite:///FILE"),
        ("sqlite:////proc/nowhere/store.db", "can't be written"),
    ],
)
def test_an_address_that_can_not_be_used_is_refused_with_what_is_accepted(url, says):
    with pytest.raises(ModelError, match=says):
        ChampionStore(url)


def test_a_password_of_the_address_is_not_in_the_error():
    secret = "let" + "me" + "in"
    with pytest.raises(ModelError, match="the store of champions can't be used") as refused:
        ChampionStore(f"postgresql://ana:{quote(secret)}@127.0.0.1:9/none")
    assert secret not in str(refused.value)
    assert "127.0.0.1" not in str(refused.value)


def test_a_store_of_a_newer_release_is_refused(store, file):
    database = sqlite3.connect(file)
    with database:
        database.execute("UPDATE champion_facts SET value = '2' WHERE name = 'contract'")
    database.close()
    with pytest.raises(ModelError, match="has contract 2; this program reads up to 1; update crsrisk"):
        ChampionStore(f"sqlite:///{file}")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "store.db").write_text("no database at all, but long enough to be read as one" * 20)
    with pytest.raises(ModelError, match=r"the store of champions can't be used \(DatabaseError\)"):
        ChampionStore(f"sqlite:///{tmp_path}/store.db")


def test_who_acts_is_the_setting_or_the_account(monkeypatch):
    monkeypatch.setenv("CRSRISK_USER", "ana")
    assert acting_user() == "ana"
    monkeypatch.delenv("CRSRISK_USER")
    monkeypatch.setattr("getpass.getuser", lambda: "account")
    assert acting_user() == "account"
