"""The rows of one table of events as records: whole columns at a time, each row carried or set aside with a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.readers.account import Account
from crsrisk.readers.codes import OWN, PERSON_FACTS, coding
from crsrisk.readers.omop_columns import Cells, whole_numbers
from crsrisk.readers.omop_concepts import NO_CONCEPT, Concepts
from crsrisk.readers.omop_persons import BAD_PERSON_ID, NO_PATIENT, Patients
from crsrisk.readers.omop_source import OmopSource
from crsrisk.readers.omop_survey import Midnights
from crsrisk.readers.omop_tables import DEATH, OmopTable
from crsrisk.readers.omop_times import Times, read_times
from crsrisk.readers.omop_values import Values, read_values
from crsrisk.readers.record import record_batch

BAD_KEY = (
    "BAD_RECORD: the id of the row is no whole number with all its digits; accepted: as the database has it"
)
NO_CODE = "NO_CODE: no concept and no source value; accepted: one of them"
DEATH_CODE = coding(OWN, "death")
PERSON_CODES = tuple(coding(OWN, fact) for fact in PERSON_FACTS)


class Refusals:
    """Why each row of a batch is set aside; the first reason counts."""

    def __init__(self, rows: int) -> None:
        self._code = np.zeros(rows, dtype=np.int16)
        self._reasons = [""]

    def refuse(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Set rows aside unless they already are."""
        self._reasons.append(reason)
        self._code[rows & (self._code == 0)] = len(self._reasons) - 1

    @property
    def good(self) -> NDArray[np.bool_]:
        """Rows that are not set aside."""
        return self._code == 0

    def reasons(self) -> Iterator[tuple[int, str]]:
        """Place and reason of each row that is set aside."""
        for row in np.flatnonzero(self._code).tolist():
            yield row, self._reasons[self._code[row]]


@dataclass(frozen=True)
class Setting:
    """What reading a row needs to know beside the row."""

    zone: ZoneInfo
    concepts: Concepts
    midnights: Mapping[str, Midnights]
    patients: Patients


def read_rows(
    source: OmopSource, table: OmopTable, setting: Setting, account: Account
) -> Iterator[pa.RecordBatch]:
    """Records of one table; every row is counted."""
    columns = [name for name in table.columns if name in source.tables[table.name]]

    def set_aside(position: str, reason: str) -> None:
        account.read(table.what)
        account.quarantine(table.what, position, reason)

    before = 0
    for batch in source.batches(table.name, columns, set_aside):
        cells = Cells(dict(zip(columns, batch.columns, strict=True)), batch.num_rows)
        yield _records(table, cells, before, setting, account)
        before += batch.num_rows


def _records(
    table: OmopTable, cells: Cells, before: int, setting: Setting, account: Account
) -> pa.RecordBatch:
    rows = cells.rows
    refusals = Refusals(rows)
    person, wrong_person = whole_numbers(cells.get("person_id"), rows)
    key, wrong_key = whole_numbers(cells.get(table.key), rows)
    refusals.refuse(wrong_person, BAD_PERSON_ID)
    refusals.refuse(_mask(pc.is_null(person)), NO_PATIENT)
    refusals.refuse(wrong_key, BAD_KEY)
    codes = _codes(table, cells, setting.concepts)
    if table.concept:
        refusals.refuse(_mask(pc.equal(codes, "")), NO_CODE)
    about_person = pc.is_in(codes, pa.array(PERSON_CODES))
    values = read_values(table, cells, setting.concepts)
    for bad, reason in values.refused:
        refusals.refuse(bad, reason)
    concept = cells.ids(table.concept).fill_null(NO_CONCEPT).to_numpy(zero_copy_only=False)
    midnights = setting.midnights.get(table.name, Midnights())
    times = read_times(table, cells, concept, values.is_rate, _mask(about_person), midnights, setting.zone)
    for bad, reason in times.refused:
        refusals.refuse(bad, reason)
    patient = setting.patients.of(person)
    position = _positions(table, key, before)
    _set_aside(table, refusals, position, patient, account)
    kind = pc.if_else(about_person, "person", table.kind)
    return _carried(table, refusals.good, position, kind, patient, codes, times, values, key)


def _codes(table: OmopTable, cells: Cells, concepts: Concepts) -> pa.Array:
    if table is DEATH:
        return pa.repeat(pa.scalar(DEATH_CODE), cells.rows)
    source = cells.text(table.source_value)
    return concepts.codes(cells.ids(table.concept), cells.ids(table.source_concept), source)


def _positions(table: OmopTable, key: pa.Array, before: int) -> pa.Array:
    """'MEASUREMENT 17' by the id of the row; 'MEASUREMENT row 3' by its place where it has none."""
    name = table.name.upper()
    places = pa.array(np.arange(before + 1, before + len(key) + 1)).cast(pa.string())
    by_key = pc.binary_join_element_wise(name, key.cast(pa.string()), " ")
    return pc.coalesce(by_key, pc.binary_join_element_wise(f"{name} row", places, " "))


def _set_aside(
    table: OmopTable, refusals: Refusals, position: pa.Array, patient: pa.Array, account: Account
) -> None:
    account.read(table.what, len(position))
    good = int(refusals.good.sum())
    account.carry(table.what, good)
    if good == len(position):
        return
    for row, reason in refusals.reasons():
        account.quarantine(table.what, position[row].as_py(), reason, patient[row].as_py() or "")


def _carried(
    table: OmopTable,
    good: NDArray[np.bool_],
    position: pa.Array,
    kind: pa.Array,
    patient: pa.Array,
    codes: pa.Array,
    times: Times,
    values: Values,
    key: pa.Array,
) -> pa.RecordBatch:
    name = table.name.upper()
    identity = pc.binary_join_element_wise(name, (key if table.key else patient).cast(pa.string()), "/")
    columns = {
        "position": position,
        "kind": kind,
        "patient_id": patient,
        "codes": codes,
        "start_us": pa.array(times.start_us),
        "end_us": pa.array(times.end_us),
        "known_us": pa.array(times.known_us),
        "value": values.value,
        "unit": values.unit,
        "comparator": values.comparator,
        "rate": values.rate,
        "rate_unit": values.rate_unit,
        "identity": pc.fill_null(identity, ""),
    }
    if good.all():
        return record_batch(len(good), **columns)
    kept = pa.array(good)
    return record_batch(int(good.sum()), **{name: cells.filter(kept) for name, cells in columns.items()})


def _mask(cells: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = cells.to_numpy(zero_copy_only=False)
    return found
