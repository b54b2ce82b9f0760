"""One part of a feature table: read some courses of a cohort folder, compute, write; here or in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from crsrisk._version import __version__
from crsrisk.cohort_parts import CohortParts, Plan, open_parts
from crsrisk.errors import CrsRiskError
from crsrisk.ledger import Ledger
from crsrisk.problems import Problems
from features.engine import ENGINE_VERSION
from features.job import JobFolder, Summary
from features.matrix import compute_features
from features.registry import feature, feature_set_digest


@dataclass
class Work:
    """Parts to compute. When one has problems there will be no table, and the rest is only checked."""

    folder: str
    numbers: list[int]
    only_check: bool = False


def engine_identity() -> dict[str, Any]:
    """What must be the same wherever parts of one table are computed."""
    return {"version": __version__, "engine": ENGINE_VERSION, "feature_set": feature_set_digest()}


def compute_part(folder: str, number: int, *, only_check: bool = False) -> Summary:
    """Compute one part of a job and write it into the job's folder; runs here or in a worker.

    Args:
        folder: of the job, with a manifest.
        number: of the part.
        only_check: read it and tell its problems, compute nothing.
    """
    job = JobFolder(Path(folder))
    key, parts = _opened(folder, job.stamp())
    problems, ledger = Problems(), Ledger()
    cohort = parts.read(number, problems, ledger)
    summary = Summary(0, ledger.account().to_dict(), [])
    if cohort is None:
        return Summary(0, summary.account, problems.noted())
    if only_check:
        return summary
    computed = compute_features(
        cohort, key["landmarks"], features=[feature(name) for name in key["features"]]
    )
    table = pa.Table.from_pandas(computed.frame(), preserve_index=False)
    summary = Summary(table.num_rows, summary.account, [])
    job.write_part(number, table, summary)
    del cohort, computed, table
    pa.default_memory_pool().release_unused()  # the next part may need it in other sizes
    return summary


def forget() -> None:
    """Let go of the cohort that this process has opened."""
    _opened.cache_clear()


@lru_cache(maxsize=1)
def _opened(folder: str, stamp: tuple[int, int]) -> tuple[dict[str, Any], CohortParts]:
    """The key and the cohort of a job, once per process and manifest."""
    del stamp  # only tells one manifest from another
    manifest = JobFolder(Path(folder)).manifest()
    key = manifest["key"]
    if any(key[name] != value for name, value in engine_identity().items()):
        raise CrsRiskError(
            f"a worker runs crsrisk {__version__} with other features than crsrisk {key['version']} of this run; "
            f"install the same version everywhere"
        )
    return key, open_parts(Plan.from_dict(manifest["plan"]))
