"""The tables of OMOP concepts: complete, unique, sourced, and of use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crsrisk.analytes import analytes
from crsrisk.courses_read import SEXES
from crsrisk.data_files import rows
from crsrisk.readers.omop_concepts import stated, units
from crsrisk.units import factor
from crsrisk.values import COMPARATORS

BIBLIOGRAPHY = Path(__file__).parents[4] / "docs" / "sources.bib"
FILES = ("omop_units.csv", "omop_concepts.csv")


@pytest.mark.parametrize("file", FILES)
def test_every_concept_stands_once_with_a_name_and_a_source_that_resolves(file):
    known = set(
        re.findall(r"^@\w+\{([^,\s]+),", BIBLIOGRAPHY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    told = rows(file)
    assert len({row["concept_id"] for row in told}) == len(told)
    assert [row for row in told if not row["name"] or row["source"] not in known] == []


@pytest.mark.parametrize("unit", sorted(set(units().values())))
def test_every_unit_is_one_that_some_variable_may_have(unit):
    assert any(factor(variable, unit) is not None for variable in analytes())


def test_operators_and_sexes_are_those_that_records_may_have():
    assert set(stated("operator").values()) == set(COMPARATORS)
    assert set(stated("sex").values()) == set(SEXES)
