"""Rows sorted by key on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from crsrisk.spill import Spill, read_partition

SCHEMA = pa.schema({"patient_id": pa.string(), "number": pa.int64()})


def batch(patients: list[str | None], first: int = 0) -> pa.RecordBatch:
    numbers = list(range(first, first + len(patients)))
    return pa.record_batch([pa.array(patients, pa.string()), pa.array(numbers)], schema=SCHEMA)


def spilled(folder: Path, batches: list[pa.RecordBatch], **options: int) -> dict[int, list[tuple[str, int]]]:
    with Spill(folder, key="patient_id", schema=SCHEMA, **options) as spill:
        for one in batches:
            spill.add(one)
        return {
            number: list(zip(*table.to_pydict().values(), strict=True))
            for number, table in spill.partitions()
        }


@pytest.mark.parametrize("buffer_bytes", [1, 100, 1 << 20])
def test_every_row_comes_back_once_and_a_key_lies_in_one_partition(tmp_path, buffer_bytes):
    names = [f"p{i % 7}" for i in range(50)]
    batches = [batch(names[i : i + 5], i) for i in range(0, 50, 5)]
    parts = spilled(tmp_path, batches, partitions=4, buffer_bytes=buffer_bytes)
    rows = [row for part in parts.values() for row in part]
    assert sorted(rows, key=lambda row: row[1]) == list(zip(names, range(50), strict=True))
    holders = {
        name: {number for number, part in parts.items() for key, _ in part if key == name} for name in names
    }
    assert all(len(numbers) == 1 for numbers in holders.values())
    assert len(parts) > 1


def test_rows_of_a_key_keep_the_order_of_arrival(tmp_path):
    parts = spilled(tmp_path, [batch(["b", "a", "b"], 0), batch(["a", "b"], 3)], partitions=3, buffer_bytes=1)
    of_b = [number for part in parts.values() for key, number in part if key == "b"]
    assert of_b == [0, 2, 4]


def test_an_absent_key_is_kept_too(tmp_path):
    parts = spilled(tmp_path, [batch([None, "a", None])], partitions=5)
    assert [number for key, number in parts[0] if key is None] == [0, 2]


def test_a_key_falls_into_the_same_partition_in_another_process(tmp_path):
    keys = ["P-0001", "患者", "", "a" * 200]
    with Spill(tmp_path, key="patient_id", partitions=1000, schema=SCHEMA) as spill:
        here = spill.partition_of(pa.array(keys)).tolist()
    code = (
        "import pyarrow as pa; from crsrisk.spill import Spill\n"
        "spill = Spill(None, key='k', partitions=1000, schema=pa.schema({'k': pa.string()}))\n"
        f"print(spill.partition_of(pa.array({keys!r})).tolist())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(here)
    assert len(set(here)) == len(keys)


def test_texts_as_a_dictionary_are_spilled_as_well(tmp_path):
    schema = pa.schema({"patient_id": pa.dictionary(pa.int32(), pa.string())})
    with Spill(tmp_path, key="patient_id", partitions=3, schema=schema, buffer_bytes=1) as spill:
        for names in (["a", "b"], ["c", "a", "d"]):  # each batch with a dictionary of its own
            spill.add(pa.table({"patient_id": pa.array(names).dictionary_encode()}, schema=schema))
        back = [key for _, table in spill.partitions() for key in table["patient_id"].to_pylist()]
    assert sorted(back) == ["a", "a", "b", "c", "d"]


def fail_in_the_middle(folder: Path) -> None:
    with Spill(folder, key="patient_id", partitions=2, schema=SCHEMA) as spill:
        spill.add(batch(["a", "b", "c"]))
        next(spill.partitions())
        raise RuntimeError(f"with {len(list(folder.iterdir()))} folder")


def test_the_files_are_removed_also_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="with 1 folder"):
        fail_in_the_middle(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_caller_may_name_the_partitions_and_keep_the_files(tmp_path):
    target = tmp_path / "kept"
    with Spill(tmp_path, key="patient_id", partitions=3, schema=SCHEMA, buffer_bytes=1) as spill:
        spill.add(pa.Table.from_batches([batch(["a", "b"]), batch(["a"], 2)]), np.array([2, 0, 2]))
        spill.add(batch(["c"], 3), np.array([2]))
        spill.keep(target)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert read_partition(target, 2)["number"].to_pylist() == [0, 2, 3]
    assert read_partition(target, 1) is None


def test_nothing_added_gives_no_partition(tmp_path):
    assert spilled(tmp_path, [], partitions=3) == {}
    assert spilled(tmp_path, [batch([])], partitions=3) == {}


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ValueError, match="partitions must be 1 or more, got 0"):
        Spill(tmp_path, key="patient_id", partitions=0, schema=SCHEMA)
    with pytest.raises(ValueError, match="no column 'course_id'"):
        Spill(tmp_path, key="course_id", partitions=1, schema=SCHEMA)
    with (
        Spill(tmp_path, key="patient_id", partitions=1, schema=SCHEMA) as spill,
        pytest.raises(ValueError, match="do not have the schema"),
    ):
        spill.add(pa.record_batch([pa.array(["a"])], names=["patient_id"]))
