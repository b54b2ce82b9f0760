"""What each statistic and window gives, at its borders, and that the way of computing never shows."""

from math import isnan, nan

import numpy as np
import pytest

from features import engine, segments
from features.engine import Events, Request, Rows, compute_statistics

Reading = tuple[float, float] | tuple[float, float, float]


def events_of(*courses: list[Reading], variable: int = 0, n_variables: int = 1) -> Events:
    rows = [
        (c, e[0], e[-1] if len(e) == 3 else e[0], e[1]) for c, course in enumerate(courses) for e in course
    ]
    course, hours, known, value = (np.array(column) for column in zip(*rows, strict=True))
    return Events(course.astype(np.int64), np.full(course.size, variable), hours, known, value, n_variables)


def one(
    readings: list[Reading], window: str, statistic: str, *, as_of=24.0, dose=0.0, threshold=nan
) -> float:
    rows = Rows(np.zeros(1, dtype=np.int64), np.array([dose]), np.array([as_of]))
    request = Request(0, window, statistic, threshold)
    return float(compute_statistics(events_of(readings), rows, [request]).values[0, 0])


READINGS = [(-30.0, 1.0), (-2.0, 4.0), (0.0, 5.0), (3.0, 9.0), (23.0, 7.0), (24.0, 8.0), (24.1, 100.0)]


@pytest.mark.parametrize(
    ("statistic", "baseline", "since_index", "last_24h"),
    [
        ("last", 5.0, 8.0, 8.0),
        ("first", 1.0, 9.0, 9.0),
        ("max", 5.0, 9.0, 9.0),
        ("min", 1.0, 7.0, 7.0),
        ("mean", 10 / 3, 8.0, 8.0),
        ("count", 3.0, 3.0, 3.0),
        ("change", 0.0, 3.0, 3.0),
        ("log2_ratio", 0.0, np.log2(8 / 5), np.log2(8 / 5)),
        ("hours_since_last", 24.0, 0.0, 0.0),
    ],
)
def test_a_window_is_open_at_its_start_and_closed_at_its_end(statistic, baseline, since_index, last_24h):
    assert one(READINGS, "baseline", statistic) == pytest.approx(baseline, abs=1e-12)
    assert one(READINGS, "since_index", statistic) == pytest.approx(since_index, abs=1e-12)
    assert one(READINGS, "last_24h", statistic) == pytest.approx(last_24h, abs=1e-12)


def test_a_value_exactly_at_the_landmark_enters_and_one_after_it_does_not():
    assert one([(24.0, 90.0), (24.1, 300.0)], "since_index", "max") == 90.0


def test_a_value_at_the_index_time_is_baseline_and_not_early_course():
    readings = [(0.0, 90.0), (1.0, 5.0)]
    assert one(readings, "since_index", "max") == 5.0
    assert one(readings, "baseline", "max") == 90.0


def test_the_last_24_hours_start_after_the_hour_24_before_the_landmark():
    assert one([(24.0, 90.0), (24.5, 5.0)], "last_24h", "max", as_of=48.0) == 5.0


def test_dose_windows_split_at_the_dose():
    readings = [(10.0, 1.0), (100.0, 2.0), (100.5, 3.0)]
    assert one(readings, "since_dose", "first", as_of=120.0, dose=100.0) == 3.0
    assert one(readings, "before_dose", "last", as_of=120.0, dose=100.0) == 2.0
    assert one(readings, "so_far", "count", as_of=120.0, dose=100.0) == 3.0


def test_nothing_measured_is_missing_not_zero_but_a_count_is_zero():
    for statistic in set(segments.STATISTICS) - {"count"}:
        assert isnan(one([(-1.0, 3.0)], "since_index", statistic, threshold=1.0)), statistic
    assert one([(-1.0, 3.0)], "since_index", "count") == 0.0


def test_a_nan_value_counts_as_not_measured():
    assert one([(1.0, 4.0), (2.0, nan)], "since_index", "last") == 4.0


def test_a_result_that_comes_after_the_landmark_does_not_enter():
    late = [(1.0, 4.0), (20.0, 90.0, 24.5)]
    assert one(late, "since_index", "max", as_of=24.0) == 4.0
    assert one(late, "since_index", "max", as_of=24.5) == 90.0
    assert one(late, "so_far", "count", as_of=24.0) == 1.0


def test_a_late_baseline_value_enters_only_once_it_is_known():
    late = [(-3.0, 4.0, 6.0)]
    assert isnan(one(late, "baseline", "last", as_of=0.0))
    assert one(late, "baseline", "last", as_of=6.0) == 4.0


