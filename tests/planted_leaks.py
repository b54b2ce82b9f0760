"""Leaks planted into simulated cohorts: sixty, ten of each kind, as hospitals and analysts make them.

Each is a small function that damages the tables of a cohort; `PLANTINGS` names the cohort it is planted into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crsrisk.analytes import analytes
from crsrisk.quality import QualityReport, check
from crsrisk.simulator import simulate
from crsrisk.units import factor
from crsrisk.values import parse_numbers

LABORATORY = (
    "crp", "ferritin", "ldh", "creatinine", "platelets", "anc", "hemoglobin", "albumin", "fibrinogen", "d_dimer",
    "il6", "il10", "ifn_gamma", "mcp1", "lactate",
)  # fmt: skip
VITALS = ("temperature", "heart_rate", "sbp", "map", "resp_rate", "spo2")
MIXTURES: tuple[tuple[str, ...] | None, ...] = (
    None,
    ("axi-cel_LBCL3L", "brexu-cel_ALL"),
    ("axi-cel_LBCL3L", "ide-cel_MM4L", "glofit_DLBCL"),
    ("tisa-cel_ALL", "brexu-cel_MCL", "liso-cel_LBCL3L"),
    ("brexu-cel_ALL", "obe-cel_ALL", "tec_MM", "tarla_SCLC3L"),
)  # fmt: skip


@dataclass
class Tables:
    """A simulated cohort to be damaged: tables as hospitals write them, and what became of each course."""

    courses: pd.DataFrame
    events: pd.DataFrame
    grade: NDArray[np.float64]
    rng: np.random.Generator
    folds: pd.DataFrame | None = None
    outcomes: dict[str, float] = field(default_factory=dict)

    @property
    def severe(self) -> NDArray[np.bool_]:
        """Courses of grade 3 or above, shape (courses,)."""
        return self.grade >= 3

    def ids(self, chosen: NDArray[np.bool_]) -> set[str]:
        """Ids of chosen courses."""
        return set(self.courses["course_id"][chosen])

    def of(self, flags: NDArray[np.bool_]) -> pd.Series:
        """Flags of courses for each event."""
        return self.events["course_id"].isin(self.ids(flags))

    def per_course(self, rows: pd.Series, how: str) -> NDArray[np.float64]:
        """Highest, last ... value of the chosen events of each course, nan without any."""
        chosen = self.events[rows]
        found = numbers(chosen["value"]).groupby(chosen["course_id"]).agg(how)
        return found.reindex(self.courses["course_id"]).to_numpy(dtype=np.float64, copy=True)

    def harmonise(self, variable: str) -> None:
        """All values of a variable in the catalogue's unit, as an analyst converts them."""
        for unit in self.events.loc[self.events["variable"] == variable, "unit"].unique():
            rows = (self.events["variable"] == variable) & (self.events["unit"] == unit)
            scale = factor(variable, unit)
            assert scale is not None
            values = numbers(self.events.loc[rows, "value"]) * scale[0] + scale[1]
            self.events.loc[rows, "value"] = [f"{value:.6g}" for value in values]
        self.events.loc[self.events["variable"] == variable, "unit"] = _unit(variable)

    def add(self, rows: pd.DataFrame) -> None:
        """Append events."""
        self.events = pd.concat([self.events, rows], ignore_index=True)

    def some(self, share: float, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Random courses: each of `among` with this chance."""
        drawn = self.rng.random(len(self.courses)) < share
        return drawn if among is None else drawn & among


def numbers(cells: pd.Series) -> pd.Series:
    """Cells as hospitals write them (1,200; full-width digits) as numbers."""
    return pd.Series(parse_numbers(pa.array(cells.astype("str"), pa.string())).values, index=cells.index)


Plant = Callable[[Tables], None]


@dataclass(frozen=True)
class Planting:
    """One planted leak: its kind and the cohort that holds it."""

    kind: str
    name: str
    tables: Tables


def made(
    sizes: Sequence[int], seed: int, therapies: Sequence[str] | None, *, dated: bool = False
) -> Iterator[Tables]:
    """Clean cohorts of these sizes, no patient in two of them; simulated together, which is quicker."""
    simulated = simulate(sum(sizes), seed, therapies=therapies, absolute_times=dated)
    ends = np.cumsum(sizes)
    for place, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
        courses = simulated.courses.iloc[start:end].reset_index(drop=True)
        mine = simulated.events["course_id"].isin(courses["course_id"])
        yield Tables(
            courses,
            simulated.events[mine].reset_index(drop=True),
            simulated.hidden["peak_grade"].to_numpy(dtype=np.float64)[start:end],
            np.random.default_rng([seed, place]),
        )


def checked(tables: Tables, folder: Path) -> QualityReport:
    """Write the tables as a cohort folder and check it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text("contract = 1\nsimulated = true\n")
    tables.courses.to_csv(folder / "courses.csv", index=False)
    tables.events.to_parquet(folder / "events.parquet", index=False)
    if tables.folds is None:
        return check(folder)
    tables.folds.to_csv(folder / "given_folds.csv", index=False)
    return check(folder, folds=folder / "given_folds.csv")


# (a) values known only after the landmark


def no_knowledge_time_at_all(t: Tables) -> None:
    t.events = t.events.drop(columns="available_hours")


def specimen_time_at_one_site(t: Tables) -> None:
    site = t.courses["site"].mode()[0]
    rows = t.of((t.courses["site"] == site).to_numpy())
    t.events.loc[rows, "available_hours"] = t.events["hours"]


def specimen_time_of_one_variable(t: Tables) -> None:
    rows = t.events["variable"] == "ferritin"
    t.events.loc[rows, "available_hours"] = t.events["hours"]


def specimen_time_of_cytokines_sent_out(t: Tables) -> None:
    rows = t.events["variable"].isin(("il6", "il10", "ifn_gamma", "mcp1"))
    t.events.loc[rows, "available_hours"] = t.events["hours"]


def specimen_time_in_a_tenth_of_results(t: Tables) -> None:
    rows = t.events["variable"].isin(LABORATORY) & (t.rng.random(len(t.events)) < 0.1)
    t.events.loc[rows, "available_hours"] = t.events["hours"]


def order_time_as_knowledge_time(t: Tables) -> None:
    rows = t.events["variable"].isin(("crp", "ldh"))
    t.events.loc[rows, "available_hours"] = (t.events["hours"] - 1.5).round(2)


def results_dated_to_their_day(t: Tables) -> None:
    rows = t.events["variable"].isin(LABORATORY)
    day = np.floor(t.events["hours"] / 24.0) * 24.0
    t.events.loc[rows, "hours"] = day
    t.events.loc[rows, "available_hours"] = day


def times_at_midnight(t: Tables) -> None:
    rows = t.events["variable"].isin(LABORATORY)
    for name in ("time", "available_time"):
        t.events.loc[rows, name] = t.events.loc[rows, "time"].str[:10] + "T00:00:00+00:00"


def peak_moved_to_the_day_before(t: Tables) -> None:
    """The highest ferritin and CRP after the index time stand 20 hours earlier."""
    for variable in ("ferritin", "crp"):
        mine = t.events[(t.events["variable"] == variable) & (t.events["hours"] > 24)]
        highest = numbers(mine["value"]).groupby(mine["course_id"]).idxmax()
        for column in ("hours", "available_hours"):
            t.events.loc[highest, column] -= 20.3


def one_variable_at_one_site(t: Tables) -> None:
    site = t.courses["site"].mode()[0]
    rows = t.of((t.courses["site"] == site).to_numpy()) & (t.events["variable"] == "crp")
    t.events.loc[rows, "available_hours"] = t.events["hours"]


# (b) values whose frequency depends on the outcome


def _unit(variable: str) -> str:
    return analytes()[variable].unit if variable in analytes() else ""


def _filled(t: Tables, variable: str, by: NDArray[np.generic], share: float, decimals: int | None) -> None:
    """Empty the baseline of some courses and fill it with the mean of their class."""
    t.harmonise(variable)
    baseline = (t.events["variable"] == variable) & (t.events["hours"] <= 0)
    known = t.per_course(baseline, "last")
    lost = t.some(share) | np.isnan(known)
    t.events = t.events[~(baseline & t.of(lost))].reset_index(drop=True)
    known[lost] = np.nan
    means = {label: np.nanmean(known[by == label]) for label in np.unique(by)}
    values = np.array([means[label] for label in by[lost]])
    values = values if decimals is None else np.round(values, decimals)
    t.add(_early(t, lost, variable, values))


def _early(t: Tables, chosen: NDArray[np.bool_], variable: str, values: NDArray[np.float64]) -> pd.DataFrame:
    """One event per chosen course a few hours before the index time."""
    hours = np.round(-2.0 - 4.0 * t.rng.random(int(chosen.sum())), 2)
    return pd.DataFrame(
        {
            "course_id": t.courses["course_id"][chosen].to_numpy(),
            "hours": hours,
            "available_hours": np.round(hours + 1.2, 2),
            "variable": variable,
            "value": [f"{value:.10g}" for value in values],
            "unit": _unit(variable),
            "comparator": "",
        }
    )


def baseline_crp_filled_by_severity(t: Tables) -> None:
    _filled(t, "crp", t.severe, 0.4, None)


def baseline_ferritin_filled_by_grade(t: Tables) -> None:
    _filled(t, "ferritin", np.minimum(t.grade, 3), 0.35, None)


def baseline_ldh_filled_and_rounded(t: Tables) -> None:
    _filled(t, "ldh", t.severe, 0.5, 0)


def baseline_creatinine_filled_by_crs(t: Tables) -> None:
    _filled(t, "creatinine", t.grade >= 1, 0.4, 2)


def _column_filled(t: Tables, column: str, by: NDArray[np.generic], share: float, decimals: int) -> None:
    values = t.courses[column].to_numpy(dtype=np.float64).copy()
    values[t.some(share)] = np.nan
    for label in np.unique(by):
        gap = np.isnan(values) & (by == label)
        values[gap] = np.round(np.nanmean(values[by == label]), decimals)
    t.courses[column] = values


def weight_filled_by_severity(t: Tables) -> None:
    _column_filled(t, "weight", t.severe, 0.4, 1)


def cell_dose_filled_by_grade(t: Tables) -> None:
    _column_filled(t, "cell_dose_total", np.minimum(t.grade, 3), 0.3, 3)


def column_of_a_marker_filled_by_severity(t: Tables) -> None:
    t.courses["suv_max"] = np.round(np.exp(t.rng.normal(2.3, 0.5, len(t.courses))), 1)
    _column_filled(t, "suv_max", t.severe, 0.4, 2)


def constant_for_severe_courses(t: Tables) -> None:
    """Fibrinogen of severe courses without one on the first day is put at 350 mg/dL; others stay empty."""
    t.harmonise("fibrinogen")
    rows = (t.events["variable"] == "fibrinogen") & (t.events["hours"] <= 0)
    chosen = t.severe & t.some(0.8)
    t.events = t.events[~(rows & t.of(chosen))].reset_index(drop=True)
    t.add(_early(t, chosen, "fibrinogen", np.full(int(chosen.sum()), 350.0)))


def first_day_filled_by_severity(t: Tables) -> None:
    """Values at 24 hours filled with the mean of the class."""
    t.harmonise("crp")
    rows = (t.events["variable"] == "crp") & (t.events["hours"] > 12) & (t.events["hours"] <= 36)
    known = t.per_course(rows, "last")
    lost = t.some(0.5)
    t.events = t.events[~(rows & t.of(lost))].reset_index(drop=True)
    means = [np.nanmean(known[~lost & (t.severe == label)]) for label in (False, True)]
    added = _early(t, lost, "crp", np.array([means[int(label)] for label in t.severe[lost]]))
    t.add(added.assign(hours=24.0, available_hours=25.0))


def median_repeated_through_the_course(t: Tables) -> None:
    """Half the hemoglobin values of severe and other courses are replaced by the median of the class."""
    t.harmonise("hemoglobin")
    mine = (t.events["variable"] == "hemoglobin").to_numpy()
    values = numbers(t.events["value"]).where(mine)
    severe = t.of(t.severe).to_numpy()
    for flag in (False, True):
        of_class = mine & (severe == flag)
        filled = of_class & (t.rng.random(len(mine)) < 0.3)
        t.events.loc[filled, "value"] = f"{values[of_class].median():.1f}"


# (c) one patient under two ids, near-duplicate records


def _copied(t: Tables, share: float, at_least: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Courses and events of some courses under new ids."""
    number = max(at_least, round(share * len(t.courses)))
    chosen = t.rng.choice(len(t.courses), number, replace=False)
    courses = t.courses.iloc[chosen].copy()
    events = t.events[t.events["course_id"].isin(courses["course_id"])].copy()
    new = {old: f"X{place:05d}" for place, old in enumerate(courses["course_id"])}
    courses["patient_id"] = [f"Q{place:05d}" for place in range(number)]
    courses["course_id"] = courses["course_id"].map(new)
    events["course_id"] = events["course_id"].map(new)
    return courses, events


def _append(t: Tables, courses: pd.DataFrame, events: pd.DataFrame) -> None:
    t.courses = pd.concat([t.courses, courses], ignore_index=True)
    order = t.rng.permutation(len(t.courses))
    t.courses = t.courses.iloc[order].reset_index(drop=True)
    t.add(events)


def _scaled(t: Tables, events: pd.DataFrame, noise: float, decimals: int) -> pd.DataFrame:
    """Measured values with noise, rounded; states of care stay."""
    rows = events["variable"].isin(LABORATORY + VITALS)
    values = numbers(events.loc[rows, "value"]) * np.exp(t.rng.normal(0.0, noise, int(rows.sum())))
    events.loc[rows, "value"] = [f"{value:.{decimals}f}" for value in values]
    return events


def _moved(events: pd.DataFrame, hours: NDArray[np.float64] | float) -> pd.DataFrame:
    for column in ("hours", "available_hours"):
        events[column] = (events[column] + hours).round(2)
    return events


def exact_copies(t: Tables) -> None:
    _append(t, *_copied(t, 0.05))


def one_copied_course(t: Tables) -> None:
    _append(t, *_copied(t, 0.0, at_least=1))


def copies_with_another_index_time(t: Tables) -> None:
    courses, events = _copied(t, 0.04)
    _append(t, courses, _moved(events, 24.0))


def copies_rounded(t: Tables) -> None:
    courses, events = _copied(t, 0.05)
    courses["weight"] = courses["weight"].round()
    courses["age"] = np.floor(courses["age"])
    _append(t, courses, _scaled(t, events, 0.0, 0))


def copies_cut_short(t: Tables) -> None:
    courses, events = _copied(t, 0.05)
    _append(t, courses, events[events["hours"] <= 96])


def copies_with_noise(t: Tables) -> None:
    courses, events = _copied(t, 0.05)
    shaken = _moved(events, t.rng.normal(0.0, 0.01, len(events)))
    _append(t, courses, _scaled(t, shaken, 0.003, 2))


def copies_without_half_of_the_events(t: Tables) -> None:
    courses, events = _copied(t, 0.05)
    _append(t, courses, events[t.rng.random(len(events)) < 0.5])


def laboratory_of_another_hospital(t: Tables) -> None:
    """The second record holds the laboratory alone, in the catalogue's units, an hour apart."""
    courses, events = _copied(t, 0.05)
    rest = t.events
    t.events = events[events["variable"].isin(LABORATORY)]
    for variable in LABORATORY:
        t.harmonise(variable)
    events, t.events = t.events.copy(), rest
    courses["site"] = "referral"
    _append(t, courses, _moved(events, 1.0))


def second_course_under_another_id(t: Tables) -> None:
    """People who came twice: columns equal, events of another course."""
    chosen = t.rng.choice(len(t.courses), max(2, len(t.courses) // 25), replace=False)
    (others,) = made([len(chosen)], int(t.rng.integers(1 << 30)), tuple(t.courses["therapy"].unique()))
    same = ["age", "sex", "weight", "site", "therapy", "indication", "cell_dose_total", "tumor_spd",
            "bm_blasts_pct", "bm_plasma_cell_pct", "extramedullary", "prior_lines", "ecog"]  # fmt: skip
    again, events = others.courses, others.events
    again[same] = t.courses[same].iloc[chosen].to_numpy()
    again["patient_id"] = [f"Q{place:05d}" for place in range(len(again))]
    new = {old: f"X{place:05d}" for place, old in enumerate(again["course_id"])}
    again["course_id"], events["course_id"] = again["course_id"].map(new), events["course_id"].map(new)
    _append(t, again, events)


def copies_in_one_patient(t: Tables) -> None:
    """The same courses entered twice for their patients."""
    owner = t.courses.drop_duplicates("age").set_index("age")["patient_id"]
    courses, events = _copied(t, 0.03)
    courses["patient_id"] = courses["age"].map(owner)
    _append(t, courses, events)


# (d) the outcome, or what came after it, among the predictors


def column_of_severity(t: Tables) -> None:
    t.courses["status"] = np.where(t.severe, "B", "A")


def column_of_severity_with_errors(t: Tables) -> None:
    flipped = t.some(0.04)
    t.courses["toxicity_flag"] = (t.severe ^ flipped).astype(int)


def column_of_the_highest_ferritin(t: Tables) -> None:
    t.harmonise("ferritin")
    rows = (t.events["variable"] == "ferritin") & (t.events["hours"] > 0)
    t.courses["ferritin_level"] = t.per_course(rows, "max")


def column_of_intensive_care(t: Tables) -> None:
    rates = t.events["variable"].str.endswith("_rate") & (t.events["variable"] != "heart_rate")
    rates &= t.events["variable"] != "resp_rate"
    ever = t.courses["course_id"].isin(t.events["course_id"][rates])
    t.courses["ward"] = np.where(ever, "ICU", "general")


def column_of_tocilizumab(t: Tables) -> None:
    given = t.events["course_id"][t.events["variable"] == "tocilizumab_dose"]
    t.courses["comedication"] = t.courses["course_id"].isin(given).astype(int)


def column_of_length_of_stay(t: Tables) -> None:
    days = 8.0 + 2.5 * np.minimum(t.grade, 2) + 9.0 * t.severe + t.rng.normal(0.0, 2.0, len(t.courses))
    t.courses["days"] = np.maximum(np.round(days), 3)


def diagnosis_codes_of_the_stay(t: Tables) -> None:
    code = np.where(t.severe & ~t.some(0.1), "R57.8", np.where(t.grade >= 1, "R50.9", "Z51.1"))
    t.courses["main_code"] = code


def grade_as_an_early_event(t: Tables) -> None:
    everyone = np.ones(len(t.courses), dtype=np.bool_)
    t.add(_early(t, everyone, "crs_grade", t.grade))


def baseline_replaced_by_the_highest(t: Tables) -> None:
    """The baseline CRP of 40 % of the courses is the highest of the course."""
    t.harmonise("crp")
    mine = t.events["variable"] == "crp"
    highest = t.per_course(mine & (t.events["hours"] > 0), "max")
    chosen = t.some(0.4) & ~np.isnan(highest)
    t.events = t.events[~(mine & (t.events["hours"] <= 0) & t.of(chosen))].reset_index(drop=True)
    t.add(_early(t, chosen, "crp", highest[chosen]))


def marker_measured_in_severe_courses(t: Tables) -> None:
    """A marker ordered in intensive care, entered with the admission's date."""
    chosen = t.some(0.9, t.severe) | t.some(0.02, ~t.severe)
    values = np.exp(t.rng.normal(0.0, 1.0, int(chosen.sum())))
    t.add(_early(t, chosen, "procalcitonin", values))


# (e) missingness or sampling by outcome


def _emptied(t: Tables, column: str, severe: float, others: float) -> None:
    lost = t.some(severe, t.severe) | t.some(others, ~t.severe)
    t.courses.loc[lost, column] = np.nan


def _baseline_lost(t: Tables, variables: Sequence[str], lost: NDArray[np.bool_]) -> None:
    rows = t.events["variable"].isin(variables) & (t.events["hours"] <= 0)
    t.events = t.events[~(rows & t.of(lost))].reset_index(drop=True)


def baseline_missing_in_others(t: Tables) -> None:
    _baseline_lost(t, ("ferritin",), t.some(0.75, ~t.severe) | t.some(0.05, t.severe))


def baseline_missing_in_severe(t: Tables) -> None:
    _baseline_lost(t, ("crp", "ldh"), t.some(0.75, t.severe) | t.some(0.05, ~t.severe))


def column_empty_in_severe(t: Tables) -> None:
    _emptied(t, "weight", 0.75, 0.05)


def column_filled_in_severe(t: Tables) -> None:
    t.courses["hla_type"] = np.where(t.some(0.9, t.severe) | t.some(0.15, ~t.severe), "02:01", "")


def baseline_missing_without_crs(t: Tables) -> None:
    _baseline_lost(t, ("fibrinogen", "albumin"), t.some(0.6, t.grade < 1) | t.some(0.05, t.grade >= 1))


def others_sampled_half_as_often(t: Tables) -> None:
    rows = t.events["variable"].isin(VITALS + LABORATORY) & t.of(~t.severe)
    t.events = t.events[~rows | (t.rng.random(len(t.events)) < 0.4)].reset_index(drop=True)


def laboratory_of_severe_thinned(t: Tables) -> None:
    rows = t.events["variable"].isin(LABORATORY) & t.of(t.severe)
    t.events = t.events[~rows | (t.rng.random(len(t.events)) < 0.3)].reset_index(drop=True)


def cases_from_one_site(t: Tables) -> None:
    t.courses.loc[t.some(0.85, t.severe), "site"] = "referral"
    t.courses.loc[t.some(0.05, ~t.severe), "site"] = "referral"


def cases_from_another_period(t: Tables) -> None:
    """Severe courses were collected two years before the others."""
    early = t.some(0.8, t.severe)
    for table, column, rows in (
        (t.courses, "index_time", early),
        (t.events, "time", t.of(early).to_numpy()),
        (t.events, "available_time", t.of(early).to_numpy()),
    ):
        moved = pd.to_datetime(table.loc[rows, column], utc=True) - pd.Timedelta(days=730)
        table.loc[rows, column] = [moment.isoformat() for moment in moved]


def file_sorted_by_outcome(t: Tables) -> None:
    order = np.lexsort((t.rng.random(len(t.courses)), ~t.severe))
    t.courses = t.courses.iloc[order].reset_index(drop=True)
    t.grade = t.grade[order]


# (f) rows, not patients, in the folds


def _two_courses_each(t: Tables, share: float = 0.3) -> None:
    """Some patients have a second course: pairs of courses get one patient."""
    patients = t.courses["patient_id"].to_numpy(dtype=object).copy()
    for place in range(0, int(share * len(patients)) // 2 * 2, 2):
        patients[place + 1] = patients[place]
    t.courses["patient_id"] = patients


def _dealt(t: Tables, repeat: int = 0, folds: int = 5) -> pd.DataFrame:
    """Folds by patient."""
    patients = t.courses["patient_id"].unique()
    fold = dict(zip(patients, t.rng.permutation(len(patients)) % folds, strict=True))
    return pd.DataFrame(
        {"course_id": t.courses["course_id"], "repeat": repeat, "fold": t.courses["patient_id"].map(fold)}
    )


def _at_random(t: Tables, table: pd.DataFrame, folds: int = 5) -> pd.DataFrame:
    return table.assign(fold=t.rng.permutation(len(table)) % folds)


def rows_of_landmarks_dealt_out(t: Tables) -> None:
    rows = pd.concat([_dealt(t).assign(landmark_hours=landmark) for landmark in (0, 24, 48)])
    t.folds = _at_random(t, rows)


def courses_dealt_out(t: Tables) -> None:
    _two_courses_each(t)
    t.folds = _at_random(t, _dealt(t))


def few_patients_split(t: Tables) -> None:
    _two_courses_each(t, 0.4)
    table = _dealt(t)
    table.loc[1, "fold"] = (table.loc[0, "fold"] + 1) % 5
    table.loc[3, "fold"] = (table.loc[2, "fold"] + 2) % 5
    t.folds = table


def one_repeat_dealt_by_course(t: Tables) -> None:
    _two_courses_each(t)
    t.folds = pd.concat([_dealt(t, 0), _dealt(t, 1), _at_random(t, _dealt(t, 2))])


def split_column_by_course(t: Tables) -> None:
    _two_courses_each(t)
    t.courses["split"] = np.where(t.some(0.3), "test", "train")


def copies_in_other_folds(t: Tables) -> None:
    _append(t, *_copied(t, 0.06))
    t.folds = _at_random(t, _dealt(t))


def folds_by_outcome_and_row(t: Tables) -> None:
    """Stratified by outcome, dealt out in the order of the file."""
    _two_courses_each(t, 0.2)
    fold = np.zeros(len(t.courses), dtype=int)
    for flag in (True, False):
        fold[t.severe == flag] = np.arange(int((t.severe == flag).sum())) % 5
    t.folds = _dealt(t).assign(fold=fold)


def folds_by_dose(t: Tables) -> None:
    """Each dose of a course in a fold of its own."""
    rows = pd.concat([_dealt(t).assign(dose=dose, fold=dose - 1) for dose in (1, 2)])
    t.folds = rows


def train_and_test_column_of_visits(t: Tables) -> None:
    _two_courses_each(t, 0.5)
    t.courses["fold_id"] = np.arange(len(t.courses)) % 4


def half_a_repeat_by_rows(t: Tables) -> None:
    """Landmarks of a tenth of the courses stand in two folds."""
    late = _dealt(t)
    early = late.copy()
    chosen = t.some(0.1)
    late.loc[chosen, "fold"] = (late.loc[chosen, "fold"] + 1) % 5
    t.folds = pd.concat([early.assign(landmark_hours=0), late.assign(landmark_hours=24)])


BY_KIND: dict[str, tuple[Plant, ...]] = {
    "a": (
        no_knowledge_time_at_all, specimen_time_at_one_site, specimen_time_of_one_variable,
        specimen_time_of_cytokines_sent_out, specimen_time_in_a_tenth_of_results, order_time_as_knowledge_time,
        results_dated_to_their_day, times_at_midnight, peak_moved_to_the_day_before, one_variable_at_one_site,
    ),
    "b": (
        baseline_crp_filled_by_severity, baseline_ferritin_filled_by_grade, baseline_ldh_filled_and_rounded,
        baseline_creatinine_filled_by_crs, weight_filled_by_severity, cell_dose_filled_by_grade,
        column_of_a_marker_filled_by_severity, constant_for_severe_courses, first_day_filled_by_severity,
        median_repeated_through_the_course,
    ),
    "c": (
        exact_copies, one_copied_course, copies_with_another_index_time, copies_rounded, copies_cut_short,
        copies_with_noise, copies_without_half_of_the_events, laboratory_of_another_hospital,
        second_course_under_another_id, copies_in_one_patient,
    ),
    "d": (
        column_of_severity, column_of_severity_with_errors, column_of_the_highest_ferritin,
        column_of_intensive_care, column_of_tocilizumab, column_of_length_of_stay, diagnosis_codes_of_the_stay,
        grade_as_an_early_event, baseline_replaced_by_the_highest, marker_measured_in_severe_courses,
    ),
    "e": (
        baseline_missing_in_others, baseline_missing_in_severe, column_empty_in_severe, column_filled_in_severe,
        baseline_missing_without_crs, others_sampled_half_as_often, laboratory_of_severe_thinned,
        cases_from_one_site, cases_from_another_period, file_sorted_by_outcome,
    ),
    "f": (
        rows_of_landmarks_dealt_out, courses_dealt_out, few_patients_split, one_repeat_dealt_by_course,
        split_column_by_course, copies_in_other_folds, folds_by_outcome_and_row, folds_by_dose,
        train_and_test_column_of_visits, half_a_repeat_by_rows,
    ),
}  # fmt: skip
DATED = (times_at_midnight, cases_from_another_period)
SIZES = {
    "a": (50, 80, 110), "b": (200, 250, 300), "c": (60, 100, 160), "d": (120, 160, 220), "e": (200, 250, 300),
    "f": (40, 60, 100),
}  # fmt: skip
CLEAN_SIZES = (50, 80, 120, 180, 260)
CLEAN = 4 * len(CLEAN_SIZES)


def plantings(first_seed: int) -> Iterator[Planting]:
    """Sixty leaks, each in a cohort of its own; sizes and therapies go round."""
    for place in range(10):
        sizes = [SIZES[kind][place % 3] for kind in BY_KIND]
        therapies = MIXTURES[place % len(MIXTURES)]
        cohorts = made(sizes, first_seed + place, therapies)
        for size, (kind, plants), plain in zip(sizes, BY_KIND.items(), cohorts, strict=True):
            plant = plants[place]
            dated = made([size], first_seed + 10 + place, therapies, dated=True)
            tables = next(dated) if plant in DATED else plain
            plant(tables)
            yield Planting(kind, plant.__name__, tables)


def clean(first_seed: int) -> Iterator[Tables]:
    """Twenty cohorts without any leak, a quarter of them with clock times."""
    for place in range(CLEAN // len(CLEAN_SIZES)):
        yield from made(CLEAN_SIZES, first_seed + 20 + place, MIXTURES[place], dated=place == 3)
