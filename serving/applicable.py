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


@dataclass(frozen=True, eq=False)
class Limits:
    """Of predictors in the unit of their analyte: plausible limits of that, and the range of training values.

    column: of the model's predictors, shape (k,); so are the limits, infinite where there is none.
    """

    column: NDArray[np.int64]
    analyte: tuple[str, ...]
    low: Array
    high: Array
    seen_low: Array
    seen_high: Array


class Applicable:
    """The checks of one model."""

    def __init__(self, model: RiskModel) -> None:
        self._model = model
        names = model.feature_names
        self._gain = np.zeros(len(names)) if model.booster is None else gains(model.booster, names)
        self._limits = _limits(model)

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
        of, found = self._limits, values[self._limits.column]
        wrong = np.flatnonzero((found < of.low) | (found > of.high))
        unseen = wrong[(found[wrong] < of.seen_low[wrong]) | (found[wrong] > of.seen_high[wrong])]
        return self._named(wrong), self._named(unseen)

    def _named(self, places: NDArray[np.int64]) -> tuple[str, ...]:
        """The analytes at places of the limits, each once."""
        return tuple(dict.fromkeys(self._limits.analyte[k] for k in places.tolist()))


def columns_of(names: Sequence[str], among: Sequence[str]) -> NDArray[np.int64]:
    """Where each name stands among others."""
    position = {name: j for j, name in enumerate(among)}
    return np.array([position[name] for name in names], dtype=np.int64)


def _limits(model: RiskModel) -> Limits:
    """The limits of a model's predictors; none without trees, which alone read values."""
    names = [] if model.booster is None else [n for n in model.feature_names if n in _analyte_of()]
    known = [_analyte_of()[name] for name in names]
    anything = (-np.inf, np.inf)  # of a predictor whose training values are not told: noted, never refused
    seen = np.array([model.applicability.ranges.get(name, anything) for name in names]).reshape(-1, 2)
    return Limits(
        column=columns_of(names, model.feature_names),
        analyte=tuple(one.key for one in known),
        low=_or([one.plausible_low for one in known], -np.inf),
        high=_or([one.plausible_high for one in known], np.inf),
        seen_low=seen[:, 0],
        seen_high=seen[:, 1],
    )


def _or(limits: Sequence[float | None], otherwise: float) -> Array:
    return np.array([otherwise if limit is None else limit for limit in limits], dtype=np.float64)


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
