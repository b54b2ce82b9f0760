from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.hl7v2 import read_hl7v2
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap, site_map
from crsrisk.times import NOT_A_TIME, parse_time

TOKYO = SiteMap(time_zone=ZoneInfo("Asia/Tokyo"))
PID = "PID|1||P1^^^^PI||^^^^^^S||19650415|M"
OBR = "OBR|1||F100|CHEM^Chemistry^L|||202603010830|||||||||||||||202603010915"
CRP = "OBX|1|NM|1988-5^CRP^LN||8.2|mg/dL^mg/dL^UCUM|||||F|||202603010830"


def msh(
    kind: str = "ORU^R01", sent: str = "20260301092000", *, charset: str = "", processing: str = "P"
) -> str:
    return f"MSH|^~\\&|LAB|H|GW|R|{sent}||{kind}|M1|{processing}|2.5||||||{charset}"


def oru(*segments: str, **header: str) -> str:
    return "\r".join([msh(**header), PID, OBR, *segments]) + "\r"


def deliver(folder: Path, content: str | bytes, name: str = "a.hl7") -> Path:
    file = folder / "in" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / "in"


def read(source: Path, site: SiteMap = TOKYO) -> tuple[pd.DataFrame, Account]:
    """Records and the account, whose items are checked to add up."""
    with Account(source.parent / "quarantine.csv") as account:
        batches = list(read_hl7v2(source, site, account))
    for parts in account.to_dict()["items"].values():
        assert parts["read"] == parts["carried"] + parts["not_needed"] + parts["quarantined"]
    return pa.Table.from_batches(batches, SCHEMA).to_pandas(), account


def results(folder: Path, content: str | bytes, site: SiteMap = TOKYO) -> pd.DataFrame:
    records, _ = read(deliver(folder, content), site)
    return records[records["kind"] == "result"].reset_index(drop=True)


def reasons(account: Account) -> list[str]:
    return [one["reason"].partition(":")[0] for one in account.to_dict()["quarantine"]]


def quarantined(folder: Path, content: str | bytes, site: SiteMap = TOKYO) -> list[str]:
    return reasons(read(deliver(folder, content), site)[1])


def test_a_result_is_read_with_its_times_unit_and_order(tmp_path):
    (row,) = results(tmp_path, oru(CRP)).to_dict("records")
    assert row == {
        "position": "file 1 (a.hl7) message 1 segment 4",
        "kind": "result",
        "patient_id": "P1",
        "codes": "http://loinc.org|1988-5",
        "start_us": parse_time("2026-03-01T08:30:00+09:00"),
        "end_us": parse_time("2026-03-01T08:30:00+09:00"),
        "known_us": parse_time("2026-03-01T09:15:00+09:00"),
        "value": "8.2",
        "unit": "mg/dL",
        "comparator": "",
        "rate": "",
        "rate_unit": "",
        "status": "final",
        "identity": row["identity"],
        "revised_us": parse_time("2026-03-01T09:20:00+09:00"),
        "revision": 0,
    }
    assert "F100" in row["identity"]


def test_facts_of_a_patient_are_told_once_as_the_newest_message_has_them(tmp_path):
    newer = oru(CRP, sent="20260302000000").replace("19650415|M", "19650416|M")
    records, _ = read(deliver(tmp_path, newer + oru(CRP)))
    facts = records[records["kind"] == "person"]
    assert dict(zip(facts["codes"], facts["value"], strict=True)) == {
        "urn:crsrisk|sex": "male",
        "urn:crsrisk|birth_date": "1965-04-16",
    }


