"""Records placed in courses, as events: by the same rules as a cohort folder, the rejected ones in quarantine."""

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.events import ReportedEvents, sort_out
from crsrisk.readers.account import Account
from crsrisk.readers.drugs import is_drug
from crsrisk.readers.facts import ANSWERED, SAID
from crsrisk.readers.given import DOSE
from crsrisk.readers.record import CODE_SEPARATOR
from crsrisk.readers.site_map import SiteMap
from crsrisk.times import NOT_A_TIME, hours_between
from crsrisk.values import comparator_codes, parse_numbers

UNIT_FROM_MAP = "UNIT_FROM_MAP: no unit came; the site map states it"
PRELIMINARY = "PRELIMINARY: no final version came"
AVAILABLE_BEFORE = "AVAILABLE_BEFORE_SPECIMEN: known from the time of the specimen on"
REPEAT_US = 12 * 3_600_000_000
"""A rate or a device that goes on is told again every 12 hours, since grading believes no reading for ever."""
LONGEST_US = 60 * 24 * 3_600_000_000
"""Periods longer than 60 days are told once: an end that somebody forgot."""
LASTING = ("resp_support",)
PRESSORS = frozenset(
    {"norepinephrine_rate", "epinephrine_rate", "phenylephrine_rate", "dopamine_rate", "vasopressin_rate"}
)
PRESSOR_WITHOUT_RATE = (
    "vasopressors were given at a rate that can't be used: grades of these patients can be too low; deliver rates in "
    "an accepted unit (see quarantine.csv)"
)

EVENT_COLUMNS = (
    "course_id", "time_us", "available_us", "variable", "value", "unit", "comparator", "source_id",
)  # fmt: skip


def report(placed: pd.DataFrame, courses: pd.DataFrame, site: SiteMap, account: Account) -> pd.DataFrame:
    """Events of the courses, sorted by course_id, time, variable, availability and value.

    Args:
        placed: records with course_id, target ('' for an unknown code) and fixed; a record may stand in several
            courses.
        courses: course_id and index_us.
        site: units of variables that arrive without one.
        account: takes the fate of every record once.
    """
    told = _as_events(placed, site, account)
    ids = pd.Index(courses["course_id"]).sort_values()
    index_us = courses.set_index("course_id")["index_us"].reindex(ids).to_numpy(dtype=np.int64)
    course = ids.get_indexer(pd.Index(told["course_id"])).astype(np.int64)
    texts = {name: _coded(told[name]) for name in ("variable", "unit", "source_id", "comparator")}
    start, known = told["start_us"].to_numpy(), told["known_us"].to_numpy()
    available = np.where(known == NOT_A_TIME, start, known)
    reported = ReportedEvents(
        course=course,
        hours=hours_between(index_us[course], start),
        available_hours=hours_between(index_us[course], available),
        variable=texts["variable"][0],
        variables=texts["variable"][1],
        unit=texts["unit"][0],
        units=texts["unit"][1],
        numbers=parse_numbers(pa.array(told["value"].to_numpy(dtype=object), pa.string())),
        comparators=comparator_codes(texts["comparator"][1])[texts["comparator"][0]],
        source=texts["source_id"][0],
        row=np.arange(len(told)),
    )
    decided = sort_out(reported, None)
    _account(told, decided.reasons, decided.unknown, decided.duplicate, account)
    account.adjust(AVAILABLE_BEFORE, decided.moved)
    kept = np.sort(np.concatenate((decided.order, np.flatnonzero(decided.unknown))))
    events = told.assign(time_us=start, available_us=np.maximum(available, start)).iloc[kept]
    order = ["course_id", "time_us", "variable", "available_us", "value", "unit", "comparator", "source_id"]
    return events[list(EVENT_COLUMNS)].sort_values(order, kind="stable", ignore_index=True)


def _as_events(placed: pd.DataFrame, site: SiteMap, account: Account) -> pd.DataFrame:
    """One row per moment, with the columns of an event; `record` tells which record it came from."""
    told = _without_answers(placed, account)
    rate = _is_rate(told["target"]) & (told["rate"] != "")
    fixed = told["fixed"] != ""
    value = told["value"].mask(rate, told["rate"]).mask(fixed, told["fixed"]).str.strip()
    unit = told["unit"].mask(rate, told["rate_unit"]).mask(fixed, "").str.strip()
    stated = told["target"].map(lambda target: site.units.get(target, "")).astype("str").where(unit == "", "")
    account.adjust(UNIT_FROM_MAP, int(told.loc[stated != "", "record"].nunique()))
    preliminary = told["status"] == "preliminary"
    account.adjust(PRELIMINARY, int(told.loc[preliminary, "record"].nunique()))
    unknown = told["codes"].str.split(CODE_SEPARATOR).str[0].fillna("")
    told = told.assign(
        variable=told["target"].mask(told["target"] == "", unknown),
        value=value,
        unit=unit.mask(stated != "", stated),
        comparator=told["comparator"].mask(rate | fixed, ""),
        source_id=told["identity"],
    )
    return _told_again(told)


