"""ASTCT grade of cytokine release syndrome from signs and the support given.

Every function takes arrays that broadcast (one element per moment of a patient) and never looks at time:
`crsrisk.grade_timeline` turns raw events into these arrays. Nothing is guessed: where a device is unknown the
answer is a range from `low` to `high`, and where the table needs a fever that never was, the state says so.

Source: lee_2019_astct (table 1; reprinted in PMC8021214 and PMC9327779).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]
State = Literal["none", "graded", "review", "not_gradable"]

FEVER_CELSIUS: Final = 38.0  # inclusive
ROUNDING_CELSIUS: Final = 1e-6  # 100.4 degF must stay a fever whatever the order of the arithmetic
LOW_FLOW_LITRES: Final = 6.0  # inclusive: 6 L/min is low flow, more is high flow

STATES: Final[tuple[State, ...]] = ("none", "graded", "review", "not_gradable")
NONE, GRADED, REVIEW, NOT_GRADABLE = range(4)

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_signs": "No CRS fever, no hypotension, no oxygen.",
        "fever": "Fever of 38.0 degC or more, without hypotension or oxygen.",
        "treated_fever": "CRS fever was treated; no hypotension or oxygen now.",
        "hypotension": "Hypotension that needs no vasopressor.",
        "one_vasopressor": "One vasopressor, with or without vasopressin.",
        "vasopressin_alone": "Vasopressin as the only vasopressor (counted as grade 3; our choice).",
        "multiple_vasopressors": "Two or more vasopressors, vasopressin not counted.",
        "low_flow_oxygen": "Low-flow nasal cannula (6 L/min or less) or blow-by.",
        "high_flow_oxygen": "High-flow cannula (above 6 L/min), face mask, Venturi mask or non-rebreather.",
        "positive_pressure": "Positive pressure: CPAP, BiPAP or mechanical ventilation.",
        "hypotension_and_low_flow_oxygen": "Hypotension without vasopressor, and low-flow oxygen.",
        "vasopressor_and_high_flow_oxygen": "One vasopressor, and high-flow oxygen or a mask.",
        "multiple_vasopressors_and_positive_pressure": "Two or more vasopressors, and positive pressure.",
        "death_due_to_crs": "Death due to CRS.",
        "oxygen_device_unknown": "Oxygen by a device or flow that is not known: a range, not a grade.",
        "signs_without_fever": "Hypotension or oxygen, but no CRS fever so far: ASTCT gives no grade.",
        "signs_without_fever_premedicated": "Hypotension or oxygen without fever after steroid premedication "
        "of an engager: fever may be masked, review.",
        "child_pressure": "Only a pressure below the limit for a child's age speaks for hypotension: review.",
        # Lee 2014 and CTCAE v5 only
        "low_dose_vasopressor": "One vasopressor at a low dose.",
        "high_dose_or_multiple_vasopressors": "A vasopressor at a high dose, or more than one.",
        "vasopressor_dose_unknown": "A vasopressor whose dose or number leaves the grade open: a range.",
        "oxygen_below_40_percent": "Oxygen below 40 %.",
        "oxygen_40_percent_or_more": "Oxygen of 40 % or more.",
        "oxygen_fraction_unknown": "Oxygen of an unknown fraction, or positive pressure by mask: a range.",
        "ventilator": "Mechanical ventilation.",
        "organ_toxicity": "Organ toxicity.",
    }
)
"""What each rule id means, in one English sentence."""
RULE_IDS: Final[tuple[str, ...]] = tuple(RULES)
RULE_CODE: Final[Mapping[str, int]] = MappingProxyType({name: code for code, name in enumerate(RULE_IDS)})


@dataclass(frozen=True, slots=True)
class Graded:
    """Grades of many moments; all arrays have the broadcast shape of the inputs.

    `low` and `high` bound the grade (0 to 5). Under `review` and `not_gradable` they say what the signs would
    mean if they were CRS. `rule_code` indexes `RULE_IDS`, `state_code` indexes `STATES`.
    """

    low: Floats
    high: Floats
    rule_code: Codes
    state_code: Codes

    @property
    def grade(self) -> Floats:
        """The grade where it is certain; nan under review, not gradable, or where only a range is known."""
        certain = (self.state_code <= GRADED) & (self.low == self.high)
        return np.where(certain, self.low, nan)

    @property
    def rule(self) -> NDArray[np.object_]:
        """Rule ids (keys of `RULES`)."""
        return np.asarray(np.array(RULE_IDS, dtype=object)[self.rule_code], dtype=object)

    @property
    def state(self) -> NDArray[np.object_]:
        """States: none, graded, review or not_gradable."""
        return np.asarray(np.array(STATES, dtype=object)[self.state_code], dtype=object)


def astct(
    fever: ArrayLike,
    hypotension: ArrayLike,
    pressors: ArrayLike,
    vasopressin: ArrayLike,
    oxygen_low: ArrayLike,
    oxygen_high: ArrayLike,
    *,
    death_crs: ArrayLike = False,
    premedicated_engager: ArrayLike = False,
    child_pressure: ArrayLike = False,
    fever_now: ArrayLike | None = None,
) -> Graded:
    """ASTCT 2019 grades: the higher of the hypotension and the hypoxia tier, once there is a CRS fever.

    Args:
        fever: CRS fever now, or a CRS fever that was treated since (`fever_counts`).
        hypotension: low pressure, or fluids given for it, not attributable to another cause.
        pressors: number of vasopressors running, vasopressin not counted.
        vasopressin: vasopressin running; alone it is grade 3, and it never adds to the count.
        oxygen_low: lower bound of the hypoxia tier 0, 2, 3 or 4 (`oxygen_tier`).
        oxygen_high: upper bound of it; equal to `oxygen_low` when the device is known.
        death_crs: death due to CRS: grade 5 whatever else.
        premedicated_engager: steroid premedication before an engager dose; signs without fever: review.
        child_pressure: a child's pressure is below the limit for its age and nothing else shows hypotension.
        fever_now: fever without the treated-fever rule; only names the rule (fever or treated_fever).

    Returns:
        Graded with the broadcast shape of the inputs.

    Source: lee_2019_astct; vasopressin alone and the review states are our conventions (docs/decisions).

    >>> astct([True, False], True, [2, 1], False, 0, 0).grade
    array([ 4., nan])
    """
    arrays = np.broadcast_arrays(
        np.asarray(fever, dtype=bool),
        np.asarray(hypotension, dtype=bool),
        np.asarray(pressors, dtype=np.int8),
        np.asarray(vasopressin, dtype=bool),
        np.asarray(oxygen_low, dtype=np.int8),
        np.asarray(oxygen_high, dtype=np.int8),
        np.asarray(death_crs, dtype=bool),
        np.asarray(premedicated_engager, dtype=bool),
        np.asarray(child_pressure, dtype=bool),
        np.asarray(fever if fever_now is None else fever_now, dtype=bool),
    )
    has_fever, low_pressure, count, has_vasopressin, hypoxia, hypoxia_high, died, premedicated, doubt, hot = (
        arrays
    )
    pressure = _pressure_tier(low_pressure, count, has_vasopressin)
    pressure_high = np.where(doubt, np.maximum(pressure, 2), pressure)
    floor = has_fever.astype(np.int8)
    signs_low, signs_high = np.maximum(pressure, hypoxia), np.maximum(pressure_high, hypoxia_high)
    low = np.where(has_fever, np.maximum(floor, signs_low), 0)
    high = np.maximum(floor, signs_high)
    doubtful = doubt & (pressure == 0) & (hypoxia < 2)
    certain_signs = (pressure > 0) | (hypoxia_high > 0)
    # the last condition that holds wins, so the strongest statement stands last
    state = np.full(low.shape, NONE, dtype=np.int8)
    state[has_fever] = GRADED
    state[doubtful] = REVIEW
    state[~has_fever & certain_signs] = NOT_GRADABLE
    state[~has_fever & certain_signs & premedicated] = REVIEW
    state[died] = GRADED
    rule = _limb_rule(pressure, hypoxia, has_vasopressin & (count == 0), has_fever, hot)
    rule[has_fever & (low < high)] = RULE_CODE["oxygen_device_unknown"]
    rule[doubtful] = RULE_CODE["child_pressure"]
    rule[~has_fever & certain_signs] = RULE_CODE["signs_without_fever"]
    rule[~has_fever & certain_signs & premedicated] = RULE_CODE["signs_without_fever_premedicated"]
    rule[died] = RULE_CODE["death_due_to_crs"]
    return Graded(
        low=np.where(died, 5.0, low), high=np.where(died, 5.0, high), rule_code=rule, state_code=state
    )


def _pressure_tier(hypotension: NDArray[Any], pressors: NDArray[Any], vasopressin: NDArray[Any]) -> Codes:
    tier = np.where(hypotension, 2, 0)
    tier = np.where(vasopressin | (pressors == 1), 3, tier)
    return np.where(pressors >= 2, 4, tier).astype(np.int8)


_PRESSURE_RULE: Final = np.array(
    [RULE_CODE[r] for r in ("fever", "fever", "hypotension", "one_vasopressor", "multiple_vasopressors")],
    dtype=np.int8,
)
_OXYGEN_RULE: Final = np.array(
    [RULE_CODE[r] for r in ("fever", "fever", "low_flow_oxygen", "high_flow_oxygen", "positive_pressure")],
    dtype=np.int8,
)
_BOTH_RULE: Final = np.array(
    [
        RULE_CODE[r]
        for r in (
            "fever",
            "fever",
            "hypotension_and_low_flow_oxygen",
            "vasopressor_and_high_flow_oxygen",
            "multiple_vasopressors_and_positive_pressure",
        )
    ],
    dtype=np.int8,
)


def _limb_rule(
    pressure: NDArray[Any],
    hypoxia: NDArray[Any],
    vasopressin_alone: NDArray[Any],
    has_fever: NDArray[Any],
    fever_now: NDArray[Any],
) -> Codes:
    """Code of the limb that gives the grade: the higher one, or both when they are equal."""
    of_pressure = np.where(
        vasopressin_alone & (pressure == 3), RULE_CODE["vasopressin_alone"], _PRESSURE_RULE[pressure]
    )
    limb = np.where(pressure > hypoxia, of_pressure, _OXYGEN_RULE[hypoxia])
    limb = np.where(pressure == hypoxia, _BOTH_RULE[pressure], limb)
    limb = np.where((pressure == 0) & (hypoxia == 0) & ~fever_now, RULE_CODE["treated_fever"], limb)
    unsigned = ~has_fever & (pressure == 0) & (hypoxia == 0)
    return np.where(unsigned, RULE_CODE["no_signs"], limb).astype(np.int8)


def fever_counts(
    temperature: ArrayLike,
    *,
    other_cause: ArrayLike = False,
    prior_crs_fever: ArrayLike = False,
    treated_since: ArrayLike = False,
) -> NDArray[np.bool_]:
    """Whether the fever criterion holds: 38.0 degC or more without another cause, or a treated CRS fever.

    Args:
        temperature: degC; nan (not measured) is no fever.
        other_cause: fever has another explanation.
        prior_crs_fever: a CRS fever came before.
        treated_since: antipyretic, anticytokine or steroid given at or after that fever.

    >>> fever_counts([38.0, 37.9, 36.5], prior_crs_fever=[False, False, True], treated_since=True)
    array([ True, False,  True])
    """
    hot = np.asarray(temperature, dtype=np.float64) >= FEVER_CELSIUS - ROUNDING_CELSIUS
    treated = np.asarray(prior_crs_fever, dtype=bool) & np.asarray(treated_since, dtype=bool)
    return np.asarray((hot & ~np.asarray(other_cause, dtype=bool)) | treated, dtype=np.bool_)


def oxygen_tier(resp_support: ArrayLike, o2_flow: ArrayLike = nan) -> tuple[Codes, Codes]:
    """Lower and upper hypoxia tier (0, 2, 3 or 4) from the support level and the oxygen flow.

    A mask is tier 3 by device whatever the flow. Oxygen by an unknown device is a range, because at 5 L/min
    a face mask is tier 3 and a cannula tier 2.

    Args:
        resp_support: 0 none, 1 low-flow cannula or blow-by, 2 high-flow cannula, mask, Venturi or
            non-rebreather, 3 CPAP or BiPAP, 4 (or above) invasive; nan unknown.
        o2_flow: L/min; nan unknown.

    Returns:
        Two int8 arrays of the broadcast shape; they differ only where the device is unknown.

    >>> low, high = oxygen_tier([1, 1, 2, float("nan")], [6, 6.5, 5, 5])
    >>> low.tolist(), high.tolist()
    ([2, 3, 3, 2], [2, 3, 3, 3])
    """
    level, flow = np.broadcast_arrays(
        np.asarray(resp_support, dtype=np.float64), np.asarray(o2_flow, dtype=np.float64)
    )
    fast = flow > LOW_FLOW_LITRES
    low = np.where(level >= 1, 2, 0)
    low = np.where((level >= 2) | ((level >= 1) & fast), 3, low)
    low = np.where(level >= 3, 4, low)
    no_device = (flow > 0) & ~(level >= 1)  # unknown, or "none" while oxygen flows
    low = np.where(no_device, np.where(fast, 3, 2), low)
    return low.astype(np.int8), np.where(no_device, 3, low).astype(np.int8)


DEVICES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "room_air": 0,
        "nasal_cannula": 1,
        "blow_by": 1,
        "high_flow_nasal_cannula": 2,
        "face_mask": 2,
        "venturi_mask": 2,
        "non_rebreather": 2,
        "cpap": 3,
        "bipap": 3,
        "mechanical_ventilation": 4,
    }
)
"""Device name -> resp_support level; "unknown" is accepted too and gives a range."""


def device_tier(device: str, flow: float | None = None) -> tuple[int, int]:
    """Lower and upper hypoxia tier of a named device.

    Unlike level 1 of `resp_support`, which is low flow by definition, a cannula of unknown flow is a range.

    Raises:
        ValueError: the device is not in `DEVICES` and not "unknown".

    >>> device_tier("nasal_cannula", 6), device_tier("nasal_cannula"), device_tier("unknown")
    ((2, 2), (2, 3), (2, 4))
    """
    if device == "unknown" and flow is None:
        return 2, 4
    if device == "nasal_cannula" and flow is None:
        return 2, 3
    if device == "unknown":
        low, high = oxygen_tier(nan, flow if flow is not None else nan)
    elif device in DEVICES:
        flow_known = nan if flow is None or device in ("room_air", "blow_by") else flow
        low, high = oxygen_tier(DEVICES[device], flow_known)
    else:
        raise ValueError(f"device {device!r}; known devices: {[*DEVICES, 'unknown']}")
    return int(low), int(high)


@dataclass(frozen=True, slots=True)
class GradedState:
    """One graded moment: grade (None when not certain), its bounds, state, rule id and the rule in words."""

    grade: int | None
    low: int
    high: int
    state: State
    rule: str

    @property
    def rule_text(self) -> str:
        """The rule in one English sentence."""
        return RULES[self.rule]


def grade_state(
    *,
    temperature: float = nan,
    fever_other_cause: bool = False,
    signs_other_cause: bool = False,
    prior_crs_fever: bool = False,
    treated_since: bool = False,
    hypotension: bool = False,
    vasopressors: Sequence[str] = (),
    vasopressin: bool = False,
    oxygen: str = "room_air",
    flow: float | None = None,
    death_crs: bool = False,
    premedicated_engager: bool = False,
) -> GradedState:
    """ASTCT grade of one moment described in words; the array rule `astct` underneath.

    Args:
        temperature: degC, nan when not measured.
        fever_other_cause: the fever has another explanation; only the fever is left out.
        signs_other_cause: hypotension and oxygen have another explanation and are left out.
        prior_crs_fever: a CRS fever came before.
        treated_since: antipyretic, anticytokine or steroid given since.
        hypotension: low pressure or fluids given for it.
        vasopressors: names of the vasopressors running; "vasopressin" among them is not counted.
        vasopressin: vasopressin running.
        oxygen: a key of `DEVICES`, or "unknown".
        flow: L/min, None when unknown.
        death_crs: death due to CRS.
        premedicated_engager: steroid premedication before an engager dose.

    >>> grade_state(temperature=38.6, vasopressors=["norepinephrine"], vasopressin=True).grade
    3
    """
    names = set(vasopressors)
    low, high = device_tier(oxygen, flow)
    fever = fever_counts(
        temperature,
        other_cause=fever_other_cause,
        prior_crs_fever=prior_crs_fever,
        treated_since=treated_since,
    )
    counted = not signs_other_cause
    graded = astct(
        fever,
        hypotension and counted,
        len(names - {"vasopressin"}) * counted,
        (vasopressin or "vasopressin" in names) and counted,
        low * counted,
        high * counted,
        death_crs=death_crs,
        premedicated_engager=premedicated_engager,
        fever_now=fever_counts(temperature, other_cause=fever_other_cause),
    )
    grade = float(graded.grade)
    return GradedState(
        grade=None if np.isnan(grade) else int(grade),
        low=int(graded.low),
        high=int(graded.high),
        state=STATES[int(graded.state_code)],
        rule=RULE_IDS[int(graded.rule_code)],
    )
