"""Writes a cohort folder: complete on the disk before it takes its place; read back it is the same cohort."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from crsrisk.cohort_frames import Cohort
from crsrisk.contract import CONTRACT, TABLES
from crsrisk.errors import CrsRiskError, TimeError
from crsrisk.tables import write_file, write_text
from crsrisk.therapies import Therapy
from crsrisk.times import ACCEPTED, NOT_A_TIME, iso, whole_microseconds
from crsrisk.values import parse_numbers

FOLDER_FILES = (
    "cohort.toml",
    "therapies.toml",
    *(f"{name}{end}" for name in TABLES for end in (".csv", ".parquet")),
)

Frames = Mapping[str, pd.DataFrame]


def write_cohort(
    cohort: Cohort | Frames,
    path: str | Path,
    *,
    parquet: bool = False,
    contract: int = CONTRACT,
    therapies: Mapping[str, Therapy] | None = None,
) -> Path:
    """Write a cohort folder and return its path.

    The tables are completed beside the folder first. A new folder appears whole; in an existing one each
    table is replaced whole, and tables that this cohort does not have are removed; other files stay.

    Args:
        cohort: a Cohort, or tables by name (courses, events, grades, outcomes) with the contract's columns.
        path: the folder.
        parquet: Parquet instead of CSV.
        contract: the number written to cohort.toml; only the present one.
        therapies: investigational therapies to register, with tables; a Cohort brings its own.

    Raises:
        CrsRiskError: the folder can't be written, or another contract is asked for.
        TimeError: a table holds times without an offset.
    """
    if contract != CONTRACT:
        raise CrsRiskError(f"contract {contract} can't be written; accepted: {CONTRACT}")
    if isinstance(cohort, Cohort):
        therapies = cohort.therapies
        tables = cohort_frames(cohort, parquet=parquet)
    else:
        tables = cohort
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        raise CrsRiskError(f"tables {unknown} don't belong to a cohort folder; accepted: {', '.join(TABLES)}")
    folder = Path(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            simulated = isinstance(cohort, Cohort) and cohort.simulated
            marked = "simulated = true\n" if simulated else ""
            write_text(draft / "cohort.toml", f"contract = {CONTRACT}\n{marked}")
            if therapies:
                write_text(draft / "therapies.toml", therapies_toml(therapies))
            for name, table in tables.items():
                columns = {column: _cells(table[column], parquet=parquet) for column in table.columns}
                write_file(draft / f"{name}{'.parquet' if parquet else '.csv'}", columns, parquet=parquet)
            _put_in_place(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise CrsRiskError(
            f"{folder.name} can't be written: {error.strerror}; free space or name another"
        ) from error
    return folder


def cohort_frames(cohort: Cohort, *, parquet: bool = False) -> Frames:
    """The tables of a cohort as a folder holds them: reported values and units, and times if dated."""
    courses = cohort.courses
    dated = bool(courses["index_time"].notna().any())
    index_us = courses["index_time"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    tables = {"courses": courses if dated else courses.drop(columns="index_time")}
    events = pd.concat([cohort.events.drop(columns="value"), cohort.unused_events], ignore_index=True)
    columns: dict[str, object] = {"course_id": events["course_id"]}
    position = cohort.position_of(events["course_id"])
    hours, available = events["hours"].to_numpy(), events["available_hours"].to_numpy()
    columns |= _moments("time" if dated else "hours", hours, index_us[position], dated=dated)
    if (hours != available).any():
        name = "available_time" if dated else "available_hours"
        columns |= _moments(name, available, index_us[position], dated=dated)
    columns |= {"variable": events["variable"], "value": events["raw_value"], "unit": events["raw_unit"]}
    columns["value"], comparators = _values(events, parquet=parquet)
    if (comparators != "").any():
        columns["comparator"] = comparators
    if (events["source_id"] != "").any():
        columns["source_id"] = events["source_id"]
    tables["events"] = pd.DataFrame(columns)
    if cohort.grades is not None:
        grades = cohort.grades
        position = cohort.position_of(grades["course_id"])
        moments = _moments(
            "time" if dated else "hours", grades["hours"].to_numpy(), index_us[position], dated=dated
        )
        rest = {name: grades[name] for name in grades.columns if name not in ("course_id", "hours")}
        tables["grades"] = pd.DataFrame({"course_id": grades["course_id"], **moments, **rest})
    if cohort.outcomes is not None:
        tables["outcomes"] = cohort.outcomes
    return tables


def therapies_toml(therapies: Mapping[str, Therapy]) -> str:
    """The text of therapies.toml for investigational therapies."""
    lines: list[str] = []
    for key, therapy in therapies.items():
        doses = [{"hours": dose.hours, "amount": dose.amount, "unit": dose.unit} for dose in therapy.doses]
        fields = {
            "name": therapy.name,
            "name_ja": therapy.name_ja,
            "class": therapy.class_,
            "targets": list(therapy.targets),
            "setting": therapy.setting,
            "group": therapy.group,
            "indication": therapy.indication,
            "costimulation": therapy.costimulation,
            "expected_onset_hours": therapy.expected_onset_hours,
            "doses": doses,
            "source": therapy.source,
        }
        lines.append(f"[{_toml(key)}]")
        lines.extend(
            f"{name} = {_toml(value)}" for name, value in fields.items() if value not in (None, "", [])
        )
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(cell)}" for name, cell in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # a JSON string or number is one of TOML too


def _moments(
    name: str, hours: np.ndarray[Any, Any], index_us: np.ndarray[Any, Any], *, dated: bool
) -> Mapping[str, object]:
    if not dated:
        return {name: hours}
    moments = (index_us + whole_microseconds(hours)).astype("datetime64[us]")
    return {name: pd.to_datetime(pd.Series(moments), utc=True)}


def _values(events: pd.DataFrame, *, parquet: bool) -> tuple[object, pd.Series]:
    """Reported values and comparators; Parquet holds numbers where every cell is one."""
    if parquet:
        numbers = parse_numbers(pa.array(events["raw_value"].to_numpy(dtype=object), pa.string()))
        if not (numbers.bad | numbers.empty).any():
            return numbers.values, events["comparator"]
    return events["raw_value"], events["comparator"]


def _cells(column: pd.Series, *, parquet: bool) -> Sequence[Any]:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        moments = column.astype("datetime64[us, UTC]")
        if parquet:
            return pa.array(moments.array.to_numpy("datetime64[us]"), pa.timestamp("us", "UTC"))
        return iso(np.where(moments.isna(), NOT_A_TIME, moments.astype("int64").to_numpy()))
    if pd.api.types.is_datetime64_dtype(column.dtype):
        raise TimeError(f"column {column.name}: times without an offset; accepted: {ACCEPTED}")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(object).where(column.notna(), None).tolist()
    return column.astype(object).where(column.notna(), "").tolist()


def _put_in_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    written = {file.name for file in draft.iterdir()}
    for name in sorted(written):
        (draft / name).replace(folder / name)
    for name in FOLDER_FILES:
        if name not in written:
            (folder / name).unlink(missing_ok=True)
