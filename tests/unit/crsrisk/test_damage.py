"""Damaged numbers are flagged where they stand, clean ones are left alone, and nothing is changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from crsrisk.cohort import read_cohort
from crsrisk.damage import COLUMNS, Damage, damage
from crsrisk.leaks.view import View, view
from crsrisk.neighbours import neighbourhood, scales_of
from crsrisk.quality import check
from tests.planted_damage import lose_digits, slip_by_powers_of_ten, swap_columns
from tests.planted_leaks import Tables, made

SEED = 930_000
COURSES = 160
FIRST_LINE = 2
Plant = Callable[[Tables, int], NDArray[np.int64]]


def looked_at(tables: Tables, folder: Path) -> tuple[View, Damage, set[int]]:
    """The cohort, its damage, and the lines of events that reading rejected."""
    tables.courses.to_csv(folder / "courses.csv", index=False)
    tables.events.to_csv(folder / "events.csv", index=False)
    cohort = read_cohort(folder)
    seen = view(cohort)
    rejected = cohort.rejected
    return seen, damage(seen), set(rejected.loc[rejected["table"] == "events", "row"])


@pytest.mark.parametrize(
    ("plant", "least"), [(lose_digits, 0.87), (slip_by_powers_of_ten, 0.87), (swap_columns, 0.87)]
)
def test_damaged_numbers_are_found_and_others_left_alone(plant: Plant, least: float, tmp_path: Path) -> None:
    (tables,) = made([COURSES], SEED, None)
    planted = set((plant(tables, 150) + FIRST_LINE).tolist())
    seen, told, rejected = looked_at(tables, tmp_path)
    flagged = set(seen.events.row[told.kind > 0].tolist())
    found = planted & (flagged | rejected)
    false = flagged - planted
    print(f"{plant.__name__}: {len(found)} of {len(planted)} found ({len(planted & rejected)} rejected as "
          f"impossible), {len(false)} of {len(seen.events)} others flagged")  # fmt: skip
    assert len(planted) >= 140
    assert len(found) >= least * len(planted)
    assert len(false) <= 2


def test_clean_cohorts_have_no_damage(tmp_path: Path) -> None:
    events = flagged = 0
    for place, tables in enumerate(made([COURSES, 100, 60], SEED + 1, None)):
        folder = tmp_path / str(place)
        folder.mkdir()
        seen, told, _ = looked_at(tables, folder)
        events, flagged = events + len(seen.events), flagged + int((told.kind > 0).sum())
    print(f"clean cohorts: {flagged} of {events} events flagged")
    assert events > 100_000
    assert flagged <= 1


def series(variable: str, unit: str, values: list[str], courses: int = 12) -> str:
    """A course that holds `values`, and others that are like it and undamaged; the line of value i is i + 2."""
    rng = np.random.default_rng(5)
    usual = float(values[0])
    lines = [f"c0,{hour},{variable},{value},{unit}" for hour, value in enumerate(values)]
    for course in range(1, courses):
        for hour in range(len(values)):
            value = usual * float(np.exp(rng.normal(0.0, 0.03)))
            lines.append(f"c{course},{hour},{variable},{value:.1f},{unit}")
    return "course_id,hours,variable,value,unit\n" + "\n".join(lines) + "\n"


def told_of(folder: Path, events: str, courses: int = 12) -> pd.DataFrame:
    rows = "".join(f"c{i},p{i},axi-cel_LBCL3L\n" for i in range(courses))
    (folder / "courses.csv").write_text("course_id,patient_id,therapy\n" + rows)
    (folder / "events.csv").write_text(events)
    return check(folder).tables["damage"]


@pytest.mark.parametrize(
    ("variable", "unit", "values", "damage_told"),
    [
        ("ldh", "U/L", ["102.2", "101.5", "103.1", "12.2", "102.8", "101.1"], "DIGITS_LOST"),
        ("sbp", "mm[Hg]", ["140.4", "139.1", "141.0", "14.4", "138.8", "142.2"],
         "DIGITS_LOST_OR_POWER_OF_TEN"),
        ("crp", "mg/L", ["50.1", "52.2", "51.0", "512", "50.6", "49.9"], "POWER_OF_TEN"),
        ("ldh", "U/L", ["300.1", "302.2", "301.0", "900.4", "300.6", "299.9"], "OUT_OF_LINE"),
    ],
)  # fmt: skip
def test_a_damaged_number_is_named_with_its_line_and_what_to_do(
    variable: str, unit: str, values: list[str], damage_told: str, tmp_path: Path
) -> None:
    (row,) = told_of(tmp_path, series(variable, unit, values)).to_dict("records")
    assert list(row) == list(COLUMNS)
    assert (row["table"], row["variable"], row["damage"]) == ("events", variable, damage_told)
    assert (row["rows"], row["courses"], row["first_rows"]) == (1, 1, "5")
    assert "compare with the source" in row["do"]


def test_a_steep_rise_that_goes_on_is_no_damage(tmp_path: Path) -> None:
    values = ["50.1", "52.2", "51.0", "512.3", "530.6", "549.9"]
    assert told_of(tmp_path, series("crp", "mg/L", values)).empty


@pytest.mark.parametrize(("upper", "lower"), [("sbp", "dbp"), ("sbp", "map"), ("map", "dbp")])
def test_pressures_in_the_wrong_order_are_exchanged(upper: str, lower: str, tmp_path: Path) -> None:
    events = (
        "course_id,hours,variable,value,unit\n"
        f"c0,1,{upper},60,mm[Hg]\nc0,1,{lower},61,mm[Hg]\nc1,1,{upper},61,mm[Hg]\nc1,1,{lower},60,mm[Hg]\n"
    )
    table = told_of(tmp_path, events).set_index("variable")
    assert table["damage"].to_dict() == {upper: "EXCHANGED", lower: "EXCHANGED"}
    assert table["first_rows"].to_dict() == {upper: "2", lower: "3"}


def test_columns_exchanged_at_one_site_are_told_for_the_site(tmp_path: Path) -> None:
    (tables,) = made([COURSES], SEED + 2, None)
    site = tables.courses["site"].mode()[0]
    there = tables.of((tables.courses["site"] == site).to_numpy())
    names = {"heart_rate": "resp_rate", "resp_rate": "heart_rate"}
    rows = tables.events["variable"].isin(names) & there
    tables.events.loc[rows, "variable"] = tables.events.loc[rows, "variable"].map(names)
    seen, told, _ = looked_at(tables, tmp_path)
    throughout = told.table[told.table["damage"] == "EXCHANGED_THROUGHOUT"]
    assert set(throughout["variable"]) == set(names)
    assert throughout["rows"].sum() == int(np.isin(seen.events.row, np.flatnonzero(rows) + FIRST_LINE).sum())


def test_a_site_whose_unit_is_off_by_ten_is_told_as_a_whole(tmp_path: Path) -> None:
    (tables,) = made([COURSES], SEED + 3, None)
    tables.harmonise("hemoglobin")
    there = tables.of((tables.courses["site"] == tables.courses["site"].mode()[0]).to_numpy())
    rows = (tables.events["variable"] == "hemoglobin") & there
    tables.events.loc[rows, "value"] = [f"{float(x) / 10.0:.2f}" for x in tables.events.loc[rows, "value"]]
    seen, told, _ = looked_at(tables, tmp_path)
    throughout = told.table[told.table["damage"] == "POWER_OF_TEN_THROUGHOUT"]
    assert throughout["variable"].tolist() == ["hemoglobin"]
    assert throughout["rows"].tolist() == [
        int(np.isin(seen.events.row, np.flatnonzero(rows) + FIRST_LINE).sum())
    ]


def test_weights_of_adults_off_by_ten_are_told(tmp_path: Path) -> None:
    (tables,) = made([COURSES], SEED + 4, ["axi-cel_LBCL3L"])
    tables.courses.loc[[3, 17], "weight"] /= 10
    _, told, _ = looked_at(tables, tmp_path)
    (row,) = told.table[told.table["table"] == "courses"].to_dict("records")
    assert (row["variable"], row["damage"], row["rows"], row["first_rows"]) == (
        "weight", "POWER_OF_TEN", 2, "5, 19",
    )  # fmt: skip


def test_nothing_is_repaired(tmp_path: Path) -> None:
    (tables,) = made([60], SEED + 5, None)
    lose_digits(tables, 40)
    tables.courses.to_csv(tmp_path / "courses.csv", index=False)
    tables.events.to_csv(tmp_path / "events.csv", index=False)
    cohort = read_cohort(tmp_path)
    before = cohort.digest(), cohort.events.copy()
    assert len(check(cohort).tables["damage"])
    assert cohort.digest() == before[0]
    pd.testing.assert_frame_equal(cohort.events, before[1])


def test_a_value_is_held_against_two_neighbours_on_either_side(tmp_path: Path) -> None:
    told_of(tmp_path, series("ldh", "U/L", ["100.0", "110.0", "500.0", "120.0", "130.0"]))
    events = view(read_cohort(tmp_path)).events
    around = neighbourhood(events, scales_of(events))
    assert np.exp(around.expected[2]) == pytest.approx(np.sqrt(110.0 * 120.0))
    assert around.one_sided[:5].tolist() == [True, False, False, False, True]
    assert not around.isolated.any()
