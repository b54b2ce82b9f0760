"""Features of a cohort folder of any size, part by part into one file, here or on a Dask cluster.

The memory is that of one part, whatever the size of the cohort. Each part is read as `read_cohort` reads and
computed as `compute_features` computes, so the file holds the same numbers to the last bit. Tasks of a cluster
are a folder and a number: every worker reads the cohort and writes its parts itself, so all must see both
folders under the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from crsrisk.cohort_parts import ROWS_PER_PART, folder_stamp, plan_parts
from crsrisk.errors import CrsRiskError
from crsrisk.ledger import Account, Ledger
from crsrisk.problems import Problems
from features.job import FORM, JobFolder, Summary, replacing
from features.matrix import DEFAULT_LANDMARKS
from features.parts import Work, compute_part, engine_identity, forget
from features.registry import FEATURES

if TYPE_CHECKING:
    from features.declare import Feature

Progress = Callable[[str, int, int], None]
Compute = Callable[[Work], Iterator[tuple[int, Summary]]]
"""Gives the number and summary of each part of the work as it is finished."""

ENDINGS = (".csv", ".parquet")
MANY_LANDMARKS = 10  # with more landmarks the results outweigh the events, and parts become smaller


@dataclass(frozen=True)
class StreamedFeatures:
    """What was written: rows and columns of the file, and how the cohort was counted out.

    parts: of the cohort; reused: of these the finished ones of a run that was killed; discarded: parts of
    another job that lay there. account: rows that were used, rejected and not used, table by table.
    """

    file: Path
    rows: int
    features: int
    parts: int
    reused: int
    discarded: int
    account: Account

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        told = {name: getattr(self, name) for name in ("rows", "features", "parts", "reused", "discarded")}
        return {"file": str(self.file), **told, **self.account.to_dict()}


def stream_features(
    cohort: str | Path,
    out: str | Path,
    landmarks: Sequence[float] | None = None,
    *,
    features: Sequence[Feature] | None = None,
    scheduler: str | None = None,
    rows_per_part: int | None = None,
    progress: Progress | None = None,
) -> StreamedFeatures:
    """Compute the feature table of a cohort folder into a file; rows are in the order of the courses.

    A run that was killed is continued by the same call. Until the file is complete, `OUT.parts` lies beside
    it, and the file itself stays as it was.

    Args:
        cohort: folder.
        out: file to write, .parquet or .csv.
        landmarks: hours after each dose.
        features: the columns; None for all declared features.
        scheduler: address of a Dask scheduler, for example tcp://10.0.0.5:8786; None computes here.
        rows_per_part: rows of the cohort's tables that a part should have.
        progress: called with the task, the parts done and the parts in all.

    Raises:
        CohortError: the folder can't be used; every problem of every part.
        CrsRiskError: the file can't be written, or the cluster can't be used.
    """
    target = Path(out)
    if target.suffix not in ENDINGS:
        raise CrsRiskError(f"--out {target.name}: the ending decides the form; use .csv or .parquet")
    hours = [float(hour) for hour in (landmarks or DEFAULT_LANDMARKS)]
    if rows_per_part is None:
        rows_per_part = max(ROWS_PER_PART * MANY_LANDMARKS // max(len(hours), MANY_LANDMARKS), 1)
    names = [one.name for one in (FEATURES if features is None else features)]
    order = _Order(Path(cohort).resolve(), target, hours, names, rows_per_part)
    job = JobFolder.beside(target)
    try:
        with job.locked(), job.left_only_with_parts(), _computing(scheduler) as compute:
            return _stream(order, job, compute, progress)
    except OSError as error:
        raise CrsRiskError(
            f"{target.name} can't be completed: {error.strerror or type(error).__name__}; free space or name "
            f"another; finished parts are kept, the same command continues from them"
        ) from error


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    cohort: Path
    out: Path
    landmarks: list[float]
    names: list[str]
    rows_per_part: int

    def key(self) -> dict[str, Any]:
        """What tells this job from every other one."""
        return {
            "form": FORM,
            **engine_identity(),
            "features": self.names,
            "landmarks": self.landmarks,
            "cohort": str(self.cohort),
            "stamp": folder_stamp(self.cohort),
            "rows_per_part": self.rows_per_part,
        }


def _stream(order: _Order, job: JobFolder, compute: Compute, progress: Progress | None) -> StreamedFeatures:
    key = order.key()
    manifest, discarded = job.begin(key)
    if manifest is None:
        ledger = Ledger()
        plan = plan_parts(order.cohort, job.split, ledger, rows_per_part=order.rows_per_part).plan
        job.write_manifest(key, plan, ledger.account().to_dict())
        manifest = job.manifest()
    parts = len(manifest["plan"]["stops"])
    found = ((number, job.summary(number)) for number in range(parts))
    finished = {number: summary for number, summary in found if summary is not None}
    reused = len(finished)
    work = Work(str(job.path), [number for number in range(parts) if number not in finished])
    problems = Problems()
    for number, summary in compute(work):
        finished[number] = summary
        problems.merge((tuple(said), first, rows) for said, first, rows in summary.problems)
        work.only_check = bool(problems.sentences)
        if progress is not None:
            progress("features", len(finished), parts)
    if problems.sentences:
        job.remove()  # there is no table before the folder changes
        raise problems.error()
    account = Account.from_dict(manifest["account"])
    for number in range(parts):
        account.add(Account.from_dict(finished[number].account))
    _write(order.out, job, parts)
    job.remove()
    rows = sum(summary.rows for summary in finished.values())
    return StreamedFeatures(order.out, rows, len(order.names), parts, reused, discarded, account)


@contextmanager
def _here() -> Iterator[Compute]:
    """Computes parts in this process."""

    def compute(work: Work) -> Iterator[tuple[int, Summary]]:
        for number in work.numbers:
            yield number, compute_part(work.folder, number, only_check=work.only_check)

    try:
        yield compute
    finally:
        forget()


def _computing(scheduler: str | None) -> AbstractContextManager[Compute]:
    if scheduler is None:
        return _here()
    from features.cluster import on_cluster

    return on_cluster(scheduler)


def _write(out: Path, job: JobFolder, parts: int) -> None:
    """All parts one after the other as one file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out, job.path / f".table{out.suffix}") as draft:
        if out.suffix == ".csv":
            with draft.open("w", encoding="utf-8", newline="") as sheet:
                for number in range(parts):
                    rows = job.part(number).to_pandas()
                    rows.to_csv(sheet, index=False, header=number == 0, lineterminator="\n")
            return
        with pq.ParquetWriter(draft, job.part(0).schema) as writer:
            for number in range(parts):
                writer.write_table(job.part(number))
