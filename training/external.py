"""External validation: a registered model on patients that it never saw, with everything that the suite measures.

Nothing here changes the model, chooses a threshold or recalibrates: it reports. No row of a patient is
written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from crsrisk.errors import NotEnoughDataError
from training.baselines import (
    LAST_GRADE,
    MEASURED_SHARE,
    SCORES,
    UNIVARIABLE,
    Split,
    measured_share,
    univariable,
)
from training.crossvalidate import OURS, Prepared, prepare
from training.design import Design
from training.evaluate import Metric, averaged, evaluate, metrics, row_arrays
from training.fit_input import start_of
from training.instability import instability_notes, model_instability
from training.kept import NO_LIST
from training.model import RiskModel
from training.net_benefit import GRID
from training.offset import sigmoid
from training.policy_change import PolicyChange, policy_change
from training.resampling import RESAMPLES, Array
from training.sample_size import ValidationSize, size_from_intervals, validation_size
from training.smooth_calibration import log_odds
from training.split import patient_folds
from training.subgroups import course_groups
from training.suite import Suite, suite
from training.table import render
from training.verdict import Verdict, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from training.registry import ModelInfo

Progress = Callable[[str, int, int], None]
FOLDS = 5  # in which published scores are recalibrated to the local patients
STEPS = 5
PRIOR = "prior"


class _Judged(NamedTuple):
    """The rows of the model's family with the risks of every model, as `CrossValidation.detail`."""

    rows: Design
    detail: pd.DataFrame
    absent: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExternalEvaluation:
    """What a model is worth in these patients.

    table: metrics as `evaluate`; the models beside ours were recalibrated to these patients out of fold,
    which ours was not. policy: how CRS is treated here, beside where the model learned. needed: patients for
    intervals as narrow as `holds` asks for; None where that can't be worked out.
    """

    model: dict[str, str]
    family: str
    dataset_digest: str
    patients: int
    events: int
    table: pd.DataFrame
    sensitivity: pd.DataFrame
    suite: Suite
    attrition: pd.DataFrame
    policy: PolicyChange
    verdicts: tuple[Verdict, ...]
    needed: ValidationSize | None
    notes: tuple[str, ...]
    detail: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by file stem; none has a row of a patient."""
        return {
            "metrics": self.table,
            "sensitivity_uncertain_grades": self.sensitivity,
            "attrition": self.attrition,
            "treatment_policy": self.policy.table(),
            **self.suite.tables(),
        }

    def figures(self) -> dict[str, Figure]:
        """Calibration, decision curve, ROC and precision-recall of the rest of the window, by file stem."""
        from training.figures import prediction_figures

        return prediction_figures(self.detail)

    def to_dict(self) -> dict[str, Any]:
        """The summary for JSON; undefined numbers are null."""
        pooled = self.table[(self.table["model"] == OURS) & self.table["landmark_hours"].isna()]
        return {
            "model": self.model,
            "family": self.family,
            "dataset_digest": self.dataset_digest,
            "patients": self.patients,
            "events": self.events,
            "verdicts": [
                {
                    "horizon": v.horizon,
                    "word": v.word,
                    "reasons": list(v.reasons),
                    "n": v.n,
                    "events": v.events,
                }
                for v in self.verdicts
            ],
            "needed": None if self.needed is None else _needed(self.needed),
            "treatment_policy": {"changed": bool(self.policy.changed), "note": self.policy.note()},
            "metrics": json.loads(pooled.drop(columns="landmark_hours").to_json(orient="records")),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """The words with their intervals, the table of all models, and the notes."""
        head = (
            f"{self.model['name']} version {self.model['version']} on {self.patients} patients, {self.events} with "
            "severe CRS"
        )
        words = "\n".join(v.to_text() for v in self.verdicts)
        asked = [] if self.needed is None else [_asked(self.needed)]
        return "\n\n".join([head, words, *asked, render(self.table, self.notes)])

    def write(self, folder: Path) -> list[str]:
        """Tables as CSV, figures as SVG, summary.json and summary.txt; returns the names of the files."""
        names = []
        for stem, table in self.tables().items():
            table.to_csv(folder / f"{stem}.csv", index=False)
            names.append(f"{stem}.csv")
        for stem, figure in self.figures().items():
            figure.savefig(folder / f"{stem}.svg", format="svg", metadata={"Date": None})
            names.append(f"{stem}.svg")
        names += ["summary.json", "summary.txt"]
        summary = {**self.to_dict(), "files": names}
        (folder / "summary.json").write_text(
            json.dumps(summary, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / "summary.txt").write_text(self.to_text() + "\n", encoding="utf-8")
        return names


def evaluate_registered(
    cohort: Cohort,
    uri: str,
    *,
    tracking_uri: str,
    store_url: str | None = None,
    thresholds: Sequence[float] = GRID,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExternalEvaluation:
    """A registered model on other data.

    Args:
        cohort: patients whom the model never saw; a note counts those whom it learned from.
        uri: models:/NAME/VERSION or models:/NAME@ALIAS.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.
        thresholds: at which net benefit and alerts are reported; none of them is recommended.
        resamples: bootstrap resamples behind the intervals.
        seed: of folds and bootstrap.
        progress: told about every step.

    Raises:
        ModelError: no such version, or its files can't be trusted.
        NotEnoughDataError: no labelled rows of the model's family.
    """
    from training.champions import load_uri, open_store
    from training.gate_kept import known_patients
    from training.registry import versions

    model, info = load_uri(uri, tracking_uri=tracking_uri, store_url=store_url)
    found = evaluate_model(
        model, info, cohort, thresholds=thresholds, resamples=resamples, seed=seed, progress=progress
    )
    learned_from = {(v["name"], v["version"]): v["dataset_digest"] for v in versions(tracking_uri)}
    if learned_from.get((info.name, info.version)) == found.dataset_digest:
        return replace(found, notes=(SAME_COHORT, *found.notes))
    patients = found.detail["patient_id"].drop_duplicates()
    store = open_store(tracking_uri, store_url)
    known = known_patients(patients, info.name, info.version, store, tracking_uri=tracking_uri)
    return replace(found, notes=(*_known(known), *found.notes))


SAME_COHORT = "This is the cohort that the model learned from: the numbers are too good, use other patients."


def _known(known: NDArray[np.bool_] | None) -> tuple[str, ...]:
    """What to say of patients whom the model may have learned from, see `known_patients`."""
    if known is None:
        return (f"{NO_LIST} Make sure of it, or the numbers may be too good.",)
    if not known.any():
        return ()
    return (
        f"{int(known.sum())} of {len(known)} patients have the id of a patient whom the model learned from: where they "
        "are the same the numbers are too good, leave them out.",
    )


def evaluate_model(
    model: RiskModel,
    info: ModelInfo,
    cohort: Cohort,
    *,
    thresholds: Sequence[float] = GRID,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExternalEvaluation:
    """A model in memory on other data; see `evaluate_registered`."""
    told = _Told(progress)
    prepared = prepare(cohort, model.landmarks or None, model.horizons)
    told.step("labels and features")
    judged = _judged(model, prepared, seed)
    told.step("risks")
    table = evaluate(judged.detail, resamples=resamples, seed=seed)
    by_horizon = _of_horizons(judged.detail, resamples, seed)
    told.step("metrics")
    measured = suite(
        judged.detail,
        prepared.labels.onsets,
        course_groups(cohort),
        ours=OURS,
        thresholds=thresholds,
        resamples=resamples,
        seed=seed,
    )
    stable = model_instability(model, judged.rows, cohort.therapies).summary
    change = policy_change(model.policy, cohort, str(model.family), outcomes=prepared.labels.outcomes)
    told.step("net benefit, alerts, subgroups")
    result = ExternalEvaluation(
        model={"name": info.name, "version": info.version, "digest": info.digest},
        family=str(model.family),
        dataset_digest=cohort.digest(),
        patients=judged.rows.patients(),
        events=judged.rows.severe_patients(),
        table=table,
        sensitivity=_sensitivity(model, prepared, judged.detail, resamples, seed),
        suite=replace(measured, extra={"instability": stable}),
        attrition=prepared.labels.attrition,
        policy=change,
        verdicts=tuple(verdict(horizon, found) for horizon, found in by_horizon.items()),
        needed=_size(judged.detail, next(iter(by_horizon.values()))),
        notes=(
            change.note(),
            *_notes(model, prepared, judged),
            *instability_notes(str(model.family), stable),
        ),
        detail=judged.detail,
    )
    told.step("summary")
    return result


class _Told:
    """Counts the steps of an evaluation."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0

    def step(self, what: str) -> None:
        """One more is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(what, self._done, STEPS)


def _judged(model: RiskModel, prepared: Prepared, seed: int) -> _Judged:
    """Risks of the model, and of what it has to beat, for every labelled row of its family."""
    whole = replace(prepared, names=model.feature_names).rows()
    family = str(model.family)
    rows = whole.take((whole.rows["family"] == family).to_numpy())
    if not len(rows):
        there = sorted(whole.rows["family"].unique().tolist())
        raise NotEnoughDataError(
            f"no labelled rows of family {family!r}; the cohort has {there or 'none'}: name a model of one of them"
        )
    scored = (*SCORES, LAST_GRADE)
    compared = tuple(s for s in scored if measured_share(rows, UNIVARIABLE[s]) >= MEASURED_SHARE)
    extra = prepared.cohort.therapies
    offset = start_of(model.offset, rows, extra).log_odds()
    risks = {OURS: risks_of(model, rows, extra), PRIOR: sigmoid(offset)}
    if rows.patients() >= 2:
        risks |= {name: _recalibrated(rows, offset, UNIVARIABLE[name], seed) for name in compared}
    parts = [rows.rows.assign(model=name, repeat=0, fold=0, risk=risk) for name, risk in risks.items()]
    absent = tuple(s for s in scored if s not in compared)
    return _Judged(rows, pd.concat(parts, ignore_index=True), absent)


def risks_of(model: RiskModel, rows: Design, extra: Mapping[str, Any]) -> Array:
    """The model's risks of labelled rows, shape (n,)."""
    keys = rows.rows["therapy"].tolist()
    return sigmoid(model.log_odds(rows.matrix, start_of(model.offset, rows, extra), keys, extra))


