"""Conversions as a whole: what is refused, and that nothing is left behind or taken away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.convert import convert

SAMPLES = Path(__file__).parents[4] / "data_samples"


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="accepted: fhir, omop, meds, hl7v2, csv"):
        convert("xml", SAMPLES, tmp_path / "out")


@pytest.mark.parametrize("new", [True, False])
def test_an_error_leaves_nothing_behind(tmp_path, new):
    out = tmp_path / "out"
    if not new:
        out.mkdir()
    with pytest.raises(CrsRiskError):
        convert("fhir", tmp_path / "nothing", out)
    assert out.exists() is not new
    assert new or list(out.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_kept(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(CrsRiskError, match="not an empty folder"):
        convert("fhir", SAMPLES / "fhir", tmp_path)
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_folder_in_the_source_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(CrsRiskError, match="lies in the source"):
        convert("csv", tmp_path, tmp_path / "out")


def test_the_report_adds_up_and_names_patients_of_the_map_that_are_not_there(tmp_path):
    site = tmp_path / "map.toml"
    site.write_text('[courses."nobody"]\ntherapy = "tec_MM"\nindex_time = "2026-01-01T00:00:00Z"\n')
    converted = convert("fhir", SAMPLES / "fhir", tmp_path / "out", site=site)
    assert converted.unused_stated == 1
    assert "1 patients of [courses] in the site map are not in the source" in converted.to_text()
    written = json.loads((tmp_path / "out" / "conversion.json").read_text())
    records = written["records"]
    assert records.pop("read") == sum(records.values()) > 1000
    for parts in written["items"].values():
        assert parts["read"] == parts["carried"] + parts["not_needed"] + parts["quarantined"]


def test_a_question_is_not_called_no_therapy(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    lines = [
        {"resourceType": "Procedure", "id": str(n), "status": "completed", "subject": {"reference": "Patient/p"},
         "code": {"coding": [{"system": "urn:crsrisk", "code": "therapy:axi-cel_LBCL3L"}]},
         "performedDateTime": f"2026-01-0{n}T09:00:00Z"}
        for n in (1, 2)
    ]  # fmt: skip
    (source / "Procedure.ndjson").write_text("\n".join(json.dumps(line) for line in lines))
    converted = convert("fhir", source, tmp_path / "out")
    assert (converted.courses, converted.questions, converted.ok) == (0, 1, False)
    assert "wait for an answer" in converted.to_text()
    assert "no administration" not in converted.to_text()
    assert "TWO_TIME_ZEROS" in (tmp_path / "out" / "questions.csv").read_text()
