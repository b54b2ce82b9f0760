"""One patient from records: the same rules as a folder, and every index that is not listed was used."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from crsrisk.cohort import course_from_records, read_cohort, write_cohort
from crsrisk.errors import CohortError, TimeError, UnknownTherapyError
from crsrisk.therapies import therapy_from_table

INDEX = datetime(2026, 11, 1, 9, tzinfo=timezone(timedelta(hours=9)))
COURSE = {"course_id": "c1", "patient_id": "p1", "therapy": "axi-cel_LBCL3L", "index_time": INDEX}


def crp(value: object, after: float = 1.0, **more: object) -> dict[str, object]:
    return {"variable": "crp", "value": value, "unit": "mg/L", "time": INDEX + timedelta(hours=after), **more}


def rejected(*observations: dict[str, object], as_of: datetime | None = None) -> list[tuple[int, str]]:
    cohort, refused = course_from_records(COURSE, observations, as_of)
    assert len(cohort.events) + len(refused) == len(observations)
    return [(one.index, one.reason.partition(":")[0]) for one in refused]


def test_records_become_canonical_events_in_the_order_of_time() -> None:
    observations = [
        {"variable": "temperature", "value": 100.4, "unit": "[degF]", "time": "2026-11-01T12:00:00+09:00"},
        {"system": "http://loinc.org", "code": "1988-5", "value": "<0.8", "unit": "mg/dL", "hours": -2},
    ]
    cohort, refused = course_from_records({**COURSE, "age": 61, "sex": "female"}, observations, None)
    assert refused == []
    shown = cohort.events[["course_id", "hours", "variable", "value", "comparator", "raw_value", "row"]]
    assert shown.to_numpy().tolist() == [
        ["c1", -2.0, "crp", 8.0, "<", "<0.8", 1],
        ["c1", 3.0, "temperature", 38.0, "", "100.4", 0],
    ]
    assert cohort.timeline()["variable"].tolist() == ["crp", "age", "sex_female", "temperature"]
    assert str(cohort.courses["index_time"].iloc[0]) == "2026-11-01 00:00:00+00:00"


def test_a_course_without_observations_is_a_cohort() -> None:
    cohort, refused = course_from_records(COURSE, [], None)
    assert refused == []
    assert cohort.events.empty
    assert cohort.timeline().empty


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (crp(float("nan")), "BAD_NUMBER"),
        (crp(float("inf")), "BAD_NUMBER"),
        (crp(True), "BAD_NUMBER"),
        (crp([1, 2]), "BAD_NUMBER"),
        (crp("5+"), "BAD_NUMBER"),
        (crp(10**400), "BAD_NUMBER"),
        (crp(None), "EMPTY_VALUE"),
        (crp(-1), "IMPOSSIBLE_VALUE"),
        (crp(3, unit=None), "MISSING_UNIT"),
        (crp(3, unit="g"), "UNKNOWN_UNIT"),
        (crp(3, unit=7), "BAD_TEXT"),
        (crp(3, comparator="~"), "BAD_COMPARATOR"),
        (crp(3, note="x"), "UNKNOWN_FIELD"),
        (crp(3, hours=1), "BAD_TIME"),
        (crp(3, time=None), "BAD_TIME"),
        (crp(3, time="2026-11-01T12:00:00"), "BAD_TIME"),
        (crp(3, time=datetime(2026, 11, 1)), "BAD_TIME"),
        (crp(3, time=1793491200), "BAD_TIME"),
        (crp(3, time=None, hours="soon"), "BAD_TIME"),
        (crp(3, time=None, hours=1e300), "BAD_TIME"),
        (crp(3, variable=None), "MISSING_VARIABLE"),
        (crp(3, system="http://loinc.org", code="1988-5"), "MISSING_VARIABLE"),
        (crp(3, variable=None, system="http://loinc.org", code="0-0"), "UNKNOWN_CODE"),
        (crp(3, variable="cd3"), "UNKNOWN_VARIABLE"),
    ],
)
def test_an_observation_that_cannot_be_used_is_listed_with_its_reason(
    observation: dict[str, object], reason: str
) -> None:
    assert rejected(crp(5), observation) == [(1, reason)]


def test_what_is_later_or_known_later_than_as_of_is_rejected() -> None:
    late = crp(4, 2.5)
    pending = crp(5, 1.5, available_time=INDEX + timedelta(hours=3))
    at_the_moment = crp(6, 2.0)
    answer = rejected(crp(3), late, pending, at_the_moment, as_of=INDEX + timedelta(hours=2))
    assert answer == [(1, "FUTURE"), (2, "FUTURE")]


def test_the_second_of_two_equal_observations_is_a_duplicate() -> None:
    assert rejected(crp(5), crp(5), crp(5.0, source_id="a")) == [(1, "DUPLICATE")]


def test_reasons_hold_no_values() -> None:
    _, refused = course_from_records(COURSE, [crp("secret-9"), crp(98765, 2), crp(-4321, 3)], None)
    assert len(refused) == 3
    told = " ".join(one.reason for one in refused)
    assert not any(secret in told for secret in ("secret", "98765", "4321"))


def test_a_course_that_cannot_be_used_tells_all_its_problems() -> None:
    course = {
        "course_id": "",
        "patient_id": 7,
        "therapy": "axi-cel_LBCL3L",
        "index_time": "2026-11-01",
        "sex": "W",
    }
    with pytest.raises(CohortError) as raised:
        course_from_records(course, [], None)
    assert [problem.partition(":")[0] for problem in raised.value.problems] == [
        "course, course_id",
        "course, patient_id",
        "course, patient_id",
        "course, sex",
        "course, index_time",
    ]


def test_an_unknown_therapy_says_what_to_register_and_a_given_one_is_taken() -> None:
    course = {**COURSE, "therapy": "my-cart"}
    with pytest.raises(UnknownTherapyError, match=r"register it in therapies\.toml"):
        course_from_records(course, [], None)
    table = {"name": "Mine", "class": "cart", "targets": ["BCMA"], "setting": "heme", "source": "trial"}
    cohort, _ = course_from_records(course, [], None, {"my-cart": therapy_from_table("my-cart", table)})
    assert cohort.therapy_of("c1").family == "bcma_cart"


def test_as_of_needs_a_zone_and_an_index_time() -> None:
    with pytest.raises(TimeError, match="a time without an offset"):
        course_from_records(COURSE, [], datetime(2026, 11, 2))
    course = {name: value for name, value in COURSE.items() if name != "index_time"}
    with pytest.raises(CohortError, match="as_of without index_time"):
        course_from_records(course, [], datetime(2026, 11, 2, tzinfo=UTC))


def test_hours_alone_make_a_course_without_an_index_time() -> None:
    course = {name: value for name, value in COURSE.items() if name != "index_time"}
    cohort, refused = course_from_records(course, [crp(5, time=None, hours=3), crp(5)], None)
    assert cohort.events["hours"].tolist() == [3.0]
    assert [one.reason.partition(":")[0] for one in refused] == ["BAD_TIME"]


def test_a_baseline_predictor_out_of_range_is_nan_and_noted() -> None:
    cohort, _ = course_from_records({**COURSE, "age": 610, "ecog": "1", "ward": "7"}, [], None)
    assert cohort.courses["age"].isna().all()
    assert cohort.courses["ecog"].tolist() == [1.0]
    assert cohort.rejected["reason"].tolist() == ["IMPOSSIBLE_VALUE: outside 0 to 120 a"]
    assert cohort.unused["variable"].tolist() == ["ward"]


def test_records_and_a_folder_of_the_same_patient_are_the_same_cohort(tmp_path: Path) -> None:
    observations = [
        crp("0.3", 1.0 / 3.0, unit="mg/dL", source_id="a"),
        crp(5, 7, available_time=INDEX + timedelta(hours=9)),
        crp(5, 8, available_time=INDEX + timedelta(hours=2)),
        {"variable": "resp_support", "value": 1, "hours": 0.1},
        crp(9, 30, variable="cd3"),
    ]
    cohort, _ = course_from_records({**COURSE, "age": 61, "sex": "male", "ecog": 1}, observations, None)
    again = read_cohort(write_cohort(cohort, tmp_path / "folder"))
    assert again.digest() == cohort.digest()
    pd.testing.assert_frame_equal(again.timeline(), cohort.timeline())
    pd.testing.assert_frame_equal(again.courses, cohort.courses, check_like=True)
    assert again.unused.to_numpy().tolist() == cohort.unused.to_numpy().tolist()
