"""The report of a version: every number is a logged one, nothing is hidden, and it stands alone."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from crsrisk.errors import CrsRiskError, ModelError
from tests.unit.training.report_pages import (
    NAME,
    SPITEFUL,
    interval_rounds_to,
    log_versions,
    read_page,
    read_run,
    rounds_to,
)
from training.champions import list_models
from training.report.about import HEADLINE
from training.report.logged import TABLES
from training.report.write import SECTIONS, write_report

pytestmark = pytest.mark.xdist_group("registry")

NUMBER = re.compile(r"[−-]?\d[\d,]*(\.\d+)?(\u00a0?%)?")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A registry with an early version of few tables and a complete one."""
    folder = tmp_path_factory.mktemp("toys")
    uri = f"sqlite:///{folder}/mlflow.db"
    log_versions(uri)
    return uri


@pytest.fixture(scope="module")
def written(toys, trained_registry, tmp_path_factory):
    """Reports by registry, model, version and language: (file, page, run), each made once."""
    made = {}

    def write(name=NAME, version="2", language="en", *, trained=False):
        key = (trained, name, version, language)
        if key not in made:
            uri = trained_registry.tracking_uri if trained else toys
            folder = tmp_path_factory.mktemp("report")
            file = folder / "report.html"
            write_report(name, version, file, language=language, tracking_uri=uri)
            made[key] = (file, read_page(file), read_run(uri, name, version, folder))
        return made[key]

    return write


@pytest.fixture(params=["early", "complete", "complete in Japanese", "trees", "base rate in Japanese"])
def report(request, written, trained_registry):
    """Reports of an early and a complete version, and of what the pipeline trained."""
    if request.param == "trees":
        return written(trained=True, version="1")
    if request.param == "base rate in Japanese":
        return written("crsrisk-bcma_cart", "1", "ja", trained=True)
    return written(
        version="1" if request.param == "early" else "2",
        language="ja" if "Japanese" in request.param else "en",
    )


# ---- numbers


def test_every_metric_shown_is_mlflows(report):
    _, page, run = report
    shown = page.facts("metric")
    assert shown
    for cell in shown:
        name = cell.attributes["data-metric"]
        assert float(cell.attributes["data-value"]) == run.metrics[name]
        assert rounds_to(cell.text, run.metrics[name]), (name, cell.text)
        if "data-low" in cell.attributes:
            low, high = run.metrics[f"{name}_low"], run.metrics[f"{name}_high"]
            assert (float(cell.attributes["data-low"]), float(cell.attributes["data-high"])) == (low, high)
            assert interval_rounds_to(cell.sub, low, high), (name, cell.sub)
        else:
            assert f"{name}_low" not in run.metrics or f"{name}_high" not in run.metrics


def test_every_metric_that_mlflow_has_is_shown(report):
    _, page, run = report
    logged = {name for name in run.metrics if not name.endswith(("_low", "_high"))}
    logged -= {
        name for name in logged if name.startswith("usual_care_")
    }  # of a second model, shown as a table
    assert {cell.attributes["data-metric"] for cell in page.facts("metric")} == logged


def test_every_number_of_a_table_is_the_logged_cell(report):
    _, page, run = report
    for cell in page.facts("table"):
        a = cell.attributes
        row = run.tables[a["data-table"]].iloc[int(a["data-row"])]
        assert a["data-value"] == row[a["data-column"]]
        if a["data-value"]:
            assert rounds_to(cell.text, float(a["data-value"])), (a, cell.text)
        if "data-bounds" in a:
            low, high = (row[column] for column in a["data-bounds"].split())
            assert (a["data-low"], a["data-high"]) == (low, high)
            assert interval_rounds_to(cell.sub, float(low), float(high))


def test_numbers_of_tags_parameters_and_the_model_are_what_they_say(report):
    _, page, run = report
    for cell in page.facts("tag"):
        assert rounds_to(cell.text, float(run.tags[cell.attributes["data-tag"]]))
    for cell in page.facts("param"):
        assert cell.text == run.params[cell.attributes["data-param"]]
    for cell in page.facts("model"):
        value = run.model
        for part in cell.attributes["data-model"].split("."):
            value = value[part]
        assert float(cell.attributes["data-value"]) == value
        assert rounds_to(cell.text, value)
    assert {c.attributes["data-tag"] for c in page.facts("tag")} == {"n_patients", "n_events"}
    assert page.facts("param")
    assert page.facts("model")


