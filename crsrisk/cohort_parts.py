"""A cohort folder of any size, part by part: a part is some whole courses with every row that belongs to them.

Courses are held in memory; of events, grades and outcomes only what one part needs. Parts follow the order of
the courses, so that results of one part after the other are in order too. Each part is read by the code that
reads a whole folder, with the same problems, the same counts and the true lines of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crsrisk.cohort_frames import Cohort
from crsrisk.cohort_read import CohortBase, build_cohort, read_base
from crsrisk.cohort_write import FOLDER_FILES
from crsrisk.contract import Folder, find_folder, upgrade
from crsrisk.errors import CrsRiskError
from crsrisk.events_read import course_rows
from crsrisk.ledger import Ledger
from crsrisk.parquet_read import ParquetTable
from crsrisk.problems import Problems
from crsrisk.raw_table import RawTable, UnreadableTable, joined
from crsrisk.spill import Spill, read_partition
from crsrisk.tables import read_table, table_batches

Ints = NDArray[np.int64]

ROWS_PER_PART = 400_000
"""About a thousand courses of 400 events: a few hundred megabytes at work, and little lost when it is killed."""
STRETCH = 3.0
"""A part may grow to so many times the rows asked for when it then ends with a group of rows of the file."""
READ_AGAIN = 1.5
"""A table is read where it stands while all parts together read it at most so many times, else it is split."""
COURSE_WEIGHT = 100
"""A course counts as so many rows more: it gives results also without an event."""
SPLIT_BYTES = 64 << 20
LINE, COLUMNS, SCHEMA = "line", "columns.json", "schema.parquet"  # of the files of a split table


@dataclass(frozen=True)
class TablePlan:
    """Where the rows of one table lie for each part.

    Either `split` names a folder with a file per part, or `reads` gives per part the groups of rows of the
    Parquet file in which its rows lie, and how many rows of each group must be read to have all of them.
    """

    file: str
    split: str | None
    reads: list[list[list[int]]]


@dataclass(frozen=True)
class Plan:
    """How a cohort folder is divided; a value of JSON, so that every worker and every restart has the same.

    path: the folder. stamp: size and time of change of its files. stops: of each part the row of the sorted
    courses after its last one. tables: by name.
    """

    path: str
    stamp: dict[str, list[int]]
    stops: list[int]
    tables: dict[str, TablePlan]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` wrote."""
        tables = {name: TablePlan(**table) for name, table in content["tables"].items()}
        return cls(**{**content, "tables": tables})


class CohortParts:
    """The parts of a cohort folder. A part is read when it is asked for, and not kept."""

    def __init__(self, plan: Plan, base: CohortBase, contract: int) -> None:
        self.plan = plan
        self.base = base
        self.contract = contract

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.plan.stops)

    def read(self, number: int, problems: Problems, ledger: Ledger) -> Cohort | None:
        """One part as a cohort, None when it has problems; the ledger is that of its events, grades, outcomes.

        Raises:
            CrsRiskError: a file of the folder has changed since the plan was made.
        """
        check_stamp(self.plan)
        first, stop = [0, *self.plan.stops][number : number + 2]
        tables: dict[str, RawTable] = {}
        try:
            for name, table in self.plan.tables.items():
                tables[name] = _part_rows(name, table, number, (first, stop), self, problems)
        except UnreadableTable:
            return None
        return build_cohort(self.base.part(first, stop), upgrade(tables, self.contract), problems, ledger)


def open_parts(plan: Plan) -> CohortParts:
    """The parts of a folder that was planned before.

    Raises:
        CrsRiskError: a file of the folder has changed since the plan was made.
    """
    check_stamp(plan)
    problems = Problems()
    folder, base = _read_base(Path(plan.path), problems, Ledger())
    if folder is None or base is None or problems.sentences:
        raise problems.error()
    return CohortParts(plan, base, folder.contract)


def plan_parts(
    path: Path, split_folder: Path, ledger: Ledger, *, rows_per_part: int = ROWS_PER_PART
) -> CohortParts:
    """Divide a cohort folder into parts; tables whose rows lie scattered are split into files, one per part.

    Args:
        path: the cohort folder.
        split_folder: where the files of split tables go and stay; it must exist and be seen by every reader.
        ledger: takes the account of the courses; that of the other tables comes with each part.
        rows_per_part: rows of all tables together that a part should have; a course is never divided.

    Raises:
        CohortError: the folder can't be used; problems of single rows of known courses come with the parts.
    """
    problems = Problems()
    stamp = folder_stamp(path)
    folder, base = _read_base(path, problems, ledger)
    if folder is None or base is None or problems.sentences:
        raise _all_problems(path).error()
    others = {name: file for name, file in folder.files.items() if name != "courses"}
    try:
        scans = {name: _scan(name, file, folder.contract, base, problems) for name, file in others.items()}
        if problems.sentences:
            raise UnreadableTable
        stops = _stops(len(base.courses.frame), scans, rows_per_part)
        tables = {
            name: _plan_table(name, file, scans[name], folder.contract, base, stops, split_folder)
            for name, file in others.items()
        }
    except UnreadableTable:
        raise _all_problems(path).error() from None
    plan = Plan(str(path), stamp, stops, tables)
    check_stamp(plan)
    return CohortParts(plan, base, folder.contract)