@pytest.mark.parametrize(
    ("obx", "value", "comparator", "unit"),
    [
        ("OBX|1|SN|1988-5^CRP^LN||<^0.5|mg/dL|||||F", "0.5", "<", "mg/dL"),
        ("OBX|1|SN|1988-5^CRP^LN||>=^200|mg/dL|||||F", "200", ">=", "mg/dL"),
        ("OBX|1|SN|1988-5^CRP^LN||^7.5|mg/dL|||||F", "7.5", "", "mg/dL"),
        ("OBX|1|SN|1988-5^CRP^LN||^1^-^4|mg/dL|||||F", "1-4", "", "mg/dL"),
        ("OBX|1|ST|1988-5^CRP^LN||< 0.5|mg/dL|||||F", "< 0.5", "", "mg/dL"),
        ("OBX|1|CWE|1988-5^CRP^LN||A1^8.2^99X|mg/dL|||||F", "8.2", "", "mg/dL"),
        ("OBX|1|CE|1988-5^CRP^LN||2||||||F", "2", "", ""),
        ("OBX|1|NM|1988-5^CRP^LN||8.2~8.4|mg/dL|||||F", "8.2~8.4", "", "mg/dL"),
        ('OBX|1|NM|1988-5^CRP^LN||""|mg/dL|||||F', "", "", "mg/dL"),
        ("OBX|1|ST|26515-7^PLT^LN||12|10\\S\\3/uL|||||F", "12", "", "10^3/uL"),
        ("OBX|1|NM|1988-5^CRP^LN||8.2|mg/dl^mg/dL^99X|||||F", "8.2", "", "mg/dl"),
        ("OBX|1|NM|8310-5^T^LN||38.1|tmp^℃^ISO+|||||F", "38.1", "", "℃"),
        ("OBX|1|NM|1988-5^CRP^LN||8.2|X1^x^99X^mg/dL^^UCUM|||||F", "8.2", "", "mg/dL"),
    ],
)
def test_values_and_units_of_every_type_are_read_as_reported(tmp_path, obx, value, comparator, unit):
    (row,) = results(tmp_path, oru(obx)).to_dict("records")
    assert (row["value"], row["comparator"], row["unit"]) == (value, comparator, unit)


@pytest.mark.parametrize(
    ("field", "codes"),
    [
        ("1988-5^CRP^LN^123^CRP^99LAB", ["http://loinc.org|1988-5", "99LAB|123"]),
        (
            "123^CRP^99LAB^5C070000002306201^CRP^JC10",
            ["99LAB|123", "urn:oid:1.2.392.200119.4.504|5C070000002306201"],
        ),
        ("123^CRP^L", ["|123"]),
        ("123", ["|123"]),
        ("ferritin^^99CRSRISK", ["urn:crsrisk|ferritin"]),
    ],
)
def test_standard_and_local_codes_are_kept_in_their_order(tmp_path, field, codes):
    (row,) = results(tmp_path, oru(f"OBX|1|NM|{field}||8.2|mg/dL|||||F")).to_dict("records")
    assert row["codes"].split("\x1f") == codes


def test_a_site_names_the_systems_of_its_laboratory(tmp_path):
    site = site_map({"time_zone": "Asia/Tokyo", "hl7v2": {"systems": {"99LAB": "urn:lab"}}})
    (row,) = results(tmp_path, oru("OBX|1|NM|123^CRP^99LAB||8.2|mg/dL|||||F"), site).to_dict("records")
    assert row["codes"] == "urn:lab|123"


@pytest.mark.parametrize(
    ("letter", "status"),
    [("F", "final"), ("C", "final"), ("", "final"), ("P", "preliminary"), ("D", "withdrawn"), ("W", "withdrawn"),
     ("X", "withdrawn")],
)  # fmt: skip
def test_the_status_of_a_result_is_kept(tmp_path, letter, status):
    found = results(tmp_path, oru(CRP.replace("|F|", f"|{letter}|")))
    assert found["status"].tolist() == [status]


def test_a_corrected_result_is_a_newer_version_of_the_same_statement(tmp_path):
    corrected = oru(CRP.replace("8.2", "2.8").replace("|F|", "|C|"), sent="20260301120000")
    found = results(tmp_path, oru(CRP) + corrected)
    assert len(set(found["identity"])) == 1
    assert found["value"].tolist() == ["8.2", "2.8"]
    assert found["revised_us"].is_monotonic_increasing


def test_equal_results_of_one_order_are_told_apart(tmp_path):
    assert results(tmp_path, oru(CRP, CRP))["identity"].nunique() == 2


def test_sub_ids_and_specimens_tell_results_apart(tmp_path):
    second = CRP.replace("||8.2", "|2|8.2")
    later = CRP.replace("202603010830", "202603011830")
    assert results(tmp_path, oru(CRP, second, later))["identity"].nunique() == 3


def test_a_cancelled_order_takes_its_results_back(tmp_path):
    message = oru(CRP).replace("OBR|1|", "ORC|OC||F100\rOBR|1|")
    assert results(tmp_path, message)["status"].tolist() == ["withdrawn"]


