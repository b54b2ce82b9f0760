"""The cohort in memory: courses, events in canonical units, and what was not used and why."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.ledger import Ledger
from crsrisk.therapies import Therapy, therapy

COURSE_TEXTS = ("course_id", "patient_id", "therapy", "site", "indication", "sex")
COURSE_NUMBERS = ("age", "weight", "follow_up_hours")
EVENT_COLUMNS: Mapping[str, str] = {
    "course_id": "str", "hours": "float64", "available_hours": "float64", "variable": "str",
    "value": "float64", "comparator": "str", "raw_value": "str", "raw_unit": "str",
    "source_id": "str", "row": "int64",
}  # fmt: skip
UNUSED_EVENT_COLUMNS: Mapping[str, str] = {
    "course_id": "str", "hours": "float64", "available_hours": "float64", "variable": "str",
    "comparator": "str", "raw_value": "str", "raw_unit": "str", "source_id": "str", "row": "int64",
}  # fmt: skip
REJECTED_COLUMNS: Mapping[str, str] = {
    "table": "str", "row": "int64", "column": "str", "variable": "str", "reason": "str",
}  # fmt: skip
UNUSED_COLUMNS: Mapping[str, str] = {"table": "str", "kind": "str", "variable": "str", "rows": "int64"}
ADJUSTED_COLUMNS: Mapping[str, str] = {"table": "str", "column": "str", "reason": "str", "rows": "int64"}
COUNT_COLUMNS: Mapping[str, str] = {
    "table": "str", "rows": "int64",
    "used": "int64", "rejected": "int64", "unused": "int64", "duplicates": "int64",
}  # fmt: skip
TIMELINE_COLUMNS = ("course_id", "hours", "available_hours", "variable", "value")
SEX_FEMALE = "sex_female"


TEXT = pd.StringDtype(na_value=np.nan)


def frame(columns: Mapping[str, str], **cells: object) -> pd.DataFrame:
    """A table with these columns and types; without rows when no cells come."""
    if not cells or all(len(cast(Sequence[object], given)) == 0 for given in cells.values()):
        return _empty(tuple(columns.items()))
    return pd.DataFrame({name: _column(kind, cells[name]) for name, kind in columns.items()}, copy=False)


def _column(kind: str, cells: Any) -> Any:
    return pd.array(cells, dtype=TEXT) if kind == "str" else np.asarray(cells, dtype=kind)


@cache
def _empty(columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """One empty table per form, shared: making one costs as much as reading a patient."""
    return pd.DataFrame({name: _column(kind, []) for name, kind in columns})


@dataclass(frozen=True, eq=False)
class Cohort:
    """Courses of T-cell-engaging therapy with their events; hours count from the first dose of the course.

    courses: one row per course, sorted by course_id: course_id, patient_id, therapy, index_time (UTC, NaT for
        data given in hours), site, indication, sex, age (years), weight (kg), follow_up_hours (nan when
        absent), one column per baseline predictor in its canonical unit, and unknown columns as text.
    events: used events sorted by course_id, hours, variable, available_hours, value; value in the canonical
        unit, comparator '', '<' or '>', raw_value and raw_unit as reported, row the line in the file.
    grades, outcomes: as in the folder, None when absent.
    therapies: investigational therapies of the folder by key.
    path: the folder it was read from.
    ledger: account of what was not used; see rejected, unused, adjusted, counts.
    unused_events: events of unknown variables as reported; `write_cohort` writes them again.
    simulated: no patient in it exists; every model trained on it says so.
    """

    courses: pd.DataFrame
    events: pd.DataFrame
    grades: pd.DataFrame | None = None
    outcomes: pd.DataFrame | None = None
    therapies: Mapping[str, Therapy] = field(default_factory=dict)
    path: Path | None = None
    ledger: Ledger = field(default_factory=Ledger)
    unused_events: pd.DataFrame = field(default_factory=lambda: frame(UNUSED_EVENT_COLUMNS))
    simulated: bool = False

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """What is rejected: table, row, column, variable, reason (CODE: explanation), without values."""
        return frame(REJECTED_COLUMNS, **self.ledger.rejected_cells())

    @cached_property
    def unused(self) -> pd.DataFrame:
        """Unknown variables and columns: table, kind ('variable' or 'column'), variable (its name), rows."""
        return frame(UNUSED_COLUMNS, **self.ledger.unused_cells())

    @cached_property
    def adjusted(self) -> pd.DataFrame:
        """Values changed by a rule other than unit conversion: table, column, reason, rows."""
        return frame(ADJUSTED_COLUMNS, **self.ledger.adjusted_cells())

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Per table: rows = used + rejected + unused + duplicates."""
        return frame(COUNT_COLUMNS, **self.ledger.count_cells())

    def timeline(self) -> pd.DataFrame:
        """Events and baseline columns as one table: course_id, hours, available_hours, variable, value.

        A baseline column (age, weight, bm_blasts_pct, ...) is an event at hours 0, known at 0; sex enters as
        `sex_female`, 1 or 0, for female and male. Sorted by course_id and hours. Made once; don't change it.
        """
        return self._timeline

    @cached_property
    def _timeline(self) -> pd.DataFrame:
        rows = [np.arange(len(self.courses)), self.position_of(self.events["course_id"])]
        position, hours, available, value, variable = [[part] for part in (
            rows[1], self.events["hours"].to_numpy(), self.events["available_hours"].to_numpy(),
            self.events["value"].to_numpy(), self.events["variable"].to_numpy(dtype=object),
        )]  # fmt: skip
        for name, values in self._baseline().items():
            there = np.flatnonzero(~np.isnan(values))
            position.append(rows[0][there])
            hours.append(np.zeros(there.size))
            available.append(np.zeros(there.size))
            value.append(values[there])
            variable.append(np.full(there.size, name, dtype=object))
        all_hours, all_positions = np.concatenate(hours), np.concatenate(position)
        order = np.lexsort((all_hours, all_positions))
        course_ids = self.courses["course_id"].to_numpy(dtype=object)
        return pd.DataFrame(
            {
                "course_id": pd.array(course_ids[all_positions[order]], dtype=TEXT),
                "hours": all_hours[order],
                "available_hours": np.concatenate(available)[order],
                "variable": pd.array(np.concatenate(variable)[order], dtype=TEXT),
                "value": np.concatenate(value)[order],
            }
        )

    def _baseline(self) -> dict[str, NDArray[np.float64]]:
        known = analytes()
        columns = {
            name: self.courses[name].to_numpy(dtype=np.float64)
            for name in self.courses.columns
            if name in known and name != "sex"
        }
        sex = self.courses["sex"].to_numpy(dtype=object)
        columns[SEX_FEMALE] = np.select([sex == "female", sex == "male"], [1.0, 0.0], default=np.nan)
        return columns

    def position_of(self, course_ids: pd.Series) -> NDArray[np.int64]:
        """Row number in `courses` of each course_id."""
        if len(self.courses) == 1:
            return np.zeros(len(course_ids), dtype=np.int64)
        index = pd.Index(self.courses["course_id"])
        positions: NDArray[np.int64] = index.get_indexer(pd.Index(course_ids)).astype(np.int64)
        return positions

    def therapy_of(self, course_id: str) -> Therapy:
        """The therapy of one course.

        Raises:
            KeyError: no such course.
        """
        return self.therapy_by_course()[course_id]

    def therapy_by_course(self) -> Mapping[str, Therapy]:
        """Therapy by course_id. Computed once; don't change it."""
        return self._therapy_by_course

    @cached_property
    def _therapy_by_course(self) -> dict[str, Therapy]:
        keys = self.courses["therapy"].tolist()
        found = {key: therapy(key, self.therapies) for key in dict.fromkeys(keys)}
        return {
            course: found[key] for course, key in zip(self.courses["course_id"].tolist(), keys, strict=True)
        }

    def subset(self, course_ids: Iterable[str]) -> "Cohort":
        """The same cohort with these courses alone; what was rejected or not used is left out.

        Raises:
            KeyError: a course_id that the cohort does not have.
        """
        wanted = pd.Index(list(course_ids), dtype="str")
        missing = len(wanted.difference(pd.Index(self.courses["course_id"])))
        if missing:
            raise KeyError(f"{missing} of {len(wanted)} course_ids are not in the cohort")
        return replace(
            self,
            courses=_chosen(self.courses, wanted),
            events=_chosen(self.events, wanted),
            grades=None if self.grades is None else _chosen(self.grades, wanted),
            outcomes=None if self.outcomes is None else _chosen(self.outcomes, wanted),
            ledger=Ledger(),
            unused_events=_chosen(self.unused_events, wanted),
        )

    def digest(self) -> str:
        """'sha256:...' over what is used: the same for CSV and Parquet and for any order of rows.

        Unknown columns and variables, raw spellings and line numbers don't enter.
        """
        total = hashlib.sha256()
        _add(total, "courses", self.courses, [*COURSE_TEXTS, "index_time", *sorted(self._known_numbers())])
        _add(total, "events", self.events, [*TIMELINE_COLUMNS, "comparator", "source_id"])
        for name, table in (("grades", self.grades), ("outcomes", self.outcomes)):
            if table is not None:
                kept = ["course_id", "hours", "grade", "peak_grade", "system", "onset_hours", "severe_hours"]
                _add(total, name, table, [column for column in kept if column in table.columns])
        for key in sorted(self.therapies):
            total.update(repr(self.therapies[key]).encode())
        return f"sha256:{total.hexdigest()}"

    def _known_numbers(self) -> list[str]:
        known = analytes()
        return [
            name
            for name in self.courses.columns
            if name in COURSE_NUMBERS or (name in known and name not in COURSE_TEXTS)
        ]


def _chosen(table: pd.DataFrame, course_ids: pd.Index) -> pd.DataFrame:
    return table[table["course_id"].isin(course_ids)].reset_index(drop=True)


def _add(total: "hashlib._Hash", name: str, table: pd.DataFrame, columns: list[str]) -> None:
    ordered = table[columns].sort_values(columns, kind="stable")
    total.update(f"\n{name}:{','.join(columns)}:{len(ordered)}\n".encode())
    for column in columns:
        total.update(_bytes(ordered[column]))


def _bytes(cells: pd.Series) -> bytes:
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        return cells.astype("datetime64[us, UTC]").astype("int64").to_numpy().astype("<i8").tobytes()
    if pd.api.types.is_numeric_dtype(cells.dtype):
        numbers = cells.to_numpy(dtype="<f8") + 0.0  # -0.0 and 0.0 are the same value
        return numbers.tobytes()
    return "\x1f".join(cells.tolist()).encode()
