"""The value of a MEDS row as it was reported, from its 32-bit number and its text.

A number of 32 bits is read as the shortest decimal text that rounds to it, so that 38.4 stays 38.4. A text that is the
same number with more digits, or with a comparator, wins; one that is another number makes the row unusable.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crsrisk.values import number_or_none

CONTRADICTION = "BAD_RECORD: numeric_value and text_value are two numbers; accepted: one, or the same twice"


@dataclass(frozen=True)
class ReportedValues:
    """Values of rows. texts: '' when there is none; has_number: numeric_value is there; contradict: two numbers."""

    texts: pa.Array
    has_number: NDArray[np.bool_]
    contradict: NDArray[np.bool_]


def reported_values(numbers: pa.Array, texts: pa.Array) -> ReportedValues:
    """Values as reported.

    Args:
        numbers: floating, nulls and nan where there is none.
        texts: without nulls, '' where there is none.
    """
    there = pc.fill_null(pc.invert(pc.is_nan(numbers)), False)
    shortest = pc.if_else(there, numbers.cast(pa.string()), "")
    has_number: NDArray[np.bool_] = there.to_numpy(zero_copy_only=False)
    has_text: NDArray[np.bool_] = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
    differs = pc.not_equal(shortest, texts).to_numpy(zero_copy_only=False)
    both = np.flatnonzero(has_number & has_text & differs)
    text_wins = has_text & ~has_number
    contradict = np.zeros(len(has_number), dtype=np.bool_)
    if both.size:
        read = _read(texts.take(pa.array(both)))
        number32 = numbers.take(pa.array(both)).to_numpy(zero_copy_only=False).astype(np.float32)
        with np.errstate(over="ignore"):
            same = read.astype(np.float32) == number32
        text_wins[both] = same
        contradict[both] = ~np.isnan(read) & ~same
    chosen = pc.if_else(pa.array(text_wins), texts, shortest)
    return ReportedValues(chosen, has_number, contradict)


def _read(texts: pa.Array) -> NDArray[np.float64]:
    """Texts as numbers, nan where they are none; each distinct spelling once."""
    coded = texts.dictionary_encode()
    read = [number_or_none(text) for text in coded.dictionary.to_pylist()]
    numbers = np.array([np.nan if pair is None else pair[0] for pair in read], dtype=np.float64)
    return numbers[coded.indices.to_numpy()]
