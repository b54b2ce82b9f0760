"""A dated cohort told as records, as a reader of any format would tell it."""

from __future__ import annotations

import numpy as np

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.readers.record import Record
from crsrisk.times import whole_microseconds


def microseconds(cohort: Cohort) -> dict[str, int]:
    """Time zero of each course."""
    index = cohort.courses["index_time"].astype("datetime64[us, UTC]").astype("int64")
    return dict(zip(cohort.courses["course_id"], index.tolist(), strict=True))


def records_of(cohort: Cohort) -> list[Record]:
    """Every course, event and baseline value of a cohort as records with our own codes."""
    zero = microseconds(cohort)
    patient = dict(zip(cohort.courses["course_id"], cohort.courses["patient_id"], strict=True))
    therapy = dict(zip(cohort.courses["course_id"], cohort.courses["therapy"], strict=True))
    told: list[Record] = []
    dosed = set(cohort.events.loc[cohort.events["variable"] == "bsab_dose", "course_id"])
    for course in cohort.courses.to_dict("records"):
        course_id, at = course["course_id"], zero[course["course_id"]]
        who, where = course["patient_id"], f"course {course_id}"
        if course_id not in dosed:
            code = f"urn:crsrisk|therapy:{course['therapy']}"
            told.append(Record(where, "procedure", who, code, at, at, identity=f"{course_id}/therapy"))
        told.append(Record(where, "person", who, "urn:crsrisk|sex", value=course["sex"]))
        told.append(Record(where, "person", who, "urn:crsrisk|site", value=course["site"]))
        end = at + int(whole_microseconds(np.array([course["follow_up_hours"]]))[0])
        told.append(Record(where, "stay", who, "", at, end))
        for name, value in course.items():
            if name in analytes() and name != "sex" and value == value:
                code, unit = f"urn:crsrisk|{name}", analytes()[name].unit
                told.append(Record(where, "result", who, code, at, at, value=repr(float(value)), unit=unit))
    for number, event in enumerate(cohort.events.to_dict("records")):
        at, known = whole_microseconds(np.array([event["hours"], event["available_hours"]]))
        course_id = event["course_id"]
        start = zero[course_id] + int(at)
        dose = event["variable"] == "bsab_dose"
        code = f"therapy:{therapy[course_id]}" if dose else event["variable"]
        kind = "drug" if dose or event["variable"].endswith(("_dose", "_rate")) else "result"
        told.append(
            Record(
                f"event {number}", kind, patient[course_id], f"urn:crsrisk|{code}", start, start,
                zero[course_id] + int(known), event["raw_value"], event["raw_unit"], event["comparator"],
                identity=f"event/{number}",
            )
        )  # fmt: skip
    return told
