"""Reads MEDS 0.4 data sets: Parquet files of subject_id, time, code, numeric_value, text_value, streamed.

Columns beyond the standard are used when they are there: `unit`, `available_time` (when a result was known),
`end_time`, and in data sets that crsrisk wrote `patient_id`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.drugs import is_rate_unit
from crsrisk.readers.local_times import AMBIGUOUS, OUT_OF_REACH, PLACED, Moments, moments
from crsrisk.readers.meds_codes import Code, CodeReader, code_reader
from crsrisk.readers.meds_dataset import Dataset, DatasetFile, open_dataset
from crsrisk.readers.meds_values import CONTRADICTION, reported_values
from crsrisk.readers.record import record_batch
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME

ROW, FILE = "MEDS row", "MEDS file"
ROWS_AT_ONCE = 32_768
LONGEST_VALUE = 200
"""Characters; a longer text without a number is a note and holds no value of a variable."""
FEW_TIMES = 20
"""A file with fewer times may well have them all at midnight by chance."""
DAY_US = 86_400_000_000

NO_PATIENT = "NO_PATIENT: no subject_id; accepted: a whole number or text"
NO_CODE = "NO_CODE: no code; accepted: VOCABULARY//CODE"
NO_TIME = "NO_TIME: no time; accepted: a time with hours and minutes; only facts of a person need none"
DATE_ONLY = "DATE_ONLY: every time of the file stands at midnight; accepted: times with hours and minutes"
BAD_TIME = "BAD_TIME: more than a century away; accepted: times of the patient's life"
AMBIGUOUS_TIME = (
    "AMBIGUOUS_TIME: a clock time that exists twice or not at all; accepted: times in UTC, with "
    'time_zone = "UTC" in the site map'
)
BAD_FILE = "BAD_RECORD: no Parquet file, or damaged from here on; accepted: Parquet as Arrow writes it"
BAD_COLUMNS = (
    "BAD_RECORD: columns are missing or of another type; accepted: subject_id (whole numbers or text), "
    "time (timestamp), code (text), numeric_value (number), text_value (text)"
)
NOT_SORTED = "MEDS_ORDER: rows out of the order of subject and time that MEDS asks for, read all the same"

_TIMED = np.array(["result", "drug", "procedure", "device", "stay", "birth"], dtype=object)
_FACTS = np.array(["person", "birth"], dtype=object)
_TIMES = ("time", "available_time", "end_time")
_USED = ("subject_id", *_TIMES, "code", "numeric_value", "text_value", "unit", "patient_id")


def read_meds(source: Path | str, site: SiteMap, account: Account) -> Iterator[pa.RecordBatch]:
    """Record batches of a MEDS data set.

    Args:
        source: the folder with data/ (and metadata/), a folder of Parquet files, or one file.
        site: its time_zone is the zone of the times, which MEDS writes without one.
        account: takes one item per row and per file.

    Raises:
        CrsRiskError: no MEDS data set, none of its files can be read, or nobody states the time zone.
    """
    dataset = open_dataset(Path(source), site, account)
    read = code_reader(site, dataset.parents)
    order = _Order()
    damaged = 0
    for file in dataset.files:
        account.read(FILE)
        rows = 0
        try:
            dates = _holds_dates(file)
            for table in _tables(file, dataset):
                yield from _records(table, _Place(file.name, rows, dates), dataset, read, account)
                order.check(table)
                rows += table.num_rows
        except _ColumnsError:
            account.quarantine(FILE, file.name, BAD_COLUMNS)
            damaged += 1
        except (pa.ArrowException, OSError):
            account.quarantine(FILE, f"{file.name} after row {rows}", BAD_FILE)
            damaged += not rows
        else:
            (account.carry if rows else account.not_needed)(FILE)
        order.end_file()
    account.adjust(NOT_SORTED, order.out_of_order)
    if damaged == len(dataset.files):
        raise CrsRiskError(
            f"{dataset.name}: none of {damaged} files can be read; accepted: a MEDS 0.4 data set, data/*.parquet "
            "with subject_id (whole numbers), time (timestamp) and code (text)"
        )


class _ColumnsError(Exception):
    """The file lacks a column of MEDS, or holds it in a type that can't be read."""


