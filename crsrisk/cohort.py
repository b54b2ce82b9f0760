"""The cohort: read it from a folder or from records of one patient, write it, look into it."""

from crsrisk.cohort_frames import Cohort
from crsrisk.cohort_read import read_cohort
from crsrisk.cohort_write import write_cohort
from crsrisk.records import Rejected, course_from_records

__all__ = ["Cohort", "Rejected", "course_from_records", "read_cohort", "write_cohort"]
