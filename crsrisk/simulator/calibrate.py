"""Fit the shifts per therapy: `python -m crsrisk.simulator.calibrate [THERAPY ...]`.

For every therapy with a published rate: a factor on the time scale so that the median onset meets the expected
onset, a shift of the stimulus so that any CRS meets its prior, then a shift of the leak threshold so that severe CRS
meets its prior (crsrisk.priors, ASTCT-anchored). Writes crsrisk/data/simulator_calibration.toml; groups get the mean
of their therapies. It starts from the shifts in the file, so that a second run refines the first.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crsrisk.priors import prior
from crsrisk.simulator.course import forward
from crsrisk.simulator.kinetics import Noise, start
from crsrisk.simulator.parameters import CALIBRATION_FILE, Floats, Shift, parameters, read_toml, sites
from crsrisk.simulator.population import NORMALS, UNIFORMS, Tape, patients
from crsrisk.simulator.regimens import Regimen, default_therapies, regimens
from crsrisk.therapies import therapy

SEED = 20_260
ONSET_COURSES, ANY_COURSES, SEVERE_COURSES = 600, 1200, 3000
ONSET_ROUNDS, ANY_ROUNDS, SEVERE_ROUNDS = 2, 3, 3
SLOPE_TRUST = 0.03
LEAST_LEAK = -3.0  # below it vessels would leak at the IL-6 of healthy people
HEADER = """\
# Written by `python -m crsrisk.simulator.calibrate`: shifts that make simulated rates and
# onsets meet the published ones.
# stimulus: added to the log stimulus; leak: added to the log signal above which vessels leak; onset: factor on time.
# any, severe, onset_hours: what the last round of the fit gave, beside the targets.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a therapy gives with some shift: shares with any and severe CRS, median onset in hours after a dose."""

    any: float
    severe: float
    onset_hours: float


ENGAGER_SHARE = 0.5  # their courses are twice as long


def rates(regimen: Regimen, shift: Shift, courses: int, seed: int) -> Rates:
    """Simulate courses of one therapy without any record."""
    courses = int(courses * ENGAGER_SHARE) if regimen.engager else courses
    p = parameters()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    tape = Tape.only_baseline(rng, courses)
    shifted = (replace(regimen, shift=shift),)
    who = patients(tape, shifted, np.ones(1), sites())
    first = Noise(rng.standard_normal((NORMALS, courses)), rng.random((UNIFORMS, courses)))
    onset, severe, after_dose = forward(
        start(who, p, first), who, p, 0, regimen.hours - 24, rng, onset_too=True
    )
    return Rates(
        any=float(np.isfinite(onset).mean()),
        severe=float(np.isfinite(severe).mean()),
        onset_hours=float(np.median(after_dose[np.isfinite(onset)])) if np.isfinite(onset).any() else np.nan,
    )


def fit(regimen: Regimen, begin: Shift, seed: int = SEED) -> tuple[Shift, Rates]:
    """The shift that meets the published rates of a therapy, and what it gives."""
    item = therapy(regimen.key)
    any_target, severe_target = prior(item, "any").rate, prior(item, "severe").rate
    shift = begin
    for turn in range(2):
        shift = _fit_onset(regimen, shift, seed + turn)
        shift = _fit_any(regimen, shift, any_target, seed + 10 + turn)
    shift = _fit_severe(regimen, shift, severe_target, seed + 20)
    return shift, rates(regimen, shift, SEVERE_COURSES, seed + 30)


def _fit_onset(regimen: Regimen, shift: Shift, seed: int) -> Shift:
    for turn in range(ONSET_ROUNDS):
        found = rates(regimen, shift, ONSET_COURSES, seed + turn).onset_hours
        if np.isfinite(found):
            factor = np.clip((regimen.onset_hours / max(found, 1.0)) ** 0.9, 0.5, 2.0)
            shift = replace(shift, onset=float(np.clip(shift.onset * factor, 0.2, 8.0)))
    return shift


def _fit_any(regimen: Regimen, shift: Shift, target: float, seed: int) -> Shift:
    tried: list[tuple[float, float]] = []
    for turn in range(ANY_ROUNDS):
        tried.append((shift.stimulus, rates(regimen, shift, ANY_COURSES, seed + turn).any))
        shift = replace(shift, stimulus=_next(tried, target, slope=1.6, courses=ANY_COURSES))
    return shift


def _fit_severe(regimen: Regimen, shift: Shift, target: float, seed: int) -> Shift:
    tried: list[tuple[float, float]] = []
    for turn in range(SEVERE_ROUNDS):
        tried.append((shift.leak, rates(regimen, shift, SEVERE_COURSES, seed + turn).severe))
        leak = _next(tried, target, slope=-1.8, courses=SEVERE_COURSES)
        shift = replace(shift, leak=max(leak, LEAST_LEAK))
    return shift


def _next(tried: list[tuple[float, float]], target: float, *, slope: float, courses: int) -> float:
    """The value at which the logit of the rate should meet its target: a line through the tries so far.

    The slope is drawn towards the usual one, so that two tries close to each other don't decide it.
    """
    values: Floats = np.array([v for v, _ in tried])
    share: Floats = np.clip(np.array([r for _, r in tried]), 1.0 / courses, 1.0 - 1.0 / courses)
    logit = np.log(share / (1.0 - share))
    goal = float(np.log(target / (1.0 - target)))
    weight = share * (1.0 - share) * np.exp(-np.abs(logit - goal))
    centre, middle = float(np.average(values, weights=weight)), float(np.average(logit, weights=weight))
    weight = weight / weight.sum()
    spread = float(np.sum(weight * (values - centre) ** 2))
    together = float(np.sum(weight * (values - centre) * (logit - middle)))
    line = (together + SLOPE_TRUST * slope) / (spread + SLOPE_TRUST)
    line = float(np.clip(line, min(0.5 * slope, 2.0 * slope), max(0.5 * slope, 2.0 * slope)))
    return centre + float(np.clip((goal - middle) / line, -1.5, 1.5))


def main(keys: list[str]) -> int:
    """Fit the therapies named (all with a published rate when none is) and write the file."""
    table = dict(read_toml(CALIBRATION_FILE).get("therapy", {}))
    for key in keys or list(default_therapies()):
        regimen = regimens()[key]
        shift, found = fit(regimen, regimen.shift)
        target = {name: prior(therapy(key), name).rate for name in ("any", "severe")}
        table[key] = {
            "stimulus": round(shift.stimulus, 3),
            "leak": round(shift.leak, 3),
            "onset": round(shift.onset, 3),
            "any": [round(found.any, 3), round(target["any"], 3)],
            "severe": [round(found.severe, 4), round(target["severe"], 4)],
            "onset_hours": [found.onset_hours, regimen.onset_hours],
        }
        print(key, table[key], file=sys.stderr, flush=True)
        _write(table)
    return 0


def _write(table: dict[str, dict[str, Any]]) -> None:
    lines = [HEADER]
    groups = sorted({regimens()[key].group for key in table})
    for group in groups:
        rows = [row for key, row in table.items() if regimens()[key].group == group]
        mean = {
            name: round(float(np.mean([row[name] for row in rows])), 3)
            for name in ("stimulus", "leak", "onset")
        }
        lines.append(f"[group.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in mean.items()))
    for key in sorted(table):
        lines.append(f'[therapy."{key}"]\n' + "".join(f"{k} = {v}\n" for k, v in table[key].items()))
    path = Path(__file__).resolve().parents[1] / "data" / CALIBRATION_FILE
    path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
