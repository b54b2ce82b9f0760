"""One family's model from labelled rows: which strategy its events allow, trees, levels, calibration and interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from crsrisk.errors import NotEnoughDataError
from training.applicability import applicability
from training.boosting import InnerFolds, Training, dataset, drawn_patients, parameters, refit, scaled_weight
from training.calibrate import recalibrate, within_line
from training.design import Design
from training.fit_input import FitInput, offset_spec, start_of
from training.horizons import DEFAULT_HORIZONS
from training.model import Calibration, IntervalSpec, RiskModel, Strategy
from training.offset import OffsetSpec, logit
from training.pooling import VALUES_SD, LevelData, Levels, pooled_levels
from training.shared import SharedTrees, grow_shared, unshared
from training.stack import stacked
from training.tune import Tuned, tune, untuned

__all__ = ["FitInput", "fit_family", "lenders", "offset_spec", "start_of", "strategy_note"]

Array = NDArray[np.float64]
OWN_EVENTS = 100  # of the family, for trees tuned on it alone: proposal of the design, not from a source
FAMILY_EVENTS = 30  # of the family, for any trees of its own
SHARED_EVENTS = 30  # of all families together, for shared trees; below it published rates answer
LIBRARIES = ("lightgbm", "numpy", "pandas", "scikit-learn", "optuna")


def choose_strategy(events: int, everywhere: int) -> Strategy:
    """What the number of training patients allows: own trees, shared trees or the offset alone.

    Args:
        events: patients of the family with severe CRS, or without it where those are fewer.
        everywhere: the same of all families together.
    """
    if events >= OWN_EVENTS:
        return "own"
    return "shared" if everywhere >= SHARED_EVENTS else "offset"


def fit_family(
    given: FitInput,
    family: str,
    *,
    trials: int = 0,
    seed: int = 0,
    refits: int = 15,
    shared: SharedTrees | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RiskModel:
    """Fit one family's model on all given rows.

    Args:
        given: training rows of all families.
        family: whose model.
        trials: Optuna candidates beside the defaults.
        seed: of folds, sampling and bootstrap.
        refits: bootstrap refits for the interval; 0 for none.
        shared: `shared_trees(given, seed)` when made before.
        progress: called with steps done and steps in all.

    Raises:
        NotEnoughDataError: the family has no labelled rows.
    """
    mine = given.design.take(given.of_family(family))
    if len(mine) == 0:
        raise NotEnoughDataError(f"no labelled rows of family {family!r}; train a family that the cohort has")
    events = mine.severe_patients()
    others = mine.patients() - events
    strategy = choose_strategy(_rarer(mine), _rarer(given.design))
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
        horizons=_labelled_horizons(mine if strategy == "own" else given.design)
        if strategy != "offset"
        else DEFAULT_HORIZONS,
        notes=(strategy_note(family, strategy, events, others, lenders(given.design, family)),),
    )
    if strategy == "offset":
        return _base_rates(untrained, mine, start_of(spec, mine, given.extra).log_odds())
    shared = shared_trees(given, seed) if shared is None else shared
    if shared is None or family not in shared.rounds:
        shared = unshared(given, family, seed)
    grown = _grown(untrained, shared, trials=trials, refits=refits, progress=progress)
    return replace(grown, applicability=applicability(mine, grown.booster))


def shared_trees(given: FitInput, seed: int) -> SharedTrees | None:
    """Trees of all families of these rows; None for one family, whose own say the same, and where events allow none."""
    families = given.design.rows["family"].unique().tolist()
    if len(families) < 2 or _rarer(given.design) < SHARED_EVENTS:
        return None
    return grow_shared(given, seed)


def lenders(rows: Design, family: str) -> tuple[str, ...]:
    """The other families of the rows: with few events a family leans on the trees that all share."""
    return tuple(sorted(name for name in rows.rows["family"].unique().tolist() if name != family))


def _labelled_horizons(mine: Design) -> tuple[float | None, ...]:
    """Horizons with a severe and another row: trees answer no others."""
    rest = mine.rows["rest_of_window"].to_numpy(dtype=bool)
    hours = mine.rows["horizon_hours"].to_numpy(dtype=np.float64)

    def both(chosen: NDArray[np.bool_]) -> bool:
        return len(np.unique(mine.severe[chosen])) == 2

    return tuple(h for h in DEFAULT_HORIZONS if both(rest if h is None else ~rest & (hours == h)))


def _base_rates(untrained: RiskModel, mine: Design, offset: Array) -> RiskModel:
    """Published rates alone, each moved as far as the training patients with this therapy justify."""
    return replace(
        untrained,
        calibration=Calibration(intercept=0.0, slope=1.0, events=untrained.n_events),
        interval=IntervalSpec(levels=_levels(untrained.offset, mine, offset, offset, values_sd=0.0)),
    )


def _grown(
    untrained: RiskModel,
    shared: SharedTrees,
    *,
    trials: int,
    refits: int,
    progress: Callable[[int, int], None] | None,
) -> RiskModel:
    """Shared and family trees with rounds, calibration and levels from held-out patients, and the refits."""
    seed, family = untrained.seed, str(untrained.family)
    rows = (shared.training.design.rows["family"] == family).to_numpy()
    begin = shared.training.take(rows, shared.rounds[family].margin)
    if _rarer(begin.design) < FAMILY_EVENTS:
        own, tuned = begin, untuned(begin)
    else:
        own, tuned = _best(_targets(begin, untrained.strategy), shared.fold[rows], trials, seed, progress)
    start, weight = shared.start.take(rows), scaled_weight(own.design)
    held_out = tuned.rounds.margin - start.log_odds()
    within = within_line(own.design, start, held_out, weight, among=shared.within)
    margin = start.log_odds(held_out, within)
    calibration = replace(
        recalibrate(margin, own.design.severe, weight, events=untrained.n_events), within=within
    )
    parts = [shared.rounds[family].text(), tuned.rounds.text()]
    text = stacked([part for part in parts if part is not None])
    calibrated = calibration.intercept + calibration.slope * margin
    used = {
        "rounds": tuned.rounds.rounds,
        "shared_rounds": shared.rounds[family].rounds,
        "trials": tuned.trials,
        "target": "severe" if own.lift == 0.0 else "auxiliary",
    }
    return replace(
        untrained,
        calibration=calibration,
        interval=IntervalSpec(
            levels=_levels(
                untrained.offset,
                own.design,
                calibrated,
                start.log_odds(),
                values_sd=0.0 if text is None else VALUES_SD,
            )
        ),
        booster_text=text,
        bootstrap_texts=_refitted(shared, family, own, tuned, refits if text else 0, seed, progress),
        parameters={**tuned.chosen, **used},
    )


def _refitted(
    shared: SharedTrees,
    family: str,
    own: Training,
    tuned: Tuned,
    refits: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[str, ...]:
    """Shared and family trees grown again on bootstrap samples of all patients, as many as `refits`."""
    if not refits:
        return ()
    everyone = dataset(shared.training) if shared.rounds[family].rounds else None
    whole = dataset(own) if tuned.rounds.rounds else None
    params = parameters(tuned.chosen, own.monotone, seed)
    mine = (shared.training.design.rows["family"] == family).to_numpy()
    rng = np.random.default_rng(seed)
    found = []
    for k in range(refits):
        drawn = drawn_patients(shared.training.design, rng)
        parts = []
        if everyone is not None:
            parts.append(shared.refit(family, everyone, shared.training.weight * drawn))
        if whole is not None:
            parts.append(refit(whole, params, tuned.rounds.rounds, own.weight * drawn[mine]))
        found.append(str(stacked(parts)))
        if progress is not None:
            progress(k + 1, refits)
    return tuple(found)


def _targets(start: Training, strategy: Strategy) -> list[Training]:
    """What the family's own trees may be grown for: severe CRS, and with few events also grade 2 or above."""
    auxiliary = start.design.auxiliary
    mean = float(np.average(auxiliary, weights=start.weight))
    severe = float(np.average(start.design.severe, weights=start.weight))
    if strategy == "own" or not severe < mean < 1.0:
        return [start]
    return [start, replace(start, target=auxiliary, lift=float(logit(mean) - logit(severe)))]


