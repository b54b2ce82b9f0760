"""The verbs of crsrisk as functions: the command line and `import crsrisk` both call these, nothing else.

This is the one module of the domain core that looks upward (features, training, serving); every import of
theirs is late, so that a verb pays only for what it uses. A cohort argument is a folder or a Cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsrisk.errors import CrsRiskError
from crsrisk.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from crsrisk.cohort import Cohort
    from crsrisk.quality import QualityReport
    from crsrisk.simulator import Simulation
    from features.matrix import FeatureTable
    from training.crossvalidate import CrossValidation

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all


def simulate(
    out: str | Path,
    *,
    courses: int,
    seed: int,
    therapies: Sequence[str] | None = None,
    truth: int = 0,
    parquet: bool = False,
) -> Simulation:
    """A synthetic cohort, also written as a cohort folder; with `truth` also truth.parquet.

    Args:
        out: folder to write; must be absent or empty.
        courses: number of courses.
        seed: the same seed gives the same cohort.
        therapies: keys of the therapy catalogue; all that have a published rate when None.
        truth: forward simulations per landmark for the true risk; 0 for none.
        parquet: write Parquet instead of CSV.
    """
    from crsrisk.simulator import simulate as run

    folder = _new_folder(out)
    simulation = run(courses, seed, therapies=therapies, truth=truth)
    simulation.write(folder, parquet=parquet)
    return simulation


def template(out: str | Path) -> Path:
    """An empty cohort folder with headers, units and an example row, for filling by hand."""
    from crsrisk.template import write_template

    folder = _new_folder(out)
    write_template(folder)
    return folder


def check(cohort: str | Path) -> QualityReport:
    """Validity, units and quality of a cohort folder; `.ok` is False when it has errors."""
    from crsrisk.quality import check as run

    return run(cohort)


def grade(cohort: str | Path | Cohort) -> pd.DataFrame:
    """ASTCT grades on change from raw events, with the rule that fired.

    Raises:
        CrsRiskError: the cohort holds nothing that grading reads; says what is needed.
    """
    from crsrisk.grade_timeline import grade_cohort

    return grade_cohort(_cohort(cohort))


def features(
    cohort: str | Path | Cohort, *, landmarks: Sequence[float] | None = None, all_roles: bool = True
) -> FeatureTable:
    """The feature table: a row per course, dose and landmark. `all_roles=False`: predictors only."""
    from features.matrix import DEFAULT_LANDMARKS, compute_features
    from features.registry import FEATURES, predictors

    chosen = FEATURES if all_roles else predictors()
    return compute_features(_cohort(cohort), landmarks or DEFAULT_LANDMARKS, features=chosen)


def _cohort(cohort: str | Path | Cohort) -> Cohort:
    from crsrisk.cohort import Cohort, read_cohort

    return cohort if isinstance(cohort, Cohort) else read_cohort(cohort)


def _new_folder(out: str | Path) -> Path:
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrsRiskError(f"{folder} is there already and not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
