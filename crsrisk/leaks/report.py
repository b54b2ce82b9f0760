"""The leak report of a cohort: all kinds of findings, and what could not be looked for."""

from dataclasses import dataclass
from pathlib import Path

from crsrisk.cohort_frames import Cohort
from crsrisk.leaks.finding import Finding
from crsrisk.leaks.folds import fold_findings, given_folds, split_columns
from crsrisk.leaks.foresight import foresights
from crsrisk.leaks.knowledge_time import knowledge_times
from crsrisk.leaks.outcome import outcome
from crsrisk.leaks.repeated_values import repeated_values
from crsrisk.leaks.selection import selections
from crsrisk.leaks.twins import twin_findings, twins
from crsrisk.leaks.view import View, view
from crsrisk.problems import Problems

FEWEST_SEVERE = 3


@dataclass(frozen=True)
class LeakReport:
    """Findings, errors first; notes on what could not be looked for; problems of the folds file."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def find_leaks(cohort: Cohort, *, folds: str | Path | None = None, seen: View | None = None) -> LeakReport:
    """Look for leaks of all kinds.

    Args:
        cohort: the cohort; nothing in it is changed.
        folds: CSV `course_id, repeat, fold` to be held against the patients; None for none.
        seen: the cohort as arrays, when a caller has it already.
    """
    looked_at = view(cohort) if seen is None else seen
    happened = outcome(cohort)
    alike = twins(looked_at)
    found = [
        *knowledge_times(looked_at),
        *repeated_values(looked_at, happened),
        *twin_findings(looked_at, alike),
        *foresights(looked_at, happened),
        *selections(looked_at, happened),
    ]
    problems = Problems()
    splits = list(split_columns(looked_at))
    given = None if folds is None else given_folds(looked_at, folds, problems)
    for one in splits if given is None else [*splits, given]:
        found.extend(fold_findings(looked_at, one, alike))
    found.sort(key=lambda one: (one.level != "error", one.kind))
    known, severe = int(happened.known.sum()), int(happened.severe.sum())
    notes = []
    if known == 0:
        notes.append(
            "leaks of the outcome (kinds b, d, e) were not looked for: no course has an outcome; give outcomes, "
            "grades, or the events that grading needs"
        )
    elif severe < FEWEST_SEVERE:
        notes.append(
            f"leaks of severe CRS were not looked for: {severe} severe of {known} courses, 3 are needed; other "
            "grades were"
        )
    return LeakReport(
        tuple(found), tuple(notes), tuple(problems.error().problems if problems.sentences else ())
    )
