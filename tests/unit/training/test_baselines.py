"""The linear baseline against scikit-learn, and what baselines do with gaps and with few events."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from training.baselines import Split, logistic, prior, univariable
from training.design import Design
from training.offset import sigmoid
from training.ridge import Columns, Problem, choose_strength, fit, path


def problem(n: int = 300, p: int = 8, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n // 3, p))
    base = np.repeat(np.arange(n // 3), 3)
    severe = (rng.random(n) < sigmoid(values[base, 0] - 1.0)).astype(float)
    return Problem(values, base, np.ones((n, 1)), severe, rng.uniform(0.5, 2.0, n))


def test_coefficients_agree_with_scikit_learn():
    given = problem()
    beta = fit(given, 5.0)
    oracle = LogisticRegression(C=1 / 5.0, tol=1e-12, max_iter=10_000)
    oracle.fit(given.values[given.base], given.severe, sample_weight=given.weight)
    assert beta[:-1] == pytest.approx(oracle.coef_[0], abs=1e-4)
    assert beta[-1] == pytest.approx(float(oracle.intercept_[0]), abs=1e-4)


def test_a_stronger_penalty_gives_shorter_coefficients():
    lengths = [float(np.linalg.norm(beta[:-1])) for beta in path(problem(), (1000.0, 100.0, 1.0))]
    assert lengths == sorted(lengths)


def test_noise_alone_gets_the_strongest_penalty():
    given = problem()
    rng = np.random.default_rng(5)
    noise = Problem(rng.normal(size=given.values.shape), given.base, given.free, given.severe, given.weight)
    fold = np.arange(300) // 3 % 4
    strength, _ = choose_strength(
        fold,
        lambda learn, held: (noise.take(learn), noise.take(held)),
        noise.severe,
        noise.weight,
        (1000.0, 1.0),
    )
    assert strength == 1000.0


def test_medians_and_scales_come_from_training_rows_alone():
    train = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 30.0], [4.0, 20.0]])
    columns = Columns.learn(train, np.array([False, False]))
    applied = columns.apply(np.array([[2.5, np.nan], [100.0, 20.0]]))
    assert applied[0].tolist() == [0.0, 0.0, 1.0]  # the mean, the median 20, and the gap
    assert applied[1].tolist() == [4.0, 0.0, 0.0]  # cut off at four standard deviations


def test_features_that_are_missing_together_share_one_indicator():
    gaps = np.array([[1.0, 5.0, 2.0], [np.nan, np.nan, 3.0], [2.0, 6.0, np.nan], [3.0, 9.0, 5.0]])
    assert Columns.learn(gaps, np.zeros(3, dtype=bool)).apply(gaps).shape == (4, 3 + 2)


def test_a_feature_never_measured_makes_no_column():
    never = np.column_stack([np.arange(4.0), np.full(4, np.nan)])
    assert Columns.learn(never, np.zeros(2, dtype=bool)).apply(never).shape == (4, 1)


def rows(n: int, seed: int = 0, *, signal: float = 2.0, events: bool = True) -> Design:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 2))
    severe = (
        (rng.random(n) < sigmoid(signal * values[:, 0] - 1.0)).astype(int)
        if events
        else np.zeros(n, dtype=int)
    )
    values[rng.random(n) < 0.2, 0] = np.nan
    frame = pd.DataFrame(
        {"course_id": [f"c{i}" for i in range(n)], "patient_id": [f"p{i}" for i in range(n)], "therapy": "t",
         "family": "f", "class_": "cart", "dose": 1, "landmark_hours": 0.0, "horizon_hours": 336.0,
         "rest_of_window": True, "severe": severe, "weight": 1.0}
    )  # fmt: skip
    return Design(frame, np.arange(n), values, ("score", "noise"))


def split(train: Design, test: Design) -> Split:
    return Split(train, test, np.full(len(train), -1.0), np.full(len(test), -1.0))


def test_the_base_rate_gives_everyone_its_offset():
    assert set(prior(split(rows(10), rows(5, 1)))) == {float(sigmoid(-1.0))}


def test_a_score_that_ranks_gets_rising_risks_and_a_gap_takes_the_median():
    train, test = rows(400), rows(50, 1)
    risk = univariable(split(train, test), "score")
    score = test.column("score")
    known = ~np.isnan(score)
    order = np.argsort(score[known])
    assert (np.diff(risk[known][order]) >= 0).all()
    median = np.nanmedian(train.column("score"))
    assert risk[~known][0] == pytest.approx(
        np.interp(median, score[known][order], risk[known][order]), abs=0.02
    )


def test_a_cell_without_events_gets_its_smoothed_rate():
    risk = univariable(split(rows(99, events=False), rows(5, 1)), "score")
    assert risk.tolist() == [pytest.approx(0.5 / 100)] * 5


def test_regression_without_events_falls_back_to_the_base_rate():
    risk = logistic(split(rows(60, events=False), rows(5, 1)), {}, 0)
    assert risk.tolist() == [pytest.approx(float(sigmoid(-1.0)))] * 5


@pytest.mark.parametrize(
    "n", [120, 600]
)  # below and above the events for a regression per landmark and horizon
def test_regression_finds_the_column_that_ranks(n):
    from sklearn.metrics import roc_auc_score

    test = rows(500, 1)
    risk = logistic(split(rows(n), test), {}, 0)
    assert np.isfinite(risk).all()
    assert roc_auc_score(test.severe, risk) > 0.75
