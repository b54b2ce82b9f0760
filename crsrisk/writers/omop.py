"""Writes a cohort as OMOP CDM 5.4: one file per table, and a site map to read them again.

Datetimes in OMOP have no offset; these are of the zone that `map.toml` names. Two things for which the CDM has no
place stand in columns of their own: `known_datetime`, and the time of day of an observation period.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.cohort_write import therapies_toml
from crsrisk.readers.codes import OWN, Meaning, coding, meaning
from crsrisk.readers.omop_concepts import NO_CONCEPT, OMOP, OWN_PREFIX, stated, units
from crsrisk.tables import write_text
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME
from crsrisk.values import SYMBOLS, parse_numbers
from crsrisk.writers.coded import NOTHING_STATED
from crsrisk.writers.omop_zone import zone_without_disguise
from crsrisk.writers.statements import statements

MAP = "map.toml"
TO_OBSERVATION = ("clinical", "intervention")
"""Kinds of analytes that are no measurement; OBSERVATION has no operator, so what has a comparator is one."""
DAY = pa.date32()
MOMENT = pa.timestamp("us")

Columns = Mapping[str, pa.Array]


def write_omop(cohort: Cohort, out: Path, *, parquet: bool = False) -> None:
    """Write the tables PERSON, OBSERVATION_PERIOD, MEASUREMENT, and so on, and map.toml.

    Args:
        cohort: with index times.
        out: an empty folder.
        parquet: Parquet instead of CSV.

    Raises:
        CrsRiskError: a course has no index time.
    """
    told = statements(cohort)
    out.mkdir(parents=True, exist_ok=True)
    told = told.assign(
        table=_table_of(told),
        concept=[_concept(name) for name in told["name"]],
        start_us=_starts(told),
    )
    zone, shift_hours = zone_without_disguise(told["table"], told["concept"], told["start_us"])
    for column in ("start_us", "end_us", "known_us"):
        moments = told[column].to_numpy(dtype=np.int64)
        shifted = moments + shift_hours * MICROSECONDS_PER_HOUR
        told[column] = np.where(moments == NOT_A_TIME, NOT_A_TIME, shifted)
    persons = _person_ids(told["patient_id"])
    told["person_id"] = told["patient_id"].map(persons).to_numpy(dtype=np.int64)
    _write(out, "person", _persons(told, persons), parquet=parquet)
    for name, make in _TABLES.items():
        rows = told[told["table"] == name].reset_index(drop=True)
        if len(rows):
            _write(out, name, make(rows), parquet=parquet)
    _write_map(out / MAP, cohort, zone)


def _table_of(told: pd.DataFrame) -> NDArray[np.object_]:
    kinds = {name: known.kind for name, known in analytes().items()}
    clinical = told["name"].map(kinds).fillna(TO_OBSERVATION[0]).isin(TO_OBSERVATION)
    bare = (told["comparator"] == "").to_numpy()
    kind = told["kind"]
    first_sex = (told["name"] == "sex") & ~told.duplicated(["patient_id", "name"])
    return np.select(
        [
            first_sex, kind == "stay", kind == "procedure", (kind == "drug") & bare,
            (kind == "person") | ((kind == "result") & clinical & bare),
        ],
        ["person", "observation_period", "procedure_occurrence", "drug_exposure", "observation"],
        "measurement",
    ).astype(object)  # fmt: skip


def _starts(told: pd.DataFrame) -> NDArray[np.int64]:
    """Starts; facts of a patient, which have none, stand at the patient's first moment: the CDM wants a date."""
    start = told["start_us"].to_numpy(dtype=np.int64)
    timed = told[start != NOT_A_TIME].groupby("patient_id")["start_us"].min()
    first = told["patient_id"].map(timed).to_numpy(dtype=np.int64)
    return np.where(start == NOT_A_TIME, first, start)


