"""The simulator: same seed, same cohort; grades follow from the care written down; every entry is readable."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.errors import NotEnoughDataError, UnknownTherapyError
from crsrisk.grade_timeline import grade_cohort
from crsrisk.simulator import Simulation, simulate
from crsrisk.simulator.parameters import STATUSES, parameters, read_toml, shifts, sites
from crsrisk.simulator.regimens import default_therapies, regimens
from crsrisk.therapies import groups, therapies
from crsrisk.units import factor, parse_number

JITTER_HOURS = 0.45  # entries of an hour stand up to this long before its end


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(150, seed=11)


@pytest.fixture(scope="module")
def cohort(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return read_cohort(simulation.write(tmp_path_factory.mktemp("cohort") / "folder"))


def test_the_same_seed_gives_the_same_cohort(simulation: Simulation) -> None:
    again = simulate(150, seed=11)
    pd.testing.assert_frame_equal(simulation.courses, again.courses)
    pd.testing.assert_frame_equal(simulation.events, again.events)


def test_another_seed_gives_another_cohort(simulation: Simulation) -> None:
    other = simulate(30, seed=12)
    assert not simulation.events["value"].head(200).equals(other.events["value"].head(200))


def test_a_longer_cohort_begins_with_the_shorter_one(simulation: Simulation) -> None:
    short = simulate(20, seed=11)
    ids = short.courses["course_id"]
    pd.testing.assert_frame_equal(short.courses, simulation.courses.head(20))
    longer = simulation.events[simulation.events["course_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(short.events, longer)


def test_true_risks_do_not_change_the_cohort() -> None:
    keys = ["axi-cel_LBCL3L"]
    without = simulate(12, seed=3, therapies=keys)
    with_truth = simulate(12, seed=3, therapies=keys, truth=20, landmarks=(24.0,), horizons=(24.0,))
    pd.testing.assert_frame_equal(without.events, with_truth.events)


def test_a_written_cohort_is_read_without_a_rejected_or_unused_entry(cohort: Cohort) -> None:
    assert cohort.rejected.empty
    assert cohort.unused.empty


def test_every_unit_and_number_is_one_that_the_unit_table_accepts(simulation: Simulation) -> None:
    pairs = simulation.events[["variable", "unit"]].drop_duplicates()
    assert [p for p in pairs.itertuples(index=False) if factor(p.variable, p.unit) is None] == []
    assert all(np.isfinite(parse_number(text)[0]) for text in simulation.events["value"].unique())


def test_japanese_sites_write_crp_per_decilitre_and_full_width_digits(simulation: Simulation) -> None:
    of_city = simulation.courses.loc[simulation.courses["site"] == "jp_city", "course_id"]
    crp = simulation.events[
        simulation.events["course_id"].isin(of_city) & (simulation.events["variable"] == "crp")
    ]
    assert set(crp["unit"]) == {"mg/dL"}
    assert not crp["value"].str.isascii().any()


def test_results_are_known_later_than_they_are_drawn(simulation: Simulation) -> None:
    events = simulation.events
    labs = events[events["variable"].isin(["crp", "ferritin", "il6"])]
    assert (labs["available_hours"] > labs["hours"]).all()
    assert (events["available_hours"] >= events["hours"]).all()


def test_no_two_patients_are_equal(simulation: Simulation) -> None:
    courses = simulation.courses
    assert courses["patient_id"].is_unique
    described = courses.drop(columns=["course_id", "patient_id"])
    assert not described.duplicated().any()
    vitals = simulation.events[simulation.events["variable"] == "heart_rate"]
    heard = vitals.groupby("course_id")["value"].agg(" ".join)
    assert heard.is_unique


def test_the_grade_of_the_written_events_is_the_grade_of_the_hourly_care(
    simulation: Simulation, cohort: Cohort
) -> None:
    grades = grade_cohort(cohort)
    peak = grades.groupby("course_id")["grade"].max().reindex(simulation.courses["course_id"]).fillna(0.0)
    hourly = simulation.hidden["peak_grade"].to_numpy()
    followed = simulation.courses["follow_up_hours"].to_numpy() >= 336.0
    # pressure readings of other kinds, and courses cut short, may move grades 0 to 2; severe ones agree
    assert (peak.to_numpy() == hourly)[followed].mean() >= 0.97
    assert ((peak.to_numpy() >= 3) == (hourly >= 3))[followed].all()


def test_severe_begins_in_the_hour_in_which_the_care_made_it_so(tmp_path: Path) -> None:
    simulation = simulate(70, seed=6, therapies=["brexu-cel_ALL", "tisa-cel_ALL"])
    grades = grade_cohort(read_cohort(simulation.write(tmp_path / "leukaemia")))
    first = grades[grades["grade"] >= 3].groupby("course_id")["hours"].min()
    hour = simulation.hidden.set_index("course_id")["severe_hour"].reindex(first.index)
    late = (hour - first).to_numpy()
    assert late.size >= 8
    assert (late >= 0.0).all()
    assert (late <= JITTER_HOURS + 0.01).all()


def test_no_grade_or_outcome_is_written(simulation: Simulation, cohort: Cohort) -> None:
    assert cohort.grades is None
    assert cohort.outcomes is None
    assert "peak_grade" not in simulation.courses.columns


def test_an_engager_gives_dose_events_at_its_published_hours() -> None:
    events = simulate(3, seed=5, therapies=["tec_MM"]).events
    doses = events[(events["variable"] == "bsab_dose") & (events["course_id"] == "S000001")]
    assert doses["hours"].tolist() == [0.0, 72.0, 144.0, 312.0]
    assert set(doses["unit"]) == {"mg"}


def test_courses_after_cells_have_baseline_before_the_infusion_and_no_dose_event() -> None:
    found = simulate(5, seed=5, therapies=["tisa-cel_ALL"])
    assert (found.events.groupby("course_id")["hours"].min() < -100.0).all()
    assert "bsab_dose" not in set(found.events["variable"])
    assert found.courses["age"].between(2.0, 25.0).all()


def test_nothing_is_written_after_the_end_of_follow_up(simulation: Simulation) -> None:
    end = simulation.courses.set_index("course_id")["follow_up_hours"]
    assert (simulation.events["hours"] <= simulation.events["course_id"].map(end)).all()


def test_absolute_times_give_the_same_entries_with_an_offset(tmp_path: Path) -> None:
    plain = simulate(4, seed=2, therapies=["axi-cel_LBCL3L"])
    dated = simulate(4, seed=2, therapies=["axi-cel_LBCL3L"], absolute_times=True)
    assert "hours" not in dated.events.columns
    assert dated.events["time"].str.endswith("+00:00").all()
    back = read_cohort(dated.write(tmp_path / "dated"))
    assert len(back.events) == len(plain.events)
    expected = plain.events["hours"].sort_values().to_numpy()
    np.testing.assert_allclose(np.sort(back.events["hours"].to_numpy()), expected, atol=0.001)


def test_all_nine_groups_are_simulated() -> None:
    assert {regimens()[key].group for key in default_therapies()} == set(groups())


def test_every_default_therapy_is_calibrated_and_in_the_catalogue() -> None:
    assert set(default_therapies()) <= set(therapies())
    assert set(default_therapies()) <= set(shifts())


def test_an_unknown_therapy_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnknownTherapyError, match="therapies"):
        simulate(3, seed=1, therapies=["no-such-cel_XX"])


@pytest.mark.parametrize(("courses", "keys"), [(0, None), (3, [])])
def test_an_empty_request_is_refused(courses: int, keys: list[str] | None) -> None:
    with pytest.raises(NotEnoughDataError, match=r"give 1 or more|name at least one"):
        simulate(courses, seed=1, therapies=keys)


def test_every_number_says_what_it_is_and_where_it_comes_from() -> None:
    table = read_toml("simulator.toml")
    rows = [(section, name, row) for section, part in table.items() for name, row in part.items()]
    assert [n for s, n, row in rows if row["status"] not in STATUSES] == []
    assert [n for s, n, row in rows if row["status"] != "ASSUMPTION" and not row["source"]] == []
    assert all(row["unit"] for _, _, row in rows)
    assert parameters()["laboratory"]["crp_out_per_hour"] == 0.0365


def test_the_sites_differ_in_units_and_care() -> None:
    assert len(sites()) == 5
    assert sum(s.name.startswith("jp_") for s in sites()) == 2
    assert len({s.vitals_hours for s in sites()}) >= 3
