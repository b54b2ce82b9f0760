"""Published scores as features: at baseline, and from the latest values known at the landmark.

The formulas stand in `crsrisk.scores`; here only units are matched and logarithms taken. Any missing input:
no score.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from crsrisk import scores
from crsrisk.units import factor
from features.declare import Feature, Floats, Inputs, Need
from features.engine import WindowName

MG_L_PER_MG_DL = 10.0  # CRP: canonical mg/L, m-EASIX asks for mg/dL
MG_DL_PER_G_L = 100.0  # fibrinogen: canonical mg/dL, HScore asks for g/L


def _last(inputs: Inputs, window: WindowName, *analytes: str) -> list[Floats]:
    return [inputs.get(analyte, window, "last") for analyte in analytes]


def _easix(inputs: Inputs, *, window: WindowName) -> Floats:
    return scores.log2_score(scores.easix(*_last(inputs, window, "ldh", "creatinine", "platelets")))


def _s_easix(inputs: Inputs, *, window: WindowName) -> Floats:
    return scores.log2_score(scores.s_easix(*_last(inputs, window, "ldh", "platelets")))


def _m_easix(inputs: Inputs, *, window: WindowName) -> Floats:
    ldh, crp, platelets = _last(inputs, window, "ldh", "crp", "platelets")
    return scores.log2_score(scores.m_easix(ldh, crp / MG_L_PER_MG_DL, platelets))


def _hscore(inputs: Inputs) -> Floats:
    """Points of HScore from the latest values and the highest temperature of the last 24 h."""
    window: WindowName = "so_far"
    mmol = factor("triglycerides", "mmol/L")
    if mmol is None:
        raise ValueError("triglycerides in mmol/L is not in crsrisk/data/units.csv; HScore needs it")
    cytopenias = scores.cytopenia_lineages(*_last(inputs, window, "hemoglobin", "wbc", "platelets"))
    known = dict(zip(_HSCORE, _last(inputs, window, *_HSCORE), strict=True))
    points: Floats = scores.hscore(  # type: ignore[assignment]  # arrays in, arrays out
        immunosuppression=known["immunosuppression"],
        temperature=inputs.get("temperature", "last_24h", "max"),
        organomegaly=known["organomegaly"],
        cytopenias=cytopenias,
        ferritin=known["ferritin"],
        triglycerides=known["triglycerides"] / mmol[0],
        fibrinogen=known["fibrinogen"] / MG_DL_PER_G_L,
        ast=known["ast"],
        haemophagocytosis=known["hemophagocytosis"],
    )
    return points


_HSCORE = (
    "immunosuppression",
    "organomegaly",
    "ferritin",
    "triglycerides",
    "fibrinogen",
    "ast",
    "hemophagocytosis",
)
_SCORES: dict[str, tuple[Callable[..., Floats], tuple[str, ...], str, str]] = {
    "easix": (_easix, ("ldh", "creatinine", "platelets"), "LDH x creatinine / platelets", "korell_2022"),
    "s_easix": (_s_easix, ("ldh", "platelets"), "LDH / platelets", "pennisi_2021"),
    "m_easix": (_m_easix, ("ldh", "crp", "platelets"), "LDH x CRP (mg/dL) / platelets", "pennisi_2021"),
}
_WHEN: dict[WindowName, str] = {
    "baseline": "from the latest values up to the index time",
    "so_far": "from the latest values known at the landmark",
}


def _feature(score: str, window: WindowName) -> Feature:
    derive, analytes, formula, source = _SCORES[score]
    return Feature(
        name=f"{score}_log2_{window}",
        analyte=score,
        window=window,
        statistic="log2",
        unit="1",
        meaning=f"log2 of {formula}, {_WHEN[window]}; higher means more endothelial stress.",
        source=source,
        theme="scores",
        monotone=1,
        needs=tuple(Need(analyte, window, "last") for analyte in analytes),
        derive=partial(derive, window=window),
    )


FEATURES = (
    *(_feature(score, window) for score in _SCORES for window in _WHEN),
    Feature(
        name="hscore_points_so_far",
        analyte="hscore",
        window="so_far",
        statistic="points",
        unit="{score}",
        meaning="HScore for haemophagocytic syndrome from the latest values; needs all nine items.",
        source="fardet_2014",
        theme="scores",
        needs=(
            *(Need(analyte, "so_far", "last") for analyte in (*_HSCORE, "hemoglobin", "wbc", "platelets")),
            Need("temperature", "last_24h", "max"),
        ),
        derive=_hscore,
    ),
)
