"""The pages with a scorer of three lines and patients written out by hand."""

import re
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from crsrisk.labels import labels
from crsrisk.therapies import therapy
from serving.pages import pages_router
from serving.patients import GradeChange, PatientCourse, PatientEvent

SERVING = Path(__file__).parents[3] / "serving"
INFUSION = datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
NO_CRS = GradeChange(0.0, 0.0, "none", 0.0, 0.0, "no_signs")
GRADE_3 = GradeChange(30.0, 3.0, "graded", 3.0, 3.0, "one_vasopressor")
ENGAGER = "mosun_FL_iv"
CANARY = '<img src=x onerror="alert(1)">'


def crp(hours: float, value: float, *, known: float | None = None, unit: str = "mg/L") -> PatientEvent:
    return PatientEvent(hours, hours if known is None else known, "crp", value, "", unit)


def course(course_id: str = "c1", now: float = 36.0, **fields: Any) -> PatientCourse:
    known = {
        "course_id": course_id,
        "patient_id": f"p-{course_id}",
        "therapy": therapy("axi-cel_LBCL3L"),
        "now_hours": now,
        "index_time": INFUSION,
        "age": 61.0,
        "sex": "female",
        "events": (crp(6.0, 40.0), crp(30.0, 82.0, unit="mg/dL")),
        "grades": (NO_CRS,),
    }
    return PatientCourse(**{**known, **fields})


def contribution(feature: str, log_odds: float, **fields: Any) -> dict[str, Any]:
    known = {"feature": feature, "label": feature, "value": 82.0, "unit": "mg/L"}
    return {**known, "time": "2026-11-02T06:00:00+00:00", "log_odds": log_odds, **fields}


def answer(probability: float = 0.06, **fields: Any) -> dict[str, Any]:
    low, high = probability / 2, min(probability * 1.8, 0.999)
    known: dict[str, Any] = {
        "risks": [
            {"horizon_hours": 24.0, "probability": probability / 2, "low": low / 2, "high": high / 2},
            {"horizon_hours": 72.0, "probability": probability, "low": low, "high": high},
            {"horizon_hours": 300.0, "probability": probability, "low": low, "high": high},
        ],
        "explanation": {"horizon_hours": 72.0, "base": -2.4, "contributions": [contribution("crp_x", 0.7)]},
        "scores": [{"name": "m-EASIX", "value": 31.2, "source": "pennisi_2021"}],
        "quality": {"used": 2, "missing": ["ldh"], "stale": [], "rejected": []},
        "therapy_seen": True,
        "model": {"name": "crsrisk-cd19_cart", "version": "3", "digest": "sha256:0123456789abcdef"},
        "notes": [],
        "abstained": False,
        "reason": None,
    }
    return {**known, **fields}


ABSTAINED = answer(
    risks=[],
    explanation=None,
    abstained=True,
    reason="NO_MEASUREMENT: no vital sign, laboratory value or disease burden that a model reads",
)


class Ward:
    """Patients and their answers by course_id; a test may look at what was asked."""

    def __init__(self, *patients: PatientCourse, answers: Mapping[str, Any] | None = None) -> None:
        self.patients = {p.course_id: p for p in patients}
        self.answers = dict(answers or {})
        self.asked: list[dict[str, Any]] = []

    def course_ids(self) -> list[str]:
        return list(self.patients)

    def course(self, course_id: str) -> PatientCourse | None:
        return self.patients.get(course_id)

    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        found = self.answers.get(body["course"]["course_id"], answer())
        if isinstance(found, Exception):
            raise found
        return found(body) if callable(found) else found


def browse(ward: Ward, **options: Any) -> TestClient:
    app = FastAPI()
    app.include_router(pages_router(ward, ward.score, clock=lambda: INFUSION, **options))
    return TestClient(app)


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def page(ward: Ward, address: str = "/patients/c1", **options: Any) -> str:
    return text_of(browse(ward, **options).get(address).text)


# ---- the list


