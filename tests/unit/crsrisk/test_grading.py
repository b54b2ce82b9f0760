from itertools import product
from math import isnan, nan

import numpy as np
import pytest

from crsrisk.grading import (
    RULE_IDS,
    RULES,
    STATES,
    astct,
    device_tier,
    fever_counts,
    grade_state,
    oxygen_tier,
)
from crsrisk.grading_systems import ctcae_v5, lee_2014


def test_38_degrees_is_a_fever_and_37_9_is_none():
    assert fever_counts([38.0, 37.9, nan]).tolist() == [True, False, False]


def test_a_fever_with_another_cause_does_not_count():
    assert fever_counts(39.0, other_cause=True).item() is False


def test_a_treated_crs_fever_counts_without_a_fever_now():
    assert fever_counts(36.5, prior_crs_fever=True, treated_since=True).item() is True
    assert fever_counts(36.5, prior_crs_fever=True).item() is False
    assert fever_counts(36.5, treated_since=True).item() is False


@pytest.mark.parametrize(
    ("resp_support", "flow", "expected"),
    [
        (0, nan, (0, 0)),
        (nan, nan, (0, 0)),
        (nan, 0, (0, 0)),
        (1, nan, (2, 2)),  # level 1 is low flow by definition
        (1, 6.0, (2, 2)),
        (1, 6.1, (3, 3)),
        (2, 2.0, (3, 3)),  # a mask is grade 3 by device, whatever the flow
        (2, nan, (3, 3)),
        (3, 40.0, (4, 4)),
        (4, nan, (4, 4)),
        (5, nan, (4, 4)),
        (nan, 5.0, (2, 3)),  # cannula or mask
        (nan, 6.1, (3, 3)),
        (0, 3.0, (2, 3)),  # "none" while oxygen flows: the device is not known
    ],
)
def test_the_hypoxia_tier_follows_device_and_flow(resp_support, flow, expected):
    low, high = oxygen_tier(resp_support, flow)
    assert (int(low), int(high)) == expected


def test_a_named_device_without_flow_is_a_range_only_where_the_flow_decides():
    assert device_tier("nasal_cannula") == (2, 3)
    assert device_tier("face_mask") == (3, 3)
    assert device_tier("unknown") == (2, 4)


@pytest.mark.parametrize(
    ("signs", "grade", "rule"),
    [
        ({}, 1, "fever"),
        ({"hypotension": True}, 2, "hypotension"),
        ({"vasopressors": ["dopamine"]}, 3, "one_vasopressor"),
        ({"vasopressin": True}, 3, "vasopressin_alone"),
        ({"vasopressors": ["vasopressin"]}, 3, "vasopressin_alone"),
        ({"vasopressors": ["dopamine", "vasopressin"]}, 3, "one_vasopressor"),
        ({"vasopressors": ["dopamine", "epinephrine"]}, 4, "multiple_vasopressors"),
        ({"oxygen": "blow_by"}, 2, "low_flow_oxygen"),
        ({"oxygen": "venturi_mask", "flow": 4}, 3, "high_flow_oxygen"),
        ({"oxygen": "bipap"}, 4, "positive_pressure"),
        ({"hypotension": True, "oxygen": "nasal_cannula", "flow": 2}, 2, "hypotension_and_low_flow_oxygen"),
        ({"vasopressors": ["dopamine"], "oxygen": "face_mask"}, 3, "vasopressor_and_high_flow_oxygen"),
        ({"vasopressors": ["dopamine"], "oxygen": "nasal_cannula", "flow": 2}, 3, "one_vasopressor"),
        ({"hypotension": True, "oxygen": "face_mask"}, 3, "high_flow_oxygen"),
        ({"death_crs": True}, 5, "death_due_to_crs"),
    ],
)
def test_a_febrile_patient_is_graded_by_the_higher_limb_and_told_which(signs, grade, rule):
    answer = grade_state(temperature=38.5, **signs)
    assert (answer.grade, answer.state, answer.rule) == (grade, "graded", rule)


def test_a_treated_patient_without_fever_and_signs_stays_at_grade_1_by_its_own_rule():
    answer = grade_state(temperature=36.8, prior_crs_fever=True, treated_since=True)
    assert (answer.grade, answer.rule) == (1, "treated_fever")
    assert answer.rule_text == "CRS fever was treated; no hypotension or oxygen now."


def test_an_unknown_device_gives_a_range_and_no_grade():
    answer = grade_state(temperature=38.5, oxygen="unknown", flow=5)
    assert (answer.grade, answer.low, answer.high, answer.state) == (None, 2, 3, "graded")
    assert answer.rule == "oxygen_device_unknown"


def test_an_unknown_device_does_not_matter_beside_a_vasopressor():
    answer = grade_state(temperature=38.5, oxygen="unknown", flow=5, vasopressors=["dopamine"])
    assert (answer.grade, answer.low, answer.high) == (3, 3, 3)


