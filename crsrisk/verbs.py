"""The verbs of crsrisk as functions: the command line and `import crsrisk` both call these, nothing else.

This is the one module of the domain core that looks upward (features, training, serving); every import of
theirs is late, so that a verb pays only for what it uses. A cohort argument is a folder or a Cohort.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from crsrisk.errors import CrsRiskError, ModelError
from crsrisk.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd
    from fastapi import FastAPI

    from crsrisk.cohort import Cohort
    from crsrisk.erasure import Erasure
    from crsrisk.quality import QualityReport
    from crsrisk.readers.convert import Conversion
    from crsrisk.simulator import Simulation
    from features.matrix import FeatureTable
    from features.stream import StreamedFeatures
    from serving.demo import Demonstration
    from serving.estimate import Models
    from training.crossvalidate import CrossValidation
    from training.external import ExternalEvaluation
    from training.learn import Learning
    from training.publish import Training
    from training.report.write import Report

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all


def simulate(
    out: str | Path,
    *,
    courses: int,
    seed: int,
    therapies: Sequence[str] | None = None,
    truth: int = 0,
    dated: bool = False,
    parquet: bool = False,
) -> Simulation:
    """A synthetic cohort, also written as a cohort folder; with `truth` also truth.parquet.

    Args:
        out: folder to write; must be absent or empty.
        courses: number of courses.
        seed: the same seed gives the same cohort.
        therapies: keys of the therapy catalogue; all that have a published rate when None.
        truth: forward simulations per landmark for the true risk; 0 for none.
        dated: times with an offset instead of hours from the index time.
        parquet: write Parquet instead of CSV.
    """
    from crsrisk.simulator import simulate as run

    folder = _new_folder(out)
    simulation = run(courses, seed, therapies=therapies, truth=truth, absolute_times=dated)
    simulation.write(folder, parquet=parquet)
    return simulation


def template(out: str | Path) -> Path:
    """An empty cohort folder with headers, units and an example row, for filling by hand."""
    from crsrisk.cohort_template import write_template

    folder = _new_folder(out)
    write_template(folder)
    return folder


def convert(
    source_format: str,
    source: str | Path,
    out: str | Path,
    *,
    map: str | Path | None = None,
    parquet: bool = False,
) -> Conversion:
    """A cohort folder from FHIR, OMOP, MEDS, HL7v2 or spreadsheets; every item that came is accounted for.

    Args:
        source_format: fhir, omop, meds, hl7v2 or csv.
        source: file or folder; for omop also a DuckDB file or a database URL.
        out: folder to write; must be absent or empty.
        map: site map: local codes, time zone, units, indications, explicit time zeros; see docs/convert.md.
        parquet: write Parquet instead of CSV.
    """
    from crsrisk.readers.convert import convert as run

    return run(source_format, source, out, site=None if map is None else Path(map), parquet=parquet)


def export(cohort: str | Path | Cohort, out: str | Path, *, to: str) -> Path:
    """A dated cohort in another format: fhir, omop, meds, hl7v2 or csv. What `convert` reads back is the same."""
    from crsrisk.writers.export import export as run

    read = _cohort(cohort)
    return run(read, _new_folder(out), to)


def propose_map(source: str | Path, out: str | Path) -> Path:
    """A site map proposed from the headers of spreadsheets, for a person to read, correct and confirm."""
    from crsrisk.readers.propose_map import propose_map as run

    file = Path(out)
    if file.exists():
        raise CrsRiskError(f"{file.name} is there already; name a new file")
    file.write_text(run(Path(source)), encoding="utf-8")
    return file


def erase(cohort: str | Path, patient_id: str, *, dry_run: bool = False) -> Erasure:
    """Remove one patient from a cohort folder and everything derived from it that lies beside it."""
    from crsrisk.erasure import erase as run

    return run(cohort, patient_id, dry_run=dry_run)


def check(cohort: str | Path, *, folds: str | Path | None = None) -> QualityReport:
    """Validity, units, quality, leaks and damaged numbers of a cohort folder; `.ok` is False when it has errors.

    Args:
        cohort: the folder.
        folds: CSV with course_id, repeat, fold whose splits are checked too.
    """
    from crsrisk.quality import check as run

    return run(cohort, folds=folds)


def grade(cohort: str | Path | Cohort) -> pd.DataFrame:
    """ASTCT grades on change from raw events, with the rule that fired; `time` where the cohort is dated.

    Raises:
        CrsRiskError: the cohort holds nothing that grading reads; says what is needed.
    """
    from crsrisk.grade_timeline import grade_cohort

    read = _cohort(cohort)
    grades = grade_cohort(read)
    return _dated(grades, read) if read.courses["index_time"].notna().all() else grades


def features(
    cohort: str | Path | Cohort, *, landmarks: Sequence[float] | None = None, all_roles: bool = True
) -> FeatureTable:
    """The feature table: a row per course, dose and landmark. `all_roles=False`: predictors only."""
    from features.matrix import DEFAULT_LANDMARKS, compute_features
    from features.registry import FEATURES, predictors

    chosen = FEATURES if all_roles else predictors()
    return compute_features(_cohort(cohort), landmarks or DEFAULT_LANDMARKS, features=chosen)


def write_features(
    cohort: str | Path,
    out: str | Path,
    *,
    landmarks: Sequence[float] | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> StreamedFeatures:
    """The feature table of a cohort folder of any size as a file, part by part, with the memory of one part.

    A call that was interrupted is continued by the same call.

    Args:
        cohort: folder.
        out: file to write, .parquet or .csv.
        landmarks: hours after each dose.
        scheduler: address of a Dask scheduler whose workers see both paths; None computes here.
        progress: told about every finished part.
    """
    from features.stream import stream_features as run

    return run(cohort, out, landmarks, scheduler=scheduler, progress=progress)


def crossvalidate(
    cohort: str | Path | Cohort,
    *,
    landmarks: Sequence[float] | None = None,
    folds: str | Path | None = None,
    repeats: int = 1,
    trials: int = 8,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """Out-of-fold risks, split by patient, of our model and of every comparator on the same folds.

    With `jobs` above 1 so many folds are fitted at once, each in a process of its own; the risks are the same.
    """
    from training.crossvalidate import crossvalidate as run

    return run(
        _cohort(cohort),
        landmarks,
        folds=folds,
        repeats=repeats,
        trials=trials,
        seed=seed,
        jobs=jobs,
        progress=progress,
    )


def train(
    cohort: str | Path | Cohort,
    *,
    family: str | None = None,
    trials: int = 20,
    seed: int = 0,
    full: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Training:
    """Fit, evaluate out of fold, log to MLflow and register a version per family, alias `challenger`.

    Nothing is promoted: a version answers only after `promote`. With `full` the report also has held-out sites,
    products and later patients, the model with oxygen, pressors and blood pressure, and the one that sees
    treatment; it takes several times as long. `jobs` folds are cross-validated at once, with the same result.
    """
    from training.publish import train_and_register
    from training.validation import DESIGNS

    return train_and_register(
        _cohort(cohort),
        family=family,
        trials=trials,
        seed=seed,
        designs=DESIGNS if full else (),
        support=full,
        usual_care=full,
        jobs=jobs,
        progress=progress,
        **_places(),
    )


def learn(cohort: str | Path | Cohort, *, model: str) -> Learning:
    """Move the levels of a registered version by further cases, 1 or 30, and register the result as challenger.

    Trees and calibration stay; patients whom the version learned from are left out.

    Args:
        cohort: further courses with outcomes, folder or Cohort.
        model: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
    """
    from training.learn import learn_and_register

    return learn_and_register(_cohort(cohort), model, **_places())


def evaluate(
    cohort: str | Path | Cohort,
    *,
    model: str,
    out: str | Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExternalEvaluation:
    """A registered model on patients that it never saw: tables, figures and a summary, none of a single patient.

    Args:
        cohort: folder or Cohort of the hospital that wants to know; see docs/local_validation.md.
        model: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        out: folder to write; must be absent or empty.
        seed: of folds and bootstrap.
        progress: told about every step.

    Raises:
        CrsRiskError: the folder holds something, the model can't be used, or the cohort has no rows for it.
    """
    from training.external import evaluate_registered

    folder = _free_folder(out)
    found = evaluate_registered(_cohort(cohort), model, seed=seed, progress=progress, **_places())
    folder.mkdir(parents=True, exist_ok=True)
    found.write(folder)
    return found


def score(
    cohort: str | Path | Cohort,
    *,
    model: str | None = None,
    at: str | None = None,
    landmarks: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Risks of a whole cohort with intervals and top contributions: a row per course, dose, landmark, horizon.

    Args:
        cohort: folder or Cohort.
        model: `models:/NAME/VERSION` or `models:/NAME@ALIAS`; the champion of each family when None.
        at: ISO 8601 time with offset: by the champions of that moment, to compute past predictions again.
        landmarks: hours after the latest dose.
    """
    from features.matrix import DEFAULT_LANDMARKS
    from serving.scorer import Scorer

    return Scorer(load_models(model, at=at)).score_cohort(_cohort(cohort), landmarks or DEFAULT_LANDMARKS)


