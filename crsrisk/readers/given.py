"""Administrations of therapies among the records: the courses they open and the doses they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import pandas as pd

from crsrisk.readers.account import Account
from crsrisk.readers.facts import Facts
from crsrisk.readers.site_map import SiteMap
from crsrisk.readers.time_zero import CONTINUOUS, Administration, PatientCourses, Question, find_courses
from crsrisk.therapies import is_engager, therapies
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME
from crsrisk.values import number_or_none, rule_for

DOSE = "bsab_dose"
HOURS_OF = {"h": 1.0, "hr": 1.0, "hour": 1.0, "d": 24.0, "day": 24.0, "24h": 24.0}
DAILY_AMOUNT = "DAILY_AMOUNT: a continuous infusion was told by its rate; its dose is what runs in a day"
NOT_READ = "DOSE_NOT_READ: the only dose of a course has an amount that is none in mg or ug; it is not used"
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
    administrations, positions = _administrations(given, site), given["position"].tolist()
    amounts, known_therapies = given["value"].tolist(), {**therapies(), **site.registered}
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
        unread = {one.row for one in mine if isnan(one.amount_mg) and amounts[one.row].strip()}
        opened = {
            row
            for course in found.courses
            if is_engager(known_therapies[course.therapy])
            for row in course.others
        }
        account.adjust(NOT_READ, len(unread & opened))
        lookback_us = int(site.lookback_days * 24 * MICROSECONDS_PER_HOUR)
        ends = [*(course.index_us for course in found.courses[1:]), NO_LIMIT]
        for number, (course, end) in enumerate(zip(found.courses, ends, strict=True), start=1):
            course_id = f"{patient}-{number}"
            begin = course.index_us - lookback_us
            courses.append((patient, course_id, course.therapy, course.index_us, begin, end))
            doses.extend((row, course_id) for row in course.doses)
    rows = [row for row, _ in doses]
    of = [course_id for _, course_id in doses]
    told = given.iloc[rows].assign(
        course_id=pd.array(of, dtype="str"), target=DOSE, fixed="", rate="", rate_unit=""
    )
    therapy_of_course = {course_id: key for _, course_id, key, *_ in courses}
    continuous = [known_therapies[therapy_of_course[course_id]].route == CONTINUOUS for course_id in of]
    daily = [administrations[row].pace_mg_h * 24.0 for row in rows]
    running = np.array(continuous, dtype=bool) & ~np.isnan(daily)
    account.adjust(DAILY_AMOUNT, int(running.sum()))
    texts = pd.Series([f"{amount * 1000.0:.9g}" for amount in daily], index=told.index, dtype="str")
    told = told.assign(value=told["value"].mask(running, texts), unit=told["unit"].mask(running, "ug"))
    return Given(courses=_frame(courses), doses=told, questions=tuple(questions))


def _administrations(given: pd.DataFrame, site: SiteMap) -> list[Administration]:
    names = ("start_us", "target", "value", "unit", "comparator", "end_us", "rate", "rate_unit")
    columns = (given[name].tolist() for name in names)
    found = []
    for row, (start, product, value, unit, comparator, end, rate, rate_unit) in enumerate(
        zip(*columns, strict=True)
    ):
        unit = unit.strip() or site.units.get(DOSE, "")  # noqa: PLW2901
        amount = nan if comparator else _milligrams(value, unit)
        pace = _milligrams_per_hour(rate, rate_unit)
        if isnan(pace) and end != NOT_A_TIME and end > start:
            pace = amount / ((end - start) / MICROSECONDS_PER_HOUR)
        found.append(Administration(start, product, amount, end, row, pace))
    return found


def _milligrams(value: str, unit: str) -> float:
    """The amount in mg; nan when it is no plain and possible amount in mg or ug."""
    read, rule = number_or_none(value), rule_for(DOSE, unit)
    if read is None or read[1] or rule.refusal:
        return nan
    amount = read[0] * rule.scale + rule.shift
    return amount if rule.low <= amount <= rule.high else nan


def _milligrams_per_hour(rate: str, unit: str) -> float:
    """A rate such as 28 ug/d; nan when it is none of an amount by the hour or day."""
    amount, _, time = unit.strip().rpartition("/")
    hours = HOURS_OF.get(time.strip())
    return nan if hours is None else _milligrams(rate, amount) / hours


def _account(mine: list[Administration], found: PatientCourses, account: Account) -> None:
    """Fates of the administrations that give no event; doses get theirs where events are made."""
    doses = {row for course in found.courses for row in course.doses}
    others = {row for course in found.courses for row in course.others}
    account.fate("course", len(others - doses))
    stated = bool(found.courses) and found.stated
    for one in mine:
        if one.row not in doses and one.row not in others:
            account.fate("ignored" if one.amount_mg == 0.0 or stated else "duplicate")


def _frame(courses: list[tuple[str, str, str, int, int, int]]) -> pd.DataFrame:
    names = ("patient_id", "course_id", "therapy", "index_us", "begin_us", "next_us")
    table = pd.DataFrame(courses, columns=list(names))
    texts = dict.fromkeys(names[:3], "str")
    return table.astype(texts | dict.fromkeys(names[3:], "int64"))