def _recalibrated(rows: Design, offset: Array, column: str, seed: int) -> Array:
    """A score as a risk, by a regression on the other folds of these patients."""
    severe = rows.rows.groupby("patient_id")["severe"].transform("max").astype(str).to_numpy(dtype=object)
    patients = rows.rows["patient_id"].to_numpy(dtype=object)
    fold = patient_folds(patients, severe, min(FOLDS, rows.patients()), seed)
    risk = np.empty(len(rows))
    for k in np.unique(fold):
        learn, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        split = Split(rows.take(learn), rows.take(held), offset[learn], offset[held])
        risk[held] = univariable(split, column)
    return risk


def _sensitivity(
    model: RiskModel, prepared: Prepared, detail: pd.DataFrame, resamples: int, seed: int
) -> pd.DataFrame:
    """Metrics of our model with the rows of uncertain grade counted as severe."""
    from training.design import design

    unsure = prepared.labels.uncertain
    unsure = unsure[unsure["family"] == str(model.family)]
    if unsure.empty:
        return evaluate(detail.iloc[:0], resamples=0)
    rows = design(unsure, prepared.table, model.feature_names)
    risk = risks_of(model, rows, prepared.cohort.therapies)
    more = rows.rows.assign(model=OURS, repeat=0, fold=0, risk=risk)
    ours = detail[detail["model"] == OURS]
    return evaluate(pd.concat([ours, more], ignore_index=True), resamples=resamples, seed=seed)