def test_the_list_counts_and_orders_severe_then_not_assessable_then_by_falling_risk() -> None:
    ward = Ward(
        course("low"),
        course("unknown"),
        course("high"),
        course("severe", grades=(NO_CRS, GRADE_3)),
        answers={"low": answer(0.01), "unknown": ABSTAINED, "high": answer(0.4)},
    )
    html = browse(ward).get("/").text
    assert re.findall(r'<th scope="row"><a[^>]*>(\w+)</a>', html) == ["severe", "unknown", "high", "low"]
    shown = text_of(html)
    for count in ("4 patients", "1 severe already", "1 not assessable", "2 with an estimate"):
        assert count in shown
    assert "Not assessable: no estimate, which does not mean low risk" in shown


def test_a_row_shows_risk_interval_change_grade_data_age_and_what_is_missing() -> None:
    def rising(body: dict[str, Any]) -> dict[str, Any]:
        return answer(0.10 if body["as_of"].startswith("2026-11-02T12") else 0.06)

    shown = page(Ward(course(), answers={"c1": rising}), "/")
    assert "36 h after infusion" in shown
    assert "10 % 5 % to 18 %" in shown
    assert "▲ +4 points in 12 h" in shown
    assert "6 h ago" in shown
    assert "not measured: Lactate dehydrogenase" in shown


def test_no_threshold_is_shipped_and_a_configured_one_is_said_in_words() -> None:
    ward = Ward(course("a"), course("b"), answers={"a": answer(0.3), "b": answer(0.1)})
    assert "threshold" not in page(ward, "/").lower()
    shown = page(ward, "/", threshold=0.2)
    assert "1 above the threshold of 20 %" in shown
    assert "above 20 %" in shown
    assert "not above 20 %" in shown


def test_a_course_that_cannot_be_scored_is_not_assessable_and_does_not_cost_the_list() -> None:
    ward = Ward(course("broken"), course("fine"), answers={"broken": ValueError("unknown therapy")})
    shown = page(ward, "/")
    assert "1 not assessable" in shown
    assert "The records of this course could not be used." in shown
    assert "unknown therapy" not in shown


def test_scores_of_a_list_are_kept_until_a_course_changes() -> None:
    ward = Ward(course("a"), course("b"))
    client = browse(ward)
    client.get("/")
    asked = len(ward.asked)
    client.get("/?lang=ja")
    assert len(ward.asked) == asked
    ward.patients["a"] = course("a", events=(crp(6.0, 40.0), crp(35.0, 200.0)))
    client.get("/")
    assert len(ward.asked) == asked + 2  # its risk now and twelve hours before


# ---- one patient


def test_the_headline_is_an_absolute_probability_with_horizon_interval_and_natural_frequency() -> None:
    shown = page(Ward(course()))
    assert "Risk of severe CRS (ASTCT grade 3 or above) within 72 h 6 % 90 % interval 3 % to 11 %" in shown
    assert "About 6 of 100 similar patients; 90 % interval 3 to 11" in shown
    assert "until the end of the window (12 days)" in shown


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.004, "<1 %"),
        (0.0099, "<1 %"),
        (0.01, "1 %"),
        (0.125, "13 %"),
        (0.95, "95 %"),
        (0.951, ">95 %"),
    ],
)
def test_risks_are_whole_percentages_bounded_at_both_ends(probability: float, expected: str) -> None:
    html = browse(Ward(course(), answers={"c1": answer(probability)})).get("/patients/c1").text
    [shown] = re.findall(r"data-risk>([^<]*)<", html)
    assert shown.replace("\xa0", " ").replace("&lt;", "<").replace("&gt;", ">") == expected


def test_the_banner_names_two_identifiers_therapy_day_and_hour() -> None:
    shown = page(Ward(course()))
    for part in (
        "c1",
        "patient p-c1",
        "61 years, female",
        "axicabtagene ciloleucel",
        "Day 1, 36 h after infusion",
    ):
        assert part in shown
    assert "As of 2026-11-02 12:00 UTC" in shown


