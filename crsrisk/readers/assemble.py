"""From the records of some patients to courses, events, grades and outcomes, by the rules of a cohort folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.readers import facts as patient_facts
from crsrisk.readers.account import Account
from crsrisk.readers.codes import meaning
from crsrisk.readers.corrections import settle
from crsrisk.readers.facts import YEAR_OF_BIRTH, Facts
from crsrisk.readers.given import NO_LIMIT, Given, find_given
from crsrisk.readers.reported import report
from crsrisk.readers.site_map import SiteMap
from crsrisk.readers.time_zero import Question
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME
from crsrisk.values import number_or_none, rule_for

NO_TIME = "NO_TIME: no time; accepted: ISO 8601 with an offset"
FUTURE = "FUTURE: later than the conversion; accepted: what has happened; correct the year or the offset"
CONTRADICTING = (
    "CONTRADICTING_CODES: codings of different meanings; accepted: one meaning, or a code of the site map"
)
BAD_GRADE = "BAD_GRADE: accepted: a whole number from 0 to 5"
ABOUT_PERSON = ("person", "stay", "condition")
COURSE_COLUMNS = (
    "course_id", "patient_id", "therapy", "index_us", "site", "indication", "age", "sex", "weight",
    "follow_up_hours",
)  # fmt: skip
GRADE_COLUMNS = ("course_id", "time_us", "grade", "system")
OUTCOME_COLUMNS = ("course_id", "peak_grade", "system", "onset_hours", "severe_hours")


@dataclass(frozen=True)
class Part:
    """Tables of some patients as in a cohort folder, with times in microseconds since 1970 (`*_us`)."""

    courses: pd.DataFrame
    events: pd.DataFrame
    grades: pd.DataFrame
    outcomes: pd.DataFrame
    questions: Sequence[tuple[str, Question]]


def assemble(records: pa.Table, site: SiteMap, account: Account, now_us: int = NO_LIMIT) -> Part:
    """Courses and events of the patients whose records these are.

    Args:
        records: of the schema of records, all of each patient.
        site: the site map.
        account: takes the fate of every record.
        now_us: of the conversion; what lies later has not happened.
    """
    kept = settle(records.to_pandas(), account)
    meanings = {codes: meaning(codes, site) for codes in kept["codes"].unique()}
    meant = [("", "", "") if (one := meanings[codes]) is None else one for codes in kept["codes"].tolist()]
    kind, target, fixed = zip(*meant, strict=True) if meant else ((), (), ())
    kept = kept.assign(
        meant=pd.array(kind, dtype="str"),
        target=pd.array(target, dtype="str"),
        fixed=pd.array(fixed, dtype="str"),
        record=np.arange(len(kept)),
    )
    person = kept["kind"].isin(ABOUT_PERSON) | kept["meant"].isin(("person", "disease"))
    known = patient_facts.collect(kept[person], meanings, account)
    rest = _timed(kept[~person], now_us, account)
    therapy = rest["meant"].isin(("product", "therapy"))
    given = find_given(rest[therapy], kept["patient_id"].unique(), known, site, account)
    placed = _placed(rest[~therapy], given.courses, account)
    crs = placed["meant"].isin(("grade", "peak_grade", "onset", "severe"))
    grades, outcomes = _about_crs(placed[crs], account)
    variables = pd.concat([placed[~crs], given.doses], ignore_index=True)
    events = report(variables, given.courses, site, account)
    courses = _course_table(given, known, kept, events, site, now_us, account)
    return Part(courses, events, grades, outcomes, given.questions)


def _timed(records: pd.DataFrame, now_us: int, account: Account) -> pd.DataFrame:
    """Records with one meaning and a time that has come, and that are not to be ignored."""
    ignored = records["meant"] == "ignore"
    account.fate("ignored", int(ignored.sum()))
    wrong = {
        CONTRADICTING: records["meant"] == "contradicting",
        NO_TIME: records["start_us"] == NOT_A_TIME,
        FUTURE: records["start_us"] > now_us,
    }
    good = ~ignored
    for reason, rows in wrong.items():
        _quarantine(records[good & rows], reason, account)
        good &= ~rows
    return records[good]


def _quarantine(records: pd.DataFrame, reason: str, account: Account) -> None:
    for position, patient in zip(records["position"].tolist(), records["patient_id"].tolist(), strict=True):
        account.quarantine_record(position, patient, reason)


def _placed(records: pd.DataFrame, courses: pd.DataFrame, account: Account) -> pd.DataFrame:
    """The records with the course_id of each course they belong to: from its lookback to the next course."""
    narrow = records[["patient_id", "start_us"]].assign(place=np.arange(len(records)))
    joined = narrow.merge(
        courses[["patient_id", "course_id", "index_us", "begin_us", "next_us"]], on="patient_id"
    )
    joined = joined[(joined["start_us"] >= joined["begin_us"]) & (joined["start_us"] < joined["next_us"])]
    placed = records.iloc[joined["place"].to_numpy()].reset_index(drop=True)
    placed = placed.assign(course_id=joined["course_id"].array, index_us=joined["index_us"].to_numpy())
    account.fate("outside", len(records) - placed["record"].nunique())
    return placed


def _about_crs(placed: pd.DataFrame, account: Account) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grades over time, and peaks with the hours of onset and of grade 3, of the course in which they lie."""
    own = placed[placed["start_us"] >= placed["index_us"]]
    before = ~placed["record"].isin(own["record"])
    account.fate("outside", placed.loc[before, "record"].nunique())
    graded = own["meant"].isin(("grade", "peak_grade"))
    grade = own["value"].map(_grade)
    wrong = graded & grade.isna()
    _quarantine(own[wrong], BAD_GRADE, account)
    own = own.assign(grade=grade, hours=(own["start_us"] - own["index_us"]) / MICROSECONDS_PER_HOUR)[~wrong]
    account.fate("grade", len(own))
    grades = own[own["meant"] == "grade"].rename(columns={"start_us": "time_us", "target": "system"})
    outcomes = _outcomes(own)
    order = ["course_id", "time_us", "system", "grade"]
    return grades[list(GRADE_COLUMNS)].sort_values(order, ignore_index=True), outcomes


