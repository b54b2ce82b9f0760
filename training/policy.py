"""How CRS was treated: how often each drug was started, by the grade at that hour and the time since onset.

Rates given the state of the patient describe the policy of a hospital; the share of patients treated would also
change with how sick they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crsrisk.cohort import Cohort
from training.anticytokines import DRUGS, first_hours, given_drugs
from training.episodes import STATES, changes, grade2_since, split, states, timed
from training.outcomes import CourseOutcomes, course_outcomes

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Policy = Mapping[str, float]
BASELINE = "prophylaxis"
CONTEXTS = (BASELINE, *STATES)
BANDS = (0.0, 12.0, 24.0, 72.0)
"""Hours since the onset of CRS at which a band begins; before CRS there is one band."""
STARTED, EXPOSED = "started", "exposed"
COURSES, WITH_CRS, UNTIMED = "courses", "courses_with_crs", "courses_without_times"


class Cell(NamedTuple):
    """Courses in one state, with one drug not yet given."""

    drug: str
    context: str
    band: int


def cells() -> Iterator[Cell]:
    """All cells of a policy. Premedication and bridging steroids before CRS are no answer to it: no cell."""
    for drug in DRUGS:
        for context in CONTEXTS:
            if drug == "steroid" and context in (BASELINE, "before_crs"):
                continue
            bands = len(BANDS) if context in STATES[1:] else 1
            yield from (Cell(drug, context, band) for band in range(bands))


def key(cell: Cell, what: str) -> str:
    """Name of a number of a policy, such as `tocilizumab.grade2.12.started`; `what` is STARTED or EXPOSED."""
    return f"{cell.drug}.{cell.context}.{BANDS[cell.band]:g}.{what}"


def treatment_policy(
    cohort: Cohort, family: str | None = None, *, outcomes: CourseOutcomes | None = None
) -> dict[str, float]:
    """First uses of each drug and the time in which they could have come, by state; plain numbers to store.

    Args:
        cohort: whose events and grades.
        family: courses of this family alone; None: all.
        outcomes: `course_outcomes(cohort)` when computed before.

    Returns:
        COURSES and WITH_CRS (courses whose grades have times), UNTIMED (left out), and of each cell STARTED
        (courses) and EXPOSED (patient-days; of prophylaxis: courses).

    Raises:
        NotEnoughDataError: no course has an ASTCT label from any source.
    """
    from features.matrix import index_doses

    found = course_outcomes(cohort) if outcomes is None else outcomes
    doses = index_doses(cohort)
    mine = np.ones(len(cohort.courses), dtype=bool)
    if family is not None:
        known = cohort.therapy_by_course()
        mine = np.array([known[c].family == family for c in cohort.courses["course_id"]], dtype=bool)
    used = mine & timed(found)
    course: Index = np.flatnonzero(used)
    end = np.minimum(_window_end(cohort, doses), found.follow_up_hours)[course]
    given = given_drugs(cohort, doses)
    policy = {
        COURSES: float(len(course)),
        WITH_CRS: float(found.had_crs[course].sum()),
        UNTIMED: float((mine & ~used).sum()),
    }
    policy |= {key(cell, what): 0.0 for cell in cells() for what in (STARTED, EXPOSED)}
    for drug in DRUGS:
        policy |= _of_drug(drug, given, found, course, end)
    return policy


def policy_table(policy: Policy) -> pd.DataFrame:
    """A policy as a table: drug, context, hours_since_onset (nan before CRS), started, exposed, rate.

    exposed: patient-days, of prophylaxis courses. rate: first uses per 100 of them, nan where there were none.
    """
    rows = []
    for cell in cells():
        started, exposed = (policy.get(key(cell, what), 0.0) for what in (STARTED, EXPOSED))
        since = BANDS[cell.band] if cell.context in STATES[1:] else np.nan
        rate = 100.0 * started / exposed if exposed > 0 else np.nan
        rows.append((cell.drug, cell.context, since, started, exposed, rate))
    return pd.DataFrame(rows, columns=["drug", "context", "hours_since_onset", STARTED, EXPOSED, "rate"])


def _of_drug(
    drug: str, given: pd.DataFrame, outcomes: CourseOutcomes, course: Index, end: Array
) -> dict[str, float]:
    """Numbers of one drug's cells."""
    policy: dict[str, float] = {}
    start = np.zeros(len(course))
    if drug == "steroid":  # what is given before CRS is premedication, bridging or for something else
        start = np.where(np.isnan(outcomes.onset_hours[course]), end, outcomes.onset_hours[course])
        start = np.nextafter(np.maximum(start, 0.0), -np.inf)
    else:
        early = np.isfinite(first_hours(given, (drug,), course, np.full(len(course), -np.inf), start + 1e-9))
        cell = Cell(drug, BASELINE, 0)
        policy |= {key(cell, STARTED): float(early.sum()), key(cell, EXPOSED): float(len(course))}
        end = np.where(early, start, end)  # a later dose is no first use
    first = first_hours(given, (drug,), course, start, end)
    onset = outcomes.onset_hours
    bands = [(np.arange(len(course)), onset[course] + hours) for hours in BANDS[1:]]
    spans = split(start, np.minimum(first, end), [*changes(outcomes, course), *bands])
    exposed = _cells_of(outcomes, course[spans.window], spans.start)
    started = np.flatnonzero(np.isfinite(first))
    began = _cells_of(outcomes, course[started], first[started])
    days = np.bincount(exposed, weights=spans.hours / 24.0, minlength=_CELLS + 1)
    starts = np.bincount(began, minlength=_CELLS + 1)
    for cell in cells():
        if cell.drug == drug and cell.context != BASELINE:
            code = STATES.index(cell.context) * len(BANDS) + cell.band
            policy[key(cell, STARTED)] = float(starts[code])
            policy[key(cell, EXPOSED)] = float(days[code])
    return policy


_CELLS = len(STATES) * len(BANDS)


def _cells_of(outcomes: CourseOutcomes, course: Index, hours: Array) -> Index:
    """State x band of each course at an hour as one number; severe CRS that is over has the number of no cell.

    A patient who recovered from severe CRS without the drug will hardly get it: the days of a few would be most.
    """
    since = hours - outcomes.onset_hours[course]
    band = np.searchsorted(BANDS, np.nan_to_num(since, nan=0.0) + 1e-9, side="right") - 1
    state = states(outcomes, course, hours)
    over = (state == STATES.index("grade3")) & np.isnan(grade2_since(outcomes, course, hours))
    cell = np.where(state == 0, 0, state * len(BANDS) + np.maximum(band, 0))
    return np.where(over, _CELLS, cell).astype(np.int64)


def _window_end(cohort: Cohort, doses: pd.DataFrame) -> Array:
    """Hour of each course at which its last window ends."""
    end = np.zeros(len(cohort.courses))
    closes = (doses["dose_hours"] + doses["window_end_hours"]).to_numpy(dtype=np.float64)
    np.maximum.at(end, cohort.position_of(doses["course_id"]), closes)
    return end