@cache
def _concept(name: str) -> int:
    """The first concept that means this very variable to a reader, 0 when there is none."""
    known = analytes().get(name)
    fitting = [
        concept
        for concept in (() if known is None else known.omop)
        if meaning(coding(OMOP, str(concept)), NOTHING_STATED) == Meaning("variable", name)
    ]
    return fitting[0] if fitting else NO_CONCEPT


def _person_ids(patients: pd.Series) -> Mapping[str, int]:
    """person_id by patient: the number that names the patient, else numbers in the order of the names."""
    names = sorted(patients.unique().tolist())
    if all(
        name.isascii() and name.isdecimal() and str(int(name)) == name and len(name) < 19 for name in names
    ):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, start=1)}


def _persons(told: pd.DataFrame, persons: Mapping[str, int]) -> Columns:
    """PERSON. The cohort holds ages, so the year of birth stays empty. Names that are no number are kept."""
    concept_of = {value: concept for concept, value in stated("sex").items()}
    sexes = told[told["table"] == "person"].set_index("patient_id")["value"].map(concept_of)
    names, ids = list(persons), list(persons.values())
    genders = sexes.reindex(names).fillna(NO_CONCEPT).to_numpy(dtype=np.int64)
    kept = [None if name == str(key) else f"{OWN_PREFIX}{name}" for name, key in persons.items()]
    return {
        "person_id": pa.array(ids, pa.int64()),
        "gender_concept_id": pa.array(genders, pa.int32()),
        "year_of_birth": pa.nulls(len(ids), pa.int32()),
        "race_concept_id": _zeros(len(ids)),
        "ethnicity_concept_id": _zeros(len(ids)),
        "person_source_value": pa.array(kept, pa.string()),
    }


def _periods(rows: pd.DataFrame) -> Columns:
    """OBSERVATION_PERIOD: one per patient, from the first stay to the end of the last."""
    stays = rows.groupby("person_id", sort=True).agg({"start_us": "min", "end_us": "max"}).reset_index()
    return {
        **_keys("observation_period_id", stays),
        **_moment("observation_period_start", stays["start_us"]),
        **_moment("observation_period_end", stays["end_us"]),
        "period_type_concept_id": _zeros(len(stays)),
    }


def _procedures(rows: pd.DataFrame) -> Columns:
    return {
        **_keys("procedure_occurrence_id", rows),
        **_coded("procedure", rows),
        **_moment("procedure", rows["start_us"]),
        **_moment("procedure_end", rows["end_us"]),
        "procedure_type_concept_id": _zeros(len(rows)),
        **_known(rows),
    }


def _drugs(rows: pd.DataFrame) -> Columns:
    """DRUG_EXPOSURE: an amount, or a rate at a moment, told by its unit."""
    return {
        **_keys("drug_exposure_id", rows),
        **_coded("drug", rows),
        **_moment("drug_exposure_start", rows["start_us"]),
        **_moment("drug_exposure_end", rows["end_us"]),
        "drug_type_concept_id": _zeros(len(rows)),
        "quantity": _numbers(rows)[0],
        "dose_unit_source_value": _texts(rows["unit"]),
        **_known(rows),
    }


def _measurements(rows: pd.DataFrame) -> Columns:
    number, sign = _numbers(rows)
    concept_of = {value: concept for concept, value in stated("operator").items()}
    signs = np.where(rows["comparator"].to_numpy(dtype=object) != "", rows["comparator"], sign)
    operator = [concept_of[one] if one else None for one in signs.tolist()]
    return {
        **_keys("measurement_id", rows),
        **_coded("measurement", rows),
        **_moment("measurement", rows["start_us"]),
        "measurement_type_concept_id": _zeros(len(rows)),
        "operator_concept_id": pa.array(operator, pa.int32()),
        "value_as_number": number,
        **_unit(rows),
        "value_source_value": _texts(rows["value"]),
        **_known(rows),
    }


