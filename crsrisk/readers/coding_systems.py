"""Names of code systems in HL7 v2 and MEDS, and the FHIR systems they stand for; read from `coding_systems.csv`."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from crsrisk.data_files import rows


class CodingSystem(NamedTuple):
    """A code system.

    system: its FHIR URI, as records carry it.
    kind: kind of record that its codes make by themselves: `drug`, `procedure`, `condition`; '' for any.
    """

    system: str
    kind: str


@cache
def coding_systems(format_: str) -> Mapping[str, CodingSystem]:
    """The systems that a format (`hl7v2`, `meds`) names, by name in upper case.

    >>> coding_systems("hl7v2")["LN"].system
    'http://loinc.org'
    """
    found = {
        row["name"]: CodingSystem(row["system"], row["kind"])
        for row in rows("coding_systems.csv")
        if row["format"] == format_
    }
    return MappingProxyType(found)
