"""Keeps account of a conversion: what came, what became of it, and where the rejected part stands.

Two equations are checked on every run: items read = carried + not needed + quarantined, and records = the sum of
their fates. Reasons never repeat a value.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

QUARANTINE_COLUMNS = ("what", "position", "patient_id", "reason")
FATES = (
    "event", "dose", "course", "grade", "fact", "duplicate", "superseded", "withdrawn",
    "unknown_code", "ignored", "outside", "quarantined",
)  # fmt: skip
"""What may become of a record. `event`: a row of events; `dose`: an administration of the therapy; `course`: it
opened one; `grade`: a row of grades or outcomes; `fact`: about the patient, the stay or the disease; `duplicate`: says
the same again; `superseded`: a newer version counts; `withdrawn`: cancelled or entered in error; `unknown_code`: kept
as an event that is not used; `ignored`: the site map says so, or a condition
that selects no therapy; `outside`: of a patient or a time without a course."""


class Account:
    """Counts of one conversion, and the quarantine file."""

    def __init__(self, quarantine: Path) -> None:
        self._items: Counter[tuple[str, str]] = Counter()
        self._fates: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._adjusted: Counter[str] = Counter()
        self._notices: dict[str, set[str]] = {}
        self._records = 0
        self._sheet: TextIO = quarantine.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._sheet, lineterminator="\n")
        self._writer.writerow(QUARANTINE_COLUMNS)

    def __enter__(self) -> "Account":
        """The account, its quarantine file open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the quarantine file."""
        self._sheet.close()

    def read(self, what: str, count: int = 1) -> None:
        """Note items that came: resources, rows, segments; `what` names their kind ('Observation')."""
        self._items[what, "read"] += count

    def carry(self, what: str, count: int = 1) -> None:
        """Note items of which at least one record was made."""
        self._items[what, "carried"] += count

    def not_needed(self, what: str, count: int = 1) -> None:
        """Note items that hold nothing for a cohort, such as an Organization."""
        self._items[what, "not_needed"] += count

    def quarantine(self, what: str, position: str, reason: str, patient_id: str = "") -> None:
        """Set one item aside; the reason is 'CODE: what is accepted', without values."""
        self._items[what, "quarantined"] += 1
        self._note(what, position, patient_id, reason)

    def records(self, count: int) -> None:
        """Note records handed on by a reader."""
        self._records += count

    def fate(self, fate: str, count: int = 1) -> None:
        """Note what became of records; for `quarantined` see `quarantine_record`."""
        if fate not in FATES or fate == "quarantined":
            raise ValueError(f"fate {fate!r}; there are {FATES}")
        self._fates[fate] += count

    def quarantine_record(self, position: str, patient_id: str, reason: str) -> None:
        """Set one record aside."""
        self._fates["quarantined"] += 1
        self._note("record", position, patient_id, reason)

    def adjust(self, reason: str, count: int = 1) -> None:
        """Note records used after a stated change, such as a unit that the site map declares."""
        if count:
            self._adjusted[reason] += count

    def notice(self, sentence: str, patient_id: str) -> None:
        """Note something that the site should know of a patient; patients are counted."""
        self._notices.setdefault(sentence, set()).add(patient_id)

    def _note(self, what: str, position: str, patient_id: str, reason: str) -> None:
        self._reasons[what, reason] += 1
        self._writer.writerow((what, position, patient_id, reason))

    def verify(self) -> None:
        """Check both equations.

        Raises:
            AssertionError: something came and is not accounted for: a fault of a reader.
        """
        for what in {what for what, _ in self._items}:
            parts = {
                part: self._items[what, part] for part in ("read", "carried", "not_needed", "quarantined")
            }
            if parts["read"] != parts["carried"] + parts["not_needed"] + parts["quarantined"]:
                raise AssertionError(f"{what}: not every item is accounted for: {parts}")
        if self._records != sum(self._fates.values()):
            raise AssertionError(f"of {self._records} records {sum(self._fates.values())} are accounted for")

    def to_dict(self) -> Mapping[str, Any]:
        """Items by kind, records by fate, reasons of the quarantine, adjustments; plain values for JSON."""
        kinds = sorted({what for what, _ in self._items})
        return {
            "items": {
                what: {p: self._items[what, p] for p in ("read", "carried", "not_needed", "quarantined")}
                for what in kinds
            },
            "records": {"read": self._records, **{fate: self._fates[fate] for fate in FATES}},
            "quarantine": [
                {"what": what, "reason": reason, "count": count}
                for (what, reason), count in sorted(self._reasons.items())
            ],
            "adjusted": dict(sorted(self._adjusted.items())),
            "notices": {sentence: len(patients) for sentence, patients in sorted(self._notices.items())},
        }
