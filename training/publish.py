"""Train and register: the pipeline's models, logged to MLflow and offered as challengers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from crsrisk.cohort import Cohort
from training.crossvalidate import Prepared, prepare
from training.pipeline import TrainedFamily, train

if TYPE_CHECKING:
    from training.track import Registered

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Training:
    """What `crsrisk train` did: a fitted, evaluated and registered model per family."""

    families: list[TrainedFamily]
    registered: list[Registered]
    dataset_digest: str

    @property
    def notes(self) -> list[str]:
        """What a reader must know, in plain sentences, each once."""
        return list(dict.fromkeys(note for family in self.families for note in family.notes))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "dataset_digest": self.dataset_digest,
            "families": [
                {
                    "family": trained.family,
                    "model": registered.info.name,
                    "version": registered.info.version,
                    "digest": registered.info.digest,
                    "run_id": registered.run_id,
                    "strategy": trained.model.strategy,
                    "n_patients": trained.model.n_patients,
                    "n_events": trained.model.n_events,
                    "metrics": {
                        name: {"value": m.value, "low": _number(m.low), "high": _number(m.high)}
                        for name, m in trained.metrics().items()
                    },
                }
                for trained, registered in zip(self.families, self.registered, strict=True)
            ],
            "notes": self.notes,
        }

    def to_text(self) -> str:
        """Metrics of every family with intervals, the notes, and what was registered."""
        versions = [
            f"{r.info.name} version {r.info.version} registered as challenger ({r.info.digest[:19]})"
            for r in self.registered
        ]
        return "\n\n".join([*(trained.to_text() for trained in self.families), "\n".join(versions)])


def train_and_register(
    cohort: Cohort | Prepared,
    *,
    tracking_uri: str,
    family: str | None = None,
    trials: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> Training:
    """Fit, evaluate out of fold, log, and register a version per family with the alias `challenger`.

    Args:
        cohort: a cohort, or one prepared already.
        tracking_uri: MLflow tracking and registry address.
        family: one family; None: all that the cohort has.
        trials: Optuna candidates beside the defaults.
        seed: of folds, fits and bootstrap.
        progress: told about every step.
        settings: further arguments of `training.pipeline.train`.

    Raises:
        NotEnoughDataError: no labelled rows, or not of this family.
        ModelError: an artefact read back differs from what was written; nothing is registered then.
    """
    from training.track import FamilyRun, log_training

    prepared = cohort if isinstance(cohort, Prepared) else prepare(cohort, settings.pop("landmarks", None))
    families = train(prepared, family, trials=trials, seed=seed, progress=progress, **settings)
    digest = prepared.cohort.digest()
    registered = log_training(
        [FamilyRun.of(trained) for trained in families],
        dataset_digest=digest,
        params={"seed": seed, "trials": trials, "family": family or "all"},
        tables={"attrition": prepared.labels.attrition},
        tracking_uri=tracking_uri,
        progress=progress,
    )
    return Training(families, registered, digest)


def _number(value: float) -> float | None:
    """The number, None where it is not one: JSON has no nan."""
    return None if isnan(value) else value
