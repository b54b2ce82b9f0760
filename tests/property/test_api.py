"""Whatever is sent, the service answers with a documented status, and never with what was sent."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crsrisk.analytes import analytes
from crsrisk.therapies import therapies
from crsrisk.units import accepted_units
from serving.api import create_app
from serving.schema import EXAMPLE, Problem, RiskAnswer
from serving.scorer import Scorer
from tests.toy_models import loaded, offset_model, tree_model

INFUSION = datetime(2026, 11, 1, 9, tzinfo=UTC)
JSON = {"content-type": "application/json"}
DOCUMENTED = {200, 400, 413, 415, 422}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def service():
    scorer = Scorer(loaded(tree_model(), offset_model(), offset_model("heme_engager")))
    return TestClient(create_app(scorer), raise_server_exceptions=True)


def examine(response):
    """A documented answer: the contract's schema for 200, problem details for everything else."""
    assert response.status_code in DOCUMENTED
    found = json.loads(response.content, parse_constant=refuse)
    if response.status_code == 200:
        RiskAnswer.model_validate(found | {"as_of": datetime.fromisoformat(found["as_of"])}, strict=False)
    else:
        assert response.headers["content-type"] == "application/problem+json"
        Problem.model_validate(found)
    return found


def refuse(constant):
    raise AssertionError(f"{constant} in an answer")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)

times = st.integers(-72 * 60, 20 * 24 * 60).map(lambda m: (INFUSION + timedelta(minutes=m)).isoformat())
odd_times = st.sampled_from(
    [
        "2026-11-01T09:00:00",
        "2026-11-01",
        "0",
        "now",
        "2026-02-30T00:00:00Z",
        "9999-12-31T23:59:59Z",
        0,
        1.5,
        None,
    ]
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20)
texts = st.sampled_from(["<0.5", ">1000", "1,200", "１２", "5+", "", "abc", "1e400", "-"])
units = st.sampled_from(sorted({u for key in analytes() for u in accepted_units(key)})) | st.text(max_size=8)
variables = st.sampled_from(sorted(analytes())) | st.text(max_size=10)


def entries(time):
    named = {"variable": variables} | {"value": numbers | texts, "time": time}
    more = {"unit": units, "available_time": time, "comparator": st.sampled_from(["<", ">", "<=", ">="])}
    return st.fixed_dictionaries(named, optional=more)


def courses(time):
    return st.fixed_dictionaries(
        {
            "course_id": st.just("c1"),
            "patient_id": st.just("p1"),
            "therapy": st.sampled_from(sorted(therapies())),
            "index_time": time,
        },
        optional={
            "age": st.floats(-5, 140),
            "sex": st.sampled_from(["female", "male", "other", "unknown", "F"]),
            "weight": st.floats(0, 600),
        },
    )


def requests(time):
    return st.fixed_dictionaries(
        {"course": courses(time), "as_of": time, "observations": st.lists(entries(time), max_size=8)}
    )


@QUICK
@given(sent=requests(times))
def test_well_formed_requests_are_answered_or_refused_with_a_reason(service, sent):
    found = examine(service.post("/v1/risk", json=sent))
    if "risks" in found and not found["abstained"]:
        probabilities = [r["probability"] for r in found["risks"]]
        assert probabilities == sorted(probabilities)
        explanation = found["explanation"]
        margin = explanation["base"] + math.fsum(c["log_odds"] for c in explanation["contributions"])
        log_odds = explanation["calibration"]["intercept"] + explanation["calibration"]["slope"] * margin
        at = next(r for r in found["risks"] if r["horizon_hours"] == explanation["horizon_hours"])
        assert abs(1 / (1 + math.exp(-log_odds)) - at["probability"]) < 1e-9


@QUICK
@given(sent=requests(times | odd_times))
def test_odd_times_never_break_the_service(service, sent):
    examine(service.post("/v1/risk", content=json.dumps(sent), headers=JSON))


@QUICK
@given(sent=json_values)
def test_any_json_gets_a_documented_status(service, sent):
    found = examine(service.post("/v1/risk", content=json.dumps(sent), headers=JSON))
    assert found["code"] in ("invalid-request", "malformed-json")


@QUICK
@given(sent=st.binary(max_size=300))
def test_any_bytes_get_a_documented_status(service, sent):
    examine(service.post("/v1/risk", content=sent, headers=JSON))


def places(value, pointer=""):
    """Every place of a JSON value as a JSON pointer."""
    yield pointer
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, f"{pointer}/{key}")


def replaced(value, pointer, new):
    changed = json.loads(json.dumps(value))
    *path, last = pointer.split("/")[1:]
    at = changed
    for step in path:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[int(last) if isinstance(at, list) else last] = new
    return changed


@QUICK
@given(pointer=st.sampled_from([p for p in places(EXAMPLE) if p]), new=json_values)
def test_a_change_at_one_place_is_accepted_or_named_at_or_around_that_place(service, pointer, new):
    found = examine(
        service.post("/v1/risk", content=json.dumps(replaced(EXAMPLE, pointer, new)), headers=JSON)
    )
    for error in found.get("errors", []):
        around = [error["pointer"].startswith(pointer), pointer.startswith(error["pointer"])]
        assert any(around), error["pointer"]


@QUICK
@given(secret=st.uuids().map(str), data=st.data())  # no word of the interface
def test_a_refusal_never_repeats_a_value(service, secret, data):
    pointer = data.draw(st.sampled_from([p for p in places(EXAMPLE) if p]))
    sent = replaced(EXAMPLE, pointer, data.draw(st.sampled_from([secret, [secret], {"value": secret}])))
    response = service.post("/v1/risk", content=json.dumps(sent), headers=JSON)
    if response.status_code != 200:
        assert secret not in response.text


@QUICK
@given(sent=st.lists(requests(times) | json_values, min_size=1, max_size=5))
def test_a_batch_answers_every_line(service, sent):
    lines = "\n".join(json.dumps(one) for one in sent)
    response = service.post("/v1/risk/batch", content=lines, headers={"content-type": "application/x-ndjson"})
    assert response.status_code == 200
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert len(answers) == len(sent)
    assert all(a.get("status", 422) < 500 for a in answers)


@QUICK
@given(observation=entries(times))
def test_one_observation_is_used_or_rejected_with_a_reason(service, observation):
    sent = EXAMPLE | {"observations": [observation]}
    found = examine(service.post("/v1/risk", json=sent))
    if "quality" in found:
        assert found["quality"]["used"] + len(found["quality"]["rejected"]) == 1