def _observations(rows: pd.DataFrame) -> Columns:
    """OBSERVATION: what is no measurement; site and indication of a patient as text, on the day of the first."""
    person = (rows["kind"] == "person").to_numpy()
    value = rows["value"].to_numpy(dtype=object)
    number, _ = _numbers(rows.assign(value=np.where(person, "", value)))
    return {
        **_keys("observation_id", rows),
        **_coded("observation", rows),
        **_moment("observation", rows["start_us"]),
        "observation_type_concept_id": _zeros(len(rows)),
        "value_as_number": number,
        "value_as_string": _texts(pd.Series(np.where(person, value, ""))),
        "value_source_value": _texts(rows["value"]),
        **_unit(rows),
        **_known(rows),
    }


_TABLES = {
    "observation_period": _periods,
    "procedure_occurrence": _procedures,
    "drug_exposure": _drugs,
    "measurement": _measurements,
    "observation": _observations,
}


def _keys(key: str, rows: pd.DataFrame) -> Columns:
    return {
        key: pa.array(np.arange(1, len(rows) + 1)),
        "person_id": pa.array(rows["person_id"].to_numpy(dtype=np.int64)),
    }


def _coded(stem: str, rows: pd.DataFrame) -> Columns:
    return {
        f"{stem}_concept_id": pa.array(rows["concept"].to_numpy(dtype=np.int64), pa.int32()),
        f"{stem}_source_value": pa.array([coding(OWN, name) for name in rows["name"]], pa.string()),
        f"{stem}_source_concept_id": _zeros(len(rows)),
    }


def _moment(stem: str, moments: pd.Series) -> Columns:
    us = _moments(moments)
    return {f"{stem}_date": us.cast(DAY, safe=False), f"{stem}_datetime": us}


def _known(rows: pd.DataFrame) -> Columns:
    """The column beyond the CDM, where any result was known later than it was taken."""
    known = _moments(rows["known_us"])
    return {} if known.null_count == len(known) else {"known_datetime": known}


def _unit(rows: pd.DataFrame) -> Columns:
    """Unit as reported, and its concept where that stands for the very same spelling."""
    concept_of = {unit: concept for concept, unit in reversed(list(units().items()))}
    return {
        "unit_concept_id": pa.array(
            rows["unit"].map(concept_of).fillna(0).to_numpy(dtype=np.int64), pa.int32()
        ),
        "unit_source_value": _texts(rows["unit"]),
    }


def _numbers(rows: pd.DataFrame) -> tuple[pa.Array, NDArray[np.object_]]:
    """Values as numbers, null where none is reported, and the comparators that stand in their texts."""
    read = parse_numbers(pa.array(rows["value"].tolist(), pa.string()))
    return pa.array(read.values, from_pandas=True), SYMBOLS[read.comparators]


def _moments(moments: pd.Series) -> pa.Array:
    us = moments.to_numpy(dtype=np.int64)
    return pa.array(us, mask=us == NOT_A_TIME).cast(MOMENT)


def _texts(cells: pd.Series) -> pa.Array:
    return pa.array([cell or None for cell in cells.tolist()], pa.string())


def _zeros(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(NO_CONCEPT, pa.int32()), rows)


def _write(out: Path, name: str, columns: Columns, *, parquet: bool) -> None:
    table: Any = pa.table(dict(columns))
    if parquet:
        pq.write_table(table, out / f"{name}.parquet")
        return
    options = pa_csv.WriteOptions(quoting_style="needed")
    pa_csv.write_csv(table, out / f"{name}.csv", options)


def _write_map(file: Path, cohort: Cohort, zone: str) -> None:
    """What a reader has to be told: the zone of the times, and therapies that the catalogue does not list."""
    therapies = therapies_toml(cohort.therapies)
    nested = "\n".join(
        f"[investigational.{line[1:]}" if line.startswith("[") else line for line in therapies.split("\n")
    )
    write_text(file, f'time_zone = "{zone}"\n{nested}')
