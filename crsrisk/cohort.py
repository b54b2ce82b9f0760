"""The cohort: read it from a folder or from records of one patient, write it, look into it."""

from crsrisk.cohort_frames import Cohort
from crsrisk.cohort_read import read_cohort
from crsrisk.cohort_write import write_cohort

__all__ = ["Cohort", "read_cohort", "write_cohort"]
