"""Published scores whose formula was read in full; pure functions of numbers or arrays.

Scores whose coefficients were not read at their source (CAR-HEMATOTOX, Teachey, Hay, EASIX-F) stay out.
A nan input gives a nan score: nothing is imputed here.
"""

from collections.abc import Mapping
from math import nan
from types import MappingProxyType
from typing import Final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HSCORE_CUT_OFF: Final = (
    169.0  # above it haemophagocytic syndrome is likely: sensitivity 93 %, specificity 86 %
)
HSCORE_MAXIMUM: Final = 337.0
SEVERE_CIRS: Final = 3.0


@overload
def easix(ldh: float, creatinine: float, platelets: float) -> float: ...
@overload
def easix(ldh: Floats, creatinine: Floats, platelets: Floats) -> Floats: ...
def easix(ldh: ArrayLike, creatinine: ArrayLike, platelets: ArrayLike) -> float | Floats:
    """Endothelial Activation and Stress Index; higher means more endothelial stress.

    Args:
        ldh: U/L.
        creatinine: mg/dL.
        platelets: 10*9/L (the same number as 10*3/uL), above 0.

    Returns:
        LDH x creatinine / platelets; nan when any input is nan. Models use its logarithm (`log2_score`).

    Raises:
        ValueError: a single platelet count of 0 or below. In arrays such an element gives nan.

    Source: pennisi_2021 (formula and units), luft_2017 (first description).

    >>> easix(ldh=300, creatinine=1.0, platelets=150)
    2.0
    """
    return _per_platelets(np.asarray(ldh, np.float64) * np.asarray(creatinine, np.float64), platelets)


@overload
def s_easix(ldh: float, platelets: float) -> float: ...
@overload
def s_easix(ldh: Floats, platelets: Floats) -> Floats: ...
def s_easix(ldh: ArrayLike, platelets: ArrayLike) -> float | Floats:
    """Simplified EASIX, without creatinine; higher means more endothelial stress.

    Args:
        ldh: U/L.
        platelets: 10*9/L, above 0.

    Returns:
        LDH / platelets; nan when any input is nan.

    Raises:
        ValueError: a single platelet count of 0 or below. In arrays such an element gives nan.

    Source: pennisi_2021.

    >>> s_easix(ldh=350, platelets=50)
    7.0
    """
    return _per_platelets(np.asarray(ldh, np.float64), platelets)


@overload
def m_easix(ldh: float, crp_mg_dl: float, platelets: float) -> float: ...
@overload
def m_easix(ldh: Floats, crp_mg_dl: Floats, platelets: Floats) -> Floats: ...
def m_easix(ldh: ArrayLike, crp_mg_dl: ArrayLike, platelets: ArrayLike) -> float | Floats:
    """Modified EASIX, with CRP instead of creatinine; higher means more severe CRS and neurotoxicity.

    Args:
        ldh: U/L.
        crp_mg_dl: mg/dL. Our canonical CRP is mg/L: divide it by 10.
        platelets: 10*9/L, above 0.

    Returns:
        LDH x CRP / platelets; nan when any input is nan. A CRP of 0 gives 0, whose logarithm is nan.

    Raises:
        ValueError: a single platelet count of 0 or below. In arrays such an element gives nan.

    Source: pennisi_2021. No cut-off was read; none is given.

    >>> m_easix(ldh=350, crp_mg_dl=6.0, platelets=50)
    42.0
    """
    return _per_platelets(np.asarray(ldh, np.float64) * np.asarray(crp_mg_dl, np.float64), platelets)


def _per_platelets(product: Floats, platelets: ArrayLike) -> float | Floats:
    count = np.asarray(platelets, dtype=np.float64)
    if product.ndim == 0 and count.ndim == 0:
        if count <= 0:
            raise ValueError("platelets must be above 0 (10*9/L)")
        return float(product / count)
    valid = np.where(count > 0, count, nan)
    result: Floats = product / valid
    return result


@overload
def log2_score(score: float) -> float: ...
@overload
def log2_score(score: Floats) -> Floats: ...
def log2_score(score: ArrayLike) -> float | Floats:
    """Base-2 logarithm of a score, the scale on which published effects are given; nan for 0 and below.

    >>> log2_score(42.0), log2_score(0.0)
    (5.392317422778761, nan)
    """
    values = np.asarray(score, dtype=np.float64)
    logarithm = np.log2(np.where(values > 0, values, nan))
    return float(logarithm) if values.ndim == 0 else logarithm


