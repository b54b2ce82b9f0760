import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from crsrisk.errors import CrsRiskError, ModelError
from tests.toy_models import offset_model, tree_model
from training.champions import list_models, load_champions, load_registered, load_uri
from training.promotions import promote
from training.registry import tree_files
from training.track import FamilyRun, Metric, log_training

pytestmark = pytest.mark.xdist_group("track")

NAME = "crsrisk-cd19_cart"


def run_of(model):
    attrition = pd.DataFrame(
        {"step": ["courses in the cohort"], "rows": [400], "patients": [400], "events": [90]}
    )
    return FamilyRun(
        model=model,
        metrics={
            "auroc_pooled": Metric(0.7, 0.6, 0.8),
            "auroc_landmark24_horizon72": Metric(0.6, float("nan"), 0.9),
        },
        params={"trials": 3, "folds": 5},
        tables={"attrition": attrition},
        figures={"calibration": figure()},
        notes=["a note"],
    )


def figure():
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().plot([0, 1], [0, 1])
    return drawn


def simulated(model):
    """The model as if its patients did not exist: such a one is promoted by a demonstration, without the gate."""
    return replace(model, simulated=True)


def show(name, version, reason, uri):
    return promote(name, version, reason, demonstration=True, tracking_uri=uri)


def log(uri, *models, **changes):
    runs = [run_of(model) for model in models]
    given = {"dataset_digest": "sha256:cohort", "params": {"seed": 1, "trials": 3}, "tracking_uri": uri}
    return log_training(runs, **(given | changes))


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory):
    """A registry's database with its tables and nothing in them: making one takes seconds."""
    folder = tmp_path_factory.mktemp("registry")
    list_models(f"sqlite:///{folder}/mlflow.db")
    return folder


@pytest.fixture(scope="module")
def shared(empty_registry, tmp_path_factory):
    """A registry with two families, each with one version; tests only read it."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(empty_registry, folder, dirs_exist_ok=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    return uri, folder, log(uri, tree_model(), offset_model())


@pytest.fixture
def own(empty_registry, tmp_path):
    """An empty registry of the test's own."""
    shutil.copytree(empty_registry, tmp_path, dirs_exist_ok=True)
    return f"sqlite:///{tmp_path}/mlflow.db"


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def version_folder(uri, name=NAME, version="1"):
    address = client(uri).get_model_version_download_uri(name, version)
    return Path(address.removeprefix("file://"))


def test_training_registers_a_challenger_and_no_champion(shared):
    uri, _, registered = shared
    assert [(r.info.name, r.info.version, r.family) for r in registered] == [
        (NAME, "1", "cd19_cart"),
        ("crsrisk-bcma_cart", "1", "bcma_cart"),
    ]
    listed = [(m["name"], m["version"], m["aliases"], m["strategy"]) for m in list_models(uri)]
    assert listed == [
        ("crsrisk-bcma_cart", "1", ["challenger"], "offset"),
        (NAME, "1", ["challenger"], "own"),
    ]
    with pytest.raises(ModelError, match="crsrisk-cd19_cart@champion is not registered"):
        load_registered(NAME, tracking_uri=uri)


def test_a_registered_model_comes_back_as_it_was(shared):
    uri, _, registered = shared
    model, info = load_registered(NAME, "1", tracking_uri=uri)
    assert model == tree_model()
    assert info == registered[0].info
    assert info.digest.startswith("sha256:")
    assert load_uri(f"models:/{NAME}@challenger", tracking_uri=uri)[1] == info
    assert load_uri(f"models:/{NAME}/1", tracking_uri=uri)[1] == info


@pytest.mark.parametrize(
    "address", ["crsrisk-cd19_cart", "models:/x", "models:/x/latest", "models:/@champion", "s3://x/1"]
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ModelError, match=r"accepted: models:/NAME/VERSION or models:/NAME@ALIAS"):
        load_uri(address)


def test_a_child_run_per_family_hangs_under_one_parent(shared):
    uri, _, registered = shared
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("crsrisk")
    runs = mlflow.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = {r.data.params["family"]: r for r in runs if "mlflow.parentRunId" in r.data.tags}
    assert [r.data.params["trials"] for r in parents] == ["3"]
    assert {r.data.tags["mlflow.parentRunId"] for r in children.values()} == {parents[0].info.run_id}
    assert sorted(children) == ["bcma_cart", "cd19_cart"]
    assert {r.info.status for r in runs} == {"FINISHED"}
    child = children["cd19_cart"]
    assert child.info.run_id == registered[0].run_id
    assert child.data.metrics == {
        "auroc_pooled": 0.7,
        "auroc_pooled_low": 0.6,
        "auroc_pooled_high": 0.8,
        "auroc_landmark24_horizon72": 0.6,
        "auroc_landmark24_horizon72_high": 0.9,
    }
    assert child.data.params["folds"] == "5"
    assert child.data.params["seed"] == "1"
    assert child.data.tags["dataset_digest"] == "sha256:cohort"
    files = {
        f.path for folder in ("tables", "figures") for f in mlflow.list_artifacts(child.info.run_id, folder)
    }
    assert files == {"tables/attrition.csv", "figures/calibration.svg"}


