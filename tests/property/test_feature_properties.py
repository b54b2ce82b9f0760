"""Nothing known after the landmark changes a feature; neither does the calendar, the order or the company."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crsrisk.cohort import course_from_records
from features.matrix import compute_features
from tests.feature_cohorts import CELLS, ENGAGER, cohort_of

VARIABLES = (
    "crp",
    "temperature",
    "sbp",
    "ldh",
    "platelets",
    "creatinine",
    "tocilizumab_dose",
    "o2_flow",
    "resp_support",
)
LANDMARK = 36.0
hours = st.integers(-600, 1000).map(lambda tenth: tenth / 10)
delays = st.sampled_from([0.0, 0.0, 0.0, 0.5, 4.0, 30.0])
values = st.integers(0, 100).map(lambda tenth: 34.0 + tenth / 10)


@st.composite
def readings(draw, course="a", first=-60.0):
    time = max(draw(hours), first)
    return (course, time, draw(st.sampled_from(VARIABLES)), draw(values), time + draw(delays))


def later(event) -> bool:
    return max(event[1], event[4]) > LANDMARK


def features_of(events, therapy=CELLS):
    table = compute_features(cohort_of(events, therapy=therapy), (0.0, LANDMARK), with_times=True)
    return table.values, table.times


def same(a, b) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(readings(), max_size=25), st.lists(readings(), max_size=10), st.sampled_from([CELLS, ENGAGER])
)
def test_events_known_after_the_landmark_may_come_change_or_go(early, more, therapy):
    known = [event for event in early if not later(event)]
    future = [event for event in (*early, *more) if later(event)]
    changed = [(c, h, name, value + 7.0, k) for c, h, name, value, k in future]
    without = features_of(known, therapy)
    assert same(without, features_of([*known, *future], therapy))
    assert same(without, features_of([*known, *changed], therapy))


@settings(max_examples=40, deadline=None)
@given(st.lists(readings(), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(events, random):
    cohort = cohort_of(events)
    order = list(range(len(cohort.events)))
    random.shuffle(order)
    shuffled = type(cohort)(courses=cohort.courses, events=cohort.events.iloc[order].reset_index(drop=True))
    assert np.array_equal(
        compute_features(cohort, (LANDMARK,)).values,
        compute_features(shuffled, (LANDMARK,)).values,
        equal_nan=True,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(readings("a"), max_size=25),
    st.lists(readings("b"), max_size=25),
    st.lists(readings("c"), max_size=25),
)
def test_a_patient_alone_equals_the_patient_in_a_cohort(a, b, c):
    therapy = {"a": CELLS, "b": ENGAGER, "c": CELLS}
    cohort = cohort_of([*a, *b, *c], courses=("a", "b", "c"), therapy=therapy)
    together = compute_features(cohort, (0.0, LANDMARK), with_times=True)
    for course in "abc":
        alone = compute_features(cohort.subset([course]), (0.0, LANDMARK), with_times=True)
        mine = (together.rows["course_id"] == course).to_numpy()
        assert same((alone.values, alone.times), (together.values[mine], together.times[mine]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(readings(), min_size=1, max_size=12),
    st.timedeltas(min_value=timedelta(days=-3000), max_value=timedelta(days=3000)),
)
def test_shifting_all_times_changes_nothing(events, shift):
    units = {"crp": "mg/L", "temperature": "Cel", "sbp": "mm[Hg]", "ldh": "U/L", "platelets": "10*3/uL"}
    events = [event for event in events if event[2] in units]
    tables = []
    for index in (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC) + shift):
        course = {"course_id": "a", "patient_id": "p", "therapy": CELLS, "index_time": index.isoformat()}
        observations = [
            {
                "variable": name,
                "value": value,
                "unit": units[name],
                "time": (index + timedelta(hours=time)).isoformat(),
                "available_time": (index + timedelta(hours=known)).isoformat(),
            }
            for _, time, name, value, known in events
        ]
        cohort, rejected = course_from_records(course, observations, None)
        assert not [r for r in rejected if "DUPLICATE" not in r.reason]
        tables.append(compute_features(cohort, (0.0, LANDMARK)).values)
    assert np.array_equal(tables[0], tables[1], equal_nan=True)
