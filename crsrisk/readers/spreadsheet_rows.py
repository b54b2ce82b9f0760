"""From the rows of one table of a spreadsheet to records, by what the site map says of its columns."""

from collections import Counter
from collections.abc import Iterator, Sequence

from crsrisk.problems import named
from crsrisk.readers.account import Account
from crsrisk.readers.codes import OWN, coding, meaning
from crsrisk.readers.record import Record
from crsrisk.readers.site_map import SiteMap
from crsrisk.readers.spreadsheet_cells import CellRules, Reading, text_of
from crsrisk.readers.spreadsheet_map import ColumnMap, TableMap, plain, word
from crsrisk.readers.spreadsheet_text import Row
from crsrisk.readers.spreadsheet_times import NO_TIME, Clock
from crsrisk.readers.spreadsheet_words import SEXES, STATUSES, codes_of, comparator
from crsrisk.readers.spreadsheet_workbook import Unreadable
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME

ROW, CELL = "row", "cell"
"""Items of the account. A row of a long table is one item; of a wide table the row is one and each cell another."""
NAMED_COLUMNS = 200
"""Columns of one table that the account names when they are not needed; the rest share a line."""

NO_PATIENT = "NO_PATIENT: no patient; accepted: an identifier in each row"
NO_CODE = "NO_CODE: no variable; accepted: a name or code in each row"
RAGGED = "BAD_RECORD: more or fewer cells than the header; accepted: one cell per column, quotes round commas"
BAD_STATUS = "BAD_RECORD: a status that the map does not list; accepted: statuses in the map, WORD = STATUS"
BAD_SEX = (
    "BAD_SEX: a word that the map does not list; accepted: sexes in the map, WORD = female|male|other|unknown"
)
BAD_BIRTH_DATE = (
    "BAD_BIRTH_DATE: not a date; accepted: 1960-03-05, 1960/3/5, 1960, or birth_date_format in the map"
)
BAD_PARTS = "BAD_NUMBER: not as many parts as the map says; accepted: for example 120/80"

THERAPY_KINDS = ("drug", "procedure")


