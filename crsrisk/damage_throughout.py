"""Whole courses, sites and units whose numbers are off: neighbours that are all wrong agree with each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from crsrisk.leaks.chance import contrast
from crsrisk.leaks.view import Bools, Events, Floats, Ints, View
from crsrisk.neighbours import FEWEST_VALUES, Scale

FAR_COURSE, NARROW = 5.0, 0.2  # decades between courses beyond which a course can't be told from a slip
ADULT_YEARS = 18.0
SITE_SHIFT, SITE_NEAR = 0.75, 0.25
"""Decades by which a site must differ, and how close to a whole power of ten."""
SITE_COURSES = 4
SITE_SEPARATION, SITE_BY_CHANCE = 0.95, 1e-4
CROSSED_FAR, CROSSED_NEAR = 1.5, 0.6
"""Standard deviations of a site's middle from its own variable's elsewhere, and from the other variable's."""


def courses_off(events: Events, scales: Mapping[int, Scale]) -> Iterator[Ints]:
    """Rows of courses whose values of a variable all lie a power of ten from those of all other courses."""
    for code in scales:
        if events.kinds[code] == "cytokine":  # they range over decades, between courses and within
            continue
        rows = np.flatnonzero((events.variable == code) & (events.value > 0.0) & ~events.limited)
        course = events.course[rows]
        courses, middle, size = _middles(course, np.log10(events.value[rows]))
        if len(courses) < FEWEST_VALUES:
            continue
        for one in courses[_power_off(middle) & (size >= 2)].tolist():
            yield rows[course == one]


def _power_off(decades: Floats) -> Bools:
    """Values about a whole power of ten from the middle of all, where all lie close together."""
    low, centre, high = np.quantile(decades, [0.25, 0.5, 0.75])
    spread = max((high - low) / 1.349, 0.02)
    shift = decades - centre
    power = np.rint(shift)
    close = np.abs(shift - power) <= 1.5 * spread
    found: Bools = (power != 0.0) & (np.abs(shift) >= FAR_COURSE * spread) & close & (spread <= NARROW)
    return found


def _middles(course: Ints, values: Floats) -> tuple[Ints, Floats, Ints]:
    """Courses, the middle value of each and how many it has."""
    order = np.lexsort((values, course))
    courses, start, size = np.unique(course[order], return_index=True, return_counts=True)
    ordered = values[order]
    return courses, (ordered[start + (size - 1) // 2] + ordered[start + size // 2]) / 2.0, size


def sites_off(view: View, scales: Mapping[int, Scale]) -> Iterator[tuple[str, Bools]]:
    """Sites, and spellings of a unit, whose values all differ from the others by a power of ten.

    Yields:
        The variable and its rows there, shape (events,).
    """
    events = view.events
    for code in scales:
        rows = np.flatnonzero((events.variable == code) & (events.value > 0.0))
        decades = np.log10(events.value[rows])
        found = np.zeros(len(rows), dtype=np.bool_)
        for groups in (view.site[events.course[rows]], events.unit[rows]):
            if not found.any():
                for group in np.unique(groups).tolist():
                    if _off_by_a_power(events.course[rows], decades, groups == group):
                        found |= groups == group
        if found.any():
            yield events.variables[code], _flagged(len(events), rows[found])


def _flagged(n: int, rows: Ints) -> Bools:
    found = np.zeros(n, dtype=np.bool_)
    found[rows] = True
    return found


def _off_by_a_power(course: Ints, decades: Floats, inside: Bools) -> bool:
    unit = course * 2 + inside
    units, middle, _ = _middles(unit, decades)
    here = units % 2 == 1
    if min(here.sum(), (~here).sum()) < SITE_COURSES:
        return False
    shift = float(np.median(middle[here]) - np.median(middle[~here]))
    power = float(np.rint(shift))
    if power == 0.0 or abs(shift) < SITE_SHIFT or abs(shift - power) > SITE_NEAR:
        return False
    apart = contrast(middle, here)
    return apart.separation >= SITE_SEPARATION and apart.p <= SITE_BY_CHANCE


def sites_exchanged(view: View, scales: Mapping[int, Scale]) -> Iterator[tuple[str, Bools]]:
    """Sites at which the values of one variable lie where those of another lie elsewhere, and the reverse.

    Yields:
        The variable and its rows there, shape (events,).
    """
    events = view.events
    site = view.site[events.course]
    sites = np.unique(site).tolist()
    here: dict[tuple[int, int], _Level] = {}
    there: dict[tuple[int, int], _Level] = {}
    for code, scale in scales.items() if len(sites) > 1 else ():
        if events.kinds[code] == "cytokine":
            continue
        rows = np.flatnonzero((events.variable == code) & ~np.isnan(events.value))
        values, of = scale.at(events.value[rows]), site[rows]
        for group in sites:
            inside, outside = values[of == group], values[of != group]
            if min(len(inside), len(outside)) >= FEWEST_VALUES:
                here[code, group], there[code, group] = _Level.of(inside), _Level.of(outside)
    for group in sites:
        apart = [
            code
            for code in scales
            if (code, group) in here
            and abs(here[code, group].middle - there[code, group].middle)
            >= CROSSED_FAR * there[code, group].spread
        ]
        for place, one in enumerate(apart):
            for other in apart[place + 1 :]:
                if _crossed(scales, here, there, (one, other), group):
                    for code in (one, other):
                        yield events.variables[code], (events.variable == code) & (site == group)


@dataclass(frozen=True)
class _Level:
    """Middle and spread (as of a normal distribution) of values on their scale."""

    middle: float
    spread: float

    @classmethod
    def of(cls, values: Floats) -> "_Level":
        low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
        return cls(float(middle), float(high - low) / 1.349)


def _crossed(
    scales: Mapping[int, Scale],
    here: Mapping[tuple[int, int], _Level],
    there: Mapping[tuple[int, int], _Level],
    pair: tuple[int, int],
    group: int,
) -> bool:
    """Whether the middle of each variable at the site lies near the middle of the other variable elsewhere."""
    for mine, its in (pair, pair[::-1]):
        elsewhere = there[its, group].middle
        partner = np.exp(elsewhere) if scales[its].logarithm else elsewhere
        at = float(scales[mine].at(np.array([partner]))[0])
        if not abs(here[mine, group].middle - at) <= CROSSED_NEAR * here[mine, group].spread:
            return False
    return True


def adults_off(view: View) -> Iterator[tuple[str, Bools]]:
    """Weights and heights of adults a power of ten from those of other adults: the column and its courses."""
    age = next((column.numbers for column in view.columns if column.name == "age"), np.full(view.n, np.nan))
    for column in view.columns:
        if column.name not in ("weight", "height"):
            continue
        courses = np.flatnonzero((age >= ADULT_YEARS) & (column.numbers > 0.0))
        if len(courses) < FEWEST_VALUES:
            continue
        off = _power_off(np.log10(column.numbers[courses]))
        if off.any():
            yield column.name, _flagged(view.n, courses[off])
