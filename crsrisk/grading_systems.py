"""Lee 2014 and CTCAE v5 grades of cytokine release syndrome, beside ASTCT and never mixed with it.

A grade of one system can't be turned into a grade of another (pennisi_2020: all systems gave the same
grade in 25 % of 102 patients), but signs and support can be graded by each. Both read what hospitals often do
not record, the oxygen fraction and whether a pressor dose is high: then the answer is a range.

Source: lee_2014 (table 2 of PMC7006459, table 3 of PMC8159878), ctcae_v5.
"""

from math import nan
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crsrisk.grading import GRADED, NONE, REVIEW, RULE_CODE, Codes, Graded

HIGH_FRACTION_PERCENT: Final = 40.0

Limb = tuple[Codes, Codes, Codes]
"""Lower bound, upper bound and rule code of one limb."""


def lee_2014(
    fever: ArrayLike,
    hypotension: ArrayLike,
    pressors: ArrayLike,
    vasopressin: ArrayLike = False,
    *,
    oxygen: ArrayLike = False,
    fio2: ArrayLike = nan,
    positive_pressure: ArrayLike = False,
    ventilator: ArrayLike = False,
    high_dose: ArrayLike = nan,
    organ_toxicity: ArrayLike = 0,
    transaminitis: ArrayLike = 0,
    death_crs: ArrayLike = False,
    child_pressure: ArrayLike = False,
) -> Graded:
    """Lee 2014 grades: one low-dose pressor is 2, several or a high dose 3; oxygen by fraction; organs count.

    Args:
        fever: fever or other constitutional symptoms; not needed for a grade above 1.
        hypotension: low pressure, or fluids given for it.
        pressors: number of vasopressors running, without vasopressin.
        vasopressin: vasopressin running; counts as a vasopressor here.
        oxygen: supplemental oxygen by whatever device.
        fio2: inspired oxygen in %; nan unknown.
        positive_pressure: CPAP, BiPAP or a ventilator. By mask it is 3 or 4: the wording settles neither.
        ventilator: mechanical ventilation.
        high_dose: 1 a pressor at a high dose, 0 low, nan unknown. The limits of the paper were not read, so
            events give nan.
        organ_toxicity: highest CTCAE grade of an organ other than the liver enzymes, 0 to 4.
        transaminitis: CTCAE grade of the liver enzymes, 0 to 4.
        death_crs: death due to CRS.
        child_pressure: only a child's pressure speaks for hypotension.

    >>> lee_2014(True, True, 1, high_dose=[0, 1, nan]).low.tolist()
    [2.0, 3.0, 2.0]
    """
    count = np.asarray(pressors, dtype=np.int64) + np.asarray(vasopressin, dtype=np.int64)
    dose = np.asarray(high_dose, dtype=np.float64)
    single = _choose(
        dose,
        (2, 2, "low_dose_vasopressor"),
        (3, 3, "high_dose_or_multiple_vasopressors"),
        (2, 3, "vasopressor_dose_unknown"),
    )
    pressure = _pressure_limb(hypotension, count, single, _one(3, 3, "high_dose_or_multiple_vasopressors"))
    air = _oxygen_limb(oxygen, fio2, positive_pressure, ventilator)
    organs, liver = np.asarray(organ_toxicity, dtype=np.int64), np.asarray(transaminitis, dtype=np.int64)
    tier = np.maximum(np.where(organs >= 2, organs, 0), np.where(liver >= 4, 3, np.where(liver >= 2, 2, 0)))
    tier = tier.astype(np.int8)
    organ: Limb = (tier, tier, np.full(tier.shape, RULE_CODE["organ_toxicity"], dtype=np.int8))
    return _highest(fever, [pressure, air, organ], death_crs, child_pressure)


def ctcae_v5(
    fever: ArrayLike,
    hypotension: ArrayLike,
    pressors: ArrayLike,
    vasopressin: ArrayLike = False,
    *,
    oxygen: ArrayLike = False,
    fio2: ArrayLike = nan,
    positive_pressure: ArrayLike = False,
    ventilator: ArrayLike = False,
    death_crs: ArrayLike = False,
    child_pressure: ArrayLike = False,
) -> Graded:
    """CTCAE v5 grades: one pressor is 3, several are life-threatening (4); oxygen by its fraction.

    One pressor with vasopressin is 3 or 4, and so is positive pressure by mask: the wording settles neither.
    Arguments as in `lee_2014`.

    >>> ctcae_v5(True, True, [0, 1, 2]).grade.tolist()
    [2.0, 3.0, 4.0]
    """
    count = np.asarray(pressors, dtype=np.int64)
    second = np.where(np.asarray(vasopressin, dtype=bool) & (count == 1), nan, count >= 2)
    several = _choose(
        second,
        (3, 3, "one_vasopressor"),
        (4, 4, "multiple_vasopressors"),
        (3, 4, "vasopressor_dose_unknown"),
    )
    running = count + np.asarray(vasopressin, dtype=np.int64)
    pressure = _pressure_limb(hypotension, running, _one(3, 3, "one_vasopressor"), several)
    air = _oxygen_limb(oxygen, fio2, positive_pressure, ventilator)
    return _highest(fever, [pressure, air], death_crs, child_pressure)


