"""Features part by part are the features at once; a killed run is continued; nothing half done is left."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import features.parts
import features.stream
from crsrisk.cohort import Cohort, read_cohort, write_cohort
from crsrisk.errors import CohortError, CrsRiskError
from features.job import JobFolder
from features.matrix import compute_features
from features.registry import predictors
from features.stream import stream_features

LANDMARKS = (0.0, 24.0)
ROWS = 1500  # a few courses per part
KILLED = """
import os, signal, sys
from features.stream import stream_features

def kill(task, done, parts):
    if done == 3:
        assert not {"mlflow", "shap", "lightgbm", "dask"} & set(sys.modules), "not needed and costly"
        os.kill(os.getpid(), signal.SIGKILL)

hours = [float(hour) for hour in sys.argv[3].split(",")]
stream_features(sys.argv[1], sys.argv[2], hours, rows_per_part=int(sys.argv[4]), progress=kill)
"""


@pytest.fixture(scope="module")
def folder(small_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Courses of two therapies, with clock times, as CSV."""
    some = small_cohort.subset(small_cohort.courses["course_id"][::6])
    return write_cohort(some, tmp_path_factory.mktemp("stream") / "cohort")


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return read_cohort(folder)


@pytest.fixture(scope="module")
def at_once(cohort: Cohort) -> pd.DataFrame:
    return compute_features(cohort, LANDMARKS).frame()