def test_a_version_holds_data_and_code_and_nothing_pickled(shared):
    uri, _, _ = shared
    files = sorted(tree_files(version_folder(uri)))
    data = [f for f in files if f.startswith("artifacts/")]
    assert data == [
        "artifacts/model/booster.txt",
        "artifacts/model/bootstrap/00.txt",
        "artifacts/model/bootstrap/01.txt",
        "artifacts/model/bootstrap/02.txt",
        "artifacts/model/manifest.json",
        "artifacts/model/model.json",
    ]
    top = sorted({f.split("/")[0] for f in files})
    assert top == [
        "MLmodel",
        "artifacts",
        "code",
        "conda.yaml",
        "model_entry.py",
        "python_env.yaml",
        "requirements.txt",
    ]
    assert sorted({f.split("/")[1] for f in files if f.startswith("code/")}) == [
        "crsrisk",
        "features",
        "serving",
        "training",
    ]
    endings = {Path(f).suffix for f in files}
    assert not endings & {".pkl", ".pickle", ".joblib", ".pyc", ".skops", ".bin", ".cloudpickle"}
    assert not [
        f
        for f in files
        if b"cloudpickle" in (version_folder(uri) / f).read_bytes() and f.startswith("artifacts/")
    ]


def test_tables_reach_mlflow_without_identifiers(own):
    table = pd.DataFrame({"course_id": ["MRN-0042", "MRN-0007", "MRN-0042"], "risk": [0.1, 0.2, 0.3]})
    [registered] = log_training(
        [FamilyRun(model=offset_model(), tables={"out_of_fold": table})],
        dataset_digest="d",
        params={},
        tracking_uri=own,
    )
    folder = client(own).download_artifacts(registered.run_id, "tables")
    assert (Path(folder) / "out_of_fold.csv").read_text() == "course_id,risk\n1,0.1\n2,0.2\n1,0.3\n"


def test_requirements_are_pinned(shared):
    uri, _, _ = shared
    lines = (version_folder(uri) / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in lines} >= {"mlflow", "lightgbm", "numpy", "pandas", "pydantic"}
    assert all("==" in line for line in lines)


def test_artefacts_of_a_local_registry_lie_beside_its_database(shared):
    uri, folder, _ = shared
    assert version_folder(uri).is_relative_to(folder / "artifacts")


def test_promotion_sets_the_champion_and_keeps_reason_and_predecessor(own):
    log(own, simulated(tree_model()))
    log(own, simulated(tree_model(seed=2)))
    assert load_champions(own) == ({}, {})
    first = show(NAME, "1", "first model", own)
    assert (first["version"], first["reason"], first["previous"]) == ("1", "first model", None)
    second = show(NAME, "2", "more events", own)
    assert (second["version"], second["previous"]) == ("2", "1")
    models, refused = load_champions(own)
    assert models["cd19_cart"][1].version == "2"
    assert models["cd19_cart"][0] == simulated(tree_model(seed=2))
    assert refused == {}
    by_version = {m["version"]: m for m in list_models(own)}
    assert by_version["2"]["aliases"] == ["challenger", "champion"]
    assert by_version["1"]["aliases"] == []
    assert by_version["2"]["promoted"]["reason"] == "more events"
    assert by_version["2"]["promoted"]["previous"] == "1"
    assert str(client(own).get_registered_model(NAME).aliases["champion"]) == "2"


def test_a_promotion_without_a_reason_is_refused(own):
    with pytest.raises(CrsRiskError, match="a promotion without a reason"):
        promote(NAME, "1", "  ", tracking_uri=own)


def test_what_is_not_registered_can_not_be_promoted(own):
    with pytest.raises(ModelError, match="crsrisk-cd19_cart version 7 is not registered"):
        promote(NAME, "7", "why not", tracking_uri=own)