def test_an_order_number_of_ORC_serves_where_OBR_has_none(tmp_path):  # noqa: N802
    message = oru(CRP).replace("OBR|1||F100|", "ORC|RE||F7\rOBR|1|||")
    assert "/F7/" in results(tmp_path, message)["identity"][0]


OUL = "\r".join(
    [
        msh("OUL^R22^OUL_R22"),
        PID,
        "SPM|1|S1||023^serum^JC10|||||||||||||202603010800",
        "OBR|1|P100|F200|E001^Hematology^99O03|||20260301",
        "ORC|SC|P100|F200||CM",
        "OBX|1|NM|3C015000002327101^Cr^JC10||0.9|mg/dl^mg/dl^99XYZ|||||F|||20260301",
        "SPM|2|S2||019^blood^JC10|||||||||||||202603010810",
        "OBR|2|P101|F201|E002^CBC^99O03",
        "OBX|1|NM|2A990000001930955^PLT^JC10||12|10*4/uL|||||F",
    ]
)


def test_results_of_specimens_take_the_time_of_the_specimen(tmp_path):
    found = results(tmp_path, OUL + "\r")
    assert found["start_us"].tolist() == [
        parse_time("2026-03-01T08:00:00+09:00"),
        parse_time("2026-03-01T08:10:00+09:00"),
    ]
    assert found["known_us"].tolist() == [parse_time("2026-03-01T09:20:00+09:00")] * 2  # no OBR-22: MSH-7
    assert ["F200" in found["identity"][0], "F201" in found["identity"][1]] == [True, True]


def test_the_time_of_a_message_is_not_taken_for_knowledge_when_the_site_says_so(tmp_path):
    site = site_map({"time_zone": "Asia/Tokyo", "hl7v2": {"message_time_is_known_time": False}})
    assert results(tmp_path, OUL + "\r", site)["known_us"].tolist() == [NOT_A_TIME] * 2


@pytest.mark.parametrize(
    ("observed", "requested", "reason"),
    [
        ("20260301", "20260301", "DATE_ONLY"),
        ("20260302", "202603010830", "DATE_ONLY"),
        ("", "", "NO_TIME"),
        ("2026030108", "202603010830", "BAD_TIME"),
        ("yesterday", "202603010830", "BAD_TIME"),
        ("202613010830", "", "BAD_TIME"),
        ("202603010830+2500", "", "BAD_TIME"),
    ],
)
def test_a_result_without_a_time_to_the_minute_is_set_aside(tmp_path, observed, requested, reason):
    message = oru(CRP.replace("|||202603010830", f"|||{observed}")).replace(
        "L|||202603010830|", f"L|||{requested}|"
    )
    assert quarantined(tmp_path, message) == [reason]


@pytest.mark.parametrize(
    ("sent", "taken", "site", "moment"),
    [
        ("20260301092000", "202603010830-0500", TOKYO, "2026-03-01T08:30:00-05:00"),
        ("20260301092000+0100", "202603010830", SiteMap(), "2026-03-01T08:30:00+01:00"),
        ("20260301092000+0100", "202603010830", TOKYO, "2026-03-01T08:30:00+09:00"),
        ("20260301092000", "20260301083000.1234", TOKYO, "2026-03-01T08:30:00.1234+09:00"),
        ("20260301092000", "20260301083000123", TOKYO, "2026-03-01T08:30:00.123+09:00"),
    ],
)
def test_an_offset_comes_from_the_time_the_site_or_the_message(tmp_path, sent, taken, site, moment):
    found = results(tmp_path, oru(CRP.replace("|||202603010830", f"|||{taken}"), sent=sent), site)
    assert found["start_us"].tolist() == [parse_time(moment)]


def test_a_time_without_any_offset_is_set_aside_and_says_what_to_do(tmp_path):
    _, account = read(deliver(tmp_path, oru(CRP)), SiteMap())
    (one,) = account.to_dict()["quarantine"]
    assert one["reason"].startswith("BAD_TIME")
    assert "time_zone" in one["reason"]


