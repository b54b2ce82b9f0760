import copy
import json
import logging

import pytest
from fastapi.testclient import TestClient

from crsrisk.errors import CrsRiskError, ModelError, UnknownTherapyError
from serving.api import create_app
from serving.schema import EXAMPLE, Problem

CANARY = "YamadaTaro-MRN-0042"


class FakeScorer:
    def __init__(self, answer=None, error=None, models=None):
        self.answer = answer or {"probability": 0.06}
        self.error = error
        self.served = [{"name": "crsrisk-cd19_cart", "version": "3"}] if models is None else models

    def score(self, request):
        if self.error is not None:
            raise self.error
        return self.answer | {"as_of": request.as_of.isoformat()}

    def models(self):
        return self.served


def client(scorer=None, **options):
    return TestClient(create_app(scorer or FakeScorer(), **options), raise_server_exceptions=True)


def body(**changes):
    changed = copy.deepcopy(EXAMPLE)
    for place, value in changes.items():
        *parents, last = [int(p) if p.isdigit() else p for p in place.split("__")]
        at = changed
        for parent in parents:
            at = at[parent]
        at[last] = value
    return changed


def problem(response, status, code):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    Problem.model_validate(found)
    assert found["status"] == status
    assert found["code"] == code
    return found


def test_a_request_as_in_the_contract_is_answered():
    response = client().post("/v1/risk", json=EXAMPLE)
    assert response.status_code == 200
    assert response.json() == {"probability": 0.06, "as_of": "2026-11-02T21:00:00+09:00"}


@pytest.mark.parametrize(
    ("place", "value", "pointer", "code"),
    [
        ("as_of", 0, "/as_of", "time_text"),
        ("as_of", "0", "/as_of", "time_text"),
        ("as_of", "2026-11-02T21:00:00", "/as_of", "time_offset"),
        ("as_of", "2026-11-02", "/as_of", "time_offset"),
        ("as_of", "2026-13-02T21:00:00+09:00", "/as_of", "time_text"),
        ("as_of", "0001-01-01T00:00:00+09:00", "/as_of", "time_range"),
        ("as_of", None, "/as_of", "time_text"),
        ("course__index_time", 1793491200, "/course/index_time", "time_text"),
        ("observations__0__time", 1, "/observations/0/time", "time_text"),
        ("observations__1__available_time", 0, "/observations/1/available_time", "time_text"),
        ("course__age", "61", "/course/age", "float_type"),
        ("course__age", -1, "/course/age", "greater_than_equal"),
        ("course__age", True, "/course/age", "float_type"),
        ("course__sex", "F", "/course/sex", "literal_error"),
        ("course__course_id", "", "/course/course_id", "string_too_short"),
        ("course__surname", "Yamada", "/course/surname", "extra_forbidden"),
        ("patient", {}, "/patient", "extra_forbidden"),
        ("observations__0__value", True, "/observations/0/value", "value_type"),
        ("observations__0__value", None, "/observations/0/value", "value_type"),
        ("observations__0__value", [8.2], "/observations/0/value", "value_type"),
        ("observations__0__comparator", "~", "/observations/0/comparator", "literal_error"),
        ("observations__0__code", "1988-5", "/observations/0", "one_name"),
        ("observations__1__variable", "ferritin", "/observations/1", "one_name"),
        ("observations", {}, "/observations", "list_type"),
    ],
)
def test_a_field_that_breaks_the_contract_is_named_by_its_pointer(place, value, pointer, code):
    found = problem(client().post("/v1/risk", json=body(**{place: value})), 422, "invalid-request")
    assert [(e["pointer"], e["code"]) for e in found["errors"]] == [(pointer, code)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
@pytest.mark.parametrize(("sent", "pointer"), [("8.2", "/observations/0/value"), ("61", "/course/age")])
def test_numbers_that_are_not_finite_are_refused(number, sent, pointer):
    text = json.dumps(EXAMPLE).replace(f": {sent},", f": {number},")
    found = problem(client().post("/v1/risk", content=text, headers=JSON), 422, "invalid-request")
    assert [(e["pointer"], e["code"]) for e in found["errors"]] == [(pointer, "finite_number")]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,", "nul", '{"a": 01}', "[" * 5000 + "]" * 5000, "9" * 5000, b"\xff\xfe", '"\\ud800"'],
)
def test_a_body_that_is_not_json_gives_400(text):
    problem(client().post("/v1/risk", content=text, headers=JSON), 400, "malformed-json")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"'])
