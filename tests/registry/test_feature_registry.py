"""Every feature: named, in the unit of its analyte, sourced, labelled, and blind to the product."""

import re
from math import isnan
from pathlib import Path

import pytest

from crsrisk.analytes import analytes
from crsrisk.labels import labels
from crsrisk.therapies import therapies
from features import document
from features.declare import WINDOWS
from features.engine import WINDOWS as ENGINE_WINDOWS
from features.matrix import THERAPY_FACTS
from features.registry import (
    FEATURES,
    feature,
    feature_names,
    feature_set_digest,
    predictors,
    usual_care_predictors,
)

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("declared", FEATURES, ids=lambda declared: declared.name)
DERIVED_ANALYTES = {
    "grade",
    "crs_onset",
    "therapy",
    "bsab_dose",
    "easix",
    "s_easix",
    "m_easix",
    "hscore",
    "shock_index",
}


def sources() -> set[str]:
    return set(
        re.findall(r"^@\w+\{([a-z0-9_]+),", (ROOT / "docs" / "sources.bib").read_text(encoding="utf-8"), re.M)
    )


def test_names_are_unique():
    assert len(set(feature_names())) == len(FEATURES)


def test_there_are_few_enough_predictors_for_small_data():
    assert 80 <= len(predictors()) <= 130


@EACH
def test_the_name_says_analyte_statistic_and_window(declared):
    if declared.derive is None:
        limit = "" if isnan(declared.threshold) else f"_{declared.threshold:g}"
        assert declared.name == f"{declared.analyte}_{declared.statistic}{limit}_{declared.window}"
    else:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", declared.name)
        assert declared.analyte in DERIVED_ANALYTES


@EACH
def test_the_unit_follows_from_the_analyte_and_the_statistic(declared):
    if declared.derive is not None:
        assert declared.unit in {"1", "h", "{score}", "{bool}"}
        return
    unit = analytes()[declared.analyte].unit
    expected = {
        "slope": f"{unit}/d",
        "hours_above": "h",
        "hours_since_last": "h",
        "count": "1",
        "log2_ratio": "1",
    }
    assert declared.unit == expected.get(declared.statistic, unit)


@EACH
def test_the_source_is_in_the_bibliography(declared):
    assert declared.source in sources()


@EACH
def test_a_sign_of_the_effect_has_a_source_other_than_our_own(declared):
    if declared.monotone:
        assert not declared.source.startswith("crsrisk_")


@EACH
def test_there_is_a_label_in_both_languages(declared):
    english, japanese = (labels(language)[f"feature.{declared.name}"] for language in ("en", "ja"))
    assert english.isascii() or any(sign in english for sign in "αγ°")
    assert japanese
    assert "_" not in english + japanese


def test_labels_tell_features_apart_in_both_languages():
    for language in ("en", "ja"):
        texts = [labels(language)[f"feature.{name}"] for name in feature_names()]
        assert sorted({text for text in texts if texts.count(text) > 1}) == []


def test_labels_read_as_a_ward_speaks():
    assert labels("en")["feature.crp_max_since_index"] == "Highest CRP since infusion"
    assert labels("ja")["feature.crp_max_since_index"] == "投与後の最高CRP"


@EACH
def test_every_window_ends_at_or_before_the_landmark(declared):
    assert declared.window in WINDOWS
    for need in declared.requests:
        assert ENGINE_WINDOWS[need.window][1] in {"landmark", "index", "dose"}


@EACH
def test_no_feature_reads_what_defines_or_follows_the_outcome_unless_its_role_says_so(declared):
    support = {
        "sbp",
        "map",
        "dbp",
        "spo2",
        "o2_flow",
        "fio2",
        "resp_support",
        "fluid_bolus",
        "vasopressor_count",
    }
    outcome = {"death", "death_crs", "other_cause"}
    read = {need.analyte for need in declared.requests}
    assert not read & outcome
    if declared.role == "predictor":
        assert not read & support
        assert not {name for name in read if name.endswith("_rate")} - {"heart_rate", "resp_rate"}
        given = {name for name in read if name.endswith("_dose")} - {"bsab_dose"}
        assert not given or declared.window == "baseline"


def test_no_product_is_among_the_features():
    products = {therapy.product.lower() for therapy in therapies().values()}
    assert not [name for name in feature_names() if any(product in name for product in products)]
    assert set(THERAPY_FACTS) == {"is_engager", "is_engineered_t", "is_cd28", "full_dose_mg"}


def test_support_joins_the_predictors_only_on_request():
    assert "sbp_min_last_24h" not in {f.name for f in predictors()}
    assert "sbp_min_last_24h" in {f.name for f in predictors(support=True)}
    assert not [f.name for f in predictors(support=True) if f.role == "treatment"]


def test_what_was_given_for_crs_joins_the_predictors_of_usual_care_alone():
    given = {f.name for f in FEATURES if f.role == "treatment"}
    assert {"tocilizumab_dose_count_since_dose", "dexamethasone_dose_count_since_dose"} <= given
    usual = {f.name for f in usual_care_predictors()}
    assert usual - {f.name for f in predictors()} == given
    assert not [f.name for f in usual_care_predictors() if f.role == "support"]


def test_a_feature_is_found_by_its_name():
    assert feature("crp_max_since_index").unit == "mg/L"
    with pytest.raises(KeyError):
        feature("crp_max_first_day")


def test_the_digest_names_its_algorithm():
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", feature_set_digest())


def test_data_dictionary_and_labels_are_current():
    assert document.main(["--check"]) == 0