def test_a_clock_time_that_exists_twice_is_not_decided(tmp_path):
    berlin = SiteMap(time_zone=ZoneInfo("Europe/Berlin"))
    message = oru(
        CRP.replace("|||202603010830", "|||202510260230"), CRP.replace("|||202603010830", "|||202603290230")
    )
    _, account = read(deliver(tmp_path, message), berlin)
    assert [(one["reason"].partition(":")[0], one["count"]) for one in account.to_dict()["quarantine"]] == [
        ("AMBIGUOUS_TIME", 2)
    ]


@pytest.mark.parametrize(
    ("obx", "reason"),
    [
        ("OBX|1|NM|^CRP^LN||8.2|mg/dL|||||F", "NO_CODE"),
        ("OBX|1|NM|||8.2|mg/dL|||||F", "NO_CODE"),
        ("OBX|1|NM|1988-5^CRP^LN||8.2|mg/dL|||||Q", "BAD_RECORD"),
        ("OBX|1|NM|1988-5^CRP^LN||8.2|mg/L^mg/dL^99X|||||F", "BAD_RECORD"),
    ],
)
def test_one_bad_segment_is_set_aside_and_the_others_arrive(tmp_path, obx, reason):
    records, account = read(deliver(tmp_path, oru(obx, CRP)))
    assert (records["kind"] == "result").sum() == 1
    assert reasons(account) == [reason]
    line = (tmp_path / "quarantine.csv").read_text().splitlines()[1]
    assert line.startswith("OBX segment,file 1 (a.hl7) message 1 segment 4,P1,")


@pytest.mark.parametrize("kind", ["ED", "RP"])
def test_documents_reports_and_order_details_are_not_needed(tmp_path, kind):
    segments = [
        f"OBX|1|{kind}|11502-2^Report^LN||^application^pdf^Base64^JVBERi0|||||F",
        f"OBX|2|FT|11502-2^Report^LN||{'word ' * 100}||||||F",
        "OBX|3|NM|1988-5^CRP^LN||||||||O",
        "OBX|4|NM|1988-5^CRP^LN||||||||I",
    ]
    _, account = read(deliver(tmp_path, oru(*segments)))
    assert account.to_dict()["items"]["OBX segment"] == {
        "read": 4, "carried": 0, "not_needed": 4, "quarantined": 0,
    }  # fmt: skip


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\n"])
def test_ends_of_segments_of_every_kind_are_read(tmp_path, end):
    assert len(results(tmp_path, (oru(CRP) + oru(CRP.replace("0830", "0930"))).replace("\r", end))) == 2


def test_frames_batches_and_byte_order_marks_are_tolerated(tmp_path):
    framed = b"\xef\xbb\xbfFHS|^~\\&|LAB\rBHS|^~\\&|LAB\r\x0b" + oru(CRP).encode() + b"\x1c\r"
    framed += b"\x0b" + oru(CRP.replace("0830", "0930")).encode() + b"\x1c\rBTS|2\rFTS|1\r"
    records, account = read(deliver(tmp_path, framed))
    assert (records["kind"] == "result").sum() == 2
    assert account.to_dict()["items"]["HL7 batch segment"]["not_needed"] == 4


def test_the_delimiters_of_the_message_are_used(tmp_path):
    message = oru(CRP).replace("^", "@").replace("|", "#").replace("MSH#@~\\&", "MSH#@~\\&")
    assert results(tmp_path, message)["value"].tolist() == ["8.2"]


NAME = "PID|1||P1^^^^PI||山田^太郎^^^^^L^I||19650415|M"
KANJI = CRP.replace("^CRP^", "^ＣＲＰ表示ソ^")


@pytest.mark.parametrize(
    ("charset", "codec", "site"),
    [
        ("~ISO IR87", "iso2022_jp", "utf-8"),
        ("ASCII~ISOIR87", "iso2022_jp", "utf-8"),
        ("UNICODE UTF-8", "utf-8", "utf-8"),
        ("", "utf-8", "utf-8"),
        ("", "cp932", "shift_jis"),
        ("~ISO IR87", "cp932", "shift_jis"),
        ("~ISO IR87", "utf-8", "utf-8"),
        ("", "iso2022_jp", "utf-8"),
    ],
)
def test_japanese_messages_are_read_in_their_character_set(tmp_path, charset, codec, site):
    lines = [msh(charset=charset), NAME, OBR, KANJI]
    content = b"".join(line.encode(codec) + b"\r" for line in lines)
    stated = site_map({"time_zone": "Asia/Tokyo", "encoding": site})
    records, account = read(deliver(tmp_path, content), stated)
    assert reasons(account) == []
    assert records.loc[records["kind"] == "result", "value"].tolist() == ["8.2"]
    assert "1965-04-15" in set(records["value"])


