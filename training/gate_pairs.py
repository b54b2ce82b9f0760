"""Challenger and champion side by side: for each row the risk of both, neither having seen the patient.

From what was kept at training: out-of-fold risks of the challenger, with those of the champion where it was
trained on the same patients (`known`), or with what the champion said of patients who were new to it (`new`). Or
from a validation cohort, without the patients that either version learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from training.baselines import (
    LAST_GRADE,
    MEASURED_SHARE,
    SCORES,
    UNIVARIABLE,
    Split,
    measured_share,
    univariable,
)
from training.crossvalidate import DEFAULT_FOLDS, OURS
from training.gate_evidence import ABOUT, ROW, Pseudonyms, labelled, named_rows, predicted
from training.split import course_folds

if TYPE_CHECKING:
    from training.crossvalidate import Prepared
    from training.model import RiskModel

BASE_RATE = "prior"
COMPARATORS = (*SCORES, LAST_GRADE, BASE_RATE)  # what a model must beat to be worth its trouble


@dataclass(frozen=True, eq=False)
class Side:
    """What one version brought. seen: pseudonyms of the patients it learned from, None when not known.

    evidence: `gate_evidence.evidence`, read back. on_new: ROW and the risks that the champion named by
    `scored` (its digest) gave patients new to it.
    """

    title: str
    digest: str
    evidence: pd.DataFrame | None = None
    seen: frozenset[str] | None = None
    on_new: pd.DataFrame | None = None
    scored: str = ""


@dataclass(frozen=True, eq=False)
class Compared:
    """Rows with the risks of both.

    rows: ROW, ABOUT, group (known, new or validation), challenger, champion, a column per score and
    severe_then, the label that the champion was judged on (nan where it was not). against: who the champion
    is, in words. left_out: rows without a fair comparison, by reason. problem: why nothing can be compared,
    empty when it can.
    """

    rows: pd.DataFrame
    against: str
    scores: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def impossible(cls, against: str, problem: str) -> Compared:
        """Nothing to compare, and why."""
        return cls(pd.DataFrame(columns=[*ROW, *ABOUT, "group"]), against, problem=problem)


def from_training(challenger: Side, champion: Side | None) -> Compared:
    """Both on the patients of the challenger's training cohort; without a champion against the base rate."""
    against = "the published base rate" if champion is None else champion.title
    if challenger.evidence is None:
        return Compared.impossible(
            against,
            "no out-of-fold risks were kept with this version; train it again or give a validation cohort",
        )
    rows = challenger.evidence.rename(columns={OURS: "challenger"})
    scores = tuple(c for c in COMPARATORS if c in rows)
    if champion is None:
        whole = rows.assign(champion=rows[BASE_RATE], group="known", severe_then=np.nan)
        return Compared(whole, against, scores)
    if champion.evidence is None or champion.seen is None:
        return Compared.impossible(
            against,
            f"which patients {champion.title} learned from is not known; give a validation cohort of other patients",
        )
    new = ~rows["patient"].isin(champion.seen)
    on_new = challenger.on_new if challenger.scored == champion.digest else None
    if new.any() and on_new is None:
        return Compared.impossible(
            against,
            f"when this version was trained, {champion.title} was not champion, and what it says of the "
            f"{rows.loc[new, 'patient'].nunique()} patients who are new to it is not known; train again or give a "
            "validation cohort",
        )
    known = _known(champion.evidence)
    risk = known if on_new is None else pd.concat([known, _new(on_new)], ignore_index=True)
    joined = rows.merge(risk, on=list(ROW), how="left", validate="one_to_one")
    fair = joined["champion"].notna()
    new = ~joined["patient"].isin(champion.seen)
    left_out = {
        "of known patients that the champion was not judged on": int((~fair & ~new).sum()),
        "of new patients that the champion does not answer": int((~fair & new).sum()),
        "that the champion was judged on and this training does not have": len(known)
        - int((joined["group"] == "known").sum()),
    }
    return Compared(
        joined[fair].reset_index(drop=True), against, scores, {why: n for why, n in left_out.items() if n}
    )


