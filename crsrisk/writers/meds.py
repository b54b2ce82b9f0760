"""Writes a cohort as a MEDS 0.4 data set: data/*.parquet sorted by subject and time, and metadata.

Times are UTC without a zone, as MEDS wants them; metadata/dataset.json says so. A reported number that 32 bits do not
carry stands beside it as text. The columns `unit`, `available_time`, `end_time` and, where patients are not named by
whole numbers, `patient_id` go beyond the standard, which allows it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crsrisk._version import __version__
from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.readers.codes import OWN
from crsrisk.times import NOT_A_TIME
from crsrisk.values import parse_numbers
from crsrisk.writers.coded import codings_of
from crsrisk.writers.statements import marked, statements

MEDS_VERSION = "0.4.1"
ROWS_PER_FILE = 500_000
ROWS_PER_GROUP = 65_536
VOCABULARIES = {OWN: "crsrisk", "http://loinc.org": "LOINC"}
"""Names of the systems that a written cohort uses; each must be in coding_systems.csv."""

TIME = pa.timestamp("us")
SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", TIME),
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("unit", pa.string()),
        pa.field("available_time", TIME),
        pa.field("end_time", TIME),
    ]
)
PATIENT = pa.field("patient_id", pa.string())


def write_meds(cohort: Cohort, out: Path) -> None:
    """Write a MEDS data set into the folder `out`.

    Args:
        cohort: with index times.
        out: absent or empty.

    Raises:
        CrsRiskError: a course has no index time.
    """
    told = statements(cohort)
    subject, numbered = _subjects(told["patient_id"])
    told = told.assign(subject_id=subject).sort_values(
        ["subject_id", "start_us"], kind="stable", ignore_index=True
    )
    codes = {name: _code(name) for name in told["name"].unique()}
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "metadata").mkdir(exist_ok=True)
    for number, rows in enumerate(_shards(told)):
        pq.write_table(
            _table(rows, codes, numbered=numbered), out / "data" / f"{number}.parquet", ROWS_PER_GROUP
        )
    pq.write_table(_code_table(codes), out / "metadata" / "codes.parquet")
    text = json.dumps(_dataset(numbered=numbered, simulated=cohort.simulated), indent=1)
    (out / "metadata" / "dataset.json").write_text(text + "\n", encoding="utf-8")


def _subjects(patients: pd.Series) -> tuple[NDArray[np.int64], bool]:
    """Whole numbers of the patients: their own, or where one is no number, numbers given in order of their names."""
    names, code = np.unique(patients.to_numpy(dtype=object), return_inverse=True)
    own = [_whole(name) for name in names.tolist()]
    numbered = any(number is None for number in own)
    numbers = np.arange(1, len(names) + 1) if numbered else np.array(own, dtype=np.int64)
    return numbers[code].astype(np.int64), numbered


def _whole(name: str) -> int | None:
    """The number that a name is, None when its text would be another ('007')."""
    if not (name.isascii() and name.isdigit()) or len(name) > 18 or str(int(name)) != name:
        return None
    return int(name)


def _code(name: str) -> tuple[str, str]:
    """Code of a statement as MEDS writes it, and its code in our own system when that is another."""
    system, code = codings_of(name)[0]
    own = f"{VOCABULARIES[OWN]}//{name}"
    return f"{VOCABULARIES[system]}//{code}", "" if system == OWN else own


def _shards(told: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of whole subjects, about ROWS_PER_FILE at a time."""
    subject = told["subject_id"].to_numpy()
    ends = np.flatnonzero(np.diff(subject, append=np.int64(-1))) + 1
    first = 0
    while first < len(told):
        wanted = np.searchsorted(ends, min(first + ROWS_PER_FILE, len(told)))
        last = int(ends[wanted])
        yield told.iloc[first:last]
        first = last


def _table(rows: pd.DataFrame, codes: dict[str, tuple[str, str]], *, numbered: bool) -> pa.Table:
    value = _values(rows)
    numbers, texts = _numbers_and_texts(value)
    columns: dict[str, pa.Array] = {
        "subject_id": pa.array(rows["subject_id"]),
        "time": _times(rows["start_us"]),
        "code": pa.array([codes[name][0] for name in rows["name"]], pa.string()),
        "numeric_value": numbers,
        "text_value": texts,
        "unit": _or_null(pa.array(rows["unit"].to_numpy(dtype=object), pa.string())),
        "available_time": _times(rows["known_us"]),
        "end_time": _times(rows["end_us"].mask(rows["end_us"] == rows["start_us"], NOT_A_TIME)),
    }
    if not numbered:
        return pa.table(columns, SCHEMA)
    columns["patient_id"] = pa.array(rows["patient_id"].to_numpy(dtype=object), pa.string())
    return pa.table(columns, SCHEMA.append(PATIENT))


def _values(rows: pd.DataFrame) -> list[str]:
    """Values with their comparator, where the reported text does not hold it already."""
    pairs = zip(rows["value"].tolist(), rows["comparator"].tolist(), strict=True)
    return [marked(value, comparator) for value, comparator in pairs]


def _numbers_and_texts(values: list[str]) -> tuple[pa.Array, pa.Array]:
    """Numbers of 32 bits, and the reported text where such a number would be read as another text."""
    reported = pa.array(values, pa.string())
    read = parse_numbers(reported)
    with np.errstate(over="ignore"):
        narrow = read.values.astype(np.float32)
    fits = np.isfinite(narrow)
    numbers = pa.array(narrow, mask=~fits)
    said = numbers.cast(pa.string()).fill_null("")
    return numbers, _or_null(pc.if_else(pc.equal(said, reported), "", reported)).cast(pa.large_string())


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _times(us: pd.Series) -> pa.Array:
    moments = us.to_numpy(dtype=np.int64)
    return pa.array(moments, mask=moments == NOT_A_TIME).cast(TIME)


def _code_table(codes: dict[str, tuple[str, str]]) -> pa.Table:
    """metadata/codes.parquet: every code with its name and, for a standard code, our own as its parent."""
    known = analytes()
    rows = sorted((code, own, name) for name, (code, own) in codes.items())
    return pa.table(
        {
            "code": pa.array([code for code, _, _ in rows], pa.string()),
            "description": pa.array(
                [known[name].name_en if name in known else name for _, _, name in rows], pa.string()
            ),
            "parent_codes": pa.array([[own] if own else [] for _, own, _ in rows], pa.list_(pa.string())),
        }
    )


def _dataset(*, numbered: bool, simulated: bool) -> dict[str, Any]:
    """metadata/dataset.json; `time_zone` and `simulated` are ours, the standard allows further keys."""
    content: dict[str, Any] = {
        "dataset_name": "simulated cohort" if simulated else "cohort",
        "etl_name": "crsrisk",
        "etl_version": __version__,
        "meds_version": MEDS_VERSION,
        "code_modifier_columns": ["unit"],
        "other_extension_columns": ["available_time", "end_time"],
        "time_zone": "UTC",
        "simulated": simulated,
    }
    return content | ({"raw_source_id_columns": ["patient_id"]} if numbered else {})
