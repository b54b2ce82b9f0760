"""Boosters stacked into one."""

import lightgbm
import numpy as np
import pytest

from training.stack import averaged, stacked
from training.trees import flat_trees


def grown(rounds: int, start: np.ndarray, seed: int = 0, columns: int = 5) -> tuple[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(400, columns))
    values[rng.random(values.shape) < 0.2] = np.nan
    label = (np.nan_to_num(values[:, 0]) + rng.normal(size=400) > 0).astype(float)
    params = {
        "objective": "binary",
        "num_leaves": 4,
        "boost_from_average": False,
        "verbosity": -1,
        "num_threads": 1,
    }
    rows = lightgbm.Dataset(values, label, init_score=start)
    booster = lightgbm.train(params, rows, rounds)
    return booster.model_to_string(), values


def raw(text: str, values: np.ndarray) -> np.ndarray:
    return lightgbm.Booster(model_str=text).predict(values, raw_score=True)


def test_a_stack_says_the_sum_and_its_contributions_add_up():
    first, values = grown(20, np.full(400, -1.0))
    second, _ = grown(15, -1.0 + raw(first, values))
    text = stacked([first, second])
    booster = lightgbm.Booster(model_str=text)
    assert booster.num_trees() == 35
    assert raw(text, values) == pytest.approx(raw(first, values) + raw(second, values), abs=1e-12)
    assert booster.predict(values, pred_contrib=True).sum(axis=1) == pytest.approx(
        raw(text, values), abs=1e-12
    )
    assert flat_trees([text]).margins(values)[0] == pytest.approx(raw(text, values), abs=1e-12)


def test_shap_values_of_the_parts_are_those_of_the_stack():
    first, values = grown(20, np.full(400, -1.0))
    second, _ = grown(15, -1.0 + raw(first, values))
    parts = [lightgbm.Booster(model_str=text).predict(values, pred_contrib=True) for text in (first, second)]
    whole = lightgbm.Booster(model_str=stacked([first, second])).predict(values, pred_contrib=True)
    assert whole == pytest.approx(parts[0] + parts[1], abs=1e-12)


def test_a_mean_says_the_mean_and_its_contributions_are_the_mean_of_the_parts():
    first, values = grown(20, np.zeros(400))
    second, _ = grown(7, np.zeros(400), seed=3)
    text = averaged([first, second], among=3)  # the third has no tree
    booster = lightgbm.Booster(model_str=text)
    assert booster.num_trees() == 27
    assert raw(text, values) == pytest.approx((raw(first, values) + raw(second, values)) / 3, abs=1e-12)
    parts = [lightgbm.Booster(model_str=t).predict(values, pred_contrib=True) for t in (first, second)]
    assert booster.predict(values, pred_contrib=True) == pytest.approx(sum(parts) / 3, abs=1e-12)
    assert flat_trees([text]).margins(values)[0] == pytest.approx(raw(text, values), abs=1e-12)
    assert averaged([], among=4) is None


def test_a_stack_of_one_is_the_booster_and_of_none_nothing():
    first, values = grown(3, np.zeros(400))
    assert np.array_equal(raw(stacked([first]), values), raw(first, values))
    assert stacked([]) is None


def test_boosters_of_other_features_are_refused():
    with pytest.raises(ValueError, match="different features"):
        stacked([grown(2, np.zeros(400))[0], grown(2, np.zeros(400), columns=4)[0]])
