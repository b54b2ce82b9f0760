"""A registered version after further cases: its trees stay, the levels of therapies move.

Between two trainings a hospital sees a few courses, perhaps of a product that the version never saw. They move
what is known of that product's level (`training.pooling.learned`), as far as 1, 10 or 30 cases should.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp
from typing import TYPE_CHECKING, Any

import pandas as pd

from crsrisk.cohort import Cohort
from crsrisk.errors import ModelError, NotEnoughDataError
from crsrisk.therapies import Therapy
from training.crossvalidate import Prepared, prepare
from training.design import Design
from training.fit import level_data
from training.fit_input import start_of
from training.kept import NO_LIST
from training.model import RiskModel
from training.pooling import LevelData, TherapyShift, before_outcomes, learned

if TYPE_CHECKING:
    from training.champion_store import ChampionStore
    from training.kept import Kept
    from training.registry import ModelInfo
    from training.track import Registered

COLUMNS = ("therapy", "patients", "events", "odds_before", "odds_after", "sd_before", "sd_after")


@dataclass(frozen=True, eq=False)
class Learning:
    """What further cases taught a version.

    table: per therapy its new patients, those of them with severe CRS, the factor on the odds that offset and trees say
    and the sd of its log before their outcomes and after. known: patients left out, since the version had learned from
    them.
    """

    registered: Registered
    table: pd.DataFrame
    known: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        info = self.registered.info
        return {
            "model": info.name,
            "version": info.version,
            "digest": info.digest,
            "run_id": self.registered.run_id,
            "patients_known_before": self.known,
            "therapies": self.table.to_dict("records"),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """What moved, the notes, and what was registered."""
        told = [
            f"{row.therapy}: {row.patients} patients, {row.events} severe; odds x {row.odds_before:.2f} "
            f"(sd of the log {row.sd_before:.2f}) -> x {row.odds_after:.2f} ({row.sd_after:.2f})"
            for row in self.table.itertuples()
        ]
        info = self.registered.info
        return "\n".join([*told, *self.notes, f"{info.name} version {info.version} registered as challenger"])


def learned_model(model: RiskModel, new: Design, extra: Mapping[str, Therapy]) -> RiskModel:
    """The model after the patients of these rows.

    Args:
        model: trees, calibration and levels so far.
        new: labelled rows of its family, of patients it has not learned from.
        extra: therapies outside the catalogue.
    """
    levels = learned(model.interval.levels, *_told(model, new, extra))
    keys = [str(key) for key in dict.fromkeys(new.rows["therapy"].tolist())]
    counts = new.rows.groupby("therapy")["patient_id"].nunique()
    seen = {key: model.therapies_seen.get(key, 0) + int(counts.get(key, 0)) for key in keys}
    return replace(
        model,
        interval=replace(model.interval, levels=levels),
        n_patients=model.n_patients + new.patients(),
        n_events=model.n_events + new.severe_patients(),
        therapies_seen={**model.therapies_seen, **seen},
    )


def _told(model: RiskModel, new: Design, extra: Mapping[str, Therapy]) -> tuple[LevelData, dict[str, float]]:
    """What the rows tell about levels, and the sd of the logit of each therapy's published rate."""
    start, c = start_of(model.offset, new, extra), model.calibration
    log_odds = c.intercept + c.slope * model.margins(new.matrix, start)
    keys = dict.fromkeys(new.rows["therapy"].tolist())
    prior_sd = {str(key): model.offset.rate_of(str(key), extra).logit_sd for key in keys}
    return level_data(new, log_odds, start.log_odds()), prior_sd


