"""Small risk models built without a cohort: real trees, offset, calibration and files, in milliseconds."""

from functools import cache

import lightgbm
import numpy as np

from crsrisk.therapies import therapies
from features.registry import feature_set_digest, predictors
from training.model import Calibration, IntervalSpec, RiskModel
from training.offset import OffsetSpec, Within, base_rate
from training.track import ModelInfo

ROWS = 400
RISING = ("crp_max_since_index", "ferritin_max_since_index", "temperature_max_since_dose")


@cache
def tree_model(family: str = "cd19_cart", seed: int = 1, refits: int = 3) -> RiskModel:
    """A model whose trees read CRP, ferritin, temperature and others, with refits behind its interval."""
    rng = np.random.default_rng(seed)
    names = tuple(f.name for f in predictors())
    values = rng.lognormal(3.0, 1.0, size=(ROWS, len(names)))
    values[rng.random(values.shape) < 0.2] = np.nan
    time = np.column_stack([rng.choice([0.0, 24.0, 48.0], ROWS), rng.choice([24.0, 72.0, 288.0], ROWS)])
    design = np.column_stack([values, time])
    at = [names.index(name) for name in RISING]
    signal = np.nansum(np.log1p(values[:, at]), axis=1) - 10.0 + time[:, 1] / 300.0
    severe = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(-signal))).astype(float)
    monotone = [0] * (len(names) + 1) + [1]
    texts = [_grow(design[rows], severe[rows], monotone, seed) for rows in _draws(rng, refits)]
    return RiskModel(
        family=family,
        feature_names=names,
        feature_digest=feature_set_digest(),
        strategy="own",
        offset=_offset(family),
        calibration=Calibration(-0.2, 0.8, Within(-0.1, 0.6), events=int(severe.sum())),
        interval=IntervalSpec(),
        booster_text=texts[0],
        bootstrap_texts=tuple(texts[1:]),
        landmarks=(0.0, 24.0, 48.0),
        n_patients=ROWS,
        n_events=int(severe.sum()),
        therapies_seen={"axi-cel_LBCL3L": ROWS},
        seed=seed,
    )


@cache
def offset_model(family: str = "bcma_cart") -> RiskModel:
    """A model of too few events: the published base rate alone."""
    return RiskModel(
        family=family,
        feature_names=tuple(f.name for f in predictors()),
        feature_digest=feature_set_digest(),
        strategy="offset",
        offset=_offset(family),
        n_patients=40,
        n_events=3,
        landmarks=(0.0, 24.0),
    )


def loaded(*models: RiskModel) -> dict[str, tuple[RiskModel, ModelInfo]]:
    """Models as a scorer takes them, under made-up versions."""
    return {str(m.family): (m, ModelInfo(f"crsrisk-{m.family}", "1", f"sha256:{m.family}")) for m in models}


def _offset(family: str) -> OffsetSpec:
    mine = {key: base_rate(known) for key, known in therapies().items() if known.family == family}
    return OffsetSpec(rates=mine, shares={})


def _draws(rng: np.random.Generator, refits: int) -> list[np.ndarray]:
    return [np.arange(ROWS), *(rng.integers(0, ROWS, ROWS) for _ in range(refits))]


def _grow(design: np.ndarray, severe: np.ndarray, monotone: list[int], seed: int) -> str:
    parameters = {
        "objective": "binary",
        "max_depth": 2,
        "num_leaves": 4,
        "learning_rate": 0.1,
        "monotone_constraints": monotone,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "verbosity": -1,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(design, severe), num_boost_round=60)
    text: str = booster.model_to_string()
    return text
