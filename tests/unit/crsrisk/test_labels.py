"""Labels in two languages."""

import pytest

from crsrisk import labels as module
from crsrisk.labels import label, labels


def test_a_label_is_found_in_both_languages():
    assert label("analyte.crp", "en") == "C-reactive protein"
    assert label("analyte.crp", "ja") == "C反応性蛋白（CRP）"
    assert label("grade.state.not_gradable", "ja") == "判定不能"


def test_the_notice_is_short_and_says_research():
    assert label("notice", "en") == "Research use. A risk estimate informs a clinician; it gives no order."
    assert label("notice", "ja") == "研究用。診療の意思決定に単独で使用しない。"


def test_a_therapy_without_a_japanese_name_keeps_its_international_one():
    assert label("therapy.talq_MM", "ja") == "トアルクエタマブ"
    assert label("therapy.elra_MM", "ja") == "elranatamab"


def test_another_language_is_refused():
    with pytest.raises(ValueError, match="'fr'; accepted: en, ja"):
        labels("fr")


def test_a_label_given_twice_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "table", lambda name: {"notice": "x"})
    with pytest.raises(ValueError, match="'notice' is given twice"):
        labels.__wrapped__("en")


def test_nested_tables_become_dotted_keys(monkeypatch):
    monkeypatch.setattr(
        module,
        "table",
        lambda name: {"a": {"b": {"c": "x"}}, "d.e": "y"} if name == "labels.en.toml" else None,
    )
    found = labels.__wrapped__("en")
    assert (found["a.b.c"], found["d.e"]) == ("x", "y")
