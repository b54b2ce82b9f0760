"""What a fit sees: labelled rows of all families, when severe CRS came, and the base rates of their therapies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.therapies import Therapy, therapies, therapy
from training.design import Design
from training.offset import (
    MAX_DOSES,
    BaseRate,
    OffsetSpec,
    OnsetShares,
    Start,
    base_rate,
    common_timing,
    expected_onset,
    onset_hours,
    onset_shares,
    therapy_timing,
    usual_dose_shares,
)

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
    """Base rates of the family's therapies and when their severe onsets come, from the training patients."""
    keys = list(dict.fromkeys(mine.rows["therapy"].tolist()))
    known = {key: therapy(key, given.extra) for key in keys}
    listed = {key: t for key, t in {**therapies(), **known}.items() if t.family == family}
    rates: dict[str, BaseRate] = {key: base_rate(t) for key, t in listed.items()}
    shares: dict[str, OnsetShares] = {}
    last = {str(key): int(dose) for key, dose in given.design.rows.groupby("therapy")["dose"].max().items()}
    for class_ in sorted({t.class_ for t in known.values()}):
        onsets = given.onsets[given.onsets["class_"] == class_]
        own = onsets[onsets["family"] == family]
        used = own if len(own) >= OWN_ONSETS else onsets
        doses = {key: last[key] for key, t in known.items() if t.class_ == class_}
        dose, hours = _dose_and_hours(used)
        usual = usual_dose_shares(
            np.clip(dose, 1, MAX_DOSES),
            np.array([last.get(str(key), 1) for key in used["therapy"].tolist()], dtype=np.int64),
            min(max(doses.values()), MAX_DOSES),
        )
        shares[class_] = onset_shares(
            class_,
            dose,
            hours,
            onset_hours=expected_onset([t for t in known.values() if t.class_ == class_]),
            doses=len(usual),
            usual=usual,
        )
        alike = {key: t for key, t in listed.items() if t.class_ == class_}
        shares |= _shares_by_therapy(used, alike, doses, usual, given.extra)
    return OffsetSpec(rates=rates, shares=shares)


def _shares_by_therapy(
    onsets: pd.DataFrame,
    listed: Mapping[str, Therapy],
    doses: Mapping[str, int],
    usual: Sequence[float],
    extra: Mapping[str, Therapy],
) -> dict[str, OnsetShares]:
    """Onset shares of the therapies of one class: of what is published, and of how onsets lie around it.

    doses: number of doses of the therapies in training; of others it is that of `usual`.
    """
    names = onsets["therapy"].to_numpy(dtype=object)
    expected = {key: onset_hours(t) for key, t in listed.items()}
    expected |= {str(key): onset_hours(therapy(str(key), extra)) for key in dict.fromkeys(names.tolist())}
    dose, hours = _dose_and_hours(onsets)
    common = common_timing(hours, np.array([expected[str(key)] for key in names.tolist()], dtype=np.float64))
    found = {}
    for key, one in listed.items():
        its = names == key
        found[key] = onset_shares(
            one.class_,
            dose[its],
            hours[its],
            onset_hours=expected[key],
            doses=min(doses.get(key, len(usual)), len(usual)),
            timing=therapy_timing(common, hours[its], expected[key]),
            usual=usual,
        )
    return found


def _dose_and_hours(onsets: pd.DataFrame) -> tuple[NDArray[np.int64], Array]:
    return onsets["dose"].to_numpy(dtype=np.int64), onsets["hours"].to_numpy(dtype=np.float64)


def start_of(spec: OffsetSpec, design: Design, extra: Mapping[str, Therapy]) -> Start:
    """Where each row starts from before its values are looked at."""
    return spec.start(design.rows["therapy"].tolist(), design.dose, design.landmark, design.horizon, extra)
