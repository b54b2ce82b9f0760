"""Kind (b): a value that stands in courses of one outcome more often than its neighbours on the scale.

Filling gaps with the mean of the grade, or with a constant for severe courses, writes the outcome into the
predictors: one number, repeated, in courses of one outcome. Measured values are spread smoothly, whatever the
outcome; so the neighbours of a value tell how often chance would repeat it. Two signs count: a repeated number
with more decimals than its variable is measured with, and a number repeated far above its neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crsrisk.leaks.chance import at_least, combined, holds_within, poisson_at_least, together
from crsrisk.leaks.finding import Finding, first
from crsrisk.leaks.outcome import Outcome
from crsrisk.leaks.repeated_entries import (
    MANY_VALUES,
    Entries,
    at_an_edge,
    decimals_of,
    density,
    entries_of,
    repeats,
    steps_of,
    usual_decimals,
)
from crsrisk.leaks.view import Bools, Floats, Ints, View

FALSE_ALARM = 0.002
"""Chance of any false alarm of this kind in a cohort without leaks, over all values that are tested."""
FEWEST_COURSES, FEWEST_REPEATING = 3, 5
"""Courses that must share a value, and courses that must each repeat it."""
PURITY = 0.8
"""Share of the surplus courses of a value that have one outcome."""
ASSOCIATED = 0.01
CONFIRMED = 0.05
"""Least evidence within the strata of therapy and of site: constants of a product are no leak."""
WITHIN = 0.52
NEAR, NEAR_OTHERS = 4, 8  # neighbours from which the usual frequency of a value is estimated

REMEDY = (
    "find out who filled these cells: filling by outcome must be undone; leave the cells empty (missing values "
    "are accepted), or fill within each training fold without the outcome"
)


@dataclass(frozen=True)
class _Suspect:
    """A value of a group that goes with a class of outcome."""

    group: int
    value: float
    label: str
    p: float
    holders: Bools  # courses


def repeated_values(view: View, outcome: Outcome) -> Iterator[Finding]:
    """One finding per variable with values repeated by outcome."""
    labels = _labels(outcome)
    entries = entries_of(view)
    if not labels or not len(entries.group):
        return
    suspects = [*_finer_than_measured(view, entries, labels), *_above_neighbours(view, entries, labels)]
    for name, in_courses in dict.fromkeys(
        (entries.names[one.group], entries.in_courses[one.group]) for one in suspects
    ):
        mine = [
            one
            for one in suspects
            if entries.names[one.group] == name and entries.in_courses[one.group] == in_courses
        ]
        yield _finding(entries, mine, labels, name, in_courses)


def _labels(outcome: Outcome) -> dict[str, Bools]:
    """Classes of outcome with at least three courses inside and outside."""
    found = {
        "severe": outcome.severe,
        "not severe": outcome.known & ~outcome.severe,
        "CRS": outcome.crs,
        "no CRS": outcome.known & ~outcome.crs,
        "grade 1": outcome.grade == 1.0,
        "grade 2": outcome.grade == 2.0,
    }
    known = int(outcome.known.sum())
    return {
        name: label
        for name, label in found.items()
        if FEWEST_COURSES <= label.sum() <= known - FEWEST_COURSES
    }


def _finer_than_measured(view: View, entries: Entries, labels: dict[str, Bools]) -> list[_Suspect]:
    """Numbers with more decimals than their variable is measured with, shared by courses of one outcome."""
    once = entries.once_per_course()
    start, end = once.runs()
    group, courses = once.group[start], end - start
    decimals = decimals_of(once.value[start])
    usual = usual_decimals(group, decimals, courses, len(once.names))
    odd = np.flatnonzero((decimals > usual[group]) & (courses >= FEWEST_COURSES))
    by_group: dict[int, list[_Suspect]] = {}
    taken = np.zeros((len(once.names), view.n), dtype=np.bool_)
    for run in odd[np.argsort(-courses[odd], kind="stable")].tolist():
        holders = np.zeros(view.n, dtype=np.bool_)
        holders[once.course[start[run] : end[run]]] = True
        holders &= ~taken[group[run]]  # a course is evidence once, however many odd numbers it has
        if holders.sum() < FEWEST_COURSES:
            continue
        taken[group[run]] |= holders
        measured = np.zeros(view.n, dtype=np.bool_)
        measured[once.course[once.group == group[run]]] = True
        p, label = min(
            (
                len(labels) * at_least(int((holders & mark).sum()), int(measured.sum()),
                                       int((mark & measured).sum()), int(holders.sum())),
                name,
            )
            for name, mark in labels.items()
        )  # fmt: skip
        suspect = _Suspect(int(group[run]), float(once.value[start[run]]), label, min(1.0, p), holders)
        by_group.setdefault(suspect.group, []).append(suspect)
    return [
        one
        for suspects in by_group.values()
        if combined([one.p for one in suspects]) <= FALSE_ALARM / len(by_group)
        and _confirmed_together(view, suspects, labels)
        for one in suspects
    ]


def _confirmed_together(view: View, suspects: list[_Suspect], labels: dict[str, Bools]) -> bool:
    """Whether several values of a variable go with outcomes within therapies and within sites, too."""
    for codes in (*view.strata[:1], view.site_codes):
        if codes is not None:
            inside = [together(one.holders, labels[one.label], codes) for one in suspects]
            if combined(inside) > CONFIRMED:
                return False
    return True


def _above_neighbours(view: View, entries: Entries, labels: dict[str, Bools]) -> list[_Suspect]:
    """Numbers that courses of one outcome share far more often than the numbers beside them."""
    once = entries.once_per_course()
    tried = 0
    found: list[_Suspect] = []
    for by_row in (False, True):
        table = entries if by_row else once
        surges = [
            (name, run, p, size)
            for name, mark in labels.items()
            for run, p, size in _surges(table, mark, by_row=by_row)
        ]
        tried += sum(size for *_, size in surges[:1]) + len(surges)
        start, end = table.runs()
        for name, run, p, _ in surges:
            holders = _holders(view, table, start, end, run, by_row=by_row)
            if by_row and holders.sum() < FEWEST_REPEATING:
                continue
            found.append(
                _Suspect(int(table.group[start[run]]), float(table.value[start[run]]), name, p, holders)
            )
    limit = FALSE_ALARM / max(tried, 1)
    best: dict[tuple[int, float], _Suspect] = {}
    for one in sorted((one for one in found if one.p <= limit), key=lambda one: one.p):
        if (one.group, one.value) not in best and _follows(view, one, labels):
            best[one.group, one.value] = one
    return list(best.values())


def _follows(view: View, one: _Suspect, labels: dict[str, Bools]) -> bool:
    mark = labels[one.label]
    known = np.logical_or.reduce(list(labels.values()))
    held = one.holders & known
    if held.sum() < FEWEST_COURSES:
        return False
    return together(one.holders[known], mark[known]) <= ASSOCIATED and _confirmed(view, one.holders, mark)


def _confirmed(view: View, holders: Bools, mark: Bools) -> bool:
    """Whether holders and outcome go together within therapies and within sites, too."""
    sites = view.site_codes
    return holds_within(holders.astype(np.float64), mark, view.strata, sites, least=WITHIN, limit=CONFIRMED)


def _surges(entries: Entries, mark: Bools, *, by_row: bool) -> Iterator[tuple[int, float, int]]:
    """Runs that a class holds far above its density beside them, and the others don't: run, p, number tested."""
    start, end = entries.runs()
    inside = mark[entries.course]
    count = np.add.reduceat(inside.astype(np.int64), start)
    other = (end - start) - count
    group = entries.group[start]
    fine = np.bincount(group, minlength=len(entries.names))[group] >= MANY_VALUES
    tested = np.flatnonzero((count >= FEWEST_COURSES) & fine)
    if not tested.size:
        return
    mine, theirs = (
        _density(entries, chosen, start, tested, near)
        for chosen, near in ((inside, NEAR), (~inside, NEAR_OTHERS))
    )
    size = np.bincount(entries.group, weights=inside, minlength=len(entries.names))
    rest = np.bincount(entries.group, minlength=len(entries.names)) - size
    ratio = (size / np.maximum(rest, 1.0))[group[tested]]
    usual = np.fmax(np.nan_to_num(mine), np.nan_to_num(theirs) * ratio)
    everyone = (other[tested] + 0.5) / (np.nan_to_num(theirs) + 0.5)
    expected = np.maximum(usual * np.maximum(everyone, 1.0), 1e-3)
    spread = repeats(entries, inside)[group[tested]] if by_row else np.ones(tested.size)
    surplus = count[tested] - usual
    pure = surplus >= PURITY * (surplus + np.maximum(other[tested] - np.nan_to_num(theirs), 0.0))
    chosen = np.flatnonzero((count[tested] >= 3.0 * expected) & pure & ~at_an_edge(entries, start, tested))
    p = poisson_at_least((count[tested] / spread).astype(np.int64)[chosen], (expected / spread)[chosen])
    for place, value in zip(chosen.tolist(), p.tolist(), strict=True):
        yield int(tested[place]), value, int(tested.size)