@dataclass(frozen=True)
class _Place:
    """Where rows stand: file, number of the rows before them, and whether the file holds dates alone."""

    file: str
    before: int
    dates: bool

    def positions(self, rows: NDArray[np.int64]) -> pa.Array:
        """'data/0.parquet row 17' of rows that are counted from 0."""
        numbers = pa.array(rows + self.before + 1).cast(pa.string())
        return pc.binary_join_element_wise(pa.scalar(f"{self.file} row"), numbers, " ")


class _Order:
    """Counts rows that break the order of MEDS: a subject stands together, its rows in order of time."""

    def __init__(self) -> None:
        self.out_of_order = 0
        self._subject: str | None = None
        self._us = NOT_A_TIME
        self._finished: set[str] = set()

    def check(self, table: pa.Table) -> None:
        """Take the next rows."""
        if not table.num_rows:
            return
        subject = table["subject_id"].combine_chunks().fill_null("")
        us = (
            table["time"]
            .combine_chunks()
            .cast(pa.int64())
            .fill_null(NOT_A_TIME)
            .to_numpy(zero_copy_only=False)
        )
        coded = subject.dictionary_encode()
        names, code = coded.dictionary.to_pylist(), coded.indices.to_numpy()
        starts = np.flatnonzero(np.diff(code, prepend=-1))
        backwards = us[1:] < us[:-1]
        backwards[starts[1:] - 1] = False
        self.out_of_order += int(backwards.sum())
        for start in starts.tolist():
            name = names[code[start]]
            if name == self._subject:
                self.out_of_order += int(us[start] < self._us)
                continue
            if self._subject is not None:
                self._finished.add(self._subject)
            self.out_of_order += name in self._finished
            self._subject = name
            self._us = NOT_A_TIME
        self._us = int(us[-1])

    def end_file(self) -> None:
        """A subject may not go on in another file."""
        if self._subject is not None:
            self._finished.add(self._subject)
        self._subject = None


def _holds_dates(file: DatasetFile) -> bool:
    """Whether every time of the file stands at midnight: dates that somebody filled up."""
    times = 0
    with pq.ParquetFile(file.path) as parquet:
        if "time" not in parquet.schema_arrow.names:
            raise _ColumnsError
        for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=["time"]):
            us = _column("time", batch.column(0)).drop_null().cast(pa.int64()).to_numpy()
            if (us % DAY_US != 0).any():
                return False
            times += us.size
    return times >= FEW_TIMES


def _tables(file: DatasetFile, dataset: Dataset) -> Iterator[pa.Table]:
    """Rows of one file with columns of known types, absent ones as nulls."""
    with pq.ParquetFile(file.path) as parquet:
        names = set(parquet.schema_arrow.names)
        if {"subject_id", "time", "code"} - names:
            raise _ColumnsError
        used = [name for name in _USED if name in names and (name != "patient_id" or dataset.own)]
        for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=used):
            held = set(batch.schema.names)
            absent = pa.nulls(batch.num_rows)
            yield pa.table(
                {name: _column(name, batch.column(name) if name in held else absent) for name in _USED}
            )


