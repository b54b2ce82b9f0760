"""The record: one statement of a source about one patient, before anything is decided about it.

Every reader gives record batches of the schema below; corrections, courses and units are decided later, in one
place for all formats. Nothing is interpreted here that the source did not say.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from crsrisk.times import NOT_A_TIME

KINDS = ("result", "drug", "procedure", "device", "condition", "person", "stay")
STATUSES = ("final", "preliminary", "withdrawn")
CODE_SEPARATOR = "\x1f"
BATCH_RECORDS = 8_192


class Record(NamedTuple):
    """One statement.

    position: where it stands, for a person who looks for it: 'Observation.ndjson line 17', 'entry 3'.
    kind: `result` (laboratory, vital sign, score), `drug` (an administration), `procedure`, `device`, `condition`,
        `person` (a fact of the patient: codes 'urn:crsrisk|sex', 'urn:crsrisk|birth_date', ...) or `stay` (a
        period under observation).
    patient_id: as the source names the patient, never empty.
    codes: 'system|code' of each coding, joined by CODE_SEPARATOR, as the source orders them; systems are FHIR
        URIs, or `omop`; see `codes.coding`.
    start_us, end_us: moment or period, microseconds since 1970 in UTC; NOT_A_TIME when there is none (an end that
        is absent for a drug or a device that goes on).
    known_us: when the statement was known (issued, reported); NOT_A_TIME when the source does not say.
    value, unit, comparator: as reported, text; of a drug the amount.
    rate, rate_unit: of a drug, as reported.
    status: `final`, `preliminary`, or `withdrawn` (cancelled, entered in error, deleted, not done).
    identity: the same for every delivery and version of one statement; '' when the source gives none.
    revised_us, revision: which version is the newer one: the time first, then the number; NOT_A_TIME and 0 when
        the source does not say.
    """

    position: str
    kind: str
    patient_id: str
    codes: str
    start_us: int = NOT_A_TIME
    end_us: int = NOT_A_TIME
    known_us: int = NOT_A_TIME
    value: str = ""
    unit: str = ""
    comparator: str = ""
    rate: str = ""
    rate_unit: str = ""
    status: str = "final"
    identity: str = ""
    revised_us: int = NOT_A_TIME
    revision: int = 0


_NUMBERS = frozenset({"start_us", "end_us", "known_us", "revised_us", "revision"})
SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64() if name in _NUMBERS else pa.string(), nullable=False)
        for name in Record._fields
    ]
)


def batches(records: Iterable[Record], size: int = BATCH_RECORDS) -> Iterator[pa.RecordBatch]:
    """Record batches of at most `size` records, in the order in which they come."""
    stream = iter(records)
    while chunk := list(islice(stream, size)):
        columns = zip(*chunk, strict=True)
        arrays = [pa.array(cells, field.type) for cells, field in zip(columns, SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def record_batch(rows: int, **columns: pa.Array) -> pa.RecordBatch:
    """A record batch from whole columns; those that are not given hold the default of `Record`.

    Args:
        rows: number of records.
        columns: arrays without nulls, by field name; `position`, `kind`, `patient_id` and `codes` are needed.

    Raises:
        ValueError: a needed column is missing, or a name that is no field.
    """
    needed = {name for name in Record._fields if name not in Record._field_defaults}
    if needed - columns.keys() or columns.keys() - set(Record._fields):
        raise ValueError(f"columns {sorted(columns)}; needed {sorted(needed)}, known {list(Record._fields)}")
    arrays = []
    for field in SCHEMA:
        cells = columns.get(field.name)
        if cells is None:
            cells = pa.repeat(pa.scalar(Record._field_defaults[field.name], field.type), rows)
        arrays.append(cells.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