def folder_stamp(path: Path) -> dict[str, list[int]]:
    """Size in bytes and time of change of each file of a cohort folder: when they stay, so does the content."""
    found = {name: (path / name).stat() for name in FOLDER_FILES if (path / name).is_file()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}


def check_stamp(plan: Plan) -> None:
    """Refuse a folder that is not the one that was planned.

    Raises:
        CrsRiskError: a file has changed, gone or appeared.
    """
    now = folder_stamp(Path(plan.path))
    changed = sorted(name for name in {*now, *plan.stamp} if now.get(name) != plan.stamp.get(name))
    if changed:
        name = Path(plan.path).name
        raise CrsRiskError(
            f"{name}: {', '.join(changed)} changed while it was being read; leave the folder alone and start again"
        )


def _read_base(path: Path, problems: Problems, ledger: Ledger) -> tuple[Folder | None, CohortBase | None]:
    folder = find_folder(path, problems)
    if folder is None:
        return None, None
    file = folder.files.get("courses")
    table = None if file is None else read_table(file, "courses", problems)
    tables = {} if table is None else upgrade({"courses": table}, folder.contract)
    return folder, read_base(folder, tables.get("courses"), problems, ledger)


def _all_problems(path: Path) -> Problems:
    """Every problem of a folder that can't be divided, as reading it at once tells them, in bounded memory."""
    problems, of_rows = Problems(), Problems()
    folder = find_folder(path, problems)
    if folder is None:
        return problems
    file = folder.files.get("courses")
    table = None if file is None else read_table(file, "courses", problems)
    courses = None if table is None else upgrade({"courses": table}, folder.contract)["courses"]
    about_courses = problems if table is None else Problems()
    base = read_base(folder, courses, about_courses, Ledger())
    for name, file in folder.files.items():
        if name == "courses":
            continue
        of_table = Problems()
        try:
            for rows in _batches(name, file, problems):
                if base is not None:
                    build_cohort(base, upgrade({name: rows}, folder.contract), of_table, Ledger())
        except UnreadableTable:
            continue  # its rows are not spoken of
        of_rows.merge(of_table.noted())
    if about_courses is not problems:
        problems.merge(about_courses.noted())
    problems.merge(of_rows.noted())
    return problems


def _batches(name: str, file: Path, problems: Problems) -> Iterator[RawTable]:
    """Rows of a table to be judged; outcomes together, since they are compared with one another."""
    if name != "outcomes":
        yield from table_batches(file, name, problems)
        return
    table = read_table(file, name, problems)
    if table is None:
        raise UnreadableTable
    yield table


@dataclass(frozen=True)
class _Scan:
    """Where the rows of a table lie.

    counts: rows of each course.
    blocks: of each block of a Parquet file its group, the rows of the group up to its end, and its first and
        last course, shape (n, 4); None for CSV.
    """

    counts: Ints
    blocks: Ints | None


def _scan(name: str, file: Path, contract: int, base: CohortBase, problems: Problems) -> _Scan:
    """Look through a table for the courses of its rows; nothing else is read of a Parquet file."""
    first = next(iter(table_batches(file, name, problems)))
    structure = upgrade({name: first.take(np.zeros(0, dtype=np.int64))}, contract)
    build_cohort(base, structure, problems, Ledger())  # without rows: what is wrong with the columns
    counts = np.zeros(len(base.courses.frame), dtype=np.int64)
    blocks: list[tuple[int, int, int, int]] = []

    def look(rows: RawTable) -> Ints:
        position = _positions(rows, contract, base, problems)
        position = position[position >= 0]
        counts[:] += np.bincount(position, minlength=len(counts))
        return position

    if file.suffix == ".csv":
        for rows in table_batches(file, name, problems):
            look(rows)
        return _Scan(counts, None)
    source = ParquetTable(name, file, problems)
    for group in range(len(source.group_rows)):
        seen = 0
        for rows in source.group(group, ["course_id"]):
            seen += rows.rows
            position = look(rows)
            if position.size:
                blocks.append((group, seen, int(position.min()), int(position.max())))
    return _Scan(counts, np.array(blocks, dtype=np.int64).reshape(-1, 4))


