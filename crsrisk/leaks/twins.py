"""Kind (c): one patient under two ids, or one record entered twice, also shifted in time, cut or rounded.

Two courses are taken for one when their values agree at the same moments, after one shift in time, far more
often than at other shifts: patients may be alike in level and rhythm, but not hour by hour. Two courses without
such events are taken for one person when their columns agree beyond what pairs of a cohort of this size give.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import numpy as np

from crsrisk.leaks.chance import poisson_at_least
from crsrisk.leaks.finding import ROWS_NAMED, Finding, first
from crsrisk.leaks.twin_candidates import candidate_pairs, columns_table
from crsrisk.leaks.view import CARE, LABORATORY, UNKNOWN, Floats, Ints, View

FALSE_ALARM = 1e-6
"""Chance that a given pair of courses agrees so often by chance; pairs compared are multiplied in."""
FEWEST_AGREEING = 12
FEWEST_VARIABLES = 3
BEYOND_OTHER_SHIFTS = 2.5
"""How many times more often values agree at the best shift than at the next best."""
LEAST_SHARE = 0.2
"""Least share of the smaller course's events that agree."""
EXACT_SHARE = 0.95
"""Share of the smaller course's events that agree to the last digit from which a copy is certain."""
FEWEST_EXACT = 20
PART_EXACT, PART_BEYOND = 0.7, 4.0
VALUE_TOLERANCE = 0.2
"""Values agree within this many standard deviations of their variable."""
TIME_TOLERANCES = (0.06, 0.55)
OTHER_SHIFTS = (-48.0, -24.0, -12.0, -5.3, -1.7, 1.7, 5.3, 12.0, 24.0, 48.0)
PERSON = log(100.0)
"""Log odds, above those of all pairs of the cohort, from which equal columns mean one person."""

REMEDY = (
    "compare the two records: give one patient one patient_id, remove the copy, and split again; until then one "
    "person is learned from and tested on"
)


@dataclass(frozen=True)
class Twin:
    """Two courses (rows of `cohort.courses`) that look like one.

    shift: hours between them. agreeing, exact: events that agree and that are equal; of: events of the smaller.
    person: only their columns are equal.
    """

    one: int
    other: int
    shift: float
    agreeing: int
    exact: int
    of: int
    person: bool = False

    @property
    def certain(self) -> bool:
        """A copy to the last digit."""
        return not self.person and self.exact >= max(FEWEST_EXACT, EXACT_SHARE * self.of)


@dataclass(frozen=True)
class _Series:
    """Events of one course: variable, hours, value on the scale of its variable, value as it stands."""

    variable: Ints
    hours: Floats
    scaled: Floats
    value: Floats


def twins(view: View) -> list[Twin]:
    """Pairs of courses that are one record or one person."""
    if view.n < 2:
        return []
    scaled = _scaled(view)
    pairs = candidate_pairs(view, scaled)
    limit = FALSE_ALARM / max(len(pairs), 1)
    odds = _column_odds(view, pairs)
    needed = log(max(view.n * (view.n - 1) / 2.0, 1.0)) + PERSON
    edges = np.searchsorted(view.events.course, np.arange(view.n + 1))
    found = []
    for (one, other), evidence in zip(pairs.tolist(), odds.tolist(), strict=True):
        twin = _matched(view, scaled, edges, one, other, limit)
        if twin is None and evidence >= needed and not _same_patient(view, one, other):
            twin = Twin(one, other, 0.0, 0, 0, 0, person=True)
        if twin is not None:
            found.append(twin)
    return found


def twin_findings(view: View, found: list[Twin]) -> Iterator[Finding]:
    """Findings about pairs: certain copies, near copies and equal persons."""
    certain = [twin for twin in found if twin.certain]
    near = [twin for twin in found if not twin.certain and not twin.person]
    people = [twin for twin in found if twin.person]
    if certain:
        what = "courses are copies of each other, event by event"
        yield _finding(view, certain, "COURSE_COPIED", what, "error")
    if near:
        what = "courses agree in value and hour as only one record can"
        yield _finding(view, near, "COURSES_NEARLY_EQUAL", what, "warning")
    if people:
        what = "courses of different patients have the same age, weight and other columns"
        yield _finding(view, people, "ONE_PERSON_UNDER_TWO_IDS", what, "warning")


