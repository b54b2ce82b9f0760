"""Sixty planted leaks and twenty clean cohorts; other seeds than those with which the limits were chosen."""

from collections import Counter
from pathlib import Path

import pytest

from tests.planted_leaks import BY_KIND, CLEAN, checked, clean, plantings

SEED = 910_000
FEWEST_FOUND = 54


@pytest.mark.slow
def test_most_planted_leaks_are_found_as_what_they_are(tmp_path: Path) -> None:
    planted, found, missed = Counter[str](), Counter[str](), []
    for number, planting in enumerate(plantings(SEED)):
        report = checked(planting.tables, tmp_path / str(number))
        planted[planting.kind] += 1
        mine = [finding for finding in report.findings if finding.kind == planting.kind]
        if mine:
            found[planting.kind] += 1
            assert all(finding.rows and finding.first_rows and finding.do for finding in mine)
        else:
            missed.append(f"{planting.kind} {planting.name}")
    print(f"planted leaks found: {found.total()} of {planted.total()} {dict(found)}; missed: {missed}")
    assert planted == dict.fromkeys(BY_KIND, 10)
    assert found.total() >= FEWEST_FOUND, missed


@pytest.mark.slow
def test_clean_cohorts_raise_no_alarm(tmp_path: Path) -> None:
    looked_at = 0
    for number, tables in enumerate(clean(SEED)):
        report = checked(tables, tmp_path / str(number))
        assert report.ok
        assert [finding.to_text() for finding in report.findings] == []
        looked_at += 1
    assert looked_at == CLEAN == 20
