"""What several kinds of tests share: one small synthetic cohort, and a registry with models trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort
    from crsrisk.simulator import Simulation

THERAPIES = ("axi-cel_LBCL3L", "brexu-cel_ALL", "ide-cel_MM4L", "glofit_DLBCL")
COURSES, SEED = 160, 11
LANDMARKS = (0.0, 24.0, 48.0)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "xdist_group(name): tests that share a costly fixture run in one process"
    )
    config.addinivalue_line("filterwarnings", "ignore:Using `httpx` with `starlette.testclient`.*")


@pytest.fixture(scope="session")
def small_simulation() -> Simulation:
    """160 synthetic courses of four therapies, with clock times; some severe."""
    from crsrisk.simulator import simulate

    return simulate(COURSES, SEED, therapies=THERAPIES, absolute_times=True)


@pytest.fixture(scope="session")
def small_cohort_folder(small_simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small simulation as a cohort folder."""
    return small_simulation.write(tmp_path_factory.mktemp("small") / "cohort")


@pytest.fixture(scope="session")
def small_cohort(small_cohort_folder: Path) -> Cohort:
    """The small simulation as it is read from its folder."""
    from crsrisk.cohort import read_cohort

    return read_cohort(small_cohort_folder)


@dataclass(frozen=True)
class Registry:
    """A registry with one champion per family; cd19_cart has trees, the others the base rate alone."""

    tracking_uri: str
    folder: Path
    names: tuple[str, ...]


@pytest.fixture(scope="session")
def trained_registry(small_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Models of the small cohort, registered and promoted."""
    from training.promotions import promote
    from training.publish import train_and_register

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    with few_events_suffice():
        training = train_and_register(
            small_cohort,
            tracking_uri=uri,
            seed=SEED,
            landmarks=LANDMARKS,
            n_folds=2,
            refits=3,
            resamples=20,
        )
    for one in training.registered:
        promote(one.info.name, one.info.version, "only version", demonstration=True, tracking_uri=uri)
    names = tuple(one.info.name for one in training.registered)
    return Registry(uri, folder, names)


@contextmanager
def few_events_suffice() -> Iterator[None]:
    """Own trees from 6 severe patients on, base rates below: real limits would need cohorts that take minutes."""
    import training.fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.fit, "SHARED_EVENTS", 1_000_000)
        patch.setattr(training.fit, "FAMILY_EVENTS", 3)
        patch.setattr(training.fit, "OWN_EVENTS", 6)
        yield
