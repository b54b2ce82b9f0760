"""An empty cohort folder for filling by hand: headers, an example course, the variables with their units."""

from pathlib import Path

from crsrisk.analytes import analytes
from crsrisk.contract import CONTRACT
from crsrisk.tables import write_file, write_text
from crsrisk.units import accepted_units, needs_unit

EXAMPLE_COURSE = "EXAMPLE-1"

COURSES = {
    "course_id": EXAMPLE_COURSE,
    "patient_id": "EXAMPLE-P1",
    "therapy": "axi-cel_LBCL3L",
    "index_time": "2026-11-01T09:00:00+09:00",
    "site": "ward-3",
    "age": "61",
    "sex": "female",
    "weight": "58.5",
    "follow_up_hours": "336",
    "ecog": "1",
    "prior_lines": "2",
    "tumor_spd": "2400",
}
EVENTS = (
    # time, variable, value, unit, available_time, comparator
    ("2026-11-01T06:00:00+09:00", "crp", "0.8", "mg/dL", "2026-11-01T07:30:00+09:00", ""),
    ("2026-11-01T06:00:00+09:00", "ferritin", "420", "ng/mL", "2026-11-01T07:30:00+09:00", ""),
    ("2026-11-01T06:00:00+09:00", "ldh", "310", "U/L", "2026-11-01T07:30:00+09:00", ""),
    ("2026-11-01T06:00:00+09:00", "creatinine", "0.7", "mg/dL", "2026-11-01T07:30:00+09:00", ""),
    ("2026-11-01T06:00:00+09:00", "platelets", "14.2", "10*4/uL", "2026-11-01T07:30:00+09:00", ""),
    ("2026-11-02T06:00:00+09:00", "il6", "1.5", "pg/mL", "2026-11-03T10:00:00+09:00", "<"),
    ("2026-11-02T20:00:00+09:00", "temperature", "38.6", "Cel", "", ""),
    ("2026-11-02T20:00:00+09:00", "sbp", "104", "mm[Hg]", "", ""),
    ("2026-11-02T20:00:00+09:00", "spo2", "93", "%", "", ""),
    ("2026-11-02T21:00:00+09:00", "resp_support", "1", "", "", ""),
    ("2026-11-02T21:00:00+09:00", "o2_flow", "2", "L/min", "", ""),
    ("2026-11-02T22:00:00+09:00", "tocilizumab_dose", "480", "mg", "", ""),
)
EVENT_COLUMNS = ("course_id", "time", "variable", "value", "unit", "available_time", "comparator")
OUTCOMES = {
    "course_id": EXAMPLE_COURSE,
    "peak_grade": "2",
    "system": "ASTCT",
    "onset_hours": "35",
    "severe_hours": "",
}

README = f"""\
A cohort folder for crsrisk, to be filled by hand (a spreadsheet saved as "CSV UTF-8" will do).

courses.csv    one row per infusion of cells or series of a bispecific. therapy is a key of the catalogue or
               of therapies.toml; age in years, sex female|male|other|unknown, weight in kg; further columns
               of variables.csv may be added, in the canonical unit.
events.csv     one row per result, vital sign, treatment or dose: variable and unit as in variables.csv. A
               result without its unit is not used; only those marked "unit not needed" may go without.
               available_time (optional) is when the result was known. comparator (optional): < or >.
outcomes.csv   optional: the adjudicated peak. Hours count from the index time (infusion or first dose).
variables.csv  what can be recorded, for looking up; crsrisk does not read it.

Times are ISO 8601 with an offset (2026-11-01T09:00:00+09:00). De-identified data may use hours from the index
time instead: remove index_time from courses.csv, and name the columns hours and available_hours.

The rows of {EXAMPLE_COURSE} are an example. Overwrite or remove them; `crsrisk check` reminds you of them.
"""

THERAPIES = """\
# Therapies that the catalogue does not list. Remove the # signs and fill in.
# [my-cart]
# name = "..."
# class = "cart"            # cart, engager, engineered_t
# targets = ["CD19"]
# setting = "heme"          # heme, solid
# costimulation = "4-1BB"   # optional
# source = "..."
"""


def write_template(out: str | Path) -> Path:
    """Write an empty cohort folder with an example course and return its path.

    `crsrisk check` accepts it as it is and says that the example is still there.

    Args:
        out: the folder; made when it is not there.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "cohort.toml", f"contract = {CONTRACT}\n")
    write_text(folder / "README.txt", README)
    write_text(folder / "therapies.toml", THERAPIES)
    write_file(folder / "courses.csv", {name: [cell] for name, cell in COURSES.items()}, parquet=False)
    rows = [(EXAMPLE_COURSE, *row) for row in EVENTS]
    events = dict(zip(EVENT_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    write_file(folder / "events.csv", events, parquet=False)
    write_file(folder / "outcomes.csv", {name: [cell] for name, cell in OUTCOMES.items()}, parquet=False)
    write_file(folder / "variables.csv", _variables(), parquet=False)
    return folder


def _variables() -> dict[str, list[str]]:
    known = list(analytes().values())
    return {
        "variable": [one.key for one in known],
        "name_en": [one.name_en for one in known],
        "name_ja": [one.name_ja for one in known],
        "canonical_unit": [one.unit for one in known],
        "accepted_units": [
            "; ".join(accepted_units(one.key)) if needs_unit(one.key) else "unit not needed" for one in known
        ],
        "possible_from": ["" if one.hard_low is None else f"{one.hard_low:g}" for one in known],
        "possible_to": ["" if one.hard_high is None else f"{one.hard_high:g}" for one in known],
    }