def _density(entries: Entries, chosen: Bools, start: Ints, tested: Ints, near: int) -> Floats:
    """Entries of a class per step beside each tested run; round numbers are also held against round ones.

    Where some results have more decimals than others, the coarser ones pile up on the round numbers.
    """
    step = steps_of(entries, start)
    found = density(entries, chosen, start, step, tested, near)
    decimals = decimals_of(entries.value)
    own = decimals[start[tested]]
    for places in np.unique(own).tolist():
        coarse = 10.0**-places
        mine = np.flatnonzero((own == places) & (step[entries.group[start[tested]]] < coarse))
        if mine.size:
            round_ones = chosen & (decimals <= places)
            wider = np.maximum(step, coarse)
            found[mine] = np.fmax(found[mine], density(entries, round_ones, start, wider, tested[mine], near))
    return found


def _holders(view: View, entries: Entries, start: Ints, end: Ints, run: int, *, by_row: bool) -> Bools:
    """Courses that hold a value; by row, courses that hold it more often than the values beside it."""
    counts = np.bincount(entries.course[start[run] : end[run]], minlength=view.n)
    if not by_row:
        found: Bools = counts > 0
        return found
    beside = np.zeros((4, view.n))
    for place, other in enumerate((run - 2, run - 1, run + 1, run + 2)):
        if 0 <= other < len(start) and entries.group[start[other]] == entries.group[start[run]]:
            beside[place] = np.bincount(entries.course[start[other] : end[other]], minlength=view.n)
    surplus: Bools = counts >= 2 + 2.0 * beside.mean(axis=0)
    return surplus


