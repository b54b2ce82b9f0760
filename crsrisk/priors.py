"""Base rates of CRS by therapy: the published incidence, shrunken, on the ASTCT scale.

`python -m crsrisk.priors` recomputes `data/priors.csv` from `data/incidence.csv`. The model is a small hierarchy on the
logit scale (docs/decisions/0010): product in an indication, inside its group, inside its class. ASTCT counts set the
rate; cohorts graded by another system enter with a spread of their own, so that they move it only weakly; cohorts
graded by Penn widen the interval and never move the rate.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from crsrisk.data_files import rows
from crsrisk.errors import UnknownTherapyError
from crsrisk.therapies import Therapy, groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Outcome = Literal["severe", "any"]
Level = Literal["indication", "product", "group", "class"]
OUTCOMES: tuple[Outcome, ...] = ("severe", "any")
LEVELS: tuple[Level, ...] = ("indication", "product", "group", "class")
COLUMNS = "level,key,outcome,events,n,events_astct,n_astct,crude,rate,low,high,logit_sd,tau,sources".split(
    ","
)

TAU_FLOOR = 0.3  # between products of a group; estimates of zero from 2 to 5 products are not believed
TAU_SCALE = 0.5  # half-normal belief about that spread before the data
# Spread (logit) of a cohort graded by another system around its ASTCT rate. Pennisi 2020: the systems agree on CRS yes
# or no in 99 % of patients, on the grade in 25 %.
SYSTEM_SD: Mapping[Outcome, float] = MappingProxyType({"severe": 0.5, "any": 0.1})
PENN_WEIGHT = 0.1  # share of belief in a Penn cohort's rate when the interval is widened
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The base rate of a therapy before anything about the patient is known.

    `low` and `high` hold 95 % on the rate; for `group` and `class` they are predictive for a product not yet seen.
    `logit_sd` is the standard deviation of the logit. `source` names the cohorts' sources, separated by semicolons.
    """

    rate: float
    low: float
    high: float
    logit_sd: float
    level: Level
    source: str


@cache
def _priors() -> Mapping[tuple[str, str, str], Prior]:
    found: dict[tuple[str, str, str], Prior] = {}
    for row in rows("priors.csv"):
        level = next(level for level in LEVELS if level == row["level"])
        found[(level, row["key"], row["outcome"])] = Prior(
            rate=float(row["rate"]),
            low=float(row["low"]),
            high=float(row["high"]),
            logit_sd=float(row["logit_sd"]),
            level=level,
            source=row["sources"],
        )
    return MappingProxyType(found)


def prior(therapy: Therapy, outcome: Outcome = "severe") -> Prior:
    """The base rate of `therapy`: product in the indication, else product, else group, else class.

    Raises:
        UnknownTherapyError: the therapy's class is none of those known.
    """
    keys: list[tuple[Level, str]] = []
    if therapy.in_catalogue:
        keys = [("indication", therapy.key), ("product", f"{therapy.product}/{therapy.group}")]
    if therapy.group:
        keys.append(("group", therapy.group))
    keys.append(("class", therapy.class_))
    for level, key in keys:
        found = _priors().get((level, key, outcome))
        if found is not None:
            return found
    raise UnknownTherapyError(
        f"therapy class {therapy.class_!r} has no base rate; accepted: cart, engager, engineered_t"
    )


# --- recomputing -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """One published cohort: of `n` treated, `events` had the outcome, graded by `system`."""

    therapy: str
    product: str
    group: str
    system: str
    n: int
    events: int
    source: str


def cohorts(outcome: Outcome) -> tuple[Cohort, ...]:
    """The published cohorts that state the outcome, in the order of `data/incidence.csv`."""
    return tuple(
        Cohort(
            therapy=row["therapy"],
            product=row["product"],
            group=row["group"],
            system=row["system"],
            n=int(row["n"]),
            events=int(row[outcome]),
            source=row["source"],
        )
        for row in rows("incidence.csv")
        if row[outcome] != ""
    )


