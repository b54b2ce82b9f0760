"""The quality report of a cohort: what is there, what was converted, rejected or unknown, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crsrisk.analytes import analytes
from crsrisk.cohort_frames import Cohort
from crsrisk.cohort_read import read_cohort
from crsrisk.cohort_template import EXAMPLE_COURSE
from crsrisk.damage import damage
from crsrisk.errors import CohortError
from crsrisk.leaks.finding import Finding
from crsrisk.leaks.report import find_leaks
from crsrisk.leaks.view import view
from crsrisk.quality_notices import SEVERE_GRADE, notices
from crsrisk.units import factor
from crsrisk.values import reason_code

ASTCT = "ASTCT"
THERAPIES_SHOWN = 6


@dataclass(frozen=True)
class QualityReport:
    """Validity and quality of one cohort folder.

    errors: why it can't be used; one sentence each, empty when it can.
    notices: what its owner should know; the cohort can be used.
    findings: leaks, errors first (docs/decisions/0100 says which findings are errors).
    tables: rows, courses, variables, rejected, missing, unused, adjusted, damage; empty when the cohort can't
        be read.
    """

    errors: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    digest: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every verb can read the cohort, and no leak is certain."""
        return not self.errors and not any(finding.level == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON; unknown numbers are None."""
        tables = {name: _records(table) for name, table in self.tables.items()}
        return {
            "ok": self.ok,
            "digest": self.digest,
            "errors": list(self.errors),
            "notices": list(self.notices),
            "findings": [finding.to_dict() for finding in self.findings],
            "tables": tables,
        }

    def to_text(self) -> str:
        """The report for a terminal."""
        parts = [
            f"{name}\n{_text_table(_narrow(table))}" for name, table in self.tables.items() if len(table)
        ]
        if self.notices:
            parts.append("\n".join(["notices", *(f"  - {sentence}" for sentence in self.notices)]))
        if self.findings:
            parts.append("\n".join(["leaks", *(f"  - {finding.to_text()}" for finding in self.findings)]))
        elif self.tables:
            parts.append("leaks\n  none found")
        certain = [finding.code for finding in self.findings if finding.level == "error"]
        wrong = [*self.errors, *(f"{code}: see leaks" for code in certain)]
        if not wrong:
            return "\n\n".join([*parts, "no errors"])
        told = "\n".join([f"errors: {len(wrong)}", *(f"  - {sentence}" for sentence in wrong)])
        return "\n\n".join([*parts, told])


def check(
    cohort: str | Path | Cohort, *, now: datetime | None = None, folds: str | Path | None = None
) -> QualityReport:
    """The quality report of a cohort folder or a cohort; a folder that can't be read gives its errors.

    Args:
        cohort: folder or cohort.
        now: aware time after which an event lies in the future; the present when None.
        folds: CSV `course_id, repeat, fold` to be held against the patients; None for none.
    """
    if not isinstance(cohort, Cohort):
        try:
            cohort = read_cohort(cohort)
        except CohortError as error:
            return QualityReport(errors=tuple(error.problems))
    severe = severe_courses(cohort)
    seen = view(cohort)
    tables = {
        "rows": cohort.counts,
        "courses": course_table(cohort, severe),
        "variables": variable_table(cohort),
        "rejected": rejected_table(cohort),
        "missing": missing_table(cohort),
        "unused": cohort.unused,
        "adjusted": cohort.adjusted,
        "damage": damage(seen).table,
    }
    told = list(notices(cohort, tables["courses"], now or datetime.now(UTC)))
    if (cohort.courses["course_id"] == EXAMPLE_COURSE).any():
        told.append(f"the example course {EXAMPLE_COURSE} of the template is still there; remove its rows")
    leaks = find_leaks(cohort, folds=folds, seen=seen)
    return QualityReport(
        errors=leaks.problems,
        notices=(*told, *leaks.notes),
        tables=tables,
        digest=cohort.digest(),
        findings=leaks.findings,
    )


def severe_courses(cohort: Cohort) -> pd.Series | None:
    """Per course 1.0 severe by ASTCT, 0.0 not, nan not recorded; None when no ASTCT grade is recorded."""
    peaks = [
        table.loc[table["system"] == ASTCT, ["course_id", column]].set_axis(["course_id", "grade"], axis=1)
        for table, column in ((cohort.outcomes, "peak_grade"), (cohort.grades, "grade"))
        if table is not None
    ]
    graded = pd.concat(peaks) if peaks else None
    if graded is None or graded["grade"].notna().sum() == 0:
        return None
    peak = graded.groupby("course_id")["grade"].max().reindex(pd.Index(cohort.courses["course_id"]))
    return (peak >= SEVERE_GRADE).astype("float64").where(peak.notna())


def course_table(cohort: Cohort, severe: pd.Series | None) -> pd.DataFrame:
    """Per therapy: family, patients, courses, and of these with an index time, with ASTCT grades, severe."""
    courses = cohort.courses
    known = pd.Series(np.nan, index=courses.index) if severe is None else severe.reset_index(drop=True)
    table = pd.DataFrame(
        {
            "therapy": courses["therapy"],
            "patient_id": courses["patient_id"],
            "dated": courses["index_time"].notna(),
            "graded": known.notna(),
            "severe": known == 1.0,
        }
    )
    counted = table.groupby("therapy").agg(
        patients=("patient_id", "nunique"),
        courses=("patient_id", "size"),
        dated=("dated", "sum"),
        graded=("graded", "sum"),
        severe=("severe", "sum"),
    )
    by_key = {therapy.key: therapy for therapy in cohort.therapy_by_course().values()}
    families = [by_key[key].family or "" for key in counted.index]
    counted = counted.reset_index()
    counted.insert(1, "family", pd.Series(families, dtype="str"))
    return counted


def variable_table(cohort: Cohort) -> pd.DataFrame:
    """Per variable: used rows, courses, units seen, converted, censored, implausible, rejected, interval."""
    events = cohort.events
    rejected = cohort.rejected[cohort.rejected["table"] == "events"].groupby("variable").size()
    keys = sorted({*events["variable"].unique(), *(name for name in rejected.index if name)})
    by_unit = events.groupby(["variable", "raw_unit"]).size().rename("count").reset_index()
    interval = _intervals(events)
    grouped = events.groupby("variable")
    rows, courses = grouped.size(), grouped["course_id"].nunique()
    censored = (events["comparator"] != "").groupby(events["variable"]).sum()
    implausible = _implausible(events).groupby(events["variable"]).sum()
    units: dict[str, list[str]] = {key: [] for key in keys}
    converted = dict.fromkeys(keys, 0)
    for key, unit, count in zip(by_unit["variable"], by_unit["raw_unit"], by_unit["count"], strict=True):
        units[key].append(f"{unit or 'no unit'} ({count})")
        converted[key] += 0 if factor(key, unit or None) == (1.0, 0.0) else int(count)
    return pd.DataFrame(
        {
            "variable": pd.array(keys, dtype="str"),
            "rows": rows.reindex(keys, fill_value=0).to_numpy(),
            "courses": courses.reindex(keys, fill_value=0).to_numpy(),
            "unit": pd.array([analytes()[key].unit for key in keys], dtype="str"),
            "units_seen": pd.array([", ".join(units[key]) for key in keys], dtype="str"),
            "converted": [converted[key] for key in keys],
            "censored": censored.reindex(keys, fill_value=0).to_numpy(),
            "implausible": implausible.reindex(keys, fill_value=0).to_numpy(),
            "rejected": rejected.reindex(keys, fill_value=0).to_numpy(),
            "median_interval_hours": interval.reindex(keys).to_numpy(dtype="float64"),
        }
    )


def rejected_table(cohort: Cohort) -> pd.DataFrame:
    """Rejected values by table, variable and reason."""
    counted = cohort.rejected.groupby(["table", "variable", "reason"]).size()
    table = counted.rename("rows").reset_index()
    table.insert(2, "code", pd.Series([reason_code(reason) for reason in table["reason"]], dtype="str"))
    return table


def missing_table(cohort: Cohort) -> pd.DataFrame:
    """Per variable: the share of courses without any value, of all and in a column per therapy."""
    timeline = cohort.timeline()
    therapy = cohort.courses.set_index("course_id")["therapy"]
    there = timeline[["course_id", "variable"]].drop_duplicates()
    there = there.assign(therapy=therapy.reindex(pd.Index(there["course_id"])).to_numpy())
    counts = pd.crosstab(there["variable"], there["therapy"])
    sizes = cohort.courses.groupby("therapy").size()
    counts = counts.reindex(columns=sizes.index, fill_value=0)
    share = (1.0 - counts / sizes).rename_axis(columns=None)
    share.insert(0, "all", 1.0 - counts.sum(axis=1) / len(cohort.courses))
    return share.reset_index()


def _intervals(events: pd.DataFrame) -> pd.Series:
    """Median hours between consecutive results of a variable within a course."""
    moments = events[["course_id", "variable", "hours"]].drop_duplicates()
    moments = moments.sort_values(["course_id", "variable", "hours"])
    gap = moments.groupby(["course_id", "variable"])["hours"].diff()
    return gap.groupby(moments["variable"]).median()


def _implausible(events: pd.DataFrame) -> pd.Series:
    known = analytes()
    low = {key: one.plausible_low for key, one in known.items() if one.plausible_low is not None}
    high = {key: one.plausible_high for key, one in known.items() if one.plausible_high is not None}
    below = events["value"] < events["variable"].map(low).astype("float64")
    return below | (events["value"] > events["variable"].map(high).astype("float64"))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [
        {str(name): cell.item() if isinstance(cell, np.generic) else cell for name, cell in row.items()}
        for row in plain.to_dict("records")
    ]


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """A table that fits a terminal: the shares by therapy are left to JSON when there are many."""
    if "all" in table.columns and len(table.columns) > 2 + THERAPIES_SHOWN:
        return table[["variable", "all"]]
    return table


def _text_table(table: pd.DataFrame) -> str:
    cells = [list(table.columns), *([_shown(cell) for cell in row] for row in table.itertuples(index=False))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join("  " + line.rstrip() for line in lines)


def _shown(cell: object) -> str:
    if isinstance(cell, float | np.floating):
        return "" if np.isnan(cell) else f"{cell:.3g}"
    return str(cell)
