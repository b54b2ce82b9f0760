import copy
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crsrisk.errors import CrsRiskError, ModelError, TimeError, UnknownTherapyError
from crsrisk.records import course_from_records
from crsrisk.therapies import therapies, therapy_from_table
from serving.estimate import Explained, Share, check
from serving.problems import RequestError
from serving.schema import RiskAnswer
from serving.scorer import SCORE_COLUMNS, Scorer, score_patient
from tests.toy_models import loaded, offset_model, tree_model
from training.applicability import Applicability, Known

INFUSION = datetime(2026, 11, 1, 9, tzinfo=UTC)
CARE = (
    ("temperature", 38.6, "Cel"),
    ("heart_rate", 110, "/min"),
    ("sbp", 118, "mm[Hg]"),
    ("crp", 82.0, "mg/L"),
    ("ferritin", 5400, "ng/mL"),
    ("ldh", 300, "U/L"),
    ("creatinine", 1.0, "mg/dL"),
    ("platelets", 150, "10*3/uL"),
)


def at(hours):
    return (INFUSION + timedelta(hours=hours)).isoformat()


def seen(hours, *names, **values):
    return [
        {"variable": v, "value": values.get(v, x), "unit": unit, "time": at(hours)}
        for v, x, unit in CARE
        if not names or v in names
    ]


PRESSOR = {"variable": "norepinephrine_rate", "value": 0.1, "unit": "ug/kg/min", "time": at(20)}


def body(hours=36.0, observations=None, **course):
    known = {"course_id": "c1", "patient_id": "p1", "therapy": "axi-cel_LBCL3L", "index_time": at(0)}
    return {
        "course": known | {"age": 61, "sex": "female"} | course,
        "as_of": at(hours),
        "observations": seen(-24) + seen(12) + seen(30) if observations is None else observations,
    }


@pytest.fixture(scope="module")
def scorer():
    return Scorer(loaded(tree_model(), offset_model()))


def test_the_answer_follows_the_contract(scorer):
    answer = scorer.score(body())
    RiskAnswer.model_validate_json(json.dumps(answer, allow_nan=False))
    assert answer["contract"] == 1
    assert answer["dose"] == 1
    assert answer["landmark_hours"] == 36.0
    assert answer["family"] == "cd19_cart"
    assert answer["therapy_seen"] is True
    assert answer["model"] == {"name": "crsrisk-cd19_cart", "version": "1", "digest": "sha256:cd19_cart"}
    assert [r["horizon_hours"] for r in answer["risks"]] == [24.0, 72.0, 300.0]
    assert answer["grade"] == {"now": 1, "state": "graded", "rule": "fever"}
    assert answer["abstained"] is False
    assert answer["reason"] is None
    assert answer["notice"].startswith("Research estimate")


def test_risks_rise_with_the_horizon_and_lie_inside_their_interval(scorer):
    risks = scorer.score(body())["risks"]
    probabilities = [r["probability"] for r in risks]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < probabilities[-1]
    assert all(0 < r["low"] < r["probability"] < r["high"] < 1 for r in risks)


def test_base_contributions_and_calibration_reproduce_the_risk(scorer):
    answer = scorer.score(body())
    explanation = answer["explanation"]
    assert explanation["horizon_hours"] == 72.0
    margin = explanation["base"] + sum(c["log_odds"] for c in explanation["contributions"])
    log_odds = explanation["calibration"]["intercept"] + explanation["calibration"]["slope"] * margin
    assert explanation["calibration"] == {"intercept": -0.2, "slope": 0.8}
    assert log_odds == pytest.approx(explanation["log_odds"], abs=1e-9)
    assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(answer["risks"][1]["probability"], abs=1e-9)


def test_contributions_carry_value_unit_and_time_largest_first(scorer):
    contributions = scorer.score(body())["explanation"]["contributions"]
    sizes = [abs(c["log_odds"]) for c in contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size > 0 for size in sizes)
    by_name = {c["feature"]: c for c in contributions}
    highest = by_name["ferritin_max_since_index"]
    assert (highest["value"], highest["unit"], highest["time"]) == (5400.0, "ng/mL", at(12))
    never = [c for c in contributions if c["value"] is None]
    assert never
    assert all(c["time"] is None for c in never)