def test_characters_that_can_not_be_read_cost_only_their_segment(tmp_path):
    content = "\r".join([msh(), NAME, OBR, KANJI, CRP]) + "\r"
    records, account = read(deliver(tmp_path, content.encode("cp932")))
    assert records["kind"].tolist() == [
        "result"
    ]  # no facts from a PID that can't be read, but its identifier
    assert records["patient_id"].tolist() == ["P1"]
    assert reasons(account) == ["BAD_ENCODING"]


def test_an_encoding_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="encoding 'klingon'"):
        read(deliver(tmp_path, oru(CRP)), SiteMap(encoding="klingon"))


def test_a_torn_segment_is_not_read_in_half(tmp_path):
    torn = CRP.replace("8.2", "8\n.2")
    second = CRP.replace("0830", "0930").replace("OBX|1|", "OBX|2|")
    records, account = read(deliver(tmp_path, oru(torn, second)))
    assert records.loc[records["kind"] == "result", "value"].tolist() == ["8.2"]
    assert account.to_dict()["items"]["HL7 line"]["quarantined"] == 1
    assert account.to_dict()["items"]["OBX segment"]["quarantined"] == 1


@pytest.mark.parametrize("cut", ["OBX|1|NM|1988-5^CRP^LN||8", "OBX|1|NM|1988-5^CRP^LN||8.2|mg"])
def test_a_segment_cut_off_at_the_end_of_the_file_is_not_read_in_half(tmp_path, cut):
    assert quarantined(tmp_path, oru(CRP) + oru().rstrip("\r") + "\r" + cut) == ["BAD_RECORD"]


def test_results_below_a_torn_order_are_set_aside(tmp_path):
    message = oru(CRP).replace("L|||202603010830|", "L|||20260301\n0830|")
    assert quarantined(tmp_path, message) == ["BAD_RECORD", "BAD_RECORD"]


def test_segments_before_the_first_message_are_set_aside(tmp_path):
    records, account = read(deliver(tmp_path, f"{PID}\r{CRP}\r{oru(CRP)}"))
    assert (records["kind"] == "result").sum() == 1
    assert account.to_dict()["items"]["HL7 line"]["quarantined"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (oru(CRP).replace(PID, "PID|1||^^^^PI"), "NO_PATIENT"),
        (oru(CRP).replace(PID + "\r", ""), "NO_PATIENT"),
        (oru(CRP).replace("^~\\&", "^^^^"), "BAD_RECORD"),
        (oru(CRP, kind=""), "BAD_RECORD"),
        (oru(CRP, processing="T"), "NOT_SUPPORTED"),
    ],
)
def test_a_message_that_can_not_be_used_is_set_aside(tmp_path, content, reason):
    records, account = read(deliver(tmp_path, content + oru(CRP.replace("0830", "0930"))))
    assert (records["kind"] == "result").sum() == 1
    assert reasons(account) == [reason]


def test_results_never_go_to_the_patient_before(tmp_path):
    message = oru(CRP) + "PID|2||^^^^PI||\rOBR|2||F9\r" + CRP + "\rPID|3||P3^^^^PI\rOBR|3||F10\r" + CRP + "\r"
    records, account = read(deliver(tmp_path, message))
    assert records.loc[records["kind"] == "result", "patient_id"].tolist() == ["P1", "P3"]
    assert reasons(account) == ["NO_PATIENT"]


@pytest.mark.parametrize(("header", "pid"), [("MSX", "PXD"), ("SH", "ID"), ("MSH ", "PID^")])
def test_results_behind_a_lost_header_do_not_go_to_the_patient_before(tmp_path, header, pid):
    lost = oru(CRP).replace("P1", "P2").replace("MSH", header).replace("PID", pid)
    records, account = read(deliver(tmp_path, oru(CRP, "NTE|1||x") + lost + oru(CRP.replace("0830", "0930"))))
    assert records.loc[records["kind"] == "result", "patient_id"].tolist() == ["P1", "P1"]
    assert "NO_PATIENT" in reasons(account)


