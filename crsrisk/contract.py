"""The number of the cohort folder's contract: newer folders are refused, older ones upgraded."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crsrisk.problems import Problems, named
from crsrisk.tables import RawTable, find_table, read_table

CONTRACT = 1
"""The contract that this version writes and reads."""

TABLES = ("courses", "events", "grades", "outcomes")

Tables = Mapping[str, RawTable]


def _number_the_folder(tables: Tables) -> Tables:
    """0 -> 1: drafts had the same tables, the number alone is new."""
    return tables


UPGRADES: Mapping[int, Callable[[Tables], Tables]] = {0: _number_the_folder}
"""Step from each older contract to the next one; it may be given only some tables, and of each some rows."""


@dataclass(frozen=True)
class Folder:
    """What lies in a cohort folder, its tables not yet read."""

    path: Path
    contract: int  # as the folder states it
    files: Mapping[str, Path]  # by name of the table
    therapies: Mapping[str, Any]  # therapies.toml as read
    simulated: bool = False  # no patient in it exists


def find_folder(path: Path, problems: Problems) -> Folder | None:
    """What lies in a cohort folder, None when there is no folder to read or its contract is unknown."""
    if not path.is_dir():
        problems.add(
            f"{named(path.name)}: no such folder; accepted: a cohort folder with courses.csv or "
            f"courses.parquet; `crsrisk template` writes an empty one"
        )
        return None
    stated = _read_contract(path / "cohort.toml", problems)
    if stated is None:
        return None
    contract, simulated = stated
    found = {name: find_table(path, name, problems) for name in TABLES}
    files = {name: file for name, file in found.items() if file is not None}
    therapies = _read_toml(path / "therapies.toml", problems) or {}
    return Folder(path, contract, files, therapies, simulated)


def read_tables(folder: Folder, problems: Problems) -> Tables:
    """The raw tables of a folder, brought to the present contract, without those that can't be read."""
    read = {name: read_table(file, name, problems) for name, file in folder.files.items()}
    if None in read.values() and not problems.sentences:
        raise AssertionError("a table that can't be read is a problem")
    return upgrade({name: table for name, table in read.items() if table is not None}, folder.contract)


def upgrade(
    tables: Tables,
    contract: int,
    steps: Mapping[int, Callable[[Tables], Tables]] = UPGRADES,
    present: int = CONTRACT,
) -> Tables:
    """Tables of an older contract brought to the present one, step by step."""
    for number in range(contract, present):
        tables = steps[number](tables)
    return tables


def _read_contract(file: Path, problems: Problems) -> tuple[int, bool] | None:
    """Contract number and whether the cohort is simulated, None after noting what is wrong."""
    content = _read_toml(file, problems)
    if content is None:
        return None
    for key in content:
        if key not in ("contract", "simulated"):
            problems.add(
                f"cohort.toml: {named(key)} is not known; accepted: contract, simulated; remove the line"
            )
    simulated = content.get("simulated", False)
    if not isinstance(simulated, bool):
        problems.add("cohort.toml: simulated is no truth value; accepted: true or false")
        return None
    contract = content.get("contract", CONTRACT)
    if isinstance(contract, bool) or not isinstance(contract, int) or contract < 0:
        problems.add(
            f"cohort.toml: contract is no whole number; accepted: 0 to {CONTRACT}, as in contract = 1"
        )
        return None
    if contract > CONTRACT:
        problems.add(
            f"cohort.toml: contract {contract} is newer than this version of crsrisk reads; accepted: up to "
            f"{CONTRACT}; upgrade crsrisk, or write the folder again with contract = {CONTRACT}"
        )
        return None
    return contract, simulated


def _read_toml(file: Path, problems: Problems) -> dict[str, Any] | None:
    """The content of a TOML file, {} when it is not there, None after noting that it can't be read."""
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except UnicodeDecodeError:
        problems.add(f"{file.name}: not in UTF-8; accepted: TOML in UTF-8; save it again so")
    except tomllib.TOMLDecodeError as error:
        problems.add(f"{file.name}: {error}; accepted: TOML, one [key] table per entry")
    return None
