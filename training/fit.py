"""One family's model from labelled rows: which strategy its events allow, trees, calibration and interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.errors import NotEnoughDataError
from crsrisk.therapies import Therapy, therapies, therapy
from training.boosting import (
    InnerFolds,
    Training,
    dataset,
    grow,
    parameters,
    patient_bootstrap,
    scaled_weight,
)
from training.calibrate import recalibrate, shift
from training.design import Design
from training.horizons import DEFAULT_HORIZONS
from training.model import Calibration, IntervalSpec, RiskModel, Strategy
from training.offset import (
    BaseRate,
    OffsetSpec,
    OnsetShares,
    base_rate,
    expected_onset,
    onset_shares,
    sigmoid,
)
from training.tune import tune

Array = NDArray[np.float64]
OWN_EVENTS = 100  # proposals of the design, to be tested; not from a source
SHARED_EVENTS = 30
OWN_ONSETS = 30  # below this many timed severe onsets a family takes the shares of its whole class
_CELLS = ("cart", "engineered_t")
_ENGAGERS = ("engager",)
# Whose rows a family with 30 to 99 events may borrow: (sister family, classes of therapy borrowed).
SISTERS: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "cd19_cart": (("bcma_cart", _CELLS),),
    "bcma_cart": (("cd19_cart", _CELLS),),
    "heme_engager": (("solid_tumor", _ENGAGERS),),
    "solid_tumor": (("cd19_cart", _CELLS), ("bcma_cart", _CELLS), ("heme_engager", _ENGAGERS)),
}
LIBRARIES = ("lightgbm", "numpy", "pandas", "scikit-learn", "optuna")


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


def choose_strategy(events: int) -> Strategy:
    """What the number of training patients allows: own trees, shared trees or the offset alone.

    Args:
        events: patients with severe CRS, or without it where those are fewer.
    """
    if events >= OWN_EVENTS:
        return "own"
    return "shared" if events >= SHARED_EVENTS else "offset"


def fit_family(
    given: FitInput,
    family: str,
    *,
    trials: int = 0,
    seed: int = 0,
    refits: int = 15,
    progress: Callable[[int, int], None] | None = None,
) -> RiskModel:
    """Fit one family's model on all given rows.

    Args:
        given: training rows of all families.
        family: whose model.
        trials: Optuna candidates beside the defaults.
        seed: of folds, sampling and bootstrap.
        refits: bootstrap refits for the interval; 0 for none.
        progress: called with steps done and steps in all.

    Raises:
        NotEnoughDataError: the family has no labelled rows.
    """
    own = (given.design.rows["family"] == family).to_numpy()
    mine = given.design.take(own)
    if len(mine) == 0:
        raise NotEnoughDataError(f"no labelled rows of family {family!r}; train a family that the cohort has")
    events = mine.severe_patients()
    others = mine.patients() - events
    strategy = choose_strategy(min(events, others))
    spec = offset_spec(given, family, mine)
    untrained = RiskModel(
        family=family,
        feature_names=given.design.names,
        feature_digest=given.feature_digest,
        strategy=strategy,
        offset=spec,
        landmarks=tuple(float(x) for x in np.unique(mine.landmark)),
        n_patients=mine.patients(),
        n_events=events,
        therapies_seen=_patients_by_therapy(mine),
        libraries={name: version(name) for name in LIBRARIES},
        seed=seed,
        simulated=given.simulated,
        horizons=_labelled_horizons(mine) if strategy != "offset" else DEFAULT_HORIZONS,
        notes=(strategy_note(family, strategy, events, others, lenders(given.design, family)),),
    )
    if strategy == "offset":
        return _shifted(untrained, mine, offset_of(spec, mine, given.extra))
    training = _training(given, family, strategy)
    return _grown(untrained, training, mine, trials=trials, refits=refits, progress=progress)


def _labelled_horizons(mine: Design) -> tuple[float | None, ...]:
    """Horizons with a severe and another row: trees answer no others."""
    rest = mine.rows["rest_of_window"].to_numpy(dtype=bool)
    hours = mine.rows["horizon_hours"].to_numpy(dtype=np.float64)

    def both(chosen: NDArray[np.bool_]) -> bool:
        return len(np.unique(mine.severe[chosen])) == 2

    return tuple(h for h in DEFAULT_HORIZONS if both(rest if h is None else ~rest & (hours == h)))


def _shifted(untrained: RiskModel, mine: Design, offset: Array) -> RiskModel:
    """The base rate alone, its level moved as far as the training patients justify."""
    once = mine.longest
    prior_sd = _prior_sd(untrained.offset, mine)
    moved = shift(offset[once], mine.severe[once], mine.weight[once], prior_sd)
    return replace(
        untrained,
        calibration=Calibration(intercept=moved, slope=1.0, events=untrained.n_events),
        interval=IntervalSpec(intercept_sd=intercept_sd(untrained.offset, mine, offset + moved)),
    )


def _grown(
    untrained: RiskModel,
    training: Training,
    mine: Design,
    *,
    trials: int,
    refits: int,
    progress: Callable[[int, int], None] | None,
) -> RiskModel:
    """Trees with rounds and calibration from held-out patients, and the refits behind the interval."""
    seed = untrained.seed
    whole = dataset(training)
    tuned = tune(InnerFolds(training, whole, seed), trials=trials, seed=seed, progress=progress)
    rounds = tuned.rounds.rounds
    calibration = recalibrate(
        tuned.rounds.margin, mine.severe, scaled_weight(mine), events=untrained.n_events
    )
    params = parameters(tuned.chosen, training.monotone, seed)
    rng = np.random.default_rng(seed)
    bootstrap = []
    for k in range(refits if rounds else 0):
        bootstrap.append(grow(whole, params, rounds, patient_bootstrap(training, rng)))
        if progress is not None:
            progress(k + 1, refits)
    calibrated = calibration.intercept + calibration.slope * tuned.rounds.margin
    return replace(
        untrained,
        calibration=calibration,
        interval=IntervalSpec(intercept_sd=intercept_sd(untrained.offset, mine, calibrated)),
        booster_text=grow(whole, params, rounds) if rounds else None,
        bootstrap_texts=tuple(bootstrap),
        parameters={**tuned.chosen, "rounds": rounds, "trials": tuned.trials},
    )


def lenders(rows: Design, family: str) -> tuple[str, ...]:
    """Sister families whose rows a family with few events can borrow from these rows."""
    return tuple(sister for sister, borrowed in _sister_rows(rows, family) if borrowed.any())


def _sister_rows(rows: Design, family: str) -> list[tuple[str, NDArray[np.bool_]]]:
    names = rows.rows["family"].to_numpy(dtype=object)
    classes = rows.rows["class_"].to_numpy(dtype=object).astype(str)
    allowed = SISTERS.get(family, ())
    return [(sister, (names == sister) & np.isin(classes, borrowed)) for sister, borrowed in allowed]


def _training(given: FitInput, family: str, strategy: Strategy) -> Training:
    """The rows to grow trees on: the family's own, with its sisters' when the trees are shared."""
    every = given.design
    names = every.rows["family"].to_numpy(dtype=object)
    chosen = names == family
    if strategy == "shared":
        for _, borrowed in _sister_rows(every, family):
            chosen = chosen | borrowed
    design = every.take(chosen)
    family_of_row = names[chosen]
    offset, weight = np.empty(len(design)), np.empty(len(design))
    for name in dict.fromkeys(family_of_row.tolist()):
        at = np.flatnonzero(family_of_row == name)
        part = design.take(at)
        offset[at] = offset_of(offset_spec(given, name, part), part, given.extra)
        weight[at] = scaled_weight(part)
    monotone = (*(int(given.monotone.get(name, 0)) for name in design.names), 0, 1)
    return Training(design, offset, weight, family_of_row == family, monotone)


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


def intercept_sd(spec: OffsetSpec, mine: Design, log_odds: Array) -> dict[str, float]:
    """Spread of each seen therapy's intercept: its prior, narrowed by what its own patients tell.

    log_odds: of the rows of `mine`; the longest view of each dose counts, so that an onset is used once.
    """
    risk = sigmoid(log_odds)
    information = mine.weight * risk * (1 - risk) * mine.longest
    keys = mine.rows["therapy"].to_numpy(dtype=object)
    return {
        str(key): float((spec.rates[key].logit_sd ** -2 + information[keys == key].sum()) ** -0.5)
        for key in dict.fromkeys(keys.tolist())
    }


def _prior_sd(spec: OffsetSpec, mine: Design) -> float:
    """Spread of the prior of the training patients' therapies, weighted by patients."""
    counts = _patients_by_therapy(mine)
    total = sum(counts.values())
    return sum(spec.rates[key].logit_sd * n for key, n in counts.items()) / total


