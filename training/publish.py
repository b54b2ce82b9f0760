"""Train and register: the pipeline's models, logged to MLflow and offered as challengers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from crsrisk.cohort import Cohort
from crsrisk.errors import ModelError
from training.crossvalidate import Prepared, prepare
from training.pipeline import TrainedFamily, train
from training.registry import model_name

if TYPE_CHECKING:
    from training.champion_ledger import Champion
    from training.champion_store import ChampionStore
    from training.gate_evidence import Pseudonyms
    from training.gate_pairs import Side
    from training.kept import Kept
    from training.model import RiskModel
    from training.track import Registered

_log = logging.getLogger("crsrisk.publish")
Progress = Callable[[str, int, int], None]
REPORT = "report"  # folder of a run's artefacts


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
    store_url: str | None = None,
    family: str | None = None,
    trials: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> Training:
    """Fit, evaluate out of fold, log, and register a version per family with the alias `challenger`.

    The run of each version keeps its report in every language, and its model card, in the folder `report`.

    Args:
        cohort: a cohort, or one prepared already.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.
        family: one family; None: all that the cohort has.
        trials: Optuna candidates beside the defaults.
        seed: of folds, fits and bootstrap.
        progress: told about every step.
        settings: further arguments of `training.pipeline.train`.

    Raises:
        NotEnoughDataError: no labelled rows, or not of this family.
        ModelError: an artefact read back differs from what was written; nothing is registered then.
    """
    from training.champions import open_store
    from training.track import FamilyRun, log_training

    store = open_store(tracking_uri, store_url)
    prepared = cohort if isinstance(cohort, Prepared) else prepare(cohort, settings.pop("landmarks", None))
    families = train(prepared, family, trials=trials, seed=seed, progress=progress, **settings)
    digest = prepared.cohort.digest()
    keep = _kept(families, prepared, store, tracking_uri)
    registered = log_training(
        [FamilyRun.of(trained, kept) for trained, kept in zip(families, keep, strict=True)],
        dataset_digest=digest,
        params={"seed": seed, "trials": trials, "family": family or "all"},
        tables={"attrition": prepared.labels.attrition},
        tracking_uri=tracking_uri,
        progress=progress,
    )
    _log_reports(registered, tracking_uri, store_url, progress)
    return Training(families, registered, digest)


def _log_reports(
    registered: list[Registered], tracking_uri: str, store_url: str | None, progress: Progress | None
) -> None:
    """The report and card of every version, made of what was logged, beside what it was made of."""
    from training.report.write import report_files
    from training.track import log_files

    for k, one in enumerate(registered):
        files = report_files(one.info.name, one.info.version, tracking_uri=tracking_uri, store_url=store_url)
        log_files(one.run_id, files, REPORT, tracking_uri=tracking_uri)
        if progress is not None:
            progress("reports", k + 1, len(registered))


def _kept(
    families: list[TrainedFamily], prepared: Prepared, store: ChampionStore, tracking_uri: str
) -> list[Kept]:
    """What the gate will want to know of each family, the champions' risks of patients new to them included."""
    from training.gate_evidence import Pseudonyms, kept_for_gate, leak_findings

    pseudonyms = Pseudonyms(store.pseudonym_key())
    leaks = leak_findings(prepared.cohort)
    champions = store.champions()
    return [
        kept_for_gate(
            trained,
            prepared,
            pseudonyms,
            _champion(champions.get(model_name(trained.family)), pseudonyms, tracking_uri),
            leaks,
        )
        for trained in families
    ]


def _champion(
    champion: Champion | None, pseudonyms: Pseudonyms, tracking_uri: str
) -> tuple[RiskModel, Side] | None:
    """The champion and what it kept; None when there is none or this program can't use it."""
    from training.champions import load_decided
    from training.gate_kept import kept_side

    if champion is None:
        return None
    try:
        model, _ = load_decided(champion.name, champion.version, champion.digest, tracking_uri=tracking_uri)
        return model, kept_side(champion.name, champion.version, pseudonyms, tracking_uri=tracking_uri)
    except ModelError as error:
        _log.warning("%s can't be asked about new patients: %s", champion.name, error)
        return None


def _number(value: float) -> float | None:
    """The number, None where it is not one: JSON has no nan."""
    return None if isnan(value) else value
