"""The report of the real cohort: 12 events, said loudly, and nothing that they do not carry."""

import json
from pathlib import Path

import pytest

from crsrisk.cohort import read_cohort
from tests.unit.training.report_pages import read_page, read_run, rounds_to
from training.publish import train_and_register
from training.report.write import write_report

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "cd22_cart"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real cohort is not beside this checkout"),
]


@pytest.fixture(scope="module")
def real():
    return read_cohort(FOLDER)


@pytest.fixture(scope="module")
def uri(real, tmp_path_factory):
    """A registry with the model of the real cohort, registered and not promoted."""
    address = f"sqlite:///{tmp_path_factory.mktemp('real')}/mlflow.db"
    train_and_register(real, tracking_uri=address, landmarks=(0.0, 72.0), n_folds=3, resamples=100)
    return address


@pytest.mark.parametrize("language", ["en", "ja"])
def test_it_says_12_events_and_claims_nothing_that_they_do_not_carry(uri, real, tmp_path, language):
    file = tmp_path / "report.html"
    write_report("crsrisk-cd19_cart", None, file, language=language, tracking_uri=uri)
    page, run = read_page(file), read_run(uri, "crsrisk-cd19_cart", "1", tmp_path)
    loud = (
        "INSUFFICIENT EVENTS: 12 of 59 patients had severe CRS."
        if language == "en"
        else "59人中、重症CRSは12人"
    )
    assert loud in page.text
    assert ("SIMULATED" if language == "en" else "シミュレーションデータ") not in page.text.split("\n1. ")[0]
    [auroc] = [c for c in page.facts("metric") if c.attributes["data-metric"] == "auroc_pooled_horizonrest"][
        :1
    ]
    low, high = (run.metrics[f"auroc_pooled_horizonrest_{end}"] for end in ("low", "high"))
    assert (float(auroc.attributes["data-low"]), float(auroc.attributes["data-high"])) == (low, high)
    assert rounds_to(auroc.text, run.metrics["auroc_pooled_horizonrest"])
    assert all(
        cell.sub or cell.attributes.get("data-low")
        for cell in page.facts("metric")
        if not _shared(page, cell)
    )
    claims = (
        (
            "ranks nobody",
            "they are no ranking of patients and no evidence for or against one",
            "nothing here speaks for alerting single patients",
            "No curve is drawn",
            "It learned from patients with cd22_cart alone.",
            "Not evaluated: risks within 24 h, within 72 h.",
            "How CRS was treated in the training cohort is not in its records",
            "had nobody received tocilizumab before severe CRS, can't be estimated: 0 patients were severe",
        )
        if language == "en"
        else (
            "順位付けできません",
            "患者の順位付けではなく",
            "個々の患者への警告の根拠にはなりません",
            "曲線は描きません",
            "学習した患者の治療はcd22_cartのみです",
            "未評価：24時間以内、72時間以内のリスク",
            "学習コホートでのCRSの治療は記録になく",
        )
    )
    assert [claim for claim in claims if claim not in page.text] == []
    assert [tag for tag, _ in page.tags if tag in ("svg", "img")] == []
    assert ("challenger: offered" if language == "en" else "昇格の候補") in page.text


def _shared(page, cell):
    """Whether the reason for a missing interval stands with the name of the row, or above the table."""
    before = page.cells[: page.cells.index(cell)]
    return any(c.sub for c in reversed(before[-8:]))


def test_its_card_says_where_the_numbers_end(uri, real, tmp_path):
    write_report("crsrisk-cd19_cart", "1", tmp_path / "r.html", tracking_uri=uri)
    card = json.loads((tmp_path / "model_card.json").read_text(encoding="utf-8"))
    assert (card["model"]["patients"], card["model"]["events"], card["model"]["simulated"]) == (59, 12, False)
    attributes = card["source_attributes"]
    assert "Insufficient events (12 in 59 patients)" in attributes["known_risks"]["value"]
    assert attributes["external_validity"]["status"] == "not available"
    assert (
        attributes["internal_fairness"]["value"] == "not available: to be given by who trained this version"
    )
    text = json.dumps(card) + (tmp_path / "r.html").read_text(encoding="utf-8")
    assert [i for i in {*real.courses["course_id"], *real.courses["patient_id"]} if f">{i}<" in text] == []
