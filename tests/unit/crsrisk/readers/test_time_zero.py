"""Which administrations open courses, and when the site is asked instead."""

from __future__ import annotations

from math import nan

import pytest

from crsrisk.readers.site_map import SiteMap, StatedCourse
from crsrisk.readers.time_zero import Administration, find_courses
from crsrisk.therapies import Therapy

HOUR = 3_600_000_000
DAY = 24 * HOUR


def infusion(day: float, product: str = "axi-cel_LBCL3L", **rest) -> Administration:
    return Administration(int(day * DAY), product, row=int(day * 10), **rest)


def dose(day: float, amount: float = nan, product: str = "tec_MM", **rest) -> Administration:
    return Administration(int(day * DAY), product, amount, row=int(day * 10), **rest)


def found(given, diseases=(), site=None):
    return find_courses(given, diseases, site or SiteMap(), "p1")


def courses(given, diseases=(), site=None):
    return [(c.therapy, c.index_us / DAY, c.doses) for c in found(given, diseases, site).courses]


def question(given, diseases=(), site=None) -> str:
    asked = found(given, diseases, site).question
    return "" if asked is None else asked.code


def test_an_infusion_of_cells_is_time_zero():
    assert courses([infusion(3)]) == [("axi-cel_LBCL3L", 3.0, ())]


def test_every_dose_of_an_engager_belongs_to_one_course():
    series = [dose(0, 6), dose(3, 30), dose(6, 150), dose(13, 150)]
    assert courses(series) == [("tec_MM", 0.0, (0, 30, 60, 130))]
    assert courses(series[::-1]) == courses(series)


def test_a_step_a_day_and_a_half_later_is_a_dose_not_a_question():
    assert courses([dose(0, 6), dose(1.6, 30)]) == [("tec_MM", 0.0, (0, 16))]


@pytest.mark.parametrize(
    "given",
    [
        [infusion(0), infusion(1)],
        [infusion(0), infusion(1.9, "tisa-cel_LBCL")],
        [infusion(0), dose(1, 6)],
        [dose(0, 6), dose(1, 6)],
        [dose(0, 6), dose(0.2, 30)],
        [dose(0, 6), dose(1.5)],
        [dose(0, 6), dose(0, 30)],
    ],
    ids=[
        "cells twice",
        "two products",
        "cells, engager",
        "dose again",
        "at once",
        "no amount",
        "two amounts",
    ],
)
def test_two_candidates_within_48_hours_are_a_question(given):
    assert question(given) == "TWO_TIME_ZEROS"
    assert question(given[::-1]) == "TWO_TIME_ZEROS"


def test_one_infusion_told_by_two_records_is_one():
    assert courses([infusion(0), Administration(0, "axi-cel_LBCL3L", row=7)]) == [("axi-cel_LBCL3L", 0.0, ())]
    assert courses([dose(0), Administration(0, "tec_MM", 6.0, row=7)]) == [("tec_MM", 0.0, (7,))]


def test_a_second_infusion_later_is_a_second_course():
    assert [c[1] for c in courses([infusion(0), infusion(200)])] == [0.0, 200.0]


def test_a_series_after_a_long_interruption_is_a_new_course():
    given = [dose(0, 6), dose(3, 30), dose(100, 6), dose(103, 30)]
    assert [(index, doses) for _, index, doses in courses(given)] == [(0.0, (0, 30)), (100.0, (1000, 1030))]


def test_an_interrupted_series_within_the_gap_goes_on():
    given = [dose(0, 6), dose(3, 30), dose(40, 30)]
    assert [doses for _, _, doses in courses(given)] == [(0, 30, 400)]


def test_another_product_ends_a_series():
    given = [dose(0, 6), dose(3, 30), infusion(20, "ide-cel_MM4L"), dose(40, 6)]
    assert [c[0] for c in courses(given)] == ["tec_MM", "ide-cel_MM4L", "tec_MM"]


def test_a_dose_that_was_not_given_opens_nothing():
    assert courses([dose(0, 0.0), dose(3, 6)]) == [("tec_MM", 3.0, (30,))]


