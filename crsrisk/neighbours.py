"""Measured values beside their neighbours in time: the scale on which damaged numbers stand out."""

from dataclasses import dataclass

import numpy as np

from crsrisk.leaks.view import CARE, LABORATORY, Bools, Events, Floats, Ints

FEWEST_VALUES = 30
FEWEST_DISTINCT = 8
HEAVY_TAIL = 2.5
"""Where one step in twenty is larger than so many usual deviations, large steps are usual."""
NEIGHBOURS_AGREE = 3.0
NEIGHBOURS_SPREAD = 0.7
"""How much the disagreement of the neighbours widens the scale."""


@dataclass(frozen=True)
class Scale:
    """How a variable is looked at: logarithms or not, usual deviations, middle and spread of all courses."""

    logarithm: bool
    deviation: float
    middle: float
    spread: float

    def at(self, values: Floats) -> Floats:
        """Values on the scale; nan where a logarithm has none."""
        if not self.logarithm:
            return values
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.where(values > 0.0, np.log(np.maximum(values, 1e-300)), np.nan)
        return found


@dataclass(frozen=True)
class Neighbourhood:
    """Each event beside its neighbours in time; shapes (events,).

    expected: middle of up to two values on either side, or of all courses where there is none. scale: usual
    distance from it. far: distance in scales, signed; nan where nothing can be said. isolated: no neighbour.
    one_sided: neighbours only before or only after: a step there may be the course of the disease. agree: values
    before and after lie close to each other.
    """

    expected: Floats
    scale: Floats
    far: Floats
    isolated: Bools
    one_sided: Bools
    agree: Bools


def scales_of(events: Events) -> dict[int, Scale]:
    """The scale of each measured variable with enough values."""
    found = {}
    order = np.argsort(events.variable, kind="stable")
    edges = np.searchsorted(events.variable[order], np.arange(len(events.variables) + 1))
    for code in _measured(events):
        rows = order[edges[code] : edges[code + 1]]
        rows = rows[~np.isnan(events.value[rows]) & ~events.limited[rows]]
        values = events.value[rows]
        if len(rows) < FEWEST_VALUES or len(np.unique(values)) < FEWEST_DISTINCT:
            continue
        plain = Scale(events.kinds[code] in LABORATORY, 1.0, 0.0, 1.0)
        at = plain.at(values)
        new = np.ones(len(rows), dtype=np.bool_)
        new[1:] = events.course[rows][1:] != events.course[rows][:-1]
        step = np.abs(np.diff(at))[~new[1:]]
        step = step[np.isfinite(step)]
        if len(step) < FEWEST_VALUES // 2:
            continue
        moved = step[step > 0.0]
        body, tail = np.quantile(step, [0.7, 0.95])
        still = float(np.median(moved)) if len(moved) else 0.0  # series may rest at a limit of detection
        usual = max(float(body), float(tail) / HEAVY_TAIL, still, _resolution(values, plain))
        quarters = np.nanquantile(at, [0.25, 0.5, 0.75])
        spread = max((quarters[2] - quarters[0]) / 1.349, usual)
        found[code] = Scale(plain.logarithm, usual, float(quarters[1]), float(spread))
    return found


def _resolution(values: Floats, scale: Scale) -> float:
    """Half the smallest step between neighbouring values around the middle."""
    near = np.unique(scale.at(values))
    near = near[np.isfinite(near)]
    gaps = np.diff(near)
    return float(np.median(gaps) / 2.0) if len(gaps) else 0.0


def _measured(events: Events) -> list[int]:
    """Codes of measured variables of the catalogue: no treatments, no flags."""
    return [
        code
        for code, (name, kind) in enumerate(zip(events.variables, events.kinds, strict=True))
        if kind in LABORATORY | {"vital"} and name not in CARE and name != "shock_index"
    ]


def neighbourhood(events: Events, scales: dict[int, Scale]) -> Neighbourhood:
    """Each event of a scaled variable beside its neighbours in time."""
    n = len(events)
    at = np.full(n, np.nan)
    usual, middle, spread = (np.full(n, np.nan) for _ in range(3))
    for code, scale in scales.items():
        rows = np.flatnonzero(events.variable == code)
        at[rows] = scale.at(events.value[rows])
        usual[rows], middle[rows], spread[rows] = scale.deviation, scale.middle, scale.spread
    at[events.limited] = np.nan
    kept = np.flatnonzero(~np.isnan(at))
    series = events.course[kept] * len(events.variables) + events.variable[kept]
    beside = np.full((4, len(kept)), np.nan)
    for place, step in enumerate((-2, -1, 1, 2)):
        same = np.zeros(len(kept), dtype=np.bool_)
        if step < 0:
            same[-step:] = series[-step:] == series[:step]
        else:
            same[:-step] = series[:-step] == series[step:]
        rows = np.flatnonzero(same)
        beside[place, rows] = at[kept[rows + step]]
    isolated = np.isnan(beside).all(axis=0)
    one_sided = np.isnan(beside[1]) != np.isnan(beside[2])
    filled = np.sort(beside, axis=0)  # nan last
    count = (~np.isnan(beside)).sum(axis=0)
    columns = np.arange(len(kept))
    low = filled[np.maximum(count - 1, 0) // 2, columns]
    high = np.where(count > 0, filled[np.minimum(count // 2, 3), columns], np.nan)
    expected = np.where(isolated, middle[kept], (low + high) / 2.0)
    reach = np.where(count > 1, filled[np.maximum(count - 1, 0), columns] - filled[0], 0.0)
    inner = np.where(count >= 4, filled[2] - filled[1], reach)
    wide = np.where(isolated, spread[kept], np.hypot(usual[kept], NEIGHBOURS_SPREAD * np.nan_to_num(inner)))
    single = ~isolated & (count == 1)  # which of two values is wrong: the one further from all courses
    nearer = np.abs(at[kept] - middle[kept]) <= np.abs(expected - middle[kept])
    far = (at[kept] - expected) / wide
    far = np.where(single & nearer, 0.0, far)
    agree = (count >= 3) & (np.nan_to_num(reach, nan=np.inf) <= NEIGHBOURS_AGREE * usual[kept])
    return Neighbourhood(
        expected=_spread_out(kept, expected, n),
        scale=_spread_out(kept, wide, n),
        far=_spread_out(kept, far, n),
        isolated=_flags(kept, isolated, n),
        one_sided=_flags(kept, one_sided, n),
        agree=_flags(kept, agree, n),
    )


def _spread_out(kept: Ints, values: Floats, n: int) -> Floats:
    found = np.full(n, np.nan)
    found[kept] = values
    return found


def _flags(kept: Ints, flags: Bools, n: int) -> Bools:
    found = np.zeros(n, dtype=np.bool_)
    found[kept] = flags
    return found
