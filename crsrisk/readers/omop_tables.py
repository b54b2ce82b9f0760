"""The tables of OMOP CDM 5.4 that tell of a course: which column holds what.

Names of columns are those of the CDM 5.4 specification (omop_cdm in docs/sources.bib). A column that only some sites
have may be absent; `known_datetime` is no column of the CDM: the time at which a result was known, which the CDM has
no place for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

KNOWN = "known_datetime"


@dataclass(frozen=True, kw_only=True)
class OmopTable:
    """One table of events: the kind of its records and its columns, '' where it has none.

    day_is_enough: a date without a time can be used.
    """

    name: str
    kind: str
    key: str
    concept: str = ""
    source_concept: str = ""
    source_value: str = ""
    day: str
    moment: str
    end_day: str = ""
    end_moment: str = ""
    value: str = ""
    value_text: str = ""
    value_source: str = ""
    value_concept: str = ""
    operator: str = ""
    unit: str = ""
    unit_source: str = ""
    sig: str = ""
    day_is_enough: bool = False

    @property
    def what(self) -> str:
        """The table as the account names its rows."""
        return f"{self.name.upper()} row"

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read where they are there."""
        return ("person_id", KNOWN, *(name for name in self._named if name))

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns without which the table can't be read; of day and moment one is enough."""
        return tuple(name for name in ("person_id", self.key, self.concept) if name)

    @property
    def concept_columns(self) -> tuple[str, ...]:
        """Columns that hold ids of CONCEPT, to be looked up there."""
        names = (self.concept, self.source_concept, self.unit, self.value_concept)
        return tuple(name for name in names if name)

    @property
    def _named(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                (
                    self.key, self.concept, self.source_concept, self.source_value, self.day, self.moment,
                    self.end_day, self.end_moment, self.value, self.value_text, self.value_source,
                    self.value_concept, self.operator, self.unit, self.unit_source, self.sig,
                )
            )
        )  # fmt: skip


def _event(name: str, kind: str, stem: str, **more: Any) -> OmopTable:
    """A table whose columns are called after its stem, such as measurement_concept_id."""
    plain = OmopTable(
        name=name,
        kind=kind,
        key=f"{name}_id",
        concept=f"{stem}_concept_id",
        source_concept=f"{stem}_source_concept_id",
        source_value=f"{stem}_source_value",
        day=f"{stem}_date",
        moment=f"{stem}_datetime",
    )
    return replace(plain, **more)


MEASUREMENT = _event(
    "measurement", "result", "measurement", value="value_as_number", value_source="value_source_value",
    value_concept="value_as_concept_id", operator="operator_concept_id", unit="unit_concept_id",
    unit_source="unit_source_value",
)  # fmt: skip
OBSERVATION = _event(
    "observation", "result", "observation", value="value_as_number", value_text="value_as_string",
    value_source="value_source_value", value_concept="value_as_concept_id", unit="unit_concept_id",
    unit_source="unit_source_value",
)  # fmt: skip
DRUG_EXPOSURE = _event(
    "drug_exposure", "drug", "drug", day="drug_exposure_start_date", moment="drug_exposure_start_datetime",
    end_day="drug_exposure_end_date", end_moment="drug_exposure_end_datetime", value="quantity",
    unit_source="dose_unit_source_value", sig="sig",
)  # fmt: skip
PROCEDURE_OCCURRENCE = _event(
    "procedure_occurrence", "procedure", "procedure", end_day="procedure_end_date",
    end_moment="procedure_end_datetime",
)  # fmt: skip
DEVICE_EXPOSURE = _event(
    "device_exposure", "device", "device", day="device_exposure_start_date",
    moment="device_exposure_start_datetime", end_day="device_exposure_end_date",
    end_moment="device_exposure_end_datetime",
)  # fmt: skip
CONDITION_OCCURRENCE = _event(
    "condition_occurrence", "condition", "condition", day="condition_start_date",
    moment="condition_start_datetime", day_is_enough=True,
)  # fmt: skip
DEATH = OmopTable(name="death", kind="result", key="", day="death_date", moment="death_datetime")
VISIT_OCCURRENCE = OmopTable(
    name="visit_occurrence", kind="stay", key="visit_occurrence_id", day="visit_start_date",
    moment="visit_start_datetime", end_day="visit_end_date", end_moment="visit_end_datetime", day_is_enough=True,
)  # fmt: skip
OBSERVATION_PERIOD = OmopTable(
    name="observation_period", kind="stay", key="observation_period_id", day="observation_period_start_date",
    moment="observation_period_start_datetime", end_day="observation_period_end_date",
    end_moment="observation_period_end_datetime", day_is_enough=True,
)  # fmt: skip

TABLES: Mapping[str, OmopTable] = MappingProxyType(
    {
        table.name: table
        for table in (
            OBSERVATION_PERIOD, VISIT_OCCURRENCE, CONDITION_OCCURRENCE, PROCEDURE_OCCURRENCE, DRUG_EXPOSURE,
            DEVICE_EXPOSURE, MEASUREMENT, OBSERVATION, DEATH,
        )
    }
)  # fmt: skip
"""Tables of events by name, in the order in which they are read."""

PERSON = "person"
PERSON_COLUMNS = (
    "person_id", "gender_concept_id", "gender_source_value", "year_of_birth", "month_of_birth", "day_of_birth",
    "birth_datetime", "care_site_id", "person_source_value",
)  # fmt: skip
CARE_SITE = "care_site"
CARE_SITE_COLUMNS = ("care_site_id", "care_site_name", "care_site_source_value")
CONCEPT = "concept"
CONCEPT_COLUMNS = ("concept_id", "concept_name", "vocabulary_id", "concept_code")
CONCEPT_CLASS = "concept_class_id"
CONCEPT_ANCESTOR = "concept_ancestor"
ANCESTOR_COLUMNS = ("ancestor_concept_id", "descendant_concept_id")

READ = frozenset({*TABLES, PERSON, CARE_SITE, CONCEPT, CONCEPT_ANCESTOR})
"""Every table that is looked at; what else a source holds is no concern of ours."""
