"""A risk model: what it says, how it explains it, and that one patient and many get the same bits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import ModelError
from crsrisk.therapies import therapy
from tests.toy_models import offset_model, tree_model
from training.model import Calibration, IntervalSpec, RiskModel
from training.offset import logit, sigmoid
from training.pooling import Levels, TherapyShift


def table(model: RiskModel, n: int, *, key: str = "axi-cel_LBCL3L", landmark: float = 48.0, seed: int = 3):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(3.0, 1.0, size=(n, len(model.feature_names)))
    values[rng.random(values.shape) < 0.3] = np.nan
    rows = pd.DataFrame({"therapy": key, "dose": 1, "landmark_hours": landmark}, index=range(n))
    return SimpleNamespace(rows=rows, values=values, names=model.feature_names)


def only(features: SimpleNamespace, row: int) -> SimpleNamespace:
    return SimpleNamespace(
        rows=features.rows.iloc[[row]].reset_index(drop=True),
        values=features.values[[row]],
        names=features.names,
    )


def test_base_and_contributions_and_calibration_give_the_log_odds_of_the_risk():
    model = tree_model()
    said = model.predict(table(model, 60))
    rebuilt = said.intercept + said.slope * (said.base + said.contributions.sum(axis=1))
    assert np.abs(rebuilt - logit(said.risk)).max() < 1e-9
    assert np.abs(said.contributions).max() > 0.01


def test_contributions_are_those_of_the_shap_package():
    from training.figures import shap_values

    model = tree_model()
    features = table(model, 40)
    said = model.predict(features, horizons=(None,))
    design = np.column_stack([features.values, np.full(40, 48.0), np.full(40, 288.0)])
    assert np.abs(said.contributions - shap_values(model, design)).max() < 1e-9


def test_one_row_alone_gets_the_same_bits_as_among_many():
    model = tree_model(refits=5)
    features = table(model, 200)
    together = model.predict(features)
    for row in (0, 7, 199):
        alone, at = model.predict(only(features, row)), together.of_row(row)
        for name in ("risk", "low", "high", "log_odds", "base", "offset"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[at]), name
        assert np.array_equal(alone.contributions, together.contributions[at])


def test_risk_and_bounds_never_fall_with_the_horizon():
    model = tree_model()
    said = model.predict(table(model, 100, landmark=0.0))
    for row in range(100):
        at = said.of_row(row)
        assert said.horizon_hours[at].tolist() == [24.0, 72.0, 336.0]
        for bound in (said.risk, said.low, said.high):
            assert (np.diff(bound[at]) >= 0).all()


def test_the_interval_holds_the_risk():
    model = tree_model()
    said = model.predict(table(model, 50))
    assert (said.low < said.risk).all()
    assert (said.risk < said.high).all()


def test_bounds_lie_as_far_out_as_levels_refits_and_timing_together():
    """Independent parts: their half-widths on the log odds add up as squares, below and above apart (zou_2008)."""
    model = tree_model()
    features = table(model, 20)
    said = model.predict(features, horizons=(24.0,))
    offset = (["axi-cel_LBCL3L"] * 20, np.ones(20, dtype=np.int64), np.full(20, 48.0), np.full(20, 24.0))
    early, late = model.offset.bounds(*offset, 0.9)
    start = model.offset.start(*offset)
    at = start.log_odds()
    design = np.column_stack([features.values, np.full(20, 48.0), np.full(20, 24.0)])
    refits = np.stack(
        [replace(model, booster_text=text).margins(design, start) for text in model.bootstrap_texts]
    )
    sd = np.hypot(model.level_of("axi-cel_LBCL3L").sd, said.slope * refits.std(axis=0, ddof=1))
    for bound, part in ((said.low, early - at), (said.high, late - at)):
        expected = np.hypot(1.6448536 * sd, said.slope * part)
        assert np.abs(logit(bound) - logit(said.risk)) == pytest.approx(expected, rel=1e-6)


def test_the_level_of_an_interval_sets_its_width():
    model = tree_model()
    half = replace(model, interval=replace(model.interval, level=0.5))
    wide, narrow = model.predict(table(model, 5)), half.predict(table(model, 5))
    assert (narrow.high - narrow.low < wide.high - wide.low).all()
    assert model.interval.z == pytest.approx(1.6448536, abs=1e-6)
    assert half.interval.z == pytest.approx(0.6744898, abs=1e-6)


def test_horizons_beyond_the_window_are_left_out():
    model = tree_model()
    said = model.predict(table(model, 1, landmark=300.0))
    assert said.horizon_hours.tolist() == [24.0, 36.0]
    assert said.rest_of_window.tolist() == [False, True]


def test_a_landmark_at_the_end_of_the_window_has_no_risk():
    model = tree_model()
    assert len(model.predict(table(model, 1, landmark=336.0)).risk) == 0


def test_a_model_without_trees_gives_the_shifted_base_rate_and_no_contributions():
    model = replace(offset_model("cd19_cart"), calibration=Calibration(intercept=0.5))
    said = model.predict(table(model, 3), horizons=(None,))
    assert said.risk == pytest.approx(sigmoid(said.offset + 0.5), abs=1e-15)
    assert not said.contributions.any()


def test_a_therapy_never_seen_gets_the_wider_interval_of_its_prior():
    model = tree_model()
    levels = Levels(0.0, 0.0, {"axi-cel_LBCL3L": TherapyShift(0.0, 0.05, 90, 9)})
    known = replace(model, interval=IntervalSpec(levels=levels))
    narrow = known.predict(table(model, 5))
    wide = model.predict(table(model, 5))
    assert ((wide.high - wide.low) > (narrow.high - narrow.low)).all()
    assert model.seen("axi-cel_LBCL3L")
    assert not model.seen("obe-cel_ALL")


def test_the_level_of_a_therapy_moves_its_risk_and_stands_in_the_base():
    model = tree_model()
    levels = Levels(0.0, 0.0, {"axi-cel_LBCL3L": TherapyShift(0.4, 0.1, 90, 9)})
    plain, moved = (
        model.predict(table(model, 5)),
        replace(model, interval=IntervalSpec(levels=levels)).predict(table(model, 5)),
    )
    assert logit(moved.risk) == pytest.approx(logit(plain.risk) + 0.4, abs=1e-9)
    rebuilt = moved.intercept + moved.slope * (moved.base + moved.contributions.sum(axis=1))
    assert rebuilt == pytest.approx(logit(moved.risk), abs=1e-9)


def test_a_registered_therapy_outside_the_catalogue_is_answered():
    model = tree_model()
    new = replace(therapy("axi-cel_LBCL3L"), key="new_cart", in_catalogue=False)
    said = model.predict(table(model, 2, key="new_cart"), therapies={"new_cart": new})
    assert np.isfinite(said.risk).all()


def test_columns_in_another_order_give_the_same_risks():
    model = tree_model()
    features = table(model, 5)
    turned = SimpleNamespace(
        rows=features.rows, values=features.values[:, ::-1].copy(), names=features.names[::-1]
    )
    assert np.array_equal(model.predict(turned).risk, model.predict(features).risk)


def test_absent_features_are_refused():
    model = tree_model()
    features = table(model, 2)
    fewer = SimpleNamespace(rows=features.rows, values=features.values[:, 1:], names=features.names[1:])
    with pytest.raises(ModelError, match="features absent from the table"):
        model.predict(fewer)


def test_an_engager_window_ends_at_the_next_planned_dose_and_later_when_that_dose_is_late():
    model = offset_model("heme_engager")
    key = next(k for k in model.offset.rates if therapy(k).doses[1:] and therapy(k).class_ == "engager")
    gap = therapy(key).doses[1].hours - therapy(key).doses[0].hours
    on_time = model.predict(table(model, 1, key=key, landmark=gap - 1.0), horizons=(None,))
    late = model.predict(table(model, 1, key=key, landmark=gap + 1.0), horizons=(None,))
    assert on_time.horizon_hours.tolist() == [min(gap, 168.0) - (gap - 1.0)]
    if gap < 167.0:
        assert late.horizon_hours.tolist() == [168.0 - (gap + 1.0)]