def score_patient(
    body: Mapping[str, Any], *, model: str | None = None, at: str | None = None
) -> dict[str, Any]:
    """The answer of `POST /v1/risk` to its body, without a service; `model` and `at` as for `score`."""
    from serving.scorer import Scorer

    return Scorer(load_models(model, at=at)).score(body)


def load_models(model: str | None = None, *, at: str | None = None) -> Models:
    """The champion of each family, or the one model of the address, verified; `at`: the champions of then.

    Raises:
        ModelError: no champion yet, or a model whose files can't be trusted.
        CrsRiskError: `model` and `at` together, or `at` is no time with offset.
    """
    from training.champions import load_champions, load_uri
    from training.promotions import load_champions_at

    places = _places()
    if model is not None and at is not None:
        raise CrsRiskError("a model and a time: a version is the same at any time; give one of the two")
    if model is not None:
        found, info = load_uri(model, **places)
        return {str(found.family): (found, info)}
    if at is not None:
        return load_champions_at(_moment(at), **places)
    champions, refused = load_champions(**places)
    if not champions:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ModelError(
            reasons
            or "no champion is registered; run `crsrisk train COHORT`, then `crsrisk promote NAME VERSION`"
        )
    return champions


def promote(
    name: str, version: str, *, reason: str, cohort: str | Path | Cohort | None = None
) -> dict[str, Any]:
    """Make a version the champion, where the gate lets it pass; what was decided, as the ledger keeps it.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: number of the version.
        reason: why, for the ledger.
        cohort: validation cohort on which challenger and champion are judged; None: the patients of the
            training, each by a model that had not seen it.

    Raises:
        GateError: the gate refuses; names the rows. The refusal stands in the ledger.
        PromotionConflictError: another decision came between; nothing was changed.
    """
    from training.promotions import promote as run

    validation = None if cohort is None else _cohort(cohort)
    return run(name, version, reason, cohort=validation, **_places())