def killed_run(cohort: Path, out: Path, landmarks: str = "0,24") -> Path:
    """A run that was killed after three parts; the folder that it left."""
    command = [sys.executable, "-c", KILLED, str(cohort), str(out), landmarks, str(ROWS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    return out.with_name(f"{out.name}.parts")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the parts that are computed from now on."""
    numbers: list[int] = []
    compute = features.stream.compute_part

    def count(folder: str, number: int, **options: bool) -> Any:
        numbers.append(number)
        return compute(folder, number, **options)

    monkeypatch.setattr(features.stream, "compute_part", count)
    return numbers


@pytest.mark.parametrize("parquet", [False, True])
def test_the_file_is_that_of_all_courses_at_once(tmp_path, cohort, folder, at_once, parquet):
    if parquet:
        folder = write_cohort(cohort, tmp_path / "cohort", parquet=True)
    told = stream_features(folder, tmp_path / "new" / "x.parquet", LANDMARKS, rows_per_part=ROWS)
    at_once.to_parquet(tmp_path / "y.parquet", index=False)
    in_parts = pq.read_table(told.file)
    assert in_parts.equals(pq.read_table(tmp_path / "y.parquet"), check_metadata=True)
    assert told.parts > 5
    assert (told.rows, told.features) == (len(at_once), in_parts.num_columns - 7)
    assert told.account.to_dict() == read_cohort(folder).ledger.account().to_dict()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["x.parquet"]


def test_the_csv_file_is_that_of_all_courses_at_once_too(tmp_path, folder, at_once):
    told = stream_features(folder, tmp_path / "x.csv", LANDMARKS, rows_per_part=ROWS)
    at_once.to_csv(tmp_path / "y.csv", index=False)
    assert told.file.read_bytes() == (tmp_path / "y.csv").read_bytes()


def test_one_part_is_enough_for_a_small_cohort(tmp_path, folder, cohort):
    told = stream_features(folder, tmp_path / "x.parquet", features=predictors())
    assert told.parts == 1
    table = compute_features(cohort, features=predictors()).frame()
    pd.testing.assert_frame_equal(pd.read_parquet(told.file), table)


def test_a_table_without_rows_has_its_columns(tmp_path, folder, at_once):
    told = stream_features(folder, tmp_path / "x.parquet", (400.0,), rows_per_part=ROWS)
    written = pd.read_parquet(told.file)
    assert told.rows == len(written) == 0
    assert written.dtypes.to_dict() == at_once.dtypes.to_dict()


def test_a_killed_run_is_continued_from_its_finished_parts(tmp_path, folder, at_once, monkeypatch):
    out = tmp_path / "x.parquet"
    left = killed_run(folder, out)
    assert not out.exists()
    finished = sorted(left.glob("*.arrow"))
    assert len(finished) == 3
    (left / ".0123").write_bytes(b"half a part")  # killed while it wrote
    finished[0].write_bytes(finished[0].read_bytes()[:-100])  # damaged by the disk
    computed = counted(monkeypatch)
    told = stream_features(folder, out, LANDMARKS, rows_per_part=ROWS)
    assert (told.reused, told.discarded) == (2, 0)
    assert computed == [0, *range(3, told.parts)]
    pd.testing.assert_frame_equal(pd.read_parquet(out), at_once)
    assert not left.exists()
    again = stream_features(folder, out, LANDMARKS, rows_per_part=ROWS)
    assert (again.reused, again.account) == (0, told.account)


def test_parts_of_another_job_are_thrown_away(tmp_path, folder, at_once, monkeypatch):
    killed_run(folder, tmp_path / "x.parquet", landmarks="0,48")
    computed = counted(monkeypatch)
    told = stream_features(folder, tmp_path / "x.parquet", LANDMARKS, rows_per_part=ROWS)
    assert (told.reused, told.discarded) == (0, 3)
    assert computed == list(range(told.parts))
    pd.testing.assert_frame_equal(pd.read_parquet(told.file), at_once)


def test_parts_of_a_cohort_that_has_changed_are_thrown_away(tmp_path, cohort):
    folder = write_cohort(cohort, tmp_path / "cohort")
    killed_run(folder, tmp_path / "x.parquet")
    events = folder / "events.csv"
    events.write_text(events.read_text(encoding="utf-8").replace("crp", "ldh", 1), encoding="utf-8")
    told = stream_features(folder, tmp_path / "x.parquet", LANDMARKS, rows_per_part=ROWS)
    assert (told.reused, told.discarded) == (0, 3)


def test_something_else_of_the_folders_name_is_not_touched(tmp_path, folder):
    other = tmp_path / "x.csv.parts"
    other.mkdir()
    (other / "thesis.doc").write_text("mine", encoding="utf-8")
    with pytest.raises(CrsRiskError, match=r"x.csv.parts is there and holds no parts of crsrisk; remove or"):
        stream_features(folder, tmp_path / "x.csv", LANDMARKS)
    assert [file.name for file in other.iterdir()] == ["thesis.doc"]


def test_a_second_run_for_the_same_file_is_refused(tmp_path, folder):
    out = tmp_path / "x.csv"
    with (
        JobFolder.beside(out).locked(),
        pytest.raises(CrsRiskError, match="another run is writing this table; wait for it"),
    ):
        stream_features(folder, out, LANDMARKS)
    assert stream_features(folder, out, LANDMARKS).rows > 0


def test_a_full_disk_keeps_the_finished_parts(tmp_path, folder, at_once, monkeypatch):
    write = JobFolder.write_part

    def full(self: JobFolder, number: int, *rest: Any) -> None:
        if number == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, number, *rest)

    out = tmp_path / "x.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "write_part", full)
        message = (
            "x.parquet can't be completed: No space left on device; free space or name another; finished"
        )
        with pytest.raises(CrsRiskError, match=message):
            stream_features(folder, out, LANDMARKS, rows_per_part=ROWS)
    assert not out.exists()
    assert stream_features(folder, out, LANDMARKS, rows_per_part=ROWS).reused == 2
    pd.testing.assert_frame_equal(pd.read_parquet(out), at_once)


Bad = Callable[[str], Path]


@pytest.fixture
def bad_folder(tmp_path: Path, cohort: Cohort) -> Bad:
    """The cohort with the hour of each course's first event replaced by something else."""

    def spoil(hour: str) -> Path:
        tables: dict[str, pd.DataFrame] = {
            "courses": cohort.courses[["course_id", "patient_id", "therapy"]],
            "events": cohort.events[["course_id", "hours", "variable", "value"]].astype({"hours": "str"}),
        }
        events = tables["events"]
        events.loc[~events["course_id"].duplicated(), "hours"] = hour
        return write_cohort({**tables, "events": events.assign(unit="")}, tmp_path / "cohort")

    return spoil


def test_the_problems_of_all_parts_are_told_together(tmp_path, bad_folder, monkeypatch):
    folder = bad_folder("noon")
    with pytest.raises(CohortError) as at_once:
        read_cohort(folder)
    monkeypatch.setattr(features.parts, "compute_features", None)  # no table, nothing to compute
    with pytest.raises(CohortError) as in_parts:
        stream_features(folder, tmp_path / "x.csv", LANDMARKS, rows_per_part=ROWS)
    assert in_parts.value.problems == at_once.value.problems
    courses = len(pd.read_csv(folder / "courses.csv"))
    assert f"no number of hours (and {courses - 1} more rows like it)" in in_parts.value.problems[0]
    assert [file.name for file in tmp_path.iterdir()] == ["cohort"]


def test_a_folder_that_cannot_be_divided_leaves_nothing(tmp_path):
    with pytest.raises(CohortError, match="'nowhere': no such folder"):
        stream_features(tmp_path / "nowhere", tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_the_ending_of_the_file_decides_its_form(tmp_path, folder):
    with pytest.raises(
        CrsRiskError, match=r"--out x.xlsx: the ending decides the form; use .csv or .parquet"
    ):
        stream_features(folder, tmp_path / "x.xlsx")


def test_progress_counts_parts(tmp_path, folder):
    seen: list[tuple[str, int, int]] = []

    def note(task: str, done: int, parts: int) -> None:
        seen.append((task, done, parts))

    told = stream_features(folder, tmp_path / "x.csv", (0.0,), rows_per_part=ROWS, progress=note)
    assert seen == [("features", done, told.parts) for done in range(1, told.parts + 1)]
