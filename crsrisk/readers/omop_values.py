"""What a row of an OMOP table says: value, unit and comparator as reported, or an amount or a rate of a drug."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.readers.drugs import is_rate_unit
from crsrisk.readers.omop_columns import NULL_NUMBERS, Cells, texts, whole_numbers
from crsrisk.readers.omop_concepts import Concepts, mapped, operators
from crsrisk.readers.omop_tables import OmopTable
from crsrisk.values import comparator_codes, parse_numbers

BAD_OPERATOR = (
    "BAD_COMPARATOR: the concept is no operator; accepted: 4171754 (<=), 4171755 (>=), 4171756 (<), 4172703 (=), "
    "4172704 (>)"
)
DIRECTION = r"^(?P<comparator><=|>=|<|>)?\s*(?P<number>\d+(?:\.\d+)?)\s+(?P<unit>[^\s\d]\S*)$"
"""A `sig` that is an amount and its unit, '8 mg' or '0.1 ug/kg/min', and nothing else."""

RATE = "rate"


@dataclass(frozen=True)
class Values:
    """Texts of the rows of a batch, shape (n,) each, as in `Record`; and which rows can't be read."""

    value: pa.Array
    unit: pa.Array
    comparator: pa.Array
    rate: pa.Array
    rate_unit: pa.Array
    is_rate: NDArray[np.bool_]
    refused: tuple[tuple[NDArray[np.bool_], str], ...] = ()


def read_values(table: OmopTable, cells: Cells, concepts: Concepts) -> Values:
    """Values of a batch; '' throughout for kinds that have none, '1' for a death."""
    nothing = pa.repeat(pa.scalar(""), cells.rows)
    no_rate = np.zeros(cells.rows, dtype=np.bool_)
    if table.kind == "result" and table.value:
        return _result(table, cells, concepts, nothing, no_rate)
    if table.kind == "drug":
        return _drug(table, cells, nothing)
    value = pa.repeat(pa.scalar("1"), cells.rows) if table.kind == "result" else nothing
    return Values(value, nothing, nothing, nothing, nothing, no_rate)


def _result(
    table: OmopTable, cells: Cells, concepts: Concepts, nothing: pa.Array, no_rate: NDArray[np.bool_]
) -> Values:
    """The number; without one the text, the source's text or the name of the answer, whatever is there first."""
    value = texts(cells.get(table.value), cells.rows, NULL_NUMBERS)
    written = cells.text(table.value_source)
    for other in (cells.text(table.value_text), written, concepts.names(cells.ids(table.value_concept))):
        value = pc.if_else(pc.equal(value, ""), other, value)
    operator, wrong = whole_numbers(cells.get(table.operator), cells.rows)
    comparator, unknown = operators(operator)
    stated = pc.fill_null(pc.not_equal(operator, 0), False)
    value = _as_written(value, comparator, stated, written)
    unit = concepts.unit_texts(cells.ids(table.unit), cells.text(table.unit_source))
    refused = wrong | unknown.to_numpy(zero_copy_only=False)
    return Values(value, unit, comparator, nothing, nothing, no_rate, ((refused, BAD_OPERATOR),))


def _as_written(value: pa.Array, comparator: pa.Array, stated: pa.Array, written: pa.Array) -> pa.Array:
    """Value as the source wrote it, where its text is the same number: 0.70 says more than 0.7.

    Many sites keep '<0.5' as 0.5 and leave the operator empty: the text then says it. A stated operator that the text
    contradicts counts, and so does a number that the text does not repeat: it may be in another unit.
    """
    number, text = parse_numbers(value), parse_numbers(written)
    signs = comparator_codes(comparator.to_pylist())
    free = (text.comparators == 0) | ~stated.to_numpy(zero_copy_only=False) | (text.comparators == signs)
    return pc.if_else(pa.array((number.values == text.values) & free), written, value)  # nan equals nothing


def _drug(table: OmopTable, cells: Cells, nothing: pa.Array) -> Values:
    """An amount, or a rate where the unit is per time; from the directions where no quantity is given."""
    quantity = texts(cells.get(table.value), cells.rows, NULL_NUMBERS)
    unit = cells.text(table.unit_source)
    directions = pc.extract_regex(cells.text(table.sig), DIRECTION)
    use = pc.and_(pc.equal(quantity, ""), pc.is_valid(directions))
    value, comparator = quantity, nothing
    if pc.any(use).as_py():
        number, name, sign = (pc.struct_field(directions, part) for part in ("number", "unit", "comparator"))
        value = pc.if_else(use, number, value)
        unit = pc.if_else(use, name, unit)
        comparator = pc.if_else(use, pc.fill_null(sign, ""), nothing)
    rate = pc.equal(mapped(unit, lambda name: RATE if is_rate_unit(name) else ""), RATE)
    return Values(
        value=pc.if_else(rate, "", value),
        unit=pc.if_else(rate, "", unit),
        comparator=comparator,
        rate=pc.if_else(rate, value, ""),
        rate_unit=pc.if_else(rate, unit, ""),
        is_rate=rate.to_numpy(zero_copy_only=False),
    )
