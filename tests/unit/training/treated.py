"""Cohorts of graded and treated courses, in a few words each."""

from collections.abc import Mapping, Sequence

import numpy as np

from crsrisk.cohort import Cohort
from tests.unit.training.cohorts import AXI, cohort, course
from training.crossvalidate import Prepared, prepare

TOCILIZUMAB, STEROID = "tocilizumab_dose", "dexamethasone_dose"
Grades = Sequence[tuple[float, float]]
Given = Sequence[tuple[float, str]]


def graded(
    courses: Mapping[str, tuple[Grades, Given]],
    *,
    follow_up: Mapping[str, float] | None = None,
    therapy: str = AXI,
) -> Cohort:
    """Courses by id with (hour, grade) and (hour, drug); a course without grades has grade 0 at hour 1."""
    ends = follow_up or {}
    return cohort(
        [course(name, follow_up=ends.get(name, 336.0), therapy=therapy) for name in courses],
        [(name, hour, drug, 8.0) for name, (_, given) in courses.items() for hour, drug in given],
        grades=[
            (name, hour, grade, "ASTCT")
            for name, (grades, _) in courses.items()
            for hour, grade in (grades or [(1.0, 0.0)])
        ],
    )


def at_infusion(found: Cohort, landmarks: Sequence[float] = (0.0,)) -> Prepared:
    """Labels and features at the infusion, rest of the window."""
    return prepare(found, landmarks, (None,))


def ward(
    n: int = 400, *, seed: int = 5, hazard: float = 0.05, at_once: bool = False
) -> tuple[Cohort, np.ndarray]:
    """Courses of which half reach grade 2 at hour 24; of these 60 % become severe at hour 48, unless rescued before.

    hazard: of rescue per hour at grade 2, and a tenth of it before. at_once: rescue within minutes of grade 2.
    Returns the cohort and who is severe without rescue.
    """
    rng = np.random.default_rng(seed)
    sick = np.arange(n) % 2 == 0
    fated = sick & (rng.random(n) < 0.6)
    wait = np.full(n, 0.1) if at_once else rng.exponential(1.0 / hazard, n)
    early = np.full(n, np.inf) if at_once else rng.exponential(10.0 / hazard, n)
    courses = {}
    for i in range(n):
        rescued = early[i] if early[i] < 24.0 else (24.0 + wait[i] if sick[i] else early[i])
        grades = [(2.0, 1.0)]
        if sick[i]:
            grades += [(24.0, 2.0)]
        if fated[i] and rescued > 48.0:
            grades += [(48.0, 3.0)]
        grades += [(72.0, 0.0)]
        courses[f"c{i}"] = (grades, [(rescued, TOCILIZUMAB)] if rescued < 72.0 else [])
    return graded(courses), fated
