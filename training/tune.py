"""Few, small choices for the trees, made by Optuna on patients inside the training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.boosting import DEFAULTS, InnerFolds, Rounds, Training, log_loss

PRUNE_AFTER_ROUNDS = 30
HOPELESS = 1.002  # a candidate more than 0.2 % above the best loss after so many rounds is given up


@dataclass(frozen=True, eq=False)
class Tuned:
    """Parameters, the rounds they earned, and how many candidates were tried."""

    chosen: Mapping[str, Any]
    rounds: Rounds
    trials: int


def untuned(training: Training) -> Tuned:
    """No trees: rows keep where they start."""
    margin = training.offset
    loss = log_loss(margin, training.design.severe, training.weight)
    return Tuned(DEFAULTS, Rounds(0, loss, margin), 0)


def tune(
    folds: InnerFolds, *, trials: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Tuned:
    """The best of the default parameters and `trials` candidates by held-out log loss.

    The defaults are always a candidate. The space is small on purpose: with tens of events a large one
    finds noise.
    """
    best = Tuned(DEFAULTS, folds.choose(DEFAULTS), 0)
    if trials <= 0:
        return best
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))
    for number in range(trials):
        trial = study.ask()
        chosen = {
            **DEFAULTS,
            "num_leaves": trial.suggest_int("num_leaves", 2, 4),
            "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
            "min_sum_hessian_in_leaf": trial.suggest_float("min_sum_hessian_in_leaf", 0.2, 5.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        }
        found = folds.choose(chosen, stop=partial(_hopeless, best.rounds.loss * HOPELESS))
        study.tell(trial, found.loss)
        if found.loss < best.rounds.loss:
            best = Tuned(chosen, found, trials)
        if progress is not None:
            progress(number + 1, trials)
    return Tuned(best.chosen, best.rounds, trials)


def _hopeless(limit: float, rounds: int, loss: float) -> bool:
    """Whether a candidate has had its chance and is still above the limit."""
    return rounds >= PRUNE_AFTER_ROUNDS and loss > limit