def test_segments_of_a_site_and_comments_do_not_disturb(tmp_path):
    message = oru(
        CRP, "NTE|1||note", "ZLB|1|x", CRP.replace("0830", "0930"), "OBR|2||F9", CRP.replace("0830", "1030")
    )
    assert len(results(tmp_path, message)) == 3


def test_the_site_chooses_among_the_identifiers_of_a_patient(tmp_path):
    message = oru(CRP).replace("P1^^^^PI", "X9^^^ADM^VN~P1^^^HOSP^MR")
    site = site_map({"time_zone": "Asia/Tokyo", "hl7v2": {"patient_id_type": "MR"}})
    assert results(tmp_path, message)["patient_id"].tolist() == ["X9"]
    assert results(tmp_path, message, site)["patient_id"].tolist() == ["P1"]
    other = site_map({"hl7v2": {"patient_id_type": "SS"}})
    assert quarantined(tmp_path, message, other) == ["NO_PATIENT"]


def test_one_identifier_of_two_authorities_is_a_question(tmp_path):
    other = oru(CRP).replace("P1^^^^PI", "P1^^^NORTH^PI") + oru(CRP).replace("P1^^^^PI", "P1^^^SOUTH^PI")
    with pytest.raises(CrsRiskError, match="patient_id_authority"):
        read(deliver(tmp_path, other))
    site = site_map({"time_zone": "Asia/Tokyo", "hl7v2": {"patient_id_authority": "NORTH"}})
    assert len(results(tmp_path, other, site)) == 1


@pytest.mark.parametrize("setting", [{"patient_id_kind": "MR"}, {"systems": "x"}, {"patient_id_type": 1}])
def test_settings_that_are_not_known_are_refused(tmp_path, setting):
    with pytest.raises(CrsRiskError, match=r"\[hl7v2\]"):
        read(deliver(tmp_path, oru(CRP)), site_map({"hl7v2": setting}))


RAS = [
    msh("RAS^O17^RAS_O17"),
    PID,
    "ORC|RE|A1",
    "RXA|0|1|202603011000|202603011100|620007329^norad^HOT9|480|mg^mg^UCUM|||||||||||||CP||202603011105",
]


def administrations(folder: Path, rxa: str) -> pd.DataFrame:
    records, _ = read(deliver(folder, "\r".join([*RAS[:-1], rxa]) + "\r"))
    return records[records["kind"] == "drug"].reset_index(drop=True)


def test_an_administration_is_read_with_its_period_amount_and_time_of_entry(tmp_path):
    (row,) = administrations(tmp_path, RAS[-1]).to_dict("records")
    assert row["codes"] == "http://medis.or.jp/CodeSystem/master-HOT9|620007329"
    assert (row["value"], row["unit"], row["rate"], row["status"]) == ("480", "mg", "", "final")
    assert row["start_us"] == parse_time("2026-03-01T10:00:00+09:00")
    assert row["end_us"] == parse_time("2026-03-01T11:00:00+09:00")
    assert row["known_us"] == parse_time("2026-03-01T11:05:00+09:00")


@pytest.mark.parametrize(
    ("amount", "unit", "per", "expected"),
    [
        ("1", "HON^本^MR9P", "102ml/hr", ("1", "HON", "102", "ml/hr")),
        ("25", "mL", "H1", ("", "", "25", "mL/h")),
        ("0.05", "ug/kg/min", "", ("", "", "0.05", "ug/kg/min")),
        ("480", "mg", "", ("480", "mg", "", "")),
    ],
)
def test_rates_are_told_from_amounts(tmp_path, amount, unit, per, expected):
    rxa = f"RXA|0|1|202603011000||C^d^L|{amount}|{unit}|||||{per}||||||||CP"
    (row,) = administrations(tmp_path, rxa).to_dict("records")
    assert (row["value"], row["unit"], row["rate"], row["rate_unit"]) == expected
    assert row["end_us"] == row["start_us"]  # without an end HL7 means a moment


@pytest.mark.parametrize(("field", "letter"), [(20, "RE"), (20, "NA"), (21, "D")])
def test_what_was_not_given_or_deleted_takes_back(tmp_path, field, letter):
    fields = RAS[-1].split("|") + [""] * 3
    fields[field] = letter
    assert administrations(tmp_path, "|".join(fields))["status"].tolist() == ["withdrawn"]