def test_what_the_estimate_rests_on_is_shown_in_the_unit_that_the_site_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(monkeypatch, crp_x=("crp", "since_index"), crp_slope=("crp", "last_24h"))
    explained = {
        "horizon_hours": 72.0,
        "base": -2.4,
        "contributions": [
            contribution("crp_x", 0.7),
            contribution("crp_slope", -0.3, value=42.0, unit="mg/L/d"),
            contribution("other", 0.01, value=None, time=None),
        ],
    }
    shown = page(Ward(course(), answers={"c1": answer(explanation=explained)}))
    assert "crp_x 8.2 mg/dL 2026-11-02 06:00 UTC (6 h ago) timely +0.70" in shown
    assert "crp_slope 42 mg/L/day" in shown
    assert "other not measured – missing +0.01" in shown
    assert "they are not causes" in shown


@pytest.mark.parametrize(
    ("window", "hours_before", "word"),
    [("since_index", 6, "timely"), ("since_index", 30, "stale"), ("baseline", 30, "baseline")],
)
def test_freshness_is_a_word(
    monkeypatch: pytest.MonkeyPatch, window: str, hours_before: int, word: str
) -> None:
    declare(monkeypatch, crp_x=("crp", window))
    time = f"2026-11-0{2 if hours_before == 6 else 1}T06:00:00+00:00"
    explained = {"horizon_hours": 72.0, "base": 0.0, "contributions": [contribution("crp_x", 0.7, time=time)]}
    shown = page(Ward(course(), answers={"c1": answer(explanation=explained)}))
    assert f"ago) {word} +0.70" in shown


def test_contributions_beyond_the_largest_five_are_summed_not_dropped() -> None:
    shares = [contribution(f"f{k}", 1.0 - k / 10) for k in range(8)]
    explained = {"horizon_hours": 72.0, "base": -2.4, "contributions": shares}
    shown = page(Ward(course(), answers={"c1": answer(explanation=explained)}))
    assert "The other 3 inputs together: +1.20. Starting point of this therapy and time: −2.40." in shown


def test_a_severe_patient_has_no_number_but_time_and_rule_of_the_grade() -> None:
    html = browse(Ward(course(grades=(NO_CRS, GRADE_3)))).get("/patients/c1").text
    assert "data-risk" not in html
    shown = text_of(html)
    assert "Severe already ASTCT grade 3 was reached (2026-11-02 06:00 UTC)." in shown
    assert "One vasopressor, with or without vasopressin." in shown


def test_a_patient_who_died_is_neither_severe_nor_at_risk() -> None:
    died = answer(
        risks=[], explanation=None, abstained=True, reason="DIED: the patient died before this moment"
    )
    shown = page(Ward(course(grades=(NO_CRS, GRADE_3)), answers={"c1": died}))
    assert "The patient died before this moment." in shown
    assert "Severe already" not in shown
    assert "protocol" not in shown


def test_before_the_severe_grade_the_page_looks_back_to_the_estimate() -> None:
    shown = page(Ward(course(grades=(NO_CRS, GRADE_3))), "/patients/c1?as_of=24")
    assert "You are looking back" in shown
    assert "About 6 of 100" in shown


def test_an_abstention_says_why_and_what_is_needed_and_that_it_is_no_low_risk() -> None:
    shown = page(Ward(course(), answers={"c1": ABSTAINED}))
    assert "Not assessable There is no estimate at this time. This does not mean low risk." in shown
    assert "Nothing that the model reads was measured so far." in shown
    assert "Measure: Lactate dehydrogenase" in shown


@pytest.mark.parametrize(
    ("reason", "english", "japanese"),
    [
        (
            "UNSEEN_CLASS: the model saw no patient ...",
            "saw no patient treated with this class of therapy",
            "この種類（クラス）の治療を受けた患者がいません",
        ),
        ("TOO_FEW_INPUTS: what was measured ...", "Measure: Lactate dehydrogenase", "測定が必要："),
        (
            "IMPLAUSIBLE_INPUT: temperature, crp: outside the plausible limits ...",
            "Check and record again: Body temperature, C-reactive protein",
            "確認し、記録し直してください：体温",
        ),
    ],
)
def test_outside_the_training_data_the_page_says_why_in_both_languages(reason, english, japanese) -> None:
    outside = answer(risks=[], explanation=None, abstained=True, reason=reason)
    ward = Ward(course(), answers={"c1": outside})
    assert english in page(ward)
    assert japanese in page(ward, "/patients/c1?lang=ja")


