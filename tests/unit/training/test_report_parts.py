"""The parts a report is made of: guideline items, logged sentences in two languages, tables and drawings."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crsrisk.labels import labels
from tests.toy_models import offset_model, tree_model
from tests.unit.training.report_pages import FAMILY, detail
from training.design import Design
from training.fit import strategy_note
from training.instability import SUMMARY_COLUMNS, instability_notes
from training.report import answers
from training.report.blocks import Cell, Table, text_cell, with_note, with_reason
from training.report.checklists import DEVELOPMENT, EVALUATION, ONC, TRIPOD, items
from training.report.drawing import Axis, Bar, Line, Mark, bars, forest, plot
from training.report.evidence import POINTS, curve_tables, predictor_table, therapy_table
from training.report.wording import Wording
from training.resampling import Drawn
from training.sample_size import sample_size_note
from training.table import comparison_notes

EN, JA = Wording("en"), Wording("ja")
BIBLIOGRAPHY = (Path(__file__).parents[3] / "docs" / "sources.bib").read_text(encoding="utf-8")


# ---- items


def numbers(guideline):
    return [item.number for item in items(guideline)]


def test_tripod_ai_has_its_27_items_with_all_their_parts():
    found = numbers(TRIPOD)
    assert len(found) == 52
    assert list(dict.fromkeys(int(re.match(r"\d+", n)[0]) for n in found)) == list(range(1, 28))
    assert [n for n in found if n.startswith("12")] == [f"12{letter}" for letter in "abcdefg"]
    assert [n for n in found if n.startswith("18")] == [f"18{letter}" for letter in "abcdef"]


def test_probast_ai_has_16_questions_on_development_and_18_on_evaluation():
    def by_domain(guideline):
        return [sum(n.startswith(f"{d}.") for n in numbers(guideline)) for d in range(1, 5)]

    assert by_domain(DEVELOPMENT) == [3, 4, 4, 5]
    assert by_domain(EVALUATION) == [3, 4, 4, 7]
    assert {item.by for guideline in (DEVELOPMENT, EVALUATION) for item in items(guideline)} == {"assessor"}


def test_the_rule_of_onc_names_31_attributes_in_nine_groups():
    found = numbers(ONC)
    assert [sum(n.startswith(f"({g})") for n in found) for g in range(1, 10)] == [4, 4, 2, 4, 2, 4, 5, 4, 2]
    assert len({item.key for item in items(ONC)}) == 31


@pytest.mark.parametrize("guideline", [TRIPOD, DEVELOPMENT, EVALUATION, ONC])
def test_every_item_is_complete_and_can_be_answered_by_somebody(guideline):
    known = labels("en")
    for item in items(guideline):
        assert item.text_en
        assert item.text_ja
        assert f"report.part.{item.part}" in known
        assert item.answer or item.by, item.number
        assert not item.answer or item.answer in answers.names() or f"report.answer.{item.answer}" in known
        assert not item.by or f"report.by.{item.by}" in known
        assert not item.section or f"report.section.{item.section}" in known
        assert f"{{{item.source}," in BIBLIOGRAPHY


def test_labels_of_the_report_have_the_same_fields_in_both_languages():
    for key, text in labels("en").items():
        if key.startswith("report.") and ".said." not in key:
            fields = set(re.findall(r"\{(\w+)\}", text))
            assert set(re.findall(r"\{(\w+)\}", labels("ja")[key])) == fields, key


# ---- sentences


def said_in_japanese(sentence):
    text, lang = JA.said(sentence)
    return lang == "" and text != sentence and not re.search(r"[{}]", text)


@pytest.mark.parametrize("elsewhere", [0, 50])
@pytest.mark.parametrize("events", [0, 1, 12, 40, 120])
def test_what_was_fitted_and_why_is_said_in_japanese(events, elsewhere):
    from training.fit import choose_strategy

    strategy = choose_strategy(events, events + elsewhere)
    note = strategy_note("cd19_cart", strategy, events, 200, ("bcma_cart", "heme_engager"))
    assert said_in_japanese(note), note


def test_what_was_learned_later_is_said_in_japanese():
    note = (
        "cd19_cart: levels of therapies learned from 10 further patients, 1 with severe CRS; trees and calibration are "
        "those of crsrisk-cd19_cart version 3."
    )
    assert said_in_japanese(note), note


@pytest.mark.parametrize(("patients", "events"), [(59, 12), (20_000, 4_000), (12, 0)])
def test_sample_sizes_are_said_in_japanese_with_the_same_numbers(patients, events):
    note = sample_size_note("cd19_cart", patients, events, 30)
    assert said_in_japanese(note), note
    assert f"{patients:,}人" in JA.said(note)[0] or f"{patients}人" in JA.said(note)[0]


def test_instability_is_said_in_japanese():
    summary = pd.DataFrame(
        [
            ("f", "mean_absolute_error", np.nan, 0.021, 9, 15, ""),
            ("f", "p95_absolute_error", np.nan, 0.08, 9, 15, ""),
        ],
        columns=list(SUMMARY_COLUMNS),
    )
    [note] = instability_notes("cd19_cart", summary)
    assert said_in_japanese(note), note


def test_what_is_not_beaten_is_said_in_japanese():
    line = {"family": "cd19_cart", "horizon": "rest", "landmark_hours": np.nan, "metric": "auroc", "low": 0.4,
            "high": 0.9, "reason": ""}  # fmt: skip
    table = pd.DataFrame(
        [
            {**line, "model": m, "value": v}
            for m, v in (("crsrisk", 0.6), ("logistic", 0.7), ("easix", 0.65), ("last_grade", 0.8))
        ]
    )
    found = [
        note for strategy in ("own", "offset") for note in comparison_notes(table, "cd19_cart", strategy)
    ]
    assert len(found) == 4
    assert all(said_in_japanese(note) for note in found), found


@pytest.mark.parametrize(("events", "others"), [(3, 50), (50, 3)])
def test_reasons_for_no_interval_are_said_in_japanese(events, others):
    reason = Drawn(0.5, np.linspace(0.3, 0.7, 20)).interval(events, others)[2]
    assert "3" in reason
    assert said_in_japanese(reason)


def test_an_unknown_sentence_stays_english_and_says_so():
    assert JA.said("Something that nobody foresaw.") == ("Something that nobody foresaw.", "en")
    assert EN.said("Something that nobody foresaw.") == ("Something that nobody foresaw.", "")
    assert JA.said("") == ("", "")


@pytest.mark.parametrize(
    ("value", "style", "english", "japanese"),
    [
        (0.71249, "plain", "0.712", "0.712"),
        (-0.0004, "plain", "0.000", "0.000"),
        (-1.5, "ratio", "−1.50", "−1.50"),
        (0.0756, "share", "7.6\u00a0%", "7.6%"),
        (0.075, "threshold", "7.5\u00a0%", "7.5%"),
        (0.1, "threshold", "10\u00a0%", "10%"),
        (12345.0, "count", "12,345", "12,345"),
        (float("nan"), "plain", "–", "–"),
    ],
)
def test_numbers_are_rounded_for_reading(value, style, english, japanese):
    assert (EN.number(value, style), JA.number(value, style)) == (english, japanese)


# ---- rows


def number(reason, text="0.7"):
    return Cell(text=text, sub=reason, why=True, facts={"metric": "m"})


def test_a_reason_that_a_row_shares_is_given_once():
    row = with_reason(text_cell("0 h"), [number("too few"), number("too few"), number("flat")])
    assert [cell.sub for cell in row] == ["too few", "", "", "flat"]


def test_an_interval_is_never_taken_for_a_reason():
    cells = [Cell(text="1", sub="0 to 2", facts={"metric": "m"}) for _ in range(2)]
    assert [cell.sub for cell in with_reason(text_cell("0 h"), cells)] == ["", "0 to 2", "0 to 2"]


def test_a_reason_that_all_rows_share_stands_above_the_table():
    rows = [with_reason(text_cell(str(k)), [number("too few"), number("too few")]) for k in range(3)]
    table = with_note(Table(caption="c", head=("a", "b", "c"), rows=rows))
    assert table.note == "too few"
    assert [cell.sub for row in table.rows for cell in row] == [""] * 9
    mixed = [*rows, with_reason(text_cell("x"), [number("flat"), number("flat")])]
    assert with_note(Table(caption="c", head=("a", "b", "c"), rows=mixed)).note == ""


# ---- what a run logs for its report


def rows_of(patients, *, severe=10):
    """A row per patient: CRP known for all but every fourth, ferritin for nobody, temperature 37 to 40."""
    model = tree_model()
    values = np.full((patients, len(model.feature_names)), np.nan)
    at = [
        model.feature_names.index(f"{a}_max_since_{b}")
        for a, b in (("crp", "index"), ("temperature", "dose"))
    ]
    values[:, at[0]] = np.where(np.arange(patients) % 4 == 0, np.nan, np.arange(patients, dtype=float))
    values[:, at[1]] = np.linspace(37.0, 40.0, patients)
    rows = pd.DataFrame(
        {
            "course_id": [f"c{k}" for k in range(patients)], "patient_id": [f"p{k}" for k in range(patients)],
            "therapy": ["axi-cel_LBCL3L" if k % 3 else "brexu-cel_ALL" for k in range(patients)], "family": FAMILY,
            "dose": 1, "landmark_hours": 24.0, "horizon_hours": 72.0, "rest_of_window": False,
            "severe": [int(k < severe) for k in range(patients)], "weight": 1.0,
        }
    )  # fmt: skip
    return Design(rows, np.arange(patients), values, model.feature_names)


def test_predictors_are_logged_with_missing_values_quartiles_and_shap():
    found = predictor_table(tree_model(), rows_of(40)).set_index("feature")
    crp = found.loc["crp_max_since_index"]
    assert (crp["rows"], crp["missing"], crp["median"]) == (40, 0.25, 20.0)
    assert found.loc["ferritin_max_since_index", "missing"] == 1.0
    assert found.loc["temperature_max_since_dose", "q25"] == pytest.approx(37.75)
    assert crp["mean_abs_shap"] > 0
    assert crp["direction"] > 0.5  # the toy's risk rises with CRP
    assert list(found.index[-2:]) == ["landmark_hours", "horizon_hours"]


def test_quartiles_of_few_patients_are_not_logged():
    found = predictor_table(tree_model(), rows_of(19)).set_index("feature")
    assert np.isnan(found.loc["temperature_max_since_dose", "median"])
    assert found.loc["temperature_max_since_dose", "missing"] == 0.0


def test_a_base_rate_has_no_shap_to_log():
    model = offset_model()
    found = predictor_table(model, rows_of(30))
    assert found["mean_abs_shap"].isna().all()
    assert found["missing"].notna().all()


def test_patients_are_counted_by_therapy():
    found = therapy_table(FAMILY, rows_of(30, severe=4)).set_index("therapy")
    assert found.loc["axi-cel_LBCL3L", ["patients", "events"]].tolist() == [20, 2]
    assert found.loc["brexu-cel_ALL", ["patients", "events"]].tolist() == [10, 2]


def test_curves_are_those_of_the_rest_of_the_window_and_end_where_they_must():
    rows = detail()
    found = curve_tables(FAMILY, rows)
    roc = found["roc"][found["roc"]["model"] == "crsrisk"]
    assert len(roc) <= POINTS
    assert roc.iloc[0][["x", "y"]].tolist() == [0.0, 0.0]
    assert roc.iloc[-1][["x", "y"]].tolist() == [1.0, 1.0]
    ours = rows[(rows["model"] == "crsrisk") & rows["rest_of_window"]]
    assert found["calibration_groups"]["rows"].sum() == len(ours)
    counted = (found["calibration_groups"]["observed"] * found["calibration_groups"]["rows"]).sum()
    assert counted == pytest.approx(ours["severe"].sum())
    assert set(found["roc"]["model"]) == {"crsrisk", "logistic", "easix"}


def test_one_outcome_alone_gives_empty_curves():
    found = curve_tables(FAMILY, detail().assign(severe=0.0))
    assert all(table.empty for table in found.values())
    assert list(found["roc"].columns) == ["family", "model", "horizon", "x", "y"]


# ---- drawings


SHARE = Axis(0.0, 1.0, "share", (0.0, 0.5, 1.0))


def test_points_lie_where_the_axes_say():
    drawn = plot(SHARE, SHARE, [Line("ours", [0.0, 1.0], [0.0, 1.0], strong=True)], title="t", text="d")
    [points] = re.findall(r'<polyline points="([^"]+)"', drawn)
    assert points == "64.0,330.0 484.0,12.0"  # bottom left and top right of the frame
    assert 'aria-label="t: d"' in drawn


def test_every_line_has_a_dash_pattern_of_its_own():
    lines = [Line(str(k), [0.0, 1.0], [0.1 * k, 0.1 * k], look=k) for k in range(6)]
    drawn = plot(SHARE, SHARE, lines, title="t", text="d")
    dashes = re.findall(r"<polyline [^>]*?(?:stroke-dasharray=\"([^\"]*)\")?/>", drawn)
    assert len(set(dashes)) == 6


@pytest.mark.parametrize("draw", [forest, bars])
def test_names_in_a_drawing_are_text(draw):
    spiteful = "<b>&\"'</b>"
    drawn = draw([Bar(spiteful, 0.4, note=spiteful)], SHARE, title=spiteful, text="d")
    assert "<b>" not in drawn
    assert drawn.count("&lt;b&gt;") == 3


def test_an_interval_beyond_the_axis_ends_at_its_edge():
    drawn = plot(SHARE, SHARE, [], title="t", text="d", marks=[Mark(0.5, 0.5, -3.0, 7.0)])
    assert 'y1="330.0"' in drawn
    assert 'y2="12.0"' in drawn
