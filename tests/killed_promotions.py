"""Promotions that kill themselves: `python -m tests.killed_promotions` runs one per line that it reads.

A line is JSON `[address, point, file]`: of a registry beside its store (`sqlite:///.../mlflow.db`) to promote
version 2 of the tests' registry, or of a store alone to change its champion. Each runs in a child, which was
forked before anything was opened, and sends itself SIGKILL at the point of that number; with point -1 it ends and
writes the names of all points into the file. The exit code of the child is printed.

Points are the steps of a promotion before its decision is written; from there on every call and return of
our modules that decide, and every statement before and after either database has run it.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

NAME = "crsrisk-cd19_cart"
ROOT = Path(__file__).parents[1]
OURS = {
    str(ROOT / "training" / name)
    for name in ("champion_store.py", "promotions.py", "champions.py", "registry.py")
}
STEPS = ("open_store", "mirror", "load_whole", "_judged", "_decision")
STATEMENTS = ("execute", "executemany", "commit", "rollback")
RESAMPLES = 50  # of the gate's intervals: this is not about them


class Driver:
    """The process that forks the children, as tests use it."""

    def __init__(self, folder: Path) -> None:
        self.told = folder / "points.json"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.killed_promotions"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, address: str, point: int = -1) -> int:
        """Exit code of a promotion at an address that dies at this point."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([address, point, str(self.told)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def points(self, address: str) -> list[str]:
        """Names of the points that an undisturbed promotion reaches."""
        assert self.run(address) == 0
        names: list[str] = json.loads(self.told.read_text(encoding="utf-8"))
        return names

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=60)


class Points:
    """Counts points and dies at the chosen one."""

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self.names: list[str] = []

    def reach(self, name: str) -> None:
        if len(self.names) == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def hook(self, frame: FrameType, event: str, argument: Any) -> None:
        """What `sys.setprofile` calls."""
        if event in ("call", "return"):
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if file in OURS or ("psycopg" in file and name in STATEMENTS):
                self.reach(f"{event} {name}")
        elif getattr(argument, "__name__", "") in STATEMENTS and isinstance(
            getattr(argument, "__self__", None), sqlite3.Cursor | sqlite3.Connection
        ):
            self.reach(f"{event} {argument.__name__}")

    def step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a point before and one after it."""

        @functools.wraps(function)
        def run(*given: Any, **more: Any) -> Any:
            self.reach(f"call {name}")
            found = function(*given, **more)
            self.reach(f"return {name}")
            return found

        return run


def promoted(uri: str, points: Points) -> None:
    """Promote version 2, watched in its steps, and closely from the writing of the decision on."""
    from training import champion_store, gate, promotions

    for name in STEPS:
        setattr(promotions, name, points.step(name, getattr(promotions, name)))
    change = champion_store.ChampionStore.change

    def watched(*given: Any, **more: Any) -> Any:
        sys.setprofile(points.hook)
        return change(*given, **more)

    champion_store.ChampionStore.change = watched  # type: ignore[method-assign]
    gate.judge.__kwdefaults__["resamples"] = RESAMPLES
    promotions.promote(NAME, "2", "more inputs", tracking_uri=uri, who="ben")
    sys.setprofile(None)


def changed(url: str, points: Points) -> None:
    """Open a store, which makes it where there is none, and make version 2 its champion, closely watched."""
    from training.champion_store import ChampionStore

    sys.setprofile(points.hook)
    store = ChampionStore(url)
    store.change(decision("2"), store.champion(NAME))
    sys.setprofile(None)


def decision(version: str, name: str = NAME) -> Any:
    """A decision for a version, without a registry."""
    from training.champion_store import Decision

    return Decision(
        who="ana",
        action="promote",
        name=name,
        version=version,
        digest=f"sha256:{version}",
        feature_digest="sha256:features",
        reason="why",
        evidence={"passed": True},
    )


def imported(task: Callable[..., None]) -> None:
    """Import what a task needs, once and before the children."""
    import training.champion_store

    if task is promoted:
        import mlflow  # noqa: F401
        import scipy.stats  # noqa: F401

        import training.gate
        import training.gate_kept
        import training.promotions  # noqa: F401


def main() -> None:
    for line in sys.stdin:
        address, deadly, file = json.loads(line)
        task = promoted if address.endswith("mlflow.db") else changed
        imported(task)
        child = os.fork()
        if child == 0:
            points = Points(deadly)
            task(address, points)
            Path(file).write_text(json.dumps(points.names), encoding="utf-8")
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
