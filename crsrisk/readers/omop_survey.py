"""A first look at the tables of an OMOP source: which concepts they use, and whose times are dates in disguise.

Many sites fill a datetime with 00:00:00 where they only know the date. One such value can't be told from a true
midnight; many of them can.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.readers.omop_columns import moments, whole_numbers
from crsrisk.readers.omop_concepts import NO_CONCEPT
from crsrisk.readers.omop_source import OmopSource, ignore_bad_rows
from crsrisk.readers.omop_tables import CONCEPT, DRUG_EXPOSURE, TABLES, OmopTable

FILLED_SHARE = 0.5
FILLED_ROWS = 20
"""More than half of at least 20 times at exactly 00:00:00 are filled: charting every 12 hours gives half at most."""
ALL_FILLED_ROWS = 3
"""Fewer rows are filled when all of them, at least 3, are at exactly 00:00:00."""


@dataclass(frozen=True)
class Midnights:
    """Whose midnights are dates in disguise, in one table.

    filled, timed: concepts with enough rows to tell. rest: what holds for the others, told from the whole table.
    ends: whether the ends of periods are filled.
    """

    filled: frozenset[int] = frozenset()
    timed: frozenset[int] = frozenset()
    rest: bool = False
    ends: bool = False

    def disguised(self, concept: NDArray[np.int64], midnight: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which moments of these concepts are dates; shape (n,) each."""
        filled = np.isin(concept, list(self.filled))
        if self.rest:
            filled |= ~np.isin(concept, list(self.timed))
        return midnight & filled


@dataclass(frozen=True)
class Survey:
    """What the first look found: ids of concepts in use, those of drugs among them, midnights by table."""

    concepts: frozenset[int]
    drugs: frozenset[int]
    midnights: Mapping[str, Midnights]


def survey(source: OmopSource, zone: ZoneInfo) -> Survey:
    """Look through the columns of concepts and times of every table of events."""
    used: dict[str, set[int]] = {}
    found = {}
    for name, table in TABLES.items():
        if name in source.tables:
            used[name] = set()
            found[name] = _look(source, table, zone, used[name])
    drugs = used.get(DRUG_EXPOSURE.name, set())
    return Survey(frozenset().union(*used.values()), frozenset(drugs), MappingProxyType(found))


def judged(rows: Counter[int], midnights: Counter[int], *, ends: bool = False) -> Midnights:
    """The verdict on one table.

    Args:
        rows: timed rows by concept.
        midnights: those of them at exactly 00:00:00.
        ends: verdict on the ends.
    """
    filled, timed = set(), set()
    for concept, count in rows.items():
        if looks_filled(count, midnights[concept]):
            filled.add(concept)
        elif count >= FILLED_ROWS:
            timed.add(concept)
    rest = looks_filled(rows.total(), midnights.total())
    return Midnights(frozenset(filled), frozenset(timed), rest, ends)


def looks_filled(rows: int, midnights: int) -> bool:
    """Whether so many midnights among so many times are dates."""
    if rows >= FILLED_ROWS:
        return midnights > FILLED_SHARE * rows
    return rows >= ALL_FILLED_ROWS and midnights == rows


def _look(source: OmopSource, table: OmopTable, zone: ZoneInfo, used: set[int]) -> Midnights:
    there = source.tables[table.name]
    concepts = [name for name in table.concept_columns if name in there] if CONCEPT in source.tables else []
    times = (
        [] if table.day_is_enough else [name for name in (table.moment, table.end_moment) if name in there]
    )
    if times and table.concept and table.concept not in concepts:
        concepts.append(table.concept)
    columns = [*concepts, *times]
    if not columns:
        return Midnights()
    rows: Counter[int] = Counter()
    at_midnight: Counter[int] = Counter()
    ends = np.zeros(2, dtype=np.int64)
    for batch in source.batches(table.name, columns, ignore_bad_rows):
        cells = dict(zip(columns, batch.columns, strict=True))
        ids = {name: _ids(cells[name], batch.num_rows) for name in concepts}
        for found in ids.values():
            used.update(np.unique(found).tolist())
        concept = ids.get(table.concept, np.zeros(batch.num_rows, dtype=np.int64))
        if table.moment in cells:
            read = moments(cells[table.moment], batch.num_rows, zone)
            _count(concept[~read.absent], rows)
            _count(concept[read.midnight], at_midnight)
        if table.end_moment in cells:
            read = moments(cells[table.end_moment], batch.num_rows, zone)
            ends += (int((~read.absent).sum()), int(read.midnight.sum()))
    return judged(rows, at_midnight, ends=looks_filled(int(ends[0]), int(ends[1])))


def _ids(cells: pa.Array, rows: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (
        whole_numbers(cells, rows)[0].fill_null(NO_CONCEPT).to_numpy(zero_copy_only=False)
    )
    return found


def _count(concepts: NDArray[np.int64], into: Counter[int]) -> None:
    distinct, counts = np.unique(concepts, return_counts=True)
    into.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
