"""Kind (a): results that count as known before anyone could know them.

A laboratory result is known some time after its specimen. Where `available_time` is absent, equal to the
specimen's time or earlier, the features take the result as known at the specimen: the model then learns from
minutes or days in which no clinician had the number. The same happens where a time is only a date: the result
of an evening stands at the start of its day.
"""

from collections.abc import Iterator

import numpy as np

from crsrisk.leaks.finding import Finding, first
from crsrisk.leaks.view import LABORATORY, UNKNOWN, Bools, Events, Ints, View
from crsrisk.times import MICROSECONDS_PER_HOUR

AT_ONCE_HOURS = 0.05
"""A laboratory result known within three minutes of its specimen; our convention."""
QUICK_SHARE = 0.1
"""A result is also too quick below this share of the usual delay of its variable at its site."""
WHOLE_SHARE = 0.9
"""Share of results at once from which a site or a variable as a whole is meant."""
FEWEST_ROWS = 5
SHARE_OF_ROWS = 0.005
"""Share of a variable's results that may be too quick before it is told."""
SAME_CLOCK_SHARE = 0.99
"""Share of results at one time of day from which that time stands for a date."""
DAY_SHARE = 0.9
FEWEST_DAYS = 20

RECORD = (
    "give available_time (when the result was released, not when it was drawn); without it, shift the time of "
    "these results by your laboratory's usual delay before training. A device at the bedside may truly answer "
    "at once"
)
BACK_DATED = (
    "compare the times of these results with the laboratory system: a result moved to an earlier time shows a "
    "model what came later; where the blood was truly drawn apart from the rest, nothing needs to be done"
)
FEWEST_PANEL_VARIABLES = 6
ALONE_ELSEWHERE = 0.005
"""Usual share of results without any companion up to which a cohort counts as measured in panels."""
ALONE_SHARE = 0.05
MISSED_SHARE = 0.5
DATES = (
    "take hours from the laboratory system; where only dates exist, date the result to the end of its day, so "
    "that no morning landmark sees it"
)


def knowledge_times(view: View) -> Iterator[Finding]:
    """Results used before they were known: of all, of a site, of a variable, or scattered."""
    events = view.events
    tested = _laboratory_rows(events)
    if tested.sum() < FEWEST_ROWS:
        return
    dates = list(_dates(view, tested))
    yield from dates
    if not dates:
        yield from _back_dated(view, tested)
    delay = events.available - events.hours
    at_once = tested & (delay < AT_ONCE_HOURS)
    if at_once.sum() >= WHOLE_SHARE * tested.sum():
        yield _finding(view, at_once, tested, "NO_KNOWLEDGE_TIME", "no result says when it was known")
        return
    told = np.zeros(len(events), dtype=np.bool_)
    site = view.site[events.course]
    for code in _whole(site, at_once, tested):
        rows = at_once & (site == code)
        told |= rows
        yield _finding(view, rows, tested & (site == code), "NO_KNOWLEDGE_TIME_AT_A_SITE",
                       "one site gives the specimen's time as the time of knowledge, others don't")  # fmt: skip
    left = at_once & ~told
    whole = np.isin(events.variable, _whole(events.variable, left, tested & ~told))
    rows = left & whole
    if rows.any():
        told |= rows
        yield _finding(view, rows, tested & whole, "NO_KNOWLEDGE_TIME_OF_A_VARIABLE",
                       "these variables are known at the specimen's time, others later")  # fmt: skip
    quick = tested & ~told & _too_quick(view, delay, tested & ~at_once)
    shares = _share(events.variable, quick, tested)
    counts = np.bincount(events.variable[quick], minlength=len(shares))
    scattered = quick & ((shares >= SHARE_OF_ROWS) & (counts >= FEWEST_ROWS))[events.variable]
    if not scattered.any() and quick.sum() >= FEWEST_ROWS and quick.sum() >= SHARE_OF_ROWS * tested.sum():
        scattered = quick
    if scattered.any():
        yield _finding(view, scattered, tested & np.isin(events.variable, events.variable[scattered]),
                       "SOME_RESULTS_KNOWN_AT_ONCE",
                       "some results are known at or before their specimen, or far sooner than the rest")  # fmt: skip


def _laboratory_rows(events: Events) -> Bools:
    """Laboratory results; of unknown variables those that show a delay somewhere."""
    if not len(events):
        return np.zeros(0, dtype=np.bool_)
    unknown = events.of_kinds(frozenset({UNKNOWN}))
    late = unknown & (events.available - events.hours >= AT_ONCE_HOURS)
    delayed = np.isin(events.variable, np.unique(events.variable[late]))
    found: Bools = events.of_kinds(LABORATORY) | (unknown & delayed)
    return found


def _share(code: Ints, chosen: Bools, of: Bools) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    size = int(code.max()) + 1
    total = np.bincount(code[of], minlength=size)
    return np.bincount(code[chosen], minlength=size) / np.maximum(total, 1)


def _whole(code: Ints, chosen: Bools, of: Bools) -> Ints:
    """Codes nearly all of whose tested rows are chosen."""
    total = np.bincount(code[of], minlength=int(code.max()) + 1)
    share = _share(code, chosen, of)
    return np.flatnonzero((share >= WHOLE_SHARE) & (total >= FEWEST_ROWS))


