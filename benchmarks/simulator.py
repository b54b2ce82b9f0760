"""Is the simulator about as hard as reality? Incidence, onset, ferritin, single markers, and the best model's ceiling.

Labels come from the written events through the grading engine. Published intervals: the group rows of
data/priors.csv (logit-normal over products, for a product not yet seen, between-product spread floored). The best
model reachable is the better of LightGBM and penalised logistic regression on all predictors of the registry, with
the logit of the published rate as offset, out of fold; both it and the true risk (500 forward simulations) are
judged on the same courses. About ten minutes on one core.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.figure import Figures, run
from crsrisk.cohort import Cohort, read_cohort
from crsrisk.data_files import rows as table_rows
from crsrisk.grade_timeline import grade_cohort
from crsrisk.priors import prior
from crsrisk.simulator import Simulation, simulate
from crsrisk.simulator.regimens import Regimen, default_therapies, regimens
from crsrisk.therapies import therapy
from features.matrix import compute_features
from features.registry import FEATURES, predictors

SEED = 20_261
GROUP_COURSES = 1500
CELL_COURSES = 4000
TRUTH_COURSES, REPLICATES = 450, 500
LANDMARKS = (24.0, 48.0)
FOLDS = 5
LEAST_EVENTS = 15  # severe courses below which an AUROC is not given
ONSET_FACTOR = 1.5
MARKER_LIMIT = 0.80
FERRITIN = (0.65, 0.78)
SCORE_MARGIN = 0.02

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """A simulated cohort, read back, with the severe hour and onset that the grading engine derives."""

    simulation: Simulation
    cohort: Cohort
    severe: pd.Series  # hours of the first grade 3 or above by course_id, nan when never
    onset: pd.Series  # hours of the first grade 1 or above


def labelled(courses: int, seed: int, keys: list[str]) -> Labelled:
    """Simulate, write, read and grade."""
    simulation = simulate(courses, seed, therapies=keys)
    with tempfile.TemporaryDirectory() as folder:
        cohort = read_cohort(simulation.write(Path(folder) / "cohort", parquet=True))
    grades = grade_cohort(cohort)
    ids = simulation.courses["course_id"]

    def first(grade: float) -> pd.Series:
        return grades[grades["grade"] >= grade].groupby("course_id")["hours"].min().reindex(ids)

    return Labelled(simulation, cohort, first(3.0), first(1.0))


def auroc(severe: NDArray[np.bool_], value: Floats) -> float:
    """Area under the ROC curve; nan values are left out."""
    from scipy.stats import rankdata

    there = ~np.isnan(value)
    severe, value = severe[there], value[there]
    events = int(severe.sum())
    ranks = rankdata(value)
    return float((ranks[severe].sum() - events * (events + 1) / 2) / (events * (severe.size - events)))


def incidence(figures: Figures, group: str, found: Labelled) -> None:
    """Any-grade and severe incidence against the predictive interval and the mean of the priors."""
    row = {r["outcome"]: r for r in table_rows("priors.csv") if r["level"] == "group" and r["key"] == group}
    counts = found.simulation.courses["therapy"].value_counts(normalize=True)
    outcomes: list[tuple[Literal["any", "severe"], pd.Series]] = [
        ("any", found.onset),
        ("severe", found.severe),
    ]
    for outcome, hours in outcomes:
        share = float(hours.notna().mean())
        low, high = float(row[outcome]["low"]), float(row[outcome]["high"])
        rates = [prior(therapy(str(k)), outcome).rate * float(w) for k, w in counts.items()]
        target = sum(rates)
        figures.add(
            f"{outcome} incidence {group}",
            round(share, 4),
            f"{low:.3f} to {high:.3f}",
            ok=low <= share <= high,
            against=f"published for the same products {target:.4f}; {hours.notna().sum()} of {len(hours)}",
        )


def onset(figures: Figures, found: Labelled) -> None:
    """Median onset of the first CRS, from the latest dose, per therapy with a sourced onset."""
    events = found.cohort.events
    doses = events[events["variable"] == "bsab_dose"][["course_id", "hours"]]
    given = doses.assign(onset=doses["course_id"].map(found.onset).astype("float64"))
    latest = given[given["hours"] <= given["onset"]].groupby("course_id")["hours"].max()
    after = found.onset - latest.reindex(found.onset.index).fillna(0.0)
    by_therapy = after.groupby(found.simulation.courses["therapy"].to_numpy()).median()
    for key, regimen in regimens().items():
        median = float(by_therapy.get(key, np.nan))
        if regimen.onset_sourced and key in by_therapy:
            ratio = median / regimen.onset_hours
            figures.add(
                f"median onset {key} (h)",
                round(median, 1),
                f"{regimen.onset_hours:g} h within x{ONSET_FACTOR}",
                ok=1 / ONSET_FACTOR <= ratio <= ONSET_FACTOR,
            )


def ferritin(figures: Figures, found: Labelled) -> None:
    """Peak ferritin against severe CRS, and what else is known of its size; length and time of CRS."""
    events = found.cohort.events
    peak = (
        events[(events["variable"] == "ferritin") & (events["hours"] > 0)].groupby("course_id")["value"].max()
    )
    severe = found.severe.reindex(peak.index).notna()
    area = auroc(severe.to_numpy(), peak.to_numpy())
    figures.add(
        "AUROC of peak ferritin for severe CRS (CAR-T)",
        round(area, 3),
        f"{FERRITIN[0]} to {FERRITIN[1]}",
        ok=FERRITIN[0] <= area <= FERRITIN[1],
        against="0.71 derived from published quartiles",
    )
    for name, mask, published in (("grade 0-2", ~severe, 2035), ("grade 3+", severe, 5467)):
        median = float(peak[mask].median())
        figures.add(
            f"median peak ferritin, {name} (ng/mL)",
            round(median),
            f"{published} within x2 (B-ALL cohort; ours holds lymphoma and myeloma)",
            ok=0.5 <= median / published <= 2.0,
        )
    hidden = found.simulation.hidden.set_index("course_id")
    for name, low, high, target in (("grade 1-2", 1, 2, 3.0), ("grade 3+", 3, 5, 5.0)):
        days = float(hidden["signs_hours"][hidden["peak_grade"].between(low, high)].median()) / 24.0
        figures.add(
            f"median length of CRS, {name} (d)",
            round(days, 1),
            f"{target} within x2",
            ok=0.5 <= days / target <= 2.0,
        )
    early = float((found.severe.dropna() < 24.0).mean())
    figures.add("severe onsets in the first 24 h (CAR-T)", round(early, 3), "below 0.10", ok=early < 0.10)
    when = found.severe.dropna() / 24.0
    figures.add(
        "severe onset, quartiles (d)",
        [round(float(q), 1) for q in when.quantile([0.25, 0.5, 0.75])],
        "median in days 2 to 7",
        ok=2.0 <= float(when.median()) <= 7.0,
    )


def at_risk(found: Labelled, landmark: float) -> pd.Series:
    """Severe later (bool) by course_id, for the courses at risk at a landmark after the first dose."""
    follow_up = found.simulation.courses.set_index("course_id")["follow_up_hours"]
    risk = ~(found.severe <= landmark) & (follow_up >= landmark)
    window = found.simulation.courses.set_index("course_id")["therapy"].map(
        lambda k: regimens()[k].windows[0]
    )
    later = found.severe[risk]
    return later <= window[risk]


def after_doses(found: Labelled, landmark: float) -> pd.DataFrame:
    """One row per course and dose (cells: the infusion) at risk: course_id, dose_hours, as_of, later (bool)."""
    courses = found.simulation.courses
    events = found.cohort.events
    given = events.loc[events["variable"] == "bsab_dose", ["course_id", "hours"]].rename(
        columns={"hours": "dose_hours"}
    )
    cells = courses.loc[~courses["course_id"].isin(given["course_id"]), ["course_id"]].assign(dose_hours=0.0)
    rows = pd.concat([given, cells], ignore_index=True).sort_values(
        ["course_id", "dose_hours"], ignore_index=True
    )
    known = courses.set_index("course_id")
    of_therapy = rows["course_id"].map(known["therapy"])
    window = np.where(of_therapy.map(lambda k: regimens()[k].engager), 168.0, 336.0)
    following = rows.groupby("course_id")["dose_hours"].shift(-1).fillna(np.inf)
    end = np.minimum(rows["dose_hours"] + window, following)
    rows["as_of"] = rows["dose_hours"] + landmark
    severe = rows["course_id"].map(found.severe).astype("float64")
    rows["later"] = (severe > rows["as_of"]) & (severe <= end)
    at_risk_now = ~(severe <= rows["as_of"]) & (
        rows["course_id"].map(known["follow_up_hours"]) >= rows["as_of"]
    )
    return rows[at_risk_now & (rows["as_of"] < end)].reset_index(drop=True)


def markers(figures: Figures, found: Labelled, name: str, *, gate: bool) -> None:
    """The strongest last, highest or lowest value known 24 h after a dose; only a report where `gate` is off."""
    rows = after_doses(found, 24.0).rename_axis("row").reset_index()
    events = found.cohort.events
    events = events[~events["variable"].isin(["bsab_dose", "other_cause"])]
    known = events[["course_id", "hours", "available_hours", "variable", "value"]].merge(rows, on="course_id")
    past = np.maximum(known["hours"], known["available_hours"]) <= known["as_of"]
    # baseline before the first dose belongs to it; before a later dose only the last day counts
    recent = known["hours"] > np.where(known["dose_hours"] > 0, known["dose_hours"] - 24.0, -np.inf)
    known = known[past & recent]
    later = rows.set_index("row")["later"]
    areas = {}
    for variable, part in known.groupby("variable"):
        for statistic in ("last", "max", "min"):
            value = getattr(part.groupby("row")["value"], statistic)()
            severe = later.reindex(value.index).to_numpy(dtype=bool)
            if severe.sum() >= LEAST_EVENTS and len(value) >= 0.1 * len(later):
                area = auroc(severe, value.to_numpy())
                areas[f"{variable} {statistic}"] = max(area, 1.0 - area)
    ranked = sorted(areas.items(), key=lambda item: -item[1])
    counted = f"{int(later.sum())} severe of {len(later)} doses at risk"
    figures.add(
        f"strongest single marker 24 h after a dose, {name}",
        round(ranked[0][1], 3) if ranked else None,
        f"at most {MARKER_LIMIT}" if gate else f"reported, not gated; {MARKER_LIMIT} is the limit for CAR-T",
        ok=not gate or (bool(ranked) and ranked[0][1] <= MARKER_LIMIT),
        against="; ".join(f"{k} {v:.3f}" for k, v in ranked[:4]) + f"; {counted}",
    )


def out_of_fold(values: Floats, severe: NDArray[np.bool_], offset: Floats) -> dict[str, Floats]:
    """Out-of-fold log odds of two models on the same folds."""
    import lightgbm as lgb
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold = np.random.default_rng(0).permutation(severe.size) % FOLDS
    found = {"LightGBM": np.zeros(severe.size), "logistic regression": np.zeros(severe.size)}
    tame = np.sign(values) * np.log1p(np.abs(values))
    for k in range(FOLDS):
        fit, test = fold != k, fold == k
        trees = lgb.LGBMClassifier(
            n_estimators=200, num_leaves=6, max_depth=3, learning_rate=0.04, min_child_samples=40, reg_lambda=10.0,
            subsample=0.8, subsample_freq=1, colsample_bytree=0.4, n_jobs=1, verbose=-1, random_state=0,
        )  # fmt: skip
        trees.fit(values[fit], severe[fit], init_score=offset[fit])
        found["LightGBM"][test] = trees.predict(values[test], raw_score=True) + offset[test]
        usable = ~np.isnan(tame[fit]).all(axis=0)
        line = make_pipeline(
            SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
        )
        line.fit(np.c_[tame[fit][:, usable], offset[fit]], severe[fit])
        found["logistic regression"][test] = line.decision_function(
            np.c_[tame[test][:, usable], offset[test]]
        )
    return found


def ceiling(figures: Figures, found: Labelled, keys: list[str]) -> None:
    """The best model reachable from the features against published scores and the true risk."""
    begin = time.perf_counter()
    truth = simulate(
        TRUTH_COURSES, SEED, therapies=keys, truth=REPLICATES, landmarks=LANDMARKS, horizons=(None,)
    ).truth
    seconds = time.perf_counter() - begin
    assert truth is not None
    chosen = [f.name for f in predictors()]
    table = compute_features(found.cohort, LANDMARKS)
    columns = {name: number for number, name in enumerate(table.names)}
    score_names = [f.name for f in FEATURES if "easix" in f.name]
    rate = {key: prior(therapy(key)).rate for key in keys}
    for landmark in LANDMARKS:
        later = at_risk(found, landmark)
        rows = (table.rows["landmark_hours"] == landmark) & table.rows["course_id"].isin(later.index)
        ids = table.rows.loc[rows, "course_id"]
        severe = later.reindex(ids).to_numpy(dtype=bool)
        values = table.values[rows.to_numpy()]
        base = table.rows.loc[rows, "therapy"].map(rate).to_numpy(dtype=np.float64)
        models = out_of_fold(values[:, [columns[n] for n in chosen]], severe, np.log(base / (1 - base)))
        areas = {name: auroc(severe, risk) for name, risk in models.items()}
        best = max(areas, key=lambda name: areas[name])
        scores = {n: auroc(severe, values[:, columns[n]]) for n in score_names}
        best_score = max(scores, key=lambda n: scores[n])
        figures.add(
            f"AUROC of the best model from the features at {landmark:g} h",
            round(areas[best], 3),
            "0.65 to 0.85",
            ok=0.65 <= areas[best] <= 0.85,
            against=", ".join(f"{k} {v:.3f}" for k, v in areas.items())
            + f"; {severe.sum()} severe of {severe.size}",
        )
        figures.add(
            f"lead of the best model over the best published score at {landmark:g} h",
            round(areas[best] - scores[best_score], 3),
            f"at least {SCORE_MARGIN}",
            ok=areas[best] - scores[best_score] >= SCORE_MARGIN,
            against=f"{best_score} {scores[best_score]:.3f}",
        )
        risk = (
            truth[truth["landmark_hours"] == landmark]
            .set_index("course_id")["true_risk"]
            .reindex(ids)
            .to_numpy()
        )
        there = ~np.isnan(risk)
        same = {name: auroc(severe[there], model[there]) for name, model in models.items()}
        ideal = auroc(severe[there], risk[there])
        figures.add(
            f"AUROC of the true risk minus that of the best model, same courses, at {landmark:g} h",
            round(ideal - max(same.values()), 3),
            "above 0",
            ok=ideal > max(same.values()),
            against=f"true risk {ideal:.3f}, {REPLICATES} replicates; {severe[there].sum()} severe of {there.sum()}",
        )
        mean, seen = float(risk[there].mean()), float(severe[there].mean())
        error = 3.0 * float(np.sqrt(np.sum(risk[there] * (1 - risk[there])))) / there.sum()
        figures.add(
            f"mean true risk minus observed share at {landmark:g} h",
            round(mean - seen, 4),
            f"within 3 standard errors, {error:.4f}",
            ok=abs(mean - seen) <= error,
            against=f"strictly between 0 and 1 for {((risk[there] > 0) & (risk[there] < 1)).mean():.0%}",
        )
    figures.add(
        "seconds for true risks", round(seconds), "below 600", ok=seconds < 600,
        against=f"{TRUTH_COURSES} courses x {len(LANDMARKS)} landmarks x {REPLICATES} simulations",
    )  # fmt: skip


def main() -> int:
    warnings.filterwarnings("ignore", category=UserWarning)
    figures = Figures("simulator")
    groups: dict[str, list[Regimen]] = {}
    for key in default_therapies():
        groups.setdefault(regimens()[key].group, []).append(regimens()[key])
    engagers: list[str] = []
    for group, members in sorted(groups.items()):
        found = labelled(GROUP_COURSES, SEED + 1, [r.key for r in members])
        incidence(figures, group, found)
        onset(figures, found)
        if members[0].engager:
            engagers.extend(r.key for r in members)
    cells = [key for key in default_therapies() if not regimens()[key].engager]
    begin = time.perf_counter()
    found = labelled(CELL_COURSES, SEED, cells)
    seconds = (time.perf_counter() - begin) * 2000 / CELL_COURSES
    figures.add(
        "seconds to simulate, write, read and grade 2,000 CAR-T courses",
        round(seconds, 1),
        "below 40",
        ok=seconds < 40,
    )
    ferritin(figures, found)
    markers(figures, found, "CAR-T", gate=True)
    ceiling(figures, found, cells)
    markers(figures, labelled(GROUP_COURSES * 2, SEED + 2, engagers), "engagers", gate=False)
    return figures.finish()


if __name__ == "__main__":
    run(main)