@pytest.fixture(scope="module")
def two_versions(empty_registry, tmp_path_factory):
    """Version 1 is champion, version 2 challenger; a test that alters a file puts it back."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(empty_registry, folder, dirs_exist_ok=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    log(uri, simulated(tree_model()), simulated(offset_model()))
    show(NAME, "1", "first", uri)
    show("crsrisk-bcma_cart", "1", "first", uri)
    log(uri, simulated(tree_model(seed=2)))
    return uri


@contextmanager
def altered(file, change):
    before = file.read_bytes()
    if change is None:
        file.unlink()
    else:
        file.write_text(change(before.decode()))
    try:
        yield
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("artifacts/model/booster.txt", lambda text: text.replace("3", "4", 1)),
        ("artifacts/model/model.json", lambda text: text + " "),
        ("artifacts/model/bootstrap/00.txt", None),
        ("artifacts/model/manifest.json", None),
        ("code/serving/scorer.py", lambda text: text + "\nimport os\n"),
        ("model_entry.py", lambda text: text + "\n"),
    ],
)
def test_an_altered_version_is_neither_promoted_nor_does_it_replace_the_champion(two_versions, path, change):
    with altered(version_folder(two_versions, version="2") / path, change):
        with pytest.raises(ModelError):
            show(NAME, "2", "more events", two_versions)
        if path.startswith("artifacts/"):
            with pytest.raises(ModelError):
                load_registered(NAME, "2", tracking_uri=two_versions)
    assert load_registered(NAME, tracking_uri=two_versions)[1].version == "1"


def test_a_whole_other_model_under_the_version_is_refused(two_versions):
    """Manifest and files agree with each other, but not with what was registered."""
    first, second = (version_folder(two_versions, version=v) / "artifacts/model" for v in "12")
    kept = second.rename(second.with_name("kept"))
    shutil.copytree(first, second)
    try:
        with pytest.raises(ModelError, match="its files were altered"):
            load_registered(NAME, "2", tracking_uri=two_versions)
    finally:
        shutil.rmtree(second)
        kept.rename(second)


def test_a_refused_champion_is_named_and_the_others_are_served(two_versions):
    with altered(version_folder(two_versions) / "artifacts/model/booster.txt", lambda text: "tree"):
        models, refused = load_champions(two_versions)
    assert sorted(models) == ["bcma_cart"]
    assert sorted(refused) == [NAME]
    assert "SHA-256" in refused[NAME]


def test_a_family_that_fails_leaves_the_registry_as_it_was(own):
    class BadFigure:
        def savefig(self, *_, **__):
            raise RuntimeError("no")

    good = run_of(tree_model())
    bad = FamilyRun(model=offset_model(), figures={"roc": BadFigure()})
    with pytest.raises(TypeError):
        log_training([good, bad], dataset_digest="d", params={}, tracking_uri=own)
    assert list_models(own) == []
    mlflow = client(own)
    runs = mlflow.search_runs([mlflow.get_experiment_by_name("crsrisk").experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "FAILED", "FINISHED"]


def test_progress_counts_every_step_to_the_end(own):
    seen = []
    log(own, tree_model(), offset_model(), progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(k, 9) for k in range(1, 10)]


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
import mlflow  # noqa: F401  # once, before the children
from tests.toy_models import offset_model, tree_model
from dataclasses import replace
from pathlib import Path
from training.champions import list_models, load_registered
from training.promotions import promote
from training.track import FamilyRun, log_training
first = Path({folder!r}) / "first"
uri = "sqlite:///" + str(first / "mlflow.db")
runs = [FamilyRun(model=replace(model, simulated=True)) for model in (tree_model(), offset_model())]
log_training(runs, dataset_digest="a", params={{}}, tracking_uri=uri)
promote({name!r}, "1", "first", demonstration=True, tracking_uri=uri)
for step in range(1, 10):
    child = os.fork()
    if child == 0:
        def die(what, done, total):
            if done == step:
                os._exit(9)
        log_training(runs, dataset_digest="b", params={{}}, tracking_uri=uri, progress=die)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    champion = load_registered({name!r}, tracking_uri=uri)[1]
    assert champion.version == "1", champion
    for version in list_models(uri):
        load_registered(version["name"], version["version"], tracking_uri=uri)
    print(step, champion.version, len(list_models(uri)), flush=True)
"""


@pytest.mark.slow
def test_a_killed_training_leaves_complete_versions_or_none_and_the_champion_alone(tmp_path):
    """The process dies after each step in turn; two versions exist before, and at most complete ones after."""
    root = Path(__file__).parents[3]
    script = KILLED.format(root=str(root), folder=str(tmp_path), name=NAME)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = [line.split() for line in ended.stdout.splitlines()]
    # until step 8 nothing is registered; from then on the version of the first family is there and complete
    assert [(int(step), version, int(count)) for step, version, count in lines] == [
        (1, "1", 2),
        (2, "1", 2),
        (3, "1", 2),
        (4, "1", 2),
        (5, "1", 2),
        (6, "1", 2),
        (7, "1", 2),
        (8, "1", 2),
        (9, "1", 3),
    ]


def test_importing_the_module_does_not_import_mlflow():
    script = "import sys, training.track; print('mlflow' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_mlflow_is_told_to_stay_off_the_network(shared):
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert json.loads(os.environ["DO_NOT_TRACK"]) is True