def test_signs_without_any_fever_are_not_gradable_but_say_what_they_would_mean():
    answer = grade_state(temperature=37.0, vasopressors=["norepinephrine"])
    assert (answer.grade, answer.state, answer.low, answer.high) == (None, "not_gradable", 0, 3)


def test_the_same_in_a_premedicated_engager_patient_is_for_review():
    answer = grade_state(temperature=37.0, hypotension=True, premedicated_engager=True)
    assert (answer.grade, answer.state, answer.rule) == (None, "review", "signs_without_fever_premedicated")


def test_premedication_changes_nothing_once_there_is_a_fever():
    answer = grade_state(temperature=38.0, hypotension=True, premedicated_engager=True)
    assert (answer.grade, answer.state) == (2, "graded")


def test_signs_with_another_cause_are_left_out_of_the_grade():
    answer = grade_state(temperature=38.5, signs_other_cause=True, oxygen="cpap", vasopressors=["dopamine"])
    assert (answer.grade, answer.rule) == (1, "fever")


def test_a_fever_with_another_cause_leaves_signs_not_gradable():
    assert grade_state(temperature=39.0, fever_other_cause=True, hypotension=True).state == "not_gradable"
    assert grade_state(temperature=39.0, fever_other_cause=True).state == "none"


def test_a_childs_low_pressure_alone_is_for_review_between_grade_1_and_2():
    graded = astct(True, False, 0, False, 0, 0, child_pressure=True)
    assert (graded.state.item(), graded.low.item(), graded.high.item()) == ("review", 1.0, 2.0)
    assert isnan(graded.grade.item())


def test_a_childs_low_pressure_does_not_matter_where_oxygen_gives_grade_2_already():
    graded = astct(True, False, 0, False, 2, 2, child_pressure=True)
    assert (graded.state.item(), graded.grade.item()) == ("graded", 2.0)


def test_scalars_and_arrays_of_any_shape_broadcast():
    graded = astct(np.array([[True], [False]]), np.array([True, False]), 0, False, 0, 0)
    assert graded.low.tolist() == [[2.0, 1.0], [0.0, 0.0]]
    assert graded.state.tolist() == [["graded", "graded"], ["not_gradable", "none"]]


def test_vasopressin_never_makes_grade_4():
    for hypotension, pressors in product([False, True], range(4)):
        without = astct(True, hypotension, pressors, False, 0, 0).grade.item()
        with_it = astct(True, hypotension, pressors, True, 0, 0).grade.item()
        assert with_it == max(without, 3.0)


def test_every_rule_says_one_sentence_and_every_state_is_known():
    assert all(text.endswith(".") and len(text) > 10 for text in RULES.values())
    assert len(set(RULES.values())) == len(RULE_IDS)
    assert STATES == ("none", "graded", "review", "not_gradable")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fever": True}, (1, 1)),
        ({"fever": False}, (0, 0)),
        ({"fever": False, "hypotension": True}, (2, 2)),  # fever is not needed
        ({"pressors": 1, "high_dose": 0}, (2, 2)),
        ({"pressors": 1, "high_dose": 1}, (3, 3)),
        ({"pressors": 1}, (2, 3)),
        ({"pressors": 2}, (3, 3)),
        ({"pressors": 1, "vasopressin": True}, (3, 3)),
        ({"oxygen": True, "fio2": 35}, (2, 2)),
        ({"oxygen": True, "fio2": 40}, (3, 3)),
        ({"oxygen": True}, (2, 3)),
        ({"oxygen": True, "positive_pressure": True}, (3, 4)),
        ({"oxygen": True, "positive_pressure": True, "ventilator": True}, (4, 4)),
        ({"organ_toxicity": 4}, (4, 4)),
        ({"organ_toxicity": 1}, (1, 1)),
        ({"transaminitis": 4}, (3, 3)),
        ({"transaminitis": 3}, (2, 2)),
        ({"death_crs": True}, (5, 5)),
    ],
)
def test_lee_2014_grades(given, expected):
    graded = lee_2014(**{"fever": True, "hypotension": False, "pressors": 0, **given})
    assert (graded.low.item(), graded.high.item()) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, 1)),
        ({"hypotension": True}, (2, 2)),
        ({"pressors": 1}, (3, 3)),
        ({"vasopressin": True}, (3, 3)),
        ({"pressors": 2}, (4, 4)),
        ({"pressors": 1, "vasopressin": True}, (3, 4)),
        ({"oxygen": True, "fio2": 39.9}, (2, 2)),
        ({"oxygen": True, "fio2": 60}, (3, 3)),
        ({"oxygen": True, "ventilator": True}, (4, 4)),
        ({"death_crs": True}, (5, 5)),
    ],
)
def test_ctcae_v5_grades(given, expected):
    graded = ctcae_v5(**{"fever": True, "hypotension": False, "pressors": 0, **given})
    assert (graded.low.item(), graded.high.item()) == expected


def test_the_other_systems_keep_a_childs_pressure_for_review():
    assert lee_2014(True, False, 0, child_pressure=True).state.item() == "review"
    assert ctcae_v5(True, False, 1, child_pressure=True).state.item() == "graded"
