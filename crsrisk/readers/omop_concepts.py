"""What concept ids stand for: operators, sexes and units from our tables, codes and names from CONCEPT."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crsrisk.data_files import rows
from crsrisk.errors import CrsRiskError
from crsrisk.readers.codes import OWN, codings
from crsrisk.readers.coding_systems import coding_systems
from crsrisk.readers.omop_columns import texts, whole_numbers
from crsrisk.readers.omop_source import OmopSource, ignore_bad_rows
from crsrisk.readers.omop_tables import CONCEPT, CONCEPT_COLUMNS
from crsrisk.readers.record import CODE_SEPARATOR

OMOP = "omop"
UCUM = "UCUM"
NO_CONCEPT = 0
"""Concept 0: the source has no standard concept for it."""
OTHER_MEANING = frozenset({"F", "C"})
"""UCUM's farad and coulomb: as the unit of a temperature their codes would be read as degrees. Some sites do map the
F of a thermometer to farad; that is for them to correct."""
OWN_PREFIX = f"{OWN}|"


class Concept(NamedTuple):
    """One row of CONCEPT."""

    name: str
    vocabulary: str
    code: str


@cache
def stated(use: str) -> Mapping[int, str]:
    """Values by concept id for one use in omop_concepts.csv: `operator` or `sex`."""
    return MappingProxyType(
        {int(row["concept_id"]): row["value"] for row in rows("omop_concepts.csv") if row["use"] == use}
    )


@cache
def units() -> Mapping[int, str]:
    """Unit, as units.csv spells it, by concept id."""
    return MappingProxyType({int(row["concept_id"]): row["unit"] for row in rows("omop_units.csv")})


def system_of(vocabulary: str) -> str:
    """FHIR URI of a vocabulary, its own name when there is none. MEDS names code systems as OMOP does.

    >>> system_of("LOINC"), system_of("KDC")
    ('http://loinc.org', 'KDC')
    """
    known = coding_systems("meds").get(vocabulary.upper())
    return vocabulary if known is None else known.system


@dataclass(frozen=True)
class Concepts:
    """What is known of concept ids; empty without a CONCEPT table."""

    found: Mapping[int, Concept] = field(default_factory=dict)

    def codes(self, concept: pa.Array, source_concept: pa.Array, source_value: pa.Array) -> pa.Array:
        """The codings of each row: standard concept, source concept, source value; '' without any.

        Args:
            concept: int64, null or 0 for none; shape (n,).
            source_concept: the same.
            source_value: text, '' for none; our own 'urn:crsrisk|KEY', or a code of the source without a system.
        """
        again = pc.fill_null(pc.equal(concept, source_concept), False)
        source_concept = pc.if_else(again, pa.scalar(None, pa.int64()), source_concept)
        parts = (
            mapped(concept, self._codings),
            mapped(source_concept, self._codings),
            mapped(pc.if_else(pc.equal(source_value, ""), None, source_value), _source_coding),
        )
        ended = [pc.fill_null(pc.binary_join_element_wise(part, "", CODE_SEPARATOR), "") for part in parts]
        return pc.utf8_rtrim(pc.binary_join_element_wise(*ended, ""), CODE_SEPARATOR)

    def unit_texts(self, concept: pa.Array, source: pa.Array) -> pa.Array:
        """Unit of each row: by its concept, else as the source writes it.

        A concept that nobody knows, without a text beside it, gives 'omop:ID': it must not pass as no unit at all,
        for which the site map may state one.
        """
        known = mapped(concept, self._unit)
        there = pc.not_equal(pc.fill_null(concept, NO_CONCEPT), NO_CONCEPT)
        named = pc.binary_join_element_wise(f"{OMOP}:", pc.fill_null(concept.cast(pa.string()), ""), "")
        fallback = pc.if_else(pc.and_(there, pc.equal(source, "")), named, source)
        return pc.coalesce(known, fallback)

    def names(self, concept: pa.Array) -> pa.Array:
        """Name of each concept; '' when it is not known."""
        return pc.fill_null(mapped(concept, self._name), "")

    def _name(self, concept_id: int) -> str | None:
        known = self.found.get(concept_id)
        return known.name if known is not None and concept_id != NO_CONCEPT else None

    def _codings(self, concept_id: int) -> str | None:
        if concept_id == NO_CONCEPT:
            return None
        known = self.found.get(concept_id)
        own = (OMOP, str(concept_id))
        if known is None or not known.code:
            return codings(own)
        return codings(own, (system_of(known.vocabulary), known.code))

    def _unit(self, concept_id: int) -> str | None:
        if concept_id in units():
            return units()[concept_id]
        known = self.found.get(concept_id)
        if known is None or concept_id == NO_CONCEPT:
            return None
        coded = known.vocabulary == UCUM and known.code not in OTHER_MEANING
        return (known.code if coded else known.name) or None


def operators(concept: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Comparator of each row ('' for none and for equality), and where the concept is no operator."""
    known = stated("operator")
    read = mapped(concept, lambda one: "" if one == NO_CONCEPT else known.get(one, "?"))
    read = pc.fill_null(read, "")
    unknown = pc.equal(read, "?")
    return pc.if_else(unknown, "", read), unknown


def read_concepts(source: OmopSource, wanted: Collection[int]) -> Concepts:
    """The rows of CONCEPT that the data use; without such a table nothing is known beyond the ids.

    Raises:
        CrsRiskError: CONCEPT lacks a column.
    """
    if CONCEPT not in source.tables:
        return Concepts()
    missing = [name for name in CONCEPT_COLUMNS if name not in source.tables[CONCEPT]]
    if missing:
        raise CrsRiskError(
            f"CONCEPT has no column {', '.join(missing)}; accepted: CONCEPT as of OMOP CDM 5.4"
        )
    ids = pa.array(np.array(sorted(wanted), dtype=np.int64))
    found: dict[int, Concept] = {}
    for batch in source.batches(CONCEPT, CONCEPT_COLUMNS, ignore_bad_rows):
        concept, _ = whole_numbers(batch.column(0), batch.num_rows)
        used = pc.fill_null(pc.is_in(concept, ids), False)
        kept = batch.filter(used)
        cells = (texts(column, kept.num_rows).to_pylist() for column in kept.columns[1:])
        for key, *cell in zip(concept.filter(used).to_pylist(), *cells, strict=True):
            found[key] = Concept(*cell)
    return Concepts(MappingProxyType(found))


def _source_coding(text: str) -> str:
    text = text.replace(CODE_SEPARATOR, " ")  # one cell is one code
    return text if text.startswith(OWN_PREFIX) else f"|{text}"


def mapped(cells: pa.Array, value_of: Callable[[Any], str | None]) -> pa.Array:
    """A text for each cell by a function of its distinct values; null stays null."""
    distinct = cells.dictionary_encode()
    values = pa.array([value_of(one) for one in distinct.dictionary.to_pylist()], pa.string())
    return values.take(distinct.indices)
