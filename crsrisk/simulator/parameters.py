"""Numbers of the simulator, read from crsrisk/data/simulator*.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Section = Mapping[str, float]
Parameters = Mapping[str, Section]

STATUSES = ("VERIFIED", "DERIVED", "ASSUMPTION")
CALIBRATION_FILE = "simulator_calibration.toml"


def read_toml(name: str) -> dict[str, Any]:
    """Content of a TOML file of crsrisk/data."""
    return tomllib.loads(resources.files("crsrisk.data").joinpath(name).read_text(encoding="utf-8"))


@cache
def parameters() -> Parameters:
    """Section -> name -> value of data/simulator.toml."""
    return MappingProxyType(
        {
            section: MappingProxyType({name: float(row["value"]) for name, row in rows.items()})
            for section, rows in read_toml("simulator.toml").items()
        }
    )


@dataclass(frozen=True, slots=True)
class Shift:
    """What calibration sets per therapy, so that its simulated rates and onset meet the published ones.

    stimulus: added to the log of the stimulus (more of any CRS). leak: added to the log signal above which
    vessels leak (higher means fewer severe courses). onset: factor on the time scale.
    """

    stimulus: float
    leak: float
    onset: float


@cache
def shifts() -> Mapping[str, Shift]:
    """Calibrated shifts by therapy key and, for therapies without a row, by group."""
    rows = read_toml(CALIBRATION_FILE)
    return MappingProxyType(
        {
            key: Shift(stimulus=float(r["stimulus"]), leak=float(r["leak"]), onset=float(r["onset"]))
            for table in ("group", "therapy")
            for key, r in rows.get(table, {}).items()
        }
    )


@dataclass(frozen=True, slots=True)
class Site:
    """How one hospital measures, writes and treats.

    Hours are hours, pressures mm[Hg]. `units` maps an analyte to (spelling, factor from the canonical unit,
    offset, decimals); what it does not list is written in the catalogue's unit.
    """

    name: str
    weight: float
    vitals_hours: float
    lab_hours: tuple[float, float]  # in calm and in sick courses
    lab_delay_hours: float
    cytokine_share: float
    cytokine_delay_hours: float
    cytokine_scale: float
    missing: float
    antipyretic_celsius: float
    bolus_map: float
    pressor_map: float
    boluses_before_pressor: float
    oxygen_spo2: float
    tocilizumab_fever_hours: float
    tocilizumab_grade: float
    steroid_grade: float
    full_width: bool
    crp_limit: float
    fahrenheit: bool
    writes_map: bool
    units: Mapping[str, tuple[str, float, int]]
    tocilizumab_chance: float = 0.30  # at each check, from `tocilizumab_grade` on


@cache
def sites() -> tuple[Site, ...]:
    """The simulated hospitals of data/simulator_sites.toml."""
    found = []
    for name, row in read_toml("simulator_sites.toml").items():
        units = {k: (str(v[0]), float(v[1]), int(v[2])) for k, v in row.pop("units", {}).items()}
        lab_hours = (float(row["lab_hours"][0]), float(row["lab_hours"][1]))
        found.append(Site(name=name, **{**row, "lab_hours": lab_hours, "units": units}))
    return tuple(found)


def sites_under(policy: str | None) -> tuple[Site, ...]:
    """The simulated hospitals, all treating by one policy of data/simulator_policies.toml; None: each by its own.

    Raises:
        ValueError: no such policy.
    """
    if policy is None:
        return sites()
    policies = read_toml("simulator_policies.toml")
    if policy not in policies:
        raise ValueError(f"policy {policy!r}; there are {sorted(policies)}, or None for each site's own")
    limits: dict[str, Any] = {name: float(value) for name, value in policies[policy].items()}
    return tuple(replace(site, **limits) for site in sites())
