"""The rows of PERSON as facts: sex, birth and site; and how the patients of our own exports are called."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from crsrisk.readers.account import Account
from crsrisk.readers.codes import OWN, coding
from crsrisk.readers.omop_columns import NULL_NUMBERS, texts, whole_numbers
from crsrisk.readers.omop_concepts import NO_CONCEPT, OMOP, OWN_PREFIX, stated
from crsrisk.readers.omop_source import OmopSource, ignore_bad_rows
from crsrisk.readers.omop_tables import CARE_SITE, CARE_SITE_COLUMNS, PERSON, PERSON_COLUMNS
from crsrisk.readers.record import Record, batches

WHAT = "PERSON row"
NO_PATIENT = "NO_PATIENT: no person_id; accepted: a whole number in every row"
BAD_PERSON_ID = (
    "BAD_RECORD: person_id is no whole number with all its digits; accepted: as the database has it"
)
SEX_TEXTS: Mapping[str, str] = {"m": "male", "male": "male", "f": "female", "female": "female"}


@dataclass(frozen=True)
class Patients:
    """Names of patients: their person_id as text, or the name that our own export kept in person_source_value."""

    ids: pa.Array  # int64
    names: pa.Array

    def of(self, person_id: pa.Array) -> pa.Array:
        """Name of the patient of each row; null for no person_id."""
        plain = person_id.cast(pa.string())
        if not len(self.ids):
            return plain
        return pc.coalesce(self.names.take(pc.index_in(person_id, self.ids)), plain)


def read_patients(source: OmopSource) -> Patients:
    """Names that our own export kept; all others are called by person_id."""
    ids: list[pa.Array] = []
    names: list[pa.Array] = []
    if "person_source_value" in source.tables[PERSON]:
        for batch in source.batches(PERSON, ("person_id", "person_source_value"), ignore_bad_rows):
            person, _ = whole_numbers(batch.column(0), batch.num_rows)
            name = texts(batch.column(1), batch.num_rows)
            own = pc.and_(pc.starts_with(name, OWN_PREFIX), pc.is_valid(person))
            ids.append(person.filter(own))
            names.append(pc.utf8_slice_codeunits(name.filter(own), len(OWN_PREFIX)))
    if not any(len(part) for part in ids):
        return Patients(pa.array([], pa.int64()), pa.array([], pa.string()))
    return Patients(pa.concat_arrays(ids), pa.concat_arrays(names))


def read_persons(source: OmopSource, patients: Patients, account: Account) -> Iterator[pa.RecordBatch]:
    """Records of kind person."""
    yield from batches(_facts(source, patients, account))


def _facts(source: OmopSource, patients: Patients, account: Account) -> Iterator[Record]:
    sites = _care_sites(source)
    columns = [name for name in PERSON_COLUMNS if name in source.tables[PERSON]]

    def set_aside(position: str, reason: str) -> None:
        account.read(WHAT)
        account.quarantine(WHAT, position, reason)

    before = 0
    for batch in source.batches(PERSON, columns, set_aside):
        rows = batch.num_rows
        account.read(WHAT, rows)
        cells = dict(zip(columns, batch.columns, strict=True))
        person, wrong = whole_numbers(cells["person_id"], rows)
        text = {name: texts(cells.get(name), rows, NULL_NUMBERS).to_pylist() for name in PERSON_COLUMNS}
        gender, _ = whole_numbers(cells.get("gender_concept_id"), rows)
        care_site, _ = whole_numbers(cells.get("care_site_id"), rows)
        table = zip(
            patients.of(person).to_pylist(), person.to_pylist(), wrong.tolist(), gender.to_pylist(),
            care_site.to_pylist(), strict=True,
        )  # fmt: skip
        for row, (name, key, bad, sex, site) in enumerate(table):
            if key is None:
                reason = BAD_PERSON_ID if bad else NO_PATIENT
                account.quarantine(WHAT, f"PERSON row {before + row + 1}", reason)
                continue
            facts = {
                "sex": _sex(sex, text["gender_source_value"][row]),
                "birth_date": _birth_date(*(text[part][row] for part in PERSON_COLUMNS[3:7])),
                "site": sites.get(site, ""),
            }
            known = {fact: value for fact, value in facts.items() if value}
            account.carry(WHAT) if known else account.not_needed(WHAT)
            for fact, value in known.items():
                yield Record(
                    f"PERSON {key}",
                    "person",
                    name,
                    coding(OWN, fact),
                    value=value,
                    identity=f"PERSON/{key}#{fact}",
                )
        before += rows


def _sex(concept: int | None, source: str) -> str:
    """Sex by its concept, else by the source's word; '' when nothing is said, the id when it is not known."""
    if concept is None or concept == NO_CONCEPT:
        return SEX_TEXTS.get(source.lower(), "")
    return stated("sex").get(concept, f"{OMOP}:{concept}")


def _birth_date(year: str, month: str, day: str, moment: str) -> str:
    """YYYY-MM-DD, YYYY-MM or YYYY, or what stands there when it is none.

    Many sites fill birth_datetime with the first of January where they know the year alone: it counts only when it
    says another day, or no year is given.
    """
    year, month, day = (part.removesuffix(".0") for part in (year, month, day))
    date = moment[:10]
    if not year:
        return date
    if not month and date.startswith(f"{year}-") and date != f"{year}-01-01":
        return date
    parts = [year.zfill(4)]
    for part in (month, day):
        if not part:
            break
        parts.append(part.zfill(2))
    return "-".join(parts)


def _care_sites(source: OmopSource) -> Mapping[int, str]:
    """Names of care sites by id; empty without the table."""
    columns = [name for name in CARE_SITE_COLUMNS if name in source.tables.get(CARE_SITE, ())]
    if "care_site_id" not in columns or len(columns) == 1:
        return {}
    found = {}
    for batch in source.batches(CARE_SITE, columns, ignore_bad_rows):
        ids, _ = whole_numbers(batch.column(0), batch.num_rows)
        names = [texts(column, batch.num_rows).to_pylist() for column in batch.columns[1:]]
        for key, *words in zip(ids.to_pylist(), *names, strict=True):
            found[key] = next((word for word in words if word), "")
    return found
