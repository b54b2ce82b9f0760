"""Keeps account of what reading did not use: rejected, unknown, adjusted, duplicate; never a value."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

AVAILABLE_BEFORE_SPECIMEN = "AVAILABLE_BEFORE_SPECIMEN: known from the time of the specimen on"


class Ledger:
    """Rejected cells and counts of one cohort, table by table."""

    def __init__(self) -> None:
        self._rejected: dict[str, list[object]] = {
            "table": [], "row": [], "column": [], "variable": [], "reason": [],
        }  # fmt: skip
        self._unused: Counter[tuple[str, str, str]] = Counter()
        self._adjusted: Counter[tuple[str, str, str]] = Counter()
        self._counts: dict[str, tuple[int, int, int, int, int]] = {}

    def reject(
        self,
        table: str,
        rows: NDArray[np.int64],
        columns: Sequence[str],
        variables: Sequence[str],
        reasons: Sequence[str],
    ) -> None:
        """Note lines of a table whose value is not used, with the column to blame."""
        cells = {"table": [table] * len(rows), "row": rows.tolist(), "column": columns, "variable": variables}
        for name, more in (cells | {"reason": reasons}).items():
            self._rejected[name].extend(more)

    def unused(self, table: str, kind: str, variable: str, rows: int) -> None:
        """Note an unknown variable or column (`kind`) and the rows that carry it."""
        self._unused[table, kind, variable] += rows

    def adjust(self, table: str, column: str, reason: str, rows: int) -> None:
        """Note values changed by a rule."""
        if rows:
            self._adjusted[table, column, reason] += rows

    def count(
        self, table: str, rows: int, *, rejected: int = 0, unused: int = 0, duplicates: int = 0
    ) -> None:
        """Note how many rows a table had; the rest is used."""
        used = rows - rejected - unused - duplicates
        if used < 0:
            raise AssertionError(f"{table}: more rows accounted for than the {rows} that came")
        self._counts[table] = (rows, used, rejected, unused, duplicates)

    def used(self, table: str) -> int:
        """Rows of a table that are used."""
        return self._counts[table][1]

    def rejected_cells(self) -> Mapping[str, object]:
        """Columns of the table of rejected values, in the order in which they were noted."""
        return self._rejected

    def unused_cells(self) -> Mapping[str, object]:
        """Columns of the table of unknown variables and columns."""
        return _columns(("table", "kind", "variable"), self._unused)

    def adjusted_cells(self) -> Mapping[str, object]:
        """Columns of the table of adjusted values."""
        return _columns(("table", "column", "reason"), self._adjusted)

    def count_cells(self) -> Mapping[str, object]:
        """Columns of the table of row counts."""
        names = ("rows", "used", "rejected", "unused", "duplicates")
        built: dict[str, object] = {"table": list(self._counts)}
        return built | {name: [row[i] for row in self._counts.values()] for i, name in enumerate(names)}


def _columns(names: tuple[str, str, str], counted: Counter[tuple[str, str, str]]) -> Mapping[str, object]:
    keys = sorted(counted)
    columns: dict[str, object] = {name: [key[i] for key in keys] for i, name in enumerate(names)}
    return columns | {"rows": [counted[key] for key in keys]}
