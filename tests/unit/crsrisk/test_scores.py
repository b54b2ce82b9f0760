import subprocess
import sys
from math import isnan, nan

import numpy as np
import pytest

from crsrisk.scores import (
    HSCORE_MAXIMUM,
    cytopenia_lineages,
    easix,
    hscore,
    hscore_probability,
    icans_by_ice,
    ice,
    log2_score,
    m_easix,
    s_easix,
    severe4,
)

NOTHING = {
    "immunosuppression": 0,
    "temperature": 37.0,
    "organomegaly": 0,
    "cytopenias": 0,
    "ferritin": 100,
    "triglycerides": 1.0,
    "fibrinogen": 3.0,
    "ast": 20,
    "haemophagocytosis": 0,
}


def test_arrays_give_nan_where_platelets_are_0_and_the_score_elsewhere():
    given = easix(np.array([300.0, 300.0]), np.array([1.0, 1.0]), np.array([150.0, 0.0]))
    assert given[0] == 2.0
    assert isnan(given[1])


@pytest.mark.parametrize("platelets", [0.0, -1.0])
def test_a_single_platelet_count_of_0_is_refused(platelets):
    for compute in (
        lambda: easix(1, 1, platelets),
        lambda: s_easix(1, platelets),
        lambda: m_easix(1, 1, platelets),
    ):
        with pytest.raises(ValueError, match="platelets must be above 0"):
            compute()


def test_a_missing_input_gives_a_missing_score():
    assert isnan(easix(nan, 1.0, 100))
    assert isnan(easix(300, nan, 100))
    assert isnan(easix(300, 1.0, nan))
    assert isnan(s_easix(nan, 100))
    assert isnan(m_easix(300, nan, 100))


def test_m_easix_in_mg_per_litre_would_be_ten_times_too_high():
    assert m_easix(ldh=300, crp_mg_dl=3.2, platelets=96) == pytest.approx(10.0)
    assert m_easix(ldh=300, crp_mg_dl=32.0, platelets=96) == pytest.approx(100.0)


def test_a_crp_of_0_gives_a_score_of_0_without_a_logarithm():
    assert m_easix(200, 0.0, 200) == 0.0
    assert isnan(log2_score(m_easix(200, 0.0, 200)))


@pytest.mark.parametrize(
    ("changed", "points"),
    [
        ({}, 0),
        ({"immunosuppression": 1}, 18),
        ({"temperature": 38.39}, 0),
        ({"temperature": 38.4}, 33),
        ({"temperature": 39.4}, 33),
        ({"temperature": 39.41}, 49),
        ({"organomegaly": 1}, 23),
        ({"organomegaly": 2}, 38),
        ({"cytopenias": 1}, 0),
        ({"cytopenias": 2}, 24),
        ({"cytopenias": 3}, 34),
        ({"ferritin": 1999}, 0),
        ({"ferritin": 2000}, 35),
        ({"ferritin": 6000}, 35),
        ({"ferritin": 6001}, 50),
        ({"triglycerides": 1.49}, 0),
        ({"triglycerides": 1.5}, 44),
        ({"triglycerides": 4.0}, 44),
        ({"triglycerides": 4.1}, 64),
        ({"fibrinogen": 2.5}, 30),
        ({"fibrinogen": 2.51}, 0),
        ({"ast": 29.9}, 0),
        ({"ast": 30}, 19),
        ({"haemophagocytosis": 1}, 35),
    ],
)
def test_each_item_of_the_hscore_gives_its_points_at_its_limit(changed, points):
    assert hscore(**{**NOTHING, **changed}) == points


def test_the_worst_hscore_is_337():
    worst = hscore(
        immunosuppression=1,
        temperature=40,
        organomegaly=2,
        cytopenias=3,
        ferritin=9000,
        triglycerides=5,
        fibrinogen=1,
        ast=100,
        haemophagocytosis=1,
    )
    assert worst == HSCORE_MAXIMUM == 337.0


@pytest.mark.parametrize("item", NOTHING)
def test_an_hscore_with_a_missing_item_is_missing(item):
    assert isnan(hscore(**{**NOTHING, item: nan}))


def test_the_hscore_of_arrays_is_an_array():
    assert hscore(**{**NOTHING, "ferritin": np.array([100.0, 2000.0, nan])})[:2].tolist() == [0.0, 35.0]


def test_probabilities_are_the_printed_ones_and_nothing_is_interpolated():
    # a public calculator uses a logit instead: 17 % at 90 and 68 % at 169
    assert hscore_probability(90) == "<1%"
    assert hscore_probability(169) == "40% to 54%"
    assert hscore_probability(250) == ">99%"
    assert hscore_probability(337) == ">99%"
    assert hscore_probability(nan) == ""


def test_lineages_are_counted_at_or_below_their_limits():
    assert cytopenia_lineages(9.3, 5.1, 111) == 0.0
    assert cytopenia_lineages(9.2, 5.0, 110) == 3.0
    assert isnan(cytopenia_lineages(9.2, nan, 110))


@pytest.mark.parametrize(
    ("score", "grade"),
    [(10, 0), (9, 1), (8, 1), (7, 1), (6, 2), (5, 2), (4, 2), (3, 2), (2, 3), (1, 3), (0, 3)],
)
def test_icans_grade_of_every_ice_score(score, grade):
    assert icans_by_ice(score) == grade


def test_an_unarousable_patient_has_grade_4():
    assert icans_by_ice(0, unarousable=True) == 4
    with pytest.raises(ValueError, match="unarousable patient has an ICE score of 0"):
        icans_by_ice(3, unarousable=True)


def test_points_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="orientation must be 0 to 4 points"):
        ice(orientation=5, naming=3, commands=1, writing=1, attention=1)
    with pytest.raises(ValueError, match="must be 0 to 10"):
        icans_by_ice(11)


def test_one_severe_system_settles_severe4_and_a_missing_one_only_without_it():
    assert severe4(respiratory=3, upper_gi=nan, hepatic=0, renal=0) is True
    assert severe4(respiratory=2, upper_gi=nan, hepatic=0, renal=0) is None
    flags = severe4(respiratory=np.array([4.0, 2.0]), upper_gi=0, hepatic=0, renal=0)
    assert flags.tolist() == [1.0, 0.0]


def test_scores_and_grading_rules_load_without_pandas():
    code = (
        "import sys, crsrisk.scores, crsrisk.grading, crsrisk.grading_systems; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
