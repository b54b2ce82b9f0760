"""What was given against cytokines, and when it first came."""

import numpy as np
import pytest

from features.matrix import index_doses
from tests.unit.training.cohorts import AXI, GLOFIT, cohort, course
from training.anticytokines import PREMEDICATION_HOURS, first_hours, given_drugs


def drugs(events, therapy: str = AXI) -> list[tuple[float, str]]:
    found = cohort([course("a", therapy=therapy)], [("a", *event) for event in events])
    given = given_drugs(found, index_doses(found))
    return list(zip(given["hours"], given["drug"], strict=True))


def test_drugs_are_grouped_and_sorted_by_hour():
    given = drugs(
        [(30.0, "anakinra_dose", 100.0), (9.0, "tocilizumab_dose", 8.0), (12.0, "hydrocortisone_dose", 50.0)]
    )
    assert given == [(9.0, "tocilizumab"), (12.0, "steroid"), (30.0, "other")]


def test_a_dose_of_zero_was_not_given():
    assert drugs([(9.0, "tocilizumab_dose", 0.0)]) == []


@pytest.mark.parametrize(
    ("hours", "counts"), [(-PREMEDICATION_HOURS, False), (-4.1, True), (0.0, False), (0.1, True)]
)
def test_a_steroid_shortly_before_the_infusion_is_premedication(hours: float, counts: bool):
    assert bool(drugs([(hours, "dexamethasone_dose", 10.0)])) is counts


def test_a_steroid_before_a_later_dose_of_an_engager_is_premedication_and_tocilizumab_never():
    events = [(0.0, "bsab_dose", 2.5), (168.0, "bsab_dose", 10.0)]
    given = [
        (167.0, "dexamethasone_dose", 20.0),
        (167.0, "tocilizumab_dose", 8.0),
        (100.0, "prednisolone_dose", 50.0),
    ]
    assert drugs([*events, *given], GLOFIT) == [(100.0, "steroid"), (167.0, "tocilizumab")]


def test_the_first_hour_lies_strictly_between_the_borders():
    found = cohort(
        [course("a"), course("b")],
        [
            ("a", 5.0, "tocilizumab_dose", 8.0),
            ("a", 9.0, "tocilizumab_dose", 8.0),
            ("b", 7.0, "anakinra_dose", 100.0),
        ],
    )
    given = given_drugs(found, index_doses(found))
    course_ = np.array([0, 0, 0, 1, 1])
    start, stop = np.array([0.0, 5.0, 5.0, 0.0, 0.0]), np.array([99.0, 99.0, 9.0, 99.0, 7.0])
    first = first_hours(given, ("tocilizumab", "other"), course_, start, stop)
    assert first.tolist() == [5.0, 9.0, np.inf, 7.0, np.inf]
    assert first_hours(given, ("steroid",), course_, start, stop).tolist() == [np.inf] * 5
