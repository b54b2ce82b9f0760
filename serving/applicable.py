"""Whether a model applies to a row: what lies outside its training data abstains, what lies at their edge is noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crsrisk.analytes import Analyte, analytes
from crsrisk.therapies import Therapy
from features.registry import FEATURES
from training.applicability import TOO_FEW, gains, known_share
from training.model import RiskModel

Array = NDArray[np.float64]
IN_ITS_UNIT = frozenset(
    {"last", "first", "max", "min", "mean"}
)  # statistics that keep the unit of the analyte


@dataclass(frozen=True)
class Limited:
    """A predictor in the unit of its analyte, the plausible limits of that, and the range of training values."""

    column: int  # of the model's predictors
    analyte: Analyte
    low: float
    high: float
    seen_low: float
    seen_high: float


class Applicable:
    """The checks of one model."""

    def __init__(self, model: RiskModel) -> None:
        self._model = model
        names = model.feature_names
        self._gain = np.zeros(len(names)) if model.booster is None else gains(model.booster, names)
        self._limited = [] if model.booster is None else _limited(model)

    def unseen_class(self, used: Therapy) -> str | None:
        """Why the model can't speak of the class of a therapy (CODE: sentence); None where it can."""
        if not self._model.classes_seen or used.class_ in self._model.classes_seen:
            return None
        return (
            f"UNSEEN_CLASS: the model saw no patient with a therapy of the class {used.class_}; notes give the "
            "published rate"
        )

    def outside(self, values: Array, landmark_hours: float) -> str | None:
        """Why values lie outside the training data (CODE: sentence); None where they don't.

        Args:
            values: the model's predictors in its order, shape (n,); nan where nothing was measured.
            landmark_hours: hours after the dose.
        """
        known = self._model.applicability.at(landmark_hours)
        if known is not None and self._share(values) < TOO_FEW * known.usual:
            return (
                "TOO_FEW_INPUTS: what was measured carries less than a tenth of what the model had to go on in "
                "training at this time; missing names what would help"
            )
        _, unseen = self._implausible(values)
        if unseen:
            return (
                f"IMPLAUSIBLE_INPUT: {', '.join(unseen)}: outside the plausible limits and all training values; "
                "check them and send them again"
            )
        return None

    def notes(self, values: Array, landmark_hours: float) -> tuple[str, ...]:
        """What a reader must know about the values behind an estimate."""
        found = []
        known = self._model.applicability.at(landmark_hours)
        if known is not None and self._share(values) < known.few:
            found.append("Few inputs: hardly any patient in training had so little measured at this time.")
        names, _ = self._implausible(values)
        if names:
            found.append(f"Implausible values: {', '.join(names)}. Check them; the estimate uses them.")
        return tuple(found)

    def _share(self, values: Array) -> float:
        return float(known_share(values[None, :], self._gain)[0])

    def _implausible(self, values: Array) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Analytes with an implausible value, and those of them whose value no training patient had either."""
        names: dict[str, bool] = {}
        for one in self._limited:
            value = values[one.column]
            if value < one.low or value > one.high:
                unseen = bool(value < one.seen_low or value > one.seen_high)
                names[one.analyte.key] = names.get(one.analyte.key, False) or unseen
        return tuple(names), tuple(name for name, unseen in names.items() if unseen)


def columns(model: RiskModel, names: Sequence[str]) -> NDArray[np.int64]:
    """Where the model's predictors stand in a feature table with these names."""
    position = {name: j for j, name in enumerate(names)}
    return np.array([position[name] for name in model.feature_names], dtype=np.int64)


def _limited(model: RiskModel) -> list[Limited]:
    ranges, found = model.applicability.ranges, []
    for column, name in enumerate(model.feature_names):
        known = _analyte_of().get(name)
        if known is not None:
            seen = ranges.get(name, (-np.inf, np.inf))  # a model that does not tell: noted, not refused
            low = -np.inf if known.plausible_low is None else known.plausible_low
            high = np.inf if known.plausible_high is None else known.plausible_high
            found.append(Limited(column, known, low, high, *seen))
    return found


@cache
def _analyte_of() -> dict[str, Analyte]:
    """Analyte of each predictor that has its unit and plausible limits."""
    return {
        f.name: analytes()[f.analyte]
        for f in FEATURES
        if f.derive is None
        and f.statistic in IN_ITS_UNIT
        and f.analyte in analytes()
        and (analytes()[f.analyte].plausible_low, analytes()[f.analyte].plausible_high) != (None, None)
    }