def _scaled(view: View) -> Floats:
    """Measured values in standard deviations of their variable, laboratory values by their logarithm; else nan."""
    events = view.events
    found = events.value.copy()
    edges_of = np.argsort(events.variable, kind="stable")
    edges = np.searchsorted(events.variable[edges_of], np.arange(len(events.variables) + 1))
    for code, kind in enumerate(events.kinds):
        rows = edges_of[edges[code] : edges[code + 1]]
        if kind == "intervention" or events.variables[code] in CARE:
            found[rows] = np.nan  # treatments have few values, and the sick are treated in one rhythm
            continue
        rows = rows[~np.isnan(found[rows])]
        if not rows.size:
            continue
        values = found[rows]
        if kind in LABORATORY | {UNKNOWN} and (values > 0).all():
            values = np.log(values)
        quarters = np.quantile(values, [0.25, 0.75])
        spread = (quarters[1] - quarters[0]) / 1.349 or float(values.std()) or 1.0
        found[rows] = values / spread
    return found


def _series(view: View, scaled: Floats, edges: Ints, course: int) -> _Series:
    rows = np.arange(edges[course], edges[course + 1])
    rows = rows[~np.isnan(scaled[rows])]
    events = view.events
    return _Series(events.variable[rows], events.hours[rows], scaled[rows], events.value[rows])


def _matched(view: View, scaled: Floats, edges: Ints, one: int, other: int, limit: float) -> Twin | None:
    """The pair as a twin, when its events agree at one shift far beyond all other shifts."""
    a, b = (_series(view, scaled, edges, course) for course in (one, other))
    smaller = min(len(a.hours), len(b.hours))
    if smaller < FEWEST_AGREEING:
        return None
    left, right = _alike(a, b)
    if len(left) < FEWEST_AGREEING:
        return None
    gap = b.hours[right] - a.hours[left]
    ordered = np.sort(gap)
    best: Twin | None = None
    for tolerance in TIME_TOLERANCES:
        for shift in _shifts(ordered, tolerance):
            around = [_within(ordered, shift + step, tolerance) for step in OTHER_SHIFTS]
            if _within(ordered, shift, tolerance) < max(
                FEWEST_AGREEING, BEYOND_OTHER_SHIFTS * max(around) / 2
            ):
                continue  # hopeless even when an event is counted with every partner
            near = np.flatnonzero(np.abs(gap - shift) <= tolerance)
            count = _pairs(left[near], right[near])
            elsewhere = max(_pairs_at(left, right, gap, shift + step, tolerance) for step in OTHER_SHIFTS)
            size = np.maximum(np.abs(a.value[left[near]]), 1.0)
            same = near[np.abs(a.value[left[near]] - b.value[right[near]]) <= 1e-9 * size]
            equal = _pairs(left[same], right[same])
            if (
                count >= max(FEWEST_AGREEING, BEYOND_OTHER_SHIFTS * elsewhere)
                and (count >= LEAST_SHARE * smaller or _part_copied(count, equal, elsewhere))
                and len(np.unique(a.variable[left[near]])) >= FEWEST_VARIABLES
                and poisson_at_least(np.array([count]), np.array([elsewhere + 1.0]))[0] <= limit
                and (best is None or count > best.agreeing)
            ):
                best = Twin(one, other, shift, count, equal, smaller)
    return best


def _part_copied(count: int, equal: int, elsewhere: int) -> bool:
    """Whether a small part of a course is a copy: equal to the last digit, and only at this shift."""
    return equal >= max(FEWEST_EXACT, PART_EXACT * count) and count >= PART_BEYOND * elsewhere


def _alike(a: _Series, b: _Series) -> tuple[Ints, Ints]:
    """All pairs of events of one variable whose values agree within the tolerance."""
    far = 1e6  # one number line for all variables: they lie further apart than any two values
    mine, theirs = (one.variable * far + np.clip(one.scaled, -far / 4, far / 4) for one in (a, b))
    order = np.argsort(theirs, kind="stable")
    low = np.searchsorted(theirs[order], mine - VALUE_TOLERANCE, side="left")
    count = np.searchsorted(theirs[order], mine + VALUE_TOLERANCE, side="right") - low
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(np.arange(len(mine)), count), order[np.repeat(low, count) + offset]


