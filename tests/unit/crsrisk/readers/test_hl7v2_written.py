from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message

from crsrisk.cohort import Cohort, read_cohort, write_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.hl7v2 import read_hl7v2
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.times import NOT_A_TIME
from crsrisk.writers.hl7v2 import write_hl7v2
from crsrisk.writers.statements import statements

THERAPIES = ("axi-cel_LBCL3L", "glofit_DLBCL")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = simulate(6, 5, therapies=THERAPIES, absolute_times=True).write(
        tmp_path_factory.mktemp("c") / "c"
    )
    return read_cohort(folder)


@pytest.fixture(scope="module")
def written(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hl7") / "m"
    write_hl7v2(cohort, folder)
    return folder


def read(folder: Path) -> pd.DataFrame:
    with Account(folder.parent / "q.csv") as account:
        table = pa.Table.from_batches(list(read_hl7v2(folder, SiteMap(), account)), SCHEMA)
    assert account.to_dict()["quarantine"] == []
    return table.to_pandas()


def messages(file: Path) -> list[str]:
    text = file.read_bytes().decode("utf-8")
    return ["MSH" + part for part in text.split("MSH")[1:]]


def parsed(text: str) -> Message:
    numbers = text.replace('|""|', "|1|")  # the library wants a number where HL7's null stands
    return parse_message(numbers, validation_level=VALIDATION_LEVEL.STRICT)


def one_course(tmp_path: Path, **events: list[object]) -> Cohort:
    courses = pd.DataFrame(
        {
            "course_id": ["c1"], "patient_id": ["p^1|x"], "therapy": ["axi-cel_LBCL3L"], "site": ["A & B"],
            "index_time": ["2026-03-01T09:00:00+09:00"], "sex": ["other"],
        }
    )  # fmt: skip
    frame = pd.DataFrame({"course_id": ["c1"] * len(events["value"]), **events})
    return read_cohort(write_cohort({"courses": courses, "events": frame}, tmp_path / "one"))


@pytest.fixture(scope="module")
def short_messages(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The first messages of one patient of each class, of at most 25 results: the other library is slow."""
    folder = tmp_path_factory.mktemp("short") / "m"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crsrisk.writers.hl7v2.RESULTS_PER_MESSAGE", 25)
        write_hl7v2(cohort, folder)
    by_therapy = (
        cohort.courses.sort_values("patient_id").reset_index(drop=True).groupby("therapy").head(1).index
    )
    return [text for place in by_therapy for text in messages(folder / f"{place + 1:06d}.hl7")[:3]]


def test_another_library_finds_every_message_valid(short_messages):
    found = [parsed(text) for text in short_messages]
    assert {message.name for message in found} == {"ADT_A03", "RAS_O17", "ORU_R01"}
    assert all(message.validate() for message in found)


def test_another_library_reads_the_same_results(short_messages, tmp_path):
    text = next(text for text in short_messages if "ORU^R01" in text)
    theirs = [
        tuple(
            field.to_er7() for field in (one.obx.obx_3.obx_3_1, one.obx.obx_5, one.obx.obx_6, one.obx.obx_14)
        )
        for order in parsed(text).oru_r01_patient_result.oru_r01_order_observation
        for one in order.oru_r01_observation
    ]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "one.hl7").write_text(text, encoding="utf-8", newline="")
    found = read(tmp_path / "m")
    ours = found[found["kind"] == "result"]
    assert len(theirs) == len(ours) == 25
    told = zip(ours["codes"], ours["comparator"], ours["value"], ours["unit"], ours["start_us"], strict=True)
    for (code, value, unit, time), (codes, mark, own_value, own_unit, us) in zip(theirs, told, strict=True):
        assert codes.split("\x1f")[0].split("|")[1] == code
        assert value == (f"{mark}^{own_value}" if mark else own_value)
        assert unit == own_unit
        assert pd.Timestamp(time) == pd.Timestamp(us, unit="us", tz="UTC")


def test_everything_that_the_cohort_says_comes_back(cohort, written):
    told, back = statements(cohort), read(written)
    own = (
        back["codes"]
        .str.split("\x1f")
        .str[-1]
        .str.removeprefix("urn:crsrisk|")
        .where(back["kind"] != "stay", "stay")
    )
    value = back["value"].where(back["rate"] == "", back["rate"])
    unit = back["unit"].where(back["rate"] == "", back["rate_unit"])
    back = back.assign(name=own, value=back["comparator"] + value, unit=unit)
    told = told.assign(value=told["comparator"] + told["value"])
    columns = ["patient_id", "name", "value", "unit"]
    pd.testing.assert_frame_equal(
        told[columns].sort_values(columns, ignore_index=True),
        back[columns].sort_values(columns, ignore_index=True),
        check_dtype=False,
    )
    timed = told["kind"] != "person"
    known = told["known_us"].where(
        (told["known_us"] != NOT_A_TIME) | (told["kind"] == "stay"), told["start_us"]
    )
    moments = ["patient_id", "name", "value", "start_us", "end_us", "known_us"]
    pd.testing.assert_frame_equal(
        told.assign(known_us=known)[timed][moments].sort_values(moments, ignore_index=True),
        back[~back["name"].isin(("sex", "site", "indication"))][moments].sort_values(
            moments, ignore_index=True
        ),
        check_dtype=False,
    )


def test_delimiters_in_texts_are_escaped(tmp_path):
    cohort = one_course(
        tmp_path,
        time=["2026-03-01T10:00:00+09:00", "2026-03-01T10:00:00.0001+09:00"],
        variable=["platelets", "crp"],
        value=["120", "<0.5"],
        unit=["10^3/uL", "mg/dL"],
    )
    write_hl7v2(cohort, tmp_path / "m")
    back = read(tmp_path / "m")
    assert set(back["patient_id"]) == {"p^1|x"}
    assert back.loc[back["codes"].str.endswith("|platelets"), "unit"].tolist() == ["10^3/uL"]
    assert back.loc[back["codes"].str.endswith("|site"), "value"].tolist() == ["A & B"]
    assert back.loc[back["codes"].str.endswith("|sex"), "value"].tolist() == ["other"]
    (crp,) = back[back["codes"].str.endswith("|crp")].to_dict("records")
    assert crp["value"] == "<0.5"
    assert crp["start_us"] % 1_000_000 == 100  # 0.1 ms is the most that HL7 v2 holds


def test_infusions_of_cells_are_administrations_and_doses_bring_their_amount(written, cohort):
    back = read(written)
    therapy = back[back["codes"].str.startswith("urn:crsrisk|therapy:")]
    cells = therapy[therapy["codes"].str.endswith("axi-cel_LBCL3L")]
    assert set(cells["value"]) == {""}
    assert set(therapy.loc[therapy["codes"].str.endswith("glofit_DLBCL"), "unit"]) == {"mg"}
    assert len(therapy) == len(cells) + int((cohort.events["variable"] == "bsab_dose").sum())


def test_files_are_named_by_number_and_do_not_depend_on_a_clock(cohort, written, tmp_path):
    write_hl7v2(cohort, tmp_path / "again")
    assert [file.name for file in sorted(written.iterdir())] == [
        f"{number:06d}.hl7" for number in range(1, 7)
    ]
    for file in written.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_cohort_in_hours_is_refused(tmp_path):
    cohort = read_cohort(simulate(2, 1, therapies=THERAPIES).write(tmp_path / "c"))
    with pytest.raises(CrsRiskError, match="index_time"):
        write_hl7v2(cohort, tmp_path / "m")
