"""The cohort as the leak report looks at it: events and columns as arrays, unknown ones included."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.cohort_frames import COURSE_TEXTS, Cohort
from crsrisk.problems import Problems
from crsrisk.tables import find_table, read_table
from crsrisk.units import factor
from crsrisk.values import parse_numbers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LABORATORY = frozenset({"chemistry", "hematology", "coagulation", "cytokine"})
CARE = frozenset(
    {
        "bsab_dose",
        "o2_flow",
        "fio2",
        "resp_support",
        "other_cause",
        "death",
        "death_crs",
        "gcs_total",
        "jcs",
        "ice_score",
    }
)
"""Variables that describe care or state after the fact, like interventions do."""
BOOKKEEPING = frozenset({*COURSE_TEXTS, "index_time", "follow_up_hours"})
UNKNOWN = ""
"""Kind of a variable that the catalogue does not list."""


@dataclass(frozen=True)
class Column:
    """A column of courses: numbers (nan when empty or no number) and, for unknown columns, the text."""

    name: str
    numbers: Floats
    texts: NDArray[np.object_] | None = None

    @property
    def known(self) -> bool:
        """Whether the analyte catalogue lists it."""
        return self.texts is None

    def filled(self) -> Bools:
        """Courses with anything in the cell."""
        if self.texts is None:
            return ~np.isnan(self.numbers)
        found: Bools = self.texts != ""
        return found


@dataclass(frozen=True)
class Events:
    """Events of known and unknown variables; arrays of shape (n,), sorted by course, variable, hours, row.

    course: row of the course in `cohort.courses`. variable, unit: places in `variables` and `units`. value:
    canonical, or as reported for unknown variables; nan when no number. limited: below or above a limit.
    row: line in the file.
    """

    course: Ints
    hours: Floats
    available: Floats
    variable: Ints
    value: Floats
    unit: Ints
    limited: Bools
    row: Ints
    variables: tuple[str, ...]
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.course)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each of `variables` in the catalogue; UNKNOWN for the others."""
        known = analytes()
        return tuple(known[name].kind if name in known else UNKNOWN for name in self.variables)

    @cached_property
    def series_start(self) -> Bools:
        """Whether an event is the first of its course and variable."""
        first = np.ones(len(self), dtype=np.bool_)
        first[1:] = (self.course[1:] != self.course[:-1]) | (self.variable[1:] != self.variable[:-1])
        return first

    def of_kinds(self, kinds: frozenset[str]) -> Bools:
        """Events whose variable is of one of these kinds."""
        wanted = np.array([kind in kinds for kind in self.kinds], dtype=np.bool_)
        return wanted[self.variable] if len(self) else np.zeros(0, dtype=np.bool_)

    @cached_property
    def raw(self) -> Floats:
        """Values in the unit in which they were reported, to six decimals."""
        pair = self.variable * max(len(self.units), 1) + self.unit
        found = self.value.copy()
        for code in np.unique(pair).tolist():
            name, unit = self.variables[code // len(self.units)], self.units[code % len(self.units)]
            scale = factor(name, unit or None) if name in analytes() else None
            if scale is not None and scale != (1.0, 0.0):
                rows = pair == code
                found[rows] = (self.value[rows] - scale[1]) / scale[0]
        return np.round(found, 6)


@dataclass(frozen=True)
class View:
    """A cohort as arrays.

    lines: line of each course in the courses file. columns: baseline columns, known and unknown. strata:
    codes of the product, group, family and class of each course, finest first. site: code of the site.
    """

    cohort: Cohort
    lines: Ints
    columns: tuple[Column, ...]
    events: Events
    strata: tuple[Ints, ...]
    site: Ints
    sites: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of courses."""
        return len(self.lines)

    @property
    def site_codes(self) -> Ints | None:
        """Codes of the sites from 0; None where there is one alone."""
        return self.site if len(self.sites) > 1 else None


def view(cohort: Cohort) -> View:
    """A cohort as arrays; nothing in it is changed."""
    site, sites = pd.factorize(cohort.courses["site"], sort=True)
    return View(
        cohort=cohort,
        lines=course_lines(cohort),
        columns=tuple(_columns(cohort)),
        events=_events(cohort),
        strata=_strata(cohort),
        site=site.astype(np.int64),
        sites=tuple(str(name) for name in sites),
    )


def course_lines(cohort: Cohort) -> Ints:
    """Line of each course in its file; of a cohort that was not read from one, its row in the table plus 2."""
    plain = np.arange(2, len(cohort.courses) + 2, dtype=np.int64)
    file = None if cohort.path is None else find_table(cohort.path, "courses", Problems())
    table = None if file is None else read_table(file, "courses", Problems())
    if table is None or not table.has("course_id") or table.rows != len(plain):
        return plain
    ids = pd.Index(table.texts("course_id").to_pylist())
    at = ids.get_indexer(pd.Index(cohort.courses["course_id"].to_numpy(dtype=object)))
    return plain if (at < 0).any() else table.lines[at]


def _columns(cohort: Cohort) -> list[Column]:
    known = analytes()
    found = []
    for name in cohort.courses.columns:
        cells = cohort.courses[name]
        if name in BOOKKEEPING:
            continue
        if name in known:
            found.append(Column(str(name), cells.to_numpy(dtype=np.float64)))
        else:
            texts = cells.to_numpy(dtype=object)
            found.append(Column(str(name), parse_numbers(pa.array(texts, pa.string())).values, texts))
    return found


def _events(cohort: Cohort) -> Events:
    used, unused = cohort.events, cohort.unused_events
    unknown = parse_numbers(pa.array(unused["raw_value"], pa.string())).values if len(unused) else np.zeros(0)
    parts = [used, unused] if len(unused) else [used]

    def together(name: str) -> pd.Series:
        return pd.concat([part[name] for part in parts], ignore_index=True) if len(parts) > 1 else used[name]

    variable, variables = pd.factorize(together("variable"), sort=True)
    unit, units = pd.factorize(together("raw_unit"), sort=True)
    course = cohort.position_of(together("course_id"))
    hours = together("hours").to_numpy(dtype=np.float64)
    row = together("row").to_numpy(dtype=np.int64)
    order = np.lexsort((row, hours, variable, course))
    return Events(
        course=course[order],
        hours=hours[order],
        available=together("available_hours").to_numpy(dtype=np.float64)[order],
        variable=variable.astype(np.int64)[order],
        value=np.concatenate([used["value"].to_numpy(dtype=np.float64), unknown])[order],
        unit=unit.astype(np.int64)[order],
        limited=(together("comparator") != "").to_numpy(dtype=np.bool_)[order],
        row=row[order],
        variables=tuple(str(name) for name in variables),
        units=tuple(str(name) for name in units),
    )


def _strata(cohort: Cohort) -> tuple[Ints, ...]:
    by_key = {therapy.key: therapy for therapy in cohort.therapy_by_course().values()}
    keys = cohort.courses["therapy"]
    levels: list[Mapping[str, str]] = [
        {key: key for key in by_key},
        {key: one.group or one.class_ for key, one in by_key.items()},
        {key: one.family or one.class_ for key, one in by_key.items()},
        {key: "engager" if one.class_ == "engager" else "cells" for key, one in by_key.items()},
    ]
    return tuple(pd.factorize(keys.map(level))[0].astype(np.int64) for level in levels)
