"""Writes a dated cohort as CSV files with the site map by which `convert --from csv` reads them back.

Facts of patients, infusions, results and administrations of drugs stand in a file each; results one per row, or in one
column per variable and unit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crsrisk.cohort import Cohort
from crsrisk.cohort_write import therapies_toml
from crsrisk.tables import write_file, write_text
from crsrisk.times import iso
from crsrisk.writers.statements import statements
from crsrisk.writers.toml_text import quoted

PATIENTS, COURSES, RESULTS, DRUGS, WIDE = (
    "patients.csv", "courses.csv", "results.csv", "drugs.csv", "results_wide.csv",
)  # fmt: skip
MAP_FILE = "map.toml"
FACTS = ("sex", "site", "indication", "observed_until")
_MOMENT = ("patient_id", "time", "available_time")
_THERAPY = "therapy:"

Columns = Mapping[str, Sequence[Any]]


def write_csv(cohort: Cohort, out: Path, *, wide: bool = False) -> None:
    """Write patients.csv, courses.csv, results.csv, drugs.csv and map.toml.

    Args:
        cohort: every course has an index time.
        out: an existing folder.
        wide: results in results_wide.csv, one row per patient and time; only what has no column there (grades, results
            with an identity) stays in results.csv.

    Raises:
        CrsRiskError: a course without index time.
    """
    told = statements(cohort)
    told = told.assign(time=iso(told["start_us"].to_numpy()), available_time=iso(told["known_us"].to_numpy()))
    told = told.assign(source_id=_identities(told))
    infusion = told["name"].str.startswith(_THERAPY) & (told["value"] == "")
    results = told[told["kind"] == "result"]
    tables: dict[str, Columns] = {
        PATIENTS: _patients(told),
        COURSES: _courses(told[infusion]),
        DRUGS: _drugs(told[(told["kind"] == "drug") & ~infusion]),
    }
    spread: dict[str, tuple[str, str]] = {}
    if wide:
        suits = ~results["name"].str.contains(":") & (results["source_id"] == "")
        tables[WIDE], spread = _wide(results[suits])
        results = results[~suits]
    tables[RESULTS] = _results(results)
    for name, cells in tables.items():
        write_file(out / name, cells, parquet=False)
    write_text(out / MAP_FILE, _map(cohort, spread if wide else None))


def _identities(told: pd.DataFrame) -> pd.Series:
    """The source_id where it tells statements of a variable apart; a repeated one would make versions of them."""
    again = told.duplicated(["patient_id", "name", "source_id"], keep=False)
    return told["source_id"].mask(again, "")


def _patients(told: pd.DataFrame) -> Columns:
    """One row per patient; another one for each fact that is stated in a second way."""
    facts = told[told["kind"].isin(("person", "stay"))]
    ends = pd.Series(iso(facts["end_us"].to_numpy()), index=facts.index)
    stay = facts["kind"] == "stay"
    facts = facts.assign(
        name=facts["name"].mask(stay, "observed_until"), value=facts["value"].mask(stay, ends)
    )
    table = _spread(facts, ["patient_id"], "name", "value")
    return {name: _column(table, name) for name in ("patient_id", *FACTS)}


def _courses(infusions: pd.DataFrame) -> Columns:
    return {
        "patient_id": infusions["patient_id"].tolist(),
        "index_time": infusions["time"].tolist(),
        "therapy": infusions["name"].str.removeprefix(_THERAPY).tolist(),
    }


def _results(results: pd.DataFrame) -> Columns:
    texts = {name: results[name].tolist() for name in (*_MOMENT, "value", "unit", "comparator", "source_id")}
    return {**texts, "variable": results["name"].tolist()}


def _drugs(drugs: pd.DataFrame) -> Columns:
    rate = drugs["name"].str.endswith("_rate")
    return {
        **{name: drugs[name].tolist() for name in (*_MOMENT, "comparator", "source_id")},
        "drug": drugs["name"].tolist(),
        "amount": drugs["value"].mask(rate, "").tolist(),
        "unit": drugs["unit"].mask(rate, "").tolist(),
        "rate": drugs["value"].where(rate, "").tolist(),
        "rate_unit": drugs["unit"].where(rate, "").tolist(),
    }


def _wide(results: pd.DataFrame) -> tuple[Columns, dict[str, tuple[str, str]]]:
    """One row per patient, time and time known, and variable and unit by header."""
    told_apart = ~results["value"].str.startswith(("<", ">", "＜", "＞"))
    headers = results["name"] + (" [" + results["unit"] + "]").where(results["unit"] != "", "")
    results = results.assign(
        header=headers, cell=results["comparator"].where(told_apart, "") + results["value"]
    )
    table = _spread(results, list(_MOMENT), "header", "cell")
    columns = dict(zip(headers, zip(results["name"], results["unit"], strict=True), strict=True))
    return {name: _column(table, name) for name in (*_MOMENT, *sorted(columns))}, columns


def _spread(rows: pd.DataFrame, key: list[str], headers: str, cells: str) -> pd.DataFrame:
    """One row per key with a column per header; a second row where a header has a second cell."""
    again = rows.groupby([*key, headers]).cumcount().rename("again")
    told = rows.assign(again=again)
    table = told.pivot_table(
        index=[*key, "again"], columns=headers, values=cells, aggfunc="first", fill_value="", observed=True
    )
    return table.reset_index()


def _column(table: pd.DataFrame, name: str) -> list[str]:
    return [str(cell) for cell in table[name]] if name in table.columns else [""] * len(table)


def _map(cohort: Cohort, wide: Mapping[str, tuple[str, str]] | None) -> str:
    """The site map of the files."""
    version = {"known": "available_time", "comparator": "comparator", "id": "source_id"}
    lines = [
        "# Written by crsrisk: `crsrisk convert --from csv FOLDER OUT --map FOLDER/map.toml` gives the cohort back",
        'encoding = "utf-8"',
        "",
        *_investigational(cohort),
        "[csv]",
        "confirmed = true",
        'delimiter = ","',
        'decimal = "."',
        "",
        *_table(PATIENTS, "wide", sex="sex", site="site", indication="indication", observed_until="observed_until"),
        *_table(COURSES, "wide", time="index_time", therapy="therapy"),
        *_table(RESULTS, "long", time="time", variable="variable", value="value", unit="unit", **version),
        *_table(DRUGS, "long", kind="drug", time="time", variable="drug", value="amount", unit="unit", rate="rate",
                rate_unit="rate_unit", **version),
    ]  # fmt: skip
    if wide is not None:
        lines += [*_table(WIDE, "wide", time="time", known="available_time")[:-1], "[csv.tables.columns]"]
        for header, (variable, unit) in sorted(wide.items()):
            stated = f", unit = {quoted(unit)}" if unit else ""
            lines.append(f"{quoted(header)} = {{variable = {quoted(variable)}{stated}}}")
    return "\n".join(lines) + "\n"


def _table(file: str, layout: str, **columns: str) -> list[str]:
    stated = {"file": file, "layout": layout, "patient": "patient_id", **columns}
    return ["[[csv.tables]]", *(f"{key} = {quoted(value)}" for key, value in stated.items()), ""]


def _investigational(cohort: Cohort) -> list[str]:
    """Therapies that the catalogue does not list, as sections of the map."""
    text = therapies_toml(cohort.therapies)
    return [f"[investigational.{line[1:]}" if line.startswith("[") else line for line in text.splitlines()]
