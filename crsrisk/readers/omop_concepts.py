"""What concept ids stand for: operators, sexes and units from our tables, codes and names from CONCEPT."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from crsrisk.data_files import rows
from crsrisk.errors import CrsRiskError
from crsrisk.readers.codes import OWN, codings
from crsrisk.readers.coding_systems import coding_systems
from crsrisk.readers.omop_columns import texts, whole_numbers
from crsrisk.readers.omop_source import OmopSource
from crsrisk.readers.omop_tables import (
    ANCESTOR_COLUMNS,
    CONCEPT,
    CONCEPT_ANCESTOR,
    CONCEPT_CLASS,
    CONCEPT_COLUMNS,
)
from crsrisk.readers.record import CODE_SEPARATOR

OMOP = "omop"
UCUM = "UCUM"
INGREDIENT = "Ingredient"
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
    """What is known of concept ids; empty without a CONCEPT table.

    ingredients: the only ingredient of a drug, by concept.
    """

    found: Mapping[int, Concept] = field(default_factory=dict)
    ingredients: Mapping[int, int] = field(default_factory=dict)

    def codes(self, concept: pa.Array, source_concept: pa.Array, source_value: pa.Array) -> pa.Array:
        """The codings of each row: standard concept, source concept, source value, ingredient; '' without any.

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
            mapped(concept, self._ingredient),
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

    def _ingredient(self, concept_id: int) -> str | None:
        found = self.ingredients.get(concept_id)
        return None if found is None else self._codings(found)

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


def read_concepts(source: OmopSource, wanted: Collection[int], drugs: Collection[int]) -> Concepts:
    """The rows of CONCEPT that the data use; without such a table nothing is known beyond the ids.

    Args:
        source: with or without CONCEPT and CONCEPT_ANCESTOR.
        wanted: ids in use.
        drugs: those of DRUG_EXPOSURE among them: packages and strengths, of which only the ingredient is known here.

    Raises:
        CrsRiskError: CONCEPT lacks a column.
    """
    there = source.tables.get(CONCEPT)
    if there is None:
        return Concepts()
    missing = [name for name in CONCEPT_COLUMNS if name not in there]
    if missing:
        raise CrsRiskError(
            f"CONCEPT has no column {', '.join(missing)}; accepted: CONCEPT as of OMOP CDM 5.4"
        )
    above = _above(source, drugs) if CONCEPT_CLASS in there else {}
    columns = (*CONCEPT_COLUMNS, *((CONCEPT_CLASS,) if above else ()))
    ids = sorted({*wanted, *(one for ancestors in above.values() for one in ancestors)})
    found: dict[int, Concept] = {}
    ingredients: set[int] = set()
    for batch in source.matching(CONCEPT, columns, CONCEPT_COLUMNS[0], ids):
        keys = whole_numbers(batch.column(0), batch.num_rows)[0].to_pylist()
        cells = [texts(column, batch.num_rows).to_pylist() for column in batch.columns[1:]]
        for key, name, vocabulary, code, *kind in zip(keys, *cells, strict=True):
            found[key] = Concept(name, vocabulary, code)
            if kind == [INGREDIENT]:
                ingredients.add(key)
    sole = {drug: only[0] for drug, all_ in above.items() if len(only := sorted(all_ & ingredients)) == 1}
    return Concepts(MappingProxyType(found), MappingProxyType({d: i for d, i in sole.items() if d != i}))


def _above(source: OmopSource, drugs: Collection[int]) -> Mapping[int, set[int]]:
    """Ancestors of drugs; empty without CONCEPT_ANCESTOR."""
    if any(name not in source.tables.get(CONCEPT_ANCESTOR, ()) for name in ANCESTOR_COLUMNS):
        return {}
    found: dict[int, set[int]] = {}
    for batch in source.matching(CONCEPT_ANCESTOR, ANCESTOR_COLUMNS, ANCESTOR_COLUMNS[1], sorted(drugs)):
        pairs = (whole_numbers(column, batch.num_rows)[0].to_pylist() for column in batch.columns)
        for ancestor, drug in zip(*pairs, strict=True):
            found.setdefault(drug, set()).add(ancestor)
    return found


def _source_coding(text: str) -> str:
    text = text.replace(CODE_SEPARATOR, " ")  # one cell is one code
    return text if text.startswith(OWN_PREFIX) else f"|{text}"


def mapped(cells: pa.Array, value_of: Callable[[Any], str | None]) -> pa.Array:
    """A text for each cell by a function of its distinct values; null stays null."""
    distinct = cells.dictionary_encode()
    values = pa.array([value_of(one) for one in distinct.dictionary.to_pylist()], pa.string())
    return values.take(distinct.indices)
