"""How much was known of training patients, and between which values it lay."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.toy_models import tree_model
from training.applicability import Applicability, Known, applicability, gains, known_share
from training.artefact import load_model, save_model
from training.design import Design

MODEL = tree_model()
NAMES = MODEL.feature_names


def rows_of(values: np.ndarray, landmark: np.ndarray) -> Design:
    """Two horizons of each landmark."""
    base = np.repeat(np.arange(len(values)), 2)
    rows = pd.DataFrame(
        {"landmark_hours": landmark[base], "horizon_hours": np.tile([24.0, 72.0], len(values))}
    )
    return Design(rows, base.astype(np.int64), values, NAMES)


def everything(n: int) -> np.ndarray:
    return np.random.default_rng(2).lognormal(3.0, 1.0, size=(n, len(NAMES)))


def test_everything_measured_carries_the_whole_gain_and_nothing_none():
    gain = gains(MODEL.booster, NAMES)
    assert known_share(everything(1), gain)[0] == pytest.approx(1.0)
    assert known_share(np.full((1, len(NAMES)), np.nan), gain)[0] == 0.0


def test_what_was_given_and_who_the_patient_is_carry_nothing():
    values = np.full((1, len(NAMES)), np.nan)
    for name in ("age_last_baseline", "sex_female", "dose_number", "il6_count_since_dose"):
        if name in NAMES:
            values[0, NAMES.index(name)] = 1.0
    assert known_share(values, gains(MODEL.booster, NAMES))[0] == 0.0


def test_a_predictor_counts_as_much_as_the_trees_gained_by_it():
    gain = gains(MODEL.booster, NAMES)
    values = everything(1)
    strongest = int(np.argmax(gain))
    values[0, strongest] = np.nan
    assert known_share(values, gain)[0] == pytest.approx(1.0 - gain[strongest] / gain.sum())


def test_each_landmark_has_what_its_rows_had():
    values = everything(40)
    values[:20, ::2] = np.nan  # little is known at the infusion
    found = applicability(rows_of(values, np.repeat([0.0, 24.0], 20)), MODEL.booster)
    early, late = found.known
    assert (early.landmark_hours, late.landmark_hours) == (0.0, 24.0)
    assert early.usual < late.usual == pytest.approx(1.0)
    assert [found.at(hours) for hours in (0.0, 23.0, 24.0, 300.0)] == [early, early, late, late]


def test_few_is_what_one_in_a_hundred_had_less_than():
    values = everything(1000)
    values[:5] = np.nan  # 5 of 1,000 had nothing
    [known] = applicability(rows_of(values, np.zeros(1000)), MODEL.booster).known
    assert known.few == pytest.approx(1.0)
    values[:15] = np.nan
    [known] = applicability(rows_of(values, np.zeros(1000)), MODEL.booster).known
    assert known.few == 0.0


def test_ranges_are_those_of_the_values_measured():
    values = everything(10)
    values[:, 0] = [np.nan, 3.0, 7.0, *[5.0] * 7]
    values[:, 1] = np.nan
    ranges = applicability(rows_of(values, np.zeros(10)), MODEL.booster).ranges
    assert ranges[NAMES[0]] == (3.0, 7.0)
    assert NAMES[1] not in ranges


def test_a_model_without_trees_reads_no_values():
    found = applicability(rows_of(everything(3), np.zeros(3)), None)
    assert found == Applicability()
    assert found.at(24.0) is None


def test_it_is_kept_with_the_model(tmp_path):
    known = Applicability((Known(0.0, 0.25, 0.5), Known(24.0, 0.5, 0.75)), {NAMES[0]: (0.1, 12.5)})
    model = replace(MODEL, applicability=known)
    save_model(model, tmp_path / "m")
    assert load_model(tmp_path / "m").applicability == known
