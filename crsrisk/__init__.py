"""Risk of severe cytokine release syndrome (ASTCT grade 3 or above) after T-cell-engaging therapy.

The names below do the same as the verbs of the command line; each loads what it needs when first used, so that
`import crsrisk` itself costs nothing:

    import crsrisk
    crsrisk.simulate("cohort", courses=400, seed=1)
    cohort = crsrisk.read_cohort("cohort")
    print(crsrisk.check("cohort").to_text())
    table = crsrisk.features(cohort, landmarks=[24, 48])
    result = crsrisk.crossvalidate(cohort)
    trained = crsrisk.train(cohort)
    risks = crsrisk.score(cohort)
    answer = crsrisk.score_patient(body)  # the body of POST /v1/risk

Every estimate is research output: it informs a clinician and gives no order.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crsrisk._version import __version__

if TYPE_CHECKING:
    from crsrisk.cohort import Cohort, read_cohort, write_cohort
    from crsrisk.verbs import (
        check,
        convert,
        crossvalidate,
        demo,
        doctor,
        erase,
        evaluate,
        export,
        features,
        grade,
        learn,
        models,
        promote,
        propose_map,
        report,
        score,
        score_patient,
        serve,
        service,
        simulate,
        template,
        train,
        write_features,
    )

_HOMES = dict.fromkeys(("Cohort", "read_cohort", "write_cohort"), "crsrisk.cohort") | dict.fromkeys(
    (
        "check",
        "convert",
        "crossvalidate",
        "demo",
        "doctor",
        "erase",
        "evaluate",
        "export",
        "features",
        "grade",
        "learn",
        "history",
        "models",
        "promote",
        "propose_map",
        "report",
        "rollback",
        "score",
        "score_patient",
        "serve",
        "service",
        "simulate",
        "template",
        "train",
        "write_features",
    ),
    "crsrisk.verbs",
)

__all__ = [
    "Cohort",
    "__version__",
    "check",
    "convert",
    "crossvalidate",
    "demo",
    "doctor",
    "erase",
    "evaluate",
    "export",
    "features",
    "grade",
    "history",
    "learn",
    "models",
    "promote",
    "propose_map",
    "read_cohort",
    "report",
    "rollback",
    "score",
    "score_patient",
    "serve",
    "service",
    "simulate",
    "template",
    "train",
    "write_cohort",
    "write_features",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"crsrisk has no {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
