"""Features of 20,000 courses of 400 events: two Dask workers beside one process, and with a worker killed.

Workers have the settings of docs/scale.md, and once those that Dask gives them. One process and two workers run in
turns and are compared by the clock; the load average is stated, since on a busy machine there is no second core.
BENCH_SHRINK=10 makes the cohort ten times smaller.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figure import Figures, run
from benchmarks.scale import EVENTS, SHRINK, digest, make_cohort

COURSES = 20_000 // SHRINK
ROUNDS = 3
SETTINGS = {  # docs/scale.md
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 268435456,
        "MALLOC_MMAP_THRESHOLD_": 33554432,
        "OMP_NUM_THREADS": 1,
    },
}


def _cluster(figures: Figures, folder: Path) -> None:
    cohort = make_cohort(folder / "cohort", COURSES, seed=5)
    warm = make_cohort(folder / "warm", 100, seed=6)
    digests: dict[str, set[str]] = {"one": set(), "two": set()}
    clocks: dict[str, list[float]] = {"one": [], "two": []}
    parts = COURSES * EVENTS // 40  # rows: forty parts, so that both workers end together
    with two_workers(SETTINGS) as cluster:
        address = {"one": None, "two": cluster.scheduler_address}
        for name in ("one", "two"):  # every process imports once
            _timed(warm, folder / "warm.parquet", address[name], 4_000)
        for _ in range(ROUNDS):
            for name in ("one", "two"):
                clocks[name].append(_timed(cohort, folder / f"{name}.parquet", address[name], parts))
                digests[name].add(digest(folder / f"{name}.parquet"))
        load = os.getloadavg()[0]
        killed = _with_a_worker_killed(cohort, folder / "killed.parquet", cluster, parts)
    with two_workers({}) as cluster:
        _timed(warm, folder / "warm.parquet", cluster.scheduler_address, 4_000)
        plain = _timed(cohort, folder / "plain.parquet", cluster.scheduler_address, parts)
    one, two = (statistics.median(clocks[name]) for name in ("one", "two"))
    where = f"{COURSES:,} courses"
    figures.add(f"one process, clock s, {where}", round(one, 1), "none", ok=True)
    figures.add(f"two workers as in docs/scale.md, clock s, {where}", round(two, 1), "none", ok=True)
    figures.add(f"two workers as Dask starts them, clock s, {where}", round(plain, 1), "none", ok=True)
    against = f"one process in turns, load average {load:.1f} on {os.cpu_count()} cores"
    figures.add(
        "one process / two workers", round(one / two, 2), "at least 1.1", ok=one >= 1.1 * two, against=against
    )
    same = len(digests["one"] | digests["two"]) == 1
    figures.add("same rows from two workers", same, "equal to the bit", ok=same, against="one process")
    same = {killed} == digests["one"]
    figures.add("same rows with a worker killed", same, "equal to the bit", ok=same, against="one process")


@contextmanager
def two_workers(settings: Mapping[str, object]) -> Iterator[Any]:
    """A cluster of two worker processes with one thread each."""
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


def _timed(cohort: Path, out: Path, scheduler: str | None, rows_per_part: int) -> float:
    from features.stream import stream_features

    start = time.perf_counter()
    stream_features(cohort, out, scheduler=scheduler, rows_per_part=rows_per_part)
    return time.perf_counter() - start


def _with_a_worker_killed(cohort: Path, out: Path, cluster: Any, rows_per_part: int) -> str:
    from distributed import Client

    from features.stream import stream_features

    killed: list[int] = []

    def kill(_: str, done: int, parts: int) -> None:
        if not killed and done >= parts // 4:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    stream_features(
        cohort, out, scheduler=cluster.scheduler_address, rows_per_part=rows_per_part, progress=kill
    )
    return digest(out)


def main() -> int:
    figures = Figures("cluster")
    with tempfile.TemporaryDirectory(prefix="crsrisk-cluster-") as name:
        _cluster(figures, Path(name))
    return figures.finish()


if __name__ == "__main__":
    run(main)
