"""A cohort written in another format and read back is the same cohort, with the same features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crsrisk.cohort import Cohort, read_cohort
from crsrisk.readers.convert import convert
from crsrisk.simulator import simulate
from crsrisk.writers.export import export
from features.matrix import compute_features

THERAPIES = ("axi-cel_LBCL3L", "tisa-cel_ALL", "ide-cel_MM4L", "glofit_DLBCL", "tec_MM", "blina_RRALL")
FORMATS = ("fhir", "omop", "meds", "hl7v2", "csv")
LANDMARKS = (0.0, 12.0, 24.0, 72.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    """Twelve dated courses of cells and engagers, as four hospitals write them."""
    folder = tmp_path_factory.mktemp("round_trip") / "cohort"
    simulate(12, 41, therapies=THERAPIES, absolute_times=True).write(folder)
    return read_cohort(folder)


@pytest.fixture(scope="module", params=FORMATS)
def back(request, cohort, tmp_path_factory) -> Cohort:
    """The cohort written in a format and converted again."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    source = folder / "source"
    source.mkdir()
    export(cohort, source, request.param)
    site = source / "map.toml"
    converted = convert(request.param, source, folder / "back", site=site if site.is_file() else None)
    assert converted.questions == 0
    assert converted.account["records"]["quarantined"] == 0
    return read_cohort(folder / "back")


def features(cohort: Cohort) -> tuple[pd.DataFrame, np.ndarray]:
    table = compute_features(cohort, LANDMARKS)
    order = table.rows.sort_values(["patient_id", "dose", "landmark_hours"]).index
    rows = table.rows.loc[order, ["patient_id", "therapy", "dose", "dose_hours", "landmark_hours"]]
    return rows.reset_index(drop=True), table.values[order]


def test_the_features_of_a_round_trip_are_the_same(cohort, back):
    rows, values = features(cohort)
    rows_back, values_back = features(back)
    pd.testing.assert_frame_equal(rows_back, rows, rtol=0, atol=1e-9)
    assert np.array_equal(np.isnan(values_back), np.isnan(values))
    assert np.nanmax(np.abs(values_back - values)) <= 1e-9


def test_what_is_known_of_each_patient_comes_back(cohort, back):
    courses = cohort.courses.set_index("patient_id")
    found = back.courses.set_index("patient_id").reindex(courses.index)
    for name in ("therapy", "sex", "site", "indication"):
        assert found[name].tolist() == courses[name].tolist()
    for name in ("age", "weight", "follow_up_hours"):
        assert np.allclose(found[name], courses[name], rtol=0, atol=1e-9, equal_nan=True)
    assert (found["index_time"] == courses["index_time"]).all()


def test_no_event_is_lost_or_added(cohort, back):
    count = cohort.events["variable"].value_counts().to_dict()
    baseline = {
        "age",
        "weight",
        *(name for name in cohort.courses.columns if name in back.events["variable"].unique()),
    }
    found = back.events["variable"].value_counts().to_dict()
    assert {name: rows for name, rows in found.items() if name not in baseline} == {
        name: rows for name, rows in count.items() if name not in baseline
    }
