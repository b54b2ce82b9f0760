"""Removes one patient from a cohort folder and from the tables derived from it that lie in it or beside it.

A table beside the folder counts as derived when every course or patient that it names is one of the cohort. Each file
is written anew beside the old one and takes its place whole; `courses` comes last, so that an interrupted run can
simply be run again. Sources, backups and trained models are not touched: the report says so.
"""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crsrisk.errors import CohortError, CrsRiskError
from crsrisk.problems import Problems
from crsrisk.tables import find_table, read_table

ID_COLUMNS = ("course_id", "patient_id")
TEXTS = (".toml", ".json", ".jsonl", ".txt", ".md", ".html", ".yaml", ".yml")
LARGEST_TEXT = 50_000_000
LEFT = (
    "not touched: the sources from which the cohort was converted, backups, databases, and models that learned from "
    "it (they hold no patient's values; train again without the patient when your rules ask for it)"
)


@dataclass(frozen=True)
class Erasure:
    """What was touched.

    removed: file, relative to the parent of the cohort folder -> rows removed.
    mentions: files that name the patient and are not changed: texts, and tables that speak of other cohorts too.
    """

    removed: dict[str, int]
    mentions: tuple[str, ...]
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "removed": self.removed,
            "mentions": list(self.mentions),
            "left": LEFT,
            "dry_run": self.dry_run,
        }

    def to_text(self) -> str:
        """The report for a terminal."""
        verb = "would be removed from" if self.dry_run else "removed from"
        lines = [f"{rows} rows {verb} {file}" for file, rows in self.removed.items()]
        lines += [f"{file} names the patient: change it by hand" for file in self.mentions]
        return "\n".join([*lines, LEFT])


def erase(cohort: str | Path, patient_id: str, *, dry_run: bool = False) -> Erasure:
    """Remove a patient.

    Args:
        cohort: the cohort folder.
        patient_id: as in `courses`.
        dry_run: only say what would be removed.

    Raises:
        CohortError: the folder has no courses that can be read.
        CrsRiskError: nothing in it or beside it names the patient.
    """
    folder = Path(cohort).resolve()
    courses_file, courses = _courses(folder)
    mine = {course for course, patient in courses.items() if patient == patient_id}
    everyone = {"course_id": set(courses), "patient_id": set(courses.values())}
    gone = {"course_id": mine, "patient_id": {patient_id}}
    removed: dict[str, int] = {}
    for file in [*_tables(folder, everyone, courses_file), courses_file]:
        rows = _remove(file, gone, dry_run=dry_run)
        if rows:
            removed[str(file.relative_to(folder.parent))] = rows
    mentions = (*_mentions(folder, patient_id), *_tables_of_others(folder, everyone, gone))
    if not removed and not mentions:
        raise CrsRiskError(
            f"no row of {folder.name} or beside it names this patient; accepted: a patient_id of {courses_file.name}"
        )
    return Erasure(removed, mentions, dry_run)


def _courses(folder: Path) -> tuple[Path, dict[str, str]]:
    """The courses file, and patient_id by course_id."""
    problems = Problems()
    file = find_table(folder, "courses", problems)
    table = None if file is None else read_table(file, "courses", problems)
    if file is None or table is None or not all(table.has(name) for name in ID_COLUMNS):
        raise CohortError(
            problems.sentences
            or [f"{folder.name}: no courses with course_id and patient_id; name a cohort folder"]
        )
    ids = (table.texts(name).to_pylist() for name in ID_COLUMNS)
    return file, dict(zip(*ids, strict=True))


def _tables(folder: Path, everyone: dict[str, set[str]], courses: Path) -> Iterator[Path]:
    """Tables with ids in the folder, and those beside it that speak of this cohort alone."""
    for file in sorted(folder.rglob("*")):
        if file != courses and _id_columns(file):
            yield file
    for file in sorted(_beside(folder)):
        if _id_columns(file) and _is_derived(file, everyone):
            yield file


def _beside(folder: Path) -> Iterator[Path]:
    """Files beside the cohort folder, and in the folders of unfinished feature tables (`*.parts`)."""
    for entry in folder.parent.iterdir():
        if entry.is_file():
            yield entry
        elif (
            entry.is_dir()
            and entry != folder
            and not entry.name.startswith(".")
            and entry.name.endswith(".parts")
        ):
            yield from (file for file in entry.rglob("*") if file.is_file())


