"""Facts about patients: sex, birth, site, indication, diseases, and how long they were observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from math import nan

import pandas as pd

from crsrisk.courses_read import SEXES
from crsrisk.readers.account import Account
from crsrisk.readers.codes import Meaning
from crsrisk.times import MICROSECONDS_PER_HOUR

CONFLICT = (
    "CONFLICT: the source states this fact of a patient in several ways; accepted: one; correct the source"
)
BAD_SEX = f"BAD_SEX: accepted: {', '.join(SEXES)}"
BAD_BIRTH_DATE = "BAD_BIRTH_DATE: accepted: YYYY-MM-DD, YYYY-MM or YYYY"
YEAR_OF_BIRTH = "AGE_FROM_YEAR: only the year of birth is known; the age may be off by less than a year"
NOT_OF_A_PERSON = (
    "NOT_SUPPORTED: a condition that stands for no disease; accepted: results and administrations for it"
)
ANSWERED = (
    "BAD_FLAG: a device or a disease with an answer; accepted: no value, true or 1; or a code of the answer"
)
SAID = frozenset({"", "true", "1", "1.0", "yes"})
"""Values with which a code of a device or a disease says that it is there."""
_HOURS_PER_YEAR = 24.0 * 365.25


@dataclass
class Facts:
    """What the source says of one patient; empty where it says nothing. stay_ends: of stays that ended."""

    stated: dict[str, str] = field(default_factory=dict)
    diseases: set[str] = field(default_factory=set)
    stay_ends: list[int] = field(default_factory=list)

    def observed_until(self, index_us: int, last_us: int) -> int:
        """End of observation of a course: of the last stay that reaches it, at least the last record.

        Args:
            index_us: time zero.
            last_us: time of the patient's last record.
        """
        return max([last_us, *(end for end in self.stay_ends if end >= index_us)])

    def age_years(self, at_us: int) -> float:
        """Age at a moment, nan when the birth is not known; a missing month or day is taken as the middle."""
        birth = _birth(self.stated.get("birth_date", ""))
        if birth is None:
            return nan
        born_us = (birth.toordinal() - date(1970, 1, 1).toordinal()) * 24 * MICROSECONDS_PER_HOUR
        return round((at_us - born_us) / MICROSECONDS_PER_HOUR / _HOURS_PER_YEAR, 2)

    @property
    def only_year(self) -> bool:
        """Whether the birth is known by its year alone."""
        return len(self.stated.get("birth_date", "")) == 4


def collect(
    records: pd.DataFrame, meanings: Mapping[str, Meaning | None], account: Account
) -> Mapping[str, Facts]:
    """Facts by patient.

    Args:
        records: those of kind person, stay and condition that count; columns of `Record`.
        meanings: meaning by `codes`.
        account: takes their fates.
    """
    found: dict[str, Facts] = {}
    told: dict[tuple[str, str], list[tuple[str, str]]] = {}
    names = ("position", "kind", "patient_id", "codes", "value", "end_us")
    columns = (records[name].tolist() for name in names)
    for position, kind, patient, codes, value, end_us in zip(*columns, strict=True):
        facts = found.setdefault(patient, Facts())
        meaning = meanings[codes]
        if kind == "stay":
            facts.stay_ends.append(end_us)
            account.fate("fact")
        elif meaning is not None and meaning.kind == "disease":
            if value.strip().casefold() not in SAID:
                account.quarantine_record(position, patient, ANSWERED)
                continue
            facts.diseases.add(meaning.target)
            account.fate("fact")
        elif meaning is not None and meaning.kind == "person":
            told.setdefault((patient, meaning.target), []).append((position, value.strip()))
        elif meaning is None or meaning.kind == "ignore":
            account.fate("ignored")
        else:
            account.quarantine_record(position, patient, NOT_OF_A_PERSON)
    for (patient, fact), statements in told.items():
        _settle_fact(found[patient], patient, fact, statements, account)
    return found


def _settle_fact(
    facts: Facts, patient: str, fact: str, statements: list[tuple[str, str]], account: Account
) -> None:
    values = {value for _, value in statements}
    reason = CONFLICT if len(values) > 1 else _reason(fact, values)
    if reason:
        for position, _ in statements:
            account.quarantine_record(position, patient, reason)
        return
    account.fate("fact")
    account.fate("duplicate", len(statements) - 1)
    facts.stated[fact] = statements[0][1]


def _reason(fact: str, values: set[str]) -> str:
    (value,) = values
    if fact == "sex" and value not in SEXES:
        return BAD_SEX
    if fact == "birth_date" and _birth(value) is None:
        return BAD_BIRTH_DATE
    return ""


def _birth(text: str) -> date | None:
    """Date of birth; the middle of the month or year when only these are known."""
    middle = {4: f"{text}-07-01", 7: f"{text}-15"}.get(len(text), text)
    try:
        return date.fromisoformat(middle) if len(middle) == 10 else None
    except ValueError:
        return None
