"""The same patient gets the same risk on every way in, to 1e-9."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crsrisk.units import canonical_unit_name
from serving.api import create_app
from serving.schema import RiskAnswer
from serving.scorer import Scorer, score_patient
from training.champions import load_champions

pytestmark = pytest.mark.xdist_group("registry")

LANDMARKS = (24.0, 48.0)
NAME = "crsrisk-cd19_cart"
COURSE_FIELDS = (
    "course_id",
    "patient_id",
    "therapy",
    "index_time",
    "age",
    "sex",
    "weight",
    "site",
    "indication",
)
BASELINE = (
    "bm_blasts_pct",
    "bm_plasma_cell_pct",
    "tumor_spd",
    "extramedullary",
    "prior_lines",
    "ecog",
    "cell_dose_total",
)


def text(value):
    return None if value is None or value != value or value == "" else value


def body_of(simulation, course_id, landmark):
    """The REST body of a simulated course, from what its site wrote: its units, comparators and delays."""
    course = simulation.courses.set_index("course_id", drop=False).loc[course_id].to_dict()
    index_time = datetime.fromisoformat(course["index_time"])
    rows = simulation.events[simulation.events["course_id"] == course_id].to_dict("records")
    observations = [
        {k: str(v) if k == "value" else v for k, v in row.items() if k != "course_id" and text(v) is not None}
        for row in rows
    ]
    observations += [
        {"variable": v, "value": course[v], "unit": canonical_unit_name(v), "time": course["index_time"]}
        for v in BASELINE
        if text(course.get(v)) is not None
    ]
    return {
        "course": {k: course[k] for k in COURSE_FIELDS if text(course.get(k)) is not None},
        "as_of": (index_time + timedelta(hours=landmark)).isoformat(),
        "observations": observations,
    }


@pytest.fixture(scope="module")
def scorer(trained_registry):
    models, refused = load_champions(trained_registry.tracking_uri)
    assert refused == {}
    return Scorer(models)


@pytest.fixture(scope="module")
def table(scorer, small_cohort):
    """What `score` writes for the whole cohort."""
    return scorer.score_cohort(small_cohort, LANDMARKS)


@pytest.fixture(scope="module")
def cases(small_simulation, table):
    """First doses of 20 courses of CAR-T against CD19 and some of the other families, at both landmarks."""
    chosen = []
    for family, count in (("cd19_cart", 20), ("bcma_cart", 4), ("heme_engager", 4)):
        ids = table[(table["family"] == family) & (table["dose"] == 1)]["course_id"].unique()[:count]
        chosen += [(course_id, landmark) for course_id in ids for landmark in LANDMARKS]
    return [
        (course_id, landmark, body_of(small_simulation, course_id, landmark))
        for course_id, landmark in chosen
    ]


def expected(table, course_id, landmark):
    rows = table[
        (table["course_id"] == course_id) & (table["dose"] == 1) & (table["landmark_hours"] == landmark)
    ]
    return rows.sort_values("horizon_hours")


def agree(answer, rows):
    """Risk, interval and explanation of an answer are those of the rows of the cohort file."""
    assert answer["abstained"] == bool(rows["abstained"].iloc[0])
    if answer["abstained"]:
        assert answer["reason"] == rows["reason"].iloc[0]
        return False
    for key, column in (
        ("probability", "risk"),
        ("low", "low"),
        ("high", "high"),
        ("horizon_hours", "horizon_hours"),
    ):
        assert [r[key] for r in answer["risks"]] == pytest.approx(rows[column].tolist(), abs=1e-9, rel=0)
    explained = rows[rows["contributions"].notna()]
    assert explained["horizon_hours"].tolist() == [answer["explanation"]["horizon_hours"]]
    top = json.loads(explained["contributions"].iloc[0])
    sent = answer["explanation"]["contributions"][: len(top)]
    assert [c["feature"] for c in sent] == [c["feature"] for c in top]
    assert [c["log_odds"] for c in sent] == pytest.approx([c["log_odds"] for c in top], abs=1e-9, rel=0)
    return True


def test_the_models_under_test_have_trees_and_use_them(scorer, table):
    strategies = {m["family"]: m["strategy"] for m in scorer.models()}
    assert strategies == {"cd19_cart": "own", "bcma_cart": "offset", "heme_engager": "offset"}
    mine = table[(table["family"] == "cd19_cart") & ~table["abstained"]]
    assert mine[mine["landmark_hours"] == 48.0]["risk"].nunique() > 20


def test_rest_agrees_with_the_cohort_file(scorer, table, cases):
    service = TestClient(create_app(scorer))
    answered = 0
    for course_id, landmark, body in cases:
        answer = service.post("/v1/risk", json=body).json()
        RiskAnswer.model_validate_json(json.dumps(answer))
        answered += agree(answer, expected(table, course_id, landmark))
    assert answered > 30


def test_a_batch_agrees_with_the_cohort_file(scorer, table, cases):
    lines = "\n".join(json.dumps(body) for _, _, body in cases)
    response = TestClient(create_app(scorer, max_body_bytes=50_000_000)).post(
        "/v1/risk/batch", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert len(answers) == len(cases)
    for answer, (course_id, landmark, _) in zip(answers, cases, strict=True):
        agree(answer, expected(table, course_id, landmark))


def test_the_python_function_agrees_with_the_cohort_file(trained_registry, table, cases):
    models, _ = load_champions(trained_registry.tracking_uri)
    for course_id, landmark, body in cases[::6]:
        agree(score_patient(models, body), expected(table, course_id, landmark))


@pytest.fixture
def mlflow_here(trained_registry):
    """MLflow with its addresses set; a loaded version puts its code on the path, which is taken off again."""
    import mlflow

    path, before = list(sys.path), (mlflow.get_tracking_uri(), mlflow.get_registry_uri())
    mlflow.set_tracking_uri(trained_registry.tracking_uri)
    mlflow.set_registry_uri(trained_registry.tracking_uri)
    yield mlflow
    sys.path[:] = path
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def test_the_pyfunc_agrees_with_the_cohort_file_and_names_its_version(mlflow_here, table, cases):
    pyfunc = mlflow_here.pyfunc.load_model(f"models:/{NAME}@champion")
    mine = cases[:20]
    answers = pyfunc.predict([body for _, _, body in mine])
    assert {json.dumps(a["model"]) for a in answers} == {json.dumps(dict(mine_model(table)))}
    answered = [agree(a, expected(table, c, h)) for a, (c, h, _) in zip(answers, mine, strict=True)]
    assert sum(answered) > 10


def mine_model(table):
    row = table[table["family"] == "cd19_cart"].iloc[0]
    return (("name", row["model"]), ("version", row["version"]), ("digest", row["digest"]))


def test_a_bad_body_among_good_ones_gets_a_problem_from_the_pyfunc(mlflow_here, cases):
    pyfunc = mlflow_here.pyfunc.load_model(f"models:/{NAME}@champion")
    bad = cases[0][2] | {"as_of": 0}
    unknown = cases[0][2] | {"course": cases[0][2]["course"] | {"therapy": "CANARY"}}
    answers = pyfunc.predict([cases[0][2], bad, unknown])
    assert [a.get("code", "answer") for a in answers] == ["answer", "invalid-request", "unknown-therapy"]
    assert "CANARY" not in json.dumps(answers)


def post(port, content):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", data=content, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # our own address
        return json.loads(response.read())


@pytest.fixture
def mlflow_server(trained_registry, tmp_path):
    """`mlflow models serve` of the champion, from a folder where none of our packages lie."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent  # mlflow starts uvicorn by its name
    command = [
        str(programs / "mlflow"), "models", "serve", "-m", f"models:/{NAME}@champion",
        "--env-manager", "local", "--port", str(port), "--host", "127.0.0.1", "--workers", "1",
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": trained_registry.tracking_uri,
        "MLFLOW_REGISTRY_URI": trained_registry.tracking_uri,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(port, server)
            yield port, tmp_path / "log"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)


def wait_for(port, server):
    end = time.monotonic() + 240
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    raise AssertionError("mlflow models serve did not start")


@pytest.mark.slow
def test_mlflow_models_serve_agrees_with_the_cohort_file(mlflow_server, table, cases):
    port, log = mlflow_server
    mine = cases[:20]
    answers = post(port, json.dumps({"inputs": [body for _, _, body in mine]}).encode())["predictions"]
    answered = [agree(a, expected(table, c, h)) for a, (c, h, _) in zip(answers, mine, strict=True)]
    assert sum(answered) > 10
    bad = mine[0][2] | {"as_of": "CANARY"}
    [problem] = post(port, json.dumps({"inputs": [bad]}).encode())["predictions"]
    assert problem["code"] == "invalid-request"
    assert "CANARY" not in json.dumps(problem) + log.read_text()
