"""The therapies that crsrisk knows, read from `data/therapies.csv`, `doses.csv` and `groups.csv`.

A fact that was not read at its source is an empty cell there and None here. A therapy outside the catalogue
is registered in the cohort's `therapies.toml`; its family follows by rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from crsrisk.data_files import listed, number, rows
from crsrisk.errors import UnknownTherapyError

FAMILIES = ("cd19_cart", "bcma_cart", "heme_engager", "solid_tumor")
CLASSES = ("cart", "engager", "engineered_t")
SETTINGS = ("heme", "solid")
CELL_WINDOW_HOURS = 336.0  # CRS counts for 14 days after an infusion of cells
ENGAGER_WINDOW_HOURS = 168.0  # and for 7 days after each dose of an engager

REQUIRED = ("name", "class", "targets", "setting", "source")
OPTIONAL = ("name_ja", "indication", "costimulation", "expected_onset_hours", "group", "doses")
_DOSE_FIELDS = ("hours", "amount", "unit")
_B_CELL = frozenset({"CD19", "CD20", "CD22"})
_PLASMA_CELL = frozenset({"BCMA", "GPRC5D"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDose:
    """One dose of an engager's published schedule: hours after the first dose, amount and its unit."""

    hours: float
    amount: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of therapies that share a base rate; `targets` is empty when any target belongs."""

    key: str
    family: str
    classes: tuple[str, ...]
    setting: str
    targets: tuple[str, ...]
    name_en: str
    name_ja: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Therapy:
    """A product in an indication, and what the risk model may know about it.

    `family` names the trees that answer for it, None when no rule fits; `group` the base rate.
    `expected_onset_hours` is the published median time from infusion, or from the latest dose of an engager,
    to the onset of CRS.
    """

    key: str
    name: str
    class_: str
    targets: tuple[str, ...]
    setting: str
    source: str
    name_ja: str = ""
    brand: tuple[str, ...] = ()
    group: str | None = None
    family: str | None = None
    costimulation: str | None = None
    indication: str | None = None
    route: str | None = None
    schedule_type: str | None = None
    expected_onset_hours: float | None = None
    doses: tuple[StepDose, ...] = field(default=())
    in_catalogue: bool = False

    @property
    def product(self) -> str:
        """The product without the indication: `tisa-cel` of `tisa-cel_ALL`."""
        return self.key.split("_", 1)[0] if self.in_catalogue else self.key


def is_engager(therapy: Therapy) -> bool:
    """Whether each dose, not one infusion, is an index event."""
    return therapy.class_ == "engager"


def window_hours(therapy: Therapy) -> float:
    """Hours after the infusion (cells) or the dose (engager) in which CRS counts."""
    return ENGAGER_WINDOW_HOURS if is_engager(therapy) else CELL_WINDOW_HOURS


def family_by_rule(class_: str, setting: str, targets: Sequence[str]) -> str | None:
    """The family of a therapy, or None when no rule or more than one fits.

    Solid tumour: `solid_tumor`; blood cancer and engager: `heme_engager`; cells against CD19, CD20 or CD22:
    `cd19_cart`; against BCMA or GPRC5D: `bcma_cart`.
    """
    if setting == "solid":
        return "solid_tumor"
    if class_ == "engager":
        return "heme_engager"
    against = {target.upper() for target in targets}
    b_cell, plasma_cell = bool(against & _B_CELL), bool(against & _PLASMA_CELL)
    if b_cell == plasma_cell:
        return None
    return "cd19_cart" if b_cell else "bcma_cart"


def group_by_rule(class_: str, setting: str, targets: Sequence[str]) -> str | None:
    """The only group that class, setting and targets allow, or None when several do or none does."""
    against = {target.upper() for target in targets}
    fitting = [
        group.key
        for group in groups().values()
        if class_ in group.classes
        and setting == group.setting
        and (not group.targets or against & {target.upper() for target in group.targets})
    ]
    return fitting[0] if len(fitting) == 1 else None


@cache
def groups() -> Mapping[str, Group]:
    """All groups by key."""
    found = {
        row["group"]: Group(
            key=row["group"],
            family=row["family"],
            classes=listed(row["class"]),
            setting=row["setting"],
            targets=listed(row["targets"]),
            name_en=row["name_en"],
            name_ja=row["name_ja"],
            source=row["source"],
        )
        for row in rows("groups.csv")
    }
    return MappingProxyType(found)


@cache
def _doses() -> Mapping[str, tuple[StepDose, ...]]:
    found: dict[str, list[StepDose]] = {}
    for row in rows("doses.csv"):
        dose = StepDose(hours=float(row["hours"]), amount=float(row["amount"]), unit=row["unit"])
        found.setdefault(row["therapy"], []).append(dose)
    return MappingProxyType({key: tuple(doses) for key, doses in found.items()})


@cache
def therapies() -> Mapping[str, Therapy]:
    """The catalogue: all therapies by key, in the order of the file."""
    found = {
        row["key"]: Therapy(
            key=row["key"],
            name=row["name"],
            name_ja=row["name_ja"],
            brand=listed(row["brand"]),
            class_=row["class"],
            group=row["group"],
            family=row["family"],
            targets=listed(row["targets"]),
            costimulation=row["costimulation"] or None,
            setting=row["setting"],
            indication=row["indication"] or None,
            route=row["route"] or None,
            schedule_type=row["schedule_type"] or None,
            expected_onset_hours=number(row["expected_onset_hours"]),
            doses=_doses().get(row["key"], ()),
            source=row["source"],
            in_catalogue=True,
        )
        for row in rows("therapies.csv")
    }
    return MappingProxyType(found)


def therapy(key: str, extra: Mapping[str, Therapy] | None = None) -> Therapy:
    """The therapy called `key`, of `extra` (a cohort's therapies.toml) first, then of the catalogue.

    Raises:
        UnknownTherapyError: neither lists it; the message says what to register.
    """
    found = (extra or {}).get(key) or therapies().get(key)
    if found is None:
        raise UnknownTherapyError(
            f"therapy {key[:40]!r} is neither in the catalogue ({len(therapies())} keys such as "
            f"'axi-cel_LBCL3L') nor in therapies.toml; register it in therapies.toml under its key with "
            f"{_needed_text()}"
        )
    return found


def _needed_text() -> str:
    return (
        f"name, class ({'|'.join(CLASSES)}), targets (a list such as ['CD19']), "
        f"setting ({'|'.join(SETTINGS)}) and source; optional: {', '.join(OPTIONAL)}"
    )


def therapy_from_table(key: str, table: Mapping[str, Any]) -> Therapy:
    """A therapy of a cohort's `therapies.toml`, checked; family and, where possible, group follow by rule.

    Args:
        key: the key under which courses name it; not one of the catalogue.
        table: the fields; `name`, `class`, `targets`, `setting` and `source` are required.

    Raises:
        UnknownTherapyError: all that is wrong with the entry, in one message.
    """
    problems = [*_field_problems(key, table), *_value_problems(table)]
    if problems:
        raise UnknownTherapyError(f"therapies.toml [{key}]: {'; '.join(problems)}; give {_needed_text()}")
    targets = tuple(table["targets"])
    class_, setting = table["class"], table["setting"]
    onset = table.get("expected_onset_hours")
    return Therapy(
        key=key,
        name=table["name"],
        name_ja=table.get("name_ja", ""),
        class_=class_,
        group=table.get("group") or group_by_rule(class_, setting, targets),
        family=family_by_rule(class_, setting, targets),
        targets=targets,
        costimulation=table.get("costimulation") or None,
        setting=setting,
        indication=table.get("indication") or None,
        expected_onset_hours=None if onset is None else float(onset),
        doses=tuple(
            StepDose(hours=float(dose["hours"]), amount=float(dose["amount"]), unit=dose["unit"])
            for dose in table.get("doses", ())
        ),
        source=table["source"],
        in_catalogue=False,
    )


def _field_problems(key: str, table: Mapping[str, Any]) -> list[str]:
    problems = [f"{name} is missing" for name in REQUIRED if name not in table]
    unknown = [name for name in table if name not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        problems.append(
            f"unknown field {', '.join(map(repr, unknown))}; accepted: {', '.join((*REQUIRED, *OPTIONAL))}"
        )
    if key in therapies():
        problems.append("the catalogue already lists this key; choose another")
    return problems


def _value_problems(table: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    for name in ("name", "source", "name_ja", "indication", "costimulation", "group"):
        if name in table and (
            not isinstance(table[name], str) or (name in REQUIRED and not table[name].strip())
        ):
            problems.append(f"{name} must be text")
    for name, accepted in (("class", CLASSES), ("setting", SETTINGS), ("group", tuple(groups()))):
        if name in table and table[name] not in accepted:
            problems.append(f"{name} {table[name]!r} is not one of {', '.join(accepted)}")
    targets = table.get("targets", ["CD19"])
    if (
        not isinstance(targets, list | tuple)
        or not targets
        or not all(_is_word(target) for target in targets)
    ):
        problems.append("targets must be a list of names such as ['CD19']")
    if "expected_onset_hours" in table and not _is_time(table["expected_onset_hours"]):
        problems.append("expected_onset_hours must be a number of hours, 0 or more")
    return problems + _dose_problems(table)


def _dose_problems(table: Mapping[str, Any]) -> list[str]:
    doses = table.get("doses", [])
    accepted = f"doses must be a list of tables with {', '.join(_DOSE_FIELDS)}"
    if not isinstance(doses, list | tuple):
        return [accepted]
    for dose in doses:
        complete = isinstance(dose, Mapping) and set(dose) == set(_DOSE_FIELDS)
        if not complete or not (
            _is_time(dose["hours"]) and _is_time(dose["amount"]) and _is_word(dose["unit"])
        ):
            return [f"{accepted}; hours (from the first dose) and amount are numbers, 0 or more"]
    hours = [float(dose["hours"]) for dose in doses]
    if hours != sorted(set(hours)):
        return ["the hours of doses must increase"]
    return []


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
