"""From a cohort to one model per family, with its out-of-fold evaluation; nothing is logged or written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from crsrisk.cohort import Cohort
from crsrisk.errors import NotEnoughDataError
from training.crossvalidate import DEFAULT_FOLDS, OURS, CrossValidation, Prepared, crossvalidate, prepare
from training.design import Design
from training.evaluate import RESAMPLES
from training.fit import fit_family, shared_trees
from training.horizons import DEFAULT_HORIZONS
from training.instability import instability_notes, model_instability
from training.model import RiskModel
from training.policy import treatment_policy
from training.sample_size import sample_size_note
from training.second import second_analysis
from training.single_thread import single_thread
from training.subgroups import course_groups
from training.suite import Suite, suite
from training.support import WITH_SUPPORT, with_support
from training.table import render
from training.treatment import treatment_analysis
from training.usual_care import USUAL_CARE, with_treatment
from training.validation import validate
from training.without_rescue import WITHOUT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[str, int, int], None]
REFITS = 15


class Interval(NamedTuple):
    """A metric with its 95 % interval; nan where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class TrainedFamily:
    """A fitted model and what its out-of-fold risks are worth.

    evaluation: of this family alone; the models beside ours are those it has to beat. suite: what else was
    measured about it. rows: labelled training rows, for figures. params: what a run logs beside the model's
    own parameters. advice: sample size and instability, in plain sentences.
    """

    model: RiskModel
    evaluation: CrossValidation
    suite: Suite
    rows: Design
    params: Mapping[str, Any]
    advice: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Key of the family."""
        return str(self.model.family)

    @property
    def notes(self) -> list[str]:
        """What a reader must know, in plain sentences."""
        return [*self.evaluation.notes, *self.advice]

    def metrics(self) -> dict[str, Interval]:
        """Our model's metrics by name: `auroc_pooled`, `auroc_landmark24_horizon72`, ..., undefined ones left out.

        Also those of the model that sees treatment (`usual_care_...`) and the risks without rescue
        (`risk_without_tocilizumab_...`).
        """
        extra = self.suite.extra
        found = metric_names(self.evaluation.table[self.evaluation.table["model"] == OURS])
        if "usual_care" in extra:
            found |= {f"usual_care_{name}": of for name, of in metric_names(extra["usual_care"]).items()}
        risks = extra["without_rescue"]
        for definition, mine in risks[risks["estimate"] == WITHOUT].groupby("definition"):
            found |= metric_names(mine.assign(metric=f"risk_without_{definition}"))
        return found

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables to log, by file stem; those of the report among them."""
        from training.report.evidence import report_tables

        e = self.evaluation
        return {
            "metrics": e.table,
            "sensitivity_uncertain_grades": e.sensitivity,
            "attrition": e.attrition,
            "out_of_fold": e.predictions,
            "strategies": e.strategies,
            **self.suite.tables(),
            **report_tables(self),
        }

    def figures(self) -> dict[str, Figure]:
        """Calibration, ROC, precision-recall and decision curve out of fold, SHAP beeswarm; by file stem."""
        from training.figures import family_figures

        return family_figures(self)

    def to_text(self) -> str:
        """The table of all models with intervals, and the notes."""
        return render(self.evaluation.table, self.notes)