def hscore(
    *,
    immunosuppression: ArrayLike,
    temperature: ArrayLike,
    organomegaly: ArrayLike,
    cytopenias: ArrayLike,
    ferritin: ArrayLike,
    triglycerides: ArrayLike,
    fibrinogen: ArrayLike,
    ast: ArrayLike,
    haemophagocytosis: ArrayLike,
) -> float | Floats:
    """HScore for reactive haemophagocytic syndrome, 0 to 337; higher means more likely. Not a CRS score.

    Args:
        immunosuppression: 1 known underlying immunosuppression, 0 none.
        temperature: degC.
        organomegaly: 0 none, 1 liver or spleen, 2 both.
        cytopenias: number of lineages below the limit, 0 to 3 (haemoglobin at most 9.2 g/dL, leukocytes
            at most 5.0 10*9/L, platelets at most 110 10*9/L); `cytopenia_lineages` counts them.
        ferritin: ng/mL.
        triglycerides: mmol/L.
        fibrinogen: g/L.
        ast: U/L.
        haemophagocytosis: 1 seen in the marrow, 0 not.

    Returns:
        Sum of points; nan when any input is nan.

    Source: fardet_2014 (points read in the copy hindawi crirh/2017/5304180 table 3).

    >>> hscore(immunosuppression=0, temperature=39.0, organomegaly=1, cytopenias=2, ferritin=2500,
    ...        triglycerides=2.0, fibrinogen=2.5, ast=35, haemophagocytosis=0)
    208.0
    """
    points = (
        _steps(immunosuppression, [1.0], [0, 18]),
        _steps(temperature, [38.4, np.nextafter(39.4, 40)], [0, 33, 49]),
        _steps(organomegaly, [1.0, 2.0], [0, 23, 38]),
        _steps(cytopenias, [2.0, 3.0], [0, 24, 34]),
        _steps(ferritin, [2000.0, np.nextafter(6000.0, 6001)], [0, 35, 50]),
        _steps(triglycerides, [1.5, np.nextafter(4.0, 5)], [0, 44, 64]),
        _steps(fibrinogen, [np.nextafter(2.5, 3)], [30, 0]),
        _steps(ast, [30.0], [0, 19]),
        _steps(haemophagocytosis, [1.0], [0, 35]),
    )
    total = sum(points[1:], start=points[0])
    return float(total) if np.ndim(total) == 0 else total


def _steps(value: ArrayLike, limits: list[float], points: list[int]) -> Floats:
    """Points of a value: the first below the first limit, then one more for each limit reached."""
    numbers = np.asarray(value, dtype=np.float64)
    scored = np.asarray(points, dtype=np.float64)[
        np.searchsorted(limits, numbers, side="right").clip(max=len(limits))
    ]
    return np.where(np.isnan(numbers), nan, scored)


def cytopenia_lineages(hemoglobin: ArrayLike, leukocytes: ArrayLike, platelets: ArrayLike) -> float | Floats:
    """Number of lineages at or below the HScore limits, 0 to 3; nan when any input is nan.

    Args:
        hemoglobin: g/dL, low at 9.2 and below.
        leukocytes: 10*9/L, low at 5.0 and below.
        platelets: 10*9/L, low at 110 and below.

    Source: fardet_2014.

    >>> cytopenia_lineages(9.2, 5.1, 110)
    2.0
    """
    lineages = (
        _steps(hemoglobin, [np.nextafter(9.2, 10)], [1, 0]),
        _steps(leukocytes, [np.nextafter(5.0, 6)], [1, 0]),
        _steps(platelets, [np.nextafter(110.0, 111)], [1, 0]),
    )
    total = sum(lineages[1:], start=lineages[0])
    return float(total) if np.ndim(total) == 0 else total


HSCORE_PROBABILITIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        90: "<1%",
        100: "1%",
        110: "3%",
        120: "5%",
        130: "9%",
        140: "16%",
        150: "25%",
        160: "40%",
        170: "54%",
        180: "70%",
        190: "80%",
        200: "88%",
        210: "93%",
        220: "96%",
        230: "98%",
        240: "99%",
        250: ">99%",
    }
)
"""Probability of haemophagocytic syndrome as printed, by HScore."""