def test_a_body_that_is_no_object_points_at_the_root(text):
    found = problem(client().post("/v1/risk", content=text, headers=JSON), 422, "invalid-request")
    assert [e["pointer"] for e in found["errors"]] == [""]


def test_a_field_sent_twice_is_refused():
    text = json.dumps(EXAMPLE).replace('"value": 8.2', '"value": 82, "value": 8.2')
    found = problem(client().post("/v1/risk", content=text, headers=JSON), 422, "invalid-request")
    assert "'value' stands twice" in found["detail"]


def test_an_absent_field_is_named():
    without = body()
    del without["as_of"]
    found = problem(client().post("/v1/risk", json=without), 422, "invalid-request")
    assert [(e["pointer"], e["code"]) for e in found["errors"]] == [("/as_of", "missing")]


def test_another_media_type_gives_415():
    problem(
        client().post("/v1/risk", content="<a/>", headers={"content-type": "text/xml"}), 415, "media-type"
    )
    problem(client().post("/v1/risk", content=b""), 415, "media-type")


def test_a_compressed_body_gives_415():
    headers = JSON | {"content-encoding": "gzip"}
    problem(client().post("/v1/risk", content=b"\x1f\x8b", headers=headers), 415, "media-type")


def test_a_body_above_the_limit_gives_413():
    problem(client(max_body_bytes=100).post("/v1/risk", json=EXAMPLE), 413, "body-too-large")


def test_a_body_that_grows_above_the_limit_without_announcing_it_gives_413():
    parts = iter([b"{" + b" " * 60, b" " * 60, b"}"])
    problem(client(max_body_bytes=100).post("/v1/risk", content=parts, headers=JSON), 413, "body-too-large")


def test_an_unknown_address_gives_404_and_a_wrong_method_405_with_allow():
    problem(client().get(f"/{CANARY}"), 404, "not-found")
    response = client().get("/v1/risk")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


def test_an_unknown_therapy_says_what_to_register():
    error = UnknownTherapyError(f"therapy {CANARY}")
    found = problem(client(FakeScorer(error=error)).post("/v1/risk", json=EXAMPLE), 422, "unknown-therapy")
    assert "therapies.toml with name, class (cart, engager or engineered_t), targets" in found["detail"]
    assert [e["pointer"] for e in found["errors"]] == ["/course/therapy"]


def test_without_a_model_the_service_is_live_but_not_ready():
    empty = client(FakeScorer(models=[]))
    assert empty.get("/health/live").json() == {"status": "ok"}
    problem(empty.get("/health/ready"), 503, "not-ready")
    problem(empty.post("/v1/risk", json=EXAMPLE), 503, "not-ready")


def test_ready_names_the_versions():
    assert client().get("/health/ready").json()["models"] == {"crsrisk-cd19_cart": "3"}


def test_models_are_listed():
    answer = client().get("/v1/models").json()
    assert answer == {"contract": 1, "models": [{"name": "crsrisk-cd19_cart", "version": "3"}]}


def test_a_batch_answers_line_by_line_in_order():
    lines = [json.dumps(EXAMPLE), "{", json.dumps(body(as_of=0)), json.dumps(EXAMPLE)]
    response = client().post(
        "/v1/risk/batch", content="\n".join(lines) + "\n", headers={"content-type": "application/x-ndjson"}
    )
    assert response.headers["content-type"] == "application/x-ndjson"
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [a.get("code", "answer") for a in answers] == [
        "answer",
        "malformed-json",
        "invalid-request",
        "answer",
    ]
    assert [a.get("line") for a in answers] == [None, 1, 2, None]


def test_a_failure_inside_a_batch_stays_in_its_line():
    response = client(FakeScorer(error=KeyError(CANARY))).post(
        "/v1/risk/batch", content=json.dumps(EXAMPLE), headers={"content-type": "application/x-ndjson"}
    )
    assert response.status_code == 200
    assert json.loads(response.text)["code"] == "server-error"
    assert CANARY not in response.text


def test_a_batch_of_too_many_lines_gives_413():
    response = client().post(
        "/v1/risk/batch", content="{}\n" * 1001, headers={"content-type": "application/x-ndjson"}
    )
    problem(response, 413, "body-too-large")


