"""Does the recipe hold elsewhere and later? One site or product left out at a time, and late courses last.

Internal-external validation (steyerberg_2016): the recipe is fitted without a site (or product) and judged
on it. Temporal validation: fitted on the courses that began first, judged on the patients that came later.
A patient is never on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.crossvalidate import OURS, Prepared
from training.design import Design
from training.evaluate import averaged, metrics, row_arrays, table_lines
from training.fit import shared_trees
from training.outer_folds import FoldFit
from training.resampling import RESAMPLES
from training.shared import SharedTrees
from training.single_thread import single_thread
from training.subgroups import UNKNOWN, course_groups

Mask = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]
BY = {"leave_one_site_out": "site", "leave_one_product_out": "product"}
TEMPORAL = "temporal"
DESIGNS = (*BY, TEMPORAL)
EARLY_SHARE = 2 / 3  # of the patients, by index time, train in the temporal design (our convention)
POOLED = "all held out"
AREAS = ("auroc", "average_precision")
COLUMNS = (
    "design",
    "level",
    "family",
    "train_patients",
    "train_events",
    "strategy",
    "horizon",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "events",
    "reason",
)


@dataclass(frozen=True, eq=False)
class Validation:
    """How held-out sites, products or later patients were predicted.

    table: COLUMNS, by level and over all of them, pooled over landmarks; a level without a metric says why.
    detail: the held-out risks, as `CrossValidation.detail`, with design and level.
    """

    table: pd.DataFrame
    detail: pd.DataFrame

    def of_family(self, family: str) -> Validation:
        """What concerns one family."""
        return Validation(
            *(t[t["family"] == family].reset_index(drop=True) for t in (self.table, self.detail))
        )


@dataclass(frozen=True, eq=False)
class _Split:
    """Who trains and who is held out; masks over the rows, or the reason why there is no such split."""

    level: str
    train: Mask
    test: Mask
    reason: str = ""


def validate(
    prepared: Prepared,
    designs: Sequence[str] = DESIGNS,
    *,
    families: Sequence[str] | None = None,
    trials: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> Validation:
    """Our recipe under each design.

    Args:
        prepared: the cohort.
        designs: some of DESIGNS.
        families: whose models; None: all that the cohort has.
        trials: Optuna candidates inside every fit.
        seed: of fits and bootstrap.
        resamples: bootstrap resamples for the intervals.
        progress: told about every step.

    Raises:
        ValueError: an unknown design.
    """
    unknown = sorted(set(designs) - set(DESIGNS))
    if unknown:
        raise ValueError(f"designs {unknown}; there are {list(DESIGNS)}")
    rows = prepared.rows()
    there = sorted(rows.rows["family"].unique().tolist())
    wanted = [f for f in there if families is None or f in families]
    splits = [(design, split) for design in designs for split in _splits(prepared, rows, design)]
    lines: list[dict[str, Any]] = []
    parts = []
    for done, (design, split) in enumerate(splits):
        train = rows.take(split.train)
        shared = _shared(prepared, train, seed)
        for family in wanted:
            test = rows.take(split.test & (rows.rows["family"] == family).to_numpy())
            where = {"design": design, "level": split.level, "family": family}
            reason = split.reason or ("" if len(train) else "no patient is left to train on")
            if reason:
                lines.append({**where, "metric": "", "n": test.patients(), "events": 0, "reason": reason})
            elif len(test):  # a product belongs to one family, the others have nothing to say about it
                found, told = _held_out(prepared, train, test, family, trials, seed, shared)
                parts.append(found.assign(design=design, level=split.level))
                lines += _lines(found, where | told, resamples, seed)
        if progress is not None:
            progress(f"{design}, {done + 1} of {len(splits)}", done + 1, len(splits))
    detail = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["design", "family", "level"])
    )
    lines += _pooled(detail, resamples, seed)
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    return Validation(table, detail)


def _splits(prepared: Prepared, rows: Design, design: str) -> Iterator[_Split]:
    if design == TEMPORAL:
        yield _temporal(prepared, rows)
        return
    name = BY[design]
    groups = course_groups(prepared.cohort).set_index("course_id")[name]
    level = rows.rows["course_id"].map(groups).to_numpy(dtype=object)
    levels = [x for x in sorted(set(level.tolist())) if x != UNKNOWN]
    if len(levels) < 2:
        none = np.zeros(len(rows), dtype=bool)
        known = "one" if levels else "no"
        yield _Split(POOLED, none, none, f"{known} {name} in the cohort; leaving one out needs two or more")
        return
    for held in levels:
        test = level == held
        yield _Split(str(held), ~_of_patients(rows, test), test)


def _temporal(prepared: Prepared, rows: Design) -> _Split:
    """The patients whose first course came first train; the later ones are held out."""
    none = np.zeros(len(rows), dtype=bool)
    began = prepared.cohort.courses.set_index("course_id")["index_time"]
    when = pd.to_datetime(rows.rows["course_id"].map(began), utc=True)
    if when.isna().all():
        return _Split("later", none, none, "the cohort has no dates; a temporal split needs index times")
    first = when.groupby(rows.rows["patient_id"]).transform("min")
    of_patient = first.groupby(rows.rows["patient_id"]).first().dropna().sort_values()
    cut = of_patient.iloc[min(int(np.ceil(EARLY_SHARE * len(of_patient))), len(of_patient) - 1)]
    late = (first >= cut).to_numpy()
    early = (first < cut).to_numpy()
    if not early.any():
        return _Split("later", none, none, "all courses began at the same time; nothing is earlier")
    # a late course of an early patient is on neither side
    return _Split(f"from {cut:%Y-%m}", early & (when < cut).to_numpy(), late)


def _of_patients(rows: Design, chosen: Mask) -> Mask:
    """All rows of the patients that have a chosen row."""
    mask: Mask = rows.rows["patient_id"].isin(rows.rows.loc[chosen, "patient_id"].unique()).to_numpy()
    return mask


def _shared(prepared: Prepared, train: Design, seed: int) -> SharedTrees | None:
    """The trees that all families of a split share, grown once."""
    if not len(train):
        return None
    with single_thread():
        return shared_trees(prepared.given(train), seed)


def _held_out(
    prepared: Prepared,
    train: Design,
    test: Design,
    family: str,
    trials: int,
    seed: int,
    shared: SharedTrees | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Held-out risks of one family, and what its model learned from."""
    with single_thread():
        fit = FoldFit(prepared, train, family, trials, seed, shared)
        risk = fit.ours(test)
    told = {"train_patients": fit.patients, "train_events": fit.events, "strategy": fit.strategy}
    return test.rows.assign(model=OURS, repeat=0, fold=0, risk=risk, strategy=fit.strategy), told


def _lines(found: pd.DataFrame, where: dict[str, Any], resamples: int, seed: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for horizon, part in averaged(found).groupby("horizon", sort=True):
        measured = metrics(*row_arrays(part), resamples=resamples, seed=seed)
        lines += table_lines({**where, "horizon": horizon}, measured.values())
    return lines


def _pooled(detail: pd.DataFrame, resamples: int, seed: int) -> list[dict[str, Any]]:
    """All levels of a design together, where there are several; areas only where trees rank patients.

    Base rates of different refits differ by level, so that their areas would only say how the levels fell.
    """
    lines: list[dict[str, Any]] = []
    for (design, family), part in detail.groupby(["design", "family"], sort=True):
        if len(part["level"].unique()) > 1:
            where = {"design": design, "level": POOLED, "family": family}
            found = _lines(part, where, resamples, seed)
            if (part["strategy"] == "offset").all():
                found = [_unranked(line) if line["metric"] in AREAS else line for line in found]
            lines += found
    return lines


def _unranked(line: dict[str, Any]) -> dict[str, Any]:
    none = {"value": np.nan, "low": np.nan, "high": np.nan}
    return {**line, **none, "reason": "base rates of different refits rank levels, not patients"}
