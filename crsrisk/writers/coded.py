"""Codes under which writers state a variable: a standard code where readers map it back, and always our own.

Every reader understands the system `urn:crsrisk`, so that a cohort written in any format keeps variables that no
standard names.
"""

from functools import cache

from crsrisk.analytes import analytes
from crsrisk.cohort import Cohort
from crsrisk.errors import CrsRiskError
from crsrisk.readers.codes import OWN, Meaning, coding, meaning
from crsrisk.readers.site_map import SiteMap

LOINC = "http://loinc.org"
NOTHING_STATED = SiteMap()


@cache
def codings_of(variable: str) -> tuple[tuple[str, str], ...]:
    """(system, code) of a variable, the preferred one first.

    The first LOINC code of the analyte comes first if it means this very variable to a reader; our own code is
    always there. A variable that the catalogue does not list has our own code alone.

    >>> codings_of("crp")
    (('http://loinc.org', '1988-5'), ('urn:crsrisk', 'crp'))
    >>> codings_of("o2_flow")
    (('urn:crsrisk', 'o2_flow'),)
    """
    own = ((OWN, variable),)
    known = analytes().get(variable)
    if known is None or not known.loinc:
        return own
    code = known.loinc[0]
    found = meaning(coding(LOINC, code), NOTHING_STATED)
    return ((LOINC, code), *own) if found == Meaning("variable", variable) else own


def require_dated(cohort: Cohort) -> None:
    """Check that every course has an index time.

    Raises:
        CrsRiskError: hours alone can't be written as times.
    """
    undated = int(cohort.courses["index_time"].isna().sum())
    if undated:
        raise CrsRiskError(
            f"{undated} of {len(cohort.courses)} courses have no index_time; accepted: a cohort with times; "
            "a cohort in hours can't be written in a format that holds times"
        )
