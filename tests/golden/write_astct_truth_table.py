"""Write astct_truth_table.csv from the published table, by lookups written by hand (no code of crsrisk)."""

import csv
from itertools import product
from pathlib import Path

# What the chart says about pressure -> column of the table. Keys: hypotension, vasopressors, vasopressin.
NONE, NO_PRESSOR, ONE_PRESSOR, SEVERAL = "none", "no vasopressor", "one vasopressor", "multiple vasopressors"
PRESSURE = {
    ("no", 0, "no"): NONE,
    ("yes", 0, "no"): NO_PRESSOR,
    ("no", 0, "yes"): ONE_PRESSOR,  # vasopressin alone: our choice
    ("yes", 0, "yes"): ONE_PRESSOR,  # vasopressin alone: our choice
    ("no", 1, "no"): ONE_PRESSOR,
    ("yes", 1, "no"): ONE_PRESSOR,
    ("no", 1, "yes"): ONE_PRESSOR,  # "with or without vasopressin"
    ("yes", 1, "yes"): ONE_PRESSOR,
    ("no", 2, "no"): SEVERAL,
    ("yes", 2, "no"): SEVERAL,
    ("no", 2, "yes"): SEVERAL,
    ("yes", 2, "yes"): SEVERAL,
    ("no", 3, "no"): SEVERAL,
    ("yes", 3, "no"): SEVERAL,
    ("no", 3, "yes"): SEVERAL,
    ("yes", 3, "yes"): SEVERAL,
}
# Device and flow (L/min) -> columns that are possible, the mildest and the worst.
ROOM, LOW, HIGH, POSITIVE = "room air", "low flow", "high flow or mask", "positive pressure"
OXYGEN = {
    ("room_air", ""): (ROOM, ROOM),
    ("nasal_cannula", "2"): (LOW, LOW),
    ("nasal_cannula", "6"): (LOW, LOW),
    ("nasal_cannula", "6.1"): (HIGH, HIGH),
    ("nasal_cannula", "15"): (HIGH, HIGH),
    ("nasal_cannula", ""): (LOW, HIGH),
    ("blow_by", "5"): (LOW, LOW),
    ("high_flow_nasal_cannula", "40"): (HIGH, HIGH),
    ("face_mask", "5"): (HIGH, HIGH),
    ("venturi_mask", "4"): (HIGH, HIGH),
    ("non_rebreather", "15"): (HIGH, HIGH),
    ("cpap", ""): (POSITIVE, POSITIVE),
    ("bipap", ""): (POSITIVE, POSITIVE),
    ("mechanical_ventilation", ""): (POSITIVE, POSITIVE),
    ("unknown", "5"): (LOW, HIGH),
    ("unknown", "10"): (HIGH, HIGH),
    ("unknown", ""): (LOW, POSITIVE),
}
# The published table: the more severe of the two columns.
GRADE = {
    (NONE, ROOM): 1,
    (NONE, LOW): 2,
    (NONE, HIGH): 3,
    (NONE, POSITIVE): 4,
    (NO_PRESSOR, ROOM): 2,
    (NO_PRESSOR, LOW): 2,
    (NO_PRESSOR, HIGH): 3,
    (NO_PRESSOR, POSITIVE): 4,
    (ONE_PRESSOR, ROOM): 3,
    (ONE_PRESSOR, LOW): 3,
    (ONE_PRESSOR, HIGH): 3,
    (ONE_PRESSOR, POSITIVE): 4,
    (SEVERAL, ROOM): 4,
    (SEVERAL, LOW): 4,
    (SEVERAL, HIGH): 4,
    (SEVERAL, POSITIVE): 4,
}
COLUMNS = [
    "fever_ok",
    "hypotension",
    "vasopressors",
    "vasopressin",
    "device",
    "flow",
    "death_crs",
    "premedicated_engager",
    "state",
    "low",
    "high",
    "grade",
]
NO_YES = ("no", "yes")


def expected(
    fever: str, pressure: str, oxygen: tuple[str, str], death: str, premedicated: str
) -> tuple[str, ...]:
    """State, lower and upper bound and grade of one combination."""
    if death == "yes":
        return "graded", "5", "5", "5"
    mild, worst = (GRADE[pressure, column] for column in oxygen)
    if fever == "yes":
        return "graded", str(mild), str(worst), str(mild) if mild == worst else ""
    if pressure == NONE and oxygen == (ROOM, ROOM):
        return "none", "0", "0", "0"
    return "review" if premedicated == "yes" else "not_gradable", "0", str(worst), ""


def main() -> None:
    """Write the table beside this file."""
    path = Path(__file__).with_name("astct_truth_table.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        combinations = product(NO_YES, NO_YES, range(4), NO_YES, OXYGEN, NO_YES, NO_YES)
        for fever, low, count, vasopressin, (device, flow), death, premedicated in combinations:
            result = expected(
                fever, PRESSURE[low, count, vasopressin], OXYGEN[device, flow], death, premedicated
            )
            writer.writerow([fever, low, count, vasopressin, device, flow, death, premedicated, *result])


if __name__ == "__main__":
    main()
