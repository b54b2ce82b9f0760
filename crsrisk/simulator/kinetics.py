"""One hour of a course: stimulus, cytokines, temperature, leak, and the signs that follow.

Structure: tumour-engaged expansion of cells, or the stimulus of an engager dose with decaying tolerance; IFN-gamma,
delayed macrophages, IL-6; temperature and vascular leak from the IL-6 signal. Treatment acts on signal and signs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from crsrisk.simulator.parameters import Flags, Floats, Ints, Parameters
from crsrisk.simulator.population import MAP_RESERVE, Patients

PREMEDICATION = 0.8  # steroid effect of premedication, in units of 10 mg dexamethasone; ASSUMPTION


@dataclass(slots=True)
class State:
    """All that changes during a course; arrays of shape (courses,)."""

    burden_left: Floats
    hours_since_dose: Floats
    depot: Floats
    transit: Floats
    tolerance: Floats
    stimulus_noise: Floats
    leak_noise: Floats
    stimulus: Floats
    macrophage: Floats
    ifn: Floats
    il6: Floats
    signal: Floats
    leak: Floats
    infection: Floats
    infection_left: Floats  # hours
    tocilizumab: Floats  # share of a full effect
    steroid: Floats  # effect of the last doses, in units of 10 mg dexamethasone
    antipyretic: Floats
    fluid: Floats  # mm[Hg] gained
    temperature: Floats
    map: Floats
    spo2: Floats
    heart_rate: Floats
    # what is charted and given
    charted_temperature: Floats
    charted_map: Floats
    charted_spo2: Floats
    hours_since_check: Floats
    boluses: Floats  # recent ones, decaying
    bolus_age: Floats
    norepinephrine: Floats  # ug/kg/min
    epinephrine: Floats
    vasopressin: Floats
    stable_hours: Floats
    oxygen: Floats  # level 0-4 as resp_support
    flow: Floats  # L/min
    breathing_hours: Floats
    antipyretic_age: Floats
    tocilizumab_age: Floats
    tocilizumab_doses: Floats
    steroid_age: Floats
    fever_hours: Floats
    # grading memory
    other_cause: Flags
    crs_fever: Flags
    treated: Flags
    quiet_hours: Floats
    grade: Floats
    severe: Flags
    severe_hour: Floats
    onset_hour: Floats
    onset_after_dose: Floats  # hours
    dead: Flags
    death_crs: Flags

    def take(self, rows: Ints) -> State:
        """A copy of some rows (with repetition, where a row is repeated)."""
        return State(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def update(self, rows: Flags, other: State) -> None:
        """Put back the old values of the rows not marked: a course that has ended stays as it was."""
        for f in fields(self):
            setattr(self, f.name, np.where(rows, getattr(self, f.name), getattr(other, f.name)))


@dataclass(slots=True)
class Noise:
    """Random numbers of one hour: normal of shape (7, courses), uniform of shape (6, courses)."""

    normal: Floats
    uniform: Floats


def start(patients: Patients, p: Parameters, noise: Noise) -> State:
    """State at the hour of the first dose."""
    n = len(patients)

    def zeros() -> Floats:
        return np.zeros(n)

    def full(value: float) -> Floats:
        return np.full(n, value)

    def no() -> Flags:
        return np.zeros(n, dtype=np.bool_)

    base = p["cytokine"]
    return State(
        burden_left=full(1.0),
        hours_since_dose=zeros(),
        depot=zeros(),
        transit=zeros(),
        tolerance=zeros(),
        stimulus_noise=p["noise"]["stimulus_sd"] * noise.normal[0],
        leak_noise=p["noise"]["leak_sd"] * noise.normal[1],
        stimulus=zeros(),
        macrophage=zeros(),
        ifn=full(base["ifn_base"]),
        il6=full(base["il6_base"]),
        signal=full(base["il6_base"]),
        leak=zeros(),
        infection=zeros(),
        infection_left=zeros(),
        tocilizumab=zeros(),
        steroid=zeros(),
        antipyretic=zeros(),
        fluid=zeros(),
        temperature=full(p["signs"]["temperature_base"]),
        map=patients.map.copy(),
        spo2=full(97.0),
        heart_rate=patients.heart_rate.copy(),
        charted_temperature=full(p["signs"]["temperature_base"]),
        charted_map=patients.map.copy(),
        charted_spo2=full(97.0),
        hours_since_check=full(99.0),
        boluses=zeros(),
        bolus_age=full(99.0),
        norepinephrine=zeros(),
        epinephrine=zeros(),
        vasopressin=zeros(),
        stable_hours=zeros(),
        oxygen=zeros(),
        flow=zeros(),
        breathing_hours=zeros(),
        antipyretic_age=full(99.0),
        tocilizumab_age=full(999.0),
        tocilizumab_doses=zeros(),
        steroid_age=full(999.0),
        fever_hours=zeros(),
        other_cause=no(),
        crs_fever=no(),
        treated=no(),
        quiet_hours=zeros(),
        grade=zeros(),
        severe=no(),
        severe_hour=full(np.nan),
        onset_hour=full(np.nan),
        onset_after_dose=full(np.nan),
        dead=no(),
        death_crs=no(),
    )


def advance(s: State, patients: Patients, p: Parameters, hour: Floats, noise: Noise) -> None:
    """Move stimulus, cytokines and signs from `hour - 1` to `hour` (hours since the first dose, per course)."""
    _process_noise(s, p, noise)
    s.hours_since_dose = s.hours_since_dose + 1.0
    raw = np.zeros(len(patients))
    if patients.engager.any():
        raw = np.where(patients.engager, _engager_stimulus(s, patients, p, hour), raw)
    if not patients.engager.all():
        raw = np.where(patients.engager, raw, _cell_stimulus(s, patients, p, hour))
    s.stimulus = (
        raw
        * np.exp(patients.log_amplitude + s.stimulus_noise)
        / (1.0 + p["cytokine"]["steroid_effect"] * s.steroid)
    )
    _cytokines(s, patients, p)
    _infection(s, patients, p, noise)
    _leak(s, patients, p)
    _wear_off(s, p)
    _signs(s, patients, p, hour)


def _process_noise(s: State, p: Parameters, noise: Noise) -> None:
    for name, sd, hours, normal in (
        ("stimulus_noise", p["noise"]["stimulus_sd"], p["noise"]["stimulus_hours"], noise.normal[0]),
        ("leak_noise", p["noise"]["leak_sd"], p["noise"]["leak_hours"], noise.normal[1]),
    ):
        keep = float(np.exp(-1.0 / hours))
        setattr(s, name, keep * getattr(s, name) + sd * float(np.sqrt(1.0 - keep * keep)) * normal)


def _cell_stimulus(s: State, patients: Patients, p: Parameters, hour: Floats) -> Floats:
    """Engaged cells: exponential growth through the critical level, held back once the burden is consumed."""
    driver = p["driver"]
    rising = patients.growth * (hour - patients.critical_hours)
    peak_hour = patients.critical_hours + driver["critical_log"] / patients.growth
    log_cells = np.where(
        hour < peak_hour, rising, driver["critical_log"] - driver["contraction_per_hour"] * (hour - peak_hour)
    )
    half = driver["half_burden"]
    engaged = np.exp(np.minimum(log_cells, driver["critical_log"])) * s.burden_left / (s.burden_left + half)
    s.burden_left = np.maximum(
        s.burden_left * np.exp(-patients.growth * engaged / np.maximum(s.burden_left, 1e-6)), 1e-5
    )
    return engaged * (1.0 + half)


def _engager_stimulus(s: State, patients: Patients, p: Parameters, hour: Floats) -> Floats:
    """Engaged T cells after the doses so far: two transit steps, and tolerance that decays over weeks."""
    driver = p["driver"]
    rate = 1.0 / np.maximum(patients.absorption_hours, 1.0)
    open_to_dose = ~s.severe  # no further dose after severe CRS
    begun = (patients.dose_hours == (hour - 1.0)[:, None]).any(axis=1) & open_to_dose
    s.steroid = np.where(begun & patients.premedicated, np.maximum(s.steroid, PREMEDICATION), s.steroid)
    s.hours_since_dose = np.where(begun, 1.0, s.hours_since_dose)
    arriving = patients.dose_hours + patients.lag_hours[:, None] == (hour - 1.0)[:, None]
    s.depot = s.depot + (arriving * patients.dose_effect).sum(axis=1) * open_to_dose
    moved = s.depot * (1.0 - np.exp(-rate))
    s.depot = s.depot - moved
    s.transit = s.transit * np.exp(-rate) + moved
    raw = 2.718 * s.transit / (1.0 + s.tolerance / driver["tolerance_half"])
    memory = float(np.log(2.0)) / driver["tolerance_memory_hours"]
    s.tolerance = s.tolerance * np.exp(-memory) + raw
    return raw


def _cytokines(s: State, patients: Patients, p: Parameters) -> None:
    c = p["cytokine"]
    out = c["elimination_per_hour"]
    clearance = 1.0 - (1.0 - c["tocilizumab_clearance"]) * np.minimum(s.tocilizumab, 1.0)
    lag = np.where(s.stimulus > s.macrophage, 1.0, c["macrophage_fall"]) * patients.macrophage_hours
    s.macrophage = s.macrophage + (s.stimulus - s.macrophage) / lag
    s.ifn = s.ifn + out * (c["ifn_base"] + c["ifn_gain"] * s.stimulus - s.ifn)
    made = c["il6_base"] + c["il6_gain"] * s.stimulus ** c["il6_stimulus_power"] * (
        s.macrophage ** c["il6_macrophage_power"]
    )
    s.il6 = s.il6 + out * (made - clearance * s.il6)
    s.signal = s.il6 * clearance * (1.0 - c["tocilizumab_block"] * np.minimum(s.tocilizumab, 1.0))


def _infection(s: State, patients: Patients, p: Parameters, noise: Noise) -> None:
    begins = (s.infection_left <= 0.0) & (noise.uniform[4] < patients.infection_rate)
    s.infection_left = np.where(
        begins, p["signs"]["infection_hours"], np.maximum(s.infection_left - 1.0, 0.0)
    )
    s.infection = s.infection + ((s.infection_left > 0.0) * 1.0 - s.infection) / 8.0


def _leak(s: State, patients: Patients, p: Parameters) -> None:
    signs = p["signs"]
    above = (np.log(np.maximum(s.signal, 1.0)) - patients.leak_threshold + s.leak_noise) / 0.4
    drive = 0.4 * np.logaddexp(0.0, above) + 0.5 * s.infection
    hours = np.where(drive > s.leak, signs["leak_rise_hours"], signs["leak_fall_hours"])
    s.leak = s.leak + (drive - s.leak) / hours


def _wear_off(s: State, p: Parameters) -> None:
    c = p["cytokine"]
    s.tocilizumab = s.tocilizumab * 0.5 ** (1.0 / c["tocilizumab_half_life_hours"])
    s.steroid = s.steroid * 0.5 ** (1.0 / c["steroid_half_life_hours"])
    s.antipyretic = s.antipyretic * 0.78
    s.fluid = s.fluid * 0.86


def _signs(s: State, patients: Patients, p: Parameters, hour: Floats) -> None:
    signs = p["signs"]
    heat = s.signal + 260.0 * s.infection
    power = signs["temperature_power"]
    hill = heat**power / (heat**power + signs["temperature_half"] ** power)
    rise = patients.temperature_max * hill * (1.0 - 0.15 * np.minimum(s.steroid, 1.5))
    clock = 0.2 * np.sin((hour - 10.0) * (2.0 * np.pi / 24.0))
    aim = signs["temperature_base"] + rise * (1.0 - 0.45 * s.antipyretic) + clock
    s.temperature = s.temperature + 0.35 * (aim - s.temperature)
    reserve = (
        patients.map - patients.map_limit
    ) / MAP_RESERVE  # a low usual pressure is no reason for a steeper fall
    s.map = (
        patients.map - signs["map_per_leak"] * reserve * s.leak - 2.0 * np.maximum(s.temperature - 38.5, 0.0)
    )
    s.spo2 = 97.0 - signs["spo2_per_leak"] * patients.lung * s.leak - 0.8 * s.infection
    s.heart_rate = (
        patients.heart_rate
        + signs["heart_rate_per_degree"] * (s.temperature - signs["temperature_base"])
        + signs["heart_rate_per_leak"] * s.leak
    )


def is_spent(s: State, patients: Patients, hour: Floats, last_hour: float) -> Flags:
    """Whether a course can't become severe up to `last_hour`: stimulus, macrophages, leak and support are gone.

    Cells: the burden is consumed; engagers: no dose arrives any more.
    """
    source = s.burden_left < 0.01
    if patients.engager.any():
        arrival = patients.dose_hours + patients.lag_hours[:, None]
        coming = ((arrival >= hour[:, None]) & (arrival < last_hour)).any(axis=1)
        source = np.where(patients.engager, (s.depot + s.transit < 0.02) & ~coming, source)
    calm = (s.stimulus < 0.05) & (s.macrophage < 0.12) & (s.leak < 0.3)
    free = (s.norepinephrine == 0) & (s.oxygen <= 1) & (s.infection < 0.05)
    return np.asarray(source & calm & free, dtype=np.bool_)
