"""How `data/priors.csv` follows from the published cohorts of `data/incidence.csv`.

A small hierarchy on the logit scale, worked out on grids (docs/decisions/0010): a product in an indication
lies around its group's mean, the group's mean around its class's. ASTCT counts set the rate. A cohort graded
by another system enters with a deviation of its own and moves the rate only weakly; one graded by Penn widens
the interval and never moves the rate.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from crsrisk.data_files import rows
from crsrisk.priors import LEVELS, OUTCOMES, Level, Outcome
from crsrisk.therapies import Group, groups

Array = NDArray[np.float64]

COLUMNS = (
    *("level", "key", "outcome", "events", "n", "events_astct", "n_astct", "crude"),
    *("rate", "low", "high", "logit_sd", "tau", "sources"),
)
TAU_FLOOR = 0.3  # between products of a group; estimates of zero from 2 to 5 products are not believed
TAU_SCALE = 0.5  # half-normal belief about that spread before the data
INDICATION_SD = 0.3  # between indications of one product in one group
CLASS_CENTRE, CLASS_SPREAD = -1.0, 2.5  # next to no belief about the mean of a class
# Spread (logit) of a cohort graded by another system around its ASTCT rate. Pennisi 2020: the systems agree
# on CRS yes or no in 99 % of patients, on the grade in 25 %.
SYSTEM_SD: Mapping[Outcome, float] = MappingProxyType({"severe": 0.5, "any": 0.1})
PENN_WEIGHT = 0.1  # share of belief in a Penn cohort's rate when the interval is widened
_Z = 1.959963984540054

THETA = np.linspace(-10.0, 6.0, 641)  # logits on which every density is held
_MU, _TAU = np.meshgrid(np.linspace(-7.0, 4.0, 111), np.linspace(TAU_FLOOR, 1.8, 16), indexing="ij")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCohort:
    """One published cohort: of `n` treated, `events` had the outcome, graded by `system`."""

    therapy: str
    product: str
    group: str
    system: str
    n: int
    events: int
    source: str


@dataclass(frozen=True, slots=True)
class Fit:
    """Posterior of a level: joint weights of its mean and spread, shape (111, 16), and their summaries."""

    weights: Array
    mean: float
    mean_sd: float
    tau: float


def published_cohorts(outcome: Outcome) -> tuple[PublishedCohort, ...]:
    """The cohorts that state the outcome, in the order of `data/incidence.csv`."""
    return tuple(
        PublishedCohort(
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


def recompute() -> str:
    """The text of `data/priors.csv`, computed from `data/incidence.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in OUTCOMES:
        writer.writerows(base_rates(published_cohorts(outcome), outcome))
    return text.getvalue()


def base_rates(found: Sequence[PublishedCohort], outcome: Outcome) -> list[list[str]]:
    """Rows of `data/priors.csv` for one outcome, from the product in an indication up to the class."""
    units = _likelihoods(found, outcome)
    by_kind = {kind: [one for one in found if _kind(one.group) == kind] for kind in ("cells", "engager")}
    classes = {
        kind: fit_level([units[key] for key in _with_counts(inside, units)], CLASS_CENTRE, CLASS_SPREAD)
        for kind, inside in by_kind.items()
    }
    lines: dict[Level, list[list[str]]] = {level: [] for level in LEVELS}
    for group in groups().values():
        inside = [one for one in found if one.group == group.key]
        for level, line in _group_rows(group, inside, units, classes[_kind(group.key)], outcome):
            lines[level].append(line)
    for class_, kind in (("cart", "cells"), ("engager", "engager"), ("engineered_t", "cells")):
        mean, sd = _summary(_predictive(classes[kind]), ())
        line = _row(("class", class_, outcome), by_kind[kind], (mean, sd, classes[kind].tau))
        lines["class"].append(line)
    return [line for level in LEVELS for line in lines[level]]


def _group_rows(
    group: Group,
    inside: Sequence[PublishedCohort],
    units: Mapping[str, Array],
    upper: Fit,
    outcome: Outcome,
) -> Iterable[tuple[Level, list[str]]]:
    """The rows of a group, of its products and of their indications; `upper` is the fit of its class."""
    keys = _with_counts(inside, units)
    fit = fit_level([units[key] for key in keys], upper.mean, math.hypot(upper.mean_sd, upper.tau))
    before = _predictive(fit)
    for key in keys:
        own = [one for one in inside if one.therapy == key]
        mean, sd = _summary(_posterior(units[key], before), own)
        yield "indication", _row(("indication", key, outcome), own, (mean, sd, fit.tau))
    for product in dict.fromkeys(one.product for one in inside if one.therapy in units):
        own = [one for one in inside if one.product == product]
        parts = [_smoothed(units[key], INDICATION_SD) for key in _with_counts(own, units)]
        mean, sd = _summary(_posterior(np.sum(parts, axis=0), before), own)
        sd = math.hypot(sd, INDICATION_SD)  # for an indication not yet seen
        yield "product", _row(("product", f"{product}/{group.key}", outcome), own, (mean, sd, fit.tau))
    mean, sd = _summary(before, ())
    yield "group", _row(("group", group.key, outcome), inside, (mean, sd, fit.tau))


def fit_level(units: Sequence[Array], centre: float, spread: float) -> Fit:
    """Mean and spread of a level.

    Args:
        units: log likelihood over `THETA` of each product in an indication.
        centre: belief about the mean before the data (logit).
        spread: its standard deviation.
    """
    log_weights = -0.5 * ((_MU - centre) / spread) ** 2 - 0.5 * (_TAU / TAU_SCALE) ** 2
    density = _normal(_MU, _TAU)
    for unit in units:
        log_weights = log_weights + np.log(np.maximum(density @ np.exp(unit - unit.max()), 1e-300))
    weights: Array = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = float((weights * _MU).sum())
    mean_sd = math.sqrt(float((weights * (_MU - mean) ** 2).sum()))
    return Fit(weights, mean, mean_sd, float((weights * _TAU).sum()))


def _normal(mean: Array, sd: Array | float) -> Array:
    """Normal weights over `THETA` that sum to one, shape (*mean.shape, 641)."""
    distance = (THETA - mean[..., None]) / np.asarray(sd)[..., None]
    weights: Array = np.exp(-0.5 * distance**2)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def _likelihoods(found: Sequence[PublishedCohort], outcome: Outcome) -> dict[str, Array]:
    """Log likelihood over `THETA` by therapy; Penn cohorts have none."""
    units: dict[str, Array] = {}
    for one in found:
        if one.system == "Penn":
            continue
        part: Array = one.events * THETA - one.n * np.logaddexp(0.0, THETA)
        if one.system != "ASTCT":
            part = _smoothed(part, SYSTEM_SD[outcome])
        units[one.therapy] = units[one.therapy] + part if one.therapy in units else part
    return units


def _smoothed(log_likelihood: Array, sd: float) -> Array:
    """Log of the likelihood averaged over a normal deviation with standard deviation `sd`."""
    top = float(log_likelihood.max())
    averaged = _normal(THETA, np.full_like(THETA, sd)) @ np.exp(log_likelihood - top)
    logs: Array = top + np.log(np.maximum(averaged, 1e-300))
    return logs


def _predictive(fit: Fit) -> Array:
    """Density over `THETA` of a product of the level that has no data."""
    density: Array = np.tensordot(fit.weights, _normal(_MU, _TAU), axes=([0, 1], [0, 1]))
    return density


def _posterior(log_likelihood: Array, before: Array) -> Array:
    weights: Array = before * np.exp(log_likelihood - log_likelihood.max())
    return weights / weights.sum()


def _summary(density: Array, own: Sequence[PublishedCohort]) -> tuple[float, float]:
    """Mean and standard deviation of the logit; Penn cohorts among `own` widen the latter."""
    mean = float((density * THETA).sum())
    variance = float((density * (THETA - mean) ** 2).sum())
    penn = [one for one in own if one.system == "Penn"]
    if penn:
        events, n = sum(one.events for one in penn), sum(one.n for one in penn)
        away = math.log((events + 0.5) / (n - events + 0.5)) - mean
        variance += PENN_WEIGHT * (1.0 - PENN_WEIGHT) * away**2
    return mean, math.sqrt(variance)


def _kind(group: str) -> str:
    """Cells and engagers are the two classes with data; engineered T cells count as cells."""
    return "engager" if groups()[group].classes == ("engager",) else "cells"


def _with_counts(found: Sequence[PublishedCohort], units: Mapping[str, Array]) -> list[str]:
    """The therapies among `found` that have a likelihood, each once."""
    return list(dict.fromkeys(one.therapy for one in found if one.therapy in units))


def _row(
    name: tuple[Level, str, Outcome], found: Sequence[PublishedCohort], logit: tuple[float, float, float]
) -> list[str]:
    """One line of the file; `logit` is mean, standard deviation and the level's spread between products."""
    counted = [one for one in found if one.system != "Penn"]
    astct = [one for one in counted if one.system == "ASTCT"]
    events, n = sum(one.events for one in counted), sum(one.n for one in counted)
    mean, sd, tau = logit
    rates = (1.0 / (1.0 + math.exp(-(mean + z * sd))) for z in (0.0, -_Z, _Z))
    return [
        *name,
        str(events),
        str(n),
        str(sum(one.events for one in astct)),
        str(sum(one.n for one in astct)),
        f"{events / n:.4f}" if n else "",
        *(f"{rate:.4f}" for rate in rates),
        f"{sd:.3f}",
        f"{tau:.2f}",
        ";".join(dict.fromkeys(one.source for one in found)),
    ]
