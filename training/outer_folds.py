"""The fits of a cross-validation: every family on every training fold, in this process or in several at once.

A fold needs nothing of another one and every fit has one thread, so that the risks are the same to the last bit for
any number of processes. Processes start afresh ("spawn"): a fork of a process in which OpenMP has run may hang.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.errors import CrsRiskError
from crsrisk.therapies import Therapy
from training.baselines import UNIVARIABLE, Split, logistic, prior, univariable
from training.design import Design, design
from training.fit import fit_family, offset_spec, shared_trees, start_of
from training.model import RiskModel, Strategy
from training.offset import sigmoid
from training.shared import SharedTrees
from training.single_thread import single_thread

if TYPE_CHECKING:
    from training.crossvalidate import Prepared

Array = NDArray[np.float64]
OURS = "crsrisk"
KEPT_COLUMNS = (
    "course_id",
    "patient_id",
    "therapy",
    "family",
    "dose",
    "landmark_hours",
    "horizon_hours",
    "rest_of_window",
    "severe",
    "weight",
)


@dataclass(frozen=True, eq=False)
class OuterFolds:
    """What is fitted on which fold.

    dealt: course_id, repeat, fold. families: whose models. scores: published scores to compare with. baselines:
    whether the models to beat are fitted too.
    """

    prepared: Prepared
    dealt: pd.DataFrame
    families: Sequence[str]
    scores: Sequence[str]
    baselines: bool
    trials: int
    seed: int

    def places(self) -> list[tuple[int, int]]:
        """Repeat and fold of each training fold, in order."""
        pairs = self.dealt[["repeat", "fold"]].drop_duplicates().sort_values(["repeat", "fold"])
        return [(int(repeat), int(fold)) for repeat, fold in pairs.to_numpy(dtype=np.int64)]

    def without_events(self) -> OuterFolds:
        """The same without the raw events, by far the largest part, which no fit looks at."""
        cohort = self.prepared.cohort
        return replace(
            self, prepared=replace(self.prepared, cohort=replace(cohort, events=cohort.events.iloc[:0]))
        )


@dataclass(frozen=True, eq=False)
class FoldRisks:
    """Held-out risks of one family and fold.

    parts: one table per model, KEPT_COLUMNS and model, repeat, fold, risk. uncertain: the same of our model for rows
    whose severity is uncertain, none where there are none. strategy: what our model is. events: severe patients of
    the family in training.
    """

    family: str
    repeat: int
    fold: int
    strategy: Strategy
    events: int
    parts: list[pd.DataFrame]
    uncertain: list[pd.DataFrame]


def held_out_risks(work: OuterFolds, jobs: int = 1) -> Iterator[FoldRisks]:
    """The risks of every fold and family, in the order of repeats, folds and families.

    Args:
        work: what to fit.
        jobs: how many folds are fitted at once, each in a process of its own; with more than one the main module of
            a script needs its `if __name__ == "__main__"`, as for every use of Python's multiprocessing.

    Raises:
        ValueError: fewer than one job.
        CrsRiskError: a process ended before its work was done.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}; give 1 or more")
    places = work.places()
    if jobs == 1 or len(places) == 1:
        for place in places:
            yield from _of_fold(work, *place)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(
        min(jobs, len(places)),
        get_context("spawn"),
        initializer=_receive,
        initargs=(work.without_events(),),
    )
    try:
        for found in pool.map(_at, places):
            yield from found
    except BrokenProcessPool:
        raise CrsRiskError(
            f"one of {jobs} processes ended early. They may need more memory than there is, and a script that starts "
            'them needs `if __name__ == "__main__":`; use fewer jobs, 1 starts no process'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_received: list[OuterFolds] = []  # the work of this process, sent once and not with every fold


def _receive(work: OuterFolds) -> None:
    _received[:] = [work]


def _at(place: tuple[int, int]) -> list[FoldRisks]:
    return list(_of_fold(_received[0], *place))


def _of_fold(work: OuterFolds, repeat: int, fold: int) -> Iterator[FoldRisks]:
    """The families of one fold; the trees that they share are grown once."""
    prepared, rows = work.prepared, work.prepared.rows()
    mine = work.dealt[work.dealt["repeat"] == repeat].set_index("course_id")["fold"]
    held = (rows.rows["course_id"].map(mine) == fold).to_numpy()
    train = rows.take(~held)
    seed = work.seed + 7919 * repeat + 31 * fold
    with single_thread():
        shared = shared_trees(prepared.given(train), seed)
    for family in work.families:
        test = rows.take(held & (rows.rows["family"] == family).to_numpy())
        unsure = _uncertain(prepared, mine, fold, family)
        with single_thread():
            fit = FoldFit(prepared, train, family, work.trials, seed, shared)
            risks = fit.risks(test, work.scores, baselines=work.baselines)
            parts = [_part(test, model, repeat, fold, risk) for model, risk in risks.items()]
            uncertain = [_part(unsure, OURS, repeat, fold, fit.ours(unsure))] if len(unsure) else []
        yield FoldRisks(family, repeat, fold, fit.strategy, fit.events, parts, uncertain)


class FoldFit:
    """One family's fit on the training rows of one fold.

    strategy: what the model is, `offset` also where the fold lacks the family. events: severe patients of the
    family in training, patients: all of them.
    """

    def __init__(
        self,
        prepared: Prepared,
        train: Design,
        family: str,
        trials: int,
        seed: int,
        shared: SharedTrees | None = None,
    ) -> None:
        self._prepared, self._seed = prepared, seed
        self._given = prepared.given(train)
        self._mine = train.take((train.rows["family"] == family).to_numpy())
        self.events, self.patients = self._mine.severe_patients(), self._mine.patients()
        self._model: RiskModel | None = None
        if len(self._mine):
            self._model = fit_family(self._given, family, trials=trials, seed=seed, refits=0, shared=shared)
        self.strategy: Strategy = self._model.strategy if self._model else "offset"
        source = self._mine if len(self._mine) else train
        self._spec = offset_spec(self._given, family, source)

    @property
    def _extra(self) -> Mapping[str, Therapy]:
        return self._prepared.cohort.therapies

    def ours(self, test: Design) -> Array:
        """Our model's risks of held-out rows; the base rate when the training fold lacks the family."""
        start = start_of(self._spec, test, self._extra)
        if self._model is None:
            return sigmoid(start.log_odds())
        keys = test.rows["therapy"].tolist()
        return sigmoid(self._model.log_odds(test.matrix, start, keys, self._extra))

    def risks(self, test: Design, scores: Sequence[str], *, baselines: bool) -> dict[str, Array]:
        """Risks of held-out rows by model."""
        found = {OURS: self.ours(test)}
        if not baselines or len(test) == 0:
            return found if len(test) else {}
        split = Split(
            train=self._mine,
            test=test,
            train_offset=start_of(self._spec, self._mine, self._extra).log_odds(),
            test_offset=start_of(self._spec, test, self._extra).log_odds(),
        )
        found["logistic"] = logistic(split, self._prepared.log_scale, self._seed)
        found |= {name: univariable(split, UNIVARIABLE[name]) for name in scores}
        found["prior"] = prior(split)
        return found


def _uncertain(prepared: Prepared, folds: pd.Series, fold: int, family: str) -> Design:
    """Held-out rows whose severity is uncertain, as severe."""
    unsure = prepared.labels.uncertain
    mine = unsure[(unsure["course_id"].map(folds) == fold) & (unsure["family"] == family)]
    return design(mine, prepared.table, prepared.names)


def _part(test: Design, model: str, repeat: int, fold: int, risk: Array) -> pd.DataFrame:
    return test.rows[list(KEPT_COLUMNS)].assign(model=model, repeat=repeat, fold=fold, risk=risk)
