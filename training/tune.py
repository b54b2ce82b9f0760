"""Few, small choices for the trees, made by Optuna on patients inside the training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from training.boosting import DEFAULTS, INNER_FOLDS, PATIENCE, InnerFolds, Rounds, Training, log_loss

SCREENED_FOLDS = INNER_FOLDS // 2  # every candidate is grown on these
SCREENED_SPEED = 3.0  # and that much faster than what is kept
FINALISTS = 3  # the best of them are grown on all folds at the speed that is kept
WINDOW = 10  # rounds at that speed over which the speed of a candidate's loss is taken


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

    The space is small on purpose: with tens of events a large one finds noise. Candidates are screened with fast
    trees on some of the folds; the best few and the defaults are compared on all.
    """
    best = Tuned(DEFAULTS, folds.choose(DEFAULTS), trials)
    if trials <= 0:
        return Tuned(DEFAULTS, best.rounds, 0)
    for chosen in _screened(folds, trials, seed, progress)[:FINALISTS]:
        found = folds.choose(chosen, stop=Hopeless(best.rounds.loss, WINDOW, PATIENCE))
        if found.loss < best.rounds.loss:
            best = Tuned(chosen, found, trials)
    return best


def _screened(
    folds: InnerFolds, trials: int, seed: int, progress: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    """Candidates, the most promising first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))
    window, patience = round(WINDOW / SCREENED_SPEED), round(PATIENCE / SCREENED_SPEED)
    tried: list[tuple[float, dict[str, Any]]] = []
    least = float("inf")
    for number in range(trials):
        trial = study.ask()
        chosen = {
            **DEFAULTS,
            "num_leaves": trial.suggest_int("num_leaves", 2, 4),
            "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
            "min_sum_hessian_in_leaf": trial.suggest_float("min_sum_hessian_in_leaf", 0.2, 5.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        }
        fast = {**chosen, "learning_rate": SCREENED_SPEED * DEFAULTS["learning_rate"]}
        found = folds.choose(fast, folds=SCREENED_FOLDS, stop=Hopeless(least, window, patience))
        study.tell(trial, found.loss)
        tried.append((found.loss, chosen))
        least = min(least, found.loss)
        if progress is not None:
            progress(number + 1, trials)
    return [chosen for _, chosen in sorted(tried, key=lambda pair: pair[0])]


class Hopeless:
    """Whether a candidate stays above `limit` even if its loss fell on as fast as lately for `patience` more rounds.

    Held-out loss falls ever more slowly, so that this is generous; comparing a young candidate with what an old one
    has reached would give up every candidate.
    """

    def __init__(self, limit: float, window: int, patience: int) -> None:
        self._limit, self._window, self._patience = limit, window, patience
        self._losses: list[float] = []

    def __call__(self, loss: float) -> bool:
        """After each round: `loss` is the least so far."""
        self._losses.append(loss)
        if len(self._losses) <= self._window:
            return False
        fall = self._losses[-1 - self._window] - loss
        return loss - fall * self._patience / self._window > self._limit
