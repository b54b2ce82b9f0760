"""Base rates: which level answers, and that the file is what the command computes."""

from importlib.resources import files

import numpy as np
import pytest

from crsrisk import prior_fit
from crsrisk.data_files import rows
from crsrisk.prior_fit import PublishedCohort, base_rates
from crsrisk.priors import prior
from crsrisk.therapies import Therapy, therapies, therapy, therapy_from_table

OWN = {"name": "X", "class": "cart", "targets": ["CD7"], "setting": "heme", "source": "trial"}


def test_the_file_is_what_the_command_computes():
    written = (files("crsrisk.data") / "priors.csv").read_text(encoding="utf-8")
    assert prior_fit.recompute() == written


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("axi-cel_LBCL3L", "indication"),
        ("liso-cel_FL", "product"),  # other indications of liso-cel in the same group
        ("tarla_SCLC2L", "product"),
        ("cevo_MM", "group"),
        ("lete-cel_SS", "group"),
    ],
)
def test_the_nearest_level_with_data_answers(key, level):
    assert prior(therapy(key)).level == level


def test_a_therapy_without_group_gets_its_class():
    own = therapy_from_table("x", OWN)
    assert prior(own).level == "class"
    assert prior(own).logit_sd > prior(therapy("axi-cel_LBCL3L")).logit_sd


def test_a_registered_group_is_used():
    own = therapy_from_table("x", {**OWN, "targets": ["CD19"], "group": "G1_CART_CD19_ALL"})
    assert prior(own).level == "group"


def test_a_registered_therapy_never_takes_a_catalogued_products_rate_by_its_name():
    own = therapy_from_table("axi-cel_new", {**OWN, "targets": ["CD19"]})
    assert prior(own).level == "class"


def test_an_unknown_class_has_no_prior():
    odd = Therapy(key="x", name="x", class_="vaccine", targets=("X",), setting="heme", source="s")
    with pytest.raises(ValueError, match="accepted: cart, engager, engineered_t"):
        prior(odd)


@pytest.mark.parametrize("outcome", ["severe", "any"])
@pytest.mark.parametrize("key", sorted(therapies()))
def test_every_therapy_has_a_plausible_rate(key, outcome):
    found = prior(therapy(key), outcome)
    assert 0.0 < found.low < found.rate < found.high < 1.0
    assert found.rate < 0.3 if outcome == "severe" else found.rate > 0.03
    assert prior(therapy(key), "severe").rate < prior(therapy(key), "any").rate


def test_rates_rest_on_astct_counts():
    tisa = prior(therapy("tisa-cel_ALL"))
    assert tisa.rate == pytest.approx(115 / 703, abs=0.01)  # 48 % by Penn in the trial does not move it
    assert tisa.high - tisa.low > 0.2  # but widens it
    brexu = prior(therapy("brexu-cel_MCL"))
    assert brexu.rate == pytest.approx(52 / 476, abs=0.01)  # not 15 of 82 by Lee 2014


def shrunken(*found: PublishedCohort) -> dict[str, tuple[float, float]]:
    """(rate, logit_sd) by therapy, for these cohorts alone."""
    lines = [dict(zip(prior_fit.COLUMNS, line, strict=True)) for line in base_rates(found, "severe")]
    return {
        line["key"]: (float(line["rate"]), float(line["logit_sd"]))
        for line in lines
        if line["level"] == "indication"
    }


def cohort(therapy_key: str, events: int, n: int, system: str = "ASTCT") -> PublishedCohort:
    return PublishedCohort(
        therapy=therapy_key,
        product=therapy_key,
        group="G4_CART_BCMA",
        system=system,
        n=n,
        events=events,
        source="s",
    )


OTHERS = (cohort("b", 8, 200), cohort("c", 10, 200))


def test_a_large_astct_cohort_is_left_where_it_is():
    rate, _ = shrunken(cohort("a", 400, 4000), *OTHERS)["a"]
    assert rate == pytest.approx(0.1, abs=0.002)


def test_a_small_cohort_is_drawn_to_its_group():
    rate, _ = shrunken(cohort("a", 4, 10), *OTHERS)["a"]
    assert 0.045 < rate < 0.3


def test_no_event_gives_a_rate_above_zero():
    rate, _ = shrunken(cohort("a", 0, 60), *OTHERS)["a"]
    assert 0.005 < rate < 0.045


def test_another_grading_system_moves_a_rate_less_than_astct_and_leaves_it_wider():
    astct = shrunken(cohort("a", 80, 400), *OTHERS)["a"]
    lee = shrunken(cohort("a", 80, 400, "Lee2014"), *OTHERS)["a"]
    assert lee[0] < astct[0]
    assert lee[1] > astct[1] + 0.1


def test_penn_widens_and_never_moves_a_rate():
    alone = shrunken(cohort("a", 40, 400), *OTHERS)["a"]
    with_penn = shrunken(cohort("a", 40, 400), cohort("a", 60, 120, "Penn"), *OTHERS)["a"]
    assert with_penn[0] == alone[0]
    assert with_penn[1] > alone[1]


def test_the_spread_between_products_never_falls_below_the_floor():
    spreads = [float(row["tau"]) for row in rows("priors.csv")]
    assert np.min(spreads) >= prior_fit.TAU_FLOOR