def _one(low: int, high: int, rule: str) -> Limb:
    return np.array(low, np.int8), np.array(high, np.int8), np.array(RULE_CODE[rule], np.int8)


def _choose(
    answer: NDArray[np.float64],
    no: tuple[int, int, str],
    yes: tuple[int, int, str],
    unknown: tuple[int, int, str],
) -> Limb:
    """One of three limbs by an answer of 0, 1 or nan."""
    limbs = zip(_one(*no), _one(*yes), _one(*unknown), strict=True)
    low, high, rule = (np.where(np.isnan(answer), u, np.where(answer >= 1, y, n)) for n, y, u in limbs)
    return low, high, rule


def _pressure_limb(hypotension: ArrayLike, count: NDArray[np.int64], single: Limb, several: Limb) -> Limb:
    fluids = _one(2, 2, "hypotension")
    none = _one(0, 0, "no_signs")
    low_pressure = np.asarray(hypotension, dtype=bool)
    low, high, rule = (
        np.where(count >= 2, m, np.where(count == 1, s, np.where(low_pressure, f, n)))
        for m, s, f, n in zip(several, single, fluids, none, strict=True)
    )
    return low, high, rule


def _oxygen_limb(
    oxygen: ArrayLike, fio2: ArrayLike, positive_pressure: ArrayLike, ventilator: ArrayLike
) -> Limb:
    percent = np.asarray(fio2, dtype=np.float64)
    rich = np.where(np.isnan(percent), nan, percent >= HIGH_FRACTION_PERCENT)
    by_fraction = _choose(
        rich,
        (2, 2, "oxygen_below_40_percent"),
        (3, 3, "oxygen_40_percent_or_more"),
        (2, 3, "oxygen_fraction_unknown"),
    )
    given, machine = np.asarray(oxygen, dtype=bool), np.asarray(ventilator, dtype=bool)
    by_mask = np.asarray(positive_pressure, dtype=bool) & ~machine
    low = np.where(machine, 4, np.where(by_mask, 3, np.where(given, by_fraction[0], 0)))
    high = np.where(machine | by_mask, 4, np.where(given, by_fraction[1], 0))
    rule = np.where(by_mask, RULE_CODE["oxygen_fraction_unknown"], by_fraction[2])
    rule = np.where(machine, RULE_CODE["ventilator"], rule)
    return low.astype(np.int8), high.astype(np.int8), rule.astype(np.int8)


def _highest(fever: ArrayLike, limbs: list[Limb], death_crs: ArrayLike, child_pressure: ArrayLike) -> Graded:
    """The highest limb, at least 1 with fever; the first limb with the highest upper bound names the rule."""
    has_fever = np.asarray(fever, dtype=bool)
    died, doubt = np.asarray(death_crs, dtype=bool), np.asarray(child_pressure, dtype=bool)
    shape = np.broadcast_shapes(has_fever.shape, died.shape, doubt.shape, *(limb[1].shape for limb in limbs))
    low = np.broadcast_to(has_fever, shape).astype(np.float64)
    high = low.copy()
    rule = np.where(low > 0, RULE_CODE["fever"], RULE_CODE["no_signs"]).astype(np.int8)
    for limb_low, limb_high, limb_rule in limbs:
        rule = np.where(limb_high > high, limb_rule, rule)
        low, high = np.maximum(low, limb_low), np.maximum(high, limb_high)
    doubtful = doubt & (low < 2)
    high = np.where(died, 5.0, np.where(doubtful, np.maximum(high, 2), high))
    low = np.where(died, 5.0, low)
    rule = np.where(doubtful, RULE_CODE["child_pressure"], rule)
    state = np.where(doubtful, REVIEW, np.where(high > 0, GRADED, NONE))
    return Graded(
        low=low,
        high=high,
        rule_code=np.where(died, RULE_CODE["death_due_to_crs"], rule).astype(np.int8),
        state_code=np.where(died, GRADED, state).astype(np.int8),
    )
