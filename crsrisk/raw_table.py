"""A table as it stands in its file, or some rows of it: text, numbers and times, nothing interpreted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class UnreadableTable(Exception):  # noqa: N818  # caught where tables are read; the reason is among the problems
    """A table whose file can't be read; what is wrong with it has been noted."""


@dataclass(frozen=True)
class RawTable:
    """One table, or some rows of one, as they stand in the file."""

    name: str
    file: str
    columns: Mapping[str, pa.Array]  # text (also as a dictionary), or numbers and times as Parquet holds them
    lines: NDArray[np.int64]  # line of each row in the file, the header is line 1
    _texts: dict[str, pa.Array] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def has(self, column: str) -> bool:
        """Whether the table carries the column."""
        return column in self.columns

    def texts(self, column: str) -> pa.Array:
        """The column as text without surrounding blanks; empty cells and absent columns are ''."""
        if column not in self._texts:
            self._texts[column] = self._as_text(column)
        return self._texts[column]

    def coded(self, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """The texts of a column as codes of sorted, distinct texts; some of these may have no row."""
        if column not in self.columns:
            return np.zeros(self.rows, dtype=np.int64), [""]
        cells = self.columns[column]
        if not pa.types.is_dictionary(cells.type):
            cells = self.texts(column).dictionary_encode()
        texts = pa.concat_arrays([_trimmed(cells.dictionary), pa.array([""])])  # the last for no cell
        places = cells.indices.cast(pa.int64()).fill_null(len(texts) - 1).to_numpy()
        distinct = texts.dictionary_encode()  # without blanks two may be the same
        order = pc.array_sort_indices(distinct.dictionary)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        return rank[distinct.indices.to_numpy()][places], distinct.dictionary.take(order).to_pylist()

    def is_number(self, column: str) -> bool:
        """Whether Parquet holds the column as numbers."""
        kind = self.columns[column].type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))

    def take(self, rows: NDArray[np.int64]) -> "RawTable":
        """These rows, in this order."""
        chosen = pa.array(rows)
        columns = {name: cells.take(chosen) for name, cells in self.columns.items()}
        return RawTable(self.name, self.file, columns, self.lines[rows])

    def _as_text(self, column: str) -> pa.Array:
        if column not in self.columns:
            return pa.array([""] * self.rows, pa.string())
        cells = self.columns[column]
        if pa.types.is_dictionary(cells.type):
            return pc.fill_null(_trimmed(cells.dictionary).take(cells.indices), "")
        if pa.types.is_floating(cells.type):
            cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
        return _trimmed(cells)


def joined(parts: Sequence[RawTable]) -> RawTable:
    """The rows of all parts of one table, in this order."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = {
        name: pa.chunked_array([part.columns[name] for part in parts]).combine_chunks()
        for name in first.columns
    }
    return RawTable(first.name, first.file, columns, np.concatenate([part.lines for part in parts]))


def _trimmed(cells: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(pc.fill_null(cells.cast(pa.string()), ""))
