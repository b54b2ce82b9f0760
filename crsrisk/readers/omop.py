"""Reads OMOP CDM 5.4 from a folder of CSV or Parquet files, a DuckDB file or a database.

Two passes: the first looks which concepts are used and whose midnights are filled dates (`omop_survey`), the second
makes records. Times in OMOP have no offset, so the site map must name the zone.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.problems import Problems
from crsrisk.readers.account import Account
from crsrisk.readers.omop_concepts import read_concepts
from crsrisk.readers.omop_persons import read_patients, read_persons
from crsrisk.readers.omop_rows import Setting, read_rows
from crsrisk.readers.omop_source import OmopSource, open_source
from crsrisk.readers.omop_survey import survey
from crsrisk.readers.omop_tables import PERSON, TABLES
from crsrisk.readers.site_map import SiteMap


def read_omop(source: Path | str, site: SiteMap, account: Account) -> Iterator[pa.RecordBatch]:
    """Records of an OMOP source.

    Args:
        source: a folder, a DuckDB file (`FILE` or `FILE#SCHEMA`), or a database URL (`URL` or `URL#SCHEMA`).
        site: must name the time zone.
        account: takes every row.

    Raises:
        CrsRiskError: no time zone, no source, or tables without the columns of the CDM.
    """
    if site.time_zone is None:
        raise CrsRiskError(
            "times in OMOP have no offset and the site map names no zone; write into it, for example: "
            'time_zone = "Asia/Tokyo"'
        )
    with open_source(source, site.encoding) as opened:
        _check(opened)
        found = survey(opened, site.time_zone)
        concepts = read_concepts(opened, found.concepts, found.drugs)
        patients = read_patients(opened)
        setting = Setting(site.time_zone, concepts, found.midnights, patients)
        yield from read_persons(opened, patients, account)
        for name, table in TABLES.items():
            if name in opened.tables:
                yield from read_rows(opened, table, setting, account)


def _check(source: OmopSource) -> None:
    """Every table has the columns without which it means nothing; all that is missing in one message."""
    problems = Problems()
    there = source.tables
    if PERSON not in there:
        problems.add("no table PERSON; accepted: the tables of OMOP CDM 5.4, named in any case")
    elif "person_id" not in there[PERSON]:
        problems.add("PERSON has no column person_id; accepted: PERSON as of OMOP CDM 5.4")
    if not any(name in there for name in TABLES):
        names = ", ".join(name.upper() for name in TABLES)
        problems.add(f"no table of events; accepted: {names}; each may be absent, not all of them")
    for name, table in TABLES.items():
        columns = there.get(name)
        if columns is None:
            continue
        missing = [column for column in table.needed if column not in columns]
        if table.day not in columns and table.moment not in columns:
            missing.append(f"{table.moment} (or {table.day})")
        if missing:
            problems.add(f"{name.upper()} has no column {', '.join(missing)}; accepted: as of OMOP CDM 5.4")
    if problems.sentences:
        raise CrsRiskError("\n".join(problems.error().problems))
