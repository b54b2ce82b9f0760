"""The course: grade so far, hours since onset of CRS, dose, patient and therapy class.

`grade` and `crs_onset` are series that `features.grade_series` derives from the events with the ASTCT
rules, as known at the time; adjudicated grades never enter, since they are labels and may be set in
hindsight.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from features.declare import Feature, Floats, Inputs, Need, measured

_once = partial(measured, theme="course", source="crsrisk_features")
_GRADE_SINCE_DOSE = (Need("grade", "before_dose", "last"), Need("grade", "since_dose", "max"))
_ONSET = (Need("grade", "before_dose", "last"), Need("crs_onset", "since_dose", "first"))


def _grade_now(inputs: Inputs) -> Floats:
    return inputs.get("grade", "so_far", "last")


def _worst_since_dose(inputs: Inputs) -> Floats:
    """A CRS that lasts at the dose counts with the grade it has then."""
    return np.fmax(inputs.get("grade", "before_dose", "last"), inputs.get("grade", "since_dose", "max"))


def _worst_before_dose(inputs: Inputs) -> Floats:
    """Nan at a first dose, where there was no dose before."""
    return np.where(inputs.dose > 1, inputs.get("grade", "before_dose", "max"), np.nan)


def _hours_since_onset(inputs: Inputs) -> Floats:
    """Nan while there is no CRS; a CRS that lasts at the dose counts from the dose."""
    onset = inputs.get("crs_onset", "since_dose", "first")
    onset = np.where(inputs.get("grade", "before_dose", "last") >= 1, inputs.dose_hours, onset)
    return inputs.as_of_hours - onset


def _dose_fraction(inputs: Inputs) -> Floats:
    """Nan for cells, and where the published schedule gives no amount in mg."""
    return inputs.get("bsab_dose", "so_far", "last") / inputs.therapy("full_dose_mg")


def _dose_number(inputs: Inputs) -> Floats:
    return inputs.dose


def _dose_hours(inputs: Inputs) -> Floats:
    return inputs.dose_hours


def _is_engager(inputs: Inputs) -> Floats:
    return inputs.therapy("is_engager")


def _is_engineered_t(inputs: Inputs) -> Floats:
    return inputs.therapy("is_engineered_t")


def _is_cd28(inputs: Inputs) -> Floats:
    return inputs.therapy("is_cd28")


_fact = partial(Feature, theme="course", window="landmark", source="crsrisk_features")

FEATURES = (
    Feature(
        name="grade_last_so_far",
        analyte="grade",
        window="so_far",
        statistic="last",
        unit="{score}",
        meaning="ASTCT grade at the landmark, from what was known then.",
        source="lee_2019_astct",
        theme="course",
        needs=(Need("grade", "so_far", "last"),),
        derive=_grade_now,
        monotone=1,
    ),
    Feature(
        name="grade_max_since_dose",
        analyte="grade",
        window="since_dose",
        statistic="max",
        unit="{score}",
        meaning="Worst ASTCT grade since the latest dose, from what was known at the landmark.",
        source="lee_2019_astct",
        theme="course",
        needs=_GRADE_SINCE_DOSE,
        derive=_worst_since_dose,
        monotone=1,
    ),
    Feature(
        name="grade_max_before_dose",
        analyte="grade",
        window="before_dose",
        statistic="max",
        unit="{score}",
        meaning="Worst ASTCT grade at earlier doses of an engager.",
        source="chen_2019",
        theme="course",
        needs=(Need("grade", "before_dose", "max"),),
        derive=_worst_before_dose,
    ),
    Feature(
        name="crs_hours_since_onset_since_dose",
        analyte="crs_onset",
        window="since_dose",
        statistic="hours_since_onset",
        unit="h",
        meaning="Hours since the onset of CRS (first ASTCT grade 1 or above) after the latest dose.",
        source="lee_2019_astct",
        theme="course",
        needs=_ONSET,
        derive=_hours_since_onset,
    ),
    _fact(
        name="dose_number",
        analyte="bsab_dose",
        statistic="number",
        unit="1",
        source="chen_2019",
        meaning="Number of the latest dose of an engager; 1 for cells. Later doses release less.",
        derive=_dose_number,
    ),
    _fact(
        name="dose_hours_since_index",
        analyte="bsab_dose",
        statistic="hours",
        unit="h",
        meaning="Hours from the first to the latest dose; 0 for cells.",
        derive=_dose_hours,
    ),
    _fact(
        name="dose_fraction",
        analyte="bsab_dose",
        statistic="fraction",
        unit="1",
        source="chen_2019",
        meaning="Latest dose of an engager as a share of the highest dose of its published schedule.",
        needs=(Need("bsab_dose", "so_far", "last"),),
        derive=_dose_fraction,
    ),
    _fact(
        name="therapy_engager",
        analyte="therapy",
        statistic="is_engager",
        unit="{bool}",
        source="crsrisk_groups",
        meaning="CD3 engager, not cells.",
        derive=_is_engager,
    ),
    _fact(
        name="therapy_engineered_t",
        analyte="therapy",
        statistic="is_engineered_t",
        unit="{bool}",
        source="crsrisk_groups",
        meaning="Engineered T cells that are not CAR-T.",
        derive=_is_engineered_t,
    ),
    _fact(
        name="therapy_cd28",
        analyte="therapy",
        statistic="is_cd28",
        unit="{bool}",
        source="crsrisk_groups",
        meaning="CD28 costimulation of a CAR; nan where the costimulation is not recorded.",
        derive=_is_cd28,
    ),
    *_once("age", "last_baseline", why="Older and younger patients differ in reserve."),
    *_once("sex_female", "last_baseline", why="Recorded sex."),
    *_once("weight", "last_baseline", why="Body size."),
    *_once("ecog", "last_baseline", why="Performance status."),
    *_once("prior_lines", "last_baseline", why="Pretreatment."),
)