def _known(kept: pd.DataFrame) -> pd.DataFrame:
    """The champion's out-of-fold risks, and the labels that they were judged on."""
    renamed = kept.rename(columns={OURS: "champion", "severe": "severe_then"})
    return renamed[[*ROW, "champion", "severe_then"]].assign(group="known")


def _new(on_new: pd.DataFrame) -> pd.DataFrame:
    """What the champion said, when the challenger was trained, of patients new to it."""
    return on_new.rename(columns={"risk": "champion"}).assign(group="new", severe_then=np.nan)


def from_cohort(
    prepared: Prepared,
    family: str,
    challenger: tuple[RiskModel, Side],
    champion: tuple[RiskModel, Side] | None,
    pseudonyms: Pseudonyms,
    *,
    seed: int = 0,
) -> Compared:
    """Both on a validation cohort, without the patients that either learned from.

    A champion whose patients are not known may have learned from them: that favours the champion alone.
    The published scores are fitted to this very cohort, out of fold: an advantage over both models.
    """
    against = "the published base rate" if champion is None else champion[1].title
    if challenger[1].seen is None:
        return Compared.impossible(
            against,
            "which patients this version learned from is not known, so none can be told to be new to it; train it "
            "again",
        )
    rows = labelled(prepared, family, pseudonyms)
    if not len(rows):
        return Compared.impossible(against, f"the validation cohort has no labelled rows of {family}")
    seen = challenger[1].seen | ((champion[1].seen if champion else None) or frozenset())
    fresh = rows[~rows["patient"].isin(seen)]
    left_out = {"of patients whom a version learned from": len(rows) - len(fresh)}
    if not len(fresh):
        return Compared.impossible(
            against, "one of the versions learned from every patient of the validation cohort"
        )
    scores = _scores(prepared, family, challenger[0], seed)
    sides = {"challenger": challenger[0]} | ({"champion": champion[0]} if champion else {})
    for name, model in sides.items():
        answered = predicted(model, prepared, fresh, pseudonyms).rename(columns={"risk": name})
        left_out[f"that the {name} does not answer"] = len(fresh) - len(answered)
        fresh = answered
    joined = fresh.merge(_keyed(scores, pseudonyms), on=list(ROW), how="inner", validate="one_to_one")
    if champion is None:
        joined = joined.assign(champion=joined[BASE_RATE])
    return Compared(
        joined.drop(columns="course_id").assign(group="validation", severe_then=np.nan),
        against,
        tuple(c for c in COMPARATORS if c in joined),
        {why: n for why, n in left_out.items() if n},
    )


def _scores(prepared: Prepared, family: str, model: RiskModel, seed: int) -> pd.DataFrame:
    """Out-of-fold risks of the published scores and the base rate on a cohort's rows of one family."""
    every = prepared.rows()
    mine = every.take((every.rows["family"] == family).to_numpy())
    measured = [s for s in (*SCORES, LAST_GRADE) if measured_share(mine, UNIVARIABLE[s]) >= MEASURED_SHARE]
    by_course = mine.rows.groupby("course_id").agg(
        patient_id=("patient_id", "first"), family=("family", "first"), severe=("severe", "max")
    )
    folds = course_folds(
        by_course.reset_index(), n_folds=min(DEFAULT_FOLDS, mine.patients()), repeats=1, seed=seed
    )
    fold = mine.rows["course_id"].map(folds.set_index("course_id")["fold"]).to_numpy()
    start = model.offset.start(
        mine.rows["therapy"].tolist(), mine.dose, mine.landmark, mine.horizon, prepared.cohort.therapies
    )
    offset = start.log_odds()
    found = mine.rows.assign(**{BASE_RATE: 1.0 / (1.0 + np.exp(-offset))})
    for score in measured:
        risk = np.full(len(mine), np.nan)
        for number in np.unique(fold):
            held = np.flatnonzero(fold == number)
            rest = np.flatnonzero(fold != number)
            split = Split(mine.take(rest), mine.take(held), offset[rest], offset[held])
            risk[held] = univariable(split, UNIVARIABLE[score])
        found[score] = risk
    return found


def _keyed(scores: pd.DataFrame, pseudonyms: Pseudonyms) -> pd.DataFrame:
    named = named_rows(scores, pseudonyms)
    return named[[*ROW, *(c for c in COMPARATORS if c in named)]]