def test_a_contribution_that_does_not_add_up_withholds_the_answer():
    share = Share("crp_max_since_index", 82.0, 12.0, 0.7)
    good = Explained(72.0, -2.4, (share,), 0.1, 0.9, 0.1 + 0.9 * (-2.4 + 0.7))
    risk = 1 / (1 + math.exp(-good.log_odds))
    check(good, risk)
    with pytest.raises(ModelError, match="does not add up"):
        check(good, risk + 2e-9)
    with pytest.raises(ModelError, match="does not add up"):
        check(Explained(72.0, -2.4, (share._replace(log_odds=0.7 + 3e-9),), 0.1, 0.9, good.log_odds), risk)


def test_nothing_later_than_as_of_changes_the_answer(scorer):
    now = scorer.score(body(24.0, seen(-24) + seen(12)))
    later = scorer.score(body(24.0, seen(-24) + seen(12) + seen(30, temperature=41.0, crp=400.0)))
    assert later["risks"] == now["risks"]
    assert later["quality"]["used"] == now["quality"]["used"]
    reasons = [one["reason"] for one in later["quality"]["rejected"]]
    assert reasons == ["FUTURE: later than as_of"] * 8


def test_the_quality_names_what_is_missing_stale_and_rejected(scorer):
    observations = [*seen(2, "temperature", "crp", "ldh"), *seen(34, "temperature")]
    observations += [{"variable": "crp", "value": 8.2, "time": at(30)}]
    observations += [{"variable": "ferritin", "value": 5400, "unit": "stone", "time": at(30)}]
    quality = scorer.score(body(36.0, observations))["quality"]
    assert quality["used"] == 4
    assert {"ferritin", "platelets", "creatinine"} <= set(quality["missing"])
    assert not {"temperature", "crp", "ldh"} & set(quality["missing"])
    assert {"crp", "ldh"} <= set(quality["stale"])
    assert "temperature" not in quality["stale"]
    assert [one["index"] for one in quality["rejected"]] == [4, 5]
    assert quality["rejected"][0]["reason"].startswith("MISSING_UNIT")
    assert quality["rejected"][1]["reason"].startswith("UNKNOWN_UNIT")


def test_units_and_codes_of_the_site_give_the_same_risk(scorer):
    """CRP in mg/dL and platelets in 10*4/uL as Japanese laboratories report them, ferritin by its LOINC code."""
    there = {"crp": (8.2, "mg/dL"), "platelets": (15.0, "10*4/uL"), "temperature": (101.48, "[degF]")}
    observations = copy.deepcopy(body()["observations"])
    for one in observations:
        if one["variable"] in there:
            one["value"], one["unit"] = there[one["variable"]]
        if one["variable"] == "ferritin":
            del one["variable"]
            one |= {"system": "http://loinc.org", "code": "2276-4"}
    risks = [r["probability"] for r in scorer.score(body(36.0, observations))["risks"]]
    assert risks == pytest.approx([r["probability"] for r in scorer.score(body())["risks"]], abs=1e-12)


def test_published_scores_use_the_latest_values(scorer):
    observations = seen(-24) + seen(12, "ldh", ldh=600)
    scores = {s["name"]: s["value"] for s in scorer.score(body(36.0, observations))["scores"]}
    assert scores == {"EASIX": 600 * 1.0 / 150, "s-EASIX": 600 / 150, "m-EASIX": 600 * 8.2 / 150}


def test_a_score_without_its_inputs_is_left_out(scorer):
    observations = seen(12, "temperature", "ldh", "platelets")
    assert [s["name"] for s in scorer.score(body(36.0, observations))["scores"]] == ["s-EASIX"]


# ---- when there is no estimate


def abstention(answer):
    RiskAnswer.model_validate_json(json.dumps(answer, allow_nan=False))
    assert answer["abstained"] is True
    assert answer["risks"] == []
    assert answer["explanation"] is None
    return answer["reason"].split(":")[0]


@pytest.mark.parametrize(
    "observations",
    [
        [],
        [{"variable": "weight", "value": 70, "unit": "kg", "time": at(1)}],
        [{"variable": "crp", "value": 8.2, "time": at(1)}],
    ],
    ids=["nothing", "demographics alone", "nothing usable"],
)
@pytest.mark.parametrize("therapy", ["axi-cel_LBCL3L", "ide-cel_MM4L"])
def test_without_a_measurement_the_base_rate_is_not_dressed_up_as_a_prediction(scorer, therapy, observations):
    assert abstention(scorer.score(body(36.0, observations, therapy=therapy))) == "NO_MEASUREMENT"


