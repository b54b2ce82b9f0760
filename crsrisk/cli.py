"""The command line: reads arguments, calls the verb, prints its result. No logic lives here.

Results go to stdout (`--json` for machines), logs and progress to stderr. Exit codes: 0 done, 1 the data or the
environment has errors (`check`, `doctor`), 2 the input can't be used.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from crsrisk import verbs
from crsrisk._version import __version__
from crsrisk.errors import CrsRiskError, GateError

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="crsrisk",
    help="Risk of severe cytokine release syndrome after T-cell-engaging therapy. Research software.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
CohortFolder = Annotated[Path, typer.Argument(metavar="COHORT", help="Cohort folder.")]
OutFile = Annotated[Path, typer.Option("--out", help="File to write: .csv or .parquet.")]
NewFolder = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; absent or empty.")]
Landmarks = Annotated[str, typer.Option("--landmarks", help="Hours after the latest dose, e.g. 0,24,48.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Folds fitted at once; the result is the same.")]


def main() -> None:
    """Entry point of the console script."""
    app()


def _refusing(verb: Callable[P, R]) -> Callable[P, R]:
    """The verb with errors about the input turned into lines on stderr and exit code 2."""

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except CrsRiskError as error:
            print(f"crsrisk: {error}", file=sys.stderr)
            raise typer.Exit(2) from None

    return wrapped


def _version(wanted: bool) -> None:
    if wanted:
        print(f"crsrisk {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Risk of severe cytokine release syndrome after T-cell-engaging therapy. Research software."""


@app.command()
@_refusing
def demo(
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Stop before serving.")] = False,
    courses: Annotated[int, typer.Option(help="Simulated courses to train on.")] = 1100,
    seed: Seed = 7,
    as_json: AsJson = False,
) -> None:
    """Simulate, check, train, register, promote, score; then serve with the pages filled."""
    with _progress() as progress:
        result = verbs.demo(courses=courses, seed=seed, progress=progress)
    _print(result.to_dict(), result.to_text(), as_json)
    if not no_serve:
        verbs.serve(ward=result.ward)