def _id_columns(file: Path) -> tuple[str, ...]:
    """Which of the id columns a table has; none for what is no table."""
    if not file.is_file():
        return ()
    try:
        if file.suffix == ".parquet":
            names = pq.ParquetFile(file).schema_arrow.names
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8-sig", newline="") as sheet:
                names = [name.strip() for name in next(csv.reader(sheet), [])]
        else:
            return ()
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, csv.Error):
        return ()
    return tuple(name for name in ID_COLUMNS if name in names)


def _tables_of_others(
    folder: Path, everyone: dict[str, set[str]], gone: dict[str, set[str]]
) -> Iterator[str]:
    """Tables beside the folder, also in plain folders there, that name the patient and speak of others too."""
    for entry in sorted(folder.parent.iterdir()):
        inside = (
            entry.iterdir() if entry.is_dir() and entry != folder and not entry.name.startswith(".") else []
        )
        for file in sorted([entry, *inside]):
            names = _id_columns(file)
            if not any(_distinct(file, name) & gone[name] for name in names):
                continue
            if entry.is_dir() or not _is_derived(file, everyone):
                yield str(file.relative_to(folder.parent))


def _is_derived(file: Path, everyone: dict[str, set[str]]) -> bool:
    """Whether every id of the table is one of the cohort."""
    for name in _id_columns(file):
        found = _distinct(file, name)
        if not found or found - everyone[name]:
            return False
    return True


def _distinct(file: Path, column: str) -> set[str]:
    if file.suffix == ".parquet":
        found: set[str] = set()
        source = pq.ParquetFile(file)
        for group in range(source.num_row_groups):
            cells = source.read_row_group(group, columns=[column]).column(0).cast(pa.string())
            found.update(pc.unique(cells).to_pylist())
        return found - {None}
    with file.open(encoding="utf-8-sig", newline="") as sheet:
        reader = csv.reader(sheet)
        place = [name.strip() for name in next(reader)].index(column)
        return {row[place].strip() for row in reader if len(row) > place}


def _remove(file: Path, gone: dict[str, set[str]], *, dry_run: bool) -> int:
    """Rows of a table that name the patient; they are taken out unless `dry_run`."""
    draft = file.with_name(f".{file.name}.erasing")
    removed = _copy_parquet(file, draft, gone) if file.suffix == ".parquet" else _copy_csv(file, draft, gone)
    if removed and not dry_run:
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    else:
        draft.unlink()
    return removed


def _copy_parquet(file: Path, draft: Path, gone: dict[str, set[str]]) -> int:
    """Copy the rows that stay, one row group at a time; how many do not."""
    source = pq.ParquetFile(file)
    removed = 0
    with pq.ParquetWriter(draft, source.schema_arrow, compression="zstd") as writer:
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group)
            leaves = np.zeros(rows.num_rows, dtype=np.bool_)
            for name in _id_columns(file):
                ids = rows.column(name).cast(pa.string())
                named = pc.is_in(ids, value_set=pa.array(sorted(gone[name]), pa.string()))
                leaves |= named.to_numpy()
            removed += int(leaves.sum())
            writer.write_table(rows.filter(pa.array(~leaves)))
    return removed


def _copy_csv(file: Path, draft: Path, gone: dict[str, set[str]]) -> int:
    """Copy the lines that stay as they are; how many rows do not."""
    names = _id_columns(file)
    with (
        file.open(encoding="utf-8", newline="") as source,
        draft.open("w", encoding="utf-8", newline="") as sink,
    ):
        kept_lines: list[str] = []

        def lines() -> Iterator[str]:
            for line in source:
                kept_lines.append(line)
                yield line

        reader = csv.reader(lines())
        header = [name.strip().removeprefix("\ufeff") for name in next(reader)]
        places = {name: header.index(name) for name in names}
        sink.writelines(kept_lines)
        kept_lines.clear()
        removed = 0
        for row in reader:
            if _names(row, places, gone):
                removed += 1
            else:
                sink.writelines(kept_lines)
            kept_lines.clear()
        sink.writelines(kept_lines)
    return removed


def _names(row: list[str], places: dict[str, int], gone: dict[str, set[str]]) -> bool:
    return any(len(row) > place and row[place].strip() in gone[name] for name, place in places.items())


def _mentions(folder: Path, patient_id: str) -> Iterator[str]:
    """Text files in the folder and beside it that name the patient as a whole word."""
    word = re.compile(rf"(?<![\w-]){re.escape(patient_id)}(?![\w-])")
    for file in sorted([*folder.rglob("*"), *folder.parent.iterdir()]):
        if file.suffix in TEXTS and file.is_file() and file.stat().st_size <= LARGEST_TEXT:
            text = file.read_text(encoding="utf-8", errors="replace")
            if word.search(text):
                yield str(file.relative_to(folder.parent))