def test_slope_is_least_squares_per_day():
    assert one([(6.0, 1.0), (12.0, 2.0), (18.0, 6.0)], "since_index", "slope") == pytest.approx(10.0)


def test_slope_needs_an_hour_between_the_values():
    assert isnan(one([(6.0, 1.0), (6.9, 2.0)], "since_index", "slope"))
    assert one([(6.0, 1.0), (7.0, 2.0)], "since_index", "slope") == pytest.approx(24.0)
    assert isnan(one([(6.0, 1.0)], "since_index", "slope"))


def test_the_slope_of_equal_values_is_exactly_zero():
    assert one([(h, 36.7) for h in (0.1, 3.3, 9.7, 20.9)], "since_index", "slope") == 0.0


def test_hours_above_carry_a_value_to_the_next_one_and_to_the_landmark():
    readings = [(2.0, 38.0), (5.0, 37.0), (20.0, 39.0)]
    assert one(readings, "since_index", "hours_above", threshold=38.0) == pytest.approx(3.0 + 4.0)


def test_hours_above_carry_a_value_for_12_hours_at_most():
    assert one([(1.0, 38.5)], "since_index", "hours_above", as_of=72.0, threshold=38.0) == 12.0
    assert one([(1.0, 38.5), (40.0, 37.0)], "since_index", "hours_above", as_of=72.0, threshold=38.0) == 12.0


def test_hours_above_before_the_index_time_end_there():
    assert one([(-2.0, 38.5)], "baseline", "hours_above", threshold=38.0) == 2.0


def test_hours_above_are_zero_when_measured_and_never_above():
    assert one([(1.0, 37.0), (2.0, 36.0)], "since_index", "hours_above", threshold=38.0) == 0.0


def test_a_log_ratio_of_a_value_that_is_not_positive_is_missing():
    assert isnan(one([(-1.0, 0.0), (1.0, 4.0)], "since_index", "log2_ratio"))
    assert isnan(one([(-1.0, 2.0), (1.0, 0.0)], "since_index", "log2_ratio"))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_equal_times_are_ordered_by_known_time_and_then_by_value(order):
    readings = np.array([(5.0, 1.0, 6.0), (5.0, 9.0, 5.0), (5.0, 3.0, 6.0), (5.0, 2.0, 5.0)])[order]
    assert one([tuple(r) for r in readings.tolist()], "since_index", "last") == 3.0
    assert one([tuple(r) for r in readings.tolist()], "since_index", "first") == 2.0


def test_times_are_those_of_the_value_behind_the_number():
    rows = Rows(np.zeros(1, dtype=np.int64), np.zeros(1), np.array([24.0]))
    readings = [(1.0, 2.0), (3.0, 9.0), (5.0, 9.0), (7.0, 1.0), (9.0, 4.0)]
    statistics = ("last", "first", "max", "min", "count", "slope")
    requests = [Request(0, "since_index", name) for name in statistics]
    computed = compute_statistics(events_of(readings), rows, requests, with_times=True)
    assert computed.times is not None
    assert computed.times[0].tolist() == [9.0, 1.0, 3.0, 7.0, 9.0, 9.0]


def _mixed(seed: int, courses: int, per_course: int) -> tuple[Events, Rows, list[Request]]:
    """Ties, late results, long and short segments, several rows per course."""
    rng = np.random.default_rng(seed)
    size = courses * per_course
    hours = np.round(rng.uniform(-60.0, 100.0, size), 1)
    known = hours + np.where(rng.random(size) < 0.3, rng.uniform(0.0, 30.0, size), 0.0)
    variable = np.minimum(rng.integers(0, 8, size), 4)
    events = Events(rng.integers(0, courses, size), variable, hours, known, rng.normal(5.0, 3.0, size), 5)
    course = np.repeat(np.arange(courses), 3)
    dose = np.tile([0.0, 0.0, 48.0], courses)
    rows = Rows(course, dose, dose + np.tile([0.0, 24.0, 12.0], courses))
    requests = [
        Request(v, w, s, 4.0 + v) for v in range(5) for w in engine.WINDOWS for s in segments.STATISTICS
    ]
    return events, rows, requests


def test_every_course_alone_equals_the_cohort_to_the_last_bit():
    events, rows, requests = _mixed(seed=3, courses=7, per_course=150)
    together = compute_statistics(events, rows, requests, with_times=True)
    assert together.times is not None
    for course in range(7):
        mine, its_rows = np.flatnonzero(events.course == course), np.flatnonzero(rows.course == course)
        for row in its_rows.tolist():
            alone = compute_statistics(
                events.take(mine), rows.take(np.array([row])), requests, with_times=True
            )
            assert np.array_equal(alone.values[0], together.values[row], equal_nan=True)
            assert np.array_equal(alone.times[0], together.times[row], equal_nan=True)


