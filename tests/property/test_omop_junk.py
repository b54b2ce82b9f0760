"""Whatever stands in the cells of OMOP tables, every row is accounted for and no message repeats a cell."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from crsrisk.readers.account import Account
from crsrisk.readers.omop import read_omop
from crsrisk.readers.omop_tables import PERSON_COLUMNS, TABLES
from crsrisk.readers.record import SCHEMA
from crsrisk.readers.site_map import SiteMap

SECRET = "Yamada"  # noqa: S105  # a name, as a cell may hold one
CELLS = (
    "", "1", "-1", "0", "8840", "4171756", "999999999999999999999", "1.5", "1e400", "nan", "inf", "NULL", "\\N", "0x10",
    "2024-03-05", "2024-03-05 10:00:00", "2024-03-05T10:00:00+09:00", "2024-02-30", "9999-12-31 00:00:00", "24:61",
    "0000-00-00 00:00:00", "<0.5", ">= 3", "5+", "120/80", "1,200", "８", "mg/dL", "ug/kg/min", "8 mg", "\x00", "\x1f",
    '"', "\n", " ", "urn:crsrisk|site", "urn:crsrisk|crp", SECRET, f"{SECRET}-{SECRET}",
)  # fmt: skip
TOKYO = SiteMap(time_zone=ZoneInfo("Asia/Tokyo"))


def rows(columns: tuple[str, ...]) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(
        st.lists(st.sampled_from(CELLS), min_size=len(columns), max_size=len(columns)), max_size=6
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_junk_is_accounted_for_and_not_repeated(data):
    with TemporaryDirectory() as place:
        folder = Path(place)
        tables = {"person": PERSON_COLUMNS, **{name: table.columns for name, table in TABLES.items()}}
        chosen = data.draw(st.sets(st.sampled_from(sorted(TABLES)), min_size=1, max_size=3))
        for name in {"person", *chosen}:
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as sheet:
                csv.writer(sheet).writerows([tables[name], *data.draw(rows(tables[name]))])
        with Account(folder / "quarantine.csv") as account:
            found = list(read_omop(folder, TOKYO, account))
            account.records(sum(batch.num_rows for batch in found))
            account.fate("event", sum(batch.num_rows for batch in found))
            account.verify()
            assert SECRET not in str(account.to_dict())
        for batch in found:
            assert batch.schema == SCHEMA
            assert "" not in batch.column("patient_id").to_pylist()
        with (folder / "quarantine.csv").open(encoding="utf-8", newline="") as sheet:
            for row in csv.DictReader(sheet):
                assert SECRET not in row["reason"] + row["position"]
