"""Champions and challengers of a small linear recipe on drawn patients, for the gate: honest batches and others.

A batch of new patients comes to those the champion learned from; the challenger learns from all. Risks are
given as in training: out of fold for patients that a version learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from training.gate import Learned
from training.gate_evidence import ROW, Leaks
from training.gate_pairs import Compared, Side, from_training
from training.offset import sigmoid
from training.regression import fit_logistic

BETA = np.array([0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0])
LEVEL = -2.6
EVERYTHING = tuple(range(len(BETA)))
Batch = tuple[np.ndarray, np.ndarray]  # inputs (n, 8), severe (n,)


def patients(rng: np.random.Generator, n: int, level: float = LEVEL, beta: np.ndarray = BETA) -> Batch:
    inputs = rng.normal(size=(n, len(beta)))
    severe = (rng.random(n) < sigmoid(level + inputs @ beta)).astype(float)
    return inputs, severe


def honest(rng: np.random.Generator, n: int) -> Batch:
    return patients(rng, n)


def wrong_labels(rng: np.random.Generator, n: int) -> Batch:
    """Outcomes of other patients, as after a sorted join gone wrong."""
    inputs, severe = patients(rng, n)
    return inputs, rng.permutation(severe)


def wrong_units(rng: np.random.Generator, n: int) -> Batch:
    """The strongest two predictors arrive in other units."""
    inputs, severe = patients(rng, n)
    inputs[:, :2] = inputs[:, :2] * 0.1 - 3.0
    return inputs, severe


def leaking(rng: np.random.Generator, n: int) -> Batch:
    """One predictor was recorded after the outcome."""
    inputs, severe = patients(rng, n)
    inputs[:, 5] += 3.0 * severe
    return inputs, severe


def drifted(rng: np.random.Generator, n: int) -> Batch:
    """Other care: twice the risk for the same inputs."""
    return patients(rng, n, level=LEVEL + 0.9)


def compared(
    seed: int, batch: Callable[[np.random.Generator, int], Batch], **changes: Any
) -> tuple[Learned, Compared]:
    """What the gate gets when the challenger learned from the champion's patients and a batch of new ones."""
    champion, challenger = sides(seed, batch, **changes)
    return learned(challenger), from_training(challenger, champion)


def learned(challenger: Side, **changes: Any) -> Learned:
    """Facts of a challenger that would pass, but for the changes."""
    by_patient = challenger.evidence.groupby("patient")["severe"].max()
    facts = {"strategy": "own", "patients": len(by_patient), "events": int(by_patient.sum())}
    return Learned(**({**facts, "predictors": len(BETA), "leaks": Leaks(0, 0)} | changes))


def sides(
    seed: int,
    batch: Callable[[np.random.Generator, int], Batch],
    *,
    old: int = 700,
    new: int = 500,
    champion_inputs: tuple[int, ...] = EVERYTHING,
    challenger_inputs: tuple[int, ...] = EVERYTHING,
) -> tuple[Side, Side]:
    """Champion and challenger, as they are kept at training."""
    rng = np.random.default_rng(seed)
    before, after = patients(rng, old), batch(rng, new)
    inputs, severe = (np.concatenate(pair) for pair in zip(before, after, strict=True))
    known = np.arange(old + new) < old
    names = np.array([f"p{i:05d}" for i in range(old + new)])
    sex = np.where(rng.random(old + new) < 0.5, "female", "male")
    theirs, mine = inputs[:, list(champion_inputs)], inputs[:, list(challenger_inputs)]

    def kept(chosen: np.ndarray, columns: np.ndarray) -> pd.DataFrame:
        own, score = (out_of_fold(x[chosen], severe[chosen], rng) for x in (columns, inputs[:, [2]]))
        rate = np.full(int(chosen.sum()), severe[chosen].mean())
        return table(names[chosen], sex[chosen], severe[chosen], crsrisk=own, easix=score, prior=rate)

    champion = Side(
        "version 1", "sha256:1", evidence=kept(known, theirs), seen=frozenset(names[known].tolist())
    )
    asked = fitted(theirs[known], severe[known], theirs[~known])
    on_new = table(names[~known], sex[~known], severe[~known], risk=asked)[[*ROW, "risk"]]
    challenger = Side(
        "version 2",
        "sha256:2",
        evidence=kept(np.ones(old + new, dtype=bool), mine),
        seen=frozenset(names.tolist()),
        on_new=on_new,
        scored="sha256:1",
    )
    return champion, challenger


def fitted(inputs: np.ndarray, severe: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Risks of the asked from a ridge regression on the others."""
    beta = fit_logistic(
        np.column_stack([np.ones(len(inputs)), inputs]), severe, np.ones(len(severe)), ridge=3.0
    )
    return sigmoid(np.column_stack([np.ones(len(asked)), asked]) @ beta)


def out_of_fold(
    inputs: np.ndarray, severe: np.ndarray, rng: np.random.Generator, folds: int = 5
) -> np.ndarray:
    """Risk of each patient from the patients of the other folds."""
    fold, risk = rng.integers(0, folds, len(severe)), np.empty(len(severe))
    for number in range(folds):
        held = fold == number
        risk[held] = fitted(inputs[~held], severe[~held], inputs[held])
    return risk


def table(names: np.ndarray, sex: np.ndarray, severe: np.ndarray, **risks: np.ndarray) -> pd.DataFrame:
    """Evidence with one row per patient, at 24 hours for the rest of the window."""
    about = {
        "course": names,
        "dose": "1",
        "landmark_hours": "24",
        "horizon": "rest",
        "patient": names,
        "therapy": "axi-cel_LBCL3L",
        "product": "axi-cel",
        "sex": sex,
        "age_band": "40 to 64",
        "site": "unknown",
        "era": "",
        "severe": severe,
        "weight": 1.0,
    }
    return pd.DataFrame(about | risks)