def _too_quick(view: View, delay: np.ndarray[tuple[int], np.dtype[np.float64]], slow: Bools) -> Bools:
    """At once, or far below the usual delay of the variable at the site."""
    events = view.events
    cell = events.variable * (len(view.sites) + 1) + view.site[events.course] + 1
    rows = np.flatnonzero(slow)
    usual = np.zeros(int(cell.max()) + 1)
    if rows.size:
        order = rows[np.lexsort((delay[rows], cell[rows]))]
        codes, start, count = np.unique(cell[order], return_index=True, return_counts=True)
        usual[codes] = delay[order[start + count // 2]]
    return delay < np.maximum(AT_ONCE_HOURS, QUICK_SHARE * usual[cell])


def _dates(view: View, tested: Bools) -> Iterator[Finding]:
    """Variables whose results stand at the start of days, one per day."""
    events = view.events
    after = tested & (events.hours > 0.0)
    on_day = after & _at_start_of_day(view)
    total = np.bincount(events.variable[after], minlength=len(events.variables))
    dated = np.flatnonzero((_share(events.variable, on_day, after) >= DAY_SHARE) & (total >= FEWEST_DAYS))
    rows = on_day & np.isin(events.variable, dated)
    if rows.any():
        of = after & np.isin(events.variable, dated)
        yield _finding(view, rows, of, "TIMES_ARE_DATES",
                       "results stand at the start of their day: the hour was not recorded", DATES)  # fmt: skip


def _at_start_of_day(view: View) -> Bools:
    """Whole days after the index time, or one time of day throughout, such as midnight somewhere."""
    events = view.events
    whole: Bools = np.abs(events.hours / 24.0 - np.rint(events.hours / 24.0)) < 1e-6
    dated = view.cohort.courses["index_time"]
    if dated.isna().any():
        return whole
    index = dated.astype("datetime64[us, UTC]").astype("int64").to_numpy()[events.course]
    clock = np.rint((index / MICROSECONDS_PER_HOUR + events.hours) % 24.0 * 60.0).astype(np.int64) % 1440
    usual = np.bincount(clock[_laboratory_rows(events)], minlength=1440)
    same: Bools = clock == usual.argmax()
    return whole | same if usual.max() >= SAME_CLOCK_SHARE * usual.sum() else whole


def _back_dated(view: View, tested: Bools) -> Iterator[Finding]:
    """Results at moments of their own, in a cohort whose laboratory otherwise reports panels."""
    events = view.events
    rows = np.flatnonzero(tested)
    order = rows[np.lexsort((events.hours[rows], events.course[rows]))]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (np.diff(events.course[order]) != 0) | (np.diff(events.hours[order]) > 1e-6)
    moment = np.cumsum(new) - 1
    alone = np.zeros(len(events), dtype=np.bool_)
    alone[order] = np.bincount(moment)[moment] == 1
    counts = np.bincount(events.variable[tested], minlength=len(events.variables))
    shares = _share(events.variable, alone, tested)
    usual = shares[counts >= FEWEST_ROWS]
    if len(usual) < FEWEST_PANEL_VARIABLES or np.median(usual) > ALONE_ELSEWHERE:
        return
    odd = np.flatnonzero((shares >= ALONE_SHARE) & (shares * counts >= 2 * FEWEST_ROWS))
    odd = odd[[_missed(events, alone, tested, code) >= MISSED_SHARE for code in odd.tolist()]]
    chosen = alone & np.isin(events.variable, odd)
    if chosen.any():
        of = tested & np.isin(events.variable, odd)
        what = "results stand at moments at which nothing else was measured, while all others come in panels"
        yield _finding(view, chosen, of, "RESULTS_APART_FROM_THEIR_PANEL", what, BACK_DATED)


def _missed(events: Events, alone: Bools, tested: Bools, variable: int) -> float:
    """Share of a variable's lone results that are followed within two days by a panel without it."""
    own = tested & (events.variable == variable)
    panels = tested & ~alone
    scale = 1e6  # one number per course and hour, in the order of both
    at = np.unique(events.course[panels] * scale + events.hours[panels])
    without = at[~np.isin(at, events.course[own] * scale + events.hours[own])]
    lone = (events.course * scale + events.hours)[alone & own]
    following = np.searchsorted(without, lone)
    gap = np.append(without, np.inf)[following] - lone
    return float((gap <= 48.0).mean())


def _finding(view: View, rows: Bools, of: Bools, code: str, what: str, do: str = RECORD) -> Finding:
    events = view.events
    counts = np.bincount(events.variable[rows], minlength=len(events.variables))
    variables = [events.variables[place] for place in np.argsort(-counts, kind="stable") if counts[place]]
    return Finding(
        kind="a",
        code=code,
        level="warning",
        table="events",
        variables=tuple(variables),
        rows=int(rows.sum()),
        first_rows=first(np.sort(events.row[rows])[:100]),
        courses=len(np.unique(events.course[rows])),
        what=what,
        size=f"{rows.sum()} of {of.sum()} laboratory results ({100.0 * rows.sum() / of.sum():.1f} %)",
        do=do,
    )