def learn_and_register(
    cohort: Cohort, address: str, *, tracking_uri: str, store_url: str | None = None
) -> Learning:
    """Move the levels of a registered version by the patients of a cohort it has not learned from, and register it.

    Args:
        cohort: further courses with outcomes.
        address: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.

    Raises:
        ModelError: no such version, or one of other features than this program computes.
        NotEnoughDataError: no labelled patient of the family that the version does not know.
    """
    from training.champions import load_uri, open_store
    from training.gate_kept import known_patients
    from training.track import FamilyRun, log_training

    model, info = load_uri(address, tracking_uri=tracking_uri)
    store = open_store(tracking_uri, store_url)
    prepared = prepare(cohort, model.landmarks)
    if prepared.names != model.feature_names:
        raise ModelError(
            f"{info.name} version {info.version} was made with other features; train a new version"
        )
    rows = prepared.rows()
    mine = rows.take((rows.rows["family"] == model.family).to_numpy())
    known = known_patients(mine.rows["patient_id"], info.name, info.version, store, tracking_uri=tracking_uri)
    new = mine.take(~known) if known is not None else mine
    if len(new) == 0:
        raise NotEnoughDataError(
            f"no labelled patient of family {model.family!r} whom {info.name} version {info.version} has not learned "
            "from; give a cohort of further courses with outcomes"
        )
    notes = (_note(model, new, info), *(() if known is not None else (UNKNOWN,)))
    after = learned_model(model, new, prepared.cohort.therapies)
    after = replace(after, simulated=model.simulated or cohort.simulated, notes=(*model.notes, *notes))
    run = FamilyRun(
        model=after,
        params={"learned_from": f"{info.name}/{info.version}", "learned_from_digest": info.digest},
        kept=_kept(model, info, new, prepared, store, tracking_uri),
    )
    (registered,) = log_training(
        [run], dataset_digest=cohort.digest(), params={"family": str(model.family)}, tracking_uri=tracking_uri
    )
    left_out = 0 if known is None else int(mine.take(known).patients())
    return Learning(registered, _table(model, after, new, prepared.cohort.therapies), left_out, notes)


UNKNOWN = f"{NO_LIST} A patient who counts twice makes the levels too sure."


def _kept(
    model: RiskModel,
    info: ModelInfo,
    new: Design,
    prepared: Prepared,
    store: ChampionStore,
    tracking_uri: str,
) -> Kept:
    """Patients learned from, then and now, and what the version said of the new ones before it learned from them."""
    from training.gate_evidence import ROW, Pseudonyms, labelled, leak_findings, predicted
    from training.gate_kept import kept_side
    from training.kept import ON_NEW, PATIENTS, Kept

    pseudonyms = Pseudonyms(store.pseudonym_key())
    side = kept_side(info.name, info.version, pseudonyms, tracking_uri=tracking_uri)
    patients = set(pseudonyms.column(new.rows["patient_id"], "patient"))
    rows = labelled(prepared, str(model.family), pseudonyms)
    rows = rows[rows["patient"].isin(patients)]
    leaks = leak_findings(prepared.cohort)
    return Kept(
        tables={
            PATIENTS: pd.DataFrame({"patient": sorted(patients | set(side.seen or ()))}),
            ON_NEW: predicted(model, prepared, rows, pseudonyms)[[*ROW, "risk"]],
        },
        tags={
            "pseudonyms": pseudonyms.name,
            "error_findings": str(leaks.certain),
            "leaks_suspected": str(leaks.suspected),
            "simulated": str(model.simulated or prepared.cohort.simulated).lower(),
            "scored_champion_digest": info.digest,
        },
    )


def _note(model: RiskModel, new: Design, info: ModelInfo) -> str:
    return (
        f"{model.family}: levels of therapies learned from {new.patients()} further patients, {new.severe_patients()} "
        f"with severe CRS; trees and calibration are those of {info.name} version {info.version}."
    )


def _table(before: RiskModel, after: RiskModel, new: Design, extra: Mapping[str, Therapy]) -> pd.DataFrame:
    lines = []
    known = before_outcomes(before.interval.levels, *_told(before, new, extra))
    for key, rows in new.rows.groupby("therapy"):
        old = known[str(key)]
        now: TherapyShift = after.level_of(str(key), extra)
        severe = rows.loc[rows["severe"] == 1, "patient_id"].nunique()
        counts = (int(rows["patient_id"].nunique()), int(severe))
        lines.append((str(key), *counts, exp(old.mean), exp(now.mean), old.sd, now.sd))
    return pd.DataFrame(lines, columns=list(COLUMNS))