def test_the_size_of_the_chunks_changes_nothing(monkeypatch):
    events, rows, requests = _mixed(seed=4, courses=9, per_course=80)
    whole = compute_statistics(events, rows, requests).values
    monkeypatch.setattr(engine, "CHUNK_EVENTS", 100)
    assert np.array_equal(compute_statistics(events, rows, requests).values, whole, equal_nan=True)
    monkeypatch.setattr(engine, "CHUNK_SEGMENTS", 1)
    assert np.array_equal(compute_statistics(events, rows, requests).values, whole, equal_nan=True)


def test_the_order_of_events_and_rows_changes_nothing():
    events, rows, requests = _mixed(seed=5, courses=6, per_course=90)
    whole = compute_statistics(events, rows, requests).values
    rng = np.random.default_rng(0)
    order = rng.permutation(rows.course.size)
    shuffled = events.take(rng.permutation(events.course.size))
    assert np.array_equal(
        compute_statistics(shuffled, rows.take(order), requests).values, whole[order], equal_nan=True
    )


def test_long_and_short_segments_agree_with_a_plain_loop(monkeypatch):
    events, rows, requests = _mixed(seed=6, courses=4, per_course=200)
    found = compute_statistics(events, rows, requests).values
    monkeypatch.setattr(segments, "LONG", 2)
    by_reduceat = compute_statistics(events, rows, requests).values
    np.testing.assert_allclose(found, by_reduceat, rtol=1e-9, atol=1e-9)
    plain = np.array([[_plain(events, rows, i, r) for r in requests] for i in range(rows.course.size)])
    np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-9)


def _plain(events: Events, rows: Rows, row: int, request: Request) -> float:
    """The definition of every statistic, one value after the other."""
    as_of, dose = rows.as_of[row], rows.dose_hours[row]
    start, end = {
        "baseline": (-np.inf, 0.0),
        "since_index": (0.0, as_of),
        "last_24h": (as_of - 24.0, as_of),
        "since_dose": (dose, as_of),
        "so_far": (-np.inf, as_of),
        "before_dose": (-np.inf, dose),
    }[request.window]
    table = zip(events.course, events.variable, events.hours, events.known, events.value, strict=True)
    mine = [
        (h, k, v)
        for c, name, h, k, v in table
        if c == rows.course[row] and name == request.variable and max(h, k) <= as_of
    ]
    inside = sorted((h, k, v) for h, k, v in mine if start < h <= end)
    before = [v for h, k, v in sorted(mine) if h <= 0.0]
    if request.statistic == "count":
        return len(inside)
    if not inside:
        return nan
    hours, values = [h for h, _, _ in inside], [v for _, _, v in inside]
    if request.statistic == "slope":
        return 24.0 * np.polyfit(hours, values, 1)[0] if hours[-1] - hours[0] >= 1.0 else nan
    if request.statistic == "hours_above":
        until = [*hours[1:], min(end, as_of)]
        spans = zip(hours, until, values, strict=True)
        return sum(min(u - h, 12.0) for h, u, v in spans if v >= request.threshold)
    if request.statistic in ("change", "log2_ratio"):
        if not before:
            return nan
        if request.statistic == "change":
            return values[-1] - before[-1]
        return np.log2(values[-1] / before[-1]) if values[-1] > 0 and before[-1] > 0 else nan
    return {
        "last": values[-1],
        "first": values[0],
        "max": max(values),
        "min": min(values),
        "mean": sum(values) / len(values),
        "hours_since_last": as_of - hours[-1],
    }[request.statistic]


def test_an_unknown_window_or_statistic_is_named():
    with pytest.raises(ValueError, match=r"\['first_week'\]; windows \['baseline'"):
        engine.plan_requests([Request(0, "first_week", "last")])
    with pytest.raises(ValueError, match=r"\['median'\]; windows"):
        engine.plan_requests([Request(0, "baseline", "median")])


def test_no_rows_give_an_empty_table():
    nothing = Rows(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))
    assert compute_statistics(
        events_of([(1.0, 2.0)]), nothing, [Request(0, "so_far", "last")]
    ).values.shape == (0, 1)


def test_a_course_without_events_has_only_missing_values():
    rows = Rows(np.array([0, 1]), np.zeros(2), np.array([24.0, 24.0]))
    values = compute_statistics(events_of([(1.0, 2.0)]), rows, [Request(0, "so_far", "last")]).values
    assert values[0, 0] == 2.0
    assert isnan(values[1, 0])