def _shifts(ordered: Floats, tolerance: float) -> list[float]:
    """No shift, and the shift at which most values agree; `ordered` are sorted gaps in hours."""
    ends = np.searchsorted(ordered, ordered + 2.0 * tolerance, side="right")
    start = int((ends - np.arange(len(ordered))).argmax())
    return [0.0, float(np.median(ordered[start : ends[start]]))]


def _within(ordered: Floats, shift: float, tolerance: float) -> int:
    low, high = np.searchsorted(ordered, [shift - tolerance, shift + tolerance])
    return int(high - low)


def _pairs(left: Ints, right: Ints) -> int:
    """Events of either course that found a partner, the smaller number of the two."""
    if not len(left):
        return 0
    return min(int((np.bincount(left) > 0).sum()), int((np.bincount(right) > 0).sum()))


def _pairs_at(left: Ints, right: Ints, gap: Floats, shift: float, tolerance: float) -> int:
    near = np.abs(gap - shift) <= tolerance
    return _pairs(left[near], right[near])


def _same_patient(view: View, one: int, other: int) -> bool:
    patients = view.cohort.courses["patient_id"]
    return bool(patients.iloc[one] == patients.iloc[other])


def _column_odds(view: View, pairs: Ints) -> Floats:
    """Log odds that two courses are one person, by how close their columns are.

    A column counts as -log of the share of pairs at least as close; columns that go together share their weight.
    """
    table = columns_table(view)
    weight = _weights(table)
    found = np.zeros(len(pairs))
    for column in range(table.shape[1]):
        values = np.sort(table[~np.isnan(table[:, column]), column])
        a, b = table[pairs[:, 0], column], table[pairs[:, 1], column]
        both = ~np.isnan(a) & ~np.isnan(b)
        if values.size >= 2 and both.any():
            share = _share_as_close(values, a[both], b[both])
            found[both] += weight[column] * np.where(share > 0.5, -2.0, -np.log(share))
    return found


def _share_as_close(values: Floats, a: Floats, b: Floats) -> Floats:
    """Share of pairs of a column that lie at least as close as a to b; `values` are sorted ranks."""
    n = len(values)
    low, high = np.minimum(a, b), np.maximum(a, b)
    reach = high - low
    within = np.searchsorted(values, high + reach, side="right") - np.searchsorted(values, low - reach)
    close = np.clip((within - 1) / (n - 1), 1.0 / n, 1.0)
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    tied = ((counts * (counts - 1.0)).sum() + 2.0) / (n * (n - 1.0))
    same = np.searchsorted(values, a, side="right") - np.searchsorted(values, a)
    return np.where(reach > 0.0, close, np.clip((same - 2) / n, tied, 1.0))


def _weights(table: Floats) -> Floats:
    """One over the number of columns that each column goes together with."""
    size = table.shape[1]
    found = np.ones(size)
    for one in range(size):
        total = 0.0
        for other in range(size):
            both = ~np.isnan(table[:, one]) & ~np.isnan(table[:, other])
            x, y = table[both, one], table[both, other]
            if one == other or (both.sum() > 9 and np.ptp(x) > 0 and np.ptp(y) > 0):
                total += 1.0 if one == other else float(np.corrcoef(x, y)[0, 1]) ** 2
        found[one] = 1.0 / total
    return found


def _finding(view: View, found: list[Twin], code: str, what: str, level: str) -> Finding:
    pairs = [(int(view.lines[twin.one]), int(view.lines[twin.other])) for twin in found]
    pairs = sorted((min(pair), max(pair)) for pair in pairs)
    rows = np.array([line for pair in pairs for line in pair], dtype=np.int64)
    same = sum(_same_patient(view, twin.one, twin.other) for twin in found)
    shifted = sum(abs(twin.shift) > max(TIME_TOLERANCES) for twin in found)
    share = [twin.agreeing / twin.of for twin in found if twin.of]
    agreement = f"; the median pair shares {100 * np.median(share):.0f} % of its events" if share else ""
    return Finding(
        kind="c",
        code=code,
        level="error" if level == "error" else "warning",
        table="courses",
        variables=("course_id",) if same == len(found) else ("patient_id",),
        rows=len(np.unique(rows)),
        first_rows=first(np.unique(rows)),
        courses=len(np.unique(rows)),
        pairs=tuple(pairs[:ROWS_NAMED]),
        what=what,
        size=(
            f"{len(found)} pairs, {len(found) - same} under two patient ids, {shifted} shifted in time{agreement}"
        ),
        do=REMEDY,
    )
