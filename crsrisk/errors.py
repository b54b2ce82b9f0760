"""Every error that crsrisk raises on purpose about what a user or a hospital sent.

A message says what came, what is accepted and what to do. It names variables, units, files, rows and columns,
never a patient's values or identifiers: messages reach logs.
"""

from typing import Any


class CrsRiskError(ValueError):
    """Base of all errors about input; the service answers 422, the command line one line and exit code 2."""


class CohortError(CrsRiskError):
    """A cohort folder that can't be used; `problems` holds one sentence per finding."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TimeError(CrsRiskError):
    """A time without zone, out of order or not to be parsed."""


class UnitError(CrsRiskError):
    """A missing or unknown unit, or a number that is none."""


class UnknownVariableError(CrsRiskError):
    """A variable that the analyte catalogue does not list."""


class UnknownTherapyError(CrsRiskError):
    """A therapy that neither the catalogue nor the cohort's therapies.toml lists."""


class ModelError(CrsRiskError):
    """A model version that is missing, incomplete, altered or made for other features."""


class GateError(ModelError):
    """A version that the gate refuses to promote.

    reasons: one sentence per failing row, beginning with its name; verdict: every row with its numbers.
    """

    def __init__(self, name: str, version: str, reasons: list[str], verdict: dict[str, Any]) -> None:
        self.reasons, self.verdict = reasons, verdict
        listed = "\n".join(f"  - {reason}" for reason in reasons)
        super().__init__(f"{name} version {version} is not promoted; the gate refuses it:\n{listed}")


class PromotionConflictError(ModelError):
    """Another promotion or rollback came between; nothing was changed."""


class NotEnoughDataError(CrsRiskError):
    """Too few patients or events for what was asked."""
