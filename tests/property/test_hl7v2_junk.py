"""Whatever an HL7 v2 file holds: no exception, every item accounted for, nobody's result with another patient."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crsrisk.readers.account import Account
from crsrisk.readers.hl7v2 import read_hl7v2
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap

SITE = SiteMap(time_zone=ZoneInfo("Europe/Berlin"))
FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

PATIENTS = ("alice", "bob", "carol")
GOOD = "MSH|^~\\&|LAB||||20260301092000||ORU^R01|M|P|2.5\rPID|1||good^^^^PI\rOBR|1||F0||||202603010830\r"
GOOD += "OBX|1|NM|1988-5^CRP^LN||1|mg/L|||||F|||202603010830\r"


def result_of(patient: str, number: int) -> str:
    """A message whose result carries the name of its patient in its text."""
    return (
        f"MSH|^~\\&|LAB||||202603010920{number % 60:02d}||ORU^R01|M{number}|P|2.5\r"
        f"PID|1||{patient}^^^^PI||^^^^^^S|||F\rOBR|1||F{number}||||202603010830\r"
        f"OBX|1|ST|note^{patient}^L||{patient}|mg/L|||||F|||202603010830\r"
        f"OBX|2|NM|1988-5^CRP^LN||8.2|mg/dL|||||F|||202603010830\r"
    )


def read(content: bytes, *, tail: str = GOOD) -> tuple[list[dict[str, object]], Account]:
    """Records of junk before one good message, which keeps the source a source of HL7."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "in" / "a.hl7").write_bytes(content + b"\r" + tail.encode())
        with Account(folder / "q.csv") as account:
            table = pa.Table.from_batches(list(read_hl7v2(folder / "in", SITE, account)), SCHEMA)
    for parts in account.to_dict()["items"].values():
        assert parts["read"] == parts["carried"] + parts["not_needed"] + parts["quarantined"]
    return table.to_pylist(), account


def check(records: list[dict[str, object]]) -> None:
    assert [one["value"] for one in records if one["patient_id"] == "good" and one["kind"] == "result"] == [
        "1"
    ]
    for one in records:
        assert one["patient_id"]
        told = [name for name in PATIENTS if one["value"] == name]
        assert told in ([], [one["patient_id"]])


@FEW
@given(st.binary(max_size=600))
def test_any_bytes_are_accounted_for(content):
    check(read(content)[0])


PIECES = st.sampled_from(
    ["MSH|^~\\&|", "MSH", "PID|1||", "PID|1||alice^^^^PI", "OBX|1|NM|", "OBX|", "OBR|1||F|", "SPM|1", "ORC|CA|", "\r",
     "\n", "|", "^", "~", "\\", "&", "\\X0D\\", "\\F", "20260301", "202603010830", "+0900", "F", "W", "1988-5^C^LN",
     "\x0b", "\x1c", "\x1b$B", "\x1b(B", "\x1f", "\x00", "ORU^R01", "OUL^R22", "RAS^O17", "RXA|0|1|", "疑", "\ufeff"]
)  # fmt: skip


@FEW
@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=60))
def test_any_mixture_of_parts_is_accounted_for(pieces):
    content = "".join(pieces).encode("utf-8", "surrogatepass")
    records, _ = read(content)
    check([one for one in records if one["patient_id"] == "good"])


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_damaged_messages_never_give_a_result_to_another_patient(seed, wounds):
    chance = random.Random(seed)
    text = "".join(result_of(chance.choice(PATIENTS), number) for number in range(4))
    content = bytearray(text.encode())
    for _ in range(wounds):
        starts = [place for place in range(1, len(content) - 3) if content[place - 1] == 13]
        place = (
            chance.choice(starts) if chance.random() < 0.5 else chance.randrange(len(content))
        )  # names of segments
        if chance.random() < 0.5:
            del content[place : place + chance.randrange(1, 12)]
        else:
            content[place : place + 1] = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
    names = {name.encode() for name in PATIENTS}
    records, _ = read(bytes(content))
    for one in records:
        value = str(one["value"]).encode()
        assert (
            value not in names
            or value.decode() == one["patient_id"]
            or _is_damaged(content, one["patient_id"])
        )


def _is_damaged(content: bytearray, patient_id: object) -> bool:
    """Whether the identifier itself was changed: no reader can know that."""
    return str(patient_id) not in PATIENTS or b"PID|1||" + str(patient_id).encode() + b"^" not in content


@FEW
@given(st.permutations(range(6)))
def test_the_order_of_messages_does_not_matter(order):
    messages = [result_of(PATIENTS[number % 3], number) for number in range(6)]
    found = [
        sorted(
            str({name: cell for name, cell in one.items() if name != "position"}) for one in read(content)[0]
        )
        for content in ("".join(messages).encode(), "".join(messages[number] for number in order).encode())
    ]
    assert found[0] == found[1]


@FEW
@given(st.integers(1, 2000))
def test_a_file_cut_off_anywhere_loses_only_its_end(cut):
    whole = "".join(result_of(PATIENTS[number % 3], number) for number in range(4))
    kept = whole.encode()[: cut % len(whole)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "in" / "a.hl7").write_bytes(GOOD.encode() + kept)
        with Account(folder / "q.csv") as account:
            table = pa.Table.from_batches(list(read_hl7v2(folder / "in", SITE, account)), SCHEMA)
    values = {one["value"] for one in table.to_pylist() if one["kind"] == "result"}
    assert values <= {"1", "8.2", *PATIENTS}