def rollback(name: str, *, reason: str, to: str | None = None) -> dict[str, Any]:
    """Let the champion before the present one answer again, or an earlier one that `to` names."""
    from training.promotions import rollback as run

    return run(name, reason, to=to, **_places())


def models() -> list[dict[str, Any]]:
    """Every registered version with its aliases."""
    from training.champions import list_models

    return list_models(**_places())


def history(name: str | None = None) -> list[dict[str, Any]]:
    """The ledger of champions, oldest first: who decided what, when, why and on which evidence."""
    from training.promotions import history as run

    return run(name, **_places())


def report(name: str, version: str | None = None, *, out: str | Path, language: str | None = None) -> Report:
    """The report of a registered version as one HTML file, with `model_card.json` beside it.

    Args:
        name: registered name, e.g. crsrisk-cd19_cart.
        version: its number; the champion when None, the newest version where there is none.
        out: file to write, .html, or a folder.
        language: en or ja; that of the settings when None.
    """
    from training.report.write import write_report

    wanted = language or load_settings().language
    return write_report(name, version, out, language=wanted, **_places())


def doctor() -> list[dict[str, Any]]:
    """What was looked at, what was found, and whether it is in order."""
    from crsrisk.diagnosis import findings

    return [*findings(load_settings()), _ledger()]