def _best(
    targets: list[Training],
    fold: NDArray[np.int64],
    trials: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Training, Tuned]:
    """The target whose trees predict severe CRS of held-out patients best, with its parameters and rounds."""
    found = []
    for target in targets:
        folds = InnerFolds(target, dataset(target), seed, fold=fold)
        found.append((target, tune(folds, trials=trials, seed=seed, progress=progress)))
    return min(found, key=lambda pair: pair[1].rounds.loss)


def _levels(spec: OffsetSpec, mine: Design, log_odds: Array, published: Array, *, values_sd: float) -> Levels:
    """Levels of the therapies seen; the longest view of each dose counts, so that an onset is used once.

    log_odds: calibrated, of the rows of `mine`. published: before values are looked at.
    """
    prior_sd = {key: rate.logit_sd for key, rate in spec.rates.items()}
    return pooled_levels(level_data(mine, log_odds, published), prior_sd, values_sd=values_sd)


def level_data(mine: Design, log_odds: Array, published: Array) -> LevelData:
    """What rows tell about levels: one per patient and dose."""
    once = mine.longest
    return LevelData(
        log_odds[once],
        published[once],
        mine.severe[once],
        mine.weight[once],
        mine.rows["therapy"].to_numpy(dtype=object)[once],
        mine.rows["patient_id"].to_numpy(dtype=object)[once],
    )


def _rarer(rows: Design) -> int:
    """Patients with severe CRS, or without it where those are fewer."""
    return min(rows.severe_patients(), rows.patients() - rows.severe_patients())


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
    if strategy == "own":
        return f"{had}; the family has trees of its own."
    need = f"an own model needs {OWN_EVENTS} (shared trees {SHARED_EVENTS} in all families)"
    if strategy == "offset" and (events == 0 or others == 0):
        return (
            f"{had}; {need}, and as many without. One outcome alone says nothing about who is at risk: the published "
            "base rate was used, moved by what its own uncertainty allows."
        )
    if strategy == "offset":
        return (
            f"{had}; {need}. The published base rate alone was used, its level moved towards these patients."
        )
    if not borrowed:
        return (
            f"{had}; {need}. No related family is in the cohort: the trees are its own, strongly regularised."
        )
    shared = f"{had}; {need}. The trees are shared with {' and '.join(borrowed)}, each with its own base rate"
    if events == 0 or others == 0:
        return f"{shared}; whether they hold in this family its patients can't tell."
    return f"{shared}."


def _patients(n: int) -> str:
    return f"{n} patient{'' if n == 1 else 's'}"