def train(
    cohort: Cohort | Prepared,
    family: str | None = None,
    *,
    trials: int = 0,
    seed: int = 0,
    landmarks: Sequence[float] | None = None,
    horizons: Sequence[float | None] = DEFAULT_HORIZONS,
    n_folds: int = DEFAULT_FOLDS,
    refits: int = REFITS,
    resamples: int = RESAMPLES,
    designs: Sequence[str] = (),
    support: bool = False,
    usual_care: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[TrainedFamily]:
    """Fit and evaluate one model per family of the cohort.

    The final model learns from all patients; its evaluation comes from models of the same recipe that never
    saw the patient they are judged on.

    Args:
        cohort: a cohort, or one prepared already (landmarks and horizons are then its own).
        family: one family; None: all that the cohort has.
        trials: Optuna candidates beside the defaults, inside every training fold and for the final model.
        seed: of folds, fits and bootstrap.
        landmarks: hours after the dose; None: 0, 12, 24, 48, 72.
        horizons: hours after the landmark, None for the rest of the window.
        n_folds: folds of the evaluation; fewer where the cohort has fewer patients.
        refits: bootstrap refits behind the interval of a risk.
        resamples: bootstrap resamples behind the interval of a metric.
        designs: validation designs to run as well, see `training.validation.DESIGNS`; each refits the recipe
            with its default parameters, once per site, product or cut.
        support: whether to cross-validate a second model that also sees oxygen, pressors and blood pressure.
        usual_care: whether to cross-validate a second model that also sees what was given for CRS so far.
        jobs: how many folds of a cross-validation are fitted at once; the result is the same for any number.
        progress: told about every step.

    Raises:
        NotEnoughDataError: no labelled rows, or not of this family.
    """
    prepared = cohort if isinstance(cohort, Prepared) else prepare(cohort, landmarks, horizons)
    rows = prepared.rows()
    families = sorted(rows.rows["family"].unique().tolist())
    if not families or (family is not None and family not in families):
        asked = f"family {family!r}" if family is not None else "any family"
        raise NotEnoughDataError(f"no labelled rows of {asked}; the cohort has {families or 'none'}")
    wanted = families if family is None else [family]
    folds = min(n_folds, rows.patients())
    if folds < 2:
        raise NotEnoughDataError("the labelled rows are of one patient; an evaluation needs two or more")
    evaluation = crossvalidate(
        prepared,
        n_folds=folds,
        families=wanted,
        trials=trials,
        seed=seed,
        resamples=resamples,
        jobs=jobs,
        progress=progress,
    )
    further = _further(
        prepared,
        evaluation,
        designs,
        support=support,
        usual_care=usual_care,
        folds=folds,
        families=wanted,
        trials=trials,
        seed=seed,
        resamples=resamples,
        jobs=jobs,
        progress=progress,
    )
    groups = course_groups(prepared.cohort)
    given = prepared.given(rows)
    with single_thread():
        shared = shared_trees(given, seed)
    trained = []
    for name in wanted:
        with single_thread():
            model = fit_family(
                given,
                name,
                trials=trials,
                seed=seed,
                refits=refits,
                shared=shared,
                progress=_step(progress, f"{name}, final model"),
            )
        policy = treatment_policy(prepared.cohort, name, outcomes=prepared.labels.outcomes)
        model = replace(model, policy=policy)
        mine = rows.take((rows.rows["family"] == name).to_numpy())
        stable = model_instability(model, mine, prepared.cohort.therapies).summary
        own = evaluation.of_family(name)
        measured = suite(
            own.detail, prepared.labels.onsets, groups, ours=OURS, resamples=resamples, seed=seed
        )
        tables = {stem: table[table["family"] == name] for stem, table in further.items()}
        treated = treatment_analysis(prepared, own.detail, name, policy, resamples=resamples, seed=seed)
        measured = replace(measured, extra={**tables, "instability": stable, **treated.tables()})
        size = sample_size_note(name, mine.patients(), mine.severe_patients(), len(mine.names) + 2)
        params = {"trials": trials, "folds": folds, "seed": seed, "refits": refits, "resamples": resamples}
        advice = (size, *instability_notes(name, stable), *treated.notes())
        trained.append(TrainedFamily(model, own, measured, mine, params, advice))
    return trained


def _further(
    prepared: Prepared,
    evaluation: CrossValidation,
    designs: Sequence[str],
    *,
    support: bool,
    usual_care: bool,
    folds: int,
    families: Sequence[str],
    trials: int,
    seed: int,
    resamples: int,
    jobs: int,
    progress: Progress | None,
) -> dict[str, pd.DataFrame]:
    """Tables of the validation designs and of the models with support variables or treatment, of all families."""
    found = {}
    if designs:
        held_out = validate(
            prepared, designs, families=families, seed=seed, resamples=resamples, progress=progress
        )
        found["validation"] = held_out.table
    seconds = {
        WITH_SUPPORT: with_support(prepared) if support else None,
        USUAL_CARE: with_treatment(prepared) if usual_care else None,
    }
    for name, second in seconds.items():
        if second is not None:
            table, differences = second_analysis(
                name,
                second,
                evaluation,
                n_folds=folds,
                families=families,
                trials=trials,
                seed=seed,
                resamples=resamples,
                jobs=jobs,
                progress=progress,
            )
            found |= {name: table, f"without_against_{name}": differences}
    return found


def metric_names(table: pd.DataFrame) -> dict[str, Interval]:
    """Metrics of one model by name; pooled over landmarks and horizons, and for each landmark and horizon."""
    found = {}
    for row in table.to_dict("records"):
        if not np.isfinite(row["value"]):
            continue
        pooled = not np.isfinite(row["landmark_hours"])
        if pooled:
            place = "pooled" if row["horizon"] == "all" else f"pooled_horizon{row['horizon']}"
        else:
            place = f"landmark{row['landmark_hours']:g}_horizon{row['horizon']}"
        found[f"{row['metric']}_{place}"] = Interval(row["value"], row["low"], row["high"])
    return found


def _step(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    told = progress
    return lambda done, total: told(what, done, total)