def _column(name: str, cells: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind = cells.type
    if name in _TIMES:
        if pa.types.is_timestamp(kind):
            return cells.cast(pa.timestamp("us", kind.tz), safe=False)
        if pa.types.is_null(kind):
            return cells.cast(pa.timestamp("us", "UTC" if name != "time" else None))
    elif name == "numeric_value":
        if kind in (pa.float32(), pa.float64()):
            return cells
        if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return cells.cast(pa.float64())
    elif (
        pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (pa.types.is_integer(kind) and name == "subject_id")
    ):
        return cells.cast(pa.string())
    raise _ColumnsError


def _records(
    table: pa.Table, place: _Place, dataset: Dataset, read: CodeReader, account: Account
) -> Iterator[pa.RecordBatch]:
    """The records of some rows; every row is accounted for."""
    account.read(ROW, table.num_rows)
    own = dataset.own and table["patient_id"].null_count == 0
    patients = _texts(table, "patient_id" if own else "subject_id")
    codes = _Codes(_texts(table, "code"), read)
    values = reported_values(table["numeric_value"].combine_chunks(), _texts(table, "text_value"))
    times = [_moments(table[name].combine_chunks(), dataset) for name in _TIMES]
    reasons = _reasons(patients, codes, times, place)
    reasons[(reasons == "") & values.contradict] = CONTRADICTION
    long = pc.greater(pc.utf8_length(values.texts), LONGEST_VALUE).to_numpy(zero_copy_only=False)
    note = (reasons == "") & long & ~values.has_number
    for row in np.flatnonzero(reasons != "").tolist():
        position = place.positions(np.array([row]))[0].as_py()
        account.quarantine(ROW, position, reasons[row], patients[row].as_py())
    account.not_needed(ROW, int(note.sum()))
    kept = np.flatnonzero((reasons == "") & ~note)
    account.carry(ROW, kept.size)
    if not kept.size:
        return
    start, known, end = (one.us for one in times)
    person = np.isin(codes.of("kind"), _FACTS)
    columns = {
        "patient_id": patients,
        "start_us": np.where(person, NOT_A_TIME, start),
        "end_us": np.where(person, NOT_A_TIME, np.where(end == NOT_A_TIME, start, end)),
        "known_us": known,
        **_said(codes, values.texts, values.has_number, _texts(table, "unit"), times[0]),
    }
    chosen = pa.array(kept)
    yield record_batch(
        kept.size,
        position=place.positions(kept),
        **{name: pc.take(cells if isinstance(cells, pa.Array) else pa.array(cells), chosen)
           for name, cells in columns.items()},
    )  # fmt: skip


class _Codes:
    """The codes of some rows, each distinct one read once."""

    def __init__(self, texts: pa.Array, read: CodeReader) -> None:
        coded = texts.dictionary_encode()
        self._distinct = [read(text) for text in coded.dictionary.to_pylist()]
        self._indices = coded.indices.to_numpy()
        self.empty: NDArray[np.bool_] = pc.equal(texts, "").to_numpy(zero_copy_only=False)

    def of(self, name: str) -> NDArray[np.object_]:
        """A field of `Code` per row."""
        place = Code._fields.index(name)
        return np.array([code[place] for code in self._distinct], dtype=object)[self._indices]


def _texts(table: pa.Table, name: str) -> pa.Array:
    return pc.utf8_trim_whitespace(table[name].combine_chunks().fill_null(""))


def _moments(times: pa.Array, dataset: Dataset) -> Moments:
    return moments(times, dataset.needed_zone() if times.type.tz is None else dataset.zone or UTC)


def _reasons(patients: pa.Array, codes: _Codes, times: list[Moments], place: _Place) -> NDArray[np.object_]:
    """Why a row can't be used, '' when it can."""
    reasons = np.full(len(patients), "", dtype=object)
    kinds = codes.of("kind")
    timed = np.isin(kinds, _TIMED)
    for one in times:
        reasons[(one.states == AMBIGUOUS) & (kinds != "birth")] = AMBIGUOUS_TIME
        reasons[one.states == OUT_OF_REACH] = BAD_TIME
    reasons[timed & (times[0].states != PLACED) & (reasons == "")] = NO_TIME
    if place.dates:
        reasons[timed & (kinds != "birth") & (reasons == "")] = DATE_ONLY
    reasons[codes.empty] = NO_CODE
    reasons[pc.equal(patients, "").to_numpy(zero_copy_only=False)] = NO_PATIENT
    return reasons


def _said(
    codes: _Codes, texts: pa.Array, has_number: NDArray[np.bool_], units: pa.Array, time: Moments
) -> dict[str, NDArray[np.object_]]:
    """Kind, codes, value, unit and rate of the rows."""
    kind, value, unit = (
        codes.of("kind"),
        texts.to_numpy(zero_copy_only=False),
        units.to_numpy(zero_copy_only=False),
    )
    part, short = codes.of("unit"), codes.of("codes_without_unit")
    unit_in_code = has_number & (short != "") & ((unit == "") | (unit == part))
    unit = np.where(unit_in_code & (unit == ""), part, unit)
    stated = codes.of("value")
    value = np.where(stated != "", stated, value)
    birth = kind == "birth"
    value[birth] = np.datetime_as_string(time.clock[birth], unit="D")
    rate = (kind == "drug") & np.array([is_rate_unit(one) for one in unit.tolist()], dtype=np.bool_)
    return {
        "kind": np.where(birth, "person", kind),
        "codes": np.where(unit_in_code, short, codes.of("codes")),
        "value": np.where(rate, "", value),
        "unit": np.where(rate, "", unit),
        "rate": np.where(rate, value, ""),
        "rate_unit": np.where(rate, unit, ""),
    }