class _Rows:
    """What both layouts share: cells by column, patient, times, version."""

    def __init__(
        self,
        table: TableMap,
        header: Sequence[object],
        site: SiteMap,
        account: Account,
        label: str,
        *,
        is_text: bool,
    ) -> None:
        """Prepare for the rows of one file or sheet.

        Args:
            table: the columns; all that it needs stand in the header.
            header: the cells of the header row.
            site: zone and therapies.
            account: takes every row, cell and column.
            label: the file or sheet as positions name it.
            is_text: the rows come from text, where a row of another length means that cells have slipped.
        """
        self.is_text = is_text
        self.table, self.site, self.account, self.label = table, site, account, label
        self.place: dict[str, int] = {}
        for number, cell in enumerate(header):
            self.place.setdefault(plain(text_of(cell)), number)
        self.place_of = {name: self.place.get(plain(name), -1) for name in table.names()}
        self.width = len(header)
        self.clock = Clock(site.time_zone, table.time_format, table.midnight_is_date, self._dates_suffice())
        self.rules = CellRules(table.decimal or ".", frozenset(map(word, table.missing)), table.values)
        self.statuses = {**STATUSES, **table.statuses}
        self.above: dict[int, object] = {}
        self.filled = [self.place_of[name] for name in table.fill_down]

    def records(self, row: Row) -> Iterator[Record]:
        """The records of a row, every row and cell accounted for."""
        raise NotImplementedError

    def _dates_suffice(self) -> bool:
        return self.table.layout == "long" and self.table.kind == "condition"

    def _cells(self, row: Row) -> Sequence[object] | None:
        """The cells of a row, one per column of the header and any beyond; None after setting the row aside."""
        self.account.read(ROW)
        if row.fault:
            self._quarantine_row(row, row.fault)
            return None
        cells = list(row.cells)
        if len(cells) != self.width:
            beyond = any(text_of(cell) for cell in cells[self.width :])
            if self.is_text and (len(cells) < self.width or beyond):
                self._quarantine_row(row, RAGGED)
                return None
            cells.extend([None] * (self.width - len(cells)))
        for place in self.filled:
            if text_of(cells[place]):
                self.above[place] = cells[place]
            else:
                cells[place] = self.above.get(place)
        return cells

    def _at(self, cells: Sequence[object], column: str) -> object:
        """The cell of a column as the map names it; None for no column."""
        return cells[self.place_of[column]] if column else None

    def _text(self, cells: Sequence[object], column: str) -> str:
        return text_of(self._at(cells, column))

    def _moment(self, cells: Sequence[object], columns: Sequence[str]) -> tuple[int, str]:
        return self.clock.moment([self._at(cells, column) for column in columns])

    def _optional_moment(self, cells: Sequence[object], columns: Sequence[str]) -> tuple[int, str]:
        """A moment that may be absent: NOT_A_TIME and no fault for empty cells or no column."""
        at, fault = self._moment(cells, columns) if columns else (NOT_A_TIME, "")
        return at, "" if fault == NO_TIME else fault

    def _version(self, cells: Sequence[object]) -> tuple[str, int, int, str]:
        """Status, time known, time revised, and why they can't be used."""
        status = self.statuses.get(word(self._text(cells, self.table.status)) or "final")
        known_us, known_fault = self._optional_moment(cells, self.table.known)
        revised_us, revised_fault = self._optional_moment(cells, self.table.revised)
        fault = "" if status else BAD_STATUS
        return status or "", known_us, revised_us, fault or known_fault or revised_fault

    def _identity(self, cells: Sequence[object], part: str) -> str:
        own = self._text(cells, self.table.id)
        return f"{self.table.name}/{own}#{part}" if own else ""

    def _position(self, row: Row, column: str = "") -> str:
        return f"{self.label} row {row.number}" + (f" column {named(column)}" if column else "")

    def _quarantine_row(self, row: Row, reason: str, patient: str = "") -> None:
        self.account.quarantine(ROW, self._position(row), reason, patient)


class LongRows(_Rows):
    """Rows that hold one value each."""

    def records(self, row: Row) -> Iterator[Record]:
        """At most one record."""
        cells = self._cells(row)
        if cells is None:
            return
        table = self.table
        patient = self._text(cells, table.patient)
        code = self._text(cells, table.variable) or ("stay" if table.kind == "stay" else "")
        status, known_us, revised_us, fault = self._version(cells)
        start_us, no_time = self._moment(cells, table.time) if table.time else (NOT_A_TIME, "")
        end_us, no_end = self._optional_moment(cells, table.end) if table.end else (start_us, "")
        value = self._value(cells, table.value, table.unit, table.unit_text)
        rate = self._value(cells, table.rate, table.rate_unit, "")
        if table.kind == "result" and value.absent and status != "withdrawn":
            self.account.not_needed(ROW)
            return
        of_value = "" if status == "withdrawn" else value.fault or rate.fault
        reason = (
            NO_PATIENT if not patient else NO_CODE if not code else no_time or no_end or fault or of_value
        )
        if reason:
            self._quarantine_row(row, reason, patient)
            return
        self.account.carry(ROW)
        yield Record(
            position=self._position(row),
            kind=table.kind,
            patient_id=patient,
            codes=codes_of(code, table.system, self._products() if table.kind in THERAPY_KINDS else ()),
            start_us=start_us,
            end_us=end_us,
            known_us=known_us,
            value=value.value,
            unit=value.unit,
            comparator=comparator(self._text(cells, table.comparator)),
            rate=rate.value,
            rate_unit=rate.unit,
            status=status,
            identity=self._identity(cells, code),
            revised_us=revised_us,
        )

    def _products(self) -> tuple[str, ...]:
        return (*self.site.therapies, *self.site.registered)

    def _value(self, cells: Sequence[object], column: str, unit_column: str, unit: str) -> Reading:
        if not column:
            return Reading(absent=True)
        return self.rules.read(self._at(cells, column), self._text(cells, unit_column) or unit)


