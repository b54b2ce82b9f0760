"""Whether CRS is treated as it was where a model learned: rates of first use, compared state by state."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import exp, inf, isfinite, lgamma, log, log1p, nan, sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from training.anticytokines import DRUGS
from training.outcomes import CourseOutcomes
from training.policy import BASELINE, COURSES, EXPOSED, STARTED, Cell, Policy, cells, key, treatment_policy

Array = NDArray[np.float64]
ALPHA = 0.01  # chance of a false warning over all comparisons of one cohort: our convention
LEAST_RATIO = 1.25  # what a difference must surely exceed to be a change of policy: our convention
EXACT_STARTS = 2000  # up to so many first uses the distribution is worked out, above it is normal
_Z95 = 1.959963984540054

DRUG_WORDS = {
    "tocilizumab": "Tocilizumab",
    "steroid": "A steroid",
    "other": "Siltuximab, anakinra or ruxolitinib",
}
CONTEXT_WORDS = {
    BASELINE: "as prophylaxis, up to the infusion or first dose",
    "before_crs": "before CRS",
    "below_grade2": "in CRS below grade 2",
    "grade2": "at grade 2",
    "grade3": "from grade 3 on",
}


@dataclass(frozen=True)
class RateChange:
    """First uses of one drug in one state, where the model learned and now.

    learned, now: first uses per 100 patient-days in that state (prophylaxis: per 100 courses). ratio: now over
    learned, adjusted for the time since onset, with its 95 % interval. z: score statistic of no difference. p: of a
    ratio no further from 1 than LEAST_RATIO, two-sided. compared: whether the numbers could tell at all.
    """

    drug: str
    context: str
    learned: float
    now: float
    ratio: float
    low: float
    high: float
    z: float
    p: float
    compared: bool

    def sentence(self) -> str:
        """The two rates in words."""
        per = "courses" if self.context == BASELINE else "patient-days"
        bounds = f", 95 % interval {_short(self.low)} to {_short(self.high)}" if isfinite(self.high) else ""
        ratio = f" (ratio {_short(self.ratio)}{bounds})" if isfinite(self.ratio) else ""
        return (
            f"{DRUG_WORDS[self.drug]} {CONTEXT_WORDS[self.context]}: {self.now:.1f} first uses per 100 {per}, against "
            f"{self.learned:.1f} where the model learned{ratio}."
        )


@dataclass(frozen=True)
class PolicyChange:
    """All comparisons of two policies.

    changes: one per drug and state. courses_learned, courses: with graded times behind them.
    """

    changes: tuple[RateChange, ...]
    courses_learned: int
    courses: int

    @property
    def changed(self) -> tuple[RateChange, ...]:
        """Comparisons that are surely different and by more than a little, the surest first."""
        compared = [c for c in self.changes if c.compared]
        found = [c for c in compared if c.p * len(compared) < ALPHA]
        return tuple(sorted(found, key=lambda c: -abs(c.z)))

    @property
    def warning(self) -> str:
        """What a user of the model must know; empty when no change was found."""
        if not self.changed:
            return ""
        told = " ".join(c.sentence() for c in self.changed[:3])
        return (
            f"The treatment policy changed: {told} The model's risks hold for patients treated as those it learned "
            "from; recalibrate or retrain it on local patients before they are used."
        )

    def note(self) -> str:
        """The warning, or in one sentence that none was due and on how much that rests."""
        if self.changed:
            return self.warning
        compared = sum(c.compared for c in self.changes)
        sides = {
            "here": [c.now for c in self.changes],
            "where the model learned": [c.learned for c in self.changes],
        }
        silent = [where for where, rates in sides.items() if not any(rate > 0 for rate in rates)]
        if silent:
            return (
                "Whether CRS is treated as where the model learned can't be told: no treatment of CRS with a known "
                f"time is recorded {' and '.join(silent)}."
            )
        if not compared:
            return (
                f"Whether CRS is treated as where the model learned can't be told from {self.courses} courses (and "
                f"{self.courses_learned} there): too few treatments with known times and grades."
            )
        return (
            f"No change of treatment policy was found in {self.courses} courses ({compared} comparisons of drug and "
            "state; the others are too few to compare)."
        )

    def table(self) -> pd.DataFrame:
        """A row per drug and state with the fields of `RateChange` and `changed`."""
        names = [f.name for f in fields(RateChange)]
        rows = [[*(getattr(c, name) for name in names), c in self.changed] for c in self.changes]
        return pd.DataFrame(rows, columns=[*names, "changed"])


def policy_change(
    stored: Policy, cohort: Cohort, family: str | None = None, *, outcomes: CourseOutcomes | None = None
) -> PolicyChange:
    """The policy kept with a model against that of a cohort.

    Args:
        stored: `RiskModel.policy`; empty in versions made before it was kept: then nothing is compared.
        cohort: patients on whom the model is used.
        family: of the model.
        outcomes: `course_outcomes(cohort)` when computed before.
    """
    return compared_policies(stored, treatment_policy(cohort, family, outcomes=outcomes))


def compared_policies(learned: Policy, now: Policy) -> PolicyChange:
    """Two policies, drug by drug and state by state; a number that one lacks counts as 0."""
    pairs = list(dict.fromkeys((cell.drug, cell.context) for cell in cells()))
    changes = tuple(
        _rate_change(
            drug, context, [c for c in cells() if (c.drug, c.context) == (drug, context)], learned, now
        )
        for drug, context in sorted(pairs, key=lambda pair: (list(DRUGS).index(pair[0]), pairs.index(pair)))
    )
    return PolicyChange(changes, int(learned.get(COURSES, 0)), int(now.get(COURSES, 0)))


def _rate_change(drug: str, context: str, strata: list[Cell], learned: Policy, now: Policy) -> RateChange:
    """Mantel-Haenszel rate ratio over the strata, and what it is worth given how many first uses there were.

    Source: greenland_1985 (variance of the log ratio of person-time data).
    """
    started_then, exposed_then, started_now, exposed_now = (
        [policy.get(key(cell, what), 0.0) for cell in strata]
        for policy in (learned, now)
        for what in (STARTED, EXPOSED)
    )
    told = [  # a stratum in which nobody was on one side tells nothing about a difference
        (int(a + b), b, a, t, u)
        for a, t, b, u in zip(started_then, exposed_then, started_now, exposed_now, strict=True)
        if t > 0 and u > 0
    ]
    upper = sum(b * t / (t + u) for _, b, _, t, u in told)
    lower = sum(a * u / (t + u) for _, _, a, t, u in told)
    variance = sum(n * t * u / (t + u) ** 2 for n, _, _, t, u in told)
    ratio, low, high = _interval(upper, lower, variance)
    exposed = [(n, t, u) for n, _, _, t, u in told]
    total = sum(n for n, _, _ in exposed)
    extreme = min(_p(exposed, 0), _p(exposed, total))
    return RateChange(
        drug=drug,
        context=context,
        learned=_per_hundred(started_then, exposed_then),
        now=_per_hundred(started_now, exposed_now),
        ratio=ratio,
        low=low,
        high=high,
        z=(upper - lower) / sqrt(variance) if variance > 0 else 0.0,
        p=_p(exposed, int(sum(b for _, b, _, _, _ in told))),
        compared=extreme < ALPHA,
    )


def _p(exposed: list[tuple[int, float, float]], now: int) -> float:
    """Two-sided p of `now` first uses if the ratio of rates is no further from 1 than LEAST_RATIO.

    exposed: first uses on both sides, time there and time now, by stratum. Given their sum, those of now are binomial.
    """
    above = _tail(exposed, now, LEAST_RATIO, above=True)
    below = _tail(exposed, now, 1.0 / LEAST_RATIO, above=False)
    return min(1.0, 2.0 * min(above, below))


def _tail(exposed: list[tuple[int, float, float]], now: int, ratio: float, *, above: bool) -> float:
    """Chance of `now` first uses or more (or fewer) at a ratio of rates."""
    shares = [(n, ratio * u / (t + ratio * u)) for n, t, u in exposed if n > 0]
    if sum(n for n, _ in shares) > EXACT_STARTS:
        mean = sum(n * share for n, share in shares)
        sd = sqrt(sum(n * share * (1 - share) for n, share in shares))
        z = (now - 0.5 - mean) / sd if above else (mean - now - 0.5) / sd
        return 1.0 - NormalDist().cdf(z)
    chance = np.ones(1)
    for n, share in shares:
        chance = np.convolve(chance, _binomial(n, share))
    return float(chance[now:].sum() if above else chance[: now + 1].sum())


def _binomial(n: int, share: float) -> Array:
    """Chances of 0 to n."""
    k = np.arange(n + 1)
    ways = lgamma(n + 1) - np.array([lgamma(i + 1) + lgamma(n - i + 1) for i in k.tolist()])
    chances: Array = np.exp(ways + k * log(share) + (n - k) * log1p(-share))
    return chances


def _interval(upper: float, lower: float, spread: float) -> tuple[float, float, float]:
    """Ratio and its 95 % interval; with no start on one side the ratio is 0 or infinite and has none."""
    if upper <= 0 or lower <= 0:
        return (nan if upper <= 0 and lower <= 0 else (0.0 if upper <= 0 else inf)), nan, nan
    ratio = upper / lower
    width = _Z95 * sqrt(spread / (upper * lower))
    return ratio, ratio * exp(-width), ratio * exp(width)


def _per_hundred(started: list[float], exposed: list[float]) -> float:
    return 100.0 * sum(started) / sum(exposed) if sum(exposed) > 0 else nan


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
