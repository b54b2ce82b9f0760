"""The leak report: sixty planted leaks, twenty clean cohorts, and its time beside reading the cohort."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.figure import Figures, run
from crsrisk.cohort_read import read_cohort
from crsrisk.quality import check
from crsrisk.simulator import simulate
from tests.planted_leaks import BY_KIND, CLEAN, checked, clean, plantings

SEED = 920_000
COURSES = 2_000


def main() -> int:
    """Counts of what was found, and processor seconds."""
    figures = Figures("leaks")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = Counter(
            planting.kind
            for number, planting in enumerate(plantings(SEED))
            if any(
                finding.kind == planting.kind
                for finding in checked(planting.tables, folder / f"planted{number}").findings
            )
        )
        for kind in BY_KIND:
            figures.add(f"planted leaks of kind {kind} found, of 10", found[kind], "none", ok=True)
        figures.add("planted leaks found, of 60", found.total(), "at least 54", ok=found.total() >= 54)
        alarms = sum(
            bool(checked(tables, folder / f"clean{number}").findings)
            for number, tables in enumerate(clean(SEED))
        )
        figures.add(f"clean cohorts with an alarm, of {CLEAN}", alarms, "0", ok=alarms == 0)

        large = simulate(COURSES, SEED).write(folder / "large")
        start = time.process_time()
        cohort = read_cohort(large)
        reading = time.process_time() - start
        start = time.process_time()
        check(cohort)
        looking = time.process_time() - start
        size = f"{COURSES} courses, {len(cohort.events)} events"
        figures.add(f"reading {size}, processor s", round(reading, 2), "none", ok=True)
        figures.add("check / reading", round(looking / reading, 1), "at most 10", ok=looking <= 10 * reading)
    return figures.finish()


if __name__ == "__main__":
    run(main)