def test_an_administration_that_ends_before_it_starts_is_set_aside(tmp_path):
    content = "\r".join([*RAS[:-1], RAS[-1].replace("202603011100", "202603010900")]) + "\r"
    assert quarantined(tmp_path, content) == ["BAD_RECORD"]


def test_stays_deaths_and_diseases_come_from_admissions_and_problem_lists(tmp_path):
    pv1 = "PV1|1|I" + "|" * 17 + "V1" + "|" * 25 + "202603010900|202603201100"
    died = PID + "|" * 21 + "202603201055"
    adt = "\r".join([msh("ADT^A03"), died, pv1]) + "\r"
    ppr = "\r".join(
        [msh("PPR^ZD1"), PID, "PRB|AD|20260301|C833^DLBCL^I10|1", "PRB|AD|20260301|C900^骨髄腫の疑い^I10|2"]
    )
    records, account = read(deliver(tmp_path, adt + ppr + "\r"))
    stay = records[records["kind"] == "stay"].iloc[0]
    assert stay["end_us"] == parse_time("2026-03-20T11:00:00+09:00")
    death = records[records["codes"] == "urn:crsrisk|death"].iloc[0]
    assert (death["value"], death["start_us"]) == ("1", parse_time("2026-03-20T10:55:00+09:00"))
    assert records.loc[records["kind"] == "condition", "codes"].tolist() == [
        "http://hl7.org/fhir/sid/icd-10|C833"
    ]
    assert account.to_dict()["items"]["PRB segment"]["not_needed"] == 1


def test_a_cancelled_admission_takes_the_stay_back(tmp_path):
    pv1 = "PV1|1|I" + "|" * 17 + "V1" + "|" * 25 + "202603010900"
    stays = [
        "\r".join([msh(f"ADT^{event}", sent), PID, pv1]) + "\r"
        for event, sent in (("A01", "20260301090000"), ("A11", "20260301100000"))
    ]
    records, _ = read(deliver(tmp_path, "".join(stays)))
    stays = records[records["kind"] == "stay"]
    assert stays["status"].tolist() == ["final", "withdrawn"]
    assert len(set(stays["identity"])) == 1


def test_a_death_without_a_time_is_told_and_not_used(tmp_path):
    _, account = read(deliver(tmp_path, (oru(CRP) * 3).replace(PID, PID + "|" * 21 + "20260320")))
    assert account.to_dict()["items"]["PID-29 death"]["quarantined"] == 1
    assert reasons(account) == ["DATE_ONLY"]


@pytest.mark.parametrize("kind", ["RDE^O11", "ORM^O01", "MDM^T02", "ACK"])
def test_other_messages_are_not_needed(tmp_path, kind):
    records, account = read(deliver(tmp_path, oru(CRP, kind=kind) + oru(CRP)))
    assert (records["kind"] == "result").sum() == 1
    assert account.to_dict()["items"]["HL7 message"]["not_needed"] == 1


def stored(flag: str, patient: str = "0000012345", kind: str = "OML-11") -> str:
    name = f"{patient}_20260301_{kind}_000000000000100_20260301091500000_01_{flag}"
    return f"{patient[:3]}/{patient[3:6]}/{patient}/20260301/{kind}/{name}"


def test_a_storage_is_read_by_the_flags_of_its_files(tmp_path):
    now = oru(CRP).replace("P1^", "0000012345^")
    before = now.replace("8.2", "2.8").replace("20260301092000", "20260301091000")
    deliver(tmp_path, now, stored("1"))
    deliver(tmp_path, before, stored("2"))
    gone = oru(CRP.replace("1988-5", "2276-4")).replace("P1^", "0000012345^")
    source = deliver(tmp_path, gone, stored("0"))
    found = read(source)[0]
    found = found[found["kind"] == "result"].set_index("value")
    assert found.loc["2.8", "status"] == "withdrawn"
    assert found.loc["2.8", "identity"] == found[found["status"] == "final"].iloc[0]["identity"]
    assert found["status"].value_counts().to_dict() == {"withdrawn": 2, "final": 1}


def test_a_file_in_the_folder_of_another_patient_is_set_aside(tmp_path):
    deliver(tmp_path, oru(CRP).replace("P1^", "0000012345^"), stored("1"))
    source = deliver(tmp_path, oru(CRP).replace("P1^", "99999^"), stored("1", "0000054321"))
    records, account = read(source)
    assert set(records["patient_id"]) == {"0000012345"}
    assert reasons(account) == ["NO_PATIENT"]