def _of_horizons(detail: pd.DataFrame, resamples: int, seed: int) -> dict[str, dict[str, Metric]]:
    """Our model's metrics by horizon, pooled over landmarks, the rest of the window first."""
    ours = averaged(detail[detail["model"] == OURS])
    names = sorted(ours["horizon"].unique().tolist(), key=lambda h: (h != "rest", h))
    return {
        name: metrics(*row_arrays(ours[ours["horizon"] == name]), resamples=resamples, seed=seed)
        for name in names
    }


def _size(detail: pd.DataFrame, found: Mapping[str, Metric]) -> ValidationSize | None:
    """Patients for intervals as narrow as `holds` asks, from the intervals found; else from the spread of the risks."""
    ours = detail[(detail["model"] == OURS) & detail["rest_of_window"].to_numpy()]
    ratio, slope, auroc = (found[name] for name in ("expected_observed", "calibration_slope", "auroc"))
    prevalence = auroc.events / auroc.n if auroc.n else 0.0
    bounds = [(m.low, m.high) for m in (ratio, slope, auroc)]
    if np.isfinite(bounds).all():
        return size_from_intervals(auroc.n, prevalence, *bounds)
    if not 0 < prevalence < 1 or not 0.5 < auroc.value < 1:
        return None
    try:
        return validation_size(prevalence, auroc.value, log_odds(ours["risk"].to_numpy(dtype=np.float64)))
    except ValueError:  # the risks do not differ
        return None


def _needed(size: ValidationSize) -> dict[str, int]:
    return {
        "patients": size.required,
        "events": size.events,
        "patients_for_observed_expected": size.observed_expected,
        "patients_for_calibration_slope": size.calibration_slope,
        "patients_for_auroc": size.auroc,
    }


def _asked(size: ValidationSize) -> str:
    return (
        f"Intervals narrow enough for `holds` need about {size.required:,} patients with {size.events:,} severe cases "
        f"({size.observed_expected:,} for expected over observed, {size.calibration_slope:,} for the slope, "
        f"{size.auroc:,} for the AUROC)."
    )


def _notes(model: RiskModel, prepared: Prepared, judged: _Judged) -> list[str]:
    notes = list(prepared.labels.notes)
    others = int((prepared.rows().rows["family"] != str(model.family)).sum())
    if others:
        notes.append(f"{others} rows of other families were left out; evaluate their models on them.")
    unseen = sorted(key for key in judged.rows.rows["therapy"].unique().tolist() if not model.seen(str(key)))
    if unseen:
        notes.append(
            f"The model never saw {', '.join(unseen)}: the published base rate stands for the product."
        )
    if model.strategy == "offset":
        notes.append("The model is the base rate alone: it gives patients of one therapy the same risk.")
    if model.simulated:
        notes.append("The model was trained on simulated patients.")
    if judged.absent:
        named = ", ".join(judged.absent)
        notes.append(
            f"Not compared, since fewer than {MEASURED_SHARE:.0%} of the rows have the inputs: {named}."
        )
    notes.append(
        "Published scores were turned into risks by regressions on the other folds of these patients, an advantage "
        "that the model did not have."
    )
    notes.append("No threshold is recommended: choose one from decision_curve.csv and alerts.csv.")
    return notes
