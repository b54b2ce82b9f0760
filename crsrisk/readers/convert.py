"""Someone else's data to a cohort folder: streamed, every item accounted for, whatever the order of delivery."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.assemble import assemble
from crsrisk.readers.codes import check_targets
from crsrisk.readers.folder import FolderWriter
from crsrisk.readers.given import NO_LIMIT
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap, read_site_map
from crsrisk.readers.time_zero import Question
from crsrisk.spill import Spill
from crsrisk.times import microseconds

Reader = Callable[[Any, SiteMap, Account], Iterator[pa.RecordBatch]]

FORMATS: Mapping[str, tuple[str, str]] = {
    "fhir": ("crsrisk.readers.fhir", "read_fhir"),
    "omop": ("crsrisk.readers.omop", "read_omop"),
    "meds": ("crsrisk.readers.meds", "read_meds"),
    "hl7v2": ("crsrisk.readers.hl7v2", "read_hl7v2"),
    "csv": ("crsrisk.readers.spreadsheet", "read_csv"),
}
PARTITION_BYTES = 64_000_000
MOST_PARTITIONS = 512
"""Of 64 MB of text each: 30 GB; a larger source has larger partitions (a process may not open many more files)."""
PACKED = {".parquet": 20, ".gz": 12, ".duckdb": 5, ".xlsx": 12}
"""How many times as long the records of a packed file are, about."""
QUARANTINE, QUESTIONS, REPORT = "quarantine.csv", "questions.csv", "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion.

    folder: the cohort folder, with quarantine.csv, questions.csv and conversion.json beside the tables.
    questions: patients without a course until the site answers.
    unused_stated: patients of [courses] in the site map whom the source does not have.
    account: items, records by fate, reasons; see `Account.to_dict`.
    """

    folder: Path
    courses: int
    events: int
    questions: int
    unused_stated: int
    account: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether there is a course at all."""
        return self.courses > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {"courses": self.courses, "events": self.events, "questions": self.questions}
        counts["unused_stated"] = self.unused_stated
        return {"folder": self.folder.name, **counts, **self.account}

    def to_text(self) -> str:
        """The result for a terminal."""
        lines = [f"{self.courses} courses, {self.events} events in {self.folder}"]
        for what, parts in self.account["items"].items():
            lines.append(f"  {what}: {_counts(parts)}")
        lines.append(f"  records: {_counts(self.account['records'])}")
        lines += [f"  adjusted {count}: {reason}" for reason, count in self.account["adjusted"].items()]
        lines += [
            f"  quarantined {q['count']} ({q['what']}): {q['reason']}" for q in self.account["quarantine"]
        ]
        if self.account["quarantine"]:
            lines.append(f"each of them with its position: {QUARANTINE}")
        if self.questions:
            lines.append(f"{self.questions} patients wait for an answer in the site map: see {QUESTIONS}")
        if self.unused_stated:
            lines.append(
                f"{self.unused_stated} patients of [courses] in the site map are not in the source: a slip?"
            )
        lines += [f"{count} patients: {sentence}" for sentence, count in self.account["notices"].items()]
        if not self.ok and not self.questions:
            lines.append("no course: no administration of a therapy was recognised; see docs/convert.md")
        return "\n".join(lines)


def convert(
    source_format: str,
    source: str | Path,
    out: str | Path,
    *,
    site: SiteMap | Path | None = None,
    parquet: bool = False,
    now: datetime | None = None,
) -> Conversion:
    """Write a cohort folder from data of another format.

    Args:
        source_format: fhir, omop, meds, hl7v2 or csv.
        source: file or folder; for omop also a database URL.
        out: the folder to write; absent or empty. Nothing is left there after an error.
        site: the site map or its file.
        parquet: Parquet instead of CSV.
        now: aware time; what lies later is set aside. The present when None.

    Raises:
        CrsRiskError: a folder that is not empty or lies in the source, unknown format, a source that can't be read
            at all, a site map that is wrong.
    """
    if source_format not in FORMATS:
        raise CrsRiskError(f"--from {source_format[:20]!r}; accepted: {', '.join(FORMATS)}")
    site = site if isinstance(site, SiteMap) else read_site_map(site)
    check_targets(site)
    module, name = FORMATS[source_format]
    reader: Reader = getattr(import_module(module), name)
    folder = Path(out)
    new = _check_new(folder, source)
    folder.mkdir(parents=True, exist_ok=True)
    now_us = microseconds(now or datetime.now(UTC))
    try:
        return _convert(reader, source, folder, site, now_us=now_us, parquet=parquet)
    except BaseException:  # the folder was empty or absent: all that is in it was written here
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        if new:
            folder.rmdir()
        raise


def _check_new(folder: Path, source: str | Path) -> bool:
    """Whether the folder is to be made.

    Raises:
        CrsRiskError: something is in it, or it lies in the source and would be read next time.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrsRiskError(f"{folder.name} is there already and not an empty folder; name a new one")
    inside = Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve())
    if "://" not in str(source) and inside:
        raise CrsRiskError(
            f"{folder.name} lies in the source and would be read with it next time; name another place"
        )
    return not folder.exists()


def _convert(
    reader: Reader,
    source: str | Path,
    folder: Path,
    site: SiteMap,
    *,
    now_us: int = NO_LIMIT,
    parquet: bool,
) -> Conversion:
    asked: list[tuple[str, Question]] = []
    seen: set[str] = set()
    with (
        Account(folder / QUARANTINE) as account,
        Spill(folder, key="patient_id", partitions=_partitions(source), schema=SCHEMA) as spill,
    ):
        for batch in reader(source, site, account):
            account.records(batch.num_rows)
            spill.add(batch)
        with FolderWriter(folder, parquet=parquet, therapies=site.registered) as writer:
            for _, records in spill.partitions():
                part = assemble(records, site, account, now_us)
                writer.add(part)
                asked.extend(part.questions)
                seen.update(site.courses.keys() & set(records["patient_id"].unique().to_pylist()))
        account.verify()
        counted = account.to_dict()
    _write_questions(folder / QUESTIONS, asked)
    unused = len(site.courses.keys() - seen)
    conversion = Conversion(folder, writer.courses, writer.events, len(asked), unused, counted)
    text = json.dumps(conversion.to_dict(), ensure_ascii=False, indent=1)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    return conversion


def _partitions(source: str | Path) -> int:
    """As many partitions as let each fit into memory; the same for the same data in any order."""
    if "://" in str(source):
        return MOST_PARTITIONS
    path = Path(str(source).partition("#")[0])
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size * PACKED.get(file.suffix, 1) for file in files if file.is_file())
    return min(max(1, -(-size // PARTITION_BYTES)), MOST_PARTITIONS)


def _write_questions(file: Path, asked: list[tuple[str, Question]]) -> None:
    """The questions for the site, one row per patient; no file when there is none."""
    if not asked:
        return
    with file.open("w", encoding="utf-8", newline="") as sheet:
        writer = csv.writer(sheet, lineterminator="\n")
        writer.writerow(("patient_id", "question", "candidates", "what_to_do"))
        for patient, question in sorted(asked, key=lambda one: one[0]):
            moments = "; ".join(_moment(start) for start in question.starts_us)
            writer.writerow((patient, question.code, moments, question.text))


def _moment(us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


def _counts(parts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in parts.items() if count or name == "read"
    )
