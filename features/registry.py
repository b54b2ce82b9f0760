"""All declared features in the order of their columns, and the digest that ties a model to them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from functools import cache

from features import (
    blood_counts,
    coagulation,
    course,
    endothelium,
    inflammation,
    scores,
    support,
    treatment,
    tumour_burden,
    vitals,
)
from features.declare import Feature
from features.engine import ENGINE_VERSION
from features.segments import CARRY_HOURS, SLOPE_SPAN_HOURS

THEMES = (
    course,
    scores,
    inflammation,
    endothelium,
    tumour_burden,
    vitals,
    blood_counts,
    coagulation,
    support,
    treatment,
)

FEATURES: tuple[Feature, ...] = tuple(feature for theme in THEMES for feature in theme.FEATURES)


@cache
def feature_names() -> tuple[str, ...]:
    """Names of all features, in the order of the columns of a feature table."""
    return tuple(feature.name for feature in FEATURES)


@cache
def predictors(*, support: bool = False) -> tuple[Feature, ...]:
    """Features that a model may use; with `support` also those that define the grade. Never treatments."""
    roles = {"predictor", "support"} if support else {"predictor"}
    return tuple(feature for feature in FEATURES if feature.role in roles)


@cache
def usual_care_predictors() -> tuple[Feature, ...]:
    """Predictors and what was given for CRS so far: of the second model, `risk under usual care`."""
    return tuple(feature for feature in FEATURES if feature.role in ("predictor", "treatment"))


@cache
def feature(name: str) -> Feature:
    """The declaration of one feature.

    Raises:
        KeyError: no feature of this name.
    """
    return {declared.name: declared for declared in FEATURES}[name]


@cache
def feature_set_digest() -> str:
    """'sha256:...' over every declaration and the version of the engine: what a model's manifest must name.

    Meaning and source are text for people and do not enter; whatever can change a number does.
    """
    silent = {"meaning", "source", "derive", "theme"}
    declared = [
        {
            **{f.name: getattr(feature, f.name) for f in fields(feature) if f.name not in silent},
            "derived": feature.derive is not None,
        }
        for feature in FEATURES
    ]
    content = {
        "engine": ENGINE_VERSION,
        "carry_hours": CARRY_HOURS,
        "slope_span_hours": SLOPE_SPAN_HOURS,
        "features": declared,
    }
    encoded = json.dumps(content, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(encoded.encode()).hexdigest()}"
