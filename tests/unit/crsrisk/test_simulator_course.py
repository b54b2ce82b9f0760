"""Kinetics and care of simulated courses, one sentence each."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from crsrisk.simulator.care import attend, note_onset
from crsrisk.simulator.course import forward
from crsrisk.simulator.kinetics import Noise, State, advance, start
from crsrisk.simulator.parameters import Parameters, parameters, sites
from crsrisk.simulator.population import NORMALS, UNIFORMS, Patients, Tape, patients
from crsrisk.simulator.regimens import regimens

COURSES = 300


def of_therapy(key: str, *, stimulus: float = 0.0) -> tuple[Patients, State]:
    """Courses of one therapy at the first dose; `stimulus` is added to its calibrated log stimulus."""
    rng = np.random.default_rng(4)
    regimen = regimens()[key]
    shift = replace(regimen.shift, stimulus=regimen.shift.stimulus + stimulus)
    who = patients(Tape.only_baseline(rng, COURSES), (replace(regimen, shift=shift),), np.ones(1), sites())
    return who, start(who, parameters(), still())


def still(uniform: float = 0.5) -> Noise:
    return Noise(np.zeros((NORMALS, COURSES)), np.full((UNIFORMS, COURSES), uniform))


def after(
    who: Patients,
    s: State,
    hours: int,
    change: Mapping[str, float] | None = None,
    p: Parameters | None = None,
) -> State:
    """State after some hours without noise and without care; `change` is held all the time."""
    for hour in range(1, hours + 1):
        for name, value in (change or {}).items():
            setattr(s, name, np.full(COURSES, value))
        advance(s, who, p or parameters(), np.full(COURSES, float(hour)), still())
    return s


def test_more_stimulus_gives_more_il6_fever_and_leak() -> None:
    calm = after(*of_therapy("axi-cel_LBCL3L"), 80)
    strong = after(*of_therapy("axi-cel_LBCL3L", stimulus=1.0), 80)
    assert (strong.il6 > calm.il6).all()
    assert (strong.leak >= calm.leak).all()
    assert strong.temperature.mean() > calm.temperature.mean() + 0.3
    assert strong.map.mean() < calm.map.mean()


def test_the_burden_is_consumed_and_the_fever_ends() -> None:
    s = after(*of_therapy("axi-cel_LBCL3L"), 336)
    assert np.median(s.burden_left) < 0.05
    assert np.median(s.temperature) < 37.5


def test_tocilizumab_raises_il6_in_blood_and_lowers_its_signal() -> None:
    untreated = after(*of_therapy("axi-cel_LBCL3L"), 72)
    treated = after(*of_therapy("axi-cel_LBCL3L"), 72, {"tocilizumab": 1.0})
    assert (treated.il6 > untreated.il6).all()
    assert (treated.signal < untreated.signal).all()
    assert treated.temperature.mean() < untreated.temperature.mean()


def test_steroids_lower_the_stimulus() -> None:
    untreated = after(*of_therapy("axi-cel_LBCL3L"), 60)
    treated = after(*of_therapy("axi-cel_LBCL3L"), 60, {"steroid": 2.0})
    assert (treated.stimulus < untreated.stimulus).all()


def test_an_engager_does_nothing_before_it_arrives_and_later_doses_meet_tolerance() -> None:
    who, s = of_therapy("glofit_DLBCL")
    s = after(who, s, 1)
    assert (s.stimulus == 0.0).all()
    s = after(who, s, 160)
    assert (s.tolerance > 0.0).all()


def test_no_dose_is_given_after_severe_crs() -> None:
    who, s = of_therapy("glofit_DLBCL")
    s.severe = np.ones(COURSES, dtype=np.bool_)
    s = after(who, s, 100)
    assert (s.stimulus == 0.0).all()


@pytest.fixture
def ward() -> tuple[Patients, State]:
    """Adults with CRS fever who were given antipyretics, all seen this hour."""
    who, s = of_therapy("axi-cel_LBCL3L")
    s.charted_temperature = np.full(COURSES, 39.0)
    s.temperature = np.full(COURSES, 39.0)
    s.hours_since_check = np.full(COURSES, 99.0)
    return who, s


def test_low_pressure_after_fluids_gets_a_vasopressor_and_is_grade_3(ward: tuple[Patients, State]) -> None:
    who, s = ward
    s.map = who.pressor_map - 6.0
    s.boluses = np.full(COURSES, 3.4)
    chart = attend(s, who, parameters(), still())
    assert (chart.norepinephrine == 0.05).all()
    assert (s.grade == 3.0).all()


def test_low_pressure_first_gets_fluids_and_is_grade_2(ward: tuple[Patients, State]) -> None:
    who, s = ward
    s.map = np.minimum(who.bolus_map, who.map_limit) - 3.0
    chart = attend(s, who, parameters(), still())
    assert (chart.fluid_bolus > 0).all()
    assert (s.norepinephrine == 0).all()
    assert (s.grade == 2.0).all()


def test_low_saturation_gets_low_flow_oxygen_and_is_grade_2(ward: tuple[Patients, State]) -> None:
    who, s = ward
    s.spo2 = who.oxygen_spo2 - 2.0
    chart = attend(s, who, parameters(), still())
    assert (chart.resp_support == 1.0).all()
    assert (chart.o2_flow == 2.0).all()
    assert (s.grade == 2.0).all()


def test_a_vasopressor_is_weaned_only_after_stable_hours(ward: tuple[Patients, State]) -> None:
    who, s = ward
    s.norepinephrine = np.full(COURSES, 0.2)
    s.map = who.pressor_map + 12.0
    attend(s, who, parameters(), still())
    assert (s.norepinephrine == 0.2).all()
    s.hours_since_check = np.full(COURSES, 99.0)
    attend(s, who, parameters(), still())
    assert (s.norepinephrine == 0.17).all()


def test_fever_with_another_cause_is_no_crs(ward: tuple[Patients, State]) -> None:
    who, s = ward
    s.other_cause = np.ones(COURSES, dtype=np.bool_)
    s.infection_left = np.full(COURSES, 10.0)
    attend(s, who, parameters(), still())
    assert (s.grade == 0.0).all()
    assert not s.crs_fever.any()


def test_the_first_severe_hour_is_remembered() -> None:
    _, s = of_therapy("axi-cel_LBCL3L")
    s.grade = np.full(COURSES, 3.0)
    note_onset(s, np.full(COURSES, 7.0))
    s.grade = np.full(COURSES, 4.0)
    note_onset(s, np.full(COURSES, 9.0))
    assert (s.severe_hour == 7.0).all()
    assert (s.onset_hour == 7.0).all()


def test_forward_simulations_from_one_state_differ() -> None:
    who, s = of_therapy("tisa-cel_ALL", stimulus=0.8)
    one = np.zeros(COURSES, dtype=np.int64)
    _, severe, _ = forward(s.take(one), who.take(one), parameters(), 0, 200, np.random.default_rng(8))
    assert len(set(severe.tolist())) > 1
