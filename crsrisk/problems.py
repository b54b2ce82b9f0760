"""Collects everything wrong with a cohort folder, so that its owner reads all of it at once."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crsrisk.errors import CohortError

SHOWN = 20
"""Problems written out in one error; the rest are counted."""

NAME_LENGTH = 40
"""Characters of a variable, unit or key that a message repeats: cells may have slipped into another column"""


def named(text: object) -> str:
    """A variable, unit, column or therapy key as it appears in a message: quoted, at most 40 characters."""
    shown = str(text)
    return repr(shown if len(shown) <= NAME_LENGTH else shown[:NAME_LENGTH] + "...")


Noted = tuple[tuple[str, ...], int, int]
"""What was noted: the parts of the sentence, its first line in the file, and how many lines share it."""


class Problems:
    """Sentences about one cohort folder, to be raised together.

    A sentence about rows is noted as what was looked for, even when no row has it: parts of a table that are
    read one after the other then tell the same sentences in the same order as the table read at once.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], tuple[int, int]] = {}

    @property
    def sentences(self) -> list[str]:
        """What is wrong, one sentence each, in the order in which it was looked for."""
        return [_sentence(said, first, rows) for said, first, rows in self.noted() if rows]

    def add(self, sentence: str) -> None:
        """Note one sentence: what came, what is accepted, what to do."""
        self._found.setdefault((sentence,), (0, 1))

    def add_rows(
        self, file: str, lines: Sequence[int] | NDArray[np.int64], column: str, came: str, accepted: str
    ) -> None:
        """Note one sentence for all lines of a file that share a problem; nothing to tell when there are none."""
        first = int(min(lines)) if len(lines) else 0
        self._note((file, column, came, accepted), first, len(lines))

    def noted(self) -> list[Noted]:
        """Everything noted, also what no row had: what `merge` takes."""
        return [(said, first, rows) for said, (first, rows) in self._found.items()]

    def merge(self, noted: Iterable[Noted]) -> None:
        """Add what was noted of another part of the same folder."""
        for said, first, rows in noted:
            if len(said) == 1:
                self.add(*said)
            else:
                self._note(said, first, rows)

    def _note(self, said: tuple[str, ...], first: int, rows: int) -> None:
        before, count = self._found.get(said, (0, 0))
        earliest = min(before, first) if count and rows else max(before, first)
        self._found[said] = (earliest, count + rows)

    def error(self) -> CohortError:
        """What was noted as one error: at most 20 sentences and the number of the rest."""
        told = self.sentences
        shown = told[:SHOWN]
        hidden = len(told) - len(shown)
        if hidden:
            shown = [*shown, f"{hidden} more problems are not listed; correct these first and check again"]
        return CohortError(shown)


def _sentence(said: tuple[str, ...], first: int, rows: int) -> str:
    if len(said) == 1:
        return said[0]
    file, column, came, accepted = said
    more = f" (and {rows - 1} more rows like it)" if rows > 1 else ""
    return f"{file}, row {first}, column {column}: {came}{more}; accepted: {accepted}"
