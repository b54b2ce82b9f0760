"""What a training leaves in MLflow, from the simulated cohort to the run."""

import pytest

pytestmark = pytest.mark.xdist_group("registry")


@pytest.fixture(scope="module")
def mlflow(trained_registry):
    from mlflow import MlflowClient

    return MlflowClient(trained_registry.tracking_uri, trained_registry.tracking_uri)


@pytest.fixture(scope="module")
def child(mlflow):
    """The run of the family that has trees."""
    experiment = mlflow.get_experiment_by_name("crsrisk").experiment_id
    [found] = mlflow.search_runs([experiment], "params.family = 'cd19_cart'")
    return found


def files(mlflow, run, folder):
    return sorted(
        entry.path.removeprefix(f"{folder}/") for entry in mlflow.list_artifacts(run.info.run_id, folder)
    )


def test_a_family_with_trees_has_its_figures(mlflow, child):
    assert files(mlflow, child, "figures") == [
        "calibration.svg",
        "decision_curve.svg",
        "precision_recall.svg",
        "roc.svg",
        "shap_beeswarm.svg",
    ]


def test_attrition_metrics_and_out_of_fold_risks_are_kept(mlflow, child):
    assert {"attrition.csv", "metrics.csv", "out_of_fold.csv"} <= set(files(mlflow, child, "tables"))


def test_metrics_come_with_their_interval_or_the_reason_for_none(mlflow, child, tmp_path):
    import pandas as pd

    path = mlflow.download_artifacts(child.info.run_id, "tables/metrics.csv", str(tmp_path))
    table = pd.read_csv(path)
    pooled = table[
        table["landmark_hours"].isna() & (table["horizon"] == "all") & (table["model"] == "crsrisk")
    ]
    auroc = pooled.set_index("metric").loc["auroc"]
    logged = child.data.metrics
    assert logged["auroc_pooled"] == pytest.approx(auroc["value"])
    fewest = min(auroc["events"], auroc["n"] - auroc["events"])
    if fewest < 10:
        assert "auroc_pooled_low" not in logged
        assert "too few for an interval" in auroc["reason"]
    else:
        assert logged["auroc_pooled_low"] <= logged["auroc_pooled"] <= logged["auroc_pooled_high"]


def test_seed_folds_digest_and_strategy_are_stated(child, small_cohort):
    params = child.data.params
    assert {name: params[name] for name in ("seed", "folds", "trials", "strategy")} == {
        "seed": "11",
        "folds": "2",
        "trials": "0",
        "strategy": "own",
    }
    assert child.data.tags["dataset_digest"] == small_cohort.digest()
    assert params["feature_digest"].startswith("sha256:")


def test_no_identifier_of_a_course_or_patient_is_in_the_runs(mlflow, child, small_cohort, trained_registry):
    """Ids of simulated courses are S000001 and the like; none may stand in any table, tag or parameter."""
    ids = {*small_cohort.courses["course_id"], *small_cohort.courses["patient_id"]}
    texts = [str(child.data.params), str(child.data.tags)]
    texts += [
        path.read_text()
        for path in (trained_registry.folder / "artifacts").rglob("*.csv")
        if "code" not in path.parts
    ]
    assert len(texts) > 5
    assert not [one for one in ids for text in texts if one in text]
