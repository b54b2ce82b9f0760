"""What the gate answers: rows with a figure, its interval, the limit and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from crsrisk.errors import GateError


@dataclass(frozen=True)
class Figure:
    """A number of the gate with its 95 % interval; nan where there is none.

    first, second: what a difference was taken of, the other's value and the challenger's, or a share of whom
    and who. among: which rows.
    """

    name: str
    number: float
    low: float = float("nan")
    high: float = float("nan")
    first: float = float("nan")
    second: float = float("nan")
    among: str = "all"

    def to_dict(self) -> dict[str, Any]:
        """The figure for JSON, without what is not a number."""
        numbers = {
            key: float(value)
            for key in ("number", "low", "high", "first", "second")
            if isfinite(value := getattr(self, key))
        }
        return {"figure": self.name, "among": self.among, **numbers}

    def __str__(self) -> str:
        digits = 4 if self.name.startswith("net_benefit") else 3
        if not isfinite(self.low) or not isfinite(self.high):
            return f"{self.number:.{digits}f} (no interval)"
        return f"{self.number:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def among_whom(self) -> str:
        """The rows in words, empty for all of them."""
        return "" if self.among == "all" else f" among {self.among}"


@dataclass(frozen=True)
class GateRow:
    """One question of the gate and its answer.

    figure: the number that decides, None where none does. limit: what it must satisfy, in words. figures:
    every number behind the row.
    """

    name: str
    passed: bool
    sentence: str
    limit: str
    figure: Figure | None = None
    figures: tuple[Figure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {
            "row": self.name,
            "passed": self.passed,
            "sentence": self.sentence,
            "limit": self.limit,
            "decides": None if self.figure is None else self.figure.to_dict(),
            "figures": [figure.to_dict() for figure in self.figures],
        }


@dataclass(frozen=True)
class Verdict:
    """All rows of the gate for one challenger."""

    name: str
    version: str
    rows: tuple[GateRow, ...]

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    @property
    def failed(self) -> list[str]:
        """Names of the rows that did not pass."""
        return [row.name for row in self.rows if not row.passed]

    def row(self, name: str) -> GateRow:
        """A row by its name."""
        return next(row for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Rows for JSON and for the ledger."""
        return {"passed": self.passed, "rows": [row.to_dict() for row in self.rows]}

    def to_text(self) -> str:
        """A line per row."""
        return "\n".join(
            f"{'passed' if row.passed else 'FAILED'}  {row.name}: {row.sentence}" for row in self.rows
        )

    def refusal(self) -> GateError:
        """The error that names the failing rows."""
        reasons = [f"{row.name}: {row.sentence}" for row in self.rows if not row.passed]
        return GateError(self.name, self.version, reasons, self.to_dict())
