"""Which version of a statement counts."""

from __future__ import annotations

import pandas as pd
import pytest

from crsrisk.readers.account import Account
from crsrisk.readers.corrections import settle
from crsrisk.readers.record import Record
from crsrisk.times import NOT_A_TIME

HOUR = 3_600_000_000


def crp(value: str, identity: str = "Observation/1", **rest) -> Record:
    codes, start = "urn:crsrisk|crp", rest.pop("start_us", HOUR)
    return Record(
        "line 1", "result", "p1", codes, start, start, value=value, unit="mg/L", identity=identity, **rest
    )


def settled(tmp_path, *records: Record) -> tuple[list[str], dict[str, int]]:
    with Account(tmp_path / "quarantine.csv") as account:
        account.records(len(records))
        kept = settle(pd.DataFrame(list(records), columns=list(Record._fields)), account)
        found = account.to_dict()["records"]
        counts = {
            fate: found[fate]
            for fate in ("duplicate", "superseded", "withdrawn", "quarantined")
            if found[fate]
        }
        assert len(kept) + sum(counts.values()) == len(records)
    return kept["value"].tolist(), counts


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newer_version_counts_in_either_order(tmp_path, order):
    versions = [crp("8", revised_us=2 * HOUR), crp("80", revised_us=3 * HOUR)]
    assert settled(tmp_path, *[versions[i] for i in order]) == (["80"], {"superseded": 1})


def test_a_number_decides_where_the_time_does_not(tmp_path):
    versions = [crp("80", revision=2, known_us=5 * HOUR), crp("8", revision=1)]
    assert settled(tmp_path, *versions) == (["80"], {"superseded": 1})


def test_a_correction_that_does_not_say_when_it_was_made_is_set_aside(tmp_path):
    versions = [crp("80", revision=2), crp("8", revision=1)]
    assert settled(tmp_path, *versions) == ([], {"superseded": 1, "quarantined": 1})


def test_a_withdrawal_without_a_revision_is_the_last_word(tmp_path):
    versions = [crp("80", revised_us=3 * HOUR, revision=4), crp("", status="withdrawn")]
    assert settled(tmp_path, *versions) == ([], {"superseded": 1, "withdrawn": 1})


@pytest.mark.parametrize("status", ["final", "preliminary"])
def test_what_is_told_again_is_known_since_the_first_report(tmp_path, status):
    first = crp("8", known_us=2 * HOUR, revised_us=2 * HOUR, status=status)
    again = crp("8", known_us=80 * HOUR, revised_us=80 * HOUR)
    with Account(tmp_path / "quarantine.csv") as account:
        assert settle(pd.DataFrame([first, again]), account)["known_us"].tolist() == [2 * HOUR]
        unreported = again._replace(known_us=NOT_A_TIME)
        assert settle(pd.DataFrame([first, unreported]), account)["known_us"].tolist() == [2 * HOUR]


def test_the_same_with_another_time_of_report_is_no_conflict(tmp_path):
    assert settled(tmp_path, crp("8", known_us=2 * HOUR), crp("8", known_us=3 * HOUR)) == (
        ["8"],
        {"superseded": 1},
    )


def test_a_withdrawn_version_removes_the_earlier_ones(tmp_path):
    withdrawn = crp("", status="withdrawn", revised_us=3 * HOUR)
    assert settled(tmp_path, withdrawn, crp("8", revised_us=2 * HOUR)) == (
        [],
        {"superseded": 1, "withdrawn": 1},
    )


def test_without_revisions_the_later_status_counts(tmp_path):
    final = crp("80", known_us=5 * HOUR)
    assert settled(tmp_path, final, crp("8", status="preliminary")) == (["80"], {"superseded": 1})
    assert settled(tmp_path, crp("80"), crp("", status="withdrawn")) == (
        [],
        {"superseded": 1, "withdrawn": 1},
    )


def test_versions_that_differ_and_do_not_say_which_is_newer_are_set_aside(tmp_path):
    assert settled(tmp_path, crp("8"), crp("80")) == ([], {"quarantined": 2})


def test_the_same_delivered_again_counts_once(tmp_path):
    assert settled(tmp_path, crp("8"), crp("8"), crp("8")) == (["8"], {"duplicate": 2})
    assert settled(tmp_path, crp("8", ""), crp("8", "")) == (["8"], {"duplicate": 1})


def test_records_without_identity_that_differ_both_count(tmp_path):
    assert settled(tmp_path, crp("8", ""), crp("9", ""))[1] == {}


def test_a_value_that_was_changed_is_known_from_its_revision_on(tmp_path):
    records = [
        crp("8", known_us=2 * HOUR, revised_us=2 * HOUR),
        crp("80", known_us=2 * HOUR, revised_us=9 * HOUR),
    ]
    with Account(tmp_path / "quarantine.csv") as account:
        changed = settle(pd.DataFrame(records, columns=list(Record._fields)), account)
        again = settle(pd.DataFrame([records[1]._replace(value="8"), records[0]]), account)
    assert changed["known_us"].tolist() == [9 * HOUR]
    assert again["known_us"].tolist() == [2 * HOUR]


def test_the_same_identity_of_two_patients_is_two_statements(tmp_path):
    other = crp("9")._replace(patient_id="p2")
    assert settled(tmp_path, crp("8"), other)[1] == {}


def test_no_time_of_revision_is_the_oldest(tmp_path):
    assert settled(tmp_path, crp("80", revised_us=0), crp("8", revised_us=NOT_A_TIME))[0] == ["80"]


def test_a_record_that_is_withdrawn_takes_its_parts_with_it(tmp_path):
    parts = [crp("120", "Observation/1#a"), crp("80", "Observation/1#b")]
    whole = crp("", "Observation/1", status="withdrawn", revised_us=3 * HOUR)
    assert settled(tmp_path, *parts, whole) == ([], {"withdrawn": 3})


def test_a_part_that_the_newer_version_left_out_is_superseded(tmp_path):
    first = [crp("120", "Observation/1#a", revised_us=HOUR), crp("80", "Observation/1#b", revised_us=HOUR)]
    again = crp("121", "Observation/1#a", revised_us=2 * HOUR)
    assert settled(tmp_path, *first, again) == (["121"], {"superseded": 2})


def test_parts_of_one_version_all_count(tmp_path):
    parts = [crp("120", "Observation/1#a", revised_us=HOUR), crp("80", "Observation/1#b", revised_us=HOUR)]
    assert sorted(settled(tmp_path, *parts)[0]) == ["120", "80"]
