"""The gate's rows one by one, and of batches with and without a fault only the honest ones pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crsrisk.errors import GateError, ModelError
from tests.unit.training.gate_batches import (
    compared,
    drifted,
    honest,
    leaking,
    learned,
    sides,
    wrong_labels,
    wrong_units,
)
from training.gate import judge
from training.gate_evidence import Leaks
from training.gate_pairs import Compared, from_training
from training.gate_rules import LIMITS, RULES, THRESHOLDS
from training.gate_verdict import Figure

NAME = "crsrisk-cd19_cart"
RESAMPLES = 120
SEEDS = range(6)
FEW_INPUTS = (0, 3, 4)
ROWS = [
    "provenance",
    "sample_size",
    "same_patients",
    "leaks",
    "discrimination",
    "calibration",
    "net_benefit",
    "worst_subgroup",
    "published_score",
    "batch",
    "care",
]


def verdict(facts, pairs):
    return judge(NAME, "2", facts, pairs, resamples=RESAMPLES)


@pytest.fixture(scope="module")
def improved():
    """A challenger with the inputs that the champion lacks, on a batch as honest as the first."""
    return compared(1, honest, champion_inputs=FEW_INPUTS)


@pytest.mark.parametrize(
    ("batch", "changes"),
    [(honest, {"old": 500, "new": 900}), (honest, {"champion_inputs": FEW_INPUTS})],
    ids=["more patients", "better inputs"],
)
def test_an_improved_challenger_is_promoted_in_five_of_six_samples_or_more(batch, changes):
    passed = [verdict(*compared(seed, batch, **changes)).passed for seed in SEEDS]
    assert sum(passed) >= 5


@pytest.mark.parametrize("batch", [wrong_labels, wrong_units, leaking, drifted])
def test_a_challenger_of_a_poisoned_or_drifted_batch_is_never_promoted(batch):
    for seed in SEEDS:
        failed = verdict(*compared(seed, batch)).failed
        assert failed, f"{batch.__name__}, seed {seed} passed"
        assert "batch" in failed


def test_a_challenger_that_lacks_the_champions_best_inputs_is_refused():
    found = [verdict(*compared(seed, honest, challenger_inputs=FEW_INPUTS)).failed for seed in SEEDS]
    assert all("discrimination" in failed for failed in found)
    assert sum("net_benefit" in failed for failed in found) >= 4


def test_every_row_is_there_with_figure_interval_limit_and_sentence(improved):
    found = verdict(*improved)
    assert [row.name for row in found.rows] == ROWS
    assert found.passed
    for name in ("discrimination", "calibration", "net_benefit", "worst_subgroup", "published_score"):
        decides = found.row(name).figure
        assert decides.low < decides.number < decides.high
    assert all(row.limit and row.sentence for row in found.rows)
    assert found.row("discrimination").figure.number > 0.02
    assert len(found.row("net_benefit").figures) == 2 * len(THRESHOLDS)  # all rows, and known patients


def test_wrong_labels_of_a_batch_that_the_champion_never_saw_show_in_known_patients_too():
    """On itself the batch looks no worse than for the champion; on known patients the challenger lost."""
    facts, pairs = compared(2, wrong_labels)
    known = pairs.rows[pairs.rows["group"] == "known"]
    apart = verdict(facts, replace(pairs, rows=known)).row("discrimination").figure.number
    assert apart < verdict(facts, replace(pairs, rows=pairs.rows)).row("discrimination").figures[0].number


def test_a_refusal_names_the_failing_rows_and_carries_all_of_them():
    error = verdict(*compared(0, wrong_labels)).refusal()
    assert isinstance(error, GateError)
    assert isinstance(error, ModelError)
    assert str(error).startswith("crsrisk-cd19_cart version 2 is not promoted; the gate refuses it:\n  - ")
    assert "\n  - batch: auroc of the champion is " in str(error)
    assert [row["row"] for row in error.verdict["rows"]] == ROWS
    assert error.verdict["passed"] is False


def test_few_events_are_named_with_what_is_needed(improved):
    _, pairs = improved
    facts = learned_with(strategy="offset", patients=59, events=12)
    row = verdict(facts, pairs).row("sample_size")
    assert not row.passed
    assert row.sentence == (
        "12 of 59 patients had severe CRS; a model like this one needs 30 with and 30 without"
    )
    assert row.figures[-1].name == "patients that the criteria of Riley ask for"


@pytest.mark.parametrize(
    ("strategy", "patients", "events", "passes"),
    [
        ("own", 500, 100, True),
        ("own", 500, 99, False),
        ("own", 150, 100, False),  # the rarer outcome counts
        ("shared", 500, 30, True),
        ("shared", 500, 29, False),
    ],
)
def test_events_must_suffice_for_the_strategy(improved, strategy, patients, events, passes):
    _, pairs = improved
    facts = learned_with(strategy=strategy, patients=patients, events=events)
    assert verdict(facts, pairs).row("sample_size").passed is passes


def test_the_limits_of_events_are_those_of_training():
    from training import fit

    assert LIMITS["sample_size", "own_events"] == fit.OWN_EVENTS
    assert LIMITS["sample_size", "shared_events"] == fit.SHARED_EVENTS


def learned_with(**changes):
    facts = {"strategy": "own", "patients": 1000, "events": 120, "predictors": 8, "leaks": Leaks(0, 0)}
    from training.gate import Learned

    return Learned(**(facts | changes))


@pytest.mark.parametrize(
    ("leaks", "elsewhere", "passes", "says"),
    [
        (Leaks(0, 0), None, True, "training cohort: no leak found"),
        (Leaks(1, 0), None, False, "training cohort: 1 certain leak, see: crsrisk check"),
        (Leaks(0, 2), None, False, "training cohort: 2 suspected leaks, see: crsrisk check"),
        (
            Leaks(0, 2),
            Leaks(0, 0),
            True,
            "training cohort: 2 suspected leaks; validation cohort: no leak found",
        ),
        (
            Leaks(1, 0),
            Leaks(0, 0),
            False,
            "training cohort: 1 certain leak; validation cohort: no leak found, see: crsrisk check",
        ),
        (
            Leaks(0, 0),
            Leaks(1, 1),
            False,
            "training cohort: no leak found; validation cohort: 1 certain leak and 1 suspected leak, see: crsrisk "
            "check",
        ),
        (None, None, False, "no leak report was kept with this version; train it again"),
    ],
)
def test_a_leak_refuses_where_it_makes_the_comparison_wrong(improved, leaks, elsewhere, passes, says):
    _, pairs = improved
    row = verdict(learned_with(leaks=leaks, leaks_elsewhere=elsewhere), pairs).row("leaks")
    assert (row.passed, row.sentence) == (passes, says)


def test_risks_too_good_to_be_a_prediction_are_refused(improved):
    _, pairs = improved
    rng = np.random.default_rng(0)
    rows = pairs.rows
    seen = np.where(rows["severe"] > 0, 0.6, 0.02) + rng.uniform(0, 0.05, len(rows))
    row = verdict(learned_with(), replace(pairs, rows=rows.assign(challenger=seen))).row("leaks")
    assert not row.passed
    assert "too good to be a prediction" in row.sentence


def test_a_model_of_simulated_patients_never_follows_one_of_real_ones(improved):
    _, pairs = improved
    refused = verdict(learned_with(simulated=True, champion_real=True), pairs).row("provenance")
    assert not refused.passed
    assert verdict(learned_with(simulated=True), pairs).row("provenance").passed


def test_a_challenger_behind_the_best_score_is_refused_even_where_it_beats_the_champion(improved):
    _, pairs = improved
    rows = pairs.rows.assign(champion=pairs.rows["prior"], m_easix=pairs.rows["challenger"] ** 0.9)
    better = pairs.rows["severe"] * 0.05 + rows["m_easix"]
    found = verdict(
        learned_with(),
        replace(pairs, rows=rows.assign(m_easix=better.clip(0, 0.99)), scores=("easix", "m_easix")),
    )
    assert found.row("discrimination").passed
    row = found.row("published_score")
    assert not row.passed
    assert "of m_easix, the best of easix, m_easix" in row.sentence


@pytest.mark.parametrize(
    ("shift", "says"), [(1.0, "calibration in the large"), (-1.0, "calibration in the large")]
)
def test_risks_at_a_wrong_level_are_refused(improved, shift, says):
    from training.offset import logit, sigmoid

    _, pairs = improved
    moved = sigmoid(logit(pairs.rows["challenger"].to_numpy()) + shift)
    row = verdict(learned_with(), replace(pairs, rows=pairs.rows.assign(challenger=moved))).row("calibration")
    assert not row.passed
    assert says in row.sentence


def test_too_strong_risks_are_refused_for_their_slope(improved):
    from training.offset import logit, sigmoid

    _, pairs = improved
    odds = logit(pairs.rows["challenger"].to_numpy())
    strong = sigmoid((odds - odds.mean()) * 2.5 + odds.mean() - 1.0)
    row = verdict(learned_with(), replace(pairs, rows=pairs.rows.assign(challenger=strong))).row(
        "calibration"
    )
    assert not row.passed
    assert "slope 0.4" in row.sentence


def test_a_subgroup_that_lost_is_named_though_the_whole_did_not_lose(improved):
    _, pairs = improved
    rows = pairs.rows
    rng = np.random.default_rng(3)
    hurt = (rows["sex"] == "male").to_numpy()
    risk = rows["challenger"].to_numpy().copy()
    champion = np.where(hurt, risk, rows["champion"])
    risk[hurt] = rng.permutation(risk[hurt])
    row = verdict(learned_with(), replace(pairs, rows=rows.assign(challenger=risk, champion=champion))).row(
        "worst_subgroup"
    )
    assert not row.passed
    assert row.sentence.startswith("sex male: AUROC differs from that of version 1 by -0.")
    assert "sex female" not in row.sentence


def test_without_enough_patients_of_both_nothing_is_said_about_who_is_better():
    facts, pairs = compared(0, honest, old=100, new=60)
    found = verdict(facts, pairs)
    assert [row.name for row in found.rows] == ["provenance", "sample_size", "same_patients", "leaks"]
    assert "same_patients" in found.failed
    assert "30 with and 30 without are needed among those not new: train with more" in str(found.refusal())


def test_a_first_champion_is_compared_with_the_published_base_rate():
    _, challenger = sides(0, honest)
    pairs = from_training(challenger, None)
    found = verdict(learned(challenger), pairs)
    assert found.passed
    assert "of the published base rate" in found.row("discrimination").sentence
    assert found.row("batch").sentence.endswith("nothing to compare")


def test_rows_of_known_patients_use_out_of_fold_risks_and_those_of_new_ones_what_the_champion_said():
    champion, challenger = sides(0, honest, old=60, new=40)
    pairs = from_training(challenger, champion)
    rows = pairs.rows.set_index("course")
    theirs = champion.evidence.set_index("course")["crsrisk"]
    asked = challenger.on_new.set_index("course")["risk"]
    known, new = (rows[rows["group"] == group] for group in ("known", "new"))
    assert (len(known), len(new)) == (60, 40)
    pd.testing.assert_series_equal(known["champion"], theirs.loc[known.index], check_names=False)
    pd.testing.assert_series_equal(new["champion"], asked.loc[new.index], check_names=False)
    mine = challenger.evidence.set_index("course")["crsrisk"]
    pd.testing.assert_series_equal(rows["challenger"], mine.loc[rows.index], check_names=False)


def test_new_patients_of_whom_this_champion_said_nothing_are_not_left_aside():
    """Another version became champion since: on the known patients alone a poisoned batch would not show."""
    champion, challenger = sides(0, wrong_labels)
    pairs = from_training(challenger, replace(champion, digest="sha256:promoted since"))
    row = verdict(learned_with(), pairs).row("same_patients")
    assert not row.passed
    assert "what it says of the 500 patients who are new to it is not known; train again" in row.sentence


def test_what_another_champion_said_is_not_used_where_all_patients_are_known():
    champion, challenger = sides(0, honest, old=60, new=40)
    since = replace(
        champion,
        digest="sha256:promoted since",
        evidence=challenger.evidence,
        seen=challenger.seen,
    )
    pairs = from_training(challenger, since)
    assert set(pairs.rows["group"]) == {"known"}
    assert len(pairs.rows) == 100
    assert (pairs.rows["champion"] == pairs.rows["challenger"]).all()


@pytest.mark.parametrize("batch", [honest, leaking, wrong_labels])
def test_a_batch_of_new_patients_alone_is_not_its_own_judge(batch):
    """Trained on the batch alone, the challenger would look better on it than the champion."""
    champion, challenger = sides(0, batch)
    known = challenger.evidence["patient"].isin(champion.seen)
    alone = replace(challenger, evidence=challenger.evidence[~known])
    found = verdict(learned_with(), from_training(alone, champion))
    assert "same_patients" in found.failed
    assert "train with more of the champion's patients, or give a validation cohort" in str(found.refusal())


def test_known_patients_with_other_labels_than_before_are_refused(improved):
    facts, pairs = improved
    known = pairs.rows.index[pairs.rows["severe_then"] == 1]
    few, many = (pairs.rows.copy() for _ in range(2))
    few.loc[known[:3], "severe"] = 0.0
    many.loc[known[:20], "severe"] = 0.0
    assert verdict(facts, replace(pairs, rows=few)).row("batch").passed
    row = verdict(facts, replace(pairs, rows=many)).row("batch")
    assert not row.passed
    assert row.sentence.startswith(
        f"20 known patients have another label than before, where {len(known)} had severe CRS"
    )


def test_rows_that_only_the_champion_was_judged_on_are_told():
    champion, challenger = sides(0, honest)
    fewer = replace(challenger, evidence=challenger.evidence.iloc[10:])
    told = verdict(learned_with(), from_training(fewer, champion)).row("same_patients").sentence
    assert "left out: 10 rows that the champion was judged on and this training does not have" in told


@pytest.mark.parametrize(
    ("side", "says"),
    [
        ("challenger", "no out-of-fold risks were kept with this version; train it again"),
        ("champion", "which patients version 1 learned from is not known; give a validation cohort"),
    ],
)
def test_without_evidence_of_either_there_is_no_comparison(side, says):
    champion, challenger = sides(0, honest, old=60, new=40)
    bare = {"champion": champion, "challenger": challenger}
    bare[side] = replace(bare[side], evidence=None, seen=None)
    pairs = from_training(bare["challenger"], bare["champion"])
    row = verdict(learned_with(), pairs).row("same_patients")
    assert not row.passed
    assert says in row.sentence


def test_another_treatment_of_crs_is_refused_unless_todays_patients_are_judged(improved):
    _, pairs = improved
    change = "Tocilizumab in CRS below grade 2: 30.0 first uses per 100 patient-days, against 6.0."
    row = verdict(learned_with(care=change), pairs).row("care")
    assert not row.passed
    assert row.sentence == f"{change} Judge on a validation cohort of today's patients."
    assert verdict(learned_with(care=change, leaks_elsewhere=Leaks(0, 0)), pairs).row("care").passed
    assert verdict(learned_with(), pairs).row("care").sentence == "no change of treatment policy was found"


def test_a_therapy_that_is_new_to_the_champion_is_no_drift():
    """Its published level may be far off; that is what the challenger learned."""
    facts, pairs = compared(0, drifted)
    new = pairs.rows["group"] == "new"
    rows = pairs.rows.assign(therapy=np.where(new, "brexu-cel_ALL", pairs.rows["therapy"]))
    row = verdict(facts, replace(pairs, rows=rows)).row("batch")
    assert row.passed
    assert row.sentence.startswith(
        "fewer than 10 of an outcome among known or new patients of the same therapies"
    )


def test_a_problem_is_told_as_it_is():
    found = verdict(learned_with(), Compared.impossible("version 1", "why not"))
    assert found.row("same_patients").sentence == "why not"


def test_each_limit_has_a_row_of_the_gate_a_unit_and_a_reason():
    assert {rule.row for rule in RULES} < set(ROWS)
    assert len(LIMITS) == len(RULES)
    assert all(rule.unit and rule.why for rule in RULES)


def test_a_figure_without_interval_says_so():
    assert str(Figure("auroc", 0.7)) == "0.700 (no interval)"
    assert Figure("auroc", 0.7).to_dict() == {"figure": "auroc", "among": "all", "number": 0.7}
