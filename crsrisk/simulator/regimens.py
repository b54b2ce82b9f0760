"""What the simulator needs of a therapy: group, schedule, expected onset and calibrated shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from crsrisk.errors import NotEnoughDataError
from crsrisk.simulator.parameters import Floats, Shift, read_toml, shifts
from crsrisk.therapies import Therapy, is_engager, therapies, therapy, window_hours

LAST_DOSE = 4  # doses of an engager that are simulated; later ones rarely give CRS


@dataclass(frozen=True, slots=True)
class Disease:
    """Who has it: ages at the 0, 25, 50, 75 and 100 % points in years, and medians before treatment.

    Units: ferritin ng/mL, crp mg/L, ldh U/L, platelets and anc 10*3/uL.
    """

    name: str
    ages: tuple[float, ...]
    ferritin: float
    crp: float
    ldh: float
    platelets: float
    anc: float


@dataclass(frozen=True, slots=True)
class Regimen:
    """One therapy as the simulator gives it.

    `dose_hours` count from the first dose; `dose_mg` holds what each one gives (per kg where `per_kg`), empty for
    cells. `hours` is the length of a simulated course.
    """

    key: str
    group: str
    disease: Disease
    engager: bool
    indication: str | None
    onset_hours: float
    onset_sourced: bool
    dose_hours: tuple[float, ...]
    dose_mg: tuple[float, ...]
    per_kg: bool
    premedicated: bool
    cells: tuple[float, float]  # 10*6 per kg, 10*6 in total
    hours: int
    weight: float
    spread: float  # between patients, relative to the usual
    infection: float  # rate relative to the usual
    shift: Shift

    @property
    def windows(self) -> tuple[float, ...]:
        """Length of each dose's window in hours: to the next dose, at most 168; 336 after cells."""
        if not self.engager:
            return (336.0,)
        following = (*self.dose_hours[1:], self.dose_hours[-1] + 168.0)
        return tuple(min(168.0, b - a) for a, b in zip(self.dose_hours, following, strict=True))


@cache
def regimens() -> Mapping[str, Regimen]:
    """Every therapy of the catalogue that the simulator can give, by key."""
    settings = read_toml("simulator_regimens.toml")
    made = {key: _regimen(item, settings) for key, item in therapies().items() if item.group is not None}
    return MappingProxyType(made)


def default_therapies() -> tuple[str, ...]:
    """Keys that a cohort holds when none are asked for: those with a published rate of their own."""
    return tuple(key for key, regimen in regimens().items() if regimen.weight > 0)


def chosen_regimens(keys: Sequence[str] | None) -> tuple[tuple[Regimen, ...], Floats]:
    """The regimens of a cohort and their shares (sum 1).

    Raises:
        UnknownTherapyError: a key that the catalogue does not list.
        NotEnoughDataError: an empty list.
    """
    if keys is not None and not keys:
        raise NotEnoughDataError("no therapy given; name at least one key of the catalogue, or none for all")
    names = tuple(keys) if keys is not None else default_therapies()
    for name in names:
        therapy(name)  # raises with the known keys
    chosen = tuple(regimens()[name] for name in names)
    weights = np.array([r.weight if r.weight > 0 else 0.25 for r in chosen])
    shares: Floats = weights / weights.sum()
    return chosen, shares


def _regimen(item: Therapy, settings: Mapping[str, Any]) -> Regimen:
    group = settings["group"][str(item.group)]
    own = settings.get("therapy", {}).get(item.key, {})
    engager = is_engager(item)
    doses = (
        tuple((float(d.hours), float(d.amount), d.unit) for d in item.doses)[:LAST_DOSE] if engager else ()
    )
    if engager and not doses:
        doses = tuple((float(h), float(a), "mg") for h, a in group["doses"])
    hours = tuple(d[0] - doses[0][0] for d in doses) or (0.0,)
    amount = tuple(_milligram(a, unit) for _, a, unit in doses)
    length = int(hours[-1] + 168.0) if engager else int(window_hours(item))
    onset = item.expected_onset_hours if item.expected_onset_hours is not None else own.get("onset_hours")
    shift_of = shifts()
    return Regimen(
        key=item.key,
        group=str(item.group),
        disease=_disease(own.get("disease", group["disease"]), settings["disease"]),
        engager=engager,
        indication=item.indication,
        onset_hours=float(onset if onset is not None else group["onset_hours"]),
        onset_sourced=item.expected_onset_hours is not None,
        dose_hours=hours,
        dose_mg=amount,
        per_kg=any(unit.endswith("/kg") for _, _, unit in doses),
        premedicated=bool(group["premedicated"]),
        cells=_pair(own.get("cells", group["cells"])),
        hours=length + 24,
        weight=float(own.get("weight", 0.0)),
        spread=float(own.get("spread", group.get("spread", 1.0))),
        infection=float(group.get("infection", 1.0)),
        shift=shift_of.get(item.key) or shift_of.get(str(item.group)) or Shift(0.0, 0.0, 1.0),
    )


def _disease(name: str, table: Mapping[str, Any]) -> Disease:
    row = table[name]
    return Disease(
        name, tuple(row["ages"]), *(float(row[k]) for k in ("ferritin", "crp", "ldh", "platelets", "anc"))
    )


def _milligram(amount: float, unit: str) -> float:
    return amount * (0.001 if unit.startswith(("ug", "mcg", "µg")) else 1.0)


def _pair(numbers: Sequence[float]) -> tuple[float, float]:
    return float(numbers[0]), float(numbers[1])