def test_a_family_of_few_events_answers_the_base_rate_and_says_so(scorer):
    answers = [scorer.score(body(24.0, seen(12, crp=c), therapy="ide-cel_MM4L")) for c in (5.0, 300.0)]
    assert answers[0]["risks"] == answers[1]["risks"]
    assert answers[0]["explanation"]["contributions"] == []
    assert answers[0]["notes"][0].startswith(
        "Insufficient events: 3 severe in 40 patients carry no own model"
    )


def test_a_family_without_a_model_abstains(scorer):
    answer = scorer.score(body(therapy="tec_MM"))
    assert abstention(answer) == "NO_MODEL"
    assert answer["model"] is None


def test_a_patient_who_was_severe_is_shown_as_such_and_gets_no_risk(scorer):
    observations = [*seen(12), *seen(19), PRESSOR]
    now = scorer.score(body(24.0, observations))
    assert abstention(now) == "ALREADY_SEVERE"
    assert now["grade"] == {"now": 3, "state": "graded", "rule": "one_vasopressor"}
    stopped = {"variable": "norepinephrine_rate", "value": 0, "unit": "ug/kg/min", "time": at(23)}
    after = scorer.score(body(60.0, [*observations, stopped, *seen(59)]))
    assert after["grade"]["now"] < 3
    assert abstention(after) == "ALREADY_SEVERE"


def test_where_severe_crs_can_not_be_ruled_out_there_is_no_risk(scorer):
    """A vasopressor without any fever: ASTCT gives no grade, and the patient may be severe."""
    observations = [*seen(2, "temperature", temperature=36.8), PRESSOR]
    answer = scorer.score(body(24.0, observations))
    assert abstention(answer) == "MAYBE_SEVERE"
    assert answer["grade"] == {"now": None, "state": "not_gradable", "rule": "signs_without_fever"}


def test_without_vital_signs_there_is_a_risk_and_no_grade(scorer):
    answer = scorer.score(body(24.0, seen(12, "crp", "ferritin")))
    assert answer["abstained"] is False
    assert answer["grade"] == {"now": None, "state": "not_gradable", "rule": "nothing_recorded"}


def test_after_the_window_there_is_no_risk(scorer):
    assert abstention(scorer.score(body(336.0))) == "OUTSIDE_WINDOW"
    assert [r["horizon_hours"] for r in scorer.score(body(330.0))["risks"]] == [6.0]


def test_the_explanation_is_at_the_longest_horizon_up_to_72_hours(scorer):
    assert scorer.score(body(290.0))["explanation"]["horizon_hours"] == 46.0


def test_after_death_there_is_no_risk(scorer):
    dead = {"variable": "death", "value": 1, "unit": "1", "time": at(30)}
    assert abstention(scorer.score(body(36.0, [*seen(12), dead]))) == "DIED"


def test_a_moment_before_the_index_time_is_refused(scorer):
    with pytest.raises(TimeError, match="as_of lies before index_time"):
        scorer.score(body(-1.0))


def test_at_the_index_time_the_baseline_is_used(scorer):
    answer = scorer.score(body(0.0, seen(-24)))
    assert answer["landmark_hours"] == 0.0
    assert [r["horizon_hours"] for r in answer["risks"]] == [24.0, 72.0, 336.0]


# ---- outside the training data

NAMES = tree_model().feature_names
TRAINED = Applicability(
    known=(Known(0.0, 0.0, 0.01), Known(24.0, 0.95, 0.98)),
    ranges=dict.fromkeys(NAMES, (0.0, 41.0)) | {"crp_max_since_index": (0.0, 350.0)},
)


def trained(**fields):
    return Scorer(loaded(replace(tree_model(), **({"applicability": TRAINED} | fields))))


def registered_in_solid(class_):
    table = {"name": "New", "class": class_, "targets": ["MAGE-A4"], "setting": "solid", "source": "protocol"}
    return therapy_from_table(f"new_{class_}", table)


@pytest.mark.parametrize("class_", ["cart", "engineered_t"])
@pytest.mark.parametrize("make", [tree_model, offset_model])
def test_a_class_that_training_never_saw_always_abstains_and_states_its_published_rate(make, class_):
    model = replace(make("solid_tumor"), therapies_seen={"tarla_SCLC3L": 90})
    new = registered_in_solid(class_)
    catalogue = [t.key for t in therapies().values() if t.family == "solid_tumor" and t.class_ == class_]
    assert catalogue
    for key in (new.key, *catalogue):
        for observations in (None, []):
            answer = Scorer(loaded(model), therapies={new.key: new}).score(
                body(therapy=key, observations=observations)
            )
            assert abstention(answer) == "UNSEEN_CLASS"
            assert class_ in answer["reason"]
            assert answer["therapy_seen"] is False
            assert answer["notes"][0].startswith("Published rate of severe CRS (")