def _positions(rows: RawTable, contract: int, base: CohortBase, problems: Problems) -> Ints:
    """Row of the course of each row, -1 for an unknown one, which is a problem."""
    return course_rows(upgrade({rows.name: rows}, contract)[rows.name], base.courses, problems)


def _stops(courses: int, scans: Mapping[str, _Scan], rows_per_part: int) -> list[int]:
    """The ends of the parts: at the rows asked for, or a little later where a group of events ends."""
    total = np.full(courses, COURSE_WEIGHT, dtype=np.int64)
    for scan in scans.values():
        total += scan.counts
    total = total.cumsum()
    ends = np.zeros(0, dtype=np.int64)
    blocks = scans["events"].blocks if "events" in scans else None
    if blocks is not None and len(blocks):
        starts = np.flatnonzero(np.diff(blocks[:, 0], prepend=-1))
        ends = np.unique(np.maximum.reduceat(blocks[:, 3], starts)) + 1
    stops: list[int] = []
    first, before = 0, 0
    while first < courses:
        stop = min(int(np.searchsorted(total, before + rows_per_part)) + 1, courses)
        reach = int(np.searchsorted(total, before + STRETCH * rows_per_part, side="right"))
        near = ends[(ends >= stop) & (ends <= reach)]
        first = int(near[0]) if near.size else stop
        before = int(total[first - 1])
        stops.append(first)
    return stops


def _plan_table(
    name: str,
    file: Path,
    scan: _Scan,
    contract: int,
    base: CohortBase,
    stops: Sequence[int],
    split_folder: Path,
) -> TablePlan:
    """Read where it stands, or split first."""
    if scan.blocks is not None:
        reads = _reads(scan.blocks, stops)
        if sum(rows for part in reads for _, rows in part) <= READ_AGAIN * scan.counts.sum():
            return TablePlan(str(file), None, reads)
    target = split_folder / name
    _split(name, file, contract, base, stops, target)
    return TablePlan(str(file), str(target), [])


def _reads(blocks: Ints, stops: Sequence[int]) -> list[list[list[int]]]:
    """Per part the groups of rows to read, and how far."""
    found: list[list[list[int]]] = []
    first = 0
    for stop in stops:
        needed = blocks[(blocks[:, 2] < stop) & (blocks[:, 3] >= first), :2]
        last = dict(needed.tolist())  # the last block of a group stays
        found.append([[group, rows] for group, rows in last.items()])
        first = stop
    return found


def _split(
    name: str, file: Path, contract: int, base: CohortBase, stops: Sequence[int], target: Path
) -> None:
    """Write the rows of each part into a file of its own, in the order of the table."""
    problems = Problems()
    batches = table_batches(file, name, problems)
    first = next(batches)
    columns = list(first.columns)
    schema = _to_arrow(first).schema
    with Spill(
        target.parent, key=LINE, partitions=len(stops), schema=schema, buffer_bytes=SPLIT_BYTES
    ) as spill:
        for rows in chain((first,), batches):
            position = _positions(rows, contract, base, problems)
            spill.add(_to_arrow(rows), np.searchsorted(stops, position, side="right"))
        spill.keep(target)
    (target / COLUMNS).write_text(json.dumps(columns), encoding="utf-8")
    pq.write_metadata(schema, target / SCHEMA)


def _to_arrow(rows: RawTable) -> pa.Table:
    """The columns by number, since a table may call one of its own `line`, and the lines."""
    columns = {str(place): cells for place, cells in enumerate(rows.columns.values())}
    return pa.table({**columns, LINE: rows.lines})


def _part_rows(
    name: str, table: TablePlan, number: int, courses: tuple[int, int], parts: CohortParts, problems: Problems
) -> RawTable:
    """The rows of one table that belong to the courses from the first to before the second."""
    file = Path(table.file)
    if table.split is not None:
        return _split_rows(name, file, Path(table.split), number)
    source = ParquetTable(name, file, problems)
    pieces = [source.nothing()]
    for group, enough in table.reads[number]:
        seen = 0
        for rows in source.group(group):
            position = _positions(rows, parts.contract, parts.base, problems)
            inside = np.flatnonzero((position >= courses[0]) & (position < courses[1]))
            pieces.append(rows if inside.size == rows.rows else rows.take(inside))
            seen += rows.rows
            if seen >= enough:
                break
    return joined(pieces)


def _split_rows(name: str, file: Path, split: Path, number: int) -> RawTable:
    columns = json.loads((split / COLUMNS).read_text(encoding="utf-8"))
    rows = read_partition(split, number)
    if rows is None:
        rows = pq.read_schema(split / SCHEMA).empty_table()
    cells = [column.combine_chunks() for column in rows.columns]
    lines = cells.pop().to_numpy()
    return RawTable(name, file.name, dict(zip(columns, cells, strict=True)), lines)