def _grade(text: str) -> float:
    read = number_or_none(text)
    return read[0] if read is not None and not read[1] and read[0] in range(6) else nan


def _outcomes(own: pd.DataFrame) -> pd.DataFrame:
    key = ["course_id", "target"]
    table = own[own["meant"] == "peak_grade"].groupby(key)["grade"].max().rename("peak_grade").to_frame()
    for meant, column in (("onset", "onset_hours"), ("severe", "severe_hours")):
        table[column] = own[own["meant"] == meant].groupby(key)["hours"].min()
    table = table.reset_index().rename(columns={"target": "system"})
    return table[list(OUTCOME_COLUMNS)].sort_values(["course_id", "system"], ignore_index=True)


def _course_table(
    given: Given,
    known: Mapping[str, Facts],
    kept: pd.DataFrame,
    events: pd.DataFrame,
    site: SiteMap,
    now_us: int,
    account: Account,
) -> pd.DataFrame:
    courses = given.courses
    facts = [known.get(patient, Facts()) for patient in courses["patient_id"].tolist()]
    happened = kept[(kept["kind"] != "stay") & (kept["start_us"] <= now_us)]
    last = happened[["start_us", "end_us"]].max(axis=1).groupby(happened["patient_id"]).max()
    last_us = last.reindex(courses["patient_id"]).fillna(NOT_A_TIME).to_numpy(dtype=np.int64)
    pairs = zip(facts, courses["index_us"].tolist(), last_us.tolist(), strict=True)
    until = np.array([one.observed_until(index, latest) for one, index, latest in pairs], dtype=np.int64)
    until = np.minimum.reduce([until, courses["next_us"].to_numpy(), _death(events, courses)]).clip(
        max=now_us
    )
    index_us = courses["index_us"].to_numpy()
    measured = {name: _latest_baseline(events, courses, name) for name in ("age", "weight")}
    born = np.array([one.age_years(at) for one, at in zip(facts, index_us.tolist(), strict=True)])
    from_birth = np.isnan(measured["age"]) & ~np.isnan(born)
    account.adjust(
        YEAR_OF_BIRTH,
        sum(one.only_year and used for one, used in zip(facts, from_birth.tolist(), strict=True)),
    )
    return courses.assign(
        site=pd.array([one.stated.get("site", "") or site.site for one in facts], dtype="str"),
        indication=pd.array([one.stated.get("indication", "") for one in facts], dtype="str"),
        age=np.where(from_birth, born, measured["age"]),
        sex=pd.array([one.stated.get("sex", "unknown") for one in facts], dtype="str"),
        weight=measured["weight"],
        follow_up_hours=np.maximum((until - index_us) / MICROSECONDS_PER_HOUR, 0.0),
    )[list(COURSE_COLUMNS)]


def _death(events: pd.DataFrame, courses: pd.DataFrame) -> NDArray[np.int64]:
    """Time of death of each course, after everything where none is told."""
    told = events[(events["variable"] == "death") & events["value"].isin(("1", "true"))]
    return (
        courses["course_id"]
        .map(told.groupby("course_id")["time_us"].min())
        .fillna(NO_LIMIT)
        .to_numpy(np.int64)
    )


def _latest_baseline(events: pd.DataFrame, courses: pd.DataFrame, variable: str) -> np.ndarray:
    """The latest value of a variable up to the time zero of each course in its canonical unit, nan without one."""
    mine = events[events["variable"] == variable].merge(courses[["course_id", "index_us"]], on="course_id")
    mine = mine[(mine["available_us"] <= mine["index_us"]) & (mine["comparator"] == "")]
    mine = mine.sort_values(["time_us", "available_us"], kind="stable")
    latest = mine.groupby("course_id").last()
    found = {}
    for course, value, unit in zip(latest.index, latest["value"], latest["unit"], strict=True):
        read, rule = number_or_none(value), rule_for(variable, unit)
        if read is not None and not read[1]:
            found[course] = round((read[0] * rule.scale + rule.shift) * 1e9) / 1e9
    return courses["course_id"].map(found).to_numpy(dtype=np.float64)
