"""True laboratory values of one hour, before sampling: what the blood would show."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from crsrisk.simulator.kinetics import State
from crsrisk.simulator.parameters import Floats, Parameters
from crsrisk.simulator.population import Patients


@dataclass(slots=True)
class LabState:
    """Laboratory values in canonical units; arrays of shape (courses,)."""

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
    lactate: Floats
    il6: Floats
    ifn_gamma: Floats
    il10: Floats
    mcp1: Floats


LABS = tuple(f.name for f in fields(LabState))
CYTOKINES = ("il6", "ifn_gamma", "il10", "mcp1")


def start_labs(patients: Patients) -> LabState:
    """Values at the first dose; after lymphodepletion counts have begun to fall."""
    n = len(patients)
    return LabState(
        crp=patients.crp.copy(),
        ferritin=patients.ferritin.copy(),
        ldh=patients.ldh.copy(),
        creatinine=patients.creatinine.copy(),
        platelets=patients.platelets * _depleted(np.zeros(n), patients.depletion, 0.45, 120.0, 400.0),
        anc=patients.anc * _depleted(np.zeros(n), patients.depletion, 0.93, 60.0, 400.0),
        hemoglobin=patients.hemoglobin.copy(),
        fibrinogen=patients.fibrinogen.copy(),
        d_dimer=patients.d_dimer.copy(),
        albumin=patients.albumin.copy(),
        lactate=np.full(n, 1.2),
        il6=np.full(n, 4.0),
        ifn_gamma=np.full(n, 8.0),
        il10=np.full(n, 7.0),
        mcp1=np.full(n, 350.0),
    )


def advance_labs(labs: LabState, s: State, patients: Patients, p: Parameters, hour: Floats) -> None:
    """Move the laboratory values by one hour; `hour` counts from the first dose."""
    numbers, c = p["laboratory"], p["cytokine"]
    acute = (s.signal + 200.0 * s.infection) / (s.signal + 200.0 * s.infection + numbers["crp_half"])
    out = numbers["crp_out_per_hour"]
    labs.crp = labs.crp + out * (patients.crp + numbers["crp_max"] * patients.crp_response * acute - labs.crp)
    made = numbers["ferritin_gain"] * patients.ferritin_response * s.macrophage ** numbers["ferritin_power"]
    labs.ferritin = (
        labs.ferritin + made - numbers["ferritin_out_per_hour"] * (labs.ferritin - patients.ferritin)
    )
    damage = 1.0 + 0.22 * s.leak + 0.16 * np.minimum(s.macrophage, 8.0)
    labs.ldh = labs.ldh + (patients.ldh * damage - labs.ldh) / 40.0
    labs.creatinine = labs.creatinine + (patients.creatinine * (1.0 + 0.10 * s.leak) - labs.creatinine) / 30.0
    use = np.exp(-0.22 * s.leak - 0.08 * np.minimum(s.macrophage, 6.0))
    count = patients.platelets * _depleted(hour, patients.depletion, 0.45, 120.0, 400.0) * use
    labs.platelets = labs.platelets + (count - labs.platelets) / 30.0
    neutrophils = patients.anc * _depleted(hour, patients.depletion, 0.93, 60.0, 400.0) * use
    labs.anc = labs.anc + (neutrophils - labs.anc) / 24.0
    labs.hemoglobin = labs.hemoglobin + (patients.hemoglobin - 0.5 * s.leak - labs.hemoglobin) / 72.0
    acute_phase = (
        patients.fibrinogen
        * (1.0 + 0.6 * acute)
        * np.exp(-0.22 * s.leak)
        * (1.0 - 0.45 * np.minimum(s.tocilizumab, 1.0))
    )
    labs.fibrinogen = labs.fibrinogen + (acute_phase - labs.fibrinogen) / 48.0
    clots = patients.d_dimer * np.exp(0.45 * np.minimum(s.leak, 7.0))
    labs.d_dimer = labs.d_dimer + (clots - labs.d_dimer) / 24.0
    labs.albumin = labs.albumin + (patients.albumin - 0.22 * s.leak - 0.3 * acute - labs.albumin) / 36.0
    labs.lactate = 1.2 + 0.28 * np.maximum(s.leak - 1.0, 0.0) ** 1.3
    labs.il6 = s.il6
    labs.ifn_gamma = s.ifn
    labs.il10 = c["il10_base"] + c["il10_gain"] * s.stimulus**0.9
    labs.mcp1 = c["mcp1_base"] + c["mcp1_gain"] * s.stimulus**0.6


def _depleted(hour: Floats, depth: Floats, most: float, lowest_hour: float, back_hour: float) -> Floats:
    """Share of a count left under lymphodepletion: falls from five days before, lowest, then recovers."""
    shape = np.where(
        hour < lowest_hour,
        0.45 + 0.55 * np.maximum(hour, 0.0) / lowest_hour,
        np.maximum(0.35, 1.0 - 0.65 * (hour - lowest_hour) / (back_hour - lowest_hour)),
    )
    return np.clip(1.0 - most * depth * shape, 0.02, 1.0)
