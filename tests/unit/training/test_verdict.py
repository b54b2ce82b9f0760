"""The word on a model in another hospital: each rule, and the sizes that narrower intervals need."""

import numpy as np
import pytest

from training.evaluate import Metric
from training.sample_size import (
    development_size,
    sample_size_note,
    size_from_intervals,
    validation_size,
)
from training.verdict import CANNOT_TELL, DO_NOT_USE, HOLDS, RECALIBRATE, verdict


def found(auroc=(0.75, 0.70, 0.80), slope=(1.0, 0.85, 1.2), ratio=(1.0, 0.9, 1.1), n=1000, events=150):
    named = {"auroc": auroc, "calibration_slope": slope, "expected_observed": ratio}
    return {
        name: Metric(
            name, *bounds, n=n, events=events, reason="" if bounds[1] == bounds[1] else "no interval"
        )
        for name, bounds in named.items()
    }


@pytest.mark.parametrize(
    ("given", "word", "reason"),
    [
        (found(), HOLDS, "all intervals within what the rules ask"),
        (found(events=9), CANNOT_TELL, "9 patients with severe CRS; 10 are the least for an interval."),
        (found(n=100, events=95), CANNOT_TELL, "5 patients without severe CRS"),
        (found(auroc=(0.5, 0.45, 0.55)), DO_NOT_USE, "the whole interval lies below 0.6"),
        (found(auroc=(0.6, 0.49, 0.71)), CANNOT_TELL, "the interval reaches chance"),
        (found(slope=(0.6, 0.4, 0.8)), RECALIBRATE, r"calibration slope 0.60 \(0.40 to 0.80\) excludes 1"),
        (found(ratio=(1.5, 1.2, 1.9)), RECALIBRATE, "expected over observed 1.50"),
        (found(slope=(1.0, 0.6, 1.4)), CANNOT_TELL, "reaches beyond 0.8 to 1.25"),
        (found(auroc=(0.65, 0.56, 0.74)), CANNOT_TELL, "not above 0.6 for certain"),
        (found(slope=(np.nan, np.nan, np.nan)), CANNOT_TELL, "The calibration slope has no interval: no interval."),
    ],
)  # fmt: skip
def test_each_word_rests_on_an_interval(given, word, reason):
    import re

    said = verdict("rest", given)
    assert said.word == word
    assert re.search(reason, " ".join(said.reasons))
    assert said.to_text().startswith(f"rest: {word.upper()}. ")


def test_bad_ranking_is_told_before_bad_calibration():
    assert verdict("rest", found(auroc=(0.5, 0.42, 0.58), slope=(0.2, 0.0, 0.5))).word == DO_NOT_USE


def test_halving_an_interval_takes_four_times_the_patients():
    size = size_from_intervals(100, 0.1, ratio=(0.8, 1.25), slope=(0.55, 1.45), auroc=(0.6, 0.7))
    assert (size.observed_expected, size.auroc) == (100, 100)
    assert size.calibration_slope == 400
    assert (size.required, size.events) == (400, 40)


def test_a_validation_needs_more_patients_the_rarer_the_outcome():
    margin = np.random.default_rng(0).normal(-2, 1, 5000)
    rare, common = validation_size(0.02, 0.75, margin), validation_size(0.2, 0.75, margin)
    assert rare.required > 5 * common.observed_expected
    assert rare.auroc > common.auroc


def test_equal_risks_have_no_slope_to_plan_for():
    with pytest.raises(ValueError, match="the risks do not differ"):
        validation_size(0.1, 0.7, np.full(50, -2.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 10), "prevalence 0.0; it must be above 0 and below 1"),
        ((0.1, 0), "0 parameters; a model has 1 or more"),
        ((0.1, 10, 0.6), r"R2 0.600; it must be above 0 and below 0.478"),
    ],
)
def test_impossible_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        development_size(*arguments)


def test_the_note_says_what_is_needed_and_what_there_is():
    note = sample_size_note("cd19_cart", 500, 50, 100)
    assert note.startswith("cd19_cart: for 100 candidate predictors, 5.0 patients and 0.50 events each")
    assert "there are 500 with 50, too few" in note
    assert sample_size_note("cd19_cart", 50_000, 5_000, 10).endswith("there are 50,000 with 5,000, enough.")
    assert "no sample size" in sample_size_note("cd19_cart", 20, 0, 10)