def test_a_new_therapy_of_a_class_that_training_saw_is_answered_and_flagged():
    new = registered_in_solid("engager")
    model = replace(tree_model("solid_tumor"), therapies_seen={"tarla_SCLC3L": 90})
    answer = Scorer(loaded(model), therapies={new.key: new}).score(body(therapy=new.key))
    assert answer["abstained"] is False
    assert answer["therapy_seen"] is False
    assert (
        "The model saw no patient with this therapy; the interval is wide for that reason." in answer["notes"]
    )


def test_with_too_few_inputs_there_is_no_risk_and_missing_names_what_would_help():
    answer = trained().score(body(observations=seen(30, "platelets")))
    assert abstention(answer) == "TOO_FEW_INPUTS"
    assert {"temperature", "crp", "ferritin"} <= set(answer["quality"]["missing"])


def test_few_inputs_are_answered_and_flagged():
    few = trained().score(body(observations=seen(30, "crp", "ferritin", "temperature")))
    whole = replace(TRAINED, known=(Known(0.0, 0.0, 0.2),))
    enough = trained(applicability=whole).score(body(observations=seen(30, "crp", "ferritin", "temperature")))
    assert few["risks"] == enough["risks"]
    flagged = [note for note in few["notes"] if note.startswith("Few inputs: ")]
    assert len(flagged) == 1
    assert not [note for note in enough["notes"] if note.startswith("Few inputs: ")]


def test_little_is_enough_where_training_patients_had_no_more():
    """At the infusion hardly anything is known of anybody."""
    baseline = seen(-24, "crp", "ferritin", "ldh")
    assert trained().score(body(0.0, baseline))["abstained"] is False
    assert abstention(trained().score(body(24.0, baseline))) == "TOO_FEW_INPUTS"


def test_an_implausible_value_unlike_all_training_values_is_named_and_not_used():
    answer = trained().score(body(observations=seen(30, temperature=43.5, crp=82.0)))
    assert abstention(answer) == "IMPLAUSIBLE_INPUT"
    assert answer["reason"].startswith("IMPLAUSIBLE_INPUT: temperature: ")
    assert "43.5" not in answer["reason"]


def test_an_implausible_value_such_as_training_patients_had_is_answered_and_named():
    wide = dict.fromkeys(NAMES, (0.0, 1e6))
    answer = trained(applicability=replace(TRAINED, ranges=wide)).score(
        body(observations=seen(30, temperature=43.5))
    )
    assert answer["abstained"] is False
    assert "Implausible values: temperature. Check them; the estimate uses them." in answer["notes"]


def test_a_plausible_value_beyond_those_of_training_is_answered():
    """Nobody in training was that ill: trees answer as for the illest whom they saw."""
    narrow = dict.fromkeys(NAMES, (0.0, 1.0))
    answer = trained(applicability=replace(TRAINED, ranges=narrow)).score(body())
    assert answer["abstained"] is False
    assert not [note for note in answer["notes"] if note.startswith("Implausible")]


def test_a_base_rate_depends_on_no_value_and_so_on_no_implausible_one():
    model = Scorer(loaded(offset_model()))
    answer = model.score(body(24.0, seen(12, temperature=43.5), therapy="ide-cel_MM4L"))
    assert answer["abstained"] is False


# ---- therapies


def test_a_therapy_outside_the_catalogue_must_be_registered(scorer):
    with pytest.raises(UnknownTherapyError):
        scorer.score(body(therapy="new_cart"))


def test_a_registered_therapy_uses_its_family_and_is_marked_as_unseen():
    table = {"name": "New", "class": "cart", "targets": ["CD22"], "setting": "heme", "source": "protocol"}
    registered = {"new_cart": therapy_from_table("new_cart", table)}
    answer = Scorer(loaded(tree_model()), therapies=registered).score(body(therapy="new_cart"))
    assert answer["family"] == "cd19_cart"
    assert answer["therapy_seen"] is False
    known = Scorer(loaded(tree_model())).score(body())
    width = [[r["high"] - r["low"] for r in a["risks"]] for a in (answer, known)]
    assert width[0][-1] > width[1][-1]


