"""The demonstration: simulate, check, train, register, promote, score; the ward it leaves is then served."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsrisk.analytes import analytes
from crsrisk.cohort import read_cohort
from crsrisk.errors import CrsRiskError
from crsrisk.quality import check
from crsrisk.settings import Settings
from crsrisk.simulator import simulate

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort

WARD_COURSES = 24
WARD_SEED = 1_000  # added to the seed: nobody on the ward was trained on
TRIALS = 1
FOLDS = 3
REFITS = 8
RESAMPLES = 200  # enough to show an interval; `crsrisk train` takes more
STEPS = 6
KNOWN_AT_ADMISSION = ("age", "weight")
THERAPIES = (  # one of each kind; weighted to products in which severe CRS is not rare, so that trees can be shown
    "tisa-cel_ALL",
    "brexu-cel_ALL",
    "axi-cel_LBCL3L",
    "brexu-cel_MCL",
    "cilta-cel_MM4L",
    "tec_MM",
    "tarla_SCLC3L",
)
REASON = "first version of the demonstration, trained on simulated courses"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration made: folders, promoted versions, counts and the training's notes."""

    cohort: Path
    ward: Path
    risks: Path
    courses: int
    promoted: list[dict[str, Any]]
    risk_rows: int
    abstained: int
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The facts for JSON."""
        return {
            "cohort": str(self.cohort),
            "ward": str(self.ward),
            "risks": str(self.risks),
            "courses": self.courses,
            "promoted": self.promoted,
            "risk_rows": self.risk_rows,
            "abstained": self.abstained,
            "notes": self.notes,
        }

    def to_text(self) -> str:
        """The facts for a reader."""
        versions = [f"  {p['name']} version {p['version']} is champion" for p in self.promoted]
        lines = [
            f"{self.courses} simulated courses in {self.cohort}",
            *versions,
            f"  {self.risk_rows} risks in {self.risks}, {self.abstained} of them abstained with a reason",
            *[f"  {note}" for note in self.notes],
            f"ward of {WARD_COURSES} other simulated patients in {self.ward}",
        ]
        return "\n".join(lines)


def demonstrate(
    settings: Settings, *, courses: int, seed: int, progress: Progress | None = None
) -> Demonstration:
    """Run the whole way once, on simulated courses, under the data folder of the settings.

    Raises:
        CrsRiskError: the simulated cohort does not pass its own check, or a model of real patients answers here.
    """
    from serving.scorer import Scorer
    from training.champions import load_champions
    from training.promotions import promote, real_champions
    from training.publish import train_and_register

    def step(number: int, what: str) -> None:
        if progress is not None:
            progress(f"demo: {what}", number, STEPS)

    tracking_uri, store_url = settings.tracking_uri, settings.store_url
    real = real_champions(tracking_uri=tracking_uri, store_url=store_url)
    if real:
        raise CrsRiskError(
            f"{', '.join(real)} answer for real patients here, and a demonstration must not replace them; set "
            "CRSRISK_DATA_DIR to another folder"
        )
    folder = settings.data_dir / "demo"
    if folder.exists():  # only ever our own: an earlier demonstration
        shutil.rmtree(folder)
    cohort_folder = folder / "cohort"
    cohort_folder.mkdir(parents=True)
    simulate(courses, seed, THERAPIES).write(cohort_folder, parquet=True)
    step(1, "simulated")
    report = check(cohort_folder)
    if not report.ok:
        raise CrsRiskError("the simulated cohort does not pass its check:\n" + report.to_text())
    step(2, "checked")
    cohort = read_cohort(cohort_folder)
    training = train_and_register(
        cohort,
        trials=TRIALS,
        seed=seed,
        resamples=RESAMPLES,
        n_folds=FOLDS,
        refits=REFITS,
        progress=progress,
        tracking_uri=tracking_uri,
        store_url=store_url,
    )
    step(3, "trained and registered")
    promoted = [
        promote(
            one.info.name,
            one.info.version,
            REASON,
            demonstration=True,
            tracking_uri=tracking_uri,
            store_url=store_url,
        )
        for one in training.registered
    ]
    step(4, "promoted")
    models, _ = load_champions(tracking_uri, store_url)
    ward = make_ward(folder / "ward", seed=seed + WARD_SEED)
    risks = Scorer(models).score_cohort(ward)
    risks_file = folder / "risks.csv"
    risks.to_csv(risks_file, index=False)
    step(5, "scored the ward")
    step(STEPS, "done")
    return Demonstration(
        cohort=cohort_folder,
        ward=folder / "ward",
        risks=risks_file,
        courses=len(cohort.courses),
        promoted=promoted,
        risk_rows=len(risks),
        abstained=int(risks["abstained"].sum()),
        notes=training.notes,
    )


def make_ward(folder: Path, *, seed: int) -> Cohort:
    """A small ward of simulated patients; the last one is newly admitted and has no result yet.

    The newcomer shows what the pages say when there is nothing to assess.
    """
    folder.mkdir(parents=True)
    simulation = simulate(WARD_COURSES, seed, THERAPIES, absolute_times=True)
    courses, events = simulation.courses.copy(), simulation.events
    newcomer = courses["course_id"] == courses["course_id"].iloc[-1]
    courses.loc[newcomer, [c for c in courses if c in analytes() and c not in KNOWN_AT_ADMISSION]] = float(
        "nan"
    )
    kept = ~events["course_id"].isin(courses["course_id"][newcomer]) | (events["variable"] == "bsab_dose")
    replace(simulation, courses=courses, events=events[kept]).write(folder)
    return read_cohort(folder)
