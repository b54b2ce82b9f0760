"""A proposed map: headers to variables and units with reasons, confirmed by a person, free of patients' values."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from crsrisk.analytes import analytes
from crsrisk.data_files import listed, rows
from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.propose_map import propose_map
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import read_site_map, site_map
from crsrisk.readers.spreadsheet import read_csv
from crsrisk.readers.spreadsheet_headers import guess
from crsrisk.readers.spreadsheet_map import ColumnMap, TableMap

JAPANESE = (
    "患者ID,採血日時,体温（℃）,CRP(mg/dL),血小板数[万/μL],T-Bil mg/dL,好中球(%),白血球,血圧(mmHg),尿クレアチニン,備考\n"
    "SECRET1,2026/11/01 9:30,38.1,0.5,14.2,0.6,55,4100,120/80,77.25,SECRET2\n"
)
ENGLISH = (
    "Patient ID;Date;Time;Test;Result;Unit;Comment\n"
    "SECRET1;31/12/2025;09:30;CRP;77,25;mg/dL;SECRET2\n"
    "SECRET3;30/12/2025;09:30;Local;77,25;mg/dL;SECRET2\n"
    "SECRET4;30/12/2025;09:30;Local;77,25;mg/dL;SECRET2\n"
    "SECRET5;30/12/2025;09:30;Local;77,25;mg/dL;SECRET2\n"
    "SECRET5;30/12/2025;09:30;SECRETNAME;77,25;mg/dL;SECRET2\n"
)


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def table(text: str, number: int = 0) -> dict:
    return tomllib.loads(text)["csv"]["tables"][number]


def test_a_wide_file_with_japanese_headers_is_proposed_with_units_and_reasons(tmp_path):
    text = propose_map(written(tmp_path, "検査.csv", JAPANESE, "cp932"))
    content = tomllib.loads(text)
    assert content["encoding"] == "cp932"
    found = table(text)
    assert {key: found[key] for key in ("file", "layout", "delimiter", "patient", "time")} == {
        "file": "検査.csv", "layout": "wide", "delimiter": ",", "patient": "患者ID", "time": "採血日時",
    }  # fmt: skip
    assert found["columns"] == {
        "体温（℃）": {"variable": "temperature", "unit": "℃"},
        "CRP(mg/dL)": {"variable": "crp", "unit": "mg/dL"},
        "血小板数[万/μL]": {"variable": "platelets", "unit": "万/μL"},
        "T-Bil mg/dL": {"variable": "bilirubin_total", "unit": "mg/dL"},
        "白血球": "wbc",
        "血圧(mmHg)": {"parts": ["sbp", "dbp"], "unit": "mmHg"},
    }
    active = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    assert all(
        re.search(r"# (high|medium|low|set|words)\b", line) for line in active if "file" not in line
    ), active


def test_what_is_not_sure_stands_in_comments(tmp_path):
    text = propose_map(written(tmp_path, "a.csv", JAPANESE))
    assert (
        '# "好中球(%)" = {variable = "anc", unit = "..."}  # low: name \'好中球\', but "%" is no unit of it'
        in text
    )
    assert '# "尿クレアチニン" = "..."  # not recognised' in text  # urine is another analyte
    assert '# wbc = "..."  # 10*3/uL' in text
    assert '# time_zone = "Asia/Tokyo"  # needed' in text


def test_a_long_file_is_proposed_with_codes_of_its_names(tmp_path):
    text = propose_map(written(tmp_path, "labs.csv", ENGLISH))
    assert tomllib.loads(text)["codes"] == {"CRP": "crp"}
    assert '# "Local" = "..."  # not recognised' in text
    assert "# 1 further names" in text
    assert '# decimal = ","  # needed' in text
    found = table(text)
    assert found == {
        "file": "labs.csv", "layout": "long", "delimiter": ";", "patient": "Patient ID", "time": ["Date", "Time"],
        "time_format": "%d/%m/%Y", "variable": "Test", "value": "Result", "unit": "Unit",
    }  # fmt: skip


@pytest.mark.parametrize("content", [JAPANESE, ENGLISH])
def test_no_value_of_a_patient_is_written(tmp_path, content):
    text = propose_map(written(tmp_path, "a.csv", content))
    assert "SECRET" not in text
    assert "77" not in text
    assert "2025" not in text
    assert "2026" not in text


def test_a_file_without_a_header_shows_none_of_its_cells(tmp_path):
    text = propose_map(written(tmp_path, "a.csv", "SECRET1,Tanaka,38.1\nSECRET2,Sato,37.0\n"))
    assert not re.search("SECRET|Tanaka|Sato|38|37", text)
    assert '# patient = "..."  # needed' in text


def test_a_proposed_map_is_refused_until_a_person_confirms_it(tmp_path):
    file = written(tmp_path, "検査.csv", JAPANESE)
    text = propose_map(file)
    target = tmp_path / "map.toml"
    target.write_text(text, encoding="utf-8")
    with Account(tmp_path / "quarantine.csv") as account:
        with pytest.raises(CrsRiskError, match=r"confirmed is not true.*read each line"):
            list(read_csv(file, read_site_map(target), account))
        confirmed = text.replace("confirmed = false", "confirmed = true").replace("# time_zone", "time_zone")
        target.write_text(confirmed, encoding="utf-8")
        records = pa.Table.from_batches(
            list(read_csv(file, read_site_map(target), account)), SCHEMA
        ).to_pylist()
    assert [(record["codes"], record["value"], record["unit"]) for record in records] == [
        ("urn:crsrisk|temperature", "38.1", "℃"),
        ("urn:crsrisk|crp", "0.5", "mg/dL"),
        ("urn:crsrisk|platelets", "14.2", "万/μL"),
        ("urn:crsrisk|bilirubin_total", "0.6", "mg/dL"),
        ("urn:crsrisk|wbc", "4100", ""),
        ("urn:crsrisk|sbp", "120", "mmHg"),
        ("urn:crsrisk|dbp", "80", "mmHg"),
    ]


@pytest.mark.parametrize("value", ["8.2", "82", "0.1"])
def test_a_unit_never_comes_from_the_values(tmp_path, value):
    text = propose_map(written(tmp_path, "a.csv", f"患者ID,採血日時,CRP\n1,2026/11/01 9:30,{value}\n"))
    assert table(text)["columns"] == {"CRP": "crp"}


def test_a_row_of_units_and_a_title_are_found_in_a_workbook(tmp_path):
    workbook = openpyxl.Workbook()
    workbook.active.title = "SECRET1"
    other = workbook.create_sheet("SECRET2")
    for sheet in (workbook.active, other):
        for row in (
            ["病棟データ"],
            ["患者番号", "測定日時", "体温", "PLT"],
            [None, None, "℃", "×10⁴/µL"],
            [1, dt.datetime(2026, 11, 1), 38.1, 14],
        ):
            sheet.append(row)
    workbook.save(tmp_path / "book.xlsx")
    text = propose_map(tmp_path / "book.xlsx")
    found = table(text)
    assert (found["sheet"], found["header_row"], found["units_row"]) == ("*", 2, 3)
    assert found["columns"] == {
        "体温": {"variable": "temperature", "unit": "℃"},
        "PLT": {"variable": "platelets", "unit": "×10⁴/µL"},
    }
    assert "SECRET" not in text
    assert "# midnight_is_date = true" in text


@pytest.mark.parametrize(
    ("times", "stated"),
    [
        (["20261101093000"], "%Y%m%d%H%M%S"),
        (["31/12/2026 09:30"], "%d/%m/%Y %H:%M"),
        (["12/31/2026 09:30"], "%m/%d/%Y %H:%M"),
        (["01/02/2026 09:30"], None),  # day first or month first: not decided
        (["2026-11-01T09:30:00+09:00"], None),  # nothing needed
        (["yesterday"], None),
    ],
)
def test_a_format_of_times_is_proposed_only_where_one_alone_fits(tmp_path, times, stated):
    lines = "".join(f"1,{time},38\n" for time in times)
    text = propose_map(written(tmp_path, "a.csv", "患者ID,日時,体温\n" + lines))
    assert table(text).get("time_format") == stated
    assert ("# time_zone" in text) == ("+09:00" not in times[0])


def test_files_with_the_same_header_share_a_pattern_that_takes_these_alone(tmp_path):
    for name in ("vitals_ward1.csv", "vitals_ward2.csv"):
        written(tmp_path, name, "患者ID,日時,体温(℃)\n1,2026/11/01 9:30,38\n")
    written(tmp_path, "drugs.csv", "患者ID,投与日時,薬剤名,投与量,単位\n1,2026/11/01 9:30,Columvi,2.5,mg\n")
    text = propose_map(tmp_path)
    assert [one["file"] for one in tomllib.loads(text)["csv"]["tables"]] == [
        "drugs.csv",
        "vitals_ward*.csv",
    ]
    assert table(text)["kind"] == "drug"
    assert (table(text)["variable"], table(text)["value"]) == ("薬剤名", "投与量")


def test_the_keys_of_a_proposal_are_those_of_the_reader(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    written(folder, "a.csv", JAPANESE)
    written(folder, "b.csv", ENGLISH)
    content = tomllib.loads(propose_map(folder))
    for one in content["csv"]["tables"]:
        assert set(one) <= set(TableMap.__dataclass_fields__)
        for column in one.get("columns", {}).values():
            assert isinstance(column, str) or set(column) <= set(ColumnMap.__dataclass_fields__)
    site_map(content)  # every other section is one of a site map


@pytest.mark.parametrize("name", ["absent.csv", "notes.docx"])
def test_nothing_to_read_is_refused(tmp_path, name):
    if name == "notes.docx":
        written(tmp_path, name, "x")
    with pytest.raises(CrsRiskError, match="accepted: "):
        propose_map(tmp_path / name)


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="no CSV file or workbook"):
        propose_map(tmp_path)


def test_every_analyte_is_recognised_by_key_and_names():
    for key, one in analytes().items():
        for name in (key, one.name_en, one.name_ja):
            found = guess(name)
            assert key in found.targets or found.kind == "role", (key, name, found)


def test_every_header_word_has_a_source_and_a_target_that_exists():
    bibliography = (Path(__file__).parents[4] / "docs" / "sources.bib").read_text(encoding="utf-8")
    sources = set(re.findall(r"^@\w+\{([^,\s]+),", bibliography, flags=re.MULTILINE))
    words = rows("header_words.csv")
    assert {row["source"] for row in words} <= sources
    assert len({(row["word"], row["kind"], row["target"]) for row in words}) == len(words)
    variables = {target for row in words if row["kind"] != "role" for target in listed(row["target"])}
    assert variables <= set(analytes())
    assert {row["language"] for row in words} == {"en", "ja"}


@pytest.mark.parametrize(
    ("header", "variable", "unit"),
    [
        ("ＣＲＰ（ｍｇ／ｄＬ）", "crp", "ｍｇ／ｄＬ"),
        ("PLT ×10⁴/µL", "platelets", "×10⁴/µL"),
        ("WBC_10^3/uL", "wbc", "10^3/uL"),
        ("PT(%)", "pt_activity", "%"),
        ("PT(秒)", "pt_sec", "秒"),
        ("sIL-2R [U/mL]", "sil2ra_u", "U/mL"),
        ("AST(GOT)", "ast", ""),
        ("sbp [mm[Hg]]", "sbp", "mm[Hg]"),
        ("PT", "", ""),
        ("U-CRE", "", ""),
        ("CRP ratio", "", ""),
        ("Name", "", ""),
    ],
)
def test_a_header_means_one_variable_or_none(header, variable, unit):
    found = guess(header)
    assert (found.variable, found.unit) == (variable, unit)