def test_the_callers_request_id_comes_back_when_it_can_only_be_an_id():
    given = "0af7651916cd43dd8448eb211c80319c"
    assert client().get("/health/live", headers={"x-request-id": given}).headers["x-request-id"] == given
    own = client().get("/health/live", headers={"x-request-id": CANARY}).headers["x-request-id"]
    assert own != CANARY
    assert len(own) == 36


def test_a_problem_names_the_request():
    given = "0af7651916cd43dd8448eb211c80319c"
    found = client().get("/nothing", headers={"x-request-id": given}).json()
    assert found["instance"] == f"urn:crsrisk:request:{given}"


@pytest.mark.parametrize("path", ["/health/live", "/nothing", "/openapi.json"])
def test_every_answer_carries_the_security_headers(path):
    headers = client().get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'self'; frame-ancestors 'none'")


# ---- nothing about a patient in a problem or a log


def canary_bodies():
    """The contract's body with the canary in each field in turn, one field at a time."""
    yield body(canary=CANARY)
    yield body() | {CANARY: 1}
    for place in [
        "as_of",
        "course__course_id",
        "course__patient_id",
        "course__therapy",
        "course__index_time",
        "course__age",
        "course__sex",
        "course__weight",
        "course__site",
        "course__indication",
        "course__canary",
        "observations__0__variable",
        "observations__0__value",
        "observations__0__unit",
        "observations__0__time",
        "observations__0__available_time",
        "observations__0__comparator",
        "observations__0__source_id",
        "observations__1__system",
        "observations__1__code",
        "observations__1__canary",
        "observations",
    ]:
        yield body(**{place: CANARY})


ERRORS = [
    None,
    ValueError(f"can't convert {CANARY}"),
    KeyError(CANARY),
    CrsRiskError(CANARY),
    UnknownTherapyError(CANARY),
    ModelError(CANARY),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_no_problem_and_no_log_line_repeats_what_was_sent(error, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    service = client(FakeScorer(error=error))
    for sent in canary_bodies():
        for path, kind in (("/v1/risk", "application/json"), ("/v1/risk/batch", "application/x-ndjson")):
            response = service.post(
                f"{path}?patient={CANARY}",
                content=json.dumps(sent),
                headers={
                    "content-type": kind,
                    "x-request-id": CANARY,
                    "user-agent": CANARY,
                    "referer": CANARY,
                },
            )
            assert CANARY not in response.text
            assert CANARY not in str(response.headers)
    service.post("/v1/risk", content=CANARY, headers=JSON)
    service.post("/v1/risk", content=json.dumps(EXAMPLE), headers={"content-type": CANARY})
    service.get(f"/patients/{CANARY}")
    service.request(CANARY.upper().replace("-", ""), "/v1/risk")
    logged = [r for r in caplog.records if r.name.startswith("crsrisk")]
    assert len(logged) > 40
    assert not [r for r in logged if CANARY.lower() in r.getMessage().lower()]
    assert CANARY not in "".join(capfd.readouterr())


def test_a_failure_is_logged_with_its_place_and_without_its_message(caplog):
    caplog.set_level(logging.INFO)
    response = client(FakeScorer(error=KeyError(CANARY))).post("/v1/risk", json=EXAMPLE)
    problem(response, 500, "server-error")
    facts = [json.loads(r.getMessage()) for r in caplog.records if r.name == "crsrisk.serving"]
    assert [f["event"] for f in facts] == ["failed", "request"]
    assert facts[0]["where"].startswith("KeyError at test_api.py:")
    assert facts[1] | {"ms": 0} == {
        "event": "request",
        "request_id": response.headers["x-request-id"],
        "method": "POST",
        "route": "/v1/risk",
        "status": 500,
        "ms": 0,
    }


# ---- OpenAPI


def test_openapi_documents_the_request_every_status_and_an_example():
    description = client().get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    risk = description["paths"]["/v1/risk"]["post"]
    assert sorted(risk["responses"]) == ["200", "400", "413", "415", "422", "500", "503"]
    content = risk["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/RiskRequest"}
    assert content["examples"]["patient"]["value"] == EXAMPLE
    schemas = description["components"]["schemas"]
    assert schemas["RiskRequest"]["additionalProperties"] is False
    assert schemas["RiskRequest"]["properties"]["as_of"]["format"] == "date-time"
    assert {"RiskAnswer", "Problem", "Observation", "Course"} <= set(schemas)


def test_every_reference_of_openapi_resolves():
    text = client().get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)