def test_bags_of_a_continuous_infusion_are_one_dose_until_the_rate_rises():
    given = [dose(day, 0.009 if day < 7 else 0.028, "blina_RRALL") for day in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert [doses for _, _, doses in courses(given)] == [(0, 70)]


def test_a_continuous_infusion_that_begins_again_after_a_pause_is_a_dose():
    bags = [dose(0, 0.009, "blina_RRALL", end_us=DAY), dose(1, 0.009, "blina_RRALL", end_us=2 * DAY)]
    later = dose(20, 0.009, "blina_RRALL", end_us=21 * DAY)
    assert [doses for _, _, doses in courses([*bags, later])] == [(0, 200)]


def test_the_indication_comes_from_the_disease_or_is_asked():
    assert courses([infusion(0, "tisa-cel")], {"ALL"})[0][0] == "tisa-cel_ALL"
    assert question([infusion(0, "tisa-cel")]) == "WHICH_INDICATION"
    assert question([infusion(0, "tisa-cel")], {"ALL", "FL"}) == "WHICH_INDICATION"
    assert courses([infusion(0, "brexu-cel")], {"MCL"})[0][0] == "brexu-cel_MCL"


def test_a_product_with_one_indication_needs_no_disease():
    assert courses([infusion(0, "elra")])[0][0] == "elra_MM"


def test_the_site_says_the_indication():
    site = SiteMap(therapies={"tisa-cel": "tisa-cel_FL"})
    assert courses([infusion(0, "tisa-cel")], (), site)[0][0] == "tisa-cel_FL"


def test_an_unknown_product_is_a_question():
    assert question([infusion(0, "nobody-cel")]) == "WHICH_INDICATION"


def test_a_registered_therapy_is_known():
    mine = Therapy(key="x9", name="X9", class_="cart", targets=("CD19",), setting="heme", source="trial")
    assert courses([infusion(0, "x9")], (), SiteMap(registered={"x9": mine}))[0][0] == "x9"


def test_the_stated_time_zero_wins_over_everything_found():
    site = SiteMap(courses={"p1": (StatedCourse("axi-cel_LBCL3L", 2 * DAY),)})
    assert courses([infusion(0), infusion(1)], (), site) == [("axi-cel_LBCL3L", 2.0, ())]


def test_doses_from_a_stated_time_zero_on_are_its_doses():
    site = SiteMap(courses={"p1": (StatedCourse("tec_MM", DAY),)})
    assert courses([dose(0, 6), dose(1, 6), dose(3, 30)], (), site) == [("tec_MM", 1.0, (10, 30))]


def test_a_series_with_missing_amounts_is_a_question_since_each_dose_opens_a_window():
    assert question([dose(0, 6), dose(3), dose(6, 150)]) == "DOSE_WITHOUT_AMOUNT"


def test_a_single_dose_without_an_amount_opens_the_course():
    assert courses([dose(0)]) == [("tec_MM", 0.0, ())]


def test_leukaemia_alone_does_not_say_whether_blinatumomab_is_for_residual_disease():
    assert question([dose(0, 0.009, "blina")], {"ALL"}) == "WHICH_INDICATION"


def test_what_the_site_says_of_all_does_not_overrule_the_disease_of_one():
    site = SiteMap(therapies={"tisa-cel": "tisa-cel_LBCL"})
    assert courses([infusion(0, "tisa-cel")], {"ALL"}, site)[0][0] == "tisa-cel_ALL"
    assert courses([infusion(0, "tisa-cel")], (), site)[0][0] == "tisa-cel_LBCL"
    assert question([infusion(0, "tisa-cel")], {"ALL", "FL"}, site) == "WHICH_INDICATION"


def test_bags_of_one_rate_are_one_dose_whatever_their_size():
    small = Administration(0, "blina_RRALL", 0.028, DAY, 0, pace_mg_h=0.028 / 24)
    large = Administration(DAY, "blina_RRALL", 0.112, 5 * DAY, 10, pace_mg_h=0.028 / 24)
    assert [doses for _, _, doses in courses([small, large])] == [(0,)]


def test_a_rate_that_rises_is_a_dose():
    slow = Administration(0, "blina_RRALL", 0.063, 7 * DAY, 0, pace_mg_h=0.009 / 24)
    quick = Administration(7 * DAY, "blina_RRALL", 0.196, 14 * DAY, 70, pace_mg_h=0.028 / 24)
    assert [doses for _, _, doses in courses([slow, quick])] == [(0, 70)]


def test_bags_that_do_not_tell_how_quickly_they_ran_are_a_question():
    assert question([dose(0, product="blina_RRALL"), dose(7, product="blina_RRALL")]) == "RATE_OF_INFUSION"


def test_a_dose_shortly_before_the_stated_time_zero_is_asked_about():
    site = SiteMap(courses={"p1": (StatedCourse("tec_MM", DAY + 300_000_000),)})
    assert question([dose(1, 6), dose(4, 30)], (), site) == "NOT_AS_STATED"


def test_a_therapy_that_the_stated_courses_do_not_name_is_asked_about():
    site = SiteMap(courses={"p1": (StatedCourse("tec_MM", 0),)})
    assert question([dose(0, 6), infusion(60, "cilta-cel_MM4L")], (), site) == "NOT_AS_STATED"


def test_a_dose_told_twice_is_one_dose_of_a_stated_course_too():
    site = SiteMap(courses={"p1": (StatedCourse("tec_MM", 0),)})
    twice = [dose(0, 6), Administration(0, "tec_MM", 6.0, row=5), dose(3, 30)]
    assert courses(twice, (), site) == [("tec_MM", 0.0, (0, 30))]
