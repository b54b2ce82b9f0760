"""Out-of-fold risks of our model and of what it has to beat, on the same patient folds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from crsrisk.cohort import Cohort
from crsrisk.errors import NotEnoughDataError
from training.baselines import LAST_GRADE, MEASURED_SHARE, SCORES, UNIVARIABLE, measured_share
from training.design import Design, design
from training.evaluate import RESAMPLES, evaluate
from training.fit import FitInput, lenders, strategy_note
from training.horizons import DEFAULT_HORIZONS
from training.landmarks import LandmarkTable, landmark_table
from training.model import Strategy
from training.outer_folds import OURS, OuterFolds, held_out_risks
from training.split import checked_folds, course_folds, read_folds
from training.table import TITLES, comparison_notes, render

if TYPE_CHECKING:
    from features.matrix import FeatureTable

__all__ = [
    "CONTRACT_COLUMNS",
    "DEFAULT_FOLDS",
    "OURS",
    "CrossValidation",
    "Prepared",
    "Progress",
    "crossvalidate",
    "prepare",
]

Progress = Callable[[str, int, int], None]
CONTRACT_COLUMNS = (
    "model",
    "repeat",
    "fold",
    "course_id",
    "landmark_hours",
    "horizon_hours",
    "risk",
    "severe",
    "dose",
)
DEFAULT_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cohort's labels and features at the same landmarks, computed once for every fit."""

    cohort: Cohort
    labels: LandmarkTable
    table: FeatureTable
    names: tuple[str, ...]
    monotone: Mapping[str, int]
    log_scale: Mapping[str, bool]
    feature_digest: str

    def rows(self) -> Design:
        """The labelled rows of all families."""
        return design(self.labels.rows, self.table, self.names)

    def given(self, rows: Design) -> FitInput:
        """What a fit on these rows may see."""
        onsets = self.labels.onsets
        seen = onsets["patient_id"].isin(rows.rows["patient_id"].unique())
        return FitInput(
            rows,
            onsets[seen],
            self.cohort.therapies,
            self.feature_digest,
            self.monotone,
            simulated=self.cohort.simulated,
        )


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold risks and what they are worth.

    predictions: CONTRACT_COLUMNS. detail: the same rows with patient_id, therapy, family, rest_of_window,
    weight. table: metrics with 95 % patient-bootstrap intervals, see `evaluate`. sensitivity: the same
    metrics of our model with rows of uncertain grade counted as severe. attrition: who was left out at
    which step. strategies: family, repeat, fold, strategy, events. notes: what a reader must know, in plain
    sentences.
    """

    predictions: pd.DataFrame
    detail: pd.DataFrame
    table: pd.DataFrame
    sensitivity: pd.DataFrame
    attrition: pd.DataFrame
    strategies: pd.DataFrame
    notes: list[str]

    def of_family(self, family: str) -> CrossValidation:
        """What concerns one family, and the notes on the whole cohort."""
        others = [f"{name}: " for name in self.strategies["family"].unique() if name != family]
        mine = self.detail["family"] == family
        return replace(
            self,
            predictions=self.predictions[mine].reset_index(drop=True),
            detail=self.detail[mine].reset_index(drop=True),
            table=self.table[self.table["family"] == family].reset_index(drop=True),
            sensitivity=self.sensitivity[self.sensitivity["family"] == family].reset_index(drop=True),
            strategies=self.strategies[self.strategies["family"] == family].reset_index(drop=True),
            notes=[note for note in self.notes if not note.startswith(tuple(others))],
        )

    def to_text(self) -> str:
        """The table of all models with intervals, and the notes."""
        return render(self.table, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Table, attrition, strategies and notes for JSON; undefined numbers are null."""
        tables = {"table": self.table, "attrition": self.attrition, "strategies": self.strategies}
        rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        return rows | {"notes": self.notes}


def prepare(
    cohort: Cohort,
    landmarks: Sequence[float] | None = None,
    horizons: Sequence[float | None] = DEFAULT_HORIZONS,
) -> Prepared:
    """Labels and features of a cohort.

    Raises:
        NotEnoughDataError: the cohort has no courses, no events or no ASTCT label.
    """
    from features.matrix import DEFAULT_LANDMARKS, compute_features, index_doses
    from features.registry import FEATURES, feature_set_digest, predictors

    if len(cohort.courses) == 0:
        raise NotEnoughDataError("the cohort has no courses; give at least one course with its events")
    if len(cohort.events) == 0:
        raise NotEnoughDataError(
            "the cohort has no usable events; `crsrisk check` says what was rejected and why"
        )
    marks = tuple(landmarks or DEFAULT_LANDMARKS)
    return Prepared(
        cohort=cohort,
        labels=landmark_table(cohort, marks, horizons, doses=index_doses(cohort)),
        table=compute_features(cohort, marks),
        names=tuple(f.name for f in predictors()),
        monotone={f.name: f.monotone for f in FEATURES if f.monotone},
        log_scale={f.name: f.log_scale for f in FEATURES},
        feature_digest=feature_set_digest(),
    )


