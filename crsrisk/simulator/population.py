"""Who is treated: baseline of each course, and the random numbers that its course will use.

Every course draws from a stream of its own, so that neither the number of courses nor the true risks change it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from crsrisk.simulator.parameters import Flags, Floats, Ints, Section, Site, parameters
from crsrisk.simulator.regimens import Regimen

Floats32 = NDArray[np.float32]

NORMALS, UNIFORMS = 7, 8  # random numbers per course and hour; the last two uniforms serve the record only
STATIC_NORMALS, STATIC_UNIFORMS = 36, 16
PRIMED_INFLAMMATION, PRIMED_STRESS = 0.7, 0.2  # SD; about 12 % of patients are above both; ASSUMPTION
DRIVE_MEAN = 0.07  # mean of the terms that are not centred
MAP_RESERVE = 21.0  # mm[Hg] between usual pressure and limit in the typical patient; ASSUMPTION
LAB_SLOT_HOURS = 12
LAB_NORMALS, LAB_UNIFORMS = 18, 20
BASELINE = ("ferritin", "crp", "ldh", "platelets", "anc")


@dataclass(slots=True)
class Patients:
    """One row per course: what stays as it is. Floats of shape (courses,) unless said."""

    therapy: Ints
    site: Ints
    age: Floats
    female: Flags
    weight: Floats
    engager: Flags
    critical_hours: Floats
    growth: Floats
    log_amplitude: Floats
    leak_threshold: Floats
    absorption_hours: Floats
    lag_hours: Floats
    macrophage_hours: Floats
    infection_rate: Floats
    temperature_max: Floats
    heart_rate: Floats
    map: Floats
    map_limit: Floats
    lung: Floats
    crp_response: Floats
    ferritin_response: Floats
    burden: Floats
    crp: Floats
    ferritin: Floats
    ldh: Floats
    creatinine: Floats
    platelets: Floats
    anc: Floats
    hemoglobin: Floats
    fibrinogen: Floats
    d_dimer: Floats
    albumin: Floats
    depletion: Floats
    dose_effect: Floats  # (courses, doses)
    dose_hours: Floats  # (courses, doses); nan where there is no such dose
    # thresholds of the treating hospital
    vitals_hours: Floats
    antipyretic_celsius: Floats
    bolus_map: Floats
    pressor_map: Floats
    boluses_before_pressor: Floats
    oxygen_spo2: Floats
    tocilizumab_fever_hours: Floats
    tocilizumab_grade: Floats
    tocilizumab_chance: Floats
    steroid_grade: Floats
    premedicated: Flags

    def take(self, rows: Ints) -> Patients:
        """The same for some rows (with repetition, where a row is repeated)."""
        return Patients(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def __len__(self) -> int:
        return int(self.therapy.shape[0])


@dataclass(slots=True)
class Tape:
    """Random numbers of a batch of courses, all drawn before the first hour."""

    normal: Floats  # (courses, STATIC_NORMALS)
    uniform: Floats  # (courses, STATIC_UNIFORMS)
    hour_normal: Floats32  # (hours, NORMALS, courses)
    hour_uniform: Floats32  # (hours, UNIFORMS, courses)
    lab_normal: Floats32  # (courses, slots, LAB_NORMALS)
    lab_uniform: Floats32  # (courses, slots, LAB_UNIFORMS)

    @classmethod
    def only_baseline(cls, rng: np.random.Generator, courses: int) -> Tape:
        """A tape for simulations that draw their hours later and keep no record."""
        nothing = np.zeros((courses, 0, 0), dtype=np.float32)
        normal, uniform = (
            rng.standard_normal((courses, STATIC_NORMALS)),
            rng.random((courses, STATIC_UNIFORMS)),
        )
        return cls(normal, uniform, nothing, nothing, nothing, nothing)


def draw(seed: int, courses: Sequence[int], chosen: Sequence[Regimen], shares: Floats) -> Tape:
    """Random numbers of the courses with these numbers; each has a stream of its own under the seed."""
    limits = np.cumsum(shares)
    drawn = []
    for number in courses:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, number)))
        normal, uniform = rng.standard_normal(STATIC_NORMALS), rng.random(STATIC_UNIFORMS)
        hours = chosen[_therapy(uniform[0], limits)].hours
        slots = hours // LAB_SLOT_HOURS + 1
        drawn.append(
            (
                normal,
                uniform,
                rng.standard_normal((hours + 1, NORMALS), dtype=np.float32),
                rng.random((hours + 1, UNIFORMS), dtype=np.float32),
                rng.standard_normal((slots, LAB_NORMALS), dtype=np.float32),
                rng.random((slots, LAB_UNIFORMS), dtype=np.float32),
            )
        )
    return Tape(
        normal=np.array([d[0] for d in drawn]),
        uniform=np.array([d[1] for d in drawn]),
        hour_normal=np.moveaxis(_padded([d[2] for d in drawn]), 0, 2).copy(),
        hour_uniform=np.moveaxis(_padded([d[3] for d in drawn]), 0, 2).copy(),
        lab_normal=_padded([d[4] for d in drawn]),
        lab_uniform=_padded([d[5] for d in drawn]),
    )


def _therapy(uniform: float, limits: Floats) -> int:
    return min(int(np.searchsorted(limits, uniform, side="right")), limits.size - 1)


def _padded(parts: Sequence[Floats32]) -> Floats32:
    length = max(p.shape[0] for p in parts)
    whole = np.zeros((len(parts), length, parts[0].shape[1]), dtype=np.float32)
    for row, part in enumerate(parts):
        whole[row, : part.shape[0]] = part
    return whole


def _between(uniform: Floats, points: Floats) -> Floats:
    """A value between the 0, 25, 50, 75 and 100 % points of each row, shape (courses, 5)."""
    step = np.minimum((uniform * 4.0).astype(np.int64), 3)
    rows = np.arange(uniform.size)
    low, high = points[rows, step], points[rows, step + 1]
    between: Floats = low + (high - low) * (uniform * 4.0 - step)
    return between


def patients(tape: Tape, chosen: Sequence[Regimen], shares: Floats, hospitals: Sequence[Site]) -> Patients:
    """Baseline of every course of a tape."""
    z, u = tape.normal, tape.uniform
    limits = np.cumsum(shares)
    therapy = np.array([_therapy(x, limits) for x in u[:, 0]], dtype=np.int64)
    site_limits = np.cumsum([s.weight for s in hospitals]) / sum(s.weight for s in hospitals)
    site = np.minimum(np.searchsorted(site_limits, u[:, 1], side="right"), len(hospitals) - 1).astype(
        np.int64
    )
    ages = np.array([r.disease.ages for r in chosen])[therapy]
    age = _between(u[:, 2], ages)
    female = u[:, 3] < 0.42
    grown = np.where(female, 62.0, 76.0) * np.exp(0.18 * z[:, 0])
    child = 3.2 * (age + 2.6) * np.exp(0.15 * z[:, 0])
    weight = np.where(age < 18, np.minimum(child, grown), grown)
    engager = np.array([r.engager for r in chosen])[therapy]
    burden, growth_z, unseen, frailty, endothelium = z[:, 1], z[:, 2], z[:, 3], z[:, 4], z[:, 5]
    p = parameters()
    driver, amplitude, signs = p["driver"], p["amplitude"], p["signs"]
    stimulus_shift = np.array([r.shift.stimulus for r in chosen])[therapy]
    leak_shift = np.array([r.shift.leak for r in chosen])[therapy]
    onset = np.array([r.onset_hours * r.shift.onset for r in chosen])[therapy]
    spread = np.array([r.spread for r in chosen])[therapy]
    cells = ~engager
    base = np.array([[getattr(r.disease, k) for k in BASELINE] for r in chosen])[therapy]
    inflammation = (
        0.40 * burden + 0.30 * unseen + 0.87 * z[:, 6]
    )  # standard normal; weakly seen in CRP, ferritin
    stress = 0.45 * endothelium + 0.25 * burden + 0.86 * z[:, 7]
    primed = (inflammation > PRIMED_INFLAMMATION) & (stress > PRIMED_STRESS)  # both together, neither alone
    drive = (
        amplitude["burden"] * burden
        + amplitude["growth"] * growth_z * cells
        + amplitude["unseen"] * unseen
        + amplitude["burden_growth"] * np.clip(burden * growth_z, -2.0, 2.0) * cells
        + amplitude["primed"] * primed
    )
    map_limit = np.where(age < 10, 48.0 + 1.4 * age, np.where(age < 18, 62.0, 65.0))
    effect, hours = _doses(chosen, therapy, driver)
    return Patients(
        therapy=therapy,
        site=site,
        age=np.round(age, 1),
        female=female,
        weight=np.asarray(np.round(weight, 1), dtype=np.float64),
        engager=engager,
        critical_hours=onset
        * np.exp(
            driver["onset_log_sd"]
            * np.minimum(1.0, (driver["onset_reference_hours"] / onset) ** 0.5)
            * z[:, 8]
            - driver["onset_growth_log"] * growth_z
        ),
        growth=driver["growth_per_hour"]
        * np.maximum(
            (driver["onset_reference_hours"] / onset) ** driver["onset_growth_exponent"],
            driver["growth_slowest"],
        )
        * np.exp(driver["growth_log_sd"] * growth_z),
        log_amplitude=stimulus_shift + spread * (drive - DRIVE_MEAN),
        leak_threshold=signs["leak_threshold_log"]
        + leak_shift
        - amplitude["leak_unseen"] * frailty
        - amplitude["leak_endothelium"] * endothelium,
        absorption_hours=driver["absorption_per_onset"] * onset * np.exp(0.25 * z[:, 8]),
        lag_hours=np.round(driver["lag_per_onset"] * onset * np.exp(0.3 * z[:, 30])),
        macrophage_hours=np.where(
            cells, p["cytokine"]["macrophage_hours_cells"], p["cytokine"]["macrophage_hours_engager"]
        ),
        infection_rate=np.where(
            cells, signs["infection_cells_per_hour"], signs["infection_engager_per_hour"]
        ),
        temperature_max=signs["temperature_max"] * np.exp(0.14 * z[:, 9]),
        heart_rate=80.0 + 10.0 * z[:, 10] + np.maximum(0.0, 14.0 - age) * 2.5 + 3.0 * endothelium,
        map=map_limit
        + np.maximum(MAP_RESERVE + 5.5 * z[:, 11] - 1.0 * endothelium, 8.0)
        + np.where(age < 18, 4.0, 0.0),
        map_limit=map_limit,
        lung=np.exp(0.35 * z[:, 12]),
        crp_response=np.exp(0.45 * z[:, 13]),
        ferritin_response=np.exp(1.05 * z[:, 14]),
        burden=burden,
        crp=base[:, 1] * np.exp(0.95 * (0.28 * inflammation + 0.22 * burden + 0.93 * z[:, 15])),
        ferritin=1.2 * base[:, 0] * np.exp(1.2 * (0.38 * inflammation + 0.12 * burden + 0.90 * z[:, 16])),
        ldh=base[:, 2] * np.exp(0.42 * (0.38 * burden + 0.22 * stress + 0.90 * z[:, 17])),
        creatinine=_creatinine(age, female) * np.exp(0.26 * (0.5 * stress + 0.87 * z[:, 18])),
        platelets=base[:, 3] * np.exp(-0.55 * (0.32 * stress + 0.2 * burden + 0.92 * z[:, 19])),
        anc=base[:, 4] * np.exp(0.7 * z[:, 20]),
        hemoglobin=np.clip(10.2 - 0.5 * burden + 1.5 * z[:, 21], 6.0, 16.5),
        fibrinogen=340.0 * np.exp(0.25 * (0.5 * inflammation + 0.87 * z[:, 22])),
        d_dimer=720.0 * np.exp(0.75 * (0.35 * stress + 0.3 * burden + 0.89 * z[:, 23])),
        albumin=np.clip(3.8 - 0.22 * inflammation + 0.35 * z[:, 24], 1.8, 5.0),
        depletion=np.where(cells, np.exp(0.3 * z[:, 25]), 0.0),
        dose_effect=effect,
        dose_hours=hours,
        premedicated=np.array([r.premedicated for r in chosen])[therapy] & engager,
        **_thresholds(site, hospitals, age < 18, map_limit),
    )


def _creatinine(age: Floats, female: Flags) -> Floats:
    adult = np.where(female, 0.68, 0.86)
    return np.where(age < 18, 0.25 + (adult - 0.25) * age / 18.0, adult + 0.003 * np.maximum(age - 50.0, 0.0))


def _doses(chosen: Sequence[Regimen], therapy: Ints, driver: Section) -> tuple[Floats, Floats]:
    """Relative effect and hour of each engager dose, per course; nan hours where there is none."""
    most = max(len(r.dose_mg) for r in chosen) or 1
    effect, hours = np.zeros((len(chosen), most)), np.full((len(chosen), most), np.nan)
    for row, regimen in enumerate(chosen):
        if regimen.engager:
            full = max(regimen.dose_mg)
            effect[row, : len(regimen.dose_mg)] = [
                (mg / full) ** driver["dose_exponent"] for mg in regimen.dose_mg
            ]
            hours[row, : len(regimen.dose_hours)] = regimen.dose_hours
    return effect[therapy], hours[therapy]


def _thresholds(site: Ints, hospitals: Sequence[Site], child: Flags, map_limit: Floats) -> dict[str, Floats]:
    """Each course's thresholds of care; a child's pressure limits lie lower by as much as its normal pressure."""
    lower = np.where(child, 65.0 - map_limit, 0.0)
    names = (
        "vitals_hours",
        "antipyretic_celsius",
        "boluses_before_pressor",
        "oxygen_spo2",
        "tocilizumab_fever_hours",
        "tocilizumab_grade",
        "tocilizumab_chance",
        "steroid_grade",
    )
    found = {name: np.array([getattr(s, name) for s in hospitals], dtype=np.float64)[site] for name in names}
    found["bolus_map"] = np.array([s.bolus_map for s in hospitals])[site] - lower
    found["pressor_map"] = np.array([s.pressor_map for s in hospitals])[site] - lower
    return found


def batches(courses: int, size: int) -> Iterator[range]:
    """Course numbers in blocks."""
    for start in range(0, courses, size):
        yield range(start, min(start + size, courses))