def _finding(
    entries: Entries, suspects: list[_Suspect], labels: dict[str, Bools], name: str, in_courses: bool
) -> Finding:
    held = np.zeros(len(entries.group), dtype=np.bool_)
    for one in suspects:
        held |= (entries.group == one.group) & (entries.value == one.value) & one.holders[entries.course]
    strongest = min(suspects, key=lambda one: one.p)
    mark = labels[strongest.label]
    inside = int((strongest.holders & mark).sum())
    share = 100.0 * mark.sum() / max(int(np.logical_or.reduce(list(labels.values())).sum()), 1)
    outcomes = ", ".join(sorted({one.label for one in suspects}))
    return Finding(
        kind="b",
        code="VALUE_REPEATED_BY_OUTCOME",
        level="warning",
        table="courses" if in_courses else "events",
        variables=(name,),
        rows=int(held.sum()),
        first_rows=first(np.sort(entries.row[held])[:100]),
        courses=len(np.unique(entries.course[held])),
        what=f"{len(suspects)} numbers are repeated in courses of one outcome ({outcomes}) beyond measurement",
        size=(
            f"the strongest stands in {int(strongest.holders.sum())} courses, {inside} of them {strongest.label}, "
            f"where {share:.0f} % of all courses are; p {strongest.p:.1g}"
        ),
        do=REMEDY,
    )
