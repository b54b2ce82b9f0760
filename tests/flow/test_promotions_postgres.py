"""The store of champions on PostgreSQL: the same promises as on SQLite."""

from __future__ import annotations

import multiprocessing

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from crsrisk.errors import ModelError, PromotionConflictError
from tests.killed_promotions import NAME, Driver, decision
from training.champion_ledger import Champion, replay
from training.champion_store import ChampionStore

pytestmark = pytest.mark.xdist_group("postgres")

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def schemas(postgres):
    """Addresses of new, empty schemas of the database by name."""

    names = []

    def new(name):
        names.append(name)
        execute(postgres, f"CREATE SCHEMA {name}")
        return f"{postgres}&options=-csearch_path%3D{name}"

    yield new
    for name in names:
        execute(postgres, f"DROP SCHEMA {name} CASCADE")


def execute(url, statement):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_decisions_conflicts_and_the_ledger_are_those_of_sqlite(schemas):
    url = schemas("decisions")
    store = ChampionStore(url)
    store.change(decision("1"), None)
    judged = store.champion(NAME)
    store.change(decision("2"), judged)
    with pytest.raises(PromotionConflictError, match="version 2 is champion now"):
        store.change(decision("3"), judged)
    assert store.champion(NAME) == Champion(NAME, "2", "sha256:2", 2, 2)
    assert ChampionStore(url).problems() == []
    assert ChampionStore(url).pseudonym_key() == store.pseudonym_key()
    assert replay(store.entries()) == store.champions()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE champion_ledger SET who = 'eve'", "DELETE FROM champion_ledger", "TRUNCATE champion_ledger"],
)
def test_the_database_itself_refuses_to_change_the_ledger(schemas, statement):
    url = schemas("append_only")
    ChampionStore(url).change(decision("1"), None)
    with pytest.raises(DatabaseError, match="the ledger is append-only"):
        execute(url, statement)
    assert len(ChampionStore(url).entries()) == 1


def test_a_database_that_may_not_be_used_is_an_error_without_its_address(postgres):
    with pytest.raises(ModelError, match="the store of champions can't be used") as refused:
        ChampionStore(postgres.replace("/postgres?", "/none?"))
    assert "host=" not in str(refused.value)


@pytest.mark.parametrize("first", [True, False])
def test_of_eight_decisions_at_once_one_wins_and_seven_get_a_conflict(schemas, first):
    """Also while the tables are made, and where nobody answered yet."""
    url = schemas("at_once")
    if not first:
        ChampionStore(url).change(decision("1"), None)
    barrier, answers = FORK.Barrier(8), FORK.Queue()

    def run(number):
        barrier.wait(timeout=60)
        store = ChampionStore(url)
        judged = store.champion(NAME)
        barrier.wait(timeout=60)
        try:
            store.change(decision(str(10 + number)), judged)
            answers.put("won")
        except PromotionConflictError as error:
            answers.put(str(error))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(8)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found.count("won") == 1
    assert sum("another decision came between" in answer for answer in found) == 7
    store = ChampionStore(url)
    assert store.problems() == []
    assert len(store.entries()) == (1 if first else 2)


def test_many_writers_of_different_names_all_arrive(schemas):
    url = schemas("many")
    ChampionStore(url)

    def run(number):
        store = ChampionStore(url)
        for version in range(5):
            made = decision(f"{version}", name=f"crsrisk-{number}")
            store.change(made, store.champion(made.name))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    store = ChampionStore(url)
    assert store.problems() == []
    assert [entry.sequence for entry in store.entries()] == list(range(1, 21))


def test_a_decision_killed_at_every_statement_is_wholly_there_or_not_at_all(schemas, tmp_path):
    driver = Driver(tmp_path)

    def prepared(name):
        url = schemas(name)
        ChampionStore(url).change(decision("1"), None)
        return url

    names = driver.points(prepared("undisturbed"))
    commit = len(names) - 1 - names[::-1].index("call commit")
    around = [k for k, name in enumerate(names) if name.endswith((" execute", " commit"))]
    for point in sorted({*around[::4], commit, around[-1]}):
        url = prepared(f"at{point}")
        assert driver.run(url, point) == -9
        store = ChampionStore(url)
        assert store.problems() == []
        assert store.champion(NAME).version == ("1" if point <= commit else "2")
        assert len(store.entries()) == int(store.champion(NAME).version)
    store.change(decision("3"), store.champion(NAME))
    assert store.problems() == []
    driver.close()