def _without_answers(placed: pd.DataFrame, account: Account) -> pd.DataFrame:
    """Without codes of devices whose record answers something else than yes."""
    answered = (placed["fixed"] != "") & ~placed["value"].str.strip().str.casefold().isin(SAID)
    refused = placed[answered].drop_duplicates("record")
    for position, patient in zip(refused["position"].tolist(), refused["patient_id"].tolist(), strict=True):
        account.quarantine_record(position, patient, ANSWERED)
    return placed[~answered].reset_index(drop=True)


def _is_rate(targets: pd.Series) -> pd.Series:
    """Whether each target is the rate of a drug; a heart rate is none."""
    rates = [target for target in targets.unique() if target.endswith("_rate") and is_drug(target)]
    return targets.isin(rates)


def _told_again(told: pd.DataFrame) -> pd.DataFrame:
    """Periods of a rate or a device as moments: what runs at each start and end, and every 12 hours.

    Where periods of one variable overlap, the highest that is open counts: a pump that ends does not stop the next one.
    A rate is 0 when the last one ended; what comes after a device is for the next record to say.
    """
    start, end = told["start_us"].to_numpy(), told["end_us"].to_numpy()
    length = np.where(end == NOT_A_TIME, 0, end - start)
    lasting = _is_rate(told["target"]) | told["target"].isin(LASTING)
    period = lasting.to_numpy() & (length > 0) & (length <= LONGEST_US)
    if not period.any():
        return told
    level = parse_numbers(pa.array(told["value"].to_numpy(dtype=object), pa.string())).values
    moments: list[tuple[int, int, bool]] = []  # row, time, whether the value is 0
    places = np.flatnonzero(period)
    series = told.iloc[places].groupby(["course_id", "target"]).ngroup().to_numpy()
    order = np.argsort(series, kind="stable")
    targets = told["target"].array
    for rows in np.split(places[order], np.flatnonzero(np.diff(series[order])) + 1):
        target = str(targets[rows[0]])
        moments += _moments(rows, start[rows], end[rows], np.nan_to_num(level[rows], nan=-1.0), target)
    again = told.iloc[[row for row, _, _ in moments]].assign(start_us=[time for _, time, _ in moments])
    stopped = np.array([stop for _, _, stop in moments], dtype=bool)
    again = again.assign(value=again["value"].mask(stopped, "0"))
    return pd.concat([told, again], ignore_index=True)


def _moments(
    rows: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    level: NDArray[np.float64],
    target: str,
) -> list[tuple[int, int, bool]]:
    """Further moments of the periods of one variable in one course, beside the start of each."""
    found: list[tuple[int, int, bool]] = []
    times = np.unique(np.concatenate((start, end)))
    until = np.append(times[1:], times[-1])
    for time, following in zip(times.tolist(), until.tolist(), strict=True):
        running = np.flatnonzero((start <= time) & (end > time))
        if running.size:
            highest = running[np.argmax(level[running])]
            if start[highest] != time:
                found.append((int(rows[highest]), time, False))
            steps = range(time + REPEAT_US, following, REPEAT_US)
            found += [(int(rows[highest]), step, False) for step in steps]
        elif target not in LASTING:
            ended = np.flatnonzero(end == time)
            found.append((int(rows[ended[0]]), time, True))
    return found


def _account(
    told: pd.DataFrame,
    reasons: NDArray[np.object_],
    unknown: NDArray[np.bool_],
    duplicate: NDArray[np.bool_],
    account: Account,
) -> None:
    """The fate of each record: that of its first row."""
    first = ~told["record"].duplicated().to_numpy()
    rejected = first & (reasons != "")
    columns = (told.loc[rejected, name].tolist() for name in ("position", "patient_id", "variable"))
    for position, patient, variable, reason in zip(*columns, reasons[rejected].tolist(), strict=True):
        account.quarantine_record(position, patient, f"{reason}; variable {variable}")
        if variable in PRESSORS:
            account.notice(PRESSOR_WITHOUT_RATE, patient)
    good = first & ~rejected
    dose = (told["target"] == DOSE).to_numpy()
    account.fate("unknown_code", int((good & unknown).sum()))
    account.fate("duplicate", int((good & duplicate).sum()))
    account.fate("dose", int((good & dose & ~duplicate).sum()))
    account.fate("event", int((good & ~dose & ~unknown & ~duplicate).sum()))


def _coded(texts: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    codes, distinct = pd.factorize(texts, sort=True)
    return codes.astype(np.int64), [str(text) for text in distinct]
