"""A cohort in the format that was asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from crsrisk.cohort_frames import Cohort
from crsrisk.errors import CrsRiskError

FORMATS: Mapping[str, tuple[str, str]] = {
    "fhir": ("crsrisk.writers.fhir", "write_fhir"),
    "omop": ("crsrisk.writers.omop", "write_omop"),
    "meds": ("crsrisk.writers.meds", "write_meds"),
    "hl7v2": ("crsrisk.writers.hl7v2", "write_hl7v2"),
    "csv": ("crsrisk.writers.spreadsheet", "write_csv"),
}


def export(cohort: Cohort, folder: Path, to: str) -> Path:
    """Write a dated cohort; the folder.

    Args:
        cohort: every course with an index_time.
        folder: an empty folder.
        to: fhir, omop, meds, hl7v2 or csv.

    Raises:
        CrsRiskError: unknown format, or a cohort in hours, which no exchange format can hold.
    """
    if to not in FORMATS:
        raise CrsRiskError(f"--to {to[:20]!r}; accepted: {', '.join(FORMATS)}")
    if cohort.courses["index_time"].isna().any():
        raise CrsRiskError(
            "courses have no index_time; accepted: a dated cohort, since exchange formats hold times, not hours"
        )
    module, name = FORMATS[to]
    write: Callable[[Cohort, Path], None] = getattr(import_module(module), name)
    write(cohort, folder)
    return folder