def test_no_number_stands_in_a_table_without_naming_its_source(report):
    _, page, _ = report
    sources = {"data-metric", "data-table", "data-tag", "data-param", "data-model"}
    bare = [
        cell.text
        for cell in page.cells
        if cell.tag == "td" and NUMBER.fullmatch(cell.text) and not sources & set(cell.attributes)
    ]
    assert bare == []


def test_an_undefined_metric_says_why(written):
    _, page, run = written(trained=True, version="1")
    table = run.tables["metrics"]
    missing = table[(table["model"] == "crsrisk") & (table["value"] == "") & (table["landmark_hours"] != "")]
    assert len(missing)
    assert page.facts("undefined")
    assert {cell.text for cell in page.facts("undefined")} == {"undefined"}
    for reason in missing["reason"].unique():
        assert reason in page.text


def test_too_few_events_give_no_interval_and_no_curve(written):
    _, page, run = written(trained=True, version="1")
    assert not any(name.endswith("_low") for name in run.metrics)
    assert "8 with severe CRS: too few for an interval" in page.text
    assert "No curve is drawn: 8 patients had one of the outcomes" in page.text
    drawn = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert [label.split(":")[0] for label in drawn] == ["What moves the risk most"]


def test_a_small_group_or_site_is_suppressed(written):
    file, page, _ = written()
    assert "Site left out: tiny" in page.text
    assert "0.31" not in page.text.split("Stability")[0].split("Other sites")[-1]
    name = re.escape("brexucabtagene autoleucel (brexu-cel_ALL)")
    row = re.search(rf"<tr><th scope=\"row\">{name}</th>(.*?)</tr>", file.read_text())
    assert re.findall(r"<td>(.*?)</td>", row[1]) == ["fewer than 20", "suppressed"]


def test_the_risk_without_rescue_is_shown_or_refused_with_its_reasons(written):
    _, page, _ = written()
    [shown] = [c for c in page.facts("metric") if "risk_without_tocilizumab" in c.attributes["data-metric"]]
    assert (shown.text, shown.sub) == ("25.0\u00a0%", "12.5\u00a0% to 50.0\u00a0%")
    assert "4 patients were severe without rescue before, 10 are needed" in page.text
    tables = {cell.attributes["data-table"] for cell in page.facts("table")}
    assert {"treatment_policy", "positivity", "rescue_sensitivity", "usual_care"} <= tables
    _, japanese, _ = written(language="ja")
    assert (
        "事前の救済治療なしに重症となったのは4人で、10人必要です；救済治療の25%はほぼ確実でした"
        in japanese.text
    )


# ---- what it says


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_section_is_there_in_both_languages(written, language):
    _, page, _ = written(language=language)
    keys = [a["id"] for tag, a in page.tags if tag == "section"]
    assert len(keys) == len(SECTIONS) + 1
    assert keys[:5] == ["short", "purpose", "limits", "flow", "therapies"]
    assert ("html", {"lang": language}) in page.tags


def test_simulated_data_and_few_events_are_said_loudly(written):
    _, page, _ = written(trained=True, version="1")
    banners = [a for tag, a in page.tags if a.get("class") == "banner"]
    assert len(banners) == 2
    assert "SIMULATED DATA. This version learned from simulated patients." in page.text
    assert "FEW EVENTS: 8 of 102 patients had severe CRS." in page.text


def test_a_base_rate_says_that_it_ranks_nobody_and_has_no_shap(written):
    _, page, _ = written("crsrisk-bcma_cart", "1", "en", trained=True)
    assert "INSUFFICIENT EVENTS: 1 of 36 patients had severe CRS." in page.text
    assert "the version ranks nobody" in page.text
    assert "This version has no trees" in page.text
    assert "None of them: the version reads no value of a patient." in page.text


def test_the_japanese_report_leaves_no_known_sentence_in_english(written):
    for name, trained in ((NAME, True), ("crsrisk-bcma_cart", True)):
        _, page, _ = written(name, "1", "ja", trained=trained)
        assert page.foreign == []
        assert "シミュレーションデータです" in page.text
        assert "undefined" not in page.text


def test_a_sentence_that_nobody_translated_is_marked_as_english(written):
    _, page, _ = written(language="ja")
    assert set(page.foreign) == {"a step of another release", SPITEFUL}


