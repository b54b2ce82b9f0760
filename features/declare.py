"""What a feature is: name, source variable, window, statistic, unit, meaning and citation in one declaration.

Column order, data dictionary, labels and the digest that ties a model to its features are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crsrisk.analytes import analyte
from features.engine import WindowName
from features.segments import Statistic

Floats = NDArray[np.float64]

Role = Literal["predictor", "support", "treatment"]

WINDOWS: Mapping[str, str] = {
    "baseline": "(-inf, 0] h from the course's index time (infusion, or first dose of an engager)",
    "since_index": "(0, landmark] h from the course's index time",
    "last_24h": "(landmark - 24, landmark]",
    "since_dose": "(latest dose, landmark]; the same as since_index for cells and for a first dose",
    "so_far": "(-inf, landmark]",
    "before_dose": "(-inf, latest dose]",
    "landmark": "a fact about the landmark itself: clock, therapy, sex",
}
STATISTICS: Mapping[str, str] = {
    "last": "the latest value",
    "first": "the first value",
    "max": "the highest value",
    "min": "the lowest value",
    "mean": "the mean of the values",
    "slope": "least-squares trend per day; values less than 1 h apart give none",
    "change": "the latest value minus the latest baseline value",
    "log2_ratio": "log2 of the latest value over the latest baseline value: doublings; both must be above 0",
    "hours_above": "hours at or above the limit; a value speaks until the next one, at most 12 h",
    "hours_since_last": "hours from the latest value to the landmark",
    "count": "number of values; 0 when there is none",
}


class Need(NamedTuple):
    """One statistic of the engine that a derived feature is computed from."""

    analyte: str
    window: WindowName
    statistic: Statistic
    threshold: float = float("nan")


class Inputs(Protocol):
    """What a derived feature may look at: its needs, the clock of the row and the therapy; never an event."""

    dose: Floats
    dose_hours: Floats
    landmark_hours: Floats
    as_of_hours: Floats

    def get(self, analyte: str, window: WindowName, statistic: Statistic) -> Floats:
        """One of the declared needs, per row."""

    def therapy(self, fact: str) -> Floats:
        """A fact about the therapy of the course, per row: see `features.matrix.THERAPY_FACTS`."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column of the design matrix, and everything a reader must know about it.

    monotone: sign of the effect on the risk where a source gives it, else 0.
    role: `predictor`; `support` (oxygen, pressors, blood pressure: they define the grade); `treatment`
        (given for CRS: it follows the outcome, shown only). Only predictors are in a model unless asked
        otherwise.
    log_scale: right-skewed and positive; a linear model takes the logarithm.
    derive: None for a statistic of one analyte; else the function of the inputs in `needs`.
    """

    name: str
    analyte: str
    window: str
    statistic: str
    unit: str
    meaning: str
    source: str
    theme: str
    monotone: Literal[-1, 0, 1] = 0
    role: Role = "predictor"
    threshold: float = float("nan")
    log_scale: bool = False
    needs: tuple[Need, ...] = ()
    derive: Callable[[Inputs], Floats] | None = None

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ValueError(f"{self.name}: window {self.window!r}; there are {sorted(WINDOWS)}")
        if self.derive is None and self.statistic not in STATISTICS:
            raise ValueError(f"{self.name}: statistic {self.statistic!r}; there are {sorted(STATISTICS)}")
        if self.derive is None and self.needs:
            raise ValueError(f"{self.name}: needs without a derivation")

    @property
    def requests(self) -> tuple[Need, ...]:
        """The engine's statistics behind this feature."""
        if self.derive is not None:
            return self.needs
        return (Need(self.analyte, self.window, self.statistic, self.threshold),)  # type: ignore[arg-type]


def measured(
    analyte_key: str,
    *columns: str,
    theme: str,
    why: str,
    source: str,
    role: Role = "predictor",
    rising: Sequence[str] = (),
    falling: Sequence[str] = (),
    log_scale: bool = False,
) -> tuple[Feature, ...]:
    """Features of one analyte; a column is `statistic_window`, for hours_above `hours_above_38_since_dose`.

    Args:
        analyte_key: key of the analyte catalogue.
        columns: `last_baseline`, `max_since_index`, ...
        theme: the file's clinical theme.
        why: what the analyte says about CRS, one sentence.
        source: key in docs/sources.bib for the relation to CRS.
        role: see Feature.
        rising: the columns with which the source lets the risk rise.
        falling: the columns with which the source lets the risk fall.
        log_scale: see Feature; applies to the columns in the unit of the analyte.
    """
    wrong = sorted({*rising, *falling} - set(columns))
    if wrong:
        raise ValueError(f"{analyte_key}: sign for columns {wrong} that are not declared")
    features = []
    for column in columns:
        statistic, threshold, window = _parse(column)
        unit = _unit(analyte_key, statistic)
        limit = "" if isnan(threshold) else f" ({threshold:g} {unit_of(analyte_key)})"
        features.append(
            Feature(
                name=f"{analyte_key}_{column}",
                analyte=analyte_key,
                window=window,
                statistic=statistic,
                unit=unit,
                meaning=f"{analyte(analyte_key).name_en}: {STATISTICS.get(statistic, statistic)}{limit}. {why}",
                source=source,
                theme=theme,
                monotone=1 if column in rising else -1 if column in falling else 0,
                role=role,
                threshold=threshold,
                log_scale=log_scale and statistic in ("last", "first", "max", "min", "mean"),
            )
        )
    return tuple(features)


def unit_of(analyte_key: str) -> str:
    """Canonical unit of an analyte."""
    return analyte(analyte_key).unit


def _unit(analyte_key: str, statistic: str) -> str:
    if statistic == "slope":
        return f"{unit_of(analyte_key)}/d"
    if statistic.startswith("hours_"):
        return "h"
    if statistic in ("count", "log2_ratio"):
        return "1"
    return unit_of(analyte_key)


def _parse(column: str) -> tuple[str, float, str]:
    """Statistic, threshold (nan when it has none) and window of a column name."""
    window = next((w for w in WINDOWS if column.endswith(f"_{w}")), None)
    if window is None:
        raise ValueError(f"column {column!r} ends with no window; there are {sorted(WINDOWS)}")
    statistic = column.removesuffix(f"_{window}")
    if statistic.startswith("hours_above_"):
        return "hours_above", float(statistic.removeprefix("hours_above_")), window
    return statistic, float("nan"), window