class _Grid:
    """Logits on which every density of the hierarchy is held."""

    def __init__(self) -> None:
        import numpy as np

        self.theta = np.linspace(-10.0, 6.0, 641)
        self.mu = np.linspace(-7.0, 4.0, 111)
        self.tau = np.linspace(TAU_FLOOR, 1.8, 16)

    def normal(self, mean: "Array | float", sd: "Array | float") -> "Array":
        """Weights of a normal density over `theta`, summing to one over the last axis."""
        import numpy as np

        distance = (self.theta - np.asarray(mean)[..., None]) / np.asarray(sd)[..., None]
        weights: Array = np.exp(-0.5 * distance**2)
        return weights / weights.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Posterior of a level: joint weights of its mean and its spread."""

    weights: "Array"  # (mu, tau)
    mean: float
    mean_sd: float
    tau: float


def _log_likelihood(grid: _Grid, cohort: Cohort, sd: float) -> "Array":
    """Log likelihood of a cohort over `theta`; `sd` is the spread of its grading system around ASTCT."""
    import numpy as np

    theta = grid.theta
    log_binomial: Array = cohort.events * theta - cohort.n * np.logaddexp(0.0, theta)
    if sd == 0.0 or cohort.system == "ASTCT":
        return log_binomial
    return _smoothed(grid, log_binomial, sd)


def _smoothed(grid: _Grid, log_likelihood: "Array", sd: float) -> "Array":
    """Log of the likelihood averaged over a normal deviation with standard deviation `sd`."""
    import numpy as np

    top = float(log_likelihood.max())
    averaged = grid.normal(grid.theta, sd) @ np.exp(log_likelihood - top)
    logs: Array = top + np.log(np.maximum(averaged, 1e-300))
    return logs


def _unit_likelihoods(grid: _Grid, found: Sequence[Cohort], outcome: Outcome) -> dict[str, "Array"]:
    """Log likelihood over `theta` per therapy, Penn cohorts left out."""
    units: dict[str, Array] = {}
    for cohort in found:
        if cohort.system == "Penn":
            continue
        part = _log_likelihood(grid, cohort, SYSTEM_SD[outcome])
        units[cohort.therapy] = units[cohort.therapy] + part if cohort.therapy in units else part
    return units


def _fit(grid: _Grid, units: Sequence["Array"], centre: float, spread: float) -> _Fit:
    """Mean and spread of a level, given its units and a normal prior for the mean; the spread's is half-normal."""
    import numpy as np

    mu, tau = np.meshgrid(grid.mu, grid.tau, indexing="ij")
    log_weights = -0.5 * ((mu - centre) / spread) ** 2 - 0.5 * (tau / TAU_SCALE) ** 2
    density = grid.normal(mu, tau)
    for unit in units:
        top = float(unit.max())
        log_weights = log_weights + top + np.log(np.maximum(density @ np.exp(unit - top), 1e-300))
    weights = np.exp(log_weights - log_weights.max())
    weights = weights / weights.sum()
    mean = float((weights * mu).sum())
    return _Fit(
        weights, mean, math.sqrt(float((weights * (mu - mean) ** 2).sum())), float((weights * tau).sum())
    )


def _predictive(grid: _Grid, fit: _Fit) -> "Array":
    """Density over `theta` of a unit of the level that has no data."""
    import numpy as np

    mu, tau = np.meshgrid(grid.mu, grid.tau, indexing="ij")
    density: Array = np.tensordot(fit.weights, grid.normal(mu, tau), axes=([0, 1], [0, 1]))
    return density


def _posterior(log_likelihood: "Array", before: "Array") -> "Array":
    import numpy as np

    weights: Array = before * np.exp(log_likelihood - log_likelihood.max())
    return weights / weights.sum()


def _summary(grid: _Grid, density: "Array", penn: Sequence[Cohort]) -> tuple[float, float]:
    """Mean and standard deviation of the logit; Penn cohorts add their disagreement to the variance only."""
    mean = float((density * grid.theta).sum())
    variance = float((density * (grid.theta - mean) ** 2).sum())
    if penn:
        events, n = sum(cohort.events for cohort in penn), sum(cohort.n for cohort in penn)
        away = math.log((events + 0.5) / (n - events + 0.5)) - mean
        variance += PENN_WEIGHT * (1.0 - PENN_WEIGHT) * away**2
    return mean, math.sqrt(variance)


