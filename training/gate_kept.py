"""What a registered version kept for the gate, read back from its run and checked against its tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from crsrisk.errors import ModelError
from training.gate_evidence import Leaks, Pseudonyms, read_evidence
from training.gate_pairs import Side
from training.kept import EVIDENCE, ON_NEW, PATIENTS, digest_tag
from training.registry import run_table, version_tags

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from training.champion_store import ChampionStore


def known_patients(
    patients: pd.Series, name: str, version: str, store: ChampionStore, *, tracking_uri: str
) -> NDArray[np.bool_] | None:
    """Which of these patients a version learned from, shape (n,); None when it kept no list that this store can read.

    Raises:
        ModelError: no such version, or its list was altered since.
    """
    pseudonyms = Pseudonyms(store.pseudonym_key())
    side = kept_side(name, version, pseudonyms, tracking_uri=tracking_uri)
    if side.seen is None:
        return None
    return np.isin(pseudonyms.column(patients, "patient"), sorted(side.seen))


def kept_side(name: str, version: str, pseudonyms: Pseudonyms, *, tracking_uri: str) -> Side:
    """One side of a comparison; parts that were not kept, or under pseudonyms of another store, are None.

    Raises:
        ModelError: no such version, or a table was altered since.
    """
    run_id, tags = version_tags(name, version, tracking_uri=tracking_uri)
    title = f"{name} version {version}"
    if tags.get("pseudonyms") != pseudonyms.name:
        return Side(title, tags["digest"])
    patients = _table(run_id, PATIENTS, tags, tracking_uri)
    evidence = _table(run_id, EVIDENCE, tags, tracking_uri)
    on_new = _table(run_id, ON_NEW, tags, tracking_uri)
    return Side(
        title,
        tags["digest"],
        evidence=None if evidence is None else read_evidence(evidence),
        seen=None if patients is None else frozenset(patients["patient"].tolist()),
        on_new=None if on_new is None else read_evidence(on_new),
        scored=tags.get("scored_champion_digest", ""),
    )


def _table(run_id: str, stem: str, tags: Mapping[str, str], tracking_uri: str) -> pd.DataFrame | None:
    digest = tags.get(digest_tag(stem))
    return None if digest is None else run_table(run_id, stem, digest, tracking_uri=tracking_uri)


def stated_leaks(tags: Mapping[str, str]) -> Leaks | None:
    """What the leak report of a version's cohort found; None when none was kept.

    Raises:
        ModelError: a tag is no number.
    """
    stated = [tags[name] for name in ("error_findings", "leaks_suspected") if name in tags]
    if len(stated) < len(Leaks._fields):
        return None
    if not all(number.isdigit() for number in stated):
        raise ModelError("the tags of the version about leaks are no numbers; train a new version")
    return Leaks(*map(int, stated))
