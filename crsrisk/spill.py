"""Sorts a stream of rows by key in bounded memory: each row goes to the file of its key's partition.

Records of one patient lie scattered over a delivery; what reads a patient needs them together. A key always
falls into the same partition, on every machine and in every run, unless the caller names the partitions.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER_BYTES = 128 << 20
"""Rows wait in memory up to this size: many small batches become few large ones in the files."""


class Spill:
    """A stream of rows, held in one temporary file per partition of the key.

    Leaving the context removes the files, unless they were kept. Rows may be added until `partitions` or
    `keep` is called.

    >>> import pyarrow as pa
    >>> rows = pa.table({"patient_id": ["a", "b", "a"], "value": [1, 2, 3]})
    >>> with Spill(None, key="patient_id", partitions=2, schema=rows.schema) as spill:
    ...     spill.add(rows)
    ...     sum(table.num_rows for _, table in spill.partitions())
    3
    """

    def __init__(
        self,
        folder: str | Path | None,
        *,
        key: str,
        partitions: int,
        schema: pa.Schema,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        """Prepare an empty spill.

        Args:
            folder: where the temporary files go, on a disk with room for the whole stream; None for the
                system's folder of temporary files.
            key: column of text; an absent key is a key of its own.
            partitions: number of files; each must fit into memory when it is read.
            schema: of every batch; it names `key`.
            buffer_bytes: rows held in memory before they are written.
        """
        if partitions < 1:
            raise ValueError(f"partitions must be 1 or more, got {partitions}")
        if key not in schema.names:
            raise ValueError(f"the schema has no column {key!r}; it has {schema.names}")
        self.key = key
        self.partition_count = partitions
        self.schema = schema
        self.rows = 0
        self._parent = folder
        self._buffer_bytes = buffer_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_partitions: list[NDArray[np.int64]] = []
        self._waiting_bytes = 0
        self._folder: Path | None = None

    def __enter__(self) -> Spill:
        """Open the folder of temporary files."""
        if self._parent is not None:
            Path(self._parent).mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".spill-", dir=self._parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close and remove the temporary files, also after an error."""
        self._waiting.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, rows: pa.RecordBatch | pa.Table, partitions: NDArray[np.int64] | None = None) -> None:
        """Take rows of the schema; their order is kept within a partition.

        Args:
            rows: some rows.
            partitions: partition of each row, shape (n,), where the caller knows better than by the key.
        """
        batches = rows.to_batches() if hasattr(rows, "to_batches") else [rows]
        start = 0
        for batch in batches:
            if batch.schema != self.schema:
                raise ValueError(f"rows of {batch.schema.names} do not have the schema {self.schema.names}")
            stop = start + batch.num_rows
            of = self.partition_of(batch.column(self.key)) if partitions is None else partitions[start:stop]
            self._waiting.append(batch)
            self._waiting_partitions.append(of)
            self._waiting_bytes += batch.nbytes
            start = stop
        self.rows += start
        if self._waiting_bytes >= self._buffer_bytes:
            self._flush()

    def partitions(self) -> Iterator[tuple[int, pa.Table]]:
        """Number and rows of each partition that has any; all rows of a key are in one, in order of arrival."""
        self._flush()
        for number in range(self.partition_count):
            table = read_partition(self._open_folder(), number)
            if table is not None:
                yield number, table

    def keep(self, folder: Path) -> None:
        """Keep the files as `folder`, which then appears whole and on the disk: see `read_partition`."""
        self._flush()
        for file in self._open_folder().iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        self._open_folder().rename(folder)
        self._folder = None

    def partition_of(self, keys: pa.Array) -> NDArray[np.int64]:
        """Partition of each key; the same for the same text wherever it runs."""
        import pandas as pd

        coded = keys if hasattr(keys, "dictionary") else keys.dictionary_encode()
        distinct = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        hashed = np.zeros(len(distinct) + 1, dtype=np.int64)
        if len(distinct):
            numbers = pd.util.hash_array(distinct, categorize=False) % np.uint64(self.partition_count)
            hashed[:-1] = numbers.astype(np.int64)
        absent = len(distinct)  # an absent key falls into partition 0
        found: NDArray[np.int64] = hashed[coded.indices.fill_null(absent).to_numpy(zero_copy_only=False)]
        return found

    def _flush(self) -> None:
        """Write the waiting rows, each to the file of its partition."""
        import pyarrow as pa

        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting, self.schema).combine_chunks()
        of = np.concatenate(self._waiting_partitions)
        self._waiting, self._waiting_partitions, self._waiting_bytes = [], [], 0
        order = np.argsort(of, kind="stable")  # stable: the order of arrival stays
        bounds = np.searchsorted(of[order], np.arange(self.partition_count + 1))
        for number in range(self.partition_count):
            first, last = int(bounds[number]), int(bounds[number + 1])
            if first < last:
                self._append(number, _small(rows.take(pa.array(order[first:last])).combine_chunks()))

    def _append(self, number: int, rows: pa.Table) -> None:
        """Add a stream of its own to the file: no file stays open, however many partitions there are."""
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            _file(self._open_folder(), number).open("ab") as sink,
            pa.ipc.new_stream(sink, self.schema, options=options) as stream,
        ):
            stream.write_table(rows)

    def _open_folder(self) -> Path:
        if self._folder is None:
            raise ValueError("the spill is not open; use `with Spill(...) as spill:`")
        return self._folder


def read_partition(folder: Path, number: int) -> pa.Table | None:
    """Rows of one partition of a spill, in order of arrival; None when it has none."""
    import pyarrow as pa

    file = _file(folder, number)
    if not file.is_file():
        return None
    tables: list[pa.Table] = []
    with pa.OSFile(str(file)) as source:  # read, not mapped: a map would keep the file's pages in memory
        while source.tell() < source.size():
            tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables).unify_dictionaries()


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.arrow"


def _small(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries of their own texts alone, where those of all rows would be longer."""
    import pyarrow as pa

    for place, column in enumerate(rows.schema):
        cells = rows.column(place)
        if pa.types.is_dictionary(column.type) and len(cells.chunk(0).dictionary) > rows.num_rows:
            own = cells.chunk(0).dictionary_decode().dictionary_encode()
            if own.type == column.type:
                rows = rows.set_column(place, column, own)
    return rows
