"""A registry with versions that the gate lets pass and refuses, made once; each test works on a copy."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from tests.toy_models import tree_model
from tests.unit.training.gate_batches import honest, sides, wrong_labels
from training.champions import open_store
from training.gate_evidence import Pseudonyms
from training.kept import EVIDENCE, ON_NEW, PATIENTS, Kept
from training.promotions import promote
from training.track import FamilyRun, log_training

NAME = "crsrisk-cd19_cart"
FEW_INPUTS = (0, 3, 4)


def kept(uri, side, champion_digest=None, **tags):
    """What training would have kept of a side."""
    tables = {EVIDENCE: side.evidence, PATIENTS: pd.DataFrame({"patient": sorted(side.seen)})}
    facts = {
        "pseudonyms": Pseudonyms(open_store(uri).pseudonym_key()).name,
        "error_findings": "0",
        "leaks_suspected": "0",
    }
    if champion_digest is not None:
        tables[ON_NEW] = side.on_new
        facts["scored_champion_digest"] = champion_digest
    return Kept(tables, facts | {"simulated": "false"} | tags)


def log(uri, model, keep=None):
    [registered] = log_training(
        [FamilyRun(model=model, kept=keep or Kept())], dataset_digest="sha256:c", params={}, tracking_uri=uri
    )
    return registered.info


@pytest.fixture(scope="session")
def registered(tmp_path_factory):
    """Versions: 1 the first champion, 2 improved, 3 of a poisoned batch, 4 of simulated patients, 5 bare."""
    folder = tmp_path_factory.mktemp("registered")
    uri = f"sqlite:///{folder}/mlflow.db"
    champion, improved = sides(1, honest, champion_inputs=FEW_INPUTS)
    _, poisoned = sides(1, wrong_labels, champion_inputs=FEW_INPUTS)
    digest = log(uri, tree_model(seed=1), kept(uri, champion)).digest
    log(uri, tree_model(seed=2), kept(uri, improved, digest))
    log(uri, tree_model(seed=3), kept(uri, poisoned, digest))
    made_up = replace(tree_model(seed=4), simulated=True)
    log(uri, made_up, kept(uri, improved, digest, simulated="true"))
    log(uri, tree_model(seed=5))
    copied(folder, folder / "unpromoted")
    promote(NAME, "1", "first version", tracking_uri=uri, who="ana")
    copied(folder, folder / "served")
    return folder


def copied(source, target):
    """The databases of registry and store, copied; the artefacts stay where they are and are only read."""
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, target / file.name)
    return f"sqlite:///{target}/mlflow.db"


@pytest.fixture
def own(registered, tmp_path):
    """Five versions, none of which answers."""
    return copied(registered / "unpromoted", tmp_path)


@pytest.fixture
def served(registered, tmp_path):
    """Version 1 answers."""
    return copied(registered / "served", tmp_path)
