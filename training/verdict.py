"""Does a model hold in another hospital? One word by stated rules, with the intervals behind it.

The rules are our convention (docs/decisions/0154). Each word rests on an interval that excludes the
opposite; where no interval is narrow enough the word is `cannot tell`, never `holds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.evaluate import Metric
from training.resampling import FEWEST_EVENTS
from training.sample_size import CALIBRATED

HOLDS = "holds"
RECALIBRATE = "recalibrate"
DO_NOT_USE = "do not use"
CANNOT_TELL = "cannot tell"
WORDS = (HOLDS, RECALIBRATE, DO_NOT_USE, CANNOT_TELL)
CHANCE = 0.5
LEAST_AUROC = 0.6  # a model that ranks worse than this tells a ward little


@dataclass(frozen=True)
class Verdict:
    """A word for one horizon, and the sentences that led to it."""

    horizon: str
    word: str
    reasons: tuple[str, ...]
    n: int
    events: int

    def to_text(self) -> str:
        """The word with its reasons."""
        return f"{self.horizon}: {self.word.upper()}. " + " ".join(self.reasons)


def verdict(horizon: str, found: Mapping[str, Metric]) -> Verdict:
    """The word for one horizon from its metrics, in this order.

    1. Fewer than FEWEST_EVENTS patients with or without severe CRS: cannot tell.
    2. The interval of the AUROC lies below LEAST_AUROC: do not use.
    3. The interval of the AUROC reaches down to 0.5: cannot tell.
    4. The interval of the slope or of expected / observed excludes 1: recalibrate.
    5. The interval of the AUROC lies above LEAST_AUROC, both others within CALIBRATED: holds.
    6. Else: cannot tell.
    """
    auroc = found["auroc"]
    fewest = min(auroc.events, auroc.n - auroc.events)
    if fewest < FEWEST_EVENTS:
        kind = "with" if fewest == auroc.events else "without"
        few = f"{fewest} patients {kind} severe CRS; {FEWEST_EVENTS} are the least for an interval."
        return Verdict(horizon, CANNOT_TELL, (few,), auroc.n, auroc.events)
    word, reasons = _ranking(auroc)
    if not word:
        word, reasons = _calibration(auroc, found["calibration_slope"], found["expected_observed"])
    return Verdict(horizon, word, tuple(reasons), auroc.n, auroc.events)


def _ranking(auroc: Metric) -> tuple[str, list[str]]:
    """The word that the AUROC alone decides, '' when it leaves the rest open."""
    if not _known(auroc):
        return CANNOT_TELL, [f"The AUROC has no interval: {auroc.reason}."]
    if auroc.high < LEAST_AUROC:
        return DO_NOT_USE, [f"AUROC {_shown(auroc)}: the whole interval lies below {LEAST_AUROC:g}."]
    if auroc.low <= CHANCE:
        return CANNOT_TELL, [f"AUROC {_shown(auroc)}: the interval reaches chance."]
    return "", []


def _calibration(auroc: Metric, slope: Metric, ratio: Metric) -> tuple[str, list[str]]:
    """The word of a model that ranks better than chance."""
    named = (("calibration slope", slope), ("expected over observed", ratio))
    off = [
        f"The {title} {_shown(m)} excludes 1."
        for title, m in named
        if _known(m) and not m.low <= 1.0 <= m.high
    ]
    if off:
        return RECALIBRATE, [f"AUROC {_shown(auroc)}: it ranks.", *off]
    least, most = CALIBRATED
    wide = []
    if auroc.low < LEAST_AUROC:
        wide.append(f"The AUROC {_shown(auroc)} is not above {LEAST_AUROC:g} for certain.")
    for title, m in named:
        if not _known(m):
            wide.append(f"The {title} has no interval: {m.reason}.")
        elif m.low < least or m.high > most:
            wide.append(f"The {title} {_shown(m)} reaches beyond {least:g} to {most:g}.")
    if wide:
        return CANNOT_TELL, ["Nothing speaks against the model, but the intervals are too wide.", *wide]
    return HOLDS, [
        f"AUROC {_shown(auroc)}, calibration slope {_shown(slope)}, expected over observed {_shown(ratio)}: all "
        "intervals within what the rules ask."
    ]


def _known(metric: Metric) -> bool:
    return metric.low == metric.low  # not nan


def _shown(metric: Metric) -> str:
    return f"{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"
