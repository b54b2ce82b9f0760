"""Kind (d): the outcome, or what was done because of it, among the predictors.

A column of courses and every value up to the index time may be predictors. Each is held against what became of
the course: a predictor that separates an outcome almost perfectly, repeats the highest ferritin of the whole
course or is filled in only where patients went to intensive care was written down afterwards.

Source of the limit: no published single marker before infusion reaches an area of 0.85 for severe CRS
(domain review; the best, EASIX and its relatives, lie near 0.8: pennisi_2021, korell_2022).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from crsrisk.analytes import analytes
from crsrisk.leaks.chance import contrast, correlations, holds_within, midranks, separations
from crsrisk.leaks.finding import Finding, first
from crsrisk.leaks.later_facts import HIGHEST, LAST, LOWEST, Fact, Quantity, facts, quantities, summaries
from crsrisk.leaks.outcome import Outcome
from crsrisk.leaks.view import CARE, Bools, Column, Floats, Ints, View

FALSE_ALARM = 0.002
"""Chance of any false alarm of this kind in a cohort without leaks, over all pairs that are tested."""
SEPARATES = 0.85
"""Area under the curve from which one predictor separates a later fact better than any honest one."""
HONEST, HONEST_ERRORS = 0.8, 2.0
"""Area of the best honest markers, and standard errors by which a measured value must exceed it."""
SEPARATES_WITHIN = 0.8
CONFIRMED = 0.02
FOLLOWS = 0.95
"""Rank correlation with a later quantity from which a predictor is taken for its copy."""
BETTER_THAN_BASELINE = 0.05
"""By how much it must follow the quantity better than the same variable measured before."""
REPEATS, REPEATS_BY_CHANCE = 0.08, 2.5
"""Share of courses in which an early value may equal an extreme of what follows, beside so many times chance."""
FEWEST_REPEATS = 5
FEWEST_SHARING, SHARING = 3, 0.02
"""Courses, or share of courses, that may share a number before it counts as common."""
FEWEST_PAIRED, FEWEST_FOLLOWED = 10, 20
LAST_EARLY = "its last value up to the index time"
MOST_WORDS = 20
MEASURED_WITHIN = 0.65
SEEN_IN_SEVERE, SEEN_IN_OTHERS = 0.6, 0.1
"""Shares of severe and other courses between which a variable counts as measured in severe courses alone."""

REMEDY = (
    "find out when it was written down; leave it out of courses and of the time up to the index time, and give it "
    "as an event at the hour at which it was known"
)


@dataclass(frozen=True)
class _Candidate:
    """Something that could be used as a predictor: a number per course, nan when absent."""

    name: str
    table: str
    what: str
    values: Floats
    variable: str = ""


@dataclass(frozen=True)
class _Suspicion:
    candidate: _Candidate
    fact: str
    strength: float
    size: str
    courses: Bools


def foresights(view: View, outcome: Outcome) -> Iterator[Finding]:
    """One finding per column or variable that knows the future."""
    candidates = [*_columns(view), *_early_values(view)]
    later = facts(view, outcome)
    suspicions = [
        *_separating(view, candidates, later),
        *_following(view, candidates, quantities(view, outcome)),
        *_repeating(view, candidates),
        *_measured_in_severe_alone(view, outcome),
    ]
    for name, table in dict.fromkeys((one.candidate.name, one.candidate.table) for one in suspicions):
        mine = [one for one in suspicions if (one.candidate.name, one.candidate.table) == (name, table)]
        yield _finding(view, mine)


def _columns(view: View) -> Iterator[_Candidate]:
    for column in view.columns:
        filled = column.filled()
        numeric = ~np.isnan(column.numbers)
        if numeric.sum() >= 0.8 * max(int(filled.sum()), 1):
            yield _Candidate(column.name, "courses", "the column", column.numbers)
        elif column.texts is not None:
            yield from _words(column)
        if filled.any() and not filled.all():
            what = "whether the column is filled"
            yield _Candidate(column.name, "courses", what, filled.astype(np.float64))


def _words(column: Column) -> Iterator[_Candidate]:
    """Each word of a column of few words, as yes or no."""
    if column.texts is None:
        return
    words, place, counts = np.unique(column.texts.astype(str), return_inverse=True, return_counts=True)
    if len(words) <= MOST_WORDS:
        for code in np.flatnonzero(counts >= 2).tolist():
            if words[code]:
                values = (place == code).astype(np.float64)
                yield _Candidate(column.name, "courses", "one word of the column", values)


def _early_values(view: View) -> Iterator[_Candidate]:
    """Last and most extreme value of each variable up to the index time, and whether there is one."""
    events = view.events
    early = np.flatnonzero(events.hours <= 0.0)
    for code in np.unique(events.variable[early]).tolist():
        rows = early[events.variable[early] == code]
        name = events.variables[code]
        measured = np.zeros(view.n, dtype=np.bool_)
        measured[events.course[rows]] = True
        if not measured.all():
            what = "whether it is recorded up to the index time"
            yield _Candidate(name, "events", what, measured.astype(np.float64), name)
        rows = rows[~np.isnan(events.value[rows])]
        last, most, least = (np.full(view.n, np.nan) for _ in range(3))
        last[events.course[rows]] = events.value[rows]  # rows are in the order of time: the last one stays
        if np.isnan(last).all():
            continue
        np.fmax.at(most, events.course[rows], events.value[rows])
        np.fmin.at(least, events.course[rows], events.value[rows])
        yield _Candidate(name, "events", LAST_EARLY, last, name)
        for what, values in (("highest", most), ("lowest", least)):
            if not np.array_equal(values, last, equal_nan=True):
                yield _Candidate(name, "events", f"its {what} value up to the index time", values, name)


def _separating(view: View, candidates: list[_Candidate], later: list[Fact]) -> Iterator[_Suspicion]:
    """Candidates that separate a later fact, also within therapies and within sites."""
    if not candidates or not later:
        return
    limit = FALSE_ALARM / (len(candidates) * len(later))
    values = np.stack([one.values for one in candidates], axis=1)
    for fact in later:
        quick = separations(values[fact.of], fact.yes[fact.of, None])[:, 0]
        for place in np.flatnonzero(quick >= SEPARATES).tolist():
            one = candidates[place]
            there = fact.of & ~np.isnan(one.values)
            known, yes = one.values[there], fact.yes[there]
            if there.sum() < FEWEST_PAIRED:
                continue
            compared = contrast(known, yes)
            if compared.p > limit or compared.separation < _honest(one, yes):
                continue
            levels = tuple(codes[there] for codes in view.strata)
            sites = None if view.site_codes is None else view.site_codes[there]
            if holds_within(known, yes, levels, sites, least=SEPARATES_WITHIN, limit=CONFIRMED):
                size = (
                    f"{one.what} separates {fact.name} with an area of {compared.separation:.2f} "
                    f"({yes.sum()} of {len(yes)} courses); p {compared.p:.1g}"
                )
                yield _Suspicion(one, fact.name, compared.separation, size, there)


def _honest(one: _Candidate, yes: Bools) -> float:
    """The area that an honest predictor may reach by chance: measured values of the catalogue are such.

    Source: standard error of an area by hanley_1982.
    """
    if one.what.startswith("whether") or one.variable not in analytes():
        return SEPARATES
    ones, zeros = int(yes.sum()), int((~yes).sum())
    more, less = HONEST / (2.0 - HONEST), 2.0 * HONEST**2 / (1.0 + HONEST)
    variance = (
        HONEST * (1.0 - HONEST) + (ones - 1) * (more - HONEST**2) + (zeros - 1) * (less - HONEST**2)
    ) / (ones * zeros)
    return max(SEPARATES, HONEST + HONEST_ERRORS * sqrt(variance))


def _following(view: View, candidates: list[_Candidate], later: list[Quantity]) -> Iterator[_Suspicion]:
    """Columns that rise and fall with a later quantity, in all courses or within each site."""
    early = {one.variable: one.values for one in candidates if one.what == LAST_EARLY}
    columns = [
        one
        for one in candidates
        if one.table == "courses" and len(np.unique(one.values[~np.isnan(one.values)])) >= 3
    ]
    if not columns or not later:
        return
    one_table = np.stack([one.values for one in columns], axis=1)
    other_table = np.stack([one.values for one in later], axis=1)
    quick = correlations(one_table, other_table)
    if view.site_codes is not None:  # sites may differ in unit or level
        quick = np.maximum(quick, _within_sites(view.site_codes, one_table, other_table))
    for place, which in np.argwhere(quick >= FOLLOWS - 0.05).tolist():
        one, quantity = columns[place], later[which]
        strength = max(
            _correlation(one.values, quantity.values), _mean_within(view, one.values, quantity.values)
        )
        if strength < FOLLOWS:
            continue
        usual = early.get(quantity.variable)
        if usual is not None and strength < _correlation(usual, quantity.values) + BETTER_THAN_BASELINE:
            continue
        size = f"the column follows the {quantity.name} with a rank correlation of {strength:.2f}"
        yield _Suspicion(one, quantity.name, strength, size, ~np.isnan(one.values))


def _within_sites(codes: Ints, one: Floats, other: Floats) -> Floats:
    """The highest rank correlations within any site of ten courses or more."""
    found = np.zeros((one.shape[1], other.shape[1]))
    for code in np.flatnonzero(np.bincount(codes) >= FEWEST_PAIRED).tolist():
        found = np.maximum(found, correlations(one[codes == code], other[codes == code]))
    return found


def _mean_within(view: View, one: Floats, other: Floats) -> float:
    """Rank correlation within sites, averaged over sites of ten courses or more with both."""
    if view.site_codes is None:
        return 0.0
    both = ~np.isnan(one) & ~np.isnan(other)
    large = np.flatnonzero(np.bincount(view.site_codes[both]) >= FEWEST_PAIRED)
    sites = [view.site_codes == code for code in large.tolist()]
    weights = [int((site & both).sum()) for site in sites]
    if not sites or sum(weights) < 0.5 * both.sum():
        return 0.0
    return float(np.average([_correlation(one[site], other[site]) for site in sites], weights=weights))


def _correlation(one: Floats, other: Floats) -> float:
    """Absolute rank correlation over the courses that have both; 0 when too few have."""
    both = ~np.isnan(one) & ~np.isnan(other)
    if both.sum() < FEWEST_FOLLOWED:
        return 0.0
    first_ranks, second_ranks = midranks(one[both])[0], midranks(other[both])[0]
    if np.ptp(first_ranks) == 0.0 or np.ptp(second_ranks) == 0.0:
        return 0.0
    return float(abs(np.corrcoef(first_ranks, second_ranks)[0, 1]))


def _repeating(view: View, candidates: list[_Candidate]) -> Iterator[_Suspicion]:
    """Early values equal to the highest, lowest or last value of what follows, far beyond coincidence.

    Chance repeats a value on a coarse scale (albumin 3.8) whichever later value it is held against; so the
    other summaries of the same variable tell what coincidence gives.
    """
    common = _common(view)
    for variable, found in summaries(view).items():
        tried = {name: found[name].values for name in (HIGHEST, LOWEST, LAST)}
        repeated = {name: found[name].repeated for name in tried}
        for one in candidates:
            if (one.table == "events" and one.variable != variable) or one.what.startswith("whether"):
                continue
            shares, equals = {}, {}
            for name, values in tried.items():
                apart = np.logical_and.reduce(
                    [values != other for key, other in tried.items() if key != name]
                )
                both = apart & ~np.isnan(one.values) & ~np.isnan(values)
                both &= ~repeated[name]  # a limit of detection is met again and again
                same = np.abs(one.values - values) <= 1e-6 * np.abs(values)
                equals[name] = both & same & ~np.isin(values, common[variable])
                shares[name] = equals[name].sum() / max(int(both.sum()), 1), int(both.sum())
            name = max(shares, key=lambda key: shares[key][0])
            share, of = shares[name]
            chance = max(value for key, (value, _) in shares.items() if key != name)
            count = int(equals[name].sum())
            chance = max(chance, _by_chance(one.values, tried[name]))
            if count >= FEWEST_REPEATS and share >= REPEATS + REPEATS_BY_CHANCE * chance:
                size = f"{one.what} equals the {found[name].name} in {count} of {of} courses"
                yield _Suspicion(one, found[name].name, 0.5 + share / 2, size, equals[name])


def _common(view: View) -> dict[str, Floats]:
    """By variable, the numbers that several courses share: saturations of 100 %, limits of detection."""
    events = view.events
    order = np.lexsort((events.course, events.value, events.variable))
    variable, value, course = events.variable[order], events.value[order], events.course[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (variable[1:] != variable[:-1]) | (value[1:] != value[:-1])
    holder = new.copy()
    holder[1:] |= course[1:] != course[:-1]
    run = np.cumsum(new) - 1
    shared = np.bincount(run[holder]) > max(FEWEST_SHARING, SHARING * view.n)
    start = np.flatnonzero(new)[shared]
    edges = np.searchsorted(variable[start], np.arange(len(events.variables) + 1))
    return {name: value[start[edges[code] : edges[code + 1]]] for code, name in enumerate(events.variables)}


def _by_chance(one: Floats, other: Floats) -> float:
    """Share of equal pairs when the two are dealt out at random."""
    one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    numbers, place = np.unique(np.round(np.concatenate([one, other]), 6), return_inverse=True)
    first_share = np.bincount(place[: len(one)], minlength=len(numbers)) / max(len(one), 1)
    second_share = np.bincount(place[len(one) :], minlength=len(numbers)) / max(len(other), 1)
    return float((first_share * second_share).sum())


def _measured_in_severe_alone(view: View, outcome: Outcome) -> Iterator[_Suspicion]:
    """Variables recorded before grade 3 in most severe courses, and hardly ever in others at any time."""
    severe, others = outcome.severe, outcome.known & ~outcome.severe
    if severe.sum() < FEWEST_PAIRED // 3 or others.sum() < FEWEST_PAIRED:
        return
    events = view.events
    before = events.hours < outcome.severe_from[events.course]
    for code, (name, kind) in enumerate(zip(events.variables, events.kinds, strict=True)):
        if kind == "intervention" or name in CARE:
            continue
        mine = events.variable == code
        seen = np.zeros(view.n, dtype=np.bool_)
        seen[events.course[mine & before]] = True
        shares = float(seen[severe].mean()), float(seen[others].mean())
        if shares[0] < SEEN_IN_SEVERE or shares[1] > SEEN_IN_OTHERS:
            continue
        values = seen.astype(np.float64)
        compared = contrast(values[outcome.known], severe[outcome.known])
        levels = tuple(codes[outcome.known] for codes in view.strata)
        sites = None if view.site_codes is None else view.site_codes[outcome.known]
        if compared.p <= FALSE_ALARM / len(events.variables) and holds_within(
            values[outcome.known],
            severe[outcome.known],
            levels,
            sites,
            least=MEASURED_WITHIN,
            limit=CONFIRMED,
        ):
            size = (
                f"recorded before grade 3 in {100 * shares[0]:.0f} % of severe courses, at any time in "
                f"{100 * shares[1]:.0f} % of the others; p {compared.p:.1g}"
            )
            candidate = _Candidate(name, "events", "whether it is recorded", values, name)
            yield _Suspicion(candidate, "severe CRS", compared.separation, size, seen)


def _finding(view: View, suspicions: list[_Suspicion]) -> Finding:
    strongest = max(suspicions, key=lambda one: one.strength)
    candidate = strongest.candidate
    courses = np.logical_or.reduce([one.courses for one in suspicions])
    if candidate.table == "courses":
        rows = view.lines[courses]
    else:
        events = view.events
        early = (events.hours <= 0.0) | candidate.what.endswith("is recorded")
        code = events.variables.index(candidate.name)
        rows = np.sort(events.row[(events.variable == code) & early & courses[events.course]])
    told = ", ".join(dict.fromkeys(one.fact for one in sorted(suspicions, key=lambda one: -one.strength)))
    return Finding(
        kind="d",
        code="PREDICTOR_KNOWS_THE_FUTURE",
        level="warning",
        table=candidate.table,
        variables=(candidate.name,),
        rows=len(rows),
        first_rows=first(rows[:100]),
        courses=int(courses.sum()),
        what=f"it tells what came later: {told[:300]}",
        size=strongest.size,
        do=REMEDY,
    )