def test_notes_on_values_are_shown_in_both_languages() -> None:
    notes = [
        "Few inputs: hardly any patient in training had so little measured at this time.",
        "Implausible values: temperature, crp. Check them; the estimate uses them.",
    ]
    ward = Ward(course(), answers={"c1": answer(notes=notes)})
    assert "Few inputs: hardly any patient in the training data" in page(ward)
    assert "Implausible values: Body temperature, C-reactive protein." in page(ward)
    in_japanese = page(ward, "/patients/c1?lang=ja")
    assert "入力が少数" in in_japanese
    assert "ありえない範囲の値：体温" in in_japanese


def test_model_version_digest_calibration_status_and_notes_are_shown() -> None:
    note = "Insufficient events: 12 severe in 59 patients carry no own model; the number is ..."
    shown = page(Ward(course(), answers={"c1": answer(notes=[note])}))
    assert "crsrisk-cd19_cart, version 3 Digest 0123456789ab" in shown
    assert "Not validated locally" in shown
    assert "12 severe in 59 patients carry no model of their own" in shown
    in_japanese = page(Ward(course(), answers={"c1": answer(notes=[note])}), "/patients/c1?lang=ja")
    assert "重症は59人中12人" in in_japanese


def test_the_published_base_rate_stands_beside_the_estimate() -> None:
    assert re.search(
        r"Published rate of severe CRS, whole window: \d+ % \(95 % interval", page(Ward(course()))
    )


def test_the_page_gives_no_treatment_command_and_one_research_notice() -> None:
    for ward in (Ward(course()), Ward(course(), answers={"c1": ABSTAINED})):
        shown = page(ward)
        assert shown.count(labels("en")["notice"]) == 1
        assert not re.search(r"\b(give|administer|start|consider) (tocilizumab|steroid)", shown, re.I)


def test_the_trend_has_an_alternative_as_a_table_with_its_gaps() -> None:
    def sometimes(body: dict[str, Any]) -> dict[str, Any]:
        return ABSTAINED if body["as_of"].startswith("2026-11-01T06") else answer(0.06)

    html = browse(Ward(course(), answers={"c1": sometimes})).get("/patients/c1").text
    assert "Estimated risk over time, from 6\xa0% to 6\xa0%, at 6 points." in html
    assert "6 h no estimate" in text_of(html)


def test_a_dose_of_an_engager_sets_the_clock() -> None:
    given = tuple(PatientEvent(h, h, "bsab_dose", 1.0, "", "mg") for h in (0.0, 168.0))
    shown = page(Ward(course(therapy=therapy(ENGAGER), now=180.0, events=given)))
    assert "Day 7, 12 h after dose 2" in shown


def test_hours_alone_are_shown_where_no_clock_time_is_known() -> None:
    shown = page(Ward(course(index_time=None)))
    assert "As of hour 36" in shown
    assert "2000" not in shown


# ---- what the scorer gets


def test_only_what_was_known_then_reaches_the_scorer() -> None:
    ward = Ward(course(events=(crp(6.0, 40.0), crp(11.0, 60.0, known=20.0), crp(30.0, 82.0))))
    page(ward, "/patients/c1?as_of=12")
    bodies = {body["as_of"]: body["observations"] for body in ward.asked}
    assert [o["value"] for o in bodies["2026-11-01T12:00:00+00:00"]] == [40.0]
    assert max(bodies) == "2026-11-01T12:00:00+00:00"


