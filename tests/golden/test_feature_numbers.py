"""The numbers of two fixed patients belong to the engine's version: a change without a new version is found here."""

import hashlib

from features.engine import ENGINE_VERSION
from features.matrix import compute_features
from features.registry import FEATURES
from tests.feature_cohorts import CELLS, ENGAGER, Event, cohort_of

DIGEST = {1: "609e8a17a2b3ee97"}


def fixed_events() -> list[Event]:
    """Every variable that a feature reads, in a regular pattern with late results and a fever."""
    variables = sorted({need.analyte for feature in FEATURES for need in feature.requests})
    series = {"grade", "crs_onset", "bsab_dose", "temperature", "age"}
    events: list[Event] = [("b", h, "bsab_dose", v) for h, v in ((0.0, 2.5), (168.0, 10.0))]
    for course, start in (("a", -30.0), ("b", -20.0)):
        for i, name in enumerate(name for name in variables if name not in series):
            for k in range(9):
                hours = start + 11.0 * k + i / 4
                events.append((course, hours, name, 1.0 + (7 * i + 3 * k) % 11 / 2, hours + (i + k) % 3))
        events += [(course, 4.0 * k - 8.0, "temperature", 36.8 + (k * k) % 7 / 3) for k in range(50)]
    return events


def test_the_numbers_of_two_fixed_patients_belong_to_this_engine_version():
    cohort = cohort_of(
        fixed_events(), courses=("a", "b"), therapy={"a": CELLS, "b": ENGAGER}, age=[61.0, 48.0]
    )
    # named in alphabetical order: a new feature changes the digest, so does a changed number
    table = compute_features(cohort, (0.0, 24.0), features=sorted(FEATURES, key=lambda f: f.name))
    text = "\n".join(" ".join(f"{number:.9g}" for number in row) for row in table.values.tolist())
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == DIGEST[ENGINE_VERSION], (
        "numbers changed: raise ENGINE_VERSION for a changed definition, or note the new digest for a new feature"
    )
