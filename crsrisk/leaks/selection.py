"""Kind (e): what is missing, how often something was measured or who came from where depends on the outcome.

Wards measure the sick more often, and rightly so; hence only what stands before any sign of CRS is looked at:
the time up to the index time, and for courses still without CRS at a landmark the time up to that landmark.
There the outcome has not happened yet; where missingness or sampling follows it all the same, the data were
collected by outcome. Differences between products and between sites are no leak: a difference must also hold
within them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crsrisk.leaks.chance import able_to_succeed, codes_of, contrast, holds_within, least_possible, together
from crsrisk.leaks.finding import Finding, first
from crsrisk.leaks.outcome import Outcome
from crsrisk.leaks.view import CARE, Bools, Floats, View

FALSE_ALARM = 0.002
"""Chance of any false alarm of this kind in a cohort without leaks, over all that is tested."""
MISSING_DIFFERENCE = 0.25
"""Least difference between the shares of courses without a value, severe against others."""
SAMPLING_SEPARATION = 0.75
"""Least chance that a severe course was sampled more (or less) often than another before any CRS."""
WORTH_A_LOOK = 0.6
SAMPLING_RATIO = 1.25
ORIGIN_SEPARATION = 0.75
"""The same for calendar and place in the file; a case-control collection reaches it easily."""
SITE_DIFFERENCE = 0.35
"""Least difference between a site's share of the severe courses and its share of the others."""
FOLLOWED_SEPARATION = 0.85
"""The same for the length of follow-up: severe courses end earlier by death, and later by recovery."""
CONFIRMED = 0.05
"""Least evidence within the strata of therapy and of site."""
MISSING_WITHIN, SAMPLING_WITHIN, ORIGIN_WITHIN = 0.58, 0.65, 0.6
"""Separation that must remain within products."""
LANDMARKS = (12.0, 24.0, 48.0, 96.0)
FEWEST_COURSES = 3
FEWEST_LEFT = 0.3
"""Share of a class that must still be without CRS at a landmark for the landmark to be looked at."""

MISSING = (
    "find out why it was recorded by outcome; leave the variable out, or collect it for every course, before "
    "training: its absence alone tells the model the outcome"
)
SAMPLING = (
    "collect the time before CRS in the same way for every course, or thin it to one rhythm; don't use counts of "
    "measurements or time since the last one as predictors"
)
ORIGIN = (
    "collect severe and other courses from the same places and years; until then evaluate within a site or "
    "period and don't trust the calibration"
)


@dataclass(frozen=True)
class _Doubt:
    """One quantity that depends on a class of outcome."""

    name: str
    p: float
    effect: float
    size: str
    concerned: Bools  # courses


def selections(view: View, outcome: Outcome) -> Iterator[Finding]:
    """Findings about missing values, sampling, origin and follow-up."""
    labels = _labels(outcome)
    if not labels:
        return
    yield from _missing(view, outcome, labels)
    yield from _sampling(view, outcome, labels)
    yield from _origin(view, outcome)


def _labels(outcome: Outcome) -> dict[str, Bools]:
    known = outcome.known
    return {
        name: mark
        for name, mark in (("severe courses", outcome.severe), ("courses with CRS", outcome.crs))
        if FEWEST_COURSES <= mark.sum() <= known.sum() - FEWEST_COURSES
    }


def _holds_within(view: View, values: Floats, mark: Bools, of: Bools, least: float) -> bool:
    """Whether a difference between the courses `of` holds within therapies and within sites."""
    levels = tuple(codes[of] for codes in view.strata)
    sites = None if view.site_codes is None else view.site_codes[of]
    return holds_within(values[of], mark[of], levels, sites, least=least, limit=CONFIRMED)


