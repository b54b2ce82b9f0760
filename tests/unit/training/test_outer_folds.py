"""Folds in several processes: the same risks, and a sentence when a process dies."""

import os

import pytest

import training.outer_folds
from crsrisk.errors import CrsRiskError
from tests.unit.training.cohorts import cohort
from tests.unit.training.test_crossvalidate import BCMA, some
from training.crossvalidate import crossvalidate, prepare


@pytest.fixture(scope="module")
def prepared():
    """Two families whose severe patients allow shared trees in each training fold, the first also family trees."""
    first, second = some(130, 64), some(40, 14, BCMA)
    return prepare(cohort([*first[0], *second[0]], [*first[1], *second[1]]), (0.0,))


def both(prepared, jobs, told=None):
    return crossvalidate(prepared, n_folds=2, trials=1, resamples=20, seed=3, jobs=jobs, progress=told)


def die(place):
    os._exit(1)  # as the kernel does when memory is short


def test_any_number_of_processes_gives_the_same_bytes(prepared):
    steps = {1: [], 2: []}
    one, two = (both(prepared, jobs, lambda *step, jobs=jobs: steps[jobs].append(step)) for jobs in (1, 2))
    assert set(one.strategies["strategy"]) == {"shared"}
    assert one.detail["risk"].nunique() > 20
    for name in ("predictions", "detail", "table", "sensitivity", "attrition", "strategies"):
        assert getattr(one, name).to_csv().encode() == getattr(two, name).to_csv().encode()
        assert getattr(one, name).dtypes.equals(getattr(two, name).dtypes)
    assert one.notes == two.notes
    assert steps[1] == steps[2]
    assert len(steps[1]) == 4


def test_raw_events_are_not_sent(prepared):
    work = training.outer_folds.OuterFolds(prepared, prepared.cohort.courses, [], [], False, 0, 0)
    assert len(prepared.cohort.events) > 0
    assert len(work.without_events().prepared.cohort.events) == 0
    assert work.without_events().prepared.table is prepared.table


def test_a_process_that_dies_ends_the_run_with_advice(prepared, monkeypatch):
    monkeypatch.setattr(training.outer_folds, "_at", die)
    with pytest.raises(CrsRiskError, match=r"one of 2 processes ended early.*use fewer jobs"):
        both(prepared, 2)


def test_no_job_is_refused(prepared):
    with pytest.raises(ValueError, match="jobs=0; give 1 or more"):
        both(prepared, 0)