def _patients_by_therapy(mine: Design) -> dict[str, int]:
    counts = mine.rows.groupby("therapy")["patient_id"].nunique()
    return {str(key): int(n) for key, n in counts.items()}


def strategy_note(
    family: str, strategy: Strategy, events: int, others: int, borrowed: tuple[str, ...] = ()
) -> str:
    """What was fitted and why, in one plain sentence; `others` had no severe CRS."""
    had = f"{family}: {_patients(events)} had severe CRS"
    if others < events:
        had += f" and only {_patients(others)} had none"
    need = f"an own model needs {OWN_EVENTS} (shared trees {SHARED_EVENTS})"
    if strategy == "own":
        return f"{had}; the family has trees of its own."
    if strategy == "offset" and (events == 0 or others == 0):
        return (
            f"{had}; {need}, and as many without. One outcome alone says nothing about who is at risk: the published "
            "base rate was used, moved by what its own uncertainty allows."
        )
    if strategy == "offset":
        return (
            f"{had}; {need}. The published base rate alone was used, shifted a little towards these patients."
        )
    if borrowed:
        return (
            f"{had}; {need}. The trees are shared with {' and '.join(borrowed)}, each with its own base rate."
        )
    return f"{had}; {need}. No related family is in the cohort: the trees are its own, strongly regularised."


def _patients(n: int) -> str:
    return f"{n} patient{'' if n == 1 else 's'}"


def model_arguments(model: RiskModel) -> dict[str, Any]:
    """What a run logs about a model: strategy, counts and parameters."""
    return {
        "family": model.family,
        "strategy": model.strategy,
        "n_patients": model.n_patients,
        "n_events": model.n_events,
        "seed": model.seed,
        **model.parameters,
    }
