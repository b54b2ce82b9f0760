"""One policy for all simulated hospitals: the same patients, treated differently."""

from dataclasses import fields
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest

from crsrisk.simulator import Simulation, simulate
from crsrisk.simulator.parameters import Site, read_toml, sites, sites_under

LEUKAEMIA = ["brexu-cel_ALL", "tisa-cel_ALL"]
POLICIES = ("preemptive", "without_rescue", "by_rule")
ENTRY_HOURS = 0.5  # an entry of an hour stands up to half an hour before its end
BEFORE_POLICIES = "7bf8039e0b266ecea169dcfe89d92e027b34c5d1922689a130e7d4353fd0ff9d"


@pytest.fixture(scope="module")
def cohorts() -> dict[str | None, Simulation]:
    return {policy: simulate(80, seed=6, therapies=LEUKAEMIA, policy=policy) for policy in (None, *POLICIES)}


def first(simulation: Simulation, variable: str) -> pd.Series:
    """Hour of the first dose after the infusion of each course, inf without one."""
    events = simulation.events
    given = events[(events["variable"] == variable) & (events["hours"] > 0)]
    hours = given.groupby("course_id")["hours"].min()
    return hours.reindex(simulation.courses["course_id"]).fillna(np.inf)


def hidden(simulation: Simulation, name: str) -> pd.Series:
    return simulation.hidden.set_index("course_id")[name].reindex(simulation.courses["course_id"])


def test_without_a_policy_the_cohort_is_that_of_before_there_were_policies() -> None:
    simulation = simulate(6, seed=11, therapies=["axi-cel_LBCL3L", "tec_MM"])
    tables = (simulation.courses, simulation.events, simulation.hidden)
    written = "".join(table.to_csv(index=False) for table in tables)
    assert sha256(written.encode()).hexdigest() == BEFORE_POLICIES


def test_without_a_policy_each_hospital_treats_as_it_does() -> None:
    assert sites_under(None) == sites()
    assert {site.tocilizumab_chance for site in sites()} == {0.30}


def test_a_policy_changes_how_hospitals_treat_and_nothing_else() -> None:
    for own, common in zip(sites(), sites_under("preemptive"), strict=True):
        changed = {f.name for f in fields(Site) if getattr(own, f.name) != getattr(common, f.name)}
        assert changed <= set(read_toml("simulator_policies.toml")["preemptive"])


@pytest.mark.parametrize("policy", POLICIES)
def test_the_patients_are_the_same_under_every_policy(cohorts, policy: str) -> None:
    own, other = cohorts[None], cohorts[policy]
    pd.testing.assert_frame_equal(
        own.courses.drop(columns="follow_up_hours"), other.courses.drop(columns="follow_up_hours")
    )
    before = [s.events[s.events["hours"] <= 0].reset_index(drop=True) for s in (own, other)]
    pd.testing.assert_frame_equal(*before)


def test_up_to_the_first_treatment_nothing_differs(cohorts) -> None:
    rescue, late = cohorts["preemptive"], cohorts["without_rescue"]
    treated = first(rescue, "tocilizumab_dose").to_numpy()
    ends = dict(zip(rescue.courses["course_id"], treated - 1.0, strict=True))
    early = [
        s.events[s.events["hours"] < s.events["course_id"].map(ends)].reset_index(drop=True)
        for s in (rescue, late)
    ]
    assert np.isfinite(treated).sum() >= 40
    pd.testing.assert_frame_equal(*early)


def test_preemptive_tocilizumab_comes_within_hours_of_the_onset(cohorts) -> None:
    def median_wait(policy: str | None) -> float:
        wait = first(cohorts[policy], "tocilizumab_dose") - hidden(cohorts[policy], "onset_hour")
        return float(wait[np.isfinite(wait)].median())

    assert median_wait("preemptive") <= 4.0
    assert median_wait(None) > 6.0


def test_without_rescue_nothing_is_given_before_crs_is_severe(cohorts) -> None:
    late = cohorts["without_rescue"]
    severe = hidden(late, "severe_hour").fillna(np.inf)
    for variable in ("tocilizumab_dose", "dexamethasone_dose"):
        given = first(late, variable)
        assert np.isfinite(given).sum() >= 5
        assert (given >= severe - ENTRY_HOURS)[np.isfinite(given)].all()


def test_rescue_keeps_patients_from_severe_crs(cohorts) -> None:
    severe = {policy: int(hidden(s, "severe_hour").notna().sum()) for policy, s in cohorts.items()}
    assert severe["preemptive"] < severe[None] < severe["without_rescue"]


def test_true_risks_are_those_under_the_policy() -> None:
    def mean_risk(policy: str) -> float:
        found = simulate(
            10, seed=4, therapies=LEUKAEMIA, truth=40, landmarks=(0.0,), horizons=(None,), policy=policy
        )
        assert found.truth is not None
        return float(found.truth["true_risk"].mean())

    assert mean_risk("preemptive") < mean_risk("without_rescue") - 0.05


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"policy 'rescue'; there are \['by_rule', 'preemptive'"):
        simulate(3, seed=1, policy="rescue")


def test_every_number_of_a_policy_is_one_of_a_hospital() -> None:
    names = {f.name for f in fields(Site)}
    table = read_toml("simulator_policies.toml")
    assert set(table) == set(POLICIES)
    assert {name for limits in table.values() for name in limits} <= names
