"""What a leak report consists of: one finding per suspicion, with its rows, its size and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crsrisk.problems import named

Kind = Literal["a", "b", "c", "d", "e", "f"]
Level = Literal["error", "warning"]
ROWS_NAMED = 20
"""Row numbers and pairs that a finding lists; the rest are counted."""
VARIABLES_IN_TEXT = 8

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "a": "known only after the landmark",
        "b": "a value whose frequency depends on the outcome",
        "c": "one patient under two ids",
        "d": "outcome among the predictors",
        "e": "missingness or sampling depends on the outcome",
        "f": "rows, not patients, in the folds",
    }
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One suspicion of a leak.

    kind: letter of `KINDS`. code: name of the pattern. level: `error` when it is certain and makes every
    evaluation wrong, else `warning`. table: `events`, `courses` or the folds file. variables: variables or
    columns concerned. rows: how many rows; first_rows: line numbers of the first of them (the header is line
    1). courses: how many courses. pairs: line numbers of the two courses of each pair. what, size, do:
    sentences without any value or identifier of a patient.
    """

    kind: Kind
    code: str
    level: Level
    table: str
    what: str
    size: str
    do: str
    variables: tuple[str, ...] = ()
    rows: int = 0
    first_rows: tuple[int, ...] = ()
    courses: int = 0
    pairs: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain values for JSON."""
        return {
            "kind": self.kind,
            "kind_name": KINDS[self.kind],
            "code": self.code,
            "level": self.level,
            "table": self.table,
            "variables": list(self.variables),
            "rows": self.rows,
            "first_rows": list(self.first_rows),
            "courses": self.courses,
            "pairs": [list(pair) for pair in self.pairs],
            "what": self.what,
            "size": self.size,
            "do": self.do,
        }

    def to_text(self) -> str:
        """One finding as lines for a terminal."""
        where = f"{self.table}: {listing(self.variables)}: " if self.variables else f"{self.table}: "
        named_rows = ", ".join(map(str, self.first_rows[:5]))
        paired = ", ".join(f"{one}+{other}" for one, other in self.pairs[:5])
        rows = f"; rows {paired or named_rows}" if paired or named_rows else ""
        more = " ..." if self.rows > 5 or len(self.pairs) > 5 else ""
        counts = f"{self.rows} rows of {self.courses} courses"
        return (
            f"{self.level} ({self.kind}) {self.code}, {where}{self.what}\n"
            f"      size: {self.size} ({counts}{rows}{more})\n      do: {self.do}"
        )


def first(rows: NDArray[np.int64] | Sequence[int]) -> tuple[int, ...]:
    """The lowest row numbers, as many as a finding lists."""
    return tuple(sorted({int(row) for row in rows})[:ROWS_NAMED])


def listing(variables: Sequence[str]) -> str:
    """Names for a sentence; names that the catalogue does not know are cut as in other messages."""
    shown = [name if len(name) <= 40 else named(name) for name in variables[:VARIABLES_IN_TEXT]]
    more = f" and {len(variables) - len(shown)} more" if len(variables) > len(shown) else ""
    return ", ".join(shown) + more
