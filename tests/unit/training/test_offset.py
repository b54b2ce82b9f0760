"""The published base rate as an offset."""

import numpy as np
import pytest

from crsrisk.priors import prior
from crsrisk.therapies import therapy
from training.horizons import planned_window_ends
from training.offset import (
    PSEUDO_ONSETS,
    OffsetSpec,
    Timing,
    base_rate,
    common_timing,
    default_shares,
    expected_onset,
    logit,
    offset_from_json,
    offset_to_json,
    onset_shares,
    sigmoid,
    therapy_timing,
    usual_dose_shares,
)

AXI = "axi-cel_LBCL3L"


def spec(**shares) -> OffsetSpec:
    return OffsetSpec(rates={AXI: base_rate(therapy(AXI))}, shares=shares)


def offset(given: OffsetSpec, landmark: float, horizon: float, *, key: str = AXI, dose: int = 1) -> float:
    at = given.start([key], np.array([dose]), np.array([landmark]), np.array([horizon])).log_odds()
    return float(at[0])


def test_the_whole_window_of_cells_has_the_published_rate():
    assert sigmoid(offset(spec(), 0.0, 336.0)) == pytest.approx(prior(therapy(AXI)).rate, abs=1e-12)


def test_the_offset_rises_strictly_with_the_horizon():
    hours = np.arange(1.0, 337.0)
    n = len(hours)
    given = spec(cart=onset_shares("cart", np.ones(30, dtype=int), np.full(30, 40.0)))
    along = given.start([AXI] * n, np.ones(n, dtype=int), np.zeros(n), hours).log_odds()
    assert np.isfinite(along).all()
    assert (np.diff(along) > 0).all()


def test_the_rest_of_the_window_falls_as_time_passes_without_severe_crs():
    rest = [offset(spec(), landmark, 336.0 - landmark) for landmark in (0.0, 72.0, 168.0, 300.0)]
    assert (np.diff(rest) < 0).all()


def test_the_risk_given_none_before_follows_the_formula():
    shares = onset_shares("cart", np.ones(40, dtype=int), np.full(40, 50.0))
    rate = prior(therapy(AXI)).rate
    start, end = np.interp([24.0, 72.0], shares.knots, shares.before[0])
    expected = rate * (end - start) / (1 - rate * start)
    assert sigmoid(offset(spec(cart=shares), 24.0, 48.0)) == pytest.approx(expected, rel=1e-12)


def test_observed_onsets_are_blended_with_the_curve_as_ten_onsets():
    plain = default_shares("cart")
    seen = onset_shares("cart", np.ones(30, dtype=int), np.full(30, 20.0))
    at = seen.knots.index(24.0)
    expected = (PSEUDO_ONSETS * plain.before[0][at] + 30) / (PSEUDO_ONSETS + 30)
    assert seen.before[0][at] == pytest.approx(expected)
    assert seen.onsets == 30
    assert plain.onsets == 0


def test_doses_of_an_engager_share_the_rate_and_add_up_to_it():
    key = "glofit_DLBCL"
    given = OffsetSpec(rates={key: base_rate(therapy(key))}, shares={})
    n = 4
    alone = given.start([key] * n, np.arange(1, n + 1), np.zeros(n), np.full(n, 168.0)).log_odds()
    survived = np.prod(1 - sigmoid(alone))
    assert 1 - survived == pytest.approx(prior(therapy(key)).rate, rel=1e-9)


def test_a_later_expected_onset_moves_the_risk_to_later_hours():
    early, late = default_shares("cart", 24.0), default_shares("cart", 192.0)
    assert early.before[0][6] > 2 * late.before[0][6]


def test_expected_onset_is_the_median_of_what_is_stated():
    stated = [t for t in (therapy("axi-cel_LBCL3L"), therapy("tisa-cel_ALL")) if t.expected_onset_hours]
    expected = float(np.median([t.expected_onset_hours for t in stated])) if stated else None
    assert expected_onset(stated) == expected
    assert expected_onset([]) is None


def test_the_offset_comes_back_from_json():
    given = spec(cart=onset_shares("cart", np.ones(3, dtype=int), np.array([10.0, 50.0, 90.0])))
    assert offset_from_json(offset_to_json(given)) == given


def test_sigmoid_and_logit_are_inverse_also_far_out():
    x = np.array([-20.0, -2.0, 0.0, 3.0, 20.0])
    assert logit(sigmoid(x)) == pytest.approx(x, abs=1e-6)
    assert sigmoid(np.array([-800.0, 800.0])).tolist() == [0.0, 1.0]


# ---- what few onsets leave open


def bounds(given: OffsetSpec, landmark: float, horizon: float, level: float = 0.9) -> tuple[float, float]:
    early, late = given.bounds([AXI], np.array([1]), np.array([landmark]), np.array([horizon]), level)
    return float(early[0]), float(late[0])