def _row(
    level: Level, key: str, outcome: Outcome, found: Sequence[Cohort], mean: float, sd: float, tau: float
) -> list[str]:
    counted = [cohort for cohort in found if cohort.system != "Penn"]
    astct = [cohort for cohort in counted if cohort.system == "ASTCT"]
    events, n = sum(cohort.events for cohort in counted), sum(cohort.n for cohort in counted)
    rates = (1.0 / (1.0 + math.exp(-(mean + z * sd))) for z in (0.0, -_Z, _Z))
    return [
        level,
        key,
        outcome,
        str(events),
        str(n),
        str(sum(cohort.events for cohort in astct)),
        str(sum(cohort.n for cohort in astct)),
        f"{events / n:.4f}" if n else "",
        *(f"{rate:.4f}" for rate in rates),
        f"{sd:.3f}",
        f"{tau:.2f}",
        ";".join(dict.fromkeys(cohort.source for cohort in found)),
    ]


def _kind(group: str) -> str:
    """Cells and engagers are the two classes with data; engineered T cells count as cells."""
    return "engager" if groups()[group].classes == ("engager",) else "cells"


def _with_counts(found: Sequence[Cohort], units: Mapping[str, "Array"]) -> list[str]:
    """The therapies among `found` that have a likelihood, each once."""
    return list(dict.fromkeys(cohort.therapy for cohort in found if cohort.therapy in units))


def _compute(outcome: Outcome) -> list[list[str]]:
    grid = _Grid()
    found = cohorts(outcome)
    units = _unit_likelihoods(grid, found, outcome)
    by_kind = {
        kind: [cohort for cohort in found if _kind(cohort.group) == kind] for kind in ("cells", "engager")
    }
    class_fits = {
        kind: _fit(grid, [units[key] for key in _with_counts(inside, units)], -1.0, 2.5)
        for kind, inside in by_kind.items()
    }
    lines: dict[Level, list[list[str]]] = {level: [] for level in LEVELS}
    for group in groups().values():
        upper = class_fits[_kind(group.key)]
        inside = [cohort for cohort in found if cohort.group == group.key]
        keys = _with_counts(inside, units)
        fit = _fit(grid, [units[key] for key in keys], upper.mean, math.hypot(upper.mean_sd, upper.tau))
        before = _predictive(grid, fit)
        for key in keys:
            own = [cohort for cohort in inside if cohort.therapy == key]
            penn = [cohort for cohort in own if cohort.system == "Penn"]
            mean, sd = _summary(grid, _posterior(units[key], before), penn)
            lines["indication"].append(_row("indication", key, outcome, own, mean, sd, fit.tau))
        for product in dict.fromkeys(cohort.product for cohort in inside if cohort.therapy in units):
            own = [cohort for cohort in inside if cohort.product == product]
            parts = [units[key] for key in _with_counts(own, units)]
            together = sum((_smoothed(grid, part, TAU_FLOOR) for part in parts), start=0.0 * grid.theta)
            mean, sd = _summary(grid, _posterior(together, before), [c for c in own if c.system == "Penn"])
            sd = math.hypot(sd, TAU_FLOOR)  # an indication not yet seen
            lines["product"].append(
                _row("product", f"{product}/{group.key}", outcome, own, mean, sd, fit.tau)
            )
        mean, sd = _summary(grid, before, ())
        lines["group"].append(_row("group", group.key, outcome, inside, mean, sd, fit.tau))
    for class_, kind in (("cart", "cells"), ("engager", "engager"), ("engineered_t", "cells")):
        mean, sd = _summary(grid, _predictive(grid, class_fits[kind]), ())
        lines["class"].append(_row("class", class_, outcome, by_kind[kind], mean, sd, class_fits[kind].tau))
    return [line for level in LEVELS for line in lines[level]]


def recompute() -> str:
    """The text of `data/priors.csv`, computed from `data/incidence.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in OUTCOMES:
        writer.writerows(_compute(outcome))
    return text.getvalue()


def main() -> None:
    """Write `data/priors.csv` anew and say where."""
    file = Path(__file__).parent / "data" / "priors.csv"
    file.write_text(recompute(), encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
