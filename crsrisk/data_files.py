"""Reading the small tables and texts in `crsrisk/data`; without pandas, so that every start stays quick."""

import csv
import tomllib
from importlib.resources import files
from typing import Any


def rows(name: str) -> list[dict[str, str]]:
    """The rows of the CSV table `name` in `crsrisk/data`; every cell is text, an absent one is empty.

    Raises:
        ValueError: a row is longer or shorter than the header.
    """
    text = (files("crsrisk.data") / name).read_text(encoding="utf-8")
    header, *body = csv.reader(text.splitlines())
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"{name} line {number}: {len(row)} cells, the header has {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in body]


def table(name: str) -> dict[str, Any] | None:
    """The TOML file `name` in `crsrisk/data` as a dict, or None when there is none."""
    file = files("crsrisk.data") / name
    if not file.is_file():
        return None
    return tomllib.loads(file.read_text(encoding="utf-8"))


def number(cell: str) -> float | None:
    """A cell as a float; empty means unknown and gives None. A quotient such as `5/9` is worked out."""
    if not cell:
        return None
    if "/" in cell:
        upper, lower = cell.split("/")
        return float(upper) / float(lower)
    return float(cell)


def listed(cell: str) -> tuple[str, ...]:
    """The parts of a cell that holds several values separated by semicolons."""
    return tuple(part.strip() for part in cell.split(";") if part.strip())
