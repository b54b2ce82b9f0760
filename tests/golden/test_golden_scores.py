"""Every published score vector; grading_and_scores.md says how each was made."""

import json
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from crsrisk import scores

GOLDEN = Path(__file__).parent
SHARED = Path(__file__).parents[3] / "shared" / "domain" / "test_vectors.json"


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _close(value: float, expected: float | None) -> bool:
    return isnan(value) if expected is None else abs(value - expected) < 5e-7 * max(1.0, abs(expected))


def _easix_family(vector: dict[str, Any]) -> None:
    given, expected = vector["inputs"], vector["expected"]
    ldh, platelets = _number(given["ldh_U_per_L"]), _number(given["platelets_1e9_per_L"])
    compute = {
        "EASIX": lambda: scores.easix(ldh, _number(given["creatinine_mg_per_dL"]), platelets),
        "s-EASIX": lambda: scores.s_easix(ldh, platelets),
        "m-EASIX": lambda: scores.m_easix(ldh, _number(given["crp_mg_per_dL"]), platelets),
    }[vector["score"]]
    if "error" in expected:
        with pytest.raises(ValueError, match="platelets must be above 0"):
            compute()
        return
    for key, wanted in expected.items():
        if key.startswith("log2"):
            assert _close(scores.log2_score(compute()), wanted)
        elif key != "missing":
            assert _close(compute(), wanted)


def _hscore(vector: dict[str, Any]) -> None:
    given, expected = vector["inputs"], vector["expected"]
    score = scores.hscore(
        immunosuppression=given["known_immunosuppression"],
        temperature=given["temp_C"],
        organomegaly=given["organomegaly_0none_1one_2both"],
        cytopenias=given["cytopenia_lineages_1to3"],
        ferritin=given["ferritin_ng_per_mL"],
        triglycerides=given["triglycerides_mmol_per_L"],
        fibrinogen=given["fibrinogen_g_per_L"],
        ast=given["ast_U_per_L"],
        haemophagocytosis=given["hemophagocytosis_marrow"],
    )
    assert score == expected["hscore"]
    assert (score > scores.HSCORE_CUT_OFF) is expected["high_gt_169"]
    if "probability_band" in expected:
        assert expected["probability_band"].startswith(scores.hscore_probability(float(score)))


def _severe4(vector: dict[str, Any]) -> None:
    given = {name.removeprefix("cirs_"): value for name, value in vector["inputs"].items()}
    assert scores.severe4(**given) is vector["expected"]["severe4"]


def _ice(vector: dict[str, Any]) -> None:
    given = vector["inputs"]
    score = scores.ice(
        orientation=given["orientation_0to4"],
        naming=given["naming_0to3"],
        commands=given["following_commands_0to1"],
        writing=given["writing_0to1"],
        attention=given["attention_0to1"],
    )
    assert score == vector["expected"]["ice"]
    assert scores.icans_by_ice(score) == vector["expected"]["icans_grade_by_ice"]


def _check(vector: dict[str, Any]) -> None:
    checks = {"EASIX": _easix_family, "s-EASIX": _easix_family, "m-EASIX": _easix_family, "HScore": _hscore}
    name = vector["score"]
    check = checks.get(name) or (_severe4 if name.startswith("Severe4") else _ice)
    check(vector)


OURS = json.loads((GOLDEN / "score_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", OURS, ids=[f"{v['score'].split()[0]}-{i}" for i, v in enumerate(OURS)])
def test_a_published_score_vector_is_met(vector):
    _check(vector)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared test vectors are not beside the project")
def test_every_shared_score_vector_is_met():
    vectors = json.loads(SHARED.read_text(encoding="utf-8"))["score_vectors"]
    vectors = [vector for vector in vectors if not vector["score"].startswith("unit:")]
    assert len(vectors) >= 26
    for vector in vectors:
        _check(vector)
