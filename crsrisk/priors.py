"""Base rates of CRS by therapy: the published incidence, shrunken, on the ASTCT scale.

`python -m crsrisk.priors` recomputes `data/priors.csv` from `data/incidence.csv` (see `crsrisk.prior_fit` and
docs/decisions/0010).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from crsrisk.data_files import rows
from crsrisk.errors import UnknownTherapyError
from crsrisk.therapies import CLASSES, Therapy

Outcome = Literal["severe", "any"]
Level = Literal["indication", "product", "group", "class"]
OUTCOMES: tuple[Outcome, ...] = ("severe", "any")
LEVELS: tuple[Level, ...] = ("indication", "product", "group", "class")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The base rate of a therapy before anything about the patient is known.

    `low` and `high` hold 95 % on the rate; above the level `indication` they are predictive for a product or
    indication not yet seen. `logit_sd` is the standard deviation of the logit. `source` names the sources of
    the cohorts behind it, separated by semicolons.
    """

    rate: float
    low: float
    high: float
    logit_sd: float
    level: Level
    source: str


@cache
def _priors() -> Mapping[tuple[str, str, str], Prior]:
    found: dict[tuple[str, str, str], Prior] = {}
    for row in rows("priors.csv"):
        level = next(level for level in LEVELS if level == row["level"])
        found[(level, row["key"], row["outcome"])] = Prior(
            rate=float(row["rate"]),
            low=float(row["low"]),
            high=float(row["high"]),
            logit_sd=float(row["logit_sd"]),
            level=level,
            source=row["sources"],
        )
    return MappingProxyType(found)


def prior(therapy: Therapy, outcome: Outcome = "severe") -> Prior:
    """The base rate of `therapy`: product in the indication, else product, else group, else class.

    Raises:
        UnknownTherapyError: the therapy's class is none of those known.
    """
    keys: list[tuple[Level, str]] = []
    if therapy.in_catalogue:
        keys = [("indication", therapy.key), ("product", f"{therapy.product}/{therapy.group}")]
    if therapy.group:
        keys.append(("group", therapy.group))
    keys.append(("class", therapy.class_))
    for level, key in keys:
        found = _priors().get((level, key, outcome))
        if found is not None:
            return found
    raise UnknownTherapyError(
        f"therapy class {therapy.class_!r} has no base rate; accepted: {', '.join(CLASSES)}"
    )


def main() -> None:
    """Write `data/priors.csv` anew and say where."""
    from crsrisk.prior_fit import recompute

    file = Path(__file__).parent / "data" / "priors.csv"
    file.write_text(recompute(), encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
