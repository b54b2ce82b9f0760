"""What must hold of labels, offsets and risks whatever the numbers are."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crsrisk.therapies import therapies, window_hours
from tests.toy_models import tree_model
from tests.unit.training.cohorts import cohort, course, quiet, severe_at
from training.evaluate import metrics
from training.horizons import expand
from training.landmarks import landmark_table
from training.offset import OffsetSpec, Start, Within, logit, onset_shares, sigmoid

KEYS = sorted(therapies())
hours = st.floats(0.5, 400.0)


@given(key=st.sampled_from(KEYS), onsets=st.lists(hours, max_size=20), dose=st.integers(1, 8), landmark=hours)
def test_the_offset_is_finite_and_rises_with_the_horizon(key, onsets, dose, landmark):
    known = therapies()[key]
    window = window_hours(known)
    start = landmark % window
    shares = onset_shares(known.class_, np.ones(len(onsets), dtype=int), np.array(onsets))
    horizons = np.linspace(0.5, window - start, 8) if window - start > 1 else np.array([window - start])
    n = len(horizons)
    spec = OffsetSpec(rates={}, shares={known.class_: shares})
    along = spec.start([key] * n, np.full(n, dose), np.full(n, start), horizons).log_odds()
    assert np.isfinite(along).all()
    assert (np.diff(along) > 0).all()


moderate = st.floats(-6, 6)


@given(
    window=moderate, within=st.lists(moderate, min_size=1, max_size=4), trees=moderate,
    line=st.builds(Within, st.floats(-2, 2), st.floats(0, 3)),
)  # fmt: skip
def test_the_risk_is_that_of_the_window_times_that_of_being_soon(window, within, trees, line):
    horizons = np.array([*sorted(within), np.inf])
    start = Start(np.full(len(horizons), window), horizons)
    found = start.log_odds(trees, line)
    soon = sigmoid(horizons + line.intercept + line.slope * trees)
    assert sigmoid(found) == pytest.approx(sigmoid(np.full(len(horizons), window + trees)) * soon, rel=1e-9)
    assert (np.diff(found) >= 0).all()
    assert (start.log_odds(trees + 1.0, line) >= found).all()


@given(landmark=st.floats(0, 400), end=st.sampled_from([48.0, 72.0, 168.0, 336.0]))
def test_no_horizon_reaches_beyond_the_window(landmark, end):
    row, horizon, rest = expand(np.array([landmark]), np.array([end]), (24.0, 72.0, None))
    assert len(row) == 0 or landmark < end
    assert (landmark + horizon <= end + 1e-9).all()
    assert rest.sum() == (landmark < end)


@settings(max_examples=25, deadline=None)
@given(severe=st.floats(7.0, 330.0), follow_up=st.floats(1.0, 400.0))
def test_a_longer_horizon_never_takes_severity_back(severe, follow_up):
    courses = [course("a", follow_up=follow_up), course("b", follow_up=400.0)]
    rows = landmark_table(cohort(courses, [*severe_at("a", severe), *quiet("b")]), (0.0, 24.0, 48.0)).rows
    for _, part in rows.groupby(["course_id", "landmark_hours"]):
        assert (np.diff(part.sort_values("horizon_hours")["severe"]) >= 0).all()
    assert (rows["weight"] >= 1.0 - 1e-12).all()
    mine = rows[rows["course_id"] == "a"]
    assert not (mine["landmark_hours"] >= min(severe, follow_up)).any()
    unknown = mine[(mine["severe"] == 0)]
    assert (unknown["landmark_hours"] + unknown["horizon_hours"] <= follow_up + 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), landmark=st.floats(0.0, 335.0))
def test_risks_rise_with_the_horizon_and_explain_themselves(seed, landmark):
    model = tree_model(refits=3)
    rng = np.random.default_rng(seed)
    values = rng.lognormal(3, 2, size=(1, len(model.feature_names)))
    values[rng.random(values.shape) < 0.5] = np.nan
    rows = pd.DataFrame({"therapy": ["axi-cel_LBCL3L"], "dose": [1], "landmark_hours": [landmark]})
    said = model.predict(SimpleNamespace(rows=rows, values=values, names=model.feature_names))
    for bound in (said.risk, said.low, said.high):
        assert (np.diff(bound) >= 0).all()
    rebuilt = said.intercept + said.slope * (said.base + said.contributions.sum(axis=1))
    assert np.abs(rebuilt - logit(said.risk)).max() < 1e-9


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5.0))
def test_discrimination_depends_on_the_order_of_risks_alone(seed, scale):
    rng = np.random.default_rng(seed)
    risk, severe = rng.uniform(0.01, 0.9, 40), np.r_[np.ones(10), np.zeros(30)]
    ids = np.arange(40).astype(object)
    first = metrics(risk, severe, ids, resamples=0)
    again = metrics(risk**scale, severe, ids, resamples=0)
    assert abs(first["auroc"].value - again["auroc"].value) < 1e-12
    assert abs(first["average_precision"].value - again["average_precision"].value) < 1e-12
