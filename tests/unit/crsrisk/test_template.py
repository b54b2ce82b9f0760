"""The template: it can be read as it stands, and says that the example is an example."""

import csv
from pathlib import Path

from crsrisk.analytes import analytes
from crsrisk.cohort import read_cohort
from crsrisk.cohort_template import write_template
from crsrisk.quality import check

NOTICE = "the example course EXAMPLE-1 of the template is still there; remove its rows"


def test_the_template_passes_check_and_reminds_of_its_example(tmp_path: Path) -> None:
    told = check(write_template(tmp_path / "mine"))
    assert told.ok
    assert NOTICE in told.notices
    assert told.tables["rejected"].empty
    assert told.tables["unused"].empty


def test_the_example_replaced_by_an_own_course_brings_no_reminder(tmp_path: Path) -> None:
    folder = write_template(tmp_path)
    for name in ("courses", "events", "outcomes"):
        file = folder / f"{name}.csv"
        file.write_text(file.read_text().replace("EXAMPLE-1", "c1").replace("EXAMPLE-P1", "p1"))
    told = check(folder)
    assert told.ok
    assert NOTICE not in told.notices


def test_the_example_shows_conversion_a_limit_and_a_delay(tmp_path: Path) -> None:
    events = read_cohort(write_template(tmp_path)).events.set_index("variable")
    assert events.loc["platelets", "value"] == 142.0
    assert events.loc["il6", "comparator"] == "<"
    assert events.loc["il6", ["hours", "available_hours"]].tolist() == [21.0, 49.0]


def test_variables_lists_every_analyte_with_its_units(tmp_path: Path) -> None:
    with (write_template(tmp_path) / "variables.csv").open(encoding="utf-8", newline="") as file:
        listed = {row["variable"]: row for row in csv.DictReader(file)}
    assert list(listed) == list(analytes())
    assert listed["crp"]["canonical_unit"] == "mg/L"
    assert "mg/dL" in listed["crp"]["accepted_units"].split("; ")
    assert listed["resp_support"]["accepted_units"] == "unit not needed"