def test_what_the_model_does_not_beat_stands_among_the_limits(written):
    _, page, _ = written()
    limits = page.text.split("4. Cohort flow")[0]
    assert "What it does not beat" in limits
    assert "LightGBM does not beat EASIX here (AUROC 0.700 against 0.710)." in limits


def test_a_version_of_an_early_release_says_what_it_lacks(written):
    file, page, _ = written(version="1")
    for stem in TABLES:
        assert stem in page.text
    assert "Not logged with this version: net benefit at thresholds (table decision_curve)." in page.text
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 2
    assert all(a["src"].startswith("data:image/svg+xml;base64,") and a["alt"] for a in images)
    assert "as drawn by the training run" in page.text
    assert file.stat().st_size < 500_000


def test_figures_are_drawn_from_the_tables_with_words_for_those_who_do_not_see_them(written):
    _, page, _ = written()
    drawn = [a for tag, a in page.tags if tag == "svg"]
    assert (
        len(drawn) == 7
    )  # landmarks, roc, precision-recall, calibration, decision curve, groups, importance
    assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in drawn)


def test_no_identifier_of_a_patient_or_course_is_in_it(written, small_cohort):
    file, _, _ = written(trained=True, version="1")
    text = file.read_text(encoding="utf-8") + (file.parent / "model_card.json").read_text(encoding="utf-8")
    words = set(re.findall(r"[\w.:-]+", text))
    ids = {*small_cohort.courses["course_id"], *small_cohort.courses["patient_id"]}
    assert len(ids) > 100
    assert ids & words == set()


# ---- the file


def test_it_runs_no_script_and_fetches_nothing(report):
    file, page, _ = report
    text = file.read_text(encoding="utf-8")
    assert not {"script", "link", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert re.findall(r"https?://|url\(|@import", text) == []
    assert "default-src &#39;none&#39;" in text


def test_what_a_run_logged_is_text_and_never_markup(written):
    file, page, _ = written()
    assert SPITEFUL in page.text
    assert "<script>" not in file.read_text(encoding="utf-8")


def test_headings_tables_and_anchors_are_in_order(report):
    _, page, _ = report
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("caption") == names.count("thead") > 10
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    anchors = [a["href"] for tag, a in page.tags if tag == "a"]
    assert anchors
    assert {a.removeprefix("#") for a in anchors} <= set(ids)


def test_a_report_is_the_same_when_it_is_written_again(toys, tmp_path):
    from datetime import UTC, datetime

    now = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    files = []
    for k in range(2):
        write_report(NAME, "2", tmp_path / str(k) / "r.html", tracking_uri=toys, now=now)
        files.append((tmp_path / str(k) / "r.html").read_bytes())
    assert files[0] == files[1]
    assert b"2026-11-20 08:00 UTC" in files[0]


# ---- the card


def test_the_card_has_the_31_attributes_each_with_a_value_or_who_gives_it(report):
    file, _, _ = report
    card = json.loads((file.parent / "model_card.json").read_text(encoding="utf-8"))
    attributes = card["source_attributes"]
    assert len(attributes) == 31
    assert list(attributes)[:2] == ["developer", "funding"]
    for one in attributes.values():
        assert one["value"].strip()
        assert (one["status"] == "filled") == ("to_be_filled_by" not in one)
        assert (one["status"] == "not available") == one["value"].startswith("not available: ")
    assert attributes["decision_role"]["status"] == "filled"
    assert attributes["funding"]["value"] == "not available: to be given by who trained this version"


def test_numbers_of_the_card_are_the_logged_ones(written):
    file, _, run = written()
    card = json.loads((file.parent / "model_card.json").read_text(encoding="utf-8"))
    numbers = card["source_attributes"]["internal_validity"]["numbers"]
    assert {f"{m}_pooled_horizonrest" for m in HEADLINE} <= {n["metric"] for n in numbers}
    for number in numbers:
        assert number["value"] == run.metrics[number["metric"]]
        assert number["low"] == run.metrics.get(f"{number['metric']}_low")
    table = run.tables["subgroups"]
    for one in card["source_attributes"]["internal_fairness"]["numbers"]:
        row = table[
            (table["level"] == one["level"])
            & (table["metric"] == one["metric"])
            & (table["horizon"] == "rest")
        ].iloc[0]
        assert (one["value"], one["patients"]) == (float(row["value"]), int(row["n"]))
    assert {n["level"] for n in card["source_attributes"]["internal_fairness"]["numbers"]} == {
        "female",
        "male",
        "big",
    }


def test_the_card_is_the_same_beside_a_report_in_another_language(written):
    english, japanese = written()[0], written(language="ja")[0]
    assert (english.parent / "model_card.json").read_bytes() == (
        japanese.parent / "model_card.json"
    ).read_bytes()


# ---- which version, and what is refused


def test_without_a_version_the_champion_is_taken_else_the_newest(toys, trained_registry, tmp_path):
    assert write_report(NAME, None, tmp_path / "a" / "r.html", tracking_uri=toys).version == "2"
    found = write_report(NAME, None, tmp_path / "b" / "r.html", tracking_uri=trained_registry.tracking_uri)
    assert found.version == "1"
    assert "champion: this version answers" in read_page(tmp_path / "b" / "r.html").text


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("crsrisk-x", None, r"no model 'crsrisk-x' is registered; there are \['crsrisk-cd19_cart'\]"),
        ("cd19_cart", None, r"\(did you mean crsrisk-cd19_cart\?\)"),
        (NAME, "7", r"crsrisk-cd19_cart has no version '7'; it has \['2', '1'\]"),
    ],
)
def test_an_unknown_name_or_version_is_refused_with_what_there_is(toys, tmp_path, name, version, message):
    with pytest.raises(ModelError, match=message):
        write_report(name, version, tmp_path / "r.html", tracking_uri=toys)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_or_language_is_refused(toys, tmp_path):
    with pytest.raises(
        CrsRiskError,
        match=r"--out r\.pdf: the report is an HTML file; name one that ends in .html, or a folder",
    ):
        write_report(NAME, "2", tmp_path / "r.pdf", tracking_uri=toys)
    with pytest.raises(CrsRiskError, match="language 'fr'; accepted: en, ja"):
        write_report(NAME, "2", tmp_path / "r.html", language="fr", tracking_uri=toys)