def _missing(view: View, outcome: Outcome, labels: dict[str, Bools]) -> Iterator[Finding]:
    there = {("courses", column.name): column.filled() for column in view.columns}
    there |= {("events", name): flags for name, flags in _measured_before(view).items()}
    known = outcome.known
    doubts: dict[str, list[_Doubt]] = {"courses": [], "events": []}
    for label, mark in labels.items():
        labelled = int(mark.sum())
        p_least = [
            least_possible(int(known.sum()), labelled, int((flags & known).sum())) for flags in there.values()
        ]
        limit = FALSE_ALARM / len(labels) / max(able_to_succeed(p_least, FALSE_ALARM / len(labels)), 1)
        for (table, name), flags in there.items():
            absent = ~flags
            shares = absent[mark].mean(), absent[known & ~mark].mean()
            p = together(flags[known], mark[known])
            if abs(shares[0] - shares[1]) < MISSING_DIFFERENCE or p > limit:
                continue

            if _holds_within(view, flags.astype(np.float64), mark, known, MISSING_WITHIN):
                size = (
                    f"{name}: missing in {100 * shares[0]:.0f} % of {label}, {100 * shares[1]:.0f} % of the others; "
                    f"p {p:.1g}"
                )
                more = absent & (mark if shares[0] > shares[1] else known & ~mark)
                doubts[table].append(_Doubt(name, p, abs(shares[0] - shares[1]), size, more))
    for table, found in doubts.items():
        if found:
            what = "whether a baseline value is there depends on the outcome"
            yield _finding(view, found, "MISSING_BY_OUTCOME", what, MISSING, of_columns=table == "courses")


def _measured_before(view: View) -> dict[str, Bools]:
    """Per variable that is measured up to the index time somewhere: the courses in which it is."""
    events = view.events
    early = events.hours <= 0.0
    found = {}
    for code in np.unique(events.variable[early]).tolist():
        flags = np.zeros(view.n, dtype=np.bool_)
        flags[events.course[early & (events.variable == code)]] = True
        found[events.variables[code]] = flags
    return found


def _sampling(view: View, outcome: Outcome, labels: dict[str, Bools]) -> Iterator[Finding]:
    """Counts of measurements before any CRS, of each variable and in all."""
    events = view.events
    rhythm = np.array(
        [
            kind != "intervention" and name not in CARE
            for kind, name in zip(events.kinds, events.variables, strict=True)
        ],
        dtype=np.bool_,
    )
    if not rhythm.any():
        return
    measured = rhythm[events.variable]
    doubts: list[_Doubt] = []
    windows = [(-np.inf, 0.0), *((0.0, landmark) for landmark in LANDMARKS)]
    tests = 0
    waiting: list[tuple[str, str, Bools, Bools, Floats, float]] = []
    for start, end in windows:
        rows = measured & (events.hours > start) & (events.hours <= end)
        counts = _counts(view, rows)
        at_risk = outcome.known & (outcome.onset > end) & _followed(view, end)
        for label, mark in labels.items():
            left = mark & at_risk
            if left.sum() < max(FEWEST_COURSES, FEWEST_LEFT * mark.sum()) or (at_risk & ~mark).sum() < 3:
                continue
            for name, count in counts.items():
                if (count[at_risk] == count[at_risk][0]).all():
                    continue
                tests += 1
                when = "up to the index time" if end == 0.0 else f"in the first {end:.0f} hours"
                waiting.append((name, f"{label}, {when}", mark, at_risk, count, end))
    for name, label, mark, at_risk, count, _ in waiting:
        doubt = _sampled_apart(view, name, label, mark, at_risk, count, FALSE_ALARM / tests)
        if doubt is not None:
            doubts.append(doubt)
    if doubts:
        what = "how often something is measured before any CRS depends on the outcome"
        yield _finding(view, doubts, "SAMPLING_BY_OUTCOME", what, SAMPLING, of_columns=False)


def _counts(view: View, rows: Bools) -> dict[str, Floats]:
    events = view.events
    size = len(events.variables)
    table = np.bincount(events.course[rows] * size + events.variable[rows], minlength=view.n * size)
    table = table.reshape(view.n, size).astype(np.float64)
    found = {events.variables[code]: table[:, code] for code in np.flatnonzero(table.any(axis=0)).tolist()}
    return {"(all variables)": table.sum(axis=1)} | found


def _followed(view: View, end: float) -> Bools:
    follow_up = view.cohort.courses["follow_up_hours"].to_numpy(dtype=np.float64)
    found: Bools = ~(follow_up < end)
    return found


def _sampled_apart(
    view: View, name: str, label: str, mark: Bools, at_risk: Bools, count: Floats, limit: float
) -> _Doubt | None:
    compared = contrast(count[at_risk], mark[at_risk])
    if compared.separation < WORTH_A_LOOK:
        return None
    wards = codes_of(view.strata[-1], view.site + 1)[at_risk]
    alike = contrast(count[at_risk], mark[at_risk], wards)  # wards differ in rhythm, severe or not
    compared = alike if alike.p < compared.p else compared
    if compared.separation < SAMPLING_SEPARATION or compared.p > limit / 2:
        return None
    means = count[at_risk & mark].mean(), count[at_risk & ~mark].mean()
    if max(means) < SAMPLING_RATIO * min(means):
        return None

    if not _holds_within(view, count, mark, at_risk, SAMPLING_WITHIN):
        return None
    size = (
        f"{name}: {means[0]:.1f} values per course in {label}, {means[1]:.1f} in the others at risk; "
        f"p {compared.p:.1g}"
    )
    return _Doubt(name, compared.p, compared.separation, size, at_risk & mark)