def test_bounds_are_those_of_onsets_drawn_from_the_posterior():
    """10 pseudo-onsets of the curve and 20 seen: shares of a Dirichlet distribution over the hours, drawn."""
    shares = onset_shares("cart", np.ones(20, dtype=int), np.linspace(10.0, 90.0, 20))
    mass = 30.0 * np.diff(np.interp([0.0, 24.0, 72.0, 336.0], shares.knots, shares.before[0]))
    drawn = np.random.default_rng(3).dirichlet(mass, size=200_000)[:, 1]
    rate, start = prior(therapy(AXI)).rate, mass[0] / 30.0
    risk = rate * np.quantile(drawn, [0.05, 0.95]) / (1 - rate * start)
    assert sigmoid(np.array(bounds(spec(cart=shares), 24.0, 48.0))) == pytest.approx(risk, rel=0.01)


def test_more_onsets_leave_less_open():
    few, many = (spec(cart=onset_shares("cart", np.ones(n, dtype=int), np.full(n, 40.0))) for n in (5, 500))
    widths = [late - early for early, late in (bounds(few, 24.0, 24.0), bounds(many, 24.0, 24.0))]
    assert widths[0] > 2 * widths[1]


def test_that_an_onset_comes_at_all_is_no_question_of_timing():
    """The whole window holds every onset; how many there are is the level's matter."""
    at = offset(spec(), 0.0, 336.0)
    assert bounds(spec(), 0.0, 336.0) == pytest.approx((at, at), abs=1e-6)


def test_bounds_are_finite_hold_the_offset_and_grow_with_their_level():
    for landmark in (0.0, 24.0, 300.0):
        for horizon in (1.0, 24.0, 36.0):
            at = offset(spec(), landmark, horizon)
            half, most = bounds(spec(), landmark, horizon, 0.5), bounds(spec(), landmark, horizon, 0.9)
            assert np.isfinite(most).all()
            assert (np.diff([most[0], half[0], at, half[1], most[1]]) >= -1e-9).all()


def test_doses_carry_half_as_many_onsets_each_without_data():
    none = np.empty(0, dtype=np.int64)
    assert usual_dose_shares(none, none, 3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_a_dose_is_compared_only_in_therapies_that_have_it():
    """Thirty onsets at the only dose of one therapy say nothing of the second dose of another."""
    dose = np.array([1] * 30 + [1] * 10 + [2] * 10, dtype=np.int64)
    last = np.array([1] * 30 + [2] * 20, dtype=np.int64)
    first, second = usual_dose_shares(dose, last, 2)
    assert second / first == pytest.approx((10 + 0.5 * 10) / (10 + 10))


def test_a_therapy_has_shares_of_its_own_doses_alone():
    shares = onset_shares(
        "engager", np.array([1, 1, 2]), np.array([20.0, 30.0, 40.0]), doses=2, usual=(0.5, 0.3, 0.2)
    )
    assert len(shares.dose_share) == 2
    assert shares.dose_share[0] == pytest.approx((10 * 0.5 / 0.8 + 2) / 13)


def test_onsets_of_a_class_move_and_narrow_the_curves_of_its_therapies():
    expected = np.full(200, 24.0)
    late = common_timing(np.full(200, 96.0), expected)
    assert late.factor == pytest.approx(2.0, rel=0.05)
    assert late.spread < 0.3
    assert common_timing(np.empty(0), np.empty(0)) == Timing()
    own = therapy_timing(late, np.full(3, 48.0), 24.0)
    assert 1.0 < own.factor < late.factor
    assert therapy_timing(late, np.empty(0), 24.0) == late


def test_the_rest_of_a_window_that_the_next_dose_cuts_holds_all_that_the_window_holds():
    landmark = np.array([0.0, 24.0, 48.0])
    keys, dose = ["tec_MM"] * 3, np.ones(3, dtype=int)
    ends = planned_window_ends(keys, dose, landmark)
    assert (ends < 168.0).all()
    rest = OffsetSpec({}, {}).start(keys, dose, landmark, ends - landmark)
    near = OffsetSpec({}, {}).start(keys, dose, landmark, (ends - landmark) / 2)
    assert (rest.within > 30.0).all()
    assert np.isfinite(near.within).all()
    assert near.window == pytest.approx(rest.window)
    assert rest.log_odds() == pytest.approx(rest.window)


def test_a_window_longer_than_planned_holds_the_onsets_up_to_its_end():
    landmark, hours = np.zeros(2), np.array([72.0, 168.0])
    found = OffsetSpec({}, {}).start(["tec_MM"] * 2, np.ones(2, dtype=int), landmark, hours)
    assert found.window[1] > found.window[0]
    assert (found.within > 30.0).all()