def test_the_card_of_another_version_is_never_overwritten(toys, tmp_path):
    write_report(NAME, "1", tmp_path / "one.html", tracking_uri=toys)
    before = (tmp_path / "model_card.json").read_bytes()
    with pytest.raises(
        CrsRiskError, match=r"belongs to crsrisk-cd19_cart version 1; write this report into another"
    ):
        write_report(NAME, "2", tmp_path / "two.html", tracking_uri=toys)
    assert (tmp_path / "model_card.json").read_bytes() == before
    assert not (tmp_path / "two.html").exists()
    (tmp_path / "model_card.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CrsRiskError, match="is no card of crsrisk"):
        write_report(NAME, "1", tmp_path / "one.html", tracking_uri=toys)


def test_a_table_that_contradicts_the_metrics_is_refused(toys, tmp_path):
    run_id = next(m["run_id"] for m in list_models(toys) if m["version"] == "2")
    [file] = Path(toys.removeprefix("sqlite:///")).parent.rglob(f"{run_id}/artifacts/tables/metrics.csv")
    before = file.read_bytes()
    table = pd.read_csv(file, dtype="str", keep_default_na=False)
    at = table.index[(table["model"] == "crsrisk") & (table["metric"] == "auroc")][0]
    table.loc[at, "value"] = "0.999"
    try:
        table.to_csv(file, index=False)
        with pytest.raises(
            ModelError, match=r"metric auroc_pooled and table metrics differ; one of them was altered"
        ):
            write_report(NAME, "2", tmp_path / "r.html", tracking_uri=toys)
        file.write_bytes(b"")
        assert "metrics" in write_report(NAME, "2", tmp_path / "r.html", tracking_uri=toys).html.read_text()
    finally:
        file.write_bytes(before)


def test_a_version_whose_files_or_run_are_gone_is_refused(toys, tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(toys, toys)
    home = Path(client.get_model_version_download_uri(NAME, "1").removeprefix("file://"))
    hidden = home.with_name("hidden")
    home.rename(hidden)
    try:
        with pytest.raises(ModelError, match="version 1: its files can't be read; train a new version"):
            write_report(NAME, "1", tmp_path / "r.html", tracking_uri=toys)
    finally:
        hidden.rename(home)
