"""All refits' trees walked at once give LightGBM's own sums, to the last bit."""

import lightgbm
import numpy as np
import pytest

from crsrisk.errors import ModelError
from training.trees import flat_trees


def grown(seed: int, *, leaves: int = 4, rounds: int = 20, zero_as_missing: bool = False) -> str:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(500, 6))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 5] = np.where(rng.random(500) < 0.5, 0.0, x[:, 5])
    y = (rng.random(500) < 1 / (1 + np.exp(-np.nan_to_num(x[:, 0] + x[:, 5])))).astype(float)
    params = {
        "objective": "binary", "num_leaves": leaves, "num_threads": 1, "verbosity": -1, "seed": seed,
        "zero_as_missing": zero_as_missing,
    }  # fmt: skip
    return lightgbm.train(params, lightgbm.Dataset(x, y), rounds).model_to_string()


@pytest.mark.parametrize("zero_as_missing", [False, True])
def test_sums_are_bit_for_bit_those_of_lightgbm(zero_as_missing):
    texts = [grown(s, leaves=2 + s, rounds=10 + s, zero_as_missing=zero_as_missing) for s in range(4)]
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(50, 6))
    rows[rng.random(rows.shape) < 0.3] = np.nan
    rows[rng.random(rows.shape) < 0.1] = 0.0
    expected = [lightgbm.Booster(model_str=t).predict(rows, raw_score=True, num_threads=1) for t in texts]
    assert np.array_equal(flat_trees(texts).margins(rows), np.stack(expected))


def test_a_tree_without_a_split_gives_its_constant():
    x = np.zeros((50, 2))
    params = {"objective": "binary", "num_threads": 1, "verbosity": -1}
    text = lightgbm.train(params, lightgbm.Dataset(x, np.r_[np.ones(10), np.zeros(40)]), 1).model_to_string()
    assert flat_trees([text]).margins(np.ones((2, 2))).tolist() == [[pytest.approx(np.log(0.25))] * 2]


def test_categorical_splits_are_refused():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, size=(400, 1)).astype(float)
    y = np.isin(x[:, 0], [1, 3]).astype(float)
    params = {
        "objective": "binary",
        "num_threads": 1,
        "verbosity": -1,
        "min_data_per_group": 1,
        "max_cat_to_onehot": 1,
    }
    text = lightgbm.train(params, lightgbm.Dataset(x, y, categorical_feature=[0]), 2).model_to_string()
    with pytest.raises(ModelError, match="categorical splits"):
        flat_trees([text])
