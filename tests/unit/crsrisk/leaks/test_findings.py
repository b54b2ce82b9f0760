"""Each kind of finding by hand: small cohorts in which it is plain who is meant, and where to look."""

import json
from pathlib import Path

import numpy as np
import pytest

from crsrisk.leaks.finding import KINDS, ROWS_NAMED, Finding, first, listing
from crsrisk.quality import QualityReport, check
from tests.planted_leaks import checked, exact_copies, made

COURSES = "course_id,patient_id,therapy\n"
EVENTS = "course_id,hours,available_hours,variable,value,unit\n"


def cohort(
    folder: Path, courses: str, events: str = "", outcomes: str = "", folds: str = ""
) -> QualityReport:
    (folder / "courses.csv").write_text(courses)
    for name, text in (("events", events), ("outcomes", outcomes), ("folds", folds)):
        if text:
            (folder / f"{name}.csv").write_text(text)
    return check(folder, folds=folder / "folds.csv" if folds else None)


def people(number: int, each: int = 1) -> str:
    return COURSES + "".join(f"c{i},p{i // each},axi-cel_LBCL3L\n" for i in range(number))


def codes(report: QualityReport) -> list[str]:
    return [finding.code for finding in report.findings]


def laboratory(courses: int, delay: float, odd: int = -1) -> str:
    """CRP every eight hours; in course `odd` known at once."""
    lines = []
    for i in range(courses):
        for k in range(9):
            hours = 8 * k + 0.3 + i / 10
            known = hours + (0.0 if i == odd else delay)
            lines.append(f"c{i},{hours:.2f},{known:.2f},crp,{10 + i + k},mg/L\n")
    return EVENTS + "".join(lines)


def test_results_known_at_their_specimen_are_kind_a_with_their_lines(tmp_path: Path) -> None:
    report = cohort(tmp_path, people(5), laboratory(5, 1.2, odd=2))
    (finding,) = report.findings
    assert (finding.kind, finding.code, finding.level) == ("a", "SOME_RESULTS_KNOWN_AT_ONCE", "warning")
    assert finding.variables == ("crp",)
    assert (finding.rows, finding.courses) == (9, 1)
    assert finding.first_rows == tuple(range(20, 29))
    assert "available_time" in finding.do


def test_results_that_come_later_are_no_finding(tmp_path: Path) -> None:
    assert codes(cohort(tmp_path, people(5), laboratory(5, 1.2))) == []


def test_a_site_without_knowledge_times_is_named_as_a_site(tmp_path: Path) -> None:
    courses = "course_id,patient_id,therapy,site\n" + "".join(
        f"c{i},p{i},axi-cel_LBCL3L,{'B' if i == 2 else 'A'}\n" for i in range(5)
    )
    assert codes(cohort(tmp_path, courses, laboratory(5, 1.2, odd=2))) == ["NO_KNOWLEDGE_TIME_AT_A_SITE"]


def test_a_copied_course_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    (tables,) = made([30], 77, ["axi-cel_LBCL3L"])
    exact_copies(tables)
    report = checked(tables, tmp_path)
    (finding,) = [one for one in report.findings if one.kind == "c"]
    ids = tables.courses["course_id"].tolist()
    copies = [place for place, course in enumerate(ids) if course.startswith("X")]
    weights = tables.courses["weight"].tolist()
    wanted = []
    for copy in copies:
        (original,) = [i for i, weight in enumerate(weights) if weight == weights[copy] and i != copy
                       and tables.courses["age"][i] == tables.courses["age"][copy]]  # fmt: skip
        wanted.append((min(copy, original) + 2, max(copy, original) + 2))
    assert (finding.code, finding.level) == ("COURSE_COPIED", "error")
    assert finding.pairs == tuple(sorted(wanted))
    assert not report.ok
    assert "COURSE_COPIED: see leaks" in report.to_text()


@pytest.mark.parametrize(
    ("courses", "folds", "code", "rows"),
    [
        (people(6), "course_id,repeat,fold\n" + "".join(f"c{i},0,{i % 3}\n" for i in range(6)), None, ()),
        (people(6, each=2), "course_id,repeat,fold\n" + "".join(f"c{i},0,{i // 2}\n" for i in range(6)), None, ()),
        (people(6, each=2), "course_id,repeat,fold\n" + "".join(f"c{i},0,{int(i > 2)}\n" for i in range(6)),
         "PATIENT_SPLIT", (4, 5)),
        (people(3), "course_id,repeat,fold,landmark_hours\nc0,0,0,0\nc0,0,1,24\nc1,0,0,0\nc2,0,1,0\n",
         "COURSE_SPLIT", (2, 3)),
        (people(4, each=2), "course_id,repeat,fold\nc0,0,0\nc1,0,0\nc2,0,1\nc3,0,1\nc0,1,0\nc1,1,1\nc2,1,0\nc3,1,0\n",
         "PATIENT_SPLIT", (6, 7)),
    ],
)  # fmt: skip
def test_folds_must_keep_a_patient_together_in_each_repeat(
    courses: str, folds: str, code: str | None, rows: tuple[int, ...], tmp_path: Path
) -> None:
    report = cohort(tmp_path, courses, folds=folds)
    assert report.errors == ()
    assert codes(report) == ([code] if code else [])
    assert report.ok == (code is None)
    if code:
        (finding,) = report.findings
        assert (finding.kind, finding.level, finding.table) == ("f", "error", "folds.csv")
        assert finding.first_rows == rows


