"""Keeps account of what reading did not use: rejected, unknown, adjusted, duplicate; never a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

AVAILABLE_BEFORE_SPECIMEN = "AVAILABLE_BEFORE_SPECIMEN: known from the time of the specimen on"

COUNTS = ("rows", "used", "rejected", "unused", "duplicates")
LISTED = 1000
"""Different reasons, and different unknown names, that an account lists; more are counted together."""
OTHERS = "(others)"


@dataclass
class Account:
    """A ledger in numbers: small for any size of cohort, and to be added up over its parts.

    counts: per table the rows that came, and how many of them were used, rejected, unused, duplicates.
    rejected: per table, column, variable and reason the number of rows and the first of them in the file.
    unused: per table, kind ('variable' or 'column') and name the number of rows.
    adjusted: per table, column and reason the number of values changed by a rule.
    """

    counts: dict[str, list[int]] = field(default_factory=dict)
    rejected: dict[tuple[str, str, str, str], list[int]] = field(default_factory=dict)
    unused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    adjusted: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        """Add the account of another part of the same cohort."""
        for table, counts in other.counts.items():
            mine = self.counts.setdefault(table, [0] * len(COUNTS))
            self.counts[table] = [here + there for here, there in zip(mine, counts, strict=True)]
        for key, (rows, first) in other.rejected.items():
            self.reject(key, rows, first)
        for name, rows in other.unused.items():
            self.leave(name, rows)
        self.adjusted.update(other.adjusted)

    def reject(self, key: tuple[str, str, str, str], rows: int, first: int) -> None:
        """Count rows that share a reason; cells that slipped into another column have a reason each."""
        if key not in self.rejected and len(self.rejected) >= LISTED:
            table, column, _, reason = key
            key = (table, column, OTHERS, f"{reason.partition(':')[0]}: {OTHERS}")
        before, earliest = self.rejected.get(key, (0, first))
        self.rejected[key] = [before + rows, min(earliest, first)]

    def leave(self, key: tuple[str, str, str], rows: int) -> None:
        """Count rows of an unknown variable or column."""
        if key not in self.unused and len(self.unused) >= LISTED:
            key = (*key[:2], OTHERS)
        self.unused[key] += rows

    def to_dict(self) -> dict[str, Any]:
        """As rows of JSON; what was rejected for most rows comes first."""
        rejected = sorted(self.rejected.items(), key=lambda entry: (-entry[1][0], entry[0]))
        return {
            "counts": {
                table: dict(zip(COUNTS, counts, strict=True)) for table, counts in self.counts.items()
            },
            "rejected": [
                {
                    "table": key[0],
                    "column": key[1],
                    "variable": key[2],
                    "reason": key[3],
                    "rows": rows,
                    "row": row,
                }
                for key, (rows, row) in rejected
            ],
            "unused": [
                {"table": key[0], "kind": key[1], "variable": key[2], "rows": rows}
                for key, rows in sorted(self.unused.items())
            ],
            "adjusted": [
                {"table": key[0], "column": key[1], "reason": key[2], "rows": rows}
                for key, rows in sorted(self.adjusted.items())
            ],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Account:
        """The account that `to_dict` wrote."""
        return cls(
            {table: [counts[name] for name in COUNTS] for table, counts in content["counts"].items()},
            {
                (row["table"], row["column"], row["variable"], row["reason"]): [row["rows"], row["row"]]
                for row in content["rejected"]
            },
            Counter({(row["table"], row["kind"], row["variable"]): row["rows"] for row in content["unused"]}),
            Counter(
                {(row["table"], row["column"], row["reason"]): row["rows"] for row in content["adjusted"]}
            ),
        )


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
        built: dict[str, object] = {"table": list(self._counts)}
        return built | {name: [row[i] for row in self._counts.values()] for i, name in enumerate(COUNTS)}

    def account(self) -> Account:
        """The same in numbers, without a row per rejected value."""
        found = Account(adjusted=Counter(self._adjusted))
        found.counts = {table: list(counts) for table, counts in self._counts.items()}
        names = ("table", "column", "variable", "reason", "row")
        cells = zip(*(cast("list[Any]", self._rejected[name]) for name in names), strict=True)
        for table, column, variable, reason, row in cells:
            found.reject((table, column, variable, reason), 1, row)
        for key, rows in self._unused.items():
            found.leave(key, rows)
        return found


def _columns(names: tuple[str, str, str], counted: Counter[tuple[str, str, str]]) -> Mapping[str, object]:
    keys = sorted(counted)
    columns: dict[str, object] = {name: [key[i] for key in keys] for i, name in enumerate(names)}
    return columns | {"rows": [counted[key] for key in keys]}
