"""Administrations of therapies among the records: the courses they open and the doses they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import nan

import pandas as pd

from crsrisk.readers.account import Account
from crsrisk.readers.facts import Facts
from crsrisk.readers.site_map import SiteMap
from crsrisk.readers.time_zero import Administration, PatientCourses, Question, find_courses
from crsrisk.times import MICROSECONDS_PER_HOUR
from crsrisk.values import number_or_none, rule_for

DOSE = "bsab_dose"
NO_LIMIT = 2**62
"""Microseconds after every course: the last course of a patient ends nowhere."""


@dataclass(frozen=True)
class Given:
    """Courses and doses.

    courses: patient_id, course_id, therapy, index_us, begin_us (records from then on belong to it), next_us (index of
        the patient's next course), sorted by patient_id and index_us.
    doses: the records that are doses of an engager, with course_id.
    questions: patient_id and what has to be said.
    """

    courses: pd.DataFrame
    doses: pd.DataFrame
    questions: tuple[tuple[str, Question], ...]


def find_given(
    given: pd.DataFrame,
    patients: Collection[str],
    known: Mapping[str, Facts],
    site: SiteMap,
    account: Account,
) -> Given:
    """Courses and doses of all patients.

    Args:
        given: records of therapies, with the columns `meant` and `target`.
        patients: everyone with a record; of these the site may state a time zero.
        known: facts by patient.
        site: the site map.
        account: takes the fate of every record of `given`.
    """
    rows_of = {str(patient): rows for patient, rows in given.groupby("patient_id").indices.items()}
    courses: list[tuple[str, str, str, int, int, int]] = []
    doses: list[tuple[int, str]] = []
    questions: list[tuple[str, Question]] = []
    administrations, positions = _administrations(given), given["position"].tolist()
    for patient in sorted({*rows_of, *(site.courses.keys() & set(patients))}):
        mine = [administrations[row] for row in rows_of.get(patient, ())]
        facts = known.get(patient, Facts())
        found = find_courses(mine, facts.diseases, site, patient)
        if found.question is not None:
            questions.append((patient, found.question))
            for one in mine:
                account.quarantine_record(
                    positions[one.row], patient, f"{found.question.code}: {found.question.text}"
                )
            continue
        _account(mine, found, account)
        lookback_us = int(site.lookback_days * 24 * MICROSECONDS_PER_HOUR)
        ends = [*(course.index_us for course in found.courses[1:]), NO_LIMIT]
        for number, (course, end) in enumerate(zip(found.courses, ends, strict=True), start=1):
            course_id = f"{patient}-{number}"
            begin = course.index_us - lookback_us
            courses.append((patient, course_id, course.therapy, course.index_us, begin, end))
            doses.extend((row, course_id) for row in course.doses)
    rows = [row for row, _ in doses]
    of = [course_id for _, course_id in doses]
    return Given(
        courses=_frame(courses),
        doses=given.iloc[rows].assign(course_id=pd.array(of, dtype="str"), target=DOSE, fixed=""),
        questions=tuple(questions),
    )


def _administrations(given: pd.DataFrame) -> list[Administration]:
    columns = (given[name].tolist() for name in ("start_us", "target", "value", "unit", "end_us"))
    return [
        Administration(start, product, _milligrams(value, unit), end, row)
        for row, (start, product, value, unit, end) in enumerate(zip(*columns, strict=True))
    ]


def _milligrams(value: str, unit: str) -> float:
    """The amount in mg; nan when it is no plain amount in mg or ug."""
    read = number_or_none(value)
    rule = rule_for(DOSE, unit.strip())
    if read is None or read[1] or rule.refusal:
        return nan
    return read[0] * rule.scale + rule.shift


def _account(mine: list[Administration], found: PatientCourses, account: Account) -> None:
    """Fates of the administrations that give no event; doses get theirs where events are made."""
    doses = {row for course in found.courses for row in course.doses}
    others = {row for course in found.courses for row in course.others}
    account.fate("course", len(others - doses))
    for one in mine:
        if one.row not in doses and one.row not in others:
            account.fate("ignored" if one.amount_mg == 0.0 else "duplicate")


def _frame(courses: list[tuple[str, str, str, int, int, int]]) -> pd.DataFrame:
    names = ("patient_id", "course_id", "therapy", "index_us", "begin_us", "next_us")
    table = pd.DataFrame(courses, columns=list(names))
    texts = dict.fromkeys(names[:3], "str")
    return table.astype(texts | dict.fromkeys(names[3:], "int64"))