def hscore_probability(score: float) -> str:
    """Probability of haemophagocytic syndrome as printed, for the highest printed score not above this one.

    Nothing is interpolated: between two printed scores both are given. "" for nan.

    Source: fardet_2014.

    >>> hscore_probability(80), hscore_probability(170), hscore_probability(208), hscore_probability(300)
    ('<1%', '54%', '88% to 93%', '>99%')
    """
    if np.isnan(score):
        return ""
    printed = list(HSCORE_PROBABILITIES)
    if score <= printed[0] or score in HSCORE_PROBABILITIES or score > printed[-1]:
        return HSCORE_PROBABILITIES[int(min(max(score, printed[0]), printed[-1]))]
    upper = next(at for at in printed if at > score)
    return f"{HSCORE_PROBABILITIES[upper - 10]} to {HSCORE_PROBABILITIES[upper]}"


def ice(*, orientation: int, naming: int, commands: int, writing: int, attention: int) -> int:
    """Immune Effector Cell-Associated Encephalopathy score, 0 to 10; lower means worse.

    Args:
        orientation: 0 to 4 (year, month, city, hospital).
        naming: 0 to 3 objects.
        commands: 0 or 1.
        writing: 0 or 1.
        attention: 0 or 1.

    Raises:
        ValueError: points outside their range.

    Source: lee_2019_astct (points as in PMC9327779 table 2).

    >>> ice(orientation=4, naming=3, commands=1, writing=0, attention=1)
    9
    """
    given = {
        "orientation": orientation,
        "naming": naming,
        "commands": commands,
        "writing": writing,
        "attention": attention,
    }
    for name, points in given.items():
        if not 0 <= points <= _ICE_POINTS[name]:
            raise ValueError(f"{name} must be 0 to {_ICE_POINTS[name]} points")
    return sum(given.values())


_ICE_POINTS: Final = MappingProxyType(
    {"orientation": 4, "naming": 3, "commands": 1, "writing": 1, "attention": 1}
)


def icans_by_ice(score: int, *, unarousable: bool = False) -> int:
    """ICANS grade from the ICE score alone, 0 to 4; seizures, motor signs and oedema are not looked at.

    10 is 0; 7 to 9 is 1; 3 to 6 is 2; 0 to 2 is 3; 0 in a patient who can't be aroused is 4.

    Args:
        score: ICE, 0 to 10.
        unarousable: the patient can't be aroused to perform the ICE.

    Raises:
        ValueError: a score outside 0 to 10, or an unarousable patient with points.

    Source: lee_2019_astct.

    >>> [icans_by_ice(score) for score in (10, 9, 6, 3, 2, 0)]
    [0, 1, 2, 2, 3, 3]
    """
    if not 0 <= score <= 10:
        raise ValueError("the ICE score must be 0 to 10")
    if unarousable:
        if score > 0:
            raise ValueError("an unarousable patient has an ICE score of 0")
        return 4
    return next(grade for lowest, grade in ((10, 0), (7, 1), (3, 2), (0, 3)) if score >= lowest)


def severe4(
    *, respiratory: ArrayLike, upper_gi: ArrayLike, hepatic: ArrayLike, renal: ArrayLike
) -> bool | Floats | None:
    """Severe4 comorbidity flag: CIRS of 3 or above in the respiratory, upper GI, hepatic or renal system.

    Args:
        respiratory: CIRS of the system, 0 to 4.
        upper_gi: likewise.
        hepatic: likewise.
        renal: likewise.

    Returns:
        For single numbers True, False or None; for arrays 1, 0 or nan. One severe system decides even when
        others are not known; otherwise a missing system leaves the flag missing.

    Source: shouse_2023_severe4.

    >>> severe4(respiratory=3, upper_gi=0, hepatic=0, renal=0)
    True
    """
    systems = np.broadcast_arrays(
        *(np.asarray(s, dtype=np.float64) for s in (respiratory, upper_gi, hepatic, renal))
    )
    stacked = np.stack(systems)
    flag = np.where(np.isnan(stacked).any(axis=0), nan, 0.0)
    flag = np.where((stacked >= SEVERE_CIRS).any(axis=0), 1.0, flag)
    if flag.ndim == 0:
        return None if np.isnan(flag) else bool(flag)
    return flag
