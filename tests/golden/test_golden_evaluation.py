"""Sample sizes, net benefit and the smooth curve against other tools; evaluation.md says how each was made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.measures import measures
from training.net_benefit import net_benefit, treat_all
from training.offset import sigmoid
from training.resampling import Patients
from training.sample_size import (
    development_size,
    size_for_auroc,
    size_for_ratio,
    size_for_slope,
)
from training.smooth_calibration import Smoother

GOLDEN = Path(__file__).parent
REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "expected" / "dcurves_binary_expected.csv"


def rows(name: str) -> list[dict]:
    return pd.read_csv(GOLDEN / name).to_dict("records")


@pytest.mark.parametrize("row", rows("sample_size_binary.csv"), ids=lambda r: f"prevalence {r['prevalence']}")
def test_development_sizes_are_those_of_pmsampsize(row):
    size = development_size(row["prevalence"], int(row["parameters"]), row["r2_cox_snell"])
    found = (size.shrinkage, size.optimism, size.overall_risk, size.required)
    assert found == (row["n_shrinkage"], row["n_optimism_r2"], row["n_intercept"], row["n_required"])
    assert round(size.events_per_parameter, 2) == row["events_per_parameter"]


def test_validation_sizes_are_those_of_pmvalsampsize():
    ratio, auroc, slope = rows("validation_size.csv")
    assert size_for_ratio(ratio["prevalence"], ratio["width"]) in (ratio["patients"], ratio["patients"] + 1)
    assert size_for_auroc(auroc["prevalence"], auroc["auroc"], auroc["width"]) == auroc["patients"]
    # quantiles of the normal distribution stand for a sample of log odds
    normal = np.random.default_rng(0).normal(slope["mean_log_odds"], slope["sd_log_odds"], 1_000_000)
    found = size_for_slope(normal, slope["width"])
    assert found == pytest.approx(slope["patients"], rel=slope["tolerance"])


def family_history() -> tuple[np.ndarray, np.ndarray, Patients]:
    risk = np.repeat([1.0, 0.0, 1.0, 0.0], [24, 81, 91, 554])
    severe = np.repeat([1.0, 1.0, 0.0, 0.0], [24, 81, 91, 554])
    return risk, severe, Patients.of(np.arange(750).astype(str).astype(object), 0, 0)


def compared(expected: pd.DataFrame) -> None:
    risk, severe, patients = family_history()
    ours = net_benefit(risk, severe, np.ones(750), patients, expected["threshold"].tolist())
    everybody = treat_all(severe, np.ones(750), patients, expected["threshold"].tolist())
    # at 0 everybody is at or above the threshold, also by our model; dcurves flags by the marker alone
    above = (expected["threshold"] > 0).to_numpy()
    assert np.array([b.value for b in ours])[above] == pytest.approx(
        expected["family_history"].to_numpy()[above], abs=1e-9
    )
    assert [b.value for b in everybody] == pytest.approx(expected["treat_all"].tolist(), abs=1e-9)


def test_net_benefit_is_that_of_the_r_package_dcurves():
    compared(pd.read_csv(GOLDEN / "net_benefit_family_history.csv"))


@pytest.mark.real
@pytest.mark.skipif(not REFERENCE.is_file(), reason="the whole table of dcurves is not beside this checkout")
def test_net_benefit_is_that_of_dcurves_at_all_its_thresholds():
    table = pd.read_csv(REFERENCE).pivot_table("net_benefit", index="threshold", columns="variable")
    compared(table.rename(columns={"all": "treat_all", "famhistory": "family_history"}).reset_index())


def test_net_benefit_of_graded_risks_is_that_of_the_python_package_dcurves():
    from dcurves import dca

    rng = np.random.default_rng(3)
    margin = rng.normal(-2.0, 1.0, 500)
    severe = (rng.random(500) < sigmoid(margin)).astype(float)
    risk = np.round(sigmoid(margin), 3)
    thresholds = [k / 100 for k in range(1, 60)]
    table = pd.DataFrame({"severe": severe, "risk": risk})
    theirs = dca(data=table, outcome="severe", modelnames=["risk"], thresholds=thresholds)
    theirs = theirs[theirs["model"] == "risk"].sort_values("threshold")
    patients = Patients.of(np.arange(500).astype(str).astype(object), 0, 0)
    ours = net_benefit(risk, severe, np.ones(500), patients, theirs["threshold"].tolist())
    assert [b.value for b in ours] == pytest.approx(theirs["net_benefit"].tolist(), abs=1e-9)


def test_the_smooth_curve_and_its_index_are_those_of_the_same_spline_in_statsmodels():
    import statsmodels.api as sm
    from scipy.special import expit, logit

    rng = np.random.default_rng(5)
    risk = expit(rng.normal(-1.5, 1.0, 3000))
    severe = (rng.random(3000) < expit(0.6 * logit(risk) - 0.2)).astype(float)
    weight = rng.uniform(1, 3, 3000)
    x = logit(risk)
    t1, t2, t3, t4 = np.quantile(x, [0.05, 0.35, 0.65, 0.95])

    def term(knot: float) -> np.ndarray:  # Harrell, Regression Modeling Strategies, equation 2.25
        plus = [np.maximum(x - t, 0.0) ** 3 for t in (knot, t3, t4)]
        return (plus[0] - plus[1] * (t4 - knot) / (t4 - t3) + plus[2] * (t3 - knot) / (t4 - t3)) / (
            t4 - t1
        ) ** 2

    design = np.column_stack([np.ones(3000), x, term(t1), term(t2)])
    fitted = sm.GLM(severe, design, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-12)
    theirs = fitted.predict(design)
    assert Smoother.fit(risk, severe, weight).observed(risk) == pytest.approx(theirs, abs=2e-4)
    patients = Patients.of(np.arange(3000).astype(str).astype(object), 0, 0)
    index = measures(risk, severe, weight, patients)["ici"].value
    assert index == pytest.approx(np.average(np.abs(risk - theirs), weights=weight), abs=1e-4)
