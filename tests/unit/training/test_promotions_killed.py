"""A promotion killed at any point leaves one champion and a whole ledger; of eight at once, one wins."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time

import pytest

from crsrisk.errors import PromotionConflictError
from tests.killed_promotions import NAME, Driver, decision
from tests.unit.training.conftest import copied
from training.champion_ledger import replay
from training.champion_store import ChampionStore
from training.champions import load_champions, open_store
from training.promotions import promote, verify
from training.registry import load_alias

pytestmark = pytest.mark.xdist_group("promotions")

KILLED = -9
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def driver(tmp_path):
    one = Driver(tmp_path)
    yield one
    one.close()


def whole(store, accepted=("1", "2")):
    """The version that answers, when ledger and champions agree."""
    assert store.problems() == []
    assert replay(store.entries()) == store.champions()
    [one] = store.champions().values()
    assert one.version in accepted
    assert one.version == store.entries()[-1].version
    assert len(store.entries()) == int(one.version)
    return one.version


def statements(names):
    """Points before and after each statement."""
    return [k for k, name in enumerate(names) if name.startswith("c_")]


def test_a_store_killed_at_every_statement_is_the_old_or_the_new_one_and_can_be_used(driver, tmp_path):
    before = tmp_path / "before.db"
    ChampionStore(f"sqlite:///{before}").change(decision("1"), None)
    names = driver.points(f"sqlite:///{shutil.copy(before, tmp_path / 'run.db')}")
    commit = len(names) - names[::-1].index("c_call commit")
    assert names[commit] == "c_return commit"
    for point in statements(names):
        url = f"sqlite:///{shutil.copy(before, tmp_path / f'{point}.db')}"
        assert driver.run(url, point) == KILLED
        store = ChampionStore(url)
        assert whole(store) == ("1" if point < commit else "2")
        if point == commit - 1:
            store.change(decision("2"), store.champion(NAME))
            assert whole(store) == "2"


def test_a_new_store_killed_while_it_is_made_is_none_or_whole(driver, tmp_path):
    names = driver.points(f"sqlite:///{tmp_path}/run.db")
    for point in statements(names)[::2]:
        url = f"sqlite:///{tmp_path}/{point}.db"
        assert driver.run(url, point) == KILLED
        store = ChampionStore(url)
        assert store.problems() == []
        assert len(store.pseudonym_key()) == 32
        assert len(store.entries()) == len(store.champions()) <= 1


def chosen(names):
    """Points of a whole promotion: steps before the decision, around its commit, and of the mirror in MLflow."""
    commit = names.index("c_call commit")
    steps = [names.index(f"call {step}") for step in ("mirror", "_judged", "_announced", "set_alias")]
    after = [k for k, name in enumerate(names) if k > commit + 1 and name == "c_call commit"]
    return [*steps, commit, commit + 1, *after[-2:], len(names) - 1], commit


def test_a_promotion_killed_at_any_step_leaves_one_champion_that_is_served(driver, registered, tmp_path):
    points, commit = chosen(driver.points(copied(registered / "served", tmp_path / "undisturbed")))
    assert len(points) == 9
    for point in points:
        uri = copied(registered / "served", tmp_path / f"at{point}")
        assert driver.run(uri, point) == KILLED
        version = whole(open_store(uri))
        assert version == ("1" if point <= commit else "2")
        models, refused = load_champions(uri)
        assert ({family: info.version for family, (_, info) in models.items()}, refused) == (
            {"cd19_cart": version},
            {},
        )
        assert load_alias(NAME, "champion", tracking_uri=uri)[1].version == version
        assert verify(tracking_uri=uri) == []


def changing(url):
    """Versions 2, 3, ... become champion one after the other until the process is killed."""
    store = ChampionStore(url)
    for number in range(len(store.entries()) + 1, 100_000):
        store.change(decision(str(number)), store.champion(NAME))


def test_processes_killed_at_random_moments_leave_one_champion_and_a_whole_ledger(tmp_path):
    url, draw = f"sqlite:///{tmp_path}/store.db", random.Random(7)
    store = ChampionStore(url)
    for _ in range(12):
        before, process = len(store.entries()), FORK.Process(target=changing, args=(url,))
        process.start()
        while len(store.entries()) == before:
            assert process.is_alive()
        time.sleep(draw.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == KILLED
        entries = store.entries()
        assert len(entries) > before
        assert store.problems() == []
        assert [one.version for one in store.champions().values()] == [entries[-1].version]


# ---- at the same time


def at_once(task, count):
    """What `count` processes that start together answer; task(number, barrier) runs in each."""
    barrier, answers = FORK.Barrier(count), FORK.Queue()

    def run(number):
        try:
            task(number, barrier)
            answers.put("won")
        except PromotionConflictError as error:
            answers.put(str(error))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return found


def one_won(found, count=8):
    assert found.count("won") == 1
    lost = [answer for answer in found if answer != "won"]
    assert len(lost) == count - 1
    assert all("another decision came between" in answer for answer in lost)


def test_of_eight_promotions_at_once_one_wins_and_seven_get_a_conflict(served, monkeypatch):
    """Each has judged against version 1 before any of them writes."""
    from training import gate

    monkeypatch.setitem(gate.judge.__kwdefaults__, "resamples", 50)

    def task(number, barrier):
        change = ChampionStore.change

        def together(*given):
            barrier.wait(timeout=100)
            return change(*given)

        ChampionStore.change = together
        promote(NAME, "2", "more inputs", tracking_uri=served, who=f"person {number}")

    one_won(at_once(task, 8))
    store = open_store(served)
    assert whole(store) == "2"
    assert load_alias(NAME, "champion", tracking_uri=served)[1].version == "2"
    assert verify(tracking_uri=served) == []


@pytest.mark.parametrize("first", [True, False])
def test_of_eight_decisions_at_once_one_wins_also_where_nobody_answered_yet(tmp_path, first):
    url = f"sqlite:///{tmp_path}/store.db"
    before = 0 if first else 1
    if not first:
        ChampionStore(url).change(decision("1"), None)

    def task(number, barrier):
        barrier.wait(timeout=60)
        store = ChampionStore(url)  # the first to come makes it
        judged = store.champion(NAME)
        barrier.wait(timeout=60)
        store.change(decision(str(10 + number)), judged)

    one_won(at_once(task, 8))
    store = ChampionStore(url)
    assert store.problems() == []
    assert len(store.entries()) == before + 1
