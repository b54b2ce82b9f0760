"""A cohort folder read part by part tells the same as the folder read at once."""

from __future__ import annotations

import json

import numpy as np

from crsrisk.ledger import Account, Ledger
from crsrisk.problems import Problems

NONE = np.zeros(0, dtype=np.int64)


def test_problems_of_parts_are_the_sentences_of_the_whole_in_its_order():
    whole, first, second = Problems(), Problems(), Problems()
    whole.add_rows("events.csv", [7, 3, 9], "hours", "no number", "a number")
    whole.add_rows("events.csv", [4], "time", "no time", "a time")
    whole.add("courses: wrong")
    first.add_rows("events.csv", NONE, "hours", "no number", "a number")
    first.add_rows("events.csv", [4], "time", "no time", "a time")
    first.add("courses: wrong")
    second.add_rows("events.csv", [7, 3, 9], "hours", "no number", "a number")
    second.add_rows("events.csv", NONE, "time", "no time", "a time")
    second.add("courses: wrong")
    merged = Problems()
    for part in (second, first):
        merged.merge(part.noted())
    other_way = Problems()
    for part in (first, second):
        other_way.merge(part.noted())
    assert merged.sentences == other_way.sentences == whole.sentences
    assert whole.sentences[0].startswith(
        "events.csv, row 3, column hours: no number (and 2 more rows like it)"
    )


def ledger_of(rows: list[int], reason: str) -> Ledger:
    ledger = Ledger()
    ledger.reject("events", np.array(rows), ["unit"] * len(rows), ["crp"] * len(rows), [reason] * len(rows))
    ledger.unused("events", "variable", "shoe_size", 2)
    ledger.adjust("events", "available_hours", "moved", 1)
    ledger.count("events", 10, rejected=len(rows), unused=2, duplicates=1)
    return ledger


def test_accounts_of_parts_add_up_and_survive_as_json():
    account = Account()
    for ledger in (ledger_of([8, 12], "MISSING_UNIT"), ledger_of([5], "MISSING_UNIT"), ledger_of([9], "BAD")):
        account.add(Account.from_dict(json.loads(json.dumps(ledger.account().to_dict()))))
    assert account.to_dict() == {
        "counts": {"events": {"rows": 30, "used": 17, "rejected": 4, "unused": 6, "duplicates": 3}},
        "rejected": [
            {
                "table": "events",
                "column": "unit",
                "variable": "crp",
                "reason": "MISSING_UNIT",
                "rows": 3,
                "row": 5,
            },
            {"table": "events", "column": "unit", "variable": "crp", "reason": "BAD", "rows": 1, "row": 9},
        ],
        "unused": [{"table": "events", "kind": "variable", "variable": "shoe_size", "rows": 6}],
        "adjusted": [{"table": "events", "column": "available_hours", "reason": "moved", "rows": 3}],
    }
