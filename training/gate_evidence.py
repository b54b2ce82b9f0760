"""What a version brings to the gate: risks of patients whom the model that gave them had never seen.

Kept with the run at training, under pseudonyms: the out-of-fold risks of the new version and of everything it
has to beat; the risks that the champion of that day gives patients who are new to it; and the patients that
the version learned from. So two versions can be compared later without the cohorts they were trained on.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from training.kept import EVIDENCE, ON_NEW, PATIENTS, Kept
from training.subgroups import SUBGROUPS, course_groups

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from training.crossvalidate import Prepared
    from training.gate_pairs import Side
    from training.model import RiskModel
    from training.pipeline import TrainedFamily

ROW = ("course", "dose", "landmark_hours", "horizon")  # names one labelled row, over trainings; all text
ABOUT = ("patient", *SUBGROUPS, "severe", "weight")
NUMBERS = ("severe", "weight")
TELLING = ("a", "b", "d")  # kinds of leaks by which predictors tell the outcome
_HEX = 20  # 80 bits: no two ids of a hospital fall together


class Leaks(NamedTuple):
    """Findings of a leak report: the certain ones, and suspicions that predictors tell the outcome."""

    certain: int
    suspected: int


@dataclass(frozen=True)
class Pseudonyms:
    """Ids as keyed hashes: equal ids of two trainings meet, and without the key nobody finds the id.

    >>> Pseudonyms(b"k").of("p1", "patient") == Pseudonyms(b"k").of("p1", "course")
    False
    """

    key: bytes = field(repr=False)

    def of(self, identifier: str, kind: str) -> str:
        """Pseudonym of one id; `kind` keeps courses and patients apart."""
        return hmac.new(self.key, f"{kind}:{identifier}".encode(), hashlib.sha256).hexdigest()[:_HEX]

    def column(self, identifiers: pd.Series, kind: str) -> list[str]:
        """Pseudonyms of a column of ids."""
        known = {one: self.of(str(one), kind) for one in identifiers.unique().tolist()}
        return [known[one] for one in identifiers.tolist()]

    @property
    def name(self) -> str:
        """Tells keys apart without giving one away."""
        return self.of("", "key")


def kept_for_gate(
    trained: TrainedFamily,
    prepared: Prepared,
    pseudonyms: Pseudonyms,
    champion: tuple[RiskModel, Side] | None,
    leaks: Leaks,
) -> Kept:
    """What a training keeps of one family for the gate.

    Args:
        trained: the family's model with its out-of-fold risks.
        prepared: the cohort it was trained on.
        pseudonyms: of the store of champions.
        champion: the family's champion today and what it kept; None when there is none or it can't be used.
        leaks: what the leak report of the cohort found.
    """
    learned = prepared.labels.rows["patient_id"].drop_duplicates()
    tables = {
        EVIDENCE: evidence(trained.evaluation.detail, prepared.cohort, pseudonyms),
        PATIENTS: pd.DataFrame({"patient": sorted(pseudonyms.column(learned, "patient"))}),
    }
    tags = {
        "pseudonyms": pseudonyms.name,
        "error_findings": str(leaks.certain),
        "leaks_suspected": str(leaks.suspected),
        "simulated": str(trained.model.simulated).lower(),
    }
    if champion is not None and champion[1].seen is not None:
        model, side = champion
        rows = labelled(prepared, trained.family, pseudonyms)
        new = rows[~rows["patient"].isin(champion[1].seen)]
        tables[ON_NEW] = predicted(model, prepared, new, pseudonyms)[[*ROW, "risk"]]
        tags["scored_champion_digest"] = side.digest
    return Kept(tables, tags)


def evidence(detail: pd.DataFrame, cohort: Cohort, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """A row per labelled row with ROW, ABOUT and the out-of-fold risk of each model, repeats averaged.

    detail: `CrossValidation.detail` of one family.
    """
    named = named_rows(detail, pseudonyms)
    facts = named.groupby(list(ROW), sort=True)[["patient", "course_id", "severe", "weight"]].first()
    risks = named.pivot_table(index=list(ROW), columns="model", values="risk", aggfunc="mean")
    joined = facts.join(risks).reset_index()
    return _with_groups(joined, cohort)[[*ROW, *ABOUT, *sorted(risks.columns)]]


def labelled(prepared: Prepared, family: str, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """ROW and ABOUT of the labelled rows of one family, with course_id."""
    rows = prepared.labels.rows
    mine = named_rows(rows[rows["family"] == family], pseudonyms)
    return _with_groups(mine, prepared.cohort)[["course_id", *ROW, *ABOUT]]


def predicted(
    model: RiskModel, prepared: Prepared, rows: pd.DataFrame, pseudonyms: Pseudonyms
) -> pd.DataFrame:
    """The rows that a model answers, with its `risk`, as the service would give it.

    rows: `labelled`; those at a horizon that the model does not answer are left out.
    """
    from features.matrix import FeatureTable

    table = prepared.table
    wanted = table.rows["course_id"].isin(rows["course_id"]).to_numpy()
    chosen = FeatureTable(
        table.rows[wanted].reset_index(drop=True), np.ascontiguousarray(table.values[wanted]), table.names
    )
    found = model.predict(chosen, model.horizons, therapies=prepared.cohort.therapies)
    base = chosen.rows.iloc[found.row].reset_index(drop=True)
    risks = named_rows(
        base.assign(horizon_hours=found.horizon_hours, rest_of_window=found.rest_of_window, risk=found.risk),
        pseudonyms,
    )
    return rows.merge(risks[[*ROW, "risk"]], on=list(ROW), how="inner", validate="one_to_one")


def read_evidence(table: pd.DataFrame) -> pd.DataFrame:
    """An evidence table as it comes back from text: numbers as numbers."""
    numbers = [c for c in table.columns if c not in (*ROW, *ABOUT) or c in NUMBERS]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def leak_findings(cohort: Cohort) -> Leaks:
    """What the cohort's leak report found."""
    from crsrisk.quality import check

    report = check(cohort)
    certain = sum(one.level == "error" for one in report.findings)
    suspected = sum(one.level != "error" and one.kind in TELLING for one in report.findings)
    return Leaks(len(report.errors) + certain, suspected)


def named_rows(rows: pd.DataFrame, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """Labelled rows with `course`, `patient` and `horizon` in the evidence's words: text, also of no row at all."""
    rest = rows["rest_of_window"].to_numpy(dtype=bool)
    horizons = rows["horizon_hours"].tolist()
    return rows.assign(
        course=pseudonyms.column(rows["course_id"], "course"),
        patient=pseudonyms.column(rows["patient_id"], "patient"),
        dose=[f"{dose}" for dose in rows["dose"].tolist()],
        landmark_hours=[f"{hours:g}" for hours in rows["landmark_hours"].tolist()],
        horizon=["rest" if whole else f"{hour:g}" for hour, whole in zip(horizons, rest, strict=True)],
    ).astype(dict.fromkeys((*ROW, "patient"), "str"))


def _with_groups(rows: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """The rows with the level of each subgroup; an era that the cohort does not have is empty."""
    groups = course_groups(cohort)
    levels = groups.reindex(columns=["course_id", *SUBGROUPS], fill_value="")
    rest = rows.drop(columns=[c for c in SUBGROUPS if c in rows])
    return rest.merge(levels, on="course_id", how="left", validate="many_to_one")
