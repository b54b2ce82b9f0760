"""What the ward sees and does in one hour: vital signs, antipyretics, fluids, oxygen, vasopressors, anticytokines.

The ward acts on what it charted, with thresholds of its own, escalates quickly and weans slowly (hysteresis).
The ASTCT grade follows from that care through `crsrisk.grading.astct`, never from a table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from crsrisk.grading import FEVER_CELSIUS, astct, oxygen_tier
from crsrisk.simulator.kinetics import Noise, State
from crsrisk.simulator.parameters import Flags, Floats, Parameters
from crsrisk.simulator.population import Patients

LAPSE_HOURS = 72.0  # a treated fever stops counting after this time without signs (docs: grading states)
OXYGEN_GAIN = np.array([0.0, 1.0, 6.0, 9.0, 14.0])  # % of SpO2 by level of support; ASSUMPTION
WEAN_HOURS = 4.0


@dataclass(slots=True)
class Charted:
    """What one hour put into the record; nan (or False) where nothing was charted. Shape (courses,)."""

    temperature: Floats
    heart_rate: Floats
    map: Floats
    sbp: Floats
    resp_rate: Floats
    spo2: Floats
    resp_support: Floats
    o2_flow: Floats
    norepinephrine: Floats
    epinephrine: Floats
    vasopressin: Floats
    fluid_bolus: Floats
    acetaminophen: Floats
    tocilizumab: Floats
    dexamethasone: Floats
    other_cause: Floats
    death: Floats
    death_crs: Floats


CHARTED = tuple(f.name for f in fields(Charted))


def attend(s: State, patients: Patients, p: Parameters, noise: Noise) -> Charted:
    """One hour of care after `kinetics.advance`: changes the state and returns what was charted."""
    for name in ("hours_since_check", "bolus_age", "antipyretic_age", "tocilizumab_age", "steroid_age"):
        setattr(s, name, getattr(s, name) + 1.0)
    s.boluses = s.boluses * 0.93
    seen = _due(s, patients, noise)
    chart = _chart(s, p, noise, seen)
    chart.other_cause = _explain(s, p, noise)
    s.fever_hours = np.where(s.charted_temperature >= FEVER_CELSIUS, s.fever_hours + 1.0, s.fever_hours * 0.9)
    before_oxygen, before_flow = s.oxygen.copy(), s.flow.copy()
    before = s.norepinephrine.copy(), s.epinephrine.copy(), s.vasopressin.copy()
    _antipyretic(s, patients, noise, seen, chart)
    _fluids(s, patients, noise, seen, chart)
    _vasopressors(s, patients, noise, seen)
    _oxygen(s, patients, seen)
    _anticytokines(s, patients, noise, seen, chart)
    supported = seen & ((s.oxygen > 0) | (before_oxygen > 0))
    changed = supported | (s.oxygen != before_oxygen) | (s.flow != before_flow)
    chart.resp_support = np.where(changed, s.oxygen, np.nan)
    chart.o2_flow = np.where(changed, s.flow, np.nan)
    for name, old in zip(("norepinephrine", "epinephrine", "vasopressin"), before, strict=True):
        now = getattr(s, name)
        setattr(chart, name, np.where((now != old) | (seen & (now > 0)), now, np.nan))
    _grade(s, patients)
    _death(s, p, noise, chart)
    return chart


def pressure_gain(s: State) -> Floats:
    """mm[Hg] that fluids and vasopressors add."""
    return (
        s.fluid
        + 15.0 * (1.0 - np.exp(-s.norepinephrine / 0.12))
        + 10.0 * (1.0 - np.exp(-s.epinephrine / 0.1))
        + 4.0 * (s.vasopressin > 0)
    )


def oxygen_gain(s: State) -> Floats:
    """% of SpO2 that the support adds."""
    return OXYGEN_GAIN[s.oxygen.astype(np.int64)] + 0.55 * s.flow * (s.oxygen == 1)


def _due(s: State, patients: Patients, noise: Noise) -> Flags:
    sick = (s.charted_temperature >= FEVER_CELSIUS) | ((s.grade >= 1) & (s.quiet_hours < 24.0))
    sicker = (s.oxygen >= 1) | (s.bolus_age <= 8)
    intensive = (s.norepinephrine > 0) | (s.oxygen >= 2)
    calm = np.where(_at_home(s, patients), 12.0, patients.vitals_hours)
    interval = np.where(sick, np.minimum(patients.vitals_hours, 4.0), calm)
    interval = np.where(intensive, 1.0, np.where(sicker, 2.0, interval))
    planned = (s.hours_since_check >= interval) & (noise.uniform[0] > 0.06)
    alarm = (s.map + pressure_gain(s) < patients.map_limit - 9.0) | (s.spo2 + oxygen_gain(s) < 87.0)
    return planned | (alarm & (noise.uniform[0] < 0.5))


def _at_home(s: State, patients: Patients) -> Flags:
    """Without a sign for three days, and more than three days after an engager dose or ten after cells."""
    return (s.quiet_hours > 72.0) & (s.hours_since_dose > np.where(patients.engager, 72.0, 240.0))


def _chart(s: State, p: Parameters, noise: Noise, seen: Flags) -> Charted:
    sd = p["noise"]
    temperature = np.round(s.temperature + sd["temperature"] * noise.normal[2], 1)
    pressure = np.round(np.clip(s.map + pressure_gain(s) + sd["map"] * noise.normal[4], 25.0, 140.0))
    systolic = np.round(np.clip(1.36 * pressure + 3.0 + 3.0 * noise.normal[6], 40.0, 240.0))
    saturation = np.round(np.clip(s.spo2 + oxygen_gain(s) + sd["spo2"] * noise.normal[5], 60.0, 100.0))
    rate = np.round(np.clip(s.heart_rate + sd["heart_rate"] * noise.normal[3], 35.0, 215.0))
    breaths = np.round(np.clip(17.0 + 0.09 * (rate - 85.0) + 1.2 * s.leak + noise.normal[6], 8.0, 55.0))
    s.charted_temperature = np.where(seen, temperature, s.charted_temperature)
    s.charted_map = np.where(seen, pressure, s.charted_map)
    s.charted_spo2 = np.where(seen, saturation, s.charted_spo2)
    s.hours_since_check = np.where(seen, 0.0, s.hours_since_check)

    def shown(values: Floats) -> Floats:
        return np.where(seen, values, np.nan)

    nothing = np.full(seen.shape, np.nan)
    return Charted(
        temperature=shown(temperature),
        heart_rate=shown(rate),
        map=shown(pressure),
        sbp=shown(systolic),
        resp_rate=shown(breaths),
        spo2=shown(saturation),
        resp_support=nothing,
        o2_flow=nothing,
        norepinephrine=nothing,
        epinephrine=nothing,
        vasopressin=nothing,
        fluid_bolus=nothing,
        acetaminophen=nothing,
        tocilizumab=nothing,
        dexamethasone=nothing,
        other_cause=nothing,
        death=nothing,
        death_crs=nothing,
    )


def _explain(s: State, p: Parameters, noise: Noise) -> Floats:
    """An infection that is recognised after a day explains fever from then on, unless the course is severe."""
    hours = p["signs"]["infection_hours"]
    found = (s.infection_left == hours - 24.0) & (noise.uniform[5] < 0.7) & (s.grade <= 1) & ~s.other_cause
    over = s.other_cause & (s.infection_left <= 0.0)
    s.other_cause = (s.other_cause | found) & ~over
    return np.where(found, 1.0, np.where(over, 0.0, np.nan))


def _antipyretic(s: State, patients: Patients, noise: Noise, seen: Flags, chart: Charted) -> None:
    hot = s.charted_temperature >= patients.antipyretic_celsius
    give = seen & hot & (s.antipyretic_age >= 6.0) & (noise.uniform[1] < 0.8)
    milligram = np.where(patients.age < 16, np.minimum(15.0 * patients.weight, 1000.0), 1000.0)
    chart.acetaminophen = np.where(give, np.round(milligram, -1), np.nan)
    s.antipyretic = np.where(give, 1.0, s.antipyretic)
    s.antipyretic_age = np.where(give, 0.0, s.antipyretic_age)
    _note_treatment(s, give)


def _note_treatment(s: State, given: Flags) -> None:
    s.crs_fever = s.crs_fever | ((s.charted_temperature >= FEVER_CELSIUS) & ~s.other_cause)
    s.treated = s.treated | (given & s.crs_fever)


def _fluids(s: State, patients: Patients, noise: Noise, seen: Flags, chart: Charted) -> None:
    low = s.charted_map < patients.bolus_map
    give = seen & low & (s.bolus_age >= 2.0) & (s.boluses < 3.5) & (noise.uniform[1] < 0.9)
    volume = np.where(patients.weight < 40, np.round(10.0 * patients.weight, -1), 500.0)
    chart.fluid_bolus = np.where(give, volume, np.nan)
    s.fluid = np.where(give, np.minimum(s.fluid + 6.0, 14.0), s.fluid)
    s.boluses = s.boluses + give
    s.bolus_age = np.where(give, 0.0, s.bolus_age)


def _vasopressors(s: State, patients: Patients, noise: Noise, seen: Flags) -> None:
    low = s.charted_map < patients.pressor_map
    filled = (s.boluses >= patients.boluses_before_pressor - 0.6) | (
        (s.charted_map < patients.pressor_map - 10.0) & (s.boluses >= 0.7)
    )
    running = s.norepinephrine > 0
    begin = seen & low & filled & ~running & (noise.uniform[2] < 0.8)
    more = seen & running & low
    comfortable = s.charted_map > patients.pressor_map + 7.0
    s.stable_hours = np.where(running & comfortable, s.stable_hours + 1.0, 0.0)
    less = seen & running & comfortable & (s.stable_hours >= 2.0)
    second = more & (s.norepinephrine >= 0.15) & (s.epinephrine == 0)
    use_vasopressin = second & (noise.uniform[3] < 0.5) & (s.vasopressin == 0)
    s.vasopressin = np.where(use_vasopressin, 0.03, s.vasopressin)
    s.epinephrine = np.where(second & ~use_vasopressin, 0.05, s.epinephrine)
    s.epinephrine = np.where(more & (s.epinephrine > 0), np.minimum(s.epinephrine + 0.02, 0.5), s.epinephrine)
    last = less & (s.norepinephrine <= 0.1)
    s.epinephrine = np.where(less & (s.epinephrine > 0), s.epinephrine - 0.03, s.epinephrine)
    s.epinephrine = np.where(s.epinephrine < 0.02, 0.0, np.round(s.epinephrine, 2))
    s.vasopressin = np.where(last, 0.0, s.vasopressin)
    rate = np.where(begin, 0.05, s.norepinephrine)
    rate = np.where(more, np.minimum(rate + 0.05, 1.5), rate)
    rate = np.where(less, rate - 0.03, rate)
    s.norepinephrine = np.where(rate < 0.02, 0.0, np.round(rate, 2))
    s.epinephrine = np.where(s.norepinephrine == 0, 0.0, s.epinephrine)
    s.vasopressin = np.where(s.norepinephrine == 0, 0.0, s.vasopressin)


def _oxygen(s: State, patients: Patients, seen: Flags) -> None:
    low = seen & (s.charted_spo2 < patients.oxygen_spo2)
    very_low = seen & (s.charted_spo2 < 90.0)
    s.breathing_hours = np.where((s.charted_spo2 >= 96.0) & (s.oxygen > 0), s.breathing_hours + 1.0, 0.0)
    wean = seen & (s.breathing_hours >= WEAN_HOURS)
    level, flow = s.oxygen, s.flow
    to_one = low & (level == 0)
    more_flow = low & (level == 1) & (flow < 6.0)
    to_two = low & (level == 1) & (flow >= 6.0)
    to_three = very_low & (level == 2)
    to_four = very_low & (level == 3) & (s.charted_spo2 < 88.0)
    new_level = np.where(
        to_one, 1.0, np.where(to_two, 2.0, np.where(to_three, 3.0, np.where(to_four, 4.0, level)))
    )
    new_flow = np.where(to_one, 2.0, np.where(more_flow, flow + 2.0, np.where(to_two, 30.0, flow)))
    new_flow = np.where(to_three | to_four, 0.0, new_flow)
    down = wean & ~low
    down_flow = np.where(level >= 3, 30.0, np.where(level == 2, 4.0, flow - 2.0))
    down_level = np.where(level >= 3, 2.0, np.where(level == 2, 1.0, np.where(down_flow <= 0, 0.0, 1.0)))
    down = down & (level > 0)
    s.oxygen = np.where(down, down_level, new_level)
    s.flow = np.where(down, np.maximum(down_flow, 0.0), new_flow)
    s.breathing_hours = np.where(down, 0.0, s.breathing_hours)


def _anticytokines(s: State, patients: Patients, noise: Noise, seen: Flags, chart: Charted) -> None:
    by_grade = s.grade >= patients.tocilizumab_grade
    by_fever = s.crs_fever & (s.fever_hours >= patients.tocilizumab_fever_hours)
    allowed = seen & (s.tocilizumab_age >= 8.0) & (s.tocilizumab_doses < 3.0) & ~s.other_cause
    repeat = np.where(s.tocilizumab_doses == 0, 1.0, np.where(s.tocilizumab_age >= 12.0, 0.25, 0.1))
    chance = np.where(by_grade, patients.tocilizumab_chance, np.where(by_fever, 0.08, 0.0)) * repeat
    give = allowed & (noise.uniform[2] > 1.0 - chance)
    per_kg = np.where(patients.weight < 30, 12.0, 8.0)
    chart.tocilizumab = np.where(give, np.minimum(np.round(per_kg * patients.weight, -1), 800.0), np.nan)
    s.tocilizumab = np.where(give, 1.0, s.tocilizumab)
    s.tocilizumab_age = np.where(give, 0.0, s.tocilizumab_age)
    s.tocilizumab_doses = s.tocilizumab_doses + give
    refractory = (s.tocilizumab_doses > 0) & (s.tocilizumab_age >= 6.0) & (s.tocilizumab_age < 200.0)
    wanted = (s.grade >= 3) | ((s.grade >= patients.steroid_grade) & refractory)
    steroid = seen & wanted & (s.steroid_age >= 8.0) & (noise.uniform[3] > 0.6) & ~s.other_cause
    chart.dexamethasone = np.where(steroid, np.where(patients.weight < 30, 5.0, 10.0), np.nan)
    s.steroid = np.where(steroid, np.minimum(s.steroid + 1.0, 3.0), s.steroid)
    s.steroid_age = np.where(steroid, 0.0, s.steroid_age)
    _note_treatment(s, give | steroid)


def _grade(s: State, patients: Patients) -> None:
    """ASTCT grade of the hour from the chart and the support given; remembers the first severe hour."""
    counted = ~s.other_cause
    hot = (s.charted_temperature >= FEVER_CELSIUS) & counted
    low_pressure = ((s.charted_map < patients.map_limit) | (s.bolus_age < 6.0)) & counted
    tier, _ = oxygen_tier(s.oxygen, s.flow)
    tier = tier * counted
    pressors = ((s.norepinephrine > 0).astype(np.int8) + (s.epinephrine > 0)) * counted
    quiet = ~hot & ~low_pressure & (tier == 0) & (pressors == 0)
    s.quiet_hours = np.where(quiet, s.quiet_hours + 1.0, 0.0)
    lapsed = s.quiet_hours >= LAPSE_HOURS
    s.crs_fever, s.treated = s.crs_fever & ~lapsed, s.treated & ~lapsed
    graded = astct(
        hot | (s.crs_fever & s.treated & counted), low_pressure, pressors, s.vasopressin > 0, tier, tier
    )
    s.grade = np.nan_to_num(graded.grade)


def note_onset(s: State, hour: Floats) -> None:
    """Remember the first hours of grade 1 or above and of grade 3 or above."""
    onset = (s.grade >= 1.0) & np.isnan(s.onset_hour) & ~s.dead
    s.onset_hour = np.where(onset, hour, s.onset_hour)
    s.onset_after_dose = np.where(onset, s.hours_since_dose, s.onset_after_dose)
    first = (s.grade >= 3.0) & ~s.severe & ~s.dead
    s.severe_hour = np.where(first, hour, s.severe_hour)
    s.severe = s.severe | first


def _death(s: State, p: Parameters, noise: Noise, chart: Charted) -> None:
    signs = p["signs"]
    of_crs = (s.grade >= 4.0) & (noise.uniform[5] > 1.0 - signs["death_per_hour_grade4"])
    other = ~of_crs & (noise.uniform[5] > 1.0 - signs["death_other_per_hour"])
    dies = (of_crs | other) & ~s.dead
    chart.death = np.where(dies, 1.0, np.nan)
    chart.death_crs = np.where(dies, np.where(of_crs, 1.0, 0.0), np.nan)
    s.dead = s.dead | dies
    s.death_crs = s.death_crs | (dies & of_crs)
