"""What a run keeps for the gate beside the model: tables that a version names with their digest, and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

EVIDENCE, ON_NEW, PATIENTS = "gate_evidence", "champion_on_new", "training_patients"
NO_LIST = (
    "Whether any of these patients was in the training data can't be told: the version kept no list of them under the "
    "key of this store."
)


@dataclass(frozen=True, eq=False)
class Kept:
    """Tables by file stem, and facts as tags of the version; see `training.gate_evidence`."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def digest_tag(stem: str) -> str:
    """Tag of a version that holds the digest of a table it kept.

    >>> digest_tag(EVIDENCE)
    'gate_evidence_digest'
    """
    return f"{stem}_digest"