def crossvalidate(
    cohort: Cohort | Prepared,
    landmarks: Sequence[float] | None = None,
    *,
    horizons: Sequence[float | None] = DEFAULT_HORIZONS,
    folds: str | Path | pd.DataFrame | None = None,
    n_folds: int = DEFAULT_FOLDS,
    repeats: int = 1,
    families: Sequence[str] | None = None,
    baselines: bool = True,
    trials: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """Out-of-fold risks for every labelled row, split by patient, with the baselines on the same folds.

    Args:
        cohort: a cohort, or one prepared already (landmarks and horizons are then its own).
        landmarks: hours after the dose; None: 0, 12, 24, 48, 72.
        horizons: hours after the landmark, None for the rest of the window.
        folds: a CSV or table course_id, repeat, fold; None: patients are dealt by severity and family.
        n_folds: folds per repeat, where `folds` is None.
        repeats: repeats with new folds, where `folds` is None.
        families: whose models; None: all that the cohort has.
        baselines: also the models to beat.
        trials: Optuna candidates inside every training fold.
        seed: of folds, fits and bootstrap.
        resamples: bootstrap resamples for the intervals.
        jobs: how many folds are fitted at once, see `held_out_risks`; the result is the same for any number.
        progress: told about every step.

    Raises:
        NotEnoughDataError: no labelled rows, or fewer patients than folds.
        CohortError: the folds table is unusable or splits a patient.
    """
    prepared = cohort if isinstance(cohort, Prepared) else prepare(cohort, landmarks, horizons)
    rows = prepared.rows()
    wanted = _families(rows, families)
    dealt = _dealt(prepared, rows, folds, n_folds=n_folds, repeats=repeats, seed=seed)
    scored = (*SCORES, LAST_GRADE) if baselines else ()
    compared = tuple(s for s in scored if measured_share(rows, UNIVARIABLE[s]) >= MEASURED_SHARE)
    absent = tuple(s for s in scored if s not in compared)
    work = OuterFolds(prepared, dealt, wanted, compared, baselines, trials, seed)
    steps = len(work.places()) * len(wanted)
    parts, strategies, uncertain = [], [], []
    for done, found in enumerate(held_out_risks(work, jobs)):
        parts += found.parts
        uncertain += found.uncertain
        strategies.append((found.family, found.repeat, found.fold, found.strategy, found.events))
        if progress is not None:
            progress(f"{found.family}, repeat {found.repeat}, fold {found.fold}", done + 1, steps)
    detail = pd.concat(parts, ignore_index=True)
    table = evaluate(detail, resamples=resamples, seed=seed)
    used = pd.DataFrame(strategies, columns=["family", "repeat", "fold", "strategy", "events"])
    return CrossValidation(
        predictions=detail[list(CONTRACT_COLUMNS)],
        detail=detail,
        table=table,
        sensitivity=_sensitivity(detail, uncertain, resamples, seed),
        attrition=prepared.labels.attrition,
        strategies=used,
        notes=_notes(prepared, rows, wanted, used, table, absent),
    )


def _families(rows: Design, families: Sequence[str] | None) -> list[str]:
    there = sorted(rows.rows["family"].unique().tolist())
    if not there:
        raise NotEnoughDataError(
            "no labelled rows: no course is at risk at a landmark with a known label; the attrition table of "
            "`crsrisk check` and the landmarks chosen say where they were lost"
        )
    absent = sorted(set(families or ()) - set(there))
    if absent:
        raise NotEnoughDataError(f"family {absent} is not in the cohort; it has {there}")
    return [f for f in there if families is None or f in families]


def _dealt(
    prepared: Prepared,
    rows: Design,
    folds: str | Path | pd.DataFrame | None,
    *,
    n_folds: int,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """course_id, repeat, fold of every course with labelled rows."""
    courses = prepared.cohort.courses[["course_id", "patient_id"]]
    if isinstance(folds, pd.DataFrame):
        return checked_folds(folds, courses)
    if folds is not None:
        return read_folds(folds, courses)
    by_course = rows.rows.groupby("course_id").agg(
        patient_id=("patient_id", "first"), family=("family", "first"), severe=("severe", "max")
    )
    unsure = prepared.labels.uncertain.drop_duplicates("course_id").set_index("course_id")
    unsure = unsure[~unsure.index.isin(by_course.index)][["patient_id", "family"]].assign(severe=0)
    whole = pd.concat([by_course, unsure]).reset_index()
    return course_folds(whole, n_folds=n_folds, repeats=repeats, seed=seed)


def _sensitivity(
    detail: pd.DataFrame, uncertain: list[pd.DataFrame], resamples: int, seed: int
) -> pd.DataFrame:
    if not uncertain:
        return evaluate(detail.iloc[:0], resamples=0)
    ours = detail[detail["model"] == OURS]
    return evaluate(pd.concat([ours, *uncertain], ignore_index=True), resamples=resamples, seed=seed)


def _notes(
    prepared: Prepared,
    rows: Design,
    families: Sequence[str],
    used: pd.DataFrame,
    table: pd.DataFrame,
    absent: Sequence[str],
) -> list[str]:
    notes = list(prepared.labels.notes)
    if absent:
        named = ", ".join(TITLES[s] for s in absent)
        notes.append(
            f"Not compared, since fewer than {MEASURED_SHARE:.0%} of the rows have the inputs: {named}."
        )
    scores = [m for m in table["model"].unique().tolist() if m in SCORES]
    for family in families:
        mine = rows.take((rows.rows["family"] == family).to_numpy())
        events = mine.severe_patients()
        counts = used[used["family"] == family]["strategy"].value_counts()
        strategy: Strategy = next(s for s in get_args(Strategy) if s == counts.index[0])
        borrowed = () if strategy != "shared" else lenders(rows, family)
        notes.append(strategy_note(family, strategy, events, mine.patients() - events, borrowed))
        if len(counts) > 1:
            told = ", ".join(f"{name} in {n}" for name, n in counts.items())
            notes.append(
                f"{family}: the number of events differs between training folds; strategy {told} of {counts.sum()}."
            )
        for score in scores:
            missing = 1 - measured_share(mine, UNIVARIABLE[score])
            if missing > 0.2:
                notes.append(
                    f"{family}: {score} was missing in {missing:.0%} of the rows; the median stood in."
                )
        notes += comparison_notes(table, family, strategy)
    return notes
