"""Reads CSV files and Excel workbooks, wide or long, by the [csv] section of a confirmed site map."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers import spreadsheet_text, spreadsheet_workbook
from crsrisk.readers.account import Account
from crsrisk.readers.record import Record, batches
from crsrisk.readers.site_map import SiteMap
from crsrisk.readers.spreadsheet_cells import text_of
from crsrisk.readers.spreadsheet_map import DELIMITERS, TableMap, plain, table_maps
from crsrisk.readers.spreadsheet_rows import LongRows, UnneededColumns, WideRows
from crsrisk.readers.spreadsheet_text import Row, TextFile, UnreadableFileError
from crsrisk.readers.spreadsheet_times import EXCEL, EXCEL_1904
from crsrisk.readers.spreadsheet_workbook import Sheets, sheet_rows, sheets_of

FILE, SHEET = "file", "sheet"
BAD_FILE = "BAD_FILE"
ENDINGS = (*spreadsheet_text.ENDINGS, *spreadsheet_workbook.ENDINGS)


@dataclass(frozen=True)
class _Part:
    """One reading: a table of the map, and the file or sheet in which it looks."""

    number: int  # of the table in the map
    table: TableMap
    path: Path
    label: str
    needed: frozenset[str]  # headers that any table names for this file or sheet
    title: str = ""
    from_1904: bool = False


def read_csv(source: Path | str, site: SiteMap, account: Account) -> Iterator[pa.RecordBatch]:
    """Records of a spreadsheet: a .csv, .tsv, .txt, .xlsx or .xlsm file, or a folder of them.

    Args:
        source: the file or folder.
        site: its `csv` section says which files and columns hold what; see docs/convert.md.
        account: takes files, sheets, rows, cells and columns that are not needed.

    Yields:
        Record batches; rows are read one by one.

    Raises:
        CrsRiskError: no such source, a map that is not confirmed or wrong, a table of the map without any readable
            file.
    """
    tables = table_maps(site.csv)
    files = _files(Path(source))
    yield from batches(_records(tables, files, site, account))


def _files(source: Path) -> list[tuple[Path, Path]]:
    """Files of a source and their paths relative to it, sorted."""
    if source.is_file():
        return [(source, Path(source.name))]
    if not source.is_dir():
        raise CrsRiskError(f"{named(source.name)}: no such file or folder; accepted: {', '.join(ENDINGS)}")
    found = [file for file in source.rglob("*") if file.is_file()]
    return sorted((file, file.relative_to(source)) for file in found)


def _records(
    tables: Sequence[TableMap], files: Sequence[tuple[Path, Path]], site: SiteMap, account: Account
) -> Iterator[Record]:
    read: Counter[int] = Counter()
    faults: dict[int, str] = {}
    for part in _parts(tables, files, account):
        account.read(FILE)
        try:
            yield from _part_records(part, site, account)
        except UnreadableFileError as error:
            account.quarantine(FILE, part.label, f"{BAD_FILE}: {error}")
            faults.setdefault(part.number, str(error))
            continue
        account.carry(FILE)
        read[part.number] += 1
    for number, table in enumerate(tables):
        if not read[number]:
            raise CrsRiskError(
                faults.get(number)
                or f"[csv] names {named(table.name)}; no file or sheet of that name came; accepted: names or patterns "
                "such as labs*.csv"
            )


def _parts(
    tables: Sequence[TableMap], files: Sequence[tuple[Path, Path]], account: Account
) -> Iterator[_Part]:
    """Every table in every file or sheet that it takes; the other files and sheets are counted."""
    for path, relative in files:
        mine = [(number, table) for number, table in enumerate(tables) if table.takes(relative)]
        if not mine or path.name.startswith((".", "~$")):
            account.read(FILE)
            account.not_needed(FILE)
            continue
        if path.suffix.lower() in spreadsheet_workbook.ENDINGS:
            yield from _sheet_parts(mine, path, relative, account)
            continue
        for number, table in mine:
            yield _Part(number, table, path, relative.as_posix(), _needed(mine))


def _sheet_parts(
    tables: Sequence[tuple[int, TableMap]], path: Path, relative: Path, account: Account
) -> Iterator[_Part]:
    try:
        sheets = sheets_of(path)
    except UnreadableFileError:
        sheets = Sheets(("",), from_1904=False)  # the reading says why
    for title in sheets.titles:
        mine = [(number, table) for number, table in tables if table.takes_sheet(title)]
        if not mine:
            account.read(SHEET)
            account.not_needed(SHEET)
        for number, table in mine:
            if not table.sheet and len(sheets.titles) > 1:
                raise CrsRiskError(
                    f"{relative.name} has {len(sheets.titles)} sheets; accepted: sheet in the map, a name or a pattern"
                )
            label = f"{relative.as_posix()} sheet {named(title)}"
            yield _Part(number, table, path, label, _needed(mine), title, sheets.from_1904)


def _needed(tables: Sequence[tuple[int, TableMap]]) -> frozenset[str]:
    return frozenset().union(*(table.known_headers() for _, table in tables))


def _part_records(part: _Part, site: SiteMap, account: Account) -> Iterator[Record]:
    table, rows, is_text = _opened(part, site)
    header = next(rows, Row(0, ()))
    _check_header(part, table, header)
    if table.layout == "wide":
        reading: WideRows | LongRows = WideRows(
            table, header.cells, site, account, part.label, is_text=is_text
        )
    else:
        reading = LongRows(table, header.cells, site, account, part.label, is_text=is_text)
    unneeded = UnneededColumns(header.cells, part.needed, table.name)
    for row in rows:
        if row.number == table.units_row and isinstance(reading, WideRows):
            reading.take_units(row)
            continue
        if not row.fault:
            unneeded.count(row.cells)
        yield from reading.records(row)
    unneeded.account(account)


def _opened(part: _Part, site: SiteMap) -> tuple[TableMap, Iterator[Row], bool]:
    """The table with the settings of its file, its rows, and whether they come from text."""
    table, suffix = part.table, part.path.suffix.lower()
    if suffix in spreadsheet_workbook.ENDINGS:
        formats = table.time_format
        if part.from_1904:
            formats = tuple(EXCEL_1904 if one == EXCEL else one for one in formats)
        rows = sheet_rows(part.path, part.title, table.header_row)
        return replace(table, time_format=formats), rows, False
    if suffix not in spreadsheet_text.ENDINGS:
        hint = "; save it as .xlsx or CSV" if suffix in spreadsheet_workbook.OTHER_BOOKS else ""
        raise UnreadableFileError(f"{part.path.name}: accepted: files in {', '.join(ENDINGS)}{hint}")
    file = TextFile(
        part.path,
        encoding=table.encoding or site.encoding,
        delimiter=DELIMITERS.get(table.delimiter, ""),
        header_row=table.header_row,
    )
    if not table.decimal and (file.delimiter or file.detected_delimiter()) == ";":
        raise UnreadableFileError(
            f"{part.path.name}: columns separated by ; often come with decimal commas; accepted: decimal in the site "
            'map, "," or "."'
        )
    return table, file.rows(), True


def _check_header(part: _Part, table: TableMap, header: Row) -> None:
    """Refuse a file whose header lacks a column of the map, or has it twice."""
    name = part.label
    if header.fault:
        raise UnreadableFileError(f"{name}: the header row can't be read: {header.fault}")
    if header.number != table.header_row:
        raise UnreadableFileError(
            f"{name}: row {table.header_row} is empty; accepted: header_row in the map, the row of the header"
        )
    found = Counter(plain(text_of(cell)) for cell in header.cells)
    missing = sorted(table.headers() - found.keys())
    if missing:
        raise UnreadableFileError(
            f"{name}: no column {', '.join(named(one) for one in missing)} in row {table.header_row} "
            f"({len(header.cells)} columns); accepted: the headers of the map, or another header_row or encoding"
        )
    twice = sorted(one for one in table.known_headers() if found[one] > 1)
    if twice:
        raise UnreadableFileError(
            f"{name}: column {', '.join(named(one) for one in twice)} stands there twice; accepted: each column of "
            "the map once"
        )
