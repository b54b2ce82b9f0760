"""Labels and features meet for doses at any minute."""

import numpy as np

from features.matrix import compute_features, index_doses
from tests.unit.training.cohorts import GLOFIT, cohort, course, quiet
from training.design import design
from training.landmarks import landmark_table


def test_every_label_finds_its_features_for_doses_at_broken_hours():
    seconds = [55.1 + 0.7 * k for k in range(40)]  # (d + 24) - d is not 24 for many of them
    assert any((d + 24.0) - d != 24.0 for d in seconds)
    ids = [f"c{k:02d}" for k in range(len(seconds))]
    events = [
        event
        for name, second in zip(ids, seconds, strict=True)
        for event in (*[(name, h, "bsab_dose", 2.5) for h in (0.0, second)], *quiet(name, 300.0))
    ]
    given = cohort([course(name, therapy=GLOFIT, follow_up=600.0) for name in ids], events)
    marks = (0.0, 24.0, 48.0)
    table = compute_features(given, marks)
    labels = landmark_table(given, marks, doses=index_doses(given))
    joined = design(labels.rows, table, table.names)
    assert len(joined) == len(labels.rows)
    assert set(np.unique(table.rows["landmark_hours"])) == set(marks)