def test_a_request_is_in_canonical_units_and_says_when_a_late_result_was_known() -> None:
    body = course(events=(crp(11.0, 60.0, known=20.0, unit="mg/dL"),)).request(24.0)
    assert body["observations"] == [
        {
            "variable": "crp",
            "value": 60.0,
            "unit": "mg/L",
            "time": "2026-11-01T11:00:00+00:00",
            "available_time": "2026-11-01T20:00:00+00:00",
        }
    ]
    assert body["course"] == {
        "course_id": "c1",
        "patient_id": "p-c1",
        "therapy": "axi-cel_LBCL3L",
        "index_time": "2026-11-01T00:00:00+00:00",
        "age": 61.0,
        "sex": "female",
    }


# ---- Japanese


def test_the_japanese_page_is_japanese_throughout() -> None:
    html = browse(Ward(course())).get("/patients/c1?lang=ja").text
    assert '<html lang="ja">' in html
    shown = text_of(html)
    assert labels("ja")["notice"] in shown
    assert "研究用" in shown
    assert "同様の患者100人中およそ6人（90%区間 3〜11人）" in shown
    assert "2026年11月02日 12:00 UTC 時点" in shown
    english = [labels("en")[key] for key in labels("en") if key.startswith("page.")]
    same = {labels("ja")[key] for key in labels("ja") if key.startswith("page.")}
    left = [t for t in english if len(t) > 12 and "{" not in t and t not in same and t in shown]
    assert left == []


def test_the_language_switch_keeps_patient_and_time() -> None:
    html = browse(Ward(course())).get("/patients/c1?as_of=12").text
    assert 'href="/patients/c1?lang=ja&amp;as_of=12"' in html


def test_the_site_chooses_the_language_of_an_address_that_names_none() -> None:
    assert '<html lang="ja">' in browse(Ward(course()), language="ja").get("/").text


def _page_labels(language: Any) -> dict[str, str]:
    return {key: text for key, text in labels(language).items() if key.startswith("page.")}


def test_both_languages_have_the_same_labels_with_the_same_fields() -> None:
    english, japanese = _page_labels("en"), _page_labels("ja")
    assert english.keys() == japanese.keys()

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert {k for k in english if fields(english[k]) != fields(japanese[k])} == set()


def test_every_label_of_the_pages_is_used() -> None:
    files = [*SERVING.glob("*.py"), *SERVING.glob("templates/*.html")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)

    def used(key: str) -> bool:
        """The key stands in the code, or a beginning of it to which the code adds the rest."""
        parts = key.split(".")
        begins = [".".join(parts[:n]) for n in range(2, len(parts))]
        return (
            f'"{key}"' in code
            or f"'{key}'" in code
            or any(
                f"{begin}.{{" in code or f'{begin}." ~' in code or f'"{begin}"' in code for begin in begins
            )
        )

    unused = [key for key in _page_labels("en") if not used(key)]
    assert unused == []


# ---- safety


def test_text_from_outside_cannot_become_markup() -> None:
    hostile = course(
        CANARY,
        patient_id=CANARY,
        site=CANARY,
        therapy=therapy_named(CANARY),
        events=(crp(6.0, 40.0, unit=CANARY),),
    )
    said = answer(
        notes=[CANARY],
        scores=[{"name": CANARY, "value": 1.0, "source": CANARY}],
        model={"name": CANARY, "version": CANARY, "digest": CANARY},
        explanation={
            "horizon_hours": 72.0,
            "base": 0.0,
            "contributions": [contribution(CANARY, 0.5, unit=CANARY)],
        },
    )
    client = browse(Ward(hostile, answers={CANARY: said}))
    addresses = re.findall(r'href="(/patients/[^"]+)"', client.get("/").text)
    for address in ["/", *addresses]:
        answered = client.get(address.replace("&amp;", "&"))
        assert answered.status_code == 200
        assert "<img src=x" not in answered.text
        assert "&lt;img src=x" in answered.text
    for kind in ("trend", "factors"):
        svg = client.get(f"{addresses[0].split('?')[0]}/{kind}.svg").text
        assert svg.startswith("<svg")
        assert "<img" not in svg


def therapy_named(name: str) -> Any:
    from dataclasses import replace

    return replace(therapy("axi-cel_LBCL3L"), name=name, indication=name, targets=(name,))