def demo(*, courses: int = 1100, seed: int = 7, progress: Progress | None = None) -> Demonstration:
    """Simulate, check, train, register, promote and score; the ward it names can then be served."""
    from serving.demo import demonstrate

    return demonstrate(load_settings(), courses=courses, seed=seed, progress=progress)


def service(*, ward: str | Path | Cohort | None = None) -> FastAPI:
    """The REST service and pages with the champions, as an ASGI application.

    Args:
        ward: cohort whose patients the pages list; without it there are REST routes only.
    """
    from serving.api import create_app
    from serving.pages import CohortPatients, pages_router
    from serving.scorer import Scorer

    if ward is None:
        return create_app(Scorer(load_models()))
    patients = _cohort(ward)
    scorer = Scorer(load_models(), therapies=patients.therapies)
    language = load_settings().language
    pages = pages_router(CohortPatients(patients), scorer.score, language=language, warm=True)
    return create_app(scorer, pages=pages)


def serve(
    *, host: str | None = None, port: int | None = None, ward: str | Path | None = None, as_json: bool = False
) -> None:
    """Serve REST, and the pages of a ward, until interrupted."""
    import json

    import uvicorn

    settings = load_settings()
    address = (host or settings.host, port or settings.port)
    app = service(ward=ward)
    facts = {"url": f"http://{address[0]}:{address[1]}/", "pages": ward is not None}
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        pages = " Patients are at /." if ward is not None else ""
        print(f"crsrisk answers on {facts['url']} (POST v1/risk).{pages}", file=sys.stderr, flush=True)
    uvicorn.run(app, host=address[0], port=address[1], log_level="warning", access_log=False)


def _dated(rows: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """The rows with `time` in place of `hours`."""
    import pandas as pd

    start = rows["course_id"].map(cohort.courses.set_index("course_id")["index_time"])
    rows = rows.rename(columns={"hours": "time"})
    rows["time"] = start + pd.to_timedelta((rows["time"] * 3_600_000_000).round(), unit="us")
    return rows


def _cohort(cohort: str | Path | Cohort) -> Cohort:
    from crsrisk.cohort import Cohort, read_cohort

    return cohort if isinstance(cohort, Cohort) else read_cohort(cohort)


class _Places(TypedDict):
    """Where registry and store of champions are."""

    tracking_uri: str
    store_url: str


def _places() -> _Places:
    settings = load_settings()
    return {"tracking_uri": settings.tracking_uri, "store_url": settings.store_url}


def _ledger() -> dict[str, Any]:
    """Whether registry and store of champions answer, and every entry of the ledger is whole."""
    from training.promotions import verify
    from training.registry import sqlite_path

    places, what = _places(), "ledger of champions"
    registry = sqlite_path(places["tracking_uri"])
    if registry is not None and not registry.is_file():
        return {"what": what, "found": "no registry yet; crsrisk train makes it", "ok": True}
    try:
        problems = verify(**places)
    except CrsRiskError as error:
        problems = [str(error)]
    return {"what": what, "found": "; ".join(problems) or "every entry is whole", "ok": not problems}


def _moment(text: str) -> datetime:
    """An aware time from text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # without zone, like the next
    if moment.tzinfo is None:
        raise CrsRiskError(f"time {text!r}; give ISO 8601 with offset, e.g. 2026-03-01T09:00:00+09:00")
    return moment


def _new_folder(out: str | Path) -> Path:
    folder = _free_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _free_folder(out: str | Path) -> Path:
    """The folder, which may be written: absent or empty."""
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrsRiskError(f"{folder} is there already and not an empty folder; name a new one")
    return folder
