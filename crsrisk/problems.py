"""Collects everything wrong with a cohort folder, so that its owner reads all of it at once."""

from collections.abc import Sequence

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


class Problems:
    """Sentences about one cohort folder, to be raised together."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Note one sentence: what came, what is accepted, what to do."""
        self.sentences.append(sentence)

    def add_rows(
        self, file: str, lines: Sequence[int] | NDArray[np.int64], column: str, came: str, accepted: str
    ) -> None:
        """Note one sentence for all lines of a file that share a problem; nothing when there are none."""
        if len(lines) == 0:
            return
        first = int(min(lines))
        more = f" (and {len(lines) - 1} more rows like it)" if len(lines) > 1 else ""
        self.add(f"{file}, row {first}, column {column}: {came}{more}; accepted: {accepted}")

    def error(self) -> CohortError:
        """What was noted as one error: at most 20 sentences and the number of the rest."""
        shown = self.sentences[:SHOWN]
        hidden = len(self.sentences) - len(shown)
        if hidden:
            shown = [*shown, f"{hidden} more problems are not listed; correct these first and check again"]
        return CohortError(shown)
