"""Features on a Dask cluster are the features of one process, also when a worker is killed in mid-run."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

import features.cluster
from crsrisk.cli import app
from crsrisk.cohort import Cohort, write_cohort
from crsrisk.errors import CohortError, CrsRiskError
from features.cluster import task
from features.job import MANIFEST, JobFolder
from features.stream import stream_features

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]

LANDMARKS = (0.0, 24.0)
ROWS = 1500


@pytest.fixture(scope="module")
def folder(small_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    some = small_cohort.subset(small_cohort.courses["course_id"][::5])
    return write_cohort(some, tmp_path_factory.mktemp("cluster") / "cohort", parquet=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes on this machine."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as found:
        yield found


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table computed by one process."""
    out = tmp_path_factory.mktemp("alone") / "x.parquet"
    return stream_features(folder, out, LANDMARKS, rows_per_part=ROWS).file


def test_two_workers_write_the_table_of_one_process(folder, cluster, alone, tmp_path):
    address = cluster.scheduler_address
    told = stream_features(folder, tmp_path / "x.parquet", LANDMARKS, scheduler=address, rows_per_part=ROWS)
    assert told.parts > 6
    assert told.file.read_bytes() == alone.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


def test_the_command_line_gives_the_work_to_a_cluster(folder, cluster, tmp_path):
    asked = ["features", str(folder), "--landmarks", "0,24", "--json", "--out"]
    for name, more in (("here.csv", []), ("there.csv", ["--scheduler", cluster.scheduler_address])):
        result = CliRunner().invoke(app, [*asked, str(tmp_path / name), *more])
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["rows"] == len((tmp_path / name).read_text(encoding="utf-8").splitlines()) - 1
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()


def test_a_worker_killed_in_mid_run_changes_nothing(folder, cluster, alone, tmp_path):
    killed: list[int] = []

    def kill(_: str, done: int, parts: int) -> None:
        if not killed:
            assert done < parts - 2
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                killed.extend(sorted(client.run(os.getpid).values())[:1])
            os.kill(killed[0], signal.SIGKILL)

    out = tmp_path / "x.parquet"
    stream_features(
        folder, out, LANDMARKS, scheduler=cluster.scheduler_address, rows_per_part=ROWS, progress=kill
    )
    assert len(killed) == 1
    assert out.read_bytes() == alone.read_bytes()


def test_a_run_given_up_here_is_finished_by_a_cluster(folder, cluster, alone, tmp_path):
    def stop(_: str, done: int, __: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    out = tmp_path / "x.parquet"
    with pytest.raises(KeyboardInterrupt):
        stream_features(folder, out, LANDMARKS, rows_per_part=ROWS, progress=stop)
    told = stream_features(folder, out, LANDMARKS, scheduler=cluster.scheduler_address, rows_per_part=ROWS)
    assert told.reused == 4
    assert out.read_bytes() == alone.read_bytes()


def test_problems_are_told_as_by_one_process(folder, cluster, tmp_path):
    events = pq.read_table(folder / "events.parquet")
    hours = events["time"].cast("string").to_pylist()
    hours[5], hours[-5] = "noon", "soon"
    bad = tmp_path / "cohort"
    bad.mkdir()
    (bad / "courses.parquet").write_bytes((folder / "courses.parquet").read_bytes())
    place = events.column_names.index("time")
    pq.write_table(events.set_column(place, "time", [hours]), bad / "events.parquet", row_group_size=500)
    told = []
    for address in (None, cluster.scheduler_address):
        with pytest.raises(CohortError) as error:
            stream_features(bad, tmp_path / "x.csv", LANDMARKS, scheduler=address, rows_per_part=ROWS)
        told.append(error.value.problems)
    assert told[0] == told[1]
    assert any("not a time" in problem for problem in told[0])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{free}", "nonsense://x", "127.0.0.1"])
def test_a_scheduler_that_does_not_answer_is_said_in_bounded_time(folder, tmp_path, monkeypatch, address):
    monkeypatch.setattr(features.cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = address.format(free=taken.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(
            CrsRiskError, match=f"--scheduler {address}: no Dask scheduler answers .*; give the"
        ):
            stream_features(folder, tmp_path / "x.csv", LANDMARKS, scheduler=address)
    assert time.monotonic() - start < 20
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_without_workers_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(features.cluster, "WORKER_SECONDS", 0.3)
    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(
            CrsRiskError, match="the scheduler has had no worker for 0 s; start workers with `dask"
        ),
    ):
        stream_features(folder, tmp_path / "x.csv", LANDMARKS, scheduler=empty.scheduler_address)


def test_without_dask_the_message_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CrsRiskError, match=r"pip install crsrisk\[scale\]"):
        stream_features(folder, tmp_path / "x.csv", LANDMARKS, scheduler="tcp://127.0.0.1:8786")


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    refused = task(str(tmp_path / "elsewhere"), 0, False)["refused"]
    assert "all workers must see the folder of --out and the cohort under the same path" in refused


def test_a_worker_of_another_version_refuses(folder, tmp_path):
    def alter(_: str, done: int, __: int) -> None:
        manifest = JobFolder.beside(tmp_path / "x.csv").path / MANIFEST
        manifest.write_text(manifest.read_text(encoding="utf-8").replace('"engine": 1', '"engine": 0'))

    with pytest.raises(CrsRiskError, match="install the same version everywhere"):
        stream_features(folder, tmp_path / "x.csv", LANDMARKS, rows_per_part=ROWS, progress=alter)


def test_a_part_that_no_worker_can_write_ends_the_run_and_keeps_the_others(folder, cluster, tmp_path):
    def obstruct(_: str, done: int, __: int) -> None:
        (JobFolder.beside(tmp_path / "x.csv").path / "000005.arrow").mkdir(exist_ok=True)

    options = {"scheduler": cluster.scheduler_address, "rows_per_part": ROWS}
    with pytest.raises(CrsRiskError, match=r"a part could not be computed \(IsADirectoryError\); look into"):
        stream_features(folder, tmp_path / "x.csv", LANDMARKS, progress=obstruct, **options)
    (tmp_path / "x.csv.parts" / "000005.arrow").rmdir()
    told = stream_features(folder, tmp_path / "x.csv", LANDMARKS, **options)
    assert told.reused > 0
