"""The risk without rescue: weights by hand, a known truth, and refusal where nobody stands for the treated."""

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.cohorts import GLOFIT
from tests.unit.training.treated import TOCILIZUMAB, at_infusion, graded, ward
from training.fit import fit_family
from training.rescue import share
from training.without_rescue import (
    AS_TREATED,
    CENSORED,
    COLUMNS,
    WITHOUT,
    effective,
    truncated,
    without_rescue,
)

FAMILY = "cd19_cart"


@pytest.fixture(scope="module")
def mixed():
    cohort, fated = ward(600)
    return without_rescue(at_infusion(cohort), FAMILY, resamples=200), float(fated.mean())


def value(found, estimate: str, column: str = "value") -> float:
    rows = found.table[(found.table["estimate"] == estimate) & (found.table["landmark_hours"] == 0.0)]
    return float(rows[column].iloc[0])


def test_eight_patients_by_hand():
    """Four at grade 2, of whom two were rescued (survival 1/2) and one of the two others was severe: each of these two
    stands for two. Four at grade 1 stand for themselves. Without rescue (2 x 1) / (2 x 2 + 4) = 1/4; ignoring rescue
    1/6; counting the rescued as not severe 1/8."""
    rows = pd.DataFrame({"severe": [1, 0, 0, 0, 0, 0], "patient_id": list("abcdef")})
    survival = np.array([0.5, 0.5, 1.0, 1.0, 1.0, 1.0])
    weighted = share(rows.assign(weight=1.0 / survival), resamples=0, seed=0)
    assert weighted.value == pytest.approx(1 / 4)
    assert share(rows.assign(weight=1.0), resamples=0, seed=0).value == pytest.approx(1 / 6)
    assert effective(1.0 / survival) == pytest.approx(8.0**2 / 12.0)  # (2 + 2 + 4)^2 / (4 + 4 + 4)


def test_the_weights_find_the_risk_that_nobody_was_left_with(mixed):
    found, truth = mixed
    assert found.positivity.estimable
    assert value(found, WITHOUT) == pytest.approx(truth, rel=0.1)
    assert value(found, WITHOUT, "low") < truth < value(found, WITHOUT, "high")
    assert value(found, AS_TREATED) < 0.5 * truth
    assert value(found, CENSORED) < 0.7 * truth


def test_the_diagnostics_say_how_much_the_weights_rest_on(mixed):
    p = mixed[0].positivity
    assert p.patients == 600
    assert 250 < p.rescued < 400
    assert p.untreated == pytest.approx(np.exp(-12 * 0.05), abs=0.08)  # of those at grade 2, 12 h later
    assert p.recovered == pytest.approx(1.0, abs=0.1)
    assert 0.2 < p.effective < 1.0
    assert 10 < p.effective_severe <= p.severe
    assert 0 < p.truncated <= 0.02


def test_the_note_names_the_patients_and_what_must_hold(mixed):
    note = mixed[0].notes()[0]
    p = mixed[0].positivity
    assert f"rests on {p.patients - p.rescued} of 600 patients who had none" in note
    assert "only if the record shows everything that decided on rescue" in note


def test_a_model_of_the_weighted_rows_tells_higher_risks(mixed):
    found, truth = mixed
    weighted = found.prepared
    rows = weighted.labels.rows
    share_severe = np.average(rows["severe"], weights=rows["weight"])
    assert share_severe == pytest.approx(value(found, WITHOUT))
    plain = at_infusion(ward(600)[0])
    learned = [fit_family(p.given(p.rows()), FAMILY, refits=0) for p in (plain, weighted)]
    risks = [model.predict(plain.table, (None,)).risk.mean() for model in learned]
    assert risks[1] > 1.3 * risks[0]
    assert learned[1].n_events == found.positivity.severe
    assert truth > risks[0]


def test_treatment_by_rule_is_refused_with_the_reason():
    found = without_rescue(at_infusion(ward(400, at_once=True)[0]), FAMILY, resamples=0)
    assert not found.positivity.estimable
    assert found.prepared is None
    assert np.isnan(value(found, WITHOUT))
    assert found.table.loc[found.table["estimate"] == WITHOUT, "reason"].str.contains("without rescue").all()
    assert "can't be estimated: 0 patients were severe without rescue before" in found.notes()[0]


def test_grade_2_that_is_always_treated_is_refused_though_there_are_events():
    """Twenty patients become severe without ever having had grade 2; those with grade 2 are all treated at once."""
    fever = (2.0, 1.0)
    courses = {f"s{i}": ([fever, (40.0 + i, 3.0)], []) for i in range(20)}
    courses |= {f"t{i}": ([fever, (24.0, 2.0), (48.0, 1.0)], [(24.2, TOCILIZUMAB)]) for i in range(40)}
    courses |= {f"m{i}": ([fever], []) for i in range(60)}
    found = without_rescue(at_infusion(graded(courses)), FAMILY, resamples=0)
    assert found.positivity.severe == 20
    assert found.positivity.untreated == 0.0
    assert any("treatment follows the grade by rule" in reason for reason in found.positivity.reasons)


def test_few_rescues_are_refused():
    fever = (2.0, 1.0)
    courses = {f"s{i}": ([fever, (40.0 + i, 3.0)], []) for i in range(12)}
    courses |= {f"t{i}": ([fever], [(24.2, TOCILIZUMAB)]) for i in range(9)}
    found = without_rescue(at_infusion(graded(courses)), FAMILY, resamples=0)
    assert found.positivity.reasons == ("9 patients were rescued, too few to say whom, and to matter much",)
    assert found.positivity.to_dict()["untreated"] is None


def test_a_family_without_rows_has_an_empty_table():
    found = without_rescue(at_infusion(ward(40)[0]), "heme_engager", resamples=0)
    assert found.table.empty
    assert tuple(found.table.columns) == COLUMNS
    assert not found.positivity.estimable


def test_only_the_family_asked_for_counts():
    cells, _ = ward(40)
    engager = graded({"g": ([(2.0, 1.0)], [])}, therapy=GLOFIT)
    both = type(cells)(
        courses=pd.concat([cells.courses, engager.courses], ignore_index=True),
        events=pd.concat([cells.events, engager.events], ignore_index=True),
        grades=pd.concat([cells.grades, engager.grades], ignore_index=True),
    )
    assert without_rescue(at_infusion(both), FAMILY, resamples=0).positivity.patients == 40


def test_the_heaviest_weights_of_each_landmark_are_cut():
    rows = pd.DataFrame(
        {"landmark_hours": [0.0] * 101 + [24.0] * 3, "horizon_hours": 336.0, "rest_of_window": True}
    )
    weight = np.array([*range(101), 5.0, 5.0, 900.0])
    stays = np.ones(104, dtype=bool)
    stays[-1] = False  # the rescued have no weight
    cut = truncated(np.where(stays, weight, 0.0), rows, stays)
    assert cut[:100].tolist() == list(range(100))
    assert cut[100] == 99.0  # the 99th percentile of 0..100
    assert cut[101:].tolist() == [5.0, 5.0, 0.0]


def test_pooled_rows_stand_beside_those_of_each_landmark(mixed):
    table = mixed[0].table
    assert tuple(table.columns) == COLUMNS
    assert set(table["estimate"]) == {AS_TREATED, CENSORED, WITHOUT}
    assert table["landmark_hours"].isna().sum() == 3 * 2  # all horizons, and the rest of the window
