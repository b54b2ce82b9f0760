"""Whatever comes in is used, rejected, unknown or a duplicate; what is written is read back the same."""

import contextlib
import csv
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crsrisk.cohort import Cohort, course_from_records, read_cohort, write_cohort
from crsrisk.errors import CohortError
from crsrisk.units import factor

VARIABLES = ["crp", "ferritin", "temperature", "resp_support", "platelets", "cd3", ""]
UNITS = ["mg/L", "mg/dL", "ng/mL", "Cel", "[degF]", "10*3/uL", "万/µL", "", "furlong"]
NUMBERS = st.floats(0, 2000).map(repr) | st.integers(0, 400).map(str)
MESSY = st.sampled_from(
    ["", "x", "<0.5", "＜１．５", "1,200", "nan", "inf", "5+", "1e999", "true", "-3", "1e308", ">9"]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), max_size=6)
HOURS = st.floats(-1000, 1000).map(repr)

ROW = st.fixed_dictionaries(
    {
        "course_id": st.sampled_from(["c1", "c2", "c3"]),
        "hours": HOURS,
        "available_hours": HOURS | st.just(""),
        "variable": st.sampled_from(VARIABLES) | TEXT,
        "value": NUMBERS | MESSY | TEXT,
        "unit": st.sampled_from(UNITS) | TEXT,
        "comparator": st.sampled_from(["", "", "", "<", ">", "<=", "about"]),
        "source_id": st.sampled_from(["", "a"]) | TEXT,
    }
)
GOOD_ROW = st.fixed_dictionaries(
    {
        "course_id": st.sampled_from(["c1", "c2", "c3"]),
        "hours": st.floats(-1000, 1000),
        "available_hours": st.floats(-1000, 1000),
        "variable": st.just("crp"),
        "value": st.floats(0, 100),
        "unit": st.sampled_from(["mg/L", "mg/dL"]),
        "comparator": st.sampled_from(["", "<", ">"]),
        "source_id": st.sampled_from(["", 'a,\n"b"', "é"]),
    }
)
MOMENT = st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
ONE_BY_ONE = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
COLUMNS = ["course_id", "hours", "available_hours", "variable", "value", "unit", "comparator", "source_id"]


def write_csv(file: Path, rows: list[dict[str, str]], columns: list[str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as sheet:
        writer = csv.DictWriter(sheet, columns)
        writer.writeheader()
        writer.writerows(rows)


def folder_of(path: Path, rows: list[dict[str, str]]) -> Path:
    courses = [{"course_id": f"c{i}", "patient_id": f"p{i}", "therapy": "axi-cel_LBCL3L"} for i in (1, 2, 3)]
    write_csv(path / "courses.csv", courses, list(courses[0]))
    write_csv(path / "events.csv", rows, COLUMNS)
    return path


@ONE_BY_ONE
@given(rows=st.lists(ROW, max_size=25))
def test_every_row_is_used_rejected_unused_or_a_duplicate(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        cohort = read_cohort(folder_of(Path(path), rows * 2))
    came, used, rejected, unused, duplicates = cohort.counts.set_index("table").loc["events"]
    assert came == 2 * len(rows) == used + rejected + unused + duplicates
    assert len(cohort.events) == used
    assert len(cohort.rejected) == rejected
    assert len(cohort.unused_events) == unused
    assert int(cohort.unused["rows"].sum()) == unused
    everywhere = [*cohort.events["row"], *cohort.rejected["row"], *cohort.unused_events["row"]]
    assert len(set(everywhere)) == len(everywhere)
    assert duplicates >= used


@ONE_BY_ONE
@given(rows=st.lists(ROW, max_size=25), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_line_numbers(
    rows: list[dict[str, str]], order: object
) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as path:
        first = read_cohort(folder_of(Path(path), rows))
        second = read_cohort(folder_of(Path(path), shuffled))
    assert first.digest() == second.digest()
    columns = ["course_id", "hours", "available_hours", "variable", "value", "comparator", "source_id"]
    pd.testing.assert_frame_equal(first.events[columns], second.events[columns])


@ONE_BY_ONE
@given(rows=st.lists(ROW, max_size=25))
def test_values_are_what_the_unit_table_says(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        cohort = read_cohort(folder_of(Path(path), rows))
    for event in cohort.events.itertuples():
        scale = factor(event.variable, event.raw_unit or None)
        assert scale is not None
        reported = course_from_records(
            {"course_id": "c", "patient_id": "p", "therapy": "axi-cel_LBCL3L"},
            [{"variable": event.variable, "value": event.raw_value, "unit": event.raw_unit, "hours": 0}],
            None,
        )[0]
        assert reported.events["value"].tolist() == [event.value]


def frames(rows: list[dict[str, object]], index: datetime | None) -> dict[str, pd.DataFrame]:
    ids = ["c1", "c2", "c3"]
    courses = pd.DataFrame({"course_id": ids, "patient_id": ["p1", "p2", "p2"], "therapy": "axi-cel_LBCL3L"})
    courses["age"] = [61.5, None, 0.1 + 0.2]
    courses["ward"] = ["a", "", 'ｂ,"c"']
    if index is not None:
        courses["index_time"] = [pd.Timestamp(index + timedelta(days=day)) for day in range(3)]
    events = pd.DataFrame(rows, columns=COLUMNS)
    return {"courses": courses, "events": events}


def assert_same(first: Cohort, second: Cohort) -> None:
    assert first.digest() == second.digest()
    pd.testing.assert_frame_equal(first.courses, second.courses, check_like=True)
    pd.testing.assert_frame_equal(first.events.drop(columns="row"), second.events.drop(columns="row"))
    pd.testing.assert_frame_equal(first.timeline(), second.timeline())
    assert first.unused.to_numpy().tolist() == second.unused.to_numpy().tolist()


@ONE_BY_ONE
@given(rows=st.lists(GOOD_ROW, max_size=15), index=st.none() | MOMENT, parquet=st.booleans())
def test_a_cohort_is_read_back_exactly_as_it_was_written(
    rows: list[dict[str, object]], index: datetime | None, parquet: bool
) -> None:
    with tempfile.TemporaryDirectory() as path:
        first = read_cohort(write_cohort(frames(rows, index), Path(path) / "first", parquet=parquet))
        second = read_cohort(write_cohort(first, Path(path) / "second", parquet=parquet))
    assert_same(first, second)


@ONE_BY_ONE
@given(rows=st.lists(ROW, max_size=15))
def test_a_messy_cohort_written_as_csv_keeps_what_it_used_and_the_unknown(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        first = read_cohort(folder_of(Path(path), rows))
        second = read_cohort(write_cohort(first, Path(path) / "second"))
    assert_same(first, second)
    assert second.rejected.empty
    assert len(second.unused_events) == len(first.unused_events)


@ONE_BY_ONE
@given(
    courses=st.text(max_size=80), events=st.text(max_size=80), toml=st.text(max_size=30), whole=st.booleans()
)
def test_any_file_is_read_or_told_as_a_cohort_error(
    courses: str, events: str, toml: str, whole: bool
) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = folder_of(Path(path), [])
        if whole:
            (folder / "courses.csv").write_text(courses, encoding="utf-8", errors="replace")
        (folder / "events.csv").write_text(
            ",".join(COLUMNS) + "\n" + events, encoding="utf-8", errors="replace", newline=""
        )
        (folder / "therapies.toml").write_text(toml, encoding="utf-8", errors="replace")
        with contextlib.suppress(CohortError):
            assert len(read_cohort(folder).courses) == 3
