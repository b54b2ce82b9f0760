"""How far patients move the level of their therapy."""

from dataclasses import fields, replace

import numpy as np
import pytest

from training.offset import logit, sigmoid
from training.pooling import VALUES_SD, LevelData, Levels, before_outcomes, learned, pooled_levels, unseen


def patients(key: str, n: int, log_odds: float, true: float, seed: int) -> LevelData:
    rng = np.random.default_rng(seed)
    severe = (rng.random(n) < sigmoid(true)).astype(float)
    names = np.array([f"{key}{seed}-{i}" for i in range(n)], dtype=object)
    given = np.full(n, log_odds)
    return LevelData(given, given, severe, np.ones(n), np.full(n, key, dtype=object), names)


def together(*parts: LevelData) -> LevelData:
    return LevelData(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(LevelData)))


def test_many_patients_speak_for_themselves_and_few_stay_near_their_prior():
    data = together(patients("many", 4000, -2.5, -1.5, 1), patients("few", 20, -2.5, -1.5, 2))
    found = pooled_levels(data, {"many": 0.4, "few": 0.4}, values_sd=0.0)
    assert found.shifts["many"].mean == pytest.approx(1.0, abs=0.15)
    assert abs(found.shifts["few"].mean) < 0.6
    assert found.shifts["many"].sd < 0.1 < found.shifts["few"].sd


def test_no_severe_case_moves_the_level_down_but_not_to_zero():
    shift = pooled_levels(patients("a", 50, -2.0, -50.0, 1), {"a": 0.5}, values_sd=0.0).shifts["a"]
    assert -1.5 < shift.mean < -0.2
    assert (shift.patients, shift.events) == (50, 0)


def test_therapies_that_differ_from_their_publications_widen_the_prior_of_one_never_seen():
    apart = together(*(patients(f"t{k}", 1500, -2.0, -2.0 + (0.9 if k % 2 else -0.9), k) for k in range(6)))
    alike = together(*(patients(f"t{k}", 1500, -2.0, -2.0, k) for k in range(6)))
    prior = {f"t{k}": 0.2 for k in range(6)}
    assert pooled_levels(apart, prior, values_sd=0.0).local_sd >= 0.5
    assert pooled_levels(alike, prior, values_sd=0.0).local_sd <= 0.1
    assert (
        unseen(pooled_levels(apart, prior, values_sd=0.0), 0.2).sd
        > unseen(pooled_levels(alike, prior, values_sd=0.0), 0.2).sd
    )


@pytest.mark.parametrize("n", [1, 10, 30])
def test_learning_in_two_steps_is_learning_at_once(n):
    first, second = patients("a", 30, -2.0, -1.0, 3), patients("a", n, -2.0, -1.0, 4)
    levels = Levels(0.2, 0.0, {})
    once = learned(levels, together(first, second), {"a": 0.5}).shifts["a"]
    twice = learned(learned(levels, first, {"a": 0.5}), second, {"a": 0.5}).shifts["a"]
    assert twice.mean == pytest.approx(once.mean, abs=0.05)
    assert twice.sd == pytest.approx(once.sd, abs=0.03)
    assert twice.patients == once.patients == 30 + n


def test_every_case_moves_the_level_of_a_therapy_never_seen():
    levels = Levels(0.2, 0.0, {})
    severe = patients("a", 1, -2.0, 50.0, 1)
    after = learned(levels, severe, {"a": 0.5}).shifts["a"]
    assert after.mean > 0.1
    assert after.sd < unseen(levels, 0.5).sd


def test_a_prior_without_spread_is_refused():
    with pytest.raises(ValueError, match="spread above 0"):
        learned(Levels(0.0, 0.0, {}), patients("a", 5, -2.0, -2.0, 1), {"a": 0.0})


def test_trees_that_lift_every_patient_of_an_early_product_do_not_lift_its_mean_risk():
    """A publication tells a mean: 0.1 is published; trees say 0.25, and that patients differ."""
    rng = np.random.default_rng(1)
    base = patients("early", 400, float(logit(0.1)), -50.0, 1)
    lifted = base.published + 1.0 + rng.normal(0.0, 0.5, 400)
    unknown = replace(base, log_odds=lifted, weight=np.full(400, 1e-9))  # values, and next to no outcome
    level = pooled_levels(unknown, {"early": 0.5}, values_sd=VALUES_SD).shifts["early"]
    assert sigmoid(lifted + level.mean).mean() == pytest.approx(0.1, abs=0.01)
    assert level.sd == pytest.approx(0.5, abs=0.05)


def lifted(n_patients: int, doses: int) -> LevelData:
    """Patients of whom trees say more than is published, on several doses each."""
    base = patients("a", n_patients * doses, -2.0, -50.0, 1)
    return replace(base, log_odds=base.published + 1.0, patient=np.repeat(base.patient[:n_patients], doses))


def test_doses_of_one_patient_are_no_further_patients():
    levels = Levels(0.0, VALUES_SD, {})
    one, four, others = (
        before_outcomes(levels, data, {"a": 0.5})["a"] for data in (lifted(1, 1), lifted(1, 4), lifted(4, 1))
    )
    assert (four.mean, four.sd) == pytest.approx((one.mean, one.sd))
    assert others.mean < one.mean < 0.0
    assert others.sd < one.sd < unseen(levels, 0.5).sd


def test_without_trees_values_move_nothing_and_widen_nothing():
    published = patients("a", 12, -2.0, -1.0, 1)
    alone = pooled_levels(published, {"a": 0.3}, values_sd=0.0)
    assert unseen(alone, 0.3).sd == pytest.approx(np.hypot(0.3, alone.local_sd))
    nothing = Levels(0.0, 0.0, {})
    assert before_outcomes(nothing, lifted(12, 1), {"a": 0.3})["a"] == unseen(nothing, 0.3)
    with_trees = pooled_levels(published, {"a": 0.3}, values_sd=VALUES_SD)
    assert alone.shifts["a"].sd < with_trees.shifts["a"].sd


def test_what_is_known_before_outcomes_is_what_learning_starts_from():
    data = lifted(10, 1)
    known = learned(Levels(0.0, VALUES_SD, {}), data, {"a": 0.5})
    assert before_outcomes(known, data, {"a": 0.5}) == known.shifts
    assert known.values_sd == VALUES_SD
