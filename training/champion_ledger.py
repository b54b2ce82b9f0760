"""The ledger of champions: who decided what, when, why and on which evidence; each entry seals the one before it.

An entry holds the hash of its predecessor and its own hash over everything else in it. So an entry that is
altered, removed or slipped in later breaks the chain, and replaying the entries gives the champions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Action = Literal["adopt", "promote", "rollback", "refuse"]
ACTIONS: tuple[Action, ...] = get_args(Action)
CHANGING: tuple[Action, ...] = ("adopt", "promote", "rollback")  # after these another version answers
START = "0" * 64  # what the first entry names as its predecessor's hash


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decision. time: ISO 8601 in UTC with microseconds. evidence: JSON, sorted keys.

    version, digest, feature_digest: of the model that was decided about; previous: version of the champion
    before, empty when there was none.
    """

    sequence: int
    time: str
    who: str
    action: str
    name: str
    version: str
    digest: str
    feature_digest: str
    previous: str
    reason: str
    evidence: str
    prev_hash: str
    hash: str = ""

    def sealed(self) -> Entry:
        """The same entry with its hash."""
        return Entry(**{**asdict(self), "hash": self.computed_hash()})

    def computed_hash(self) -> str:
        """SHA-256 over every field but the hash itself."""
        content = {key: value for key, value in asdict(self).items() if key != "hash"}
        return hashlib.sha256(canonical(content).encode("utf-8")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The entry with its evidence as plain JSON types."""
        return asdict(self) | {"evidence": json.loads(self.evidence)}


@dataclass(frozen=True)
class Champion:
    """The version of a name that answers. revision: how many decisions have changed it so far.

    sequence: entry of the ledger that made it champion.
    """

    name: str
    version: str
    digest: str
    revision: int
    sequence: int


def canonical(content: Mapping[str, Any]) -> str:
    """One text for equal content.

    >>> canonical({"b": 1, "a": None})
    '{"a":null,"b":1}'
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def stamp(moment: datetime) -> str:
    """An aware time as the ledger writes it: such texts sort by time.

    >>> stamp(datetime(2026, 3, 1, 9, 0, tzinfo=UTC))
    '2026-03-01T09:00:00.000000+00:00'
    """
    if moment.tzinfo is None:
        raise ValueError("a time without zone; give for example +09:00")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def replay(entries: Iterable[Entry]) -> dict[str, Champion]:
    """The champion of each name after these entries, which are in order."""
    champions: dict[str, Champion] = {}
    for entry in entries:
        if entry.action in CHANGING:
            before = champions.get(entry.name)
            revision = 1 if before is None else before.revision + 1
            champions[entry.name] = Champion(
                entry.name, entry.version, entry.digest, revision, entry.sequence
            )
    return champions


def stack(entries: Iterable[Entry], name: str) -> list[Entry]:
    """The entries that made today's champion and, below it, those a rollback can return to; the last answers.

    A rollback takes away what it left behind: rolling back twice goes two versions back, not to and fro.
    """
    kept: list[Entry] = []
    for entry in entries:
        if entry.name != name or entry.action not in CHANGING:
            continue
        if entry.action == "rollback":
            while kept and kept[-1].version != entry.version:
                kept.pop()
        else:
            kept.append(entry)
    return kept


def broken(entries: Iterable[Entry], champions: Mapping[str, Champion]) -> list[str]:
    """What is wrong with a ledger and the champions beside it, in sentences; empty when all agree."""
    problems = []
    every = list(entries)
    hash_before, time_before = START, ""
    for position, entry in enumerate(every, start=1):
        where = f"ledger entry {entry.sequence}"
        if entry.sequence != position:
            problems.append(f"{where} stands at position {position}: entries were removed or added")
        if entry.prev_hash != hash_before:
            problems.append(f"{where} does not follow from the entry before it")
        if entry.hash != entry.computed_hash():
            problems.append(f"{where} was altered")
        if entry.time < time_before:
            problems.append(f"{where} is older than the entry before it")
        if entry.action not in ACTIONS:
            problems.append(f"{where} has the unknown action {entry.action!r}")
        hash_before, time_before = entry.hash, entry.time
    expected = replay(every)
    for name in sorted({*expected, *champions}):
        if expected.get(name) != champions.get(name):
            problems.append(f"the champion of {name} is not the one that the ledger gives")
    return problems
