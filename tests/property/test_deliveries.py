"""The cohort does not depend on the order in which its records arrive, nor on how often."""

from __future__ import annotations

import numpy as np
import pytest

from crsrisk.cohort import read_cohort
from crsrisk.readers import convert as conversion
from crsrisk.readers.record import Record, batches
from crsrisk.readers.site_map import SiteMap
from crsrisk.simulator import simulate
from crsrisk.units import parse_number
from tests.record_cohorts import records_of

SHUFFLES = 200
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def delivery(tmp_path_factory) -> list[Record]:
    """Records of two courses, some corrected, withdrawn, preliminary, unreadable or told twice."""
    folder = tmp_path_factory.mktemp("delivery") / "cohort"
    simulate(2, 9, therapies=["axi-cel_LBCL3L", "tec_MM"], absolute_times=True).write(folder)
    told = [one for n, one in enumerate(records_of(read_cohort(folder))) if n < 40 or n % 5 == 0]
    rng = np.random.default_rng(0)
    results = [one for one in told if one.kind == "result" and one.identity]
    chosen = [results[i] for i in rng.choice(len(results), 60, replace=False)]
    revised = [one._replace(revised_us=one.start_us + 30 * HOUR, position="later") for one in chosen]
    more = [one._replace(value=f"{parse_number(one.value)[0] * 1.01:.4g}") for one in revised[:20]]
    more += [one._replace(status="withdrawn", value="") for one in revised[20:30]]
    more += [one._replace(status="preliminary", value="1") for one in chosen[30:40]]
    more += [one._replace(value="no number") for one in revised[40:45]]
    more += [one._replace(position="again") for one in chosen[45:55]]
    more += [one._replace(identity="") for one in chosen[55:60] for _ in range(2)]
    return told + more


def converted(delivery: list[Record], folder) -> tuple[str, dict]:
    def reader(source, site, account):
        account.read("record", len(delivery))
        account.carry("record", len(delivery))
        yield from batches(delivery, 997)

    folder.mkdir()
    made = conversion._convert(reader, "source", folder, SiteMap(), parquet=False)
    tables = "".join((folder / f"{name}.csv").read_text() for name in ("courses", "events"))
    return tables, made.account["records"]


def test_200_shuffled_deliveries_give_one_result(delivery, tmp_path):
    first = converted(delivery, tmp_path / "first")
    assert first[1]["superseded"] >= 40
    assert first[1]["withdrawn"] == 10
    assert first[1]["quarantined"] == 5
    rng = np.random.default_rng(1)
    for number in range(SHUFFLES):
        shuffled = [delivery[i] for i in rng.permutation(len(delivery))]
        assert converted(shuffled, tmp_path / str(number)) == first


def test_a_delivery_that_comes_twice_gives_the_same(delivery, tmp_path):
    once, counts = converted(delivery, tmp_path / "once")
    twice, doubled = converted(delivery + delivery, tmp_path / "twice")
    assert twice == once
    assert doubled["duplicate"] > counts["duplicate"] + len(delivery) - 1
