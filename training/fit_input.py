"""What a fit sees: labelled rows of all families, when severe CRS came, and the base rates of their therapies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.therapies import Therapy, therapies, therapy
from training.design import Design
from training.offset import BaseRate, OffsetSpec, OnsetShares, base_rate, expected_onset, onset_shares

Array = NDArray[np.float64]
OWN_ONSETS = 30  # below this many timed severe onsets a family takes the shares of its whole class


@dataclass(frozen=True, eq=False)
class FitInput:
    """All families' labelled training rows of one cohort, and when severe CRS came.

    design: rows of every family. onsets: LandmarkTable.onsets of the training patients. extra: registered
    therapies.
    """

    design: Design
    onsets: pd.DataFrame
    extra: Mapping[str, Therapy]
    feature_digest: str
    monotone: Mapping[str, int]
    simulated: bool = False

    def signs(self) -> tuple[int, ...]:
        """Monotone constraints of the columns of a design matrix; the risk rises with the horizon."""
        return (*(int(self.monotone.get(name, 0)) for name in self.design.names), 0, 1)

    def of_family(self, family: str) -> NDArray[np.bool_]:
        """Rows of a family."""
        return (self.design.rows["family"] == family).to_numpy()


def offset_spec(given: FitInput, family: str, mine: Design) -> OffsetSpec:
    """Base rates of the family's therapies and onset shares of its classes, from the training patients."""
    keys = list(dict.fromkeys(mine.rows["therapy"].tolist()))
    known = {key: therapy(key, given.extra) for key in keys}
    rates: dict[str, BaseRate] = {
        key: base_rate(t) for key, t in {**therapies(), **known}.items() if t.family == family
    }
    shares: dict[str, OnsetShares] = {}
    for class_ in sorted({t.class_ for t in known.values()}):
        onsets = given.onsets[given.onsets["class_"] == class_]
        own = onsets[onsets["family"] == family]
        used = own if len(own) >= OWN_ONSETS else onsets
        doses = int(mine.dose[mine.rows["class_"].to_numpy() == class_].max())
        shares[class_] = onset_shares(
            class_,
            used["dose"].to_numpy(dtype=np.int64),
            used["hours"].to_numpy(dtype=np.float64),
            onset_hours=expected_onset([t for t in known.values() if t.class_ == class_]),
            doses=doses,
        )
    return OffsetSpec(rates=rates, shares=shares)


def offset_of(spec: OffsetSpec, design: Design, extra: Mapping[str, Therapy]) -> Array:
    """Offset (log odds) of each row."""
    return spec.offsets(design.rows["therapy"].tolist(), design.dose, design.landmark, design.horizon, extra)
