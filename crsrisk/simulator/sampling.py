"""From what happened to what a hospital's record holds: sampling, missing values, delays, units, limits.

The sicker the patient, the more is measured. Every number is written as the site's laboratory writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from crsrisk.analytes import analyte
from crsrisk.simulator.course import Courses
from crsrisk.simulator.laboratory import CYTOKINES, LABS
from crsrisk.simulator.parameters import Flags, Floats, Ints, Site
from crsrisk.simulator.population import LAB_SLOT_HOURS, Patients, Tape
from crsrisk.simulator.regimens import Regimen

if TYPE_CHECKING:
    import pandas as pd

JITTER_HOURS: Final = 0.45  # an entry of an hour stands up to this long before its end
VARIABLE: Final[Mapping[str, str]] = {  # charted name -> analyte
    "norepinephrine": "norepinephrine_rate",
    "epinephrine": "epinephrine_rate",
    "vasopressin": "vasopressin_rate",
    "acetaminophen": "acetaminophen_dose",
    "tocilizumab": "tocilizumab_dose",
    "dexamethasone": "dexamethasone_dose",
}
MAY_BE_MISSING: Final = ("heart_rate", "resp_rate", "spo2")
SPREAD: Final[Mapping[str, float]] = {  # analytical and day-to-day variation, ln-SD; ASSUMPTION
    "crp": 0.10, "ferritin": 0.10, "ldh": 0.09, "creatinine": 0.08, "platelets": 0.09, "anc": 0.18,
    "hemoglobin": 0.04, "fibrinogen": 0.08, "d_dimer": 0.15, "albumin": 0.04, "lactate": 0.20,
    "il6": 0.25, "ifn_gamma": 0.30, "il10": 0.30, "mcp1": 0.25,
}  # fmt: skip
PANEL: Final[Mapping[str, tuple[float, float]]] = {  # chance in calm and in sick slots; ASSUMPTION
    "crp": (0.97, 1.0), "ldh": (0.92, 0.98), "creatinine": (0.98, 1.0), "albumin": (0.75, 0.92),
    "platelets": (0.98, 1.0), "anc": (0.95, 0.98), "hemoglobin": (0.98, 1.0), "ferritin": (0.65, 0.92),
    "fibrinogen": (0.45, 0.80), "d_dimer": (0.35, 0.70), "lactate": (0.03, 0.35),
    "il6": (0.55, 0.95), "ifn_gamma": (0.35, 0.60), "il10": (0.35, 0.60), "mcp1": (0.20, 0.35),
}  # fmt: skip
LOWEST: Final[Mapping[str, float]] = {"il6": 5.0, "ifn_gamma": 12.0, "il10": 8.0, "d_dimer": 150.0}
HIGHEST: Final[Mapping[str, float]] = {"ferritin": 60000.0, "il6": 50000.0}
DECIMALS: Final[Mapping[str, int]] = {
    "temperature": 1, "crp": 1, "creatinine": 2, "anc": 2, "hemoglobin": 1, "albumin": 1, "lactate": 1, "il6": 1,
    "ifn_gamma": 1, "il10": 1, "norepinephrine_rate": 2, "epinephrine_rate": 2, "vasopressin_rate": 2,
    "bsab_dose": 4,
}  # fmt: skip
FULL_WIDTH: Final = str.maketrans("0123456789.<", "０１２３４５６７８９．＜")


@dataclass(slots=True)
class Entries:
    """Entries of a record before they are written; arrays of one length, values in canonical units."""

    course: list[Ints]
    hours: list[Floats]
    available: list[Floats]
    variable: list[NDArray[np.int64]]
    value: list[Floats]

    def add(self, course: Ints, hours: Floats, delay: Floats | float, name: str, value: Floats) -> None:
        """Append entries of one variable."""
        self.course.append(course)
        self.hours.append(np.round(hours, 2))
        self.available.append(np.round(hours + delay, 2))
        self.variable.append(np.full(course.size, NAMES.index(name), dtype=np.int64))
        self.value.append(value.astype(np.float64))


NAMES: Final = (
    "temperature", "heart_rate", "map", "sbp", "resp_rate", "spo2", "resp_support", "o2_flow", "norepinephrine_rate",
    "epinephrine_rate", "vasopressin_rate", "fluid_bolus", "acetaminophen_dose", "tocilizumab_dose",
    "dexamethasone_dose", "other_cause", "death", "death_crs", "bsab_dose", *LABS,
)  # fmt: skip


def record(
    courses: Courses, patients: Patients, tape: Tape, chosen: Sequence[Regimen], hospitals: Sequence[Site],
    follow_up: Floats,
) -> pd.DataFrame:  # fmt: skip
    """All entries of a batch as written by its hospitals.

    Returns:
        Columns course (row of the batch), hours, available_hours, variable, value (text), unit, comparator; sorted
        by course and hours.
    """
    found = Entries([], [], [], [], [])
    _vital_signs(found, courses, patients, tape, hospitals)
    _doses(found, courses, patients, chosen)
    _laboratory(found, courses, patients, tape, hospitals)
    return _written(found, patients, hospitals, follow_up)


def _vital_signs(
    found: Entries, courses: Courses, patients: Patients, tape: Tape, hospitals: Sequence[Site]
) -> None:
    missing = np.array([s.missing for s in hospitals])[patients.site]
    writes_map = np.array([s.writes_map for s in hospitals])[patients.site]
    for number, (name, values) in enumerate(courses.charted.items()):
        there = ~np.isnan(values)
        if name in MAY_BE_MISSING:
            luck = (tape.hour_uniform[: values.shape[0], 7] * (number + 3)) % 1.0
            there &= luck > missing
        if name == "map":
            there &= writes_map
        hour, course = np.nonzero(there)
        early = JITTER_HOURS * tape.hour_uniform[hour, 6, course]
        value = values[hour, course].astype(np.float64)
        found.add(course, hour - early.astype(np.float64), 0.0, VARIABLE.get(name, name), value)


def _doses(found: Entries, courses: Courses, patients: Patients, chosen: Sequence[Regimen]) -> None:
    """Engager doses given (none after severe CRS or death), with their premedication."""
    died = np.where(courses.state.dead, _first(courses.charted["death"] > 0), np.inf)
    severe = np.where(np.isnan(courses.severe_hour), np.inf, courses.severe_hour)
    most = max((len(r.dose_mg) for r in chosen), default=0)
    table = np.full((len(chosen), max(most, 1)), np.nan)
    for row, regimen in enumerate(chosen):
        table[row, : len(regimen.dose_mg)] = regimen.dose_mg
    per_kg = np.array([r.per_kg for r in chosen])[patients.therapy]
    for dose in range(patients.dose_hours.shape[1]):
        hours = patients.dose_hours[:, dose]
        rows = np.flatnonzero(~np.isnan(hours) & (hours < severe) & (hours < died))
        milligram = table[patients.therapy[rows], dose] * np.where(per_kg[rows], patients.weight[rows], 1.0)
        found.add(rows, hours[rows], 0.0, "bsab_dose", milligram)
        primed = rows[patients.premedicated[rows]]
        found.add(primed, hours[primed] - 1.0, 0.0, "dexamethasone_dose", np.full(primed.size, 16.0))
        found.add(primed, hours[primed] - 0.5, 0.0, "acetaminophen_dose", np.full(primed.size, 650.0))


def _first(flags: Flags) -> Floats:
    return flags.argmax(axis=0).astype(np.float64)


def _laboratory(
    found: Entries, courses: Courses, patients: Patients, tape: Tape, hospitals: Sequence[Site]
) -> None:
    """Blood samples in slots of 12 h: before lymphodepletion or the day before, before the first dose, then daily."""
    n, slots = tape.lab_normal.shape[:2]
    u, z = tape.lab_uniform.astype(np.float64), tape.lab_normal.astype(np.float64)
    last = courses.grade.shape[0] - 1
    of_site = {
        name: np.array([getattr(s, name) for s in hospitals], dtype=np.float64)[patients.site]
        for name in ("missing", "lab_delay_hours", "cytokine_share", "cytokine_delay_hours", "cytokine_scale")
    }
    twice = np.array([s.lab_hours[1] < 24.0 for s in hospitals])[patients.site]
    with_cytokines = tape.uniform[:, 4] < of_site["cytokine_share"]
    hot = np.nan_to_num(courses.charted["temperature"]) >= 38.0
    for slot in range(slots):
        hours, index = _slot_hours(slot, u[:, slot, 0], patients, last)
        recent = np.stack([hot[np.maximum(index - back, 0), np.arange(n)] for back in range(0, 12)]).any(
            axis=0
        )
        sick = recent | (courses.grade[index, np.arange(n)] >= 2)
        there = _drawn(slot, hours, sick, twice, patients, of_site["missing"], u[:, slot, 1])
        for column, name in enumerate(LABS):
            calm_chance, sick_chance = PANEL[name]
            taken = there & (u[:, slot, 2 + column] < np.where(sick, sick_chance, calm_chance))
            delay = of_site["lab_delay_hours"] * (0.5 + u[:, slot, 18])
            scale = np.ones(n)
            if name in CYTOKINES:
                taken &= with_cytokines
                delay = of_site["cytokine_delay_hours"] * (0.5 + u[:, slot, 19])
                scale = of_site["cytokine_scale"]
            rows = np.flatnonzero(taken)
            true = _before(name, slot, courses, patients, index)
            value = true * scale * np.exp(SPREAD[name] * z[:, slot, column])
            found.add(rows, hours[rows], delay[rows], name, value[rows])


def _slot_hours(slot: int, luck: Floats, patients: Patients, last: int) -> tuple[Floats, Ints]:
    if slot == 0:
        hours = np.where(patients.engager, -30.0 + 6.0 * luck, -132.0 + 12.0 * luck)
    elif slot == 1:
        hours = -5.0 + 4.0 * luck
    else:
        hours = LAB_SLOT_HOURS * (slot - 1.0) - 4.0 + 5.0 * luck
    return np.asarray(np.round(hours, 2), dtype=np.float64), np.clip(np.floor(hours), 0, last).astype(
        np.int64
    )


def _drawn(
    slot: int, hours: Floats, sick: Flags, twice: Flags, patients: Patients, missing: Floats, luck: Floats
) -> Flags:
    """Whether blood was drawn: each morning of an inpatient, evenings only in sick ones, rarely in outpatients."""
    if slot < 2:
        return luck > 0.5 * missing
    since_dose = hours[:, None] - patients.dose_hours
    after_dose = np.where((since_dose >= 0) & (since_dose < 60), 1.0, 0.0).max(axis=1, initial=0.0) > 0
    routine = np.where(patients.engager, np.where(after_dose, 0.85, 0.22), np.where(hours < 240, 0.95, 0.6))
    morning = slot % 2 == 1
    chance = np.where(sick, 0.98, routine) if morning else np.where(sick & twice, 0.7, 0.0)
    return luck < chance * (1.0 - missing)


def _before(name: str, slot: int, courses: Courses, patients: Patients, index: Ints) -> Floats:
    """True value at the sample; before lymphodepletion blood counts stand at their baseline."""
    if slot == 0 and name in ("platelets", "anc"):
        return np.asarray(getattr(patients, name), dtype=np.float64)
    return courses.labs[name][index, np.arange(len(patients))].astype(np.float64)


def _written(
    found: Entries, patients: Patients, hospitals: Sequence[Site], follow_up: Floats
) -> pd.DataFrame:
    import pandas as pd

    course, variable = np.concatenate(found.course), np.concatenate(found.variable)
    hours, value = np.concatenate(found.hours), np.concatenate(found.value)
    available = np.concatenate(found.available)
    kept = np.flatnonzero(hours <= follow_up[course])
    order = kept[np.lexsort((variable[kept], hours[kept], course[kept]))]
    course, variable, hours, value = course[order], variable[order], hours[order], value[order]
    text = np.empty(course.size, dtype=object)
    unit = np.empty(course.size, dtype=object)
    comparator = np.full(course.size, "", dtype=object)
    site = patients.site[course]
    for number, hospital in enumerate(hospitals):
        for code, name in enumerate(NAMES):
            rows = np.flatnonzero((site == number) & (variable == code))
            if rows.size:
                text[rows], unit[rows], comparator[rows] = _as_written(name, value[rows], hospital)
    return pd.DataFrame(
        {
            "course": course,
            "hours": hours,
            "available_hours": available[order],
            "variable": np.array(NAMES, dtype=object)[variable],
            "value": text,
            "unit": unit,
            "comparator": comparator,
        }
    )


def _as_written(name: str, value: Floats, site: Site) -> tuple[list[str], str, list[str]]:
    """Numbers, unit and comparators of one variable as a site writes them."""
    lowest, highest = LOWEST.get(name, -np.inf), HIGHEST.get(name, np.inf)
    if name == "crp":
        lowest = site.crp_limit
    below, above = value < lowest, value > highest
    clipped = np.clip(value, lowest, highest)
    spelling, scale, decimals = site.units.get(name, (analyte(name).unit, 1.0, DECIMALS.get(name, 0)))
    reported = clipped * 1.8 + 32.0 if site.fahrenheit and name == "temperature" else clipped * scale
    numbers = [f"{x:.{decimals}f}" for x in reported.tolist()]
    if site.full_width and name == "crp":
        numbers = [text.translate(FULL_WIDTH) for text in numbers]
    return numbers, spelling, np.where(below, "<", np.where(above, ">", "")).tolist()
