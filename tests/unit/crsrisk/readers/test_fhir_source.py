"""Damaged and odd FHIR files: the bad part is set aside with its reason and position, the rest arrives."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account
from crsrisk.readers.fhir import read_fhir
from crsrisk.readers.fhir_json import CHUNK_BYTES
from crsrisk.readers.site_map import SiteMap, site_map
from tests.fhir_builders import TEN, observation, patient, read, read_bundle, read_lines, write_lines


def bundle_text(*resources: dict, indent: int | None = None) -> str:
    entries = [{"resource": one} for one in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=indent)


def written(tmp_path, name: str, content: bytes):
    (tmp_path / "source").mkdir(exist_ok=True)
    file = tmp_path / "source" / name
    file.write_bytes(content)
    return file


def test_a_truncated_line_is_set_aside_and_the_rest_arrives(tmp_path):
    half = json.dumps(observation(id="o2"))[:60]
    found = read_lines(tmp_path, observation(), half, observation(id="o3"))
    assert [one.identity for one in found.records] == ["Observation/o1", "Observation/o3"]
    assert [row[:2] for row in found.quarantine] == [["NDJSON line", "all.ndjson line 2"]]
    assert found.codes == ["BAD_JSON"]


def test_a_truncated_bundle_gives_what_stands_before_the_break(tmp_path):
    text = bundle_text(observation(), observation(id="o2"), observation(id="o3"))
    found = read(written(tmp_path, "b.json", text[: text.index('"o3"')].encode()))
    assert [one.identity for one in found.records] == ["Observation/o1", "Observation/o2"]
    assert [row[:2] for row in found.quarantine] == [["file", "b.json, after 2"]]


@pytest.mark.parametrize(
    "broken",
    [
        '{"resource": {"resourceType": "Observation", "id": o2}}',
        '{"resource": {"resourceType": "Observation" "id": "o2"}}',
        '{"resource": {"resourceType": "Observation", "id": "\\x"}}',
        '{"resource": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "undefined",
    ],
)
def test_a_broken_entry_leaves_those_behind_it(tmp_path, broken):
    text = bundle_text(observation(), observation(id="o3"))
    text = text.replace('}}, {"resource"', f'}}}}, {broken}, {{"resource"', 1)
    found = read(written(tmp_path, "b.json", text.encode()))
    assert [one.identity for one in found.records] == ["Observation/o1", "Observation/o3"]
    assert (found.codes, found.quarantine[0][1]) == (["BAD_JSON"], "b.json entry 2")


@pytest.mark.parametrize("name", ["all.ndjson", "b.json"])
def test_bytes_of_another_encoding_set_aside_what_holds_them(tmp_path, name):
    japanese = {**observation(id="o2"), "code": {"text": "カリウム"}}
    if name == "b.json":
        text = bundle_text(observation(), {**japanese, "code": {"text": "@"}}, observation(id="o3"))
    else:
        text = "\n".join(
            json.dumps(one)
            for one in (observation(), {**japanese, "code": {"text": "@"}}, observation(id="o3"))
        )
    found = read(written(tmp_path, name, text.encode().replace(b"@", "カリウム".encode("cp932"))))
    assert [one.identity for one in found.records] == ["Observation/o1", "Observation/o3"]
    assert found.codes == ["BAD_ENCODING"]


def test_the_site_map_may_state_the_encoding(tmp_path):
    text = json.dumps(observation(code={"text": "カリウム"}), ensure_ascii=False)
    file = written(tmp_path, "all.ndjson", text.encode("cp932"))
    assert [one.codes for one in read(file, site_map({"encoding": "cp932"})).records] == ["|カリウム"]
    for name in ("klingon", "rot13"):
        with pytest.raises(CrsRiskError, match=f"encoding '{name}' is not known"):
            read(file, site_map({"encoding": name}))


@pytest.mark.parametrize("name", ["all.ndjson", "b.json"])
def test_a_byte_order_mark_is_no_fault(tmp_path, name):
    content = json.dumps(observation()) if name == "all.ndjson" else bundle_text(observation())
    found = read(written(tmp_path, name, b"\xef\xbb\xbf" + content.encode()))
    assert (len(found.records), found.quarantine) == (1, [])


@pytest.mark.parametrize("half", ["\\ud800", "\\uDC00 x"])
def test_halves_of_characters_are_no_text(tmp_path, half):
    line = json.dumps(observation(id="@")).replace("@", half)
    found = read_lines(tmp_path, patient(), line, observation(id="\U0001f600"))
    assert found.codes == ["BAD_ENCODING"]
    assert [one.identity for one in found.records][1:] == ["Observation/\U0001f600"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "9" * 5000, "1e999999"])
def test_numbers_that_are_none_do_not_stop_the_reading(tmp_path, number):
    line = json.dumps(observation(id="o2")).replace("8.2", number)
    found = read_lines(tmp_path, line, observation())
    assert found.records[-1].value == "8.2"
    if len(number) > 256:
        assert found.codes == ["NOT_SUPPORTED"]
    else:
        assert found.records[0].value == number  # refused later, by the rules for every value


def test_a_deeply_nested_line_is_set_aside(tmp_path):
    bomb = (
        '{"resourceType": "Observation", "extension": '
        + '[{"extension":' * 50_000
        + "1"
        + "}]" * 50_000
        + "}"
    )
    found = read_lines(tmp_path, bomb, observation())
    assert (found.codes, len(found.records)) == (["BAD_JSON"], 1)


def test_entries_without_resource_are_told_apart(tmp_path):
    found = read_bundle(
        tmp_path,
        observation(),
        {"fullUrl": "urn:uuid:1"},
        {"response": {"status": "201"}},
        {"request": {"method": "DELETE", "url": "Observation/7"}},
        {"resource": None},
        {"resource": "text"},
    )
    assert found.codes == ["BAD_RECORD", "NOT_SUPPORTED", "BAD_RECORD", "BAD_RECORD"]
    assert found.items("Bundle entry") == (0, 1, 4)


@pytest.mark.parametrize(
    "kind", ["collection", "batch", "transaction", "searchset", "message", "history", "nonsense"]
)
def test_every_type_of_bundle_is_read_as_a_container(tmp_path, kind):
    request = {"method": "POST", "url": "Observation"}
    found = read_bundle(tmp_path, {"resource": observation(), "request": request}, kind=kind)
    assert len(found.records) == 1


def test_bundles_within_bundles_are_opened(tmp_path):
    inner = {"resourceType": "Bundle", "entry": [{"resource": observation()}]}
    found = read_bundle(tmp_path, inner)
    assert [one.position for one in found.records] == ["bundle.json entry 1 entry 1"]
    for _ in range(10):
        inner = {"resourceType": "Bundle", "entry": [{"resource": inner}]}
    assert read_bundle(tmp_path, inner).codes == ["NOT_SUPPORTED"]


def test_one_resource_a_list_of_them_and_indented_files_are_read(tmp_path):
    whole = json.dumps(observation(), indent=2)
    assert len(read(written(tmp_path, "one.json", whole.encode())).records) == 1
    assert len(read(written(tmp_path, "one.ndjson", whole.encode())).records) == 1
    assert len(read(written(tmp_path, "list.json", f"[{whole}, {whole}]".encode())).records) == 2
    assert len(read(written(tmp_path, "b.json", bundle_text(observation(), indent=1).encode())).records) == 1
    lines = f"{json.dumps(observation())}\n\n{json.dumps(observation(id='o2'))}\n"
    assert len(read(written(tmp_path, "lines.json", lines.encode())).records) == 2


@pytest.mark.parametrize("first", ["{", "[", "}", "0", '"'])
def test_a_stray_first_line_does_not_hide_the_second(tmp_path, first):
    found = read_lines(tmp_path, first, observation())
    assert (len(found.records), len(found.quarantine)) == (1, 1)


def test_the_elements_of_a_bundle_may_stand_in_any_order(tmp_path):
    text = json.dumps({"entry": [{"resource": observation()}], "type": "batch", "resourceType": "Bundle"})
    assert len(read(written(tmp_path, "b.json", text.encode())).records) == 1


def test_a_list_resource_is_not_taken_for_a_bundle(tmp_path):
    whole = {"resourceType": "List", "entry": [{"item": {"reference": "Patient/1"}}]}
    found = read(written(tmp_path, "l.json", json.dumps(whole).encode()))
    assert (found.items("List"), found.quarantine) == ((0, 1, 0), [])


def test_a_folder_is_read_whole_and_other_files_are_counted(tmp_path):
    write_lines(tmp_path, [observation()], "Observation.000.ndjson")
    write_lines(tmp_path, [observation(id="o2")], "Observation.001.NDJSON")
    (tmp_path / "source" / "deep").mkdir()
    (tmp_path / "source" / "deep" / "b.json").write_text(bundle_text(observation(id="o3")), encoding="utf-8")
    (tmp_path / "source" / "Patient.ndjson.gz").write_bytes(gzip.compress(json.dumps(patient()).encode()))
    for name in ("notes.txt", "old.xml", ".hidden.ndjson"):
        (tmp_path / "source" / name).write_text("x", encoding="utf-8")
    found = read(tmp_path / "source")
    assert len(found.records) == 4
    assert found.items("file") == (0, 1, 1)
    assert found.codes == ["NOT_SUPPORTED"]


def test_a_damaged_gzip_file_gives_what_stands_before_the_damage(tmp_path):
    lines = "".join(json.dumps(observation(id=f"o{n}-{hash(str(n))}")) + "\n" for n in range(2000))
    whole = gzip.compress(lines.encode())
    found = read(written(tmp_path, "Observation.ndjson.gz", whole[: len(whole) // 2]))
    assert 0 < len(found.records) < 2000
    assert found.codes == ["BAD_RECORD"]


@pytest.mark.parametrize(
    "content", [b"", b"   \n", b"not json", b"\x00\x01\x02", b"{", b"[", b'{"resourceType": 7}']
)
def test_a_file_that_is_no_fhir_is_refused(tmp_path, content):
    with pytest.raises(CrsRiskError, match="holds no FHIR resource that can be read; accepted"):
        read(written(tmp_path, "b.json", content))


def test_a_source_that_is_not_there_or_holds_no_json_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match="no such file or folder; accepted"):
        read(tmp_path / "nowhere")
    (tmp_path / "source").mkdir()
    with pytest.raises(CrsRiskError, match="holds no FHIR; accepted: files named"):
        read(tmp_path / "source")


def test_an_empty_file_among_others_is_no_fault(tmp_path):
    write_lines(tmp_path, [], "Condition.ndjson")
    write_lines(tmp_path, [observation()], "Observation.ndjson")
    found = read(tmp_path / "source")
    assert (len(found.records), found.quarantine) == (1, [])


def test_a_long_resource_is_put_together_from_many_pieces(tmp_path):
    long = observation(note=[{"text": "x" * (3 * CHUNK_BYTES)}])
    found = read(written(tmp_path, "b.json", bundle_text(observation(), long, observation(id="o3")).encode()))
    assert len(found.records) == 3


def test_a_bundle_of_100_000_entries_is_streamed(tmp_path):
    entry = json.dumps({"resource": observation(id="@")})
    head, tail = '{"resourceType": "Bundle", "type": "searchset", "entry": [', "]}"
    entries = ",".join(entry.replace("@", str(number)) for number in range(100_000))
    file = written(tmp_path, "b.json", (head + entries + tail).encode())
    size = file.stat().st_size
    del entries
    seen, most = 0, 0
    with Account(tmp_path / "quarantine.csv") as account:
        for batch in read_fhir(file, SiteMap(), account):
            seen += batch.num_rows
            if seen == 8192:  # tracing is slow: the memory of the first batches tells that of all
                tracemalloc.start()
            if seen == 2 * 8192:
                most = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
    assert seen == 100_000
    assert size > 30_000_000
    assert 0 < most < size / 3


def test_what_follows_the_end_is_told(tmp_path):
    found = read(written(tmp_path, "b.json", (bundle_text(observation()) + "}").encode()))
    assert (len(found.records), found.quarantine[0][1]) == (1, "b.json, after the end")


def test_times_of_one_folder_are_read_alike_in_every_file(tmp_path):
    write_lines(tmp_path, [observation(effectiveDateTime=TEN)], "a.ndjson")
    write_lines(tmp_path, [observation(id="o2", effectiveDateTime="2026-11-01T01:00:00.000Z")], "b.ndjson")
    first, second = read(tmp_path / "source").records
    assert first.start_us == second.start_us