@app.command()
@_refusing
def simulate(
    out: NewFolder,
    courses: Annotated[int, typer.Option("--courses", min=1, help="Number of courses.")] = 200,
    seed: Seed = 0,
    therapies: Annotated[str, typer.Option(help="Therapy keys, comma separated; all when empty.")] = "",
    truth: Annotated[
        int, typer.Option(min=0, help="Forward simulations per landmark for truth.parquet.")
    ] = 0,
    dated: Annotated[bool, typer.Option("--dated", help="Times with an offset instead of hours.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet instead of CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic cohort folder."""
    keys = [key.strip() for key in therapies.split(",") if key.strip()] or None
    made = verbs.simulate(
        out, courses=courses, seed=seed, therapies=keys, truth=truth, dated=dated, parquet=parquet
    )
    facts = {"folder": str(out), "courses": len(made.courses), "events": len(made.events), "seed": seed}
    _print(facts, f"{facts['courses']} courses, {facts['events']} events in {out}", as_json)


@app.command()
@_refusing
def template(out: NewFolder, as_json: AsJson = False) -> None:
    """Write an empty cohort folder with headers, units and an example row."""
    folder = verbs.template(out)
    _print({"folder": str(folder)}, f"fill in the tables of {folder}, then: crsrisk check {folder}", as_json)


@app.command()
@_refusing
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="File, folder or, for omop, a database URL.")],
    out: NewFolder,
    source_format: Annotated[str, typer.Option("--from", help="fhir, omop, meds, hl7v2 or csv.")],
    site_map: Annotated[Path | None, typer.Option("--map", help="Site map; see docs/convert.md.")] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet instead of CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a cohort folder from someone else's data; exit code 1 when no course is found."""
    conversion = verbs.convert(source_format, source, out, map=site_map, parquet=parquet)
    _print(conversion.to_dict(), conversion.to_text(), as_json)
    if not conversion.ok:
        raise typer.Exit(1)


@app.command()
@_refusing
def export(
    cohort: CohortFolder,
    out: NewFolder,
    to: Annotated[str, typer.Option("--to", help="fhir, omop, meds, hl7v2 or csv.")],
    as_json: AsJson = False,
) -> None:
    """Write a dated cohort in another format; `convert` reads it back."""
    folder = verbs.export(cohort, out, to=to)
    _print({"folder": str(folder), "format": to}, f"{to} in {folder}", as_json)


@app.command()
@_refusing
def propose_map(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Spreadsheet or folder of them.")],
    out: Annotated[Path, typer.Option("--out", help="Site map to write (.toml).")],
    as_json: AsJson = False,
) -> None:
    """Propose a site map from the headers of spreadsheets, for a person to confirm."""
    file = verbs.propose_map(source, out)
    _print(
        {"file": str(file)}, f"read {file}, correct it, set confirmed = true, then: crsrisk convert", as_json
    )


@app.command()
@_refusing
def erase(
    cohort: CohortFolder,
    patient_id: Annotated[str, typer.Argument(metavar="PATIENT_ID", help="As in the table courses.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove one patient from a cohort folder and from what was derived from it beside it."""
    erasure = verbs.erase(cohort, patient_id, dry_run=dry_run)
    _print(erasure.to_dict(), erasure.to_text(), as_json)


@app.command()
@_refusing
def check(
    cohort: CohortFolder,
    folds: Annotated[Path | None, typer.Option(help="CSV with course_id, repeat, fold to check.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check validity, units, quality and leaks; exit code 1 on an error."""
    report = verbs.check(cohort, folds=folds)
    _print(report.to_dict(), report.to_text(), as_json)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
@_refusing
def grade(cohort: CohortFolder, out: OutFile, as_json: AsJson = False) -> None:
    """Derive ASTCT grades over time from raw events, with the rule that fired."""
    grades = verbs.grade(cohort)
    _write(grades, out)
    counts = {str(state): int(n) for state, n in grades["state"].value_counts().items()}
    facts = {
        "file": str(out),
        "rows": len(grades),
        "courses": int(grades["course_id"].nunique()),
        "states": counts,
    }
    _print(facts, f"{facts['rows']} grades of {facts['courses']} courses in {out}: {counts}", as_json)


@app.command()
@_refusing
def features(
    cohort: CohortFolder,
    out: OutFile,
    landmarks: Landmarks = "",
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler, e.g. tcp://10.0.0.5:8786.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the feature table, part by part: a row per course, dose and landmark."""
    with _progress() as progress:
        written = verbs.write_features(
            cohort, out, landmarks=_hours(landmarks), scheduler=scheduler, progress=progress
        )
    again = f", {written.reused} of {written.parts} parts kept from before" if written.reused else ""
    told = f"{written.rows} rows x {written.features} features in {out}{again}"
    _print(written.to_dict(), told, as_json)


@app.command()
@_refusing
def crossvalidate(
    cohort: CohortFolder,
    out: OutFile,
    landmarks: Landmarks = "",
    folds: Annotated[Path | None, typer.Option(help="CSV with course_id, repeat, fold.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of the split.")] = 1,
    trials: Annotated[int, typer.Option(min=0, help="Tuning trials inside each training fold.")] = 8,
    seed: Seed = 0,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Out-of-fold risks of our model and every comparator, split by patient."""
    with _progress() as progress:
        result = verbs.crossvalidate(
            cohort,
            landmarks=_hours(landmarks),
            folds=folds,
            repeats=repeats,
            trials=trials,
            seed=seed,
            jobs=jobs,
            progress=progress,
        )
    _write(result.predictions, out)
    _print(result.to_dict(), result.to_text(), as_json)


@app.command()
@_refusing
def train(
    cohort: CohortFolder,
    family: Annotated[str | None, typer.Option(help="One family; all in the cohort when absent.")] = None,
    trials: Annotated[int, typer.Option(min=0, help="Tuning trials.")] = 20,
    seed: Seed = 0,
    jobs: Jobs = 1,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also hold out sites, products, years; second models with support and treatment."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fit, evaluate, log to MLflow and register a version per family, with its report."""
    with _progress() as progress:
        result = verbs.train(
            cohort, family=family, trials=trials, seed=seed, full=full, jobs=jobs, progress=progress
        )
    _print(result.to_dict(), result.to_text(), as_json)


@app.command()
@_refusing
def learn(
    cohort: CohortFolder,
    model: Annotated[str, typer.Option("--model", help="models:/NAME/VERSION or models:/NAME@ALIAS.")],
    as_json: AsJson = False,
) -> None:
    """Move the levels of a version by further cases and register the result; its trees stay."""
    result = verbs.learn(cohort, model=model)
    _print(result.to_dict(), result.to_text(), as_json)


@app.command()
@_refusing
def evaluate(
    cohort: CohortFolder,
    model: Annotated[str, typer.Option("--model", help="models:/NAME/VERSION or models:/NAME@ALIAS.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; absent or empty.")],
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Validate a registered model on patients that it never saw; see docs/local_validation.md."""
    with _progress() as progress:
        result = verbs.evaluate(cohort, model=model, out=out, seed=seed, progress=progress)
    _print(result.to_dict() | {"folder": str(out)}, result.to_text(), as_json)


@app.command()
@_refusing
def score(
    cohort: CohortFolder,
    out: OutFile,
    model: Annotated[
        str | None, typer.Option(help="models:/NAME/VERSION or models:/NAME@ALIAS; champions when absent.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Time with offset: by the champions of then, to compute risks again.")
    ] = None,
    landmarks: Landmarks = "",
    as_json: AsJson = False,
) -> None:
    """Risks for a whole cohort, with intervals and top contributions."""
    risks = verbs.score(cohort, model=model, at=at, landmarks=_hours(landmarks))
    _write(risks, out)
    abstained = int(risks["abstained"].sum())
    notes = [note for note in risks["notes"].unique().tolist() if note]
    facts = {"file": str(out), "rows": len(risks), "abstained": abstained, "notes": notes}
    told = f"{facts['rows']} risks in {out}, {abstained} of them abstained with a reason"
    _print(facts, "\n".join([told, *notes]), as_json)


@app.command()
@_refusing
def promote(
    name: Annotated[str, typer.Argument(help="Registered model, e.g. crsrisk-cd19_cart.")],
    version: Annotated[str, typer.Argument(help="Version to make champion.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; is kept in the ledger.")],
    cohort: Annotated[Path | None, typer.Option("--cohort", help="Validation cohort to judge on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion, where the gate lets it pass; a refusal names the failing rows."""
    try:
        entry = verbs.promote(name, version, reason=reason, cohort=cohort)
    except GateError as refused:
        if as_json:
            _print(refused.verdict, "", as_json)
        raise
    _print(entry, _told(entry), as_json)


@app.command()
@_refusing
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model, e.g. crsrisk-cd19_cart.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; is kept in the ledger.")],
    to: Annotated[
        str | None, typer.Option("--to", help="Earlier champion; the one before when absent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let the champion before the present one answer again."""
    entry = verbs.rollback(name, reason=reason, to=to)
    _print(entry, _told(entry), as_json)


@app.command()
@_refusing
def models(
    history: Annotated[
        bool, typer.Option("--history", help="The ledger: who decided what, when, why, on which evidence.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List registered versions and which of them is champion, or the ledger of champions."""
    if history:
        entries = verbs.history()
        _print(entries, "\n".join(map(_told, entries)) or "nothing was decided yet", as_json)
        return
    listed = verbs.models()
    lines = [
        f"{m['name']}  version {m['version']}  {m['strategy']}  {', '.join(m['aliases']) or '-'}"
        for m in listed
    ]
    _print(listed, "\n".join(lines) or "no registered model; run: crsrisk train COHORT", as_json)


@app.command()
@_refusing
def report(
    name: Annotated[str, typer.Argument(help="Registered model, e.g. crsrisk-cd19_cart.")],
    out: Annotated[Path, typer.Option("--out", help="File to write (.html), or a folder.")],
    version: Annotated[str | None, typer.Argument(help="Version; the champion when absent.")] = None,
    language: Annotated[str | None, typer.Option(help="en or ja; that of the settings when absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a version as one HTML file, and its model card beside it."""
    written = verbs.report(name, version, out=out, language=language)
    _print(written.to_dict(), written.to_text(), as_json)


@app.command()
@_refusing
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    ward: Annotated[Path | None, typer.Option(help="Cohort folder whose patients the pages list.")] = None,
    as_json: AsJson = False,
) -> None:
    """Serve REST and pages with the champions."""
    verbs.serve(host=host, port=port, ward=ward, as_json=as_json)


@app.command()
@_refusing
def doctor(as_json: AsJson = False) -> None:
    """Versions, shadowed packages, settings and whether the registry answers; exit code 1 on a fault."""
    findings = verbs.doctor()
    lines = [f"{'ok   ' if f['ok'] else 'FAULT'} {f['what']}: {f['found']}" for f in findings]
    _print(findings, "\n".join(lines), as_json)
    if not all(f["ok"] for f in findings):
        raise typer.Exit(1)


def _told(entry: Mapping[str, Any]) -> str:
    """An entry of the ledger as lines: the decision, then the rows of the gate."""
    before = f" (before: version {entry['previous']})" if entry["previous"] else ""
    decided = (
        f"{entry['sequence']}  {entry['time']}  {entry['who']}: {entry['action']} {entry['name']} version "
    )
    rows = entry["evidence"].get("rows", [])
    answers = [f"   {'passed' if r['passed'] else 'FAILED'}  {r['row']}: {r['sentence']}" for r in rows]
    reason = " ".join(entry["reason"].split())  # on one line, so that no reason looks like an entry
    return "\n".join([f"{decided}{entry['version']}{before}: {reason}", *answers])


def _hours(text: str) -> tuple[float, ...] | None:
    if not text.strip():
        return None
    try:
        hours = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CrsRiskError(f"--landmarks {text!r}: give hours separated by commas, e.g. 0,24,48") from None
    if any(not 0 <= h < 10_000 for h in hours) or len(set(hours)) < len(hours):
        raise CrsRiskError(f"--landmarks {text!r}: give different hours from 0 on, e.g. 0,24,48")
    return tuple(sorted(hours))


def _print(result: Any, text: str, as_json: bool) -> None:
    print(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else text)


def _write(frame: pd.DataFrame, out: Path) -> None:
    if out.suffix not in (".csv", ".parquet"):
        raise CrsRiskError(f"--out {out.name}: the ending decides the form; use .csv or .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        frame.to_csv(out, index=False)
    else:
        frame.to_parquet(out, index=False)


@contextmanager
def _progress() -> Iterator[verbs.Progress]:
    """A bar per task on stderr; plain lines when stderr is no terminal."""
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def line(task: str, done: int, total: int) -> None:
            if task not in seen or done == total:
                seen.add(task)
                print(f"{task}: {done}/{total}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def bar(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield bar
