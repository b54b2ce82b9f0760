"""How many patients a model needs, to be developed and to be validated, for a binary outcome.

Development: the criteria of Riley and others (riley_2019, riley_2020). Validation: their criteria for
observed / expected, the calibration slope and the C-statistic (riley_2021). Both were derived for
regressions; trees are hungrier, so the numbers are a lower bound here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asinh, ceil, log

import numpy as np

from training.offset import sigmoid
from training.resampling import Array

Z95 = 1.96  # the papers' and packages' rounding of the normal quantile
SHRINKAGE = 0.9  # a model whose predictor effects must be shrunk by 10 % at most
OPTIMISM = 0.05  # apparent minus adjusted Nagelkerke R2
MARGIN = 0.05  # half width of the 95 % interval of the overall risk
CALIBRATED = (0.8, 1.25)  # slope and expected / observed: off by a quarter at most (our convention)
AUROC_WIDTH = 0.1  # of its 95 % interval (riley_2021)
NAGELKERKE = 0.15  # share of the largest R2 to plan with when nothing is known (riley_2020)


Interval = tuple[float, float]


@dataclass(frozen=True)
class DevelopmentSize:
    """Patients needed to develop a model, by criterion; required is the largest of them.

    shrinkage: predictor effects shrunk by 10 % at most. optimism: of the Nagelkerke R2, 0.05 at most.
    overall_risk: known to within 0.05.
    """

    shrinkage: int
    optimism: int
    overall_risk: int
    parameters: int
    prevalence: float

    @property
    def required(self) -> int:
        """Patients that meet all criteria."""
        return max(self.shrinkage, self.optimism, self.overall_risk)

    @property
    def events(self) -> int:
        """Patients with severe CRS among those required."""
        return ceil(self.required * self.prevalence)

    @property
    def events_per_parameter(self) -> float:
        """Events for each candidate parameter at the required size."""
        return self.required * self.prevalence / self.parameters


@dataclass(frozen=True)
class ValidationSize:
    """Patients needed to validate a model, by criterion; required is the largest of them."""

    observed_expected: int
    calibration_slope: int
    auroc: int
    prevalence: float

    @property
    def required(self) -> int:
        """Patients that meet all criteria."""
        return max(self.observed_expected, self.calibration_slope, self.auroc)

    @property
    def events(self) -> int:
        """Patients with severe CRS among those required."""
        return ceil(self.required * self.prevalence)


def largest_r2(prevalence: float) -> float:
    """The largest Cox-Snell R2 that a binary outcome of this prevalence allows."""
    _check_share("prevalence", prevalence)
    null = prevalence * log(prevalence) + (1 - prevalence) * log(1 - prevalence)
    return 1.0 - float(np.exp(2.0 * null))


def development_size(
    prevalence: float, parameters: int, r2_cox_snell: float | None = None
) -> DevelopmentSize:
    """Patients needed to develop a model.

    Args:
        prevalence: expected share of patients with severe CRS, above 0 and below 1.
        parameters: candidate predictor parameters, 1 or more.
        r2_cox_snell: expected R2; None: 15 % of the largest.

    Raises:
        ValueError: a number outside its range.

    >>> development_size(0.174, 24, 0.288).required
    662
    """
    largest = largest_r2(prevalence)
    r2 = NAGELKERKE * largest if r2_cox_snell is None else r2_cox_snell
    if not 0 < r2 < largest:
        raise ValueError(f"R2 {r2:.3f}; it must be above 0 and below {largest:.3f} at this prevalence")
    if parameters < 1:
        raise ValueError(f"{parameters} parameters; a model has 1 or more")
    kept = r2 / (r2 + OPTIMISM * largest)
    return DevelopmentSize(
        shrinkage=_for_shrinkage(r2, parameters, SHRINKAGE),
        optimism=_for_shrinkage(r2, parameters, kept),
        overall_risk=ceil((Z95 / MARGIN) ** 2 * prevalence * (1 - prevalence)),
        parameters=parameters,
        prevalence=prevalence,
    )


def _for_shrinkage(r2: float, parameters: int, shrinkage: float) -> int:
    """Patients at which the expected uniform shrinkage of a regression is `shrinkage`."""
    return ceil(parameters / ((shrinkage - 1.0) * log(1.0 - r2 / shrinkage)))


def validation_size(
    prevalence: float,
    auroc: float,
    log_odds: Array,
    *,
    ratio_width: float = CALIBRATED[1] - CALIBRATED[0],
    slope_width: float = CALIBRATED[1] - CALIBRATED[0],
    auroc_width: float = AUROC_WIDTH,
) -> ValidationSize:
    """Patients needed so that 95 % intervals are no wider than stated, for a model that is well calibrated.

    Args:
        prevalence: expected share of patients with severe CRS.
        auroc: expected.
        log_odds: of the model's risks in patients like those to come, shape (n,).
        ratio_width: of observed / expected.
        slope_width: of the calibration slope.
        auroc_width: of the AUROC.

    Raises:
        ValueError: a number outside its range, or risks that do not differ.
    """
    _check_share("prevalence", prevalence)
    return ValidationSize(
        observed_expected=size_for_ratio(prevalence, ratio_width),
        calibration_slope=size_for_slope(log_odds, slope_width),
        auroc=size_for_auroc(prevalence, auroc, auroc_width),
        prevalence=prevalence,
    )


def size_from_intervals(
    n: int, prevalence: float, ratio: Interval, slope: Interval, auroc: Interval
) -> ValidationSize:
    """Patients at which intervals found in `n` patients would be as narrow as `validation_size` asks.

    The width falls with the root of the number of patients; rows of one patient being alike is in the
    intervals, which the closed forms do not know. ratio, slope, auroc: low and high of each.
    """
    spread = log(ratio[1] / max(ratio[0], 1e-6)) / log(CALIBRATED[1] / CALIBRATED[0])
    return ValidationSize(
        observed_expected=ceil(n * spread**2),
        calibration_slope=ceil(n * ((slope[1] - slope[0]) / (CALIBRATED[1] - CALIBRATED[0])) ** 2),
        auroc=ceil(n * ((auroc[1] - auroc[0]) / AUROC_WIDTH) ** 2),
        prevalence=prevalence,
    )


def size_for_ratio(prevalence: float, width: float) -> int:
    """Patients at which the 95 % interval of an observed / expected of 1 has this width."""
    spread = asinh(width / 2.0) / Z95  # standard error of ln(O/E)
    return ceil((1.0 - prevalence) / (prevalence * spread**2))


def size_for_slope(log_odds: Array, width: float) -> int:
    """Patients at which the 95 % interval of a calibration slope of 1 has this width.

    Raises:
        ValueError: the risks do not differ, so that they have no slope.
    """
    risk = sigmoid(log_odds)
    information = risk * (1 - risk)
    a, b, c = (float((information * log_odds**k).mean()) for k in range(3))
    if a * c - b * b <= 1e-12:
        raise ValueError("the risks do not differ: a calibration slope needs risks that do")
    spread = width / (2.0 * Z95)
    return ceil(a / (spread**2 * (a * c - b * b)))


def size_for_auroc(prevalence: float, auroc: float, width: float) -> int:
    """Fewest patients at which the 95 % interval of the AUROC has this width (newcombe_2006)."""
    _check_share("AUROC", auroc)
    c, share = auroc, prevalence * (1 - prevalence)

    def variance(n: int) -> float:
        spread = (n / 2 - 1) * ((1 - c) / (2 - c) + c / (1 + c))
        return c * (1 - c) * (1 + spread) / (n * n * share)

    target = (width / (2.0 * Z95)) ** 2
    high = 4
    while variance(high) > target:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if variance(middle) > target else (low, middle)
    return high


def sample_size_note(family: str, patients: int, events: int, parameters: int) -> str:
    """What a regression on as many predictors would need, against what the family has."""
    if not 0 < events < patients:
        return f"{family}: {events} of {patients} patients had severe CRS; no sample size can be worked out."
    size = development_size(events / patients, parameters)
    enough = patients >= size.required
    return (
        f"{family}: for {parameters} candidate predictors, {patients / parameters:.1f} patients and "
        f"{events / parameters:.2f} events each, the criteria of Riley ask for {size.required:,} patients with "
        f"{size.events:,} events (at {events / patients:.1%}, R2 {NAGELKERKE:.0%} of the largest); there are "
        f"{patients:,} with {events:,}, {'enough' if enough else 'too few'}"
        + ("." if enough else ": only strong shrinkage makes a model possible, and its intervals are wide.")
    )


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} {value}; it must be above 0 and below 1")