def test_the_policy_allows_nothing_inline_and_the_pages_need_nothing_inline() -> None:
    client = browse(Ward(course(), course("c2"), answers={"c2": ABSTAINED}))
    for address in ("/", "/patients/c1", "/patients/c2?lang=ja", "/patients/none", "/static/pages.css"):
        answered = client.get(address)
        policy = answered.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["referrer-policy"] == "no-referrer"
        if address.startswith("/static"):
            continue
        assert answered.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", answered.text)
        assert not re.search(r"(?:src|srcset|href)=\"(?:https?:)?//", answered.text)


def test_only_origins_may_embed_the_pages_that_the_site_names() -> None:
    ward = Ward(course())
    policy = (
        browse(ward, frame_ancestors=["https://ehr.example.org"]).get("/").headers["content-security-policy"]
    )
    assert policy.endswith("frame-ancestors https://ehr.example.org")
    with pytest.raises(ValueError, match="accepted: an origin"):
        browse(ward, frame_ancestors=["https://ehr.example.org; script-src *"])


@pytest.mark.parametrize("threshold", [0.0, 1.0, 20.0])
def test_a_threshold_is_a_risk_between_0_and_1(threshold: float) -> None:
    with pytest.raises(ValueError, match="give a risk between 0 and 1"):
        browse(Ward(), threshold=threshold)


@pytest.mark.parametrize("address", ["/patients/secret-id", "/patients/secret-id?lang=ja"])
def test_an_unknown_patient_is_a_page_that_does_not_repeat_the_id(address: str) -> None:
    answered = browse(Ward(course())).get(address)
    assert answered.status_code == 404
    assert "secret-id" not in answered.text


@pytest.mark.parametrize("as_of", ["-1", "36.1", "nan", "inf"])
def test_a_time_outside_the_course_is_refused(as_of: str) -> None:
    client = browse(Ward(course()))
    assert client.get(f"/patients/c1?as_of={as_of}").status_code == 404
    assert client.get(f"/patients/c1/trend.svg?as_of={as_of}").status_code == 404


def test_charts_are_images_of_their_own_and_unknown_ones_are_absent() -> None:
    client = browse(Ward(course()))
    for kind in ("trend", "factors"):
        answered = client.get(f"/patients/c1/{kind}.svg?lang=ja&narrow=true")
        assert answered.headers["content-type"] == "image/svg+xml"
        assert "<title" in answered.text
    assert client.get("/patients/c1/other.svg").status_code == 404
    assert client.get("/patients/c9/trend.svg").status_code == 404
    assert client.get("/charts/frequency.svg?count=101&upper=101").status_code == 422
    assert client.get("/static/../pages.py").status_code == 404
    assert client.get("/static/__init__.py").status_code == 404


def test_a_course_id_may_hold_a_slash_and_signs() -> None:
    ward = Ward(course("a/b 1?&"))
    client = browse(ward)
    [address, *_] = re.findall(r'href="(/patients/[^"]+)"', client.get("/").text)
    answered = client.get(address.replace("&amp;", "&"))
    assert answered.status_code == 200
    assert "a/b 1?&amp;" in answered.text


def test_a_page_stays_below_150_kb_and_so_does_a_full_list() -> None:
    ward = Ward(*(course(f"c{k}") for k in range(1, 61)))
    client = browse(ward)
    sizes = [len(client.get(a).content) for a in ("/", "/?lang=ja", "/patients/c1", "/patients/c1?lang=ja")]
    assert max(sizes) < 150_000


def declare(monkeypatch: pytest.MonkeyPatch, **features: tuple[str, str]) -> None:
    """Let features of these names be declared with an analyte and a window."""
    import features.registry as registry

    known = registry.FEATURES[0]
    fields: Callable[..., Any] = type(known)
    base = {name: getattr(known, name) for name in known.__dataclass_fields__}
    made = tuple(
        fields(**{**base, "name": name, "analyte": analyte, "window": window})
        for name, (analyte, window) in features.items()
    )
    monkeypatch.setattr(registry, "FEATURES", made)