def test_a_column_that_splits_patients_is_found_without_a_folds_file(tmp_path: Path) -> None:
    courses = "course_id,patient_id,therapy,split\n" + "".join(
        f"c{i},p{i // 2},axi-cel_LBCL3L,{('train', 'test')[i == 3]}\n" for i in range(6)
    )
    (finding,) = cohort(tmp_path, courses).findings
    assert (finding.code, finding.variables, finding.first_rows) == ("PATIENT_SPLIT", ("split",), (4, 5))


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [
        ("course_id,repeat,fold\nc0,0,0\nc1,0,1\nc9,0,1\n", "not a course of the cohort"),
        ("course_id,repeat,fold\nc0,0,0\n", "1 courses have no fold"),
        ("course_id,repeat,fold\nc0,0,0\nc1,0,0\n", "one fold alone"),
        ("row,fold\n0,0\n", "column course_id missing"),
        ("course_id,repeat,fold\nc0,0,0\nc1,0,\n", "an empty cell"),
    ],
)
def test_folds_that_do_not_fit_the_cohort_are_an_error(folds: str, sentence: str, tmp_path: Path) -> None:
    report = cohort(tmp_path, people(2), folds=folds)
    assert not report.ok
    assert any(sentence in error for error in report.errors), report.errors


def test_a_missing_folds_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "courses.csv").write_text(people(2))
    assert check(tmp_path, folds=tmp_path / "none.csv").errors == (
        "none.csv: no such file; accepted: a CSV with columns course_id, repeat, fold",
    )


def outcomes(severe: int, others: int) -> str:
    rows = [3] * severe + [1] * others
    return "course_id,peak_grade,system\n" + "".join(f"c{i},{grade},ASTCT\n" for i, grade in enumerate(rows))


def test_a_column_that_is_the_outcome_is_kind_d(tmp_path: Path) -> None:
    courses = "course_id,patient_id,therapy,icu_days\n" + "".join(
        f"c{i},p{i},axi-cel_LBCL3L,{5 + i % 3 if i < 8 else 0}\n" for i in range(60)
    )
    report = cohort(tmp_path, courses, outcomes=outcomes(8, 52))
    finding = next(one for one in report.findings if one.kind == "d")
    assert (finding.code, finding.table, finding.variables) == (
        "PREDICTOR_KNOWS_THE_FUTURE", "courses", ("icu_days",),
    )  # fmt: skip
    assert "severe CRS" in finding.what


def test_a_number_that_only_severe_courses_share_is_kind_b(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weights = [71.37 if i < 12 and i % 4 else round(float(rng.normal(75, 12)), 1) for i in range(120)]
    courses = "course_id,patient_id,therapy,weight\n" + "".join(
        f"c{i},p{i},axi-cel_LBCL3L,{weight}\n" for i, weight in enumerate(weights)
    )
    report = cohort(tmp_path, courses, outcomes=outcomes(12, 108))
    assert codes(report) == ["VALUE_REPEATED_BY_OUTCOME", "CASES_IN_ANOTHER_PART_OF_THE_FILE"]
    finding = report.findings[0]
    assert (finding.kind, finding.variables) == ("b", ("weight",))
    assert finding.first_rows == tuple(i + 2 for i in range(12) if i % 4)
    assert "71.37" not in finding.to_text()


def test_a_baseline_value_missing_by_outcome_is_kind_e(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cells = ["" if i < 15 else f"{rng.normal(75, 12):.1f}" for i in range(120)]
    courses = "course_id,patient_id,therapy,weight\n" + "".join(
        f"c{i},p{i},axi-cel_LBCL3L,{cell}\n" for i, cell in enumerate(cells)
    )
    report = cohort(tmp_path, courses, outcomes=outcomes(16, 104))
    finding = next(one for one in report.findings if one.code == "MISSING_BY_OUTCOME")
    assert (finding.kind, finding.variables) == ("e", ("weight",))
    assert "missing in 94 % of severe courses, 0 % of the others" in finding.size


def test_what_cannot_be_looked_for_is_said(tmp_path: Path) -> None:
    report = cohort(tmp_path, people(5), outcomes="course_id,peak_grade,system\nc0,3,ASTCT\nc1,1,ASTCT\n")
    assert any(
        note.startswith("leaks of severe CRS were not looked for: 1 severe of 2") for note in report.notices
    )
    assert any(note.startswith("leaks of the outcome (kinds b, d, e) were not looked for") for note in
               check(_empty(tmp_path)).notices)  # fmt: skip


def _empty(folder: Path) -> Path:
    other = folder / "other"
    other.mkdir()
    (other / "courses.csv").write_text(people(5))
    return other


def test_findings_are_plain_json_and_name_no_patient(tmp_path: Path) -> None:
    report = cohort(tmp_path, people(5), laboratory(5, 1.2, odd=2))
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))["findings"]
    assert told[0]["kind_name"] == KINDS["a"]
    assert "c2" not in json.dumps(told)
    assert "warning (a) SOME_RESULTS_KNOWN_AT_ONCE, events: crp:" in report.to_text()
    assert "9 rows of 1 courses; rows 20, 21, 22, 23, 24 ..." in report.to_text()


def test_a_finding_lists_the_first_rows_and_counts_the_rest() -> None:
    assert first(list(range(50, 2, -1))) == tuple(range(3, 3 + ROWS_NAMED))
    assert listing([f"v{i}" for i in range(10)]) == "v0, v1, v2, v3, v4, v5, v6, v7 and 2 more"
    alone = Finding(
        kind="c", code="X", level="warning", table="courses", what="w", size="s", do="d", pairs=((2, 9),)
    )
    assert "rows 2+9" in alone.to_text()
