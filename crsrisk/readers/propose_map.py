"""Proposes a site map for spreadsheets from their headers, for a person to read, correct and confirm.

Every line says why it stands there and how sure it is. Units come from headers, rows of units or columns of units,
never from values; no value and no identifier of a patient is written.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from fnmatch import fnmatchcase
from pathlib import Path

from crsrisk.errors import CrsRiskError
from crsrisk.readers.spreadsheet_cells import text_of
from crsrisk.readers.spreadsheet_headers import HIGH, LOW, PARTS, ROLE, VARIABLE, Guess, guess, part_of
from crsrisk.readers.spreadsheet_sample import Sample, samples
from crsrisk.readers.spreadsheet_times import Clock, instant
from crsrisk.units import accepted_units, needs_unit
from crsrisk.writers.toml_text import quoted

FORMATS = (
    "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d %H%M", "%Y%m%d %H:%M",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d-%m-%Y %H:%M", "%m/%d/%y %H:%M", "%d/%m/%y %H:%M",
    "%Y年%m月%d日 %H:%M", "%Y年%m月%d日 %H時%M分", "%Y年%m月%d日%H時%M分",
    "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y年%m月%d日",
)  # fmt: skip
"""Formats that are tried on times that are not year first; several that fit are all shown, none is chosen."""
LONG_ROLES = ("variable", "drug")
WIDE_FACTS = ("therapy", "sex", "birth_date", "site", "indication", "observed_until")
NAMES_OF_PATIENTS = 3
"""A name in a column of variables is written out when it occurs for so many patients: then it is none of a patient."""
LISTED = 300

INTRODUCTION = (
    "# Proposed by crsrisk from headers; a guess. Read every line, correct it, then set confirmed = true under [csv].",
    "# The words high, medium and low say how sure a line is. docs/convert.md explains the keys.",
)


def propose_map(source: Path, *, encoding: str | None = None) -> str:
    """A site map, as text of TOML, with `confirmed = false` in its section [csv].

    Args:
        source: a .csv, .tsv, .txt, .xlsx or .xlsm file, or a folder of them.
        encoding: of the text files; None for whichever of UTF-8 and cp932 they are.

    Raises:
        CrsRiskError: nothing there can be read.
    """
    found = list(samples(source, encoding))
    if not found:
        raise CrsRiskError(
            f"{source.name}: no CSV file or workbook that can be read; accepted: files with a header row"
        )
    groups = _groups(found)
    encodings = Counter(one.encoding for one in found if one.encoding)
    usual = encodings.most_common(1)[0][0] if encodings else "utf-8"
    codes = _codes(groups)
    lines = [*INTRODUCTION, ""]
    if any(_has_local_times(group[0]) for group in groups):
        lines.append(
            '# time_zone = "Asia/Tokyo"  # needed: times come without an offset; state the zone of the hospital'
        )
    if encodings:
        lines.append(f"encoding = {quoted(usual)}  # high: the files are text in it")
    lines += ["", *_section("codes", codes), *_units_section(groups)]
    lines += [
        "[csv]",
        "confirmed = false  # set to true after reading",
        "missing = []  # words for 'not measured', such as \"-\"",
    ]
    names = [one.name for one in found]
    for group in groups:
        lines += ["", *_table(group, usual, names)]
    return "\n".join(lines) + "\n"


def _groups(found: Sequence[Sample]) -> list[list[Sample]]:
    """Samples with the same header together: files of one kind."""
    groups: dict[tuple[object, ...], list[Sample]] = defaultdict(list)
    for one in found:
        groups[one.headers, one.delimiter, one.encoding, one.header.number, bool(one.title)].append(one)
    return list(groups.values())


def _table(group: Sequence[Sample], encoding: str, names: Sequence[str]) -> Iterator[str]:
    """The lines of one table of the map."""
    sample = group[0]
    roles = _roles(sample)
    yield "[[csv.tables]]"
    files = list(dict.fromkeys(one.name for one in group))
    yield f"file = {_files(files, names)}"
    if sample.title:
        titles = {one.title for one in group}
        yield f"sheet = {quoted(sample.title) if len(titles) == 1 else quoted('*')}"
    layout = _layout(roles)
    yield f"layout = {quoted(layout)}  # {_layout_reason(layout, roles)}"
    if sample.encoding and sample.encoding != encoding:
        yield f"encoding = {quoted(sample.encoding)}  # high: the only one that fits"
    if sample.header.number > 1:
        yield f"header_row = {sample.header.number}  # medium: the row with the most known words"
    if sample.units is not None:
        yield f"units_row = {sample.units.number}  # medium: the row below the header holds units"
    if sample.delimiter:
        yield f"delimiter = {quoted(sample.delimiter)}  # high: it gives the most known headers"
    if sample.delimiter == ";":
        yield '# decimal = ","  # needed: "," or "."; files with ; often hold decimal commas'
    yield from _patient_and_times(sample, roles, layout)
    yield from _long(sample, roles) if layout == "long" else _wide(sample, roles)


def _roles(sample: Sample) -> Mapping[str, list[int]]:
    """Places of the columns by role, the surer ones first."""
    found: dict[str, list[int]] = defaultdict(list)
    for sure in (True, False):
        for place, one in enumerate(sample.guesses):
            if one.kind == ROLE and (len(one.targets) == 1) == sure:
                for role in one.targets:
                    found[role].append(place)
    if found["date"] and found["clock"]:
        found["time"] = [place for place in found["time"] if place not in found["clock"]]
    elif found["time"]:
        found["clock"] = []
    return found


def _layout(roles: Mapping[str, list[int]]) -> str:
    value = roles["value"] or roles["amount"] or roles["rate"]
    return "long" if value and any(roles[role] for role in LONG_ROLES) else "wide"


def _layout_reason(layout: str, roles: Mapping[str, list[int]]) -> str:
    if layout == "long":
        return "high: a column of variables and a column of values"
    return (
        "medium: no column of variables; one column per variable"
        if roles["patient"]
        else "low: nothing recognised"
    )


def _patient_and_times(sample: Sample, roles: Mapping[str, list[int]], layout: str) -> Iterator[str]:
    yield from _role_line(sample, roles, "patient", "needed: the column that names the patient")
    moment = _moment_places(roles)
    if moment:
        shown = [quoted(sample.headers[place]) for place in moment]
        stated = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
        yield f"time = {stated}  # medium: {', '.join(sample.guesses[place].why for place in moment)}"
        others = [place for place in (*roles["time"], *roles["date"]) if place not in moment]
        yield from (
            f"# time = {quoted(sample.headers[place])}  # another column of times" for place in others
        )
        yield from _formats([sample.column(place) for place in moment])
    else:
        yield '# time = "..."  # needed: the column of the time, or ["DATE COLUMN", "CLOCK COLUMN"]'
    for role in ("known", "revised", *(("end",) if layout == "long" else ())):
        yield from _role_line(sample, roles, role)


def _moment_places(roles: Mapping[str, list[int]]) -> list[int]:
    if roles["time"]:
        return roles["time"][:1]
    return [*roles["date"][:1], *roles["clock"][:1]] if roles["date"] else []


def _role_line(sample: Sample, roles: Mapping[str, list[int]], role: str, needed: str = "") -> Iterator[str]:
    """`role = HEADER`, its alternatives as comments; a comment where a needed one is not found."""
    places = roles[role]
    if not places and needed:
        yield f'# {role} = "..."  # {needed}'
    for number, place in enumerate(places):
        one = sample.guesses[place]
        line = f"{role} = {quoted(sample.headers[place])}"
        yield f"{line}  # {one.confidence}: {one.why}" if not number else f"# {line}  # another candidate"


def _formats(columns: Sequence[Sequence[object]]) -> Iterator[str]:
    """What the shape of the times asks for; never a time itself."""
    cells = list(columns[0])
    if not cells:
        return
    texts = [text_of(cell) for cell in cells if isinstance(cell, str)]
    numbers = [cell for cell in cells if isinstance(cell, int | float)]
    if numbers and not texts:
        yield 'time_format = "excel"  # low: plain numbers; serial numbers of Excel?'
        return
    parsed = [Clock().parsed(cell) for cell in cells]
    if texts and None in parsed:
        fitting = [
            one for one in FORMATS if all(Clock(None, (one,)).parsed(text) is not None for text in texts)
        ]
        if len(fitting) == 1:
            yield f"time_format = {quoted(fitting[0])}  # medium: it fits all times of the sample"
            parsed = [Clock(None, (fitting[0],)).parsed(text) for text in texts]
        else:
            yield from (f"# time_format = {quoted(one)}  # fits the sample; so do others" for one in fitting)
            if not fitting:
                yield '# time_format = "%Y/%m/%d %H:%M"  # needed: the times of the sample fit no known format'
            return
    if len(columns) == 1:
        yield from _shape(parsed)


def _shape(parsed: Sequence[object]) -> Iterator[str]:
    if any(type(one) is date for one in parsed):
        yield "# dates without a time are set aside as DATE_ONLY: is there a column of clock times?"
    elif all(isinstance(one, datetime) and one.time() == time() for one in parsed):
        yield "# midnight_is_date = true  # all times of the sample are 00:00: dates that an export has filled up?"


def _has_local_times(sample: Sample) -> bool:
    places = _moment_places(_roles(sample))
    cells = sample.column(places[0])[:50] if places else []
    parsed = [Clock().parsed(cell) for cell in cells]
    return any(not isinstance(one, datetime) or instant(one, None)[1] for one in parsed)


def _long(sample: Sample, roles: Mapping[str, list[int]]) -> Iterator[str]:
    drug = bool(roles["drug"]) and not roles["variable"]
    if drug:
        yield 'kind = "drug"  # medium: a column of drugs'
    name, value = ("drug", "amount") if drug else ("variable", "value")
    for role, key in ((name, "variable"), (value if roles[value] else "value", "value"), ("unit", "unit")):
        for line in _role_line(
            sample, roles, role, f"needed: the column of the {key}" if key != "unit" else ""
        ):
            yield line.replace(f"{role} =", f"{key} =", 1)
    if not roles["unit"]:
        yield '# no column of units: unit = "COLUMN", unit_text = "UNIT OF ALL ROWS", or [units] above'
    for role in ("comparator", "status", "id", *(("rate",) if drug else ())):
        yield from _role_line(sample, roles, role)
    used = {"patient", "time", "date", "clock", "known", "revised", "end", "variable", "drug", "value", "amount",
            "unit", "comparator", "status", "id", "rate"}  # fmt: skip
    yield from _unknown(
        sample, [place for place, one in enumerate(sample.guesses) if not used & set(one.targets)]
    )


def _wide(sample: Sample, roles: Mapping[str, list[int]]) -> Iterator[str]:
    for role in (*WIDE_FACTS, "status", "id"):
        yield from _role_line(sample, roles, role)
    columns = [(place, one) for place, one in enumerate(sample.guesses) if one.kind in (VARIABLE, PARTS)]
    yield "[csv.tables.columns]"
    seen: Counter[str] = Counter(sample.headers)
    for _, one in columns:
        line = _column(one)
        yield (
            f"# {line}  # twice in the header: rename one"
            if seen[one.header] > 1 and line[0] != "#"
            else line
        )
    used = {"patient", "time", "date", "clock", "known", "revised", "status", "id", *WIDE_FACTS}
    mapped = {place for place, _ in columns}
    rest = [p for p, one in enumerate(sample.guesses) if p not in mapped and not used & set(one.targets)]
    yield from _unknown(sample, rest)


def _column(one: Guess) -> str:
    """The line of one column of a wide table."""
    header = quoted(one.header)
    if one.kind == PARTS:
        unit = f", unit = {quoted(one.unit)}" if one.unit else ""
        parts = ", ".join(map(quoted, one.targets))
        return (
            f"{header} = {{parts = [{parts}]{unit}}}  # {one.confidence}: {one.why}; for cells such as 120/80"
        )
    if not one.variable:
        either = " or ".join(map(quoted, one.targets))
        return f"# {header} = {either}  # {LOW}: {one.why}; not decided"
    if one.unit:
        stated = f"{{variable = {quoted(one.variable)}, unit = {quoted(one.unit)}}}"
        return f"{header} = {stated}  # {one.confidence}: {one.why}"
    accepted = ", ".join(accepted_units(one.variable)[:4])
    if one.unit_text:
        stated = f'{{variable = {quoted(one.variable)}, unit = "..."}}'
        return f"# {header} = {stated}  # {LOW}: {one.why}, but {quoted(one.unit_text)} is no unit of it: {accepted}"
    hint = f"; no unit in the header: without one here or under [units] values are set aside; {accepted}"
    return f"{header} = {quoted(one.variable)}  # {one.confidence}: {one.why}" + (
        hint if needs_unit(one.variable) else ""
    )


def _unknown(sample: Sample, places: Sequence[int]) -> Iterator[str]:
    """Columns that are not recognised, as comments; not where the row may be no header but data of a patient."""
    headers = [sample.headers[place] for place in places if sample.headers[place]]
    certain = bool(_roles(sample)["patient"])
    named = [one for one in headers if certain and not _looks_like_a_value(one)]
    for header in named[:LISTED]:
        like = part_of(header)
        hint = (
            f'{{variable = {quoted(like)}, unit = "...", hours = 0}}  # low: part of the header'
            if like
            else '"..."'
        )
        yield f"# {quoted(header)} = {hint}" if like else f"# {quoted(header)} = {hint}  # not recognised"
    if len(headers) > len(named[:LISTED]):
        yield f"# {len(headers) - len(named[:LISTED])} further columns are not listed"


def _looks_like_a_value(text: str) -> bool:
    digits = sum(letter.isdigit() for letter in text)
    return digits * 2 > len(text) or Clock().parsed(text) is not None


def _codes(groups: Sequence[Sequence[Sample]]) -> dict[str, str]:
    """Lines of [codes] for the names in columns of variables: TOML key -> rest of the line, comments by '#'."""
    lines: dict[str, str] = {}
    for group in groups:
        roles = _roles(group[0])
        places = roles["variable"] or roles["drug"]
        if _layout(roles) == "long" and places:
            patients = roles["patient"][:1]
            lines |= _codes_of(group, places[0], patients[0] if patients else None)
    return lines


def _codes_of(group: Sequence[Sample], place: int, patient: int | None) -> dict[str, str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for sample in group:
        for row in sample.rows:
            name = text_of(row.cells[place]) if place < len(row.cells) else ""
            if name:
                known = patient is not None and patient < len(row.cells)
                seen[name].add(text_of(row.cells[patient]) if patient is not None and known else "")
    lines: dict[str, str] = {}
    hidden = 0
    for name, patients in sorted(seen.items()):
        one = guess(name)
        if one.variable and not one.unit_text:
            lines[quoted(name)] = (
                f"{quoted(one.variable)}  # {one.confidence if needs_unit(one.variable) else HIGH}: {one.why}"
            )
        elif len(patients) >= NAMES_OF_PATIENTS and len(lines) < LISTED:
            either = " or ".join(map(quoted, one.targets)) if one.kind == VARIABLE else '"..."'
            lines[f"# {quoted(name)}"] = (
                f"{either}  # {'not decided' if one.kind == VARIABLE else 'not recognised'}"
            )
        else:
            hidden += 1
    if hidden:
        lines[f"# {hidden} further names"] = (
            f'"..."  # not listed: they occur for fewer than {NAMES_OF_PATIENTS} patients'
        )
    return lines


def _section(name: str, lines: Mapping[str, str]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {rest}" for key, rest in lines.items()), ""] if lines else []


def _units_section(groups: Sequence[Sequence[Sample]]) -> list[str]:
    """Variables that arrive without a unit, for the person to state it."""
    bare = {
        one.variable
        for group in groups
        for one in group[0].guesses
        if _layout(_roles(group[0])) == "wide"
        and one.variable
        and not one.unit_text
        and needs_unit(one.variable)
    }
    lines = [
        f'# {variable} = "..."  # {", ".join(accepted_units(variable)[:4])}' for variable in sorted(bare)
    ]
    return ["[units]", *lines, ""] if lines else []


def _files(files: Sequence[str], names: Sequence[str]) -> str:
    """The files of a table: one name, a pattern that takes these alone, or a list."""
    if len(files) == 1:
        return quoted(files[0])
    start = _common_start(files)
    end = _common_start([name[len(start) :][::-1] for name in files])[::-1]
    pattern = f"{start}*{end}"
    taken = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(Path(name).name, pattern)}
    if taken == set(files):
        return quoted(pattern)
    return f"[{', '.join(map(quoted, files))}]"


def _common_start(texts: Sequence[str]) -> str:
    """The letters with which all texts begin."""
    first, last = min(texts), max(texts)
    length = next(
        (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )
    return first[:length]