class WideRows(_Rows):
    """Rows that hold a patient's values at one time, or facts about a patient, one column each."""

    def __init__(
        self,
        table: TableMap,
        header: Sequence[object],
        site: SiteMap,
        account: Account,
        label: str,
        *,
        is_text: bool,
    ) -> None:
        super().__init__(table, header, site, account, label, is_text=is_text)
        self.columns = {name: one for name, one in table.columns.items() if self.place_of[name] >= 0}
        self.units: dict[str, str] = {}
        self.birth = Clock(None, table.birth_date_format or table.time_format)

    def take_units(self, row: Row) -> None:
        """Note the units of columns whose unit the map does not state."""
        for name in self.columns:
            place = self.place_of[name]
            self.units[name] = text_of(row.cells[place]) if place < len(row.cells) else ""

    def records(self, row: Row) -> Iterator[Record]:
        """A record per cell that says something, in the order of the map."""
        cells = self._cells(row)
        if cells is None:
            return
        patient = self._text(cells, self.table.patient)
        if not patient:
            self._quarantine_row(row, NO_PATIENT)
            return
        made = list(self._facts(row, cells, patient))
        status, known_us, revised_us, fault = self._version(cells)
        at_us, no_time = self._moment(cells, self.table.time) if self.table.time else (NOT_A_TIME, NO_TIME)
        fault = fault or (no_time if self._needs_time(cells) else "")
        if fault:
            self._quarantine_row(row, fault, patient)
            yield from made
            return
        base = Record("", "result", patient, "", at_us, at_us, known_us, status=status, revised_us=revised_us)
        made += self._therapy(row, cells, base)
        for name, one in self.columns.items():
            made += self._column(row, cells, base, name, one)
        self.account.carry(ROW) if made else self.account.not_needed(ROW)
        yield from made

    def _needs_time(self, cells: Sequence[object]) -> bool:
        timed = [name for name, one in self.columns.items() if not one.time and one.variable != "ignore"]
        return any(
            not self.rules.is_absent(self._at(cells, name)) for name in (*timed, self.table.therapy) if name
        )

    def _facts(self, row: Row, cells: Sequence[object], patient: str) -> Iterator[Record]:
        """Sex, birth, site and indication of the patient, and how long there were observations."""
        table = self.table
        for fact in ("sex", "birth_date", "site", "indication"):
            column = getattr(table, fact)
            cell = self._at(cells, column)
            if self.rules.is_absent(cell):
                continue
            value, fault = self._fact(fact, cell)
            if self._took_cell(row, column, fault, patient):
                yield Record(self._position(row, column), "person", patient, coding(OWN, fact), value=value)
            if fact == "indication" and self._is_disease(value):
                yield Record(self._position(row, column), "condition", patient, coding("", value))
        until_us, fault = self._optional_moment(cells, table.observed_until)
        if fault or until_us != NOT_A_TIME:
            column = table.observed_until[0]
            if self._took_cell(row, column, fault, patient):
                yield Record(
                    self._position(row, column), "stay", patient, coding(OWN, "stay"), end_us=until_us
                )

    def _is_disease(self, text: str) -> bool:
        """Whether the site map says which disease a text names."""
        meant = meaning(coding("", text), self.site)
        return meant is not None and meant.kind == "disease"

    def _fact(self, fact: str, cell: object) -> tuple[str, str]:
        """A fact of a person and why it can't be used."""
        if fact == "birth_date":
            day = self.birth.day(cell)
            return day, "" if day else BAD_BIRTH_DATE
        if fact == "sex":
            sex = {**SEXES, **self.table.sexes}.get(word(text_of(cell)), "")
            return sex, "" if sex else BAD_SEX
        return text_of(cell), ""

    def _therapy(self, row: Row, cells: Sequence[object], base: Record) -> list[Record]:
        column = self.table.therapy
        cell = self._at(cells, column)
        if self.rules.is_absent(cell) or not self._took_cell(row, column, "", base.patient_id):
            return []
        codes = codes_of(text_of(cell), "", (*self.site.therapies, *self.site.registered))
        identity = self._identity(cells, "therapy")
        return [
            base._replace(
                position=self._position(row, column), kind="procedure", codes=codes, identity=identity
            )
        ]

    def _column(
        self, row: Row, cells: Sequence[object], base: Record, name: str, one: ColumnMap
    ) -> list[Record]:
        """The records of one cell: one per part."""
        cell = self._at(cells, name)
        if not isinstance(cell, Unreadable) and not text_of(cell):
            return []
        if one.variable == "ignore":
            self.account.read(CELL)
            self.account.not_needed(CELL)
            return []
        unit = one.unit or self._text(cells, one.unit_column) or self.units.get(name, "")
        readings = self._readings(cell, unit, one)
        if all(reading.absent for reading in readings) and base.status != "withdrawn":
            self.account.read(CELL)
            self.account.not_needed(CELL)
            return []
        at_us, fault = self._moment(cells, one.time) if one.time else (base.start_us, "")
        fault = fault or next((reading.fault for reading in readings if reading.fault), "")
        if not self._took_cell(row, name, fault, base.patient_id):
            return []
        if one.hours and at_us != NOT_A_TIME:
            at_us += round(one.hours * MICROSECONDS_PER_HOUR)
        position = self._position(row, name)
        return [
            base._replace(
                position=position,
                codes=coding(OWN, target),
                start_us=at_us,
                end_us=at_us,
                value=reading.value,
                unit=reading.unit,
                identity=self._identity(cells, f"{name}:{target}"),
            )
            for target, reading in zip(one.targets, readings, strict=True)
            if not reading.absent or base.status == "withdrawn"
        ]

    def _readings(self, cell: object, unit: str, one: ColumnMap) -> list[Reading]:
        if not one.parts:
            return [self.rules.read(cell, unit, one.values)]
        whole = self.rules.read(cell, unit, one.values)
        if whole.absent or (not whole.fault and not isinstance(cell, str)):
            return [whole if whole.absent else Reading(fault=BAD_PARTS)] * len(one.parts)
        parts = plain(text_of(cell)).split(one.separator)
        if len(parts) != len(one.parts):
            return [Reading(fault=BAD_PARTS)] * len(one.parts)
        return [self.rules.read(part, unit, one.values) for part in parts]

    def _took_cell(self, row: Row, column: str, fault: str, patient: str) -> bool:
        """Note one cell as carried, or set it aside."""
        self.account.read(CELL)
        if fault:
            self.account.quarantine(CELL, self._position(row, column), fault, patient)
        else:
            self.account.carry(CELL)
        return not fault


class UnneededColumns:
    """Counts the filled cells of columns that no table of the map names."""

    def __init__(self, header: Sequence[object], needed: frozenset[str], table: str) -> None:
        self._table = table
        self._names = {
            place: plain(text_of(cell))
            for place, cell in enumerate(header)
            if plain(text_of(cell)) not in needed
        }
        self._width = len(header)
        self._cells: Counter[int] = Counter()

    def count(self, cells: Sequence[object]) -> None:
        """Note the filled cells of one row."""
        for place in self._names:
            if place < len(cells) and cells[place] not in (None, ""):
                self._cells[place] += 1
        for cell in cells[self._width :]:
            if cell not in (None, ""):
                self._cells[-1] += 1

    def account(self, account: Account) -> None:
        """Report each column as an item per filled cell."""
        for number, (place, name) in enumerate(self._names.items()):
            shown = f"column {named(name)}" if name else "columns without a header"
            self._report(account, shown if number < NAMED_COLUMNS else "further columns", self._cells[place])
        self._report(account, "columns without a header", self._cells[-1])

    def _report(self, account: Account, shown: str, count: int) -> None:
        if count:
            account.read(f"{shown} of {self._table}", count)
            account.not_needed(f"{shown} of {self._table}", count)