def test_identifiers_do_not_differ_by_leading_zeros_between_folder_and_message(tmp_path):
    records, _ = read(deliver(tmp_path, oru(CRP).replace("P1^", "12345^"), stored("1")))
    assert set(records["patient_id"]) == {"12345"}


def test_vital_signs_of_an_extended_storage_are_read(tmp_path):
    name = "0000012345_20260301_L-OBSERVATIONS^OBSERVATIONS^99ZL01_000000020260301_202603011500321_1"
    vital = "OBX|1|NM|9P100000000000001^BT^JC10||38.6|tmp^℃^ISO+|||||F|||202603011500"
    message = oru(vital, kind="ORU^R30").replace("P1^", "0000012345^")
    records, _ = read(deliver(tmp_path, message, f"000/001/0000012345/20260301/x/{name}/main_document.hl7"))
    assert records.loc[records["kind"] == "result", ["value", "unit"]].to_numpy().tolist() == [["38.6", "℃"]]


def test_positions_hold_no_numbers_of_patients_or_orders(tmp_path):
    deliver(
        tmp_path, oru(CRP.replace("8.2|", "8.2|mg/L^mg/dL^9|")).replace("P1^", "0000012345^"), stored("1")
    )
    source = deliver(tmp_path, "no message", "P0012345_results.txt")
    read(source)
    positions = [line.split(",")[1] for line in (tmp_path / "quarantine.csv").read_text().splitlines()[1:]]
    assert positions == [
        "file 1 (P*_results.txt) before message 1",
        "file 1 (P*_results.txt)",
        "file 2 (OML-11) message 1 segment 4",
    ]


def test_other_files_in_a_folder_are_not_needed(tmp_path):
    deliver(tmp_path, b"%PDF-1.7", "report.pdf")
    deliver(tmp_path, b"x", ".DS_Store")
    _, account = read(deliver(tmp_path, oru(CRP)))
    assert account.to_dict()["items"]["HL7 file"] == {
        "read": 3,
        "carried": 1,
        "not_needed": 2,
        "quarantined": 0,
    }


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\x00\x01\x02" * 1000])
def test_a_source_without_any_message_is_refused(tmp_path, content):
    source = tmp_path / "in"
    source.mkdir()
    if content is not None:
        deliver(tmp_path, content)
    with pytest.raises(CrsRiskError, match="accepted: "):
        read(source)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="no such file or folder"):
        read(tmp_path / "nowhere")


def test_one_file_is_a_source_as_well(tmp_path):
    records, _ = read(deliver(tmp_path, oru(CRP)) / "a.hl7")
    assert (records["kind"] == "result").sum() == 1


def test_a_segment_longer_than_allowed_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("crsrisk.readers.hl7v2_files.CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr("crsrisk.readers.hl7v2_files.LONGEST_SEGMENT", 1 << 13)
    long = CRP.replace("8.2", "8" * 100_000)
    records, account = read(deliver(tmp_path, oru(long, CRP.replace("0830", "0930"))))
    assert records.loc[records["kind"] == "result", "value"].tolist() == ["8.2"]
    assert reasons(account) == ["BAD_RECORD"]


def test_a_message_longer_than_allowed_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("crsrisk.readers.hl7v2_files.LONGEST_MESSAGE", 4096)
    records, account = read(deliver(tmp_path, oru(*[CRP] * 200) + oru(CRP)))
    assert (records["kind"] == "result").sum() == 1
    assert account.to_dict()["items"]["HL7 message"] == {
        "read": 2, "carried": 1, "not_needed": 0, "quarantined": 1,
    }  # fmt: skip


def test_the_order_of_files_and_messages_changes_nothing(tmp_path):
    messages = [oru(CRP.replace("8.2", str(value)), sent=f"2026030110{value:02d}00") for value in range(5)]
    one, _ = read(deliver(tmp_path, "".join(messages)))
    other, _ = read(deliver(tmp_path, "".join(reversed(messages))))
    columns = [name for name in one.columns if name != "position"]
    pd.testing.assert_frame_equal(
        one[columns].sort_values(columns, ignore_index=True),
        other[columns].sort_values(columns, ignore_index=True),
    )