def test_a_target_without_a_family_abstains_and_states_the_rate_of_its_class():
    table = {"name": "New", "class": "cart", "targets": ["CD7"], "setting": "heme", "source": "protocol"}
    registered = {"cd7": therapy_from_table("cd7", table)}
    answer = Scorer(loaded(tree_model()), therapies=registered).score(body(therapy="cd7"))
    assert abstention(answer) == "NO_FAMILY"
    assert answer["family"] is None
    assert answer["notes"][0].startswith("Published rate of severe CRS (class): ")


def test_doses_of_an_engager_open_windows_of_their_own():
    given = [
        {"variable": "bsab_dose", "value": v, "unit": "mg", "time": at(h)}
        for h, v in ((0, 1.0), (168, 2.0), (336, 30.0))
    ]
    scorer = Scorer(loaded(offset_model("heme_engager")))
    answer = scorer.score(body(192.0, [*given[:2], *seen(180)], therapy="glofit_DLBCL"))
    assert (answer["dose"], answer["landmark_hours"]) == (2, 24.0)


# ---- bodies in Python


def test_a_body_with_datetimes_gives_the_same_numbers():
    sent = body()
    sent["as_of"] = datetime.fromisoformat(sent["as_of"])
    answer = score_patient(loaded(tree_model()), sent)
    assert answer["risks"] == Scorer(loaded(tree_model())).score(body())["risks"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_body_with_a_number_that_is_not_finite_is_an_error_of_ours(scorer, number):
    sent = body()
    sent["observations"][0]["value"] = number
    with pytest.raises(CrsRiskError):
        scorer.score(sent)


def test_a_wrong_body_names_the_field(scorer):
    with pytest.raises(RequestError, match="/course/age") as caught:
        scorer.score(body(age="61"))
    assert "61" not in str(caught.value)


def test_an_error_names_no_value(scorer):
    with pytest.raises(RequestError) as caught:
        scorer.score(body(sex="CANARY"))
    assert "CANARY" not in str(caught.value)


# ---- whole cohorts


def cohort_of(*bodies):
    return [course_from_records(b["course"], b["observations"], None)[0] for b in bodies]


def test_a_cohort_gets_the_numbers_of_its_patients_one_by_one(scorer):
    [cohort] = cohort_of(body())
    table = scorer.score_cohort(cohort, landmarks=(24.0, 36.0))
    assert list(table.columns) == list(SCORE_COLUMNS)
    mine = table[table["landmark_hours"] == 36.0]
    answer = scorer.score(body(36.0))
    for column, key in (
        ("risk", "probability"),
        ("low", "low"),
        ("high", "high"),
        ("horizon_hours", "horizon_hours"),
    ):
        assert mine[column].tolist() == [r[key] for r in answer["risks"]]
    top = json.loads(mine["contributions"].iloc[1])
    expected = answer["explanation"]["contributions"][:10]
    assert [(c["feature"], c["value"], c["log_odds"]) for c in top] == [
        (c["feature"], c["value"], c["log_odds"]) for c in expected
    ]


def test_a_row_that_abstains_stands_once_with_its_reason(scorer):
    [cohort] = cohort_of(body(observations=[]))
    table = scorer.score_cohort(cohort, landmarks=(0.0, 24.0))
    assert table["abstained"].tolist() == [True, True]
    assert table["reason"].str.startswith("NO_MEASUREMENT").all()
    assert table["risk"].isna().all()


def test_after_the_end_of_follow_up_there_is_no_risk(scorer):
    sent = body(follow_up_hours=30.0)
    [cohort] = cohort_of(sent)
    table = scorer.score_cohort(cohort, landmarks=(24.0, 36.0))
    assert table.groupby("landmark_hours")["abstained"].first().tolist() == [False, True]
    assert table["reason"].iloc[-1].startswith("NOT_FOLLOWED")


def test_a_cohort_without_courses_gives_an_empty_table(scorer):
    [cohort] = cohort_of(body())
    table = scorer.score_cohort(cohort.subset([]), landmarks=(24.0,))
    assert table.shape == (0, len(SCORE_COLUMNS))


def test_the_scorer_lists_what_answers(scorer):
    assert [(m["name"], m["strategy"], m["n_events"]) for m in scorer.models()][1][:2] == (
        "crsrisk-cd19_cart",
        "own",
    )
    assert scorer.models()[0]["strategy"] == "offset"
