"""What a header of a spreadsheet may mean: words of the catalogue and of `data/header_words.csv`, units in the header.

A guess for a person to confirm; a unit is one only where it stands in the header and suits the variable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from crsrisk.analytes import analytes
from crsrisk.data_files import rows
from crsrisk.readers.spreadsheet_map import plain, word
from crsrisk.units import factor, needs_unit

ROLE, VARIABLE, PARTS = "role", "variable", "parts"
HIGH, MEDIUM, LOW = "high", "medium", "low"

_BRACKETS = re.compile(r"[(（\[［【〔].*")
_CLOSING = ")）]］】〕"
_JOINTS = re.compile(r"[\s_,:;、：　/]+|\.(?=\D)")
_TYPING = re.compile(r"[\s_\-.・,:]+")


@dataclass(frozen=True)
class Guess:
    """What one header may hold.

    kind: `role`, `variable`, `parts`, or '' for not recognised.
    targets: roles or variables that it may mean; the first is the proposal, several variables are not decided.
    unit: unit text of the header that suits the variable.
    unit_text: unit text of the header, suitable or not.
    confidence, why: of the proposal.
    """

    header: str
    kind: str = ""
    targets: tuple[str, ...] = ()
    unit: str = ""
    unit_text: str = ""
    confidence: str = ""
    why: str = ""

    @property
    def variable(self) -> str:
        """The variable that is proposed, '' for none or several."""
        return self.targets[0] if self.kind == VARIABLE and len(self.targets) == 1 else ""


def guess(header: str, unit_below: str = "") -> Guess:
    """What a header may mean.

    Args:
        header: as it stands in the file.
        unit_below: unit text of a row of units.

    >>> found = guess("血小板数(万/µL)")
    >>> found.variable, found.unit, found.confidence
    ('platelets', '万/µL', 'high')
    """
    for name, unit in _split(header):
        unit_text = unit or unit_below
        found = _meant(header, name, unit_text)
        if found is not None:
            return found
    return Guess(header)


def part_of(header: str) -> str:
    """A variable whose word is one part of a header that is not recognised as a whole ('CRP day 1'); '' for none."""
    for part in re.split(r"[\s_,:;、：　/()（）\[\]\-]+", header):
        targets = _words().get(typing_free(part), {}).get(VARIABLE, ())
        if len(part) > 1 and len(targets) == 1:
            return targets[0]
    return ""


def typing_free(text: str) -> str:
    """A word without differences of typing: `T-Bil`, `t_bil` and `Ｔ．Ｂｉｌ` are one."""
    return _TYPING.sub("", word(text))


def _split(header: str) -> Iterator[tuple[str, str]]:
    """Ways to part a header into name and unit: whole, bracket at the end, at each joint."""
    text = header.strip()
    yield text, ""
    match = _BRACKETS.search(text)
    if match is not None and text[-1] in _CLOSING:
        yield text[: match.start()].strip(" _"), match.group()[1:-1].strip()
    for joint in _JOINTS.finditer(text):
        if text[joint.end() :]:
            yield text[: joint.start()], text[joint.end() :]


def _meant(header: str, name: str, unit_text: str) -> Guess | None:
    found = _words().get(typing_free(name), {})
    variables = found.get(VARIABLE, ())
    fitting = tuple(one for one in variables if unit_text and factor(one, unit_text) is not None)
    if fitting:
        return _variable(header, name, fitting, unit_text, unit_text)
    roles = found.get(ROLE, ())
    if roles and not (unit_text and variables):
        unsure = len(roles) > 1
        return Guess(header, ROLE, roles, unit_text=unit_text, confidence=LOW if unsure else MEDIUM,
                     why=f"word {plain(name)!r}")  # fmt: skip
    if variables:
        if unit_text and name != header.strip() and not _is_bracketed(header):
            return None  # 'CRP ratio': the rest is no unit
        return _variable(header, name, variables, "", unit_text)
    parts = found.get(PARTS, ())
    if parts:
        unit = unit_text if unit_text and all(factor(one, unit_text) for one in parts) else ""
        return Guess(header, PARTS, parts, unit, unit_text, MEDIUM, f"word {plain(name)!r}")
    return None


def _is_short(part: str) -> bool:
    """Whether what stands in the brackets of a name is an abbreviation of it, such as CRP."""
    return re.fullmatch(r"[A-Za-z0-9]{2,6}", part) is not None and part.lower() not in ("mass", "units")


def _is_bracketed(header: str) -> bool:
    return bool(_BRACKETS.search(header))


def _variable(header: str, name: str, variables: tuple[str, ...], unit: str, unit_text: str) -> Guess:
    short = name.isascii() and len(typing_free(name)) < 3
    clear = len(variables) == 1 and not short and (bool(unit) or not needs_unit(variables[0]))
    confidence = HIGH if clear else MEDIUM if len(variables) == 1 else LOW
    why = f"name {plain(name)!r}" + (f", unit {unit!r} in the header" if unit else "")
    return Guess(header, VARIABLE, variables, unit, unit_text, confidence, why)


@cache
def _words() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Word -> kind -> targets. Names and keys of the catalogue, then the list."""
    found: dict[str, dict[str, list[str]]] = {}
    for key, one in analytes().items():
        names = {key, one.name_en, one.name_ja}
        for name in (one.name_en, one.name_ja):
            before, *inside = re.split(r"[()（）]", name)
            names.update(
                part for part in (before.strip(), *inside) if part == before.strip() or _is_short(part)
            )
        for name in names:
            found.setdefault(typing_free(name), {}).setdefault(VARIABLE, []).append(key)
    for row in rows("header_words.csv"):
        targets = found.setdefault(typing_free(row["word"]), {}).setdefault(row["kind"], [])
        targets.extend(one for one in row["target"].split(";") if one not in targets)
    return {
        name: {kind: tuple(dict.fromkeys(targets)) for kind, targets in kinds.items()}
        for name, kinds in found.items()
    }