def _origin(view: View, outcome: Outcome) -> Iterator[Finding]:
    """Severe courses from one site, period or part of the file, or followed for another time than others."""
    known, mark = outcome.known, outcome.severe
    if not FEWEST_COURSES <= mark.sum() <= known.sum() - FEWEST_COURSES:
        return
    courses = view.cohort.courses
    index = courses["index_time"].astype("datetime64[us, UTC]").astype("int64").to_numpy().astype(np.float64)
    index[courses["index_time"].isna().to_numpy()] = np.nan
    tried = (
        ("index_time", "CASES_FROM_ANOTHER_PERIOD", index, ORIGIN_SEPARATION),
        ("course_id", "CASES_IN_ANOTHER_PART_OF_THE_FILE", view.lines.astype(np.float64), ORIGIN_SEPARATION),
        (
            "follow_up_hours",
            "FOLLOW_UP_BY_OUTCOME",
            courses["follow_up_hours"].to_numpy(dtype=np.float64),
            FOLLOWED_SEPARATION,
        ),
    )
    what = "severe courses come from elsewhere, or are followed otherwise, than the others"
    for name, code, values, least in tried:
        there = known & ~np.isnan(values)
        compared = contrast(values[there], mark[there])
        if compared.separation < least or compared.p > FALSE_ALARM / (len(tried) + 1):
            continue
        levels = tuple(codes[there] for codes in view.strata)
        if not holds_within(values[there], mark[there], levels, None, least=ORIGIN_WITHIN, limit=CONFIRMED):
            continue
        size = (
            f"{name}: in {100 * compared.separation:.0f} % of pairs of a severe and another course it tells which is "
            f"which; p {compared.p:.1g}"
        )
        doubt = _Doubt(name, compared.p, compared.separation, size, mark)
        yield _finding(view, [doubt], code, what, ORIGIN, of_columns=True)
    yield from _sites(view, mark, known, FALSE_ALARM / (len(tried) + 1))


def _sites(view: View, mark: Bools, known: Bools, limit: float) -> Iterator[Finding]:
    """Sites that gave most of the severe courses and few others, or the reverse."""
    doubts = []
    levels = tuple(codes[known] for codes in view.strata)
    codes = np.unique(view.site[known])
    for code in codes.tolist() if len(codes) > 1 else []:
        here = view.site == code
        shares = here[mark].mean(), here[known & ~mark].mean()
        p = together(here[known], mark[known])
        if abs(shares[0] - shares[1]) < SITE_DIFFERENCE or p > limit / len(codes):
            continue
        inside = here[known].astype(np.float64)
        if holds_within(inside, mark[known], levels, None, least=ORIGIN_WITHIN, limit=CONFIRMED):
            size = (
                f"site: one site gave {100 * shares[0]:.0f} % of the severe courses and {100 * shares[1]:.0f} % of "
                f"the others; p {p:.1g}"
            )
            doubts.append(
                _Doubt("site", p, abs(shares[0] - shares[1]), size, mark & (here == (shares[0] > shares[1])))
            )
    if doubts:
        what = "severe courses come from other sites than the rest"
        yield _finding(view, doubts, "CASES_FROM_ANOTHER_SITE", what, ORIGIN, of_columns=True)


def _finding(
    view: View, doubts: Sequence[_Doubt], code: str, what: str, do: str, *, of_columns: bool
) -> Finding:
    strongest = max(doubts, key=lambda one: (one.effect, -one.p))
    concerned = np.logical_or.reduce([one.concerned for one in doubts])
    names = list(dict.fromkeys(one.name for one in sorted(doubts, key=lambda one: one.p)))
    return Finding(
        kind="e",
        code=code,
        level="warning",
        table="courses" if of_columns else "events",
        variables=tuple(names),
        rows=int(concerned.sum()),
        first_rows=first(view.lines[concerned]),
        courses=int(concerned.sum()),
        what=f"{what} (row numbers are lines of courses)",
        size=strongest.size,
        do=do,
    )
