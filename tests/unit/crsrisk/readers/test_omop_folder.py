"""OMOP tables in files: names, forms and damages."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.readers.omop_folder import BAD_ENCODING, RAGGED
from crsrisk.readers.omop_source import open_source

HEADER = "person_id,Name\n"


class Rows:
    """The rows of PERSON in a folder, and what was set aside."""

    def __init__(self, folder: Path, encoding: str = "utf-8") -> None:
        self.bad: list[tuple[str, str]] = []
        self.rows: list[tuple[str, str]] = []
        with open_source(folder, encoding) as source:
            self.columns = tuple(source.tables["person"])
            for batch in source.batches("person", self.columns, lambda *bad: self.bad.append(bad)):
                self.rows += [tuple(row.values()) for row in batch.to_pylist()]


def folder_with(tmp_path: Path, name: str, content: bytes | str) -> Path:
    file = tmp_path / "omop" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path / "omop"


@pytest.mark.parametrize(
    "name", ["person.csv", "PERSON.CSV", "Person.csv", "person/part-0.csv", "person.csv/0.csv"]
)
def test_a_table_is_found_by_its_name_in_any_case_and_as_parts(tmp_path, name):
    found = Rows(folder_with(tmp_path, name, HEADER + "1,a\n"))
    assert (found.columns, found.rows) == (("person_id", "name"), [("1", "a")])


def test_parts_follow_each_other_whatever_the_order_of_their_columns(tmp_path):
    folder_with(tmp_path, "person/part-0.csv", HEADER + "1,a\n")
    found = Rows(folder_with(tmp_path, "person/part-1.csv", "Name,person_id\nb,2\n"))
    assert found.rows == [("1", "a"), ("2", "b")]


def test_a_part_without_a_column_is_refused(tmp_path):
    folder_with(tmp_path, "person/part-0.csv", HEADER + "1,a\n")
    with pytest.raises(CrsRiskError, match=r"part-1.csv: no column name"):
        Rows(folder_with(tmp_path, "person/part-1.csv", "person_id\n2\n"))


def test_gzip_is_read(tmp_path):
    assert Rows(folder_with(tmp_path, "person.csv.gz", gzip.compress(b"person_id,Name\n1,a\n"))).rows == [
        ("1", "a")
    ]


def test_parquet_keeps_numbers_as_numbers(tmp_path):
    (tmp_path / "omop").mkdir()
    pq.write_table(
        pa.table({"PERSON_ID": [9007199254740993], "Name": ["a"]}), tmp_path / "omop" / "PERSON.parquet"
    )
    assert Rows(tmp_path / "omop").rows == [(9007199254740993, "a")]


def test_one_table_in_two_files_is_a_question_for_the_site(tmp_path):
    folder_with(tmp_path, "person.csv", HEADER)
    with pytest.raises(CrsRiskError, match="person stand there in two files or folders"):
        Rows(folder_with(tmp_path, "PERSON.parquet", b""))


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_the_delimiter_is_that_of_the_header(tmp_path, delimiter):
    text = "person_id,Name\n1,a\n".replace(",", delimiter)
    assert Rows(folder_with(tmp_path, "person.csv", text)).rows == [("1", "a")]


def test_quoted_cells_may_hold_commas_quotes_and_line_ends(tmp_path):
    text = HEADER + '1,"a, ""b"""\n2,"c\nd"\n'
    assert Rows(folder_with(tmp_path, "person.csv", text)).rows == [("1", 'a, "b"'), ("2", "c\nd")]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert Rows(folder_with(tmp_path, "person.csv", b"\xef\xbb\xbf" + (HEADER + "1,a\n").encode())).rows == [
        ("1", "a")
    ]


def test_rows_of_another_length_are_set_aside(tmp_path):
    found = Rows(folder_with(tmp_path, "person.csv", HEADER + "1,a\n2\n3,b,c\n4,d\n"))
    assert found.rows == [("1", "a"), ("4", "d")]
    assert found.bad == [("person.csv line 3", RAGGED), ("person.csv line 4", RAGGED)]


def test_bytes_that_are_no_utf8_cost_one_row(tmp_path):
    content = HEADER.encode() + b"1,a\n2,\x83e\n3,\xe4\xbd\x93\n"
    found = Rows(folder_with(tmp_path, "person.csv", content))
    assert found.rows == [("1", "a"), ("3", "体")]
    assert found.bad == [("person.csv row 2", BAD_ENCODING)]


def test_shift_jis_is_read_when_the_site_map_names_it(tmp_path):
    folder = folder_with(tmp_path, "person.csv", (HEADER + "1,体温\n").encode("cp932"))
    assert Rows(folder, "cp932").rows == [("1", "体温")]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ((HEADER + "1,a\n").encode("utf-16"), "utf-8", 'not in utf-8; .* encoding = "cp932"'),
        ((HEADER + "1,体温\n").encode(), "ascii", "not in ascii after row 0"),
        ((HEADER + "1,a\n").encode(), "klingon", "not in klingon"),
        (b"", "utf-8", "no header"),
        ((HEADER + '1,"a\n2,b\n3,c\n').encode(), "utf-8", "a quote is not closed"),
        (
            (HEADER + "1,a\n").encode() * 2 + b'2,"' + b"3,b\n" * 1_200_000,
            "utf-8",
            "a quote is not closed|quotes closed",
        ),
        (b"person_id,person_ID\n", "utf-8", "person_id stands there twice"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, encoding, message):
    with pytest.raises(CrsRiskError, match=f"person.csv.*{message}"):
        Rows(folder_with(tmp_path, "person.csv", content), encoding)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("person.csv.gz", gzip.compress(b"person_id,Name\n" + b"1,a\n" * 100_000)[:-20]),
        ("person.csv.gz", b"no gzip"),
        ("person.parquet", b"no parquet"),
        ("person.parquet", b""),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    with pytest.raises(CrsRiskError, match=name):
        Rows(folder_with(tmp_path, name, content))


def test_parquet_damaged_in_the_middle_is_refused(tmp_path):
    (tmp_path / "omop").mkdir()
    file = tmp_path / "omop" / "person.parquet"
    pq.write_table(
        pa.table({"person_id": list(range(5_000)), "name": ["x" * 9] * 5_000}), file, compression="zstd"
    )
    content = bytearray(file.read_bytes())
    content[20:400] = bytes(380)
    file.write_bytes(content)
    with pytest.raises(CrsRiskError, match=r"person.parquet: damaged"):
        Rows(tmp_path / "omop")


def test_a_header_alone_is_an_empty_table(tmp_path):
    assert Rows(folder_with(tmp_path, "person.csv", HEADER)).rows == []


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CrsRiskError, match=r"accepted: files such as person.csv"):
        Rows(tmp_path)


def test_files_that_are_no_tables_of_ours_are_not_opened(tmp_path):
    folder_with(tmp_path, "quarantine.csv", "")
    folder_with(tmp_path, "note.parquet", "damaged")
    assert Rows(folder_with(tmp_path, "person.csv", HEADER + "1,a\n")).rows == [("1", "a")]
