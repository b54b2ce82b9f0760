"""The folder beside a feature table in which its finished parts wait: a run that was killed continues from them.

A part is written under another name and renamed, so that a kill leaves a whole part or none. The manifest says
which job the parts belong to; parts of another job are thrown away.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from crsrisk.errors import CrsRiskError

if TYPE_CHECKING:
    from crsrisk.cohort_parts import Plan

FORM = 1  # raise it when the content of the folder changes its form
LOCK, MANIFEST, SPLIT, PARTS = "lock", "job.json", "split", "*.arrow"
OURS = "parts of a feature table; crsrisk removes this folder when the table is complete\n"
SUMMARY = b"crsrisk"


@dataclass(frozen=True)
class Summary:
    """What is told of one part: its rows, the account of its events, and its problems (then it has no rows)."""

    rows: int
    account: dict[str, Any]
    problems: list[Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"rows": self.rows, "account": self.account, "problems": self.problems}


class JobFolder:
    """The folder `OUT.parts` of a job; its content is trusted only below the manifest of this job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, out: Path) -> JobFolder:
        """The folder of the job that writes this file."""
        return cls(out.absolute().with_name(f"{out.name}.parts"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: a second run for the same file is refused; a killed run holds it no longer.

        Raises:
            CrsRiskError: it is held by another run, or something else has this name.
        """
        lock = self.path / LOCK
        if self.path.exists() and not lock.is_file() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise CrsRiskError(
                f"{self.path.name} is there and holds no parts of crsrisk; remove or rename it"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        with lock.open("a", encoding="utf-8") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CrsRiskError(
                    f"{self.path.name}: another run is writing this table; wait for it, or name another --out"
                ) from None
            if held.tell() == 0:
                held.write(OURS)
                held.flush()
            yield

    @contextmanager
    def left_only_with_parts(self) -> Iterator[None]:
        """Remove the folder after an error when no part is finished that a next run could use."""
        try:
            yield
        except Exception:
            if not any(self.path.glob(PARTS)):
                self.remove()
            raise

    def begin(self, key: Mapping[str, Any]) -> tuple[dict[str, Any] | None, int]:
        """The manifest left by a run of the same job, None when there is none; how many parts of others went.

        Half-written files, and everything of another job, are removed.
        """
        manifest = self._manifest()
        if manifest is not None and manifest.get("key") == json.loads(json.dumps(key)):
            for file in self.path.glob(".*"):
                _remove(file)
            return manifest, 0
        thrown_away = len(list(self.path.glob(PARTS)))
        for file in self.path.iterdir():
            if file.name != LOCK:
                _remove(file)
        return None, thrown_away

    @property
    def split(self) -> Path:
        """Where tables are split."""
        folder = self.path / SPLIT
        folder.mkdir(exist_ok=True)
        return folder

    def write_manifest(self, key: Mapping[str, Any], plan: Plan, account: dict[str, Any]) -> None:
        """State what the parts belong to, how they divide the cohort, and the account of the courses."""
        content = {"key": key, "plan": plan.to_dict(), "account": account}
        with self._new(self.path / MANIFEST) as sink:
            sink.write(json.dumps(content).encode())

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            CrsRiskError: there is none, as for a worker that does not see the folder.
        """
        manifest = self._manifest()
        if manifest is None:
            raise CrsRiskError(
                f"{self.path.name} can't be read by this worker; all workers must see the folder of --out and the "
                f"cohort under the same path"
            )
        return manifest

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the manifest does."""
        try:
            stat = (self.path / MANIFEST).stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_ino

    def write_part(self, number: int, table: pa.Table, summary: Summary) -> None:
        """Write one finished part; on the disk when this returns."""
        metadata = {**(table.schema.metadata or {}), SUMMARY: json.dumps(summary.to_dict()).encode()}
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        table = table.replace_schema_metadata(metadata)
        with (
            self._new(self._part(number)) as sink,
            pa.ipc.new_file(sink, table.schema, options=options) as file,
        ):
            file.write_table(table)

    def summary(self, number: int) -> Summary | None:
        """The summary of a finished part, None when it is not finished."""
        try:
            with pa.OSFile(str(self._part(number))) as source:
                metadata = pa.ipc.open_file(source).schema.metadata
            return Summary(**json.loads(metadata[SUMMARY]))
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None  # not there, or damaged: it is computed again

    def part(self, number: int) -> pa.Table:
        """The rows of a finished part, without its summary."""
        with pa.OSFile(str(self._part(number))) as source:
            table = pa.ipc.open_file(source).read_all()
        return table.replace_schema_metadata(
            {key: value for key, value in table.schema.metadata.items() if key != SUMMARY}
        )

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self.path / f"{number:06d}.arrow"

    def _manifest(self) -> dict[str, Any] | None:
        try:
            content = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    @contextmanager
    def _new(self, file: Path) -> Iterator[IO[bytes]]:
        """A file that appears whole, or not at all; two writers of the same part don't meet."""
        draft = self.path / f".{uuid.uuid4().hex}"
        try:
            with draft.open("xb") as sink:
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def replacing(out: Path, draft: Path) -> Iterator[Path]:
    """Write `draft`; when all went well it takes the place of `out`, on the disk."""
    yield draft
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    draft.replace(out)


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)
