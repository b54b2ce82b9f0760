"""Which variables are administrations of a drug, and which units are those of a rate."""

import re
from functools import lru_cache

from crsrisk.analytes import analytes

_PER_TIME = re.compile(r"/\s*(min|minute|h|hr|hour|s|sec|d|day|24h)\.?$", re.IGNORECASE)


def is_drug(variable: str) -> bool:
    """Whether a variable is a dose or an infusion rate; a heart rate is neither.

    >>> is_drug("tocilizumab_dose"), is_drug("norepinephrine_rate"), is_drug("heart_rate")
    (True, True, False)
    """
    known = analytes().get(variable)
    if known is None:
        return False
    return variable.endswith("_dose") or (variable.endswith("_rate") and known.kind == "intervention")


@lru_cache(maxsize=4096)
def is_rate_unit(unit: str) -> bool:
    """Whether a unit is one of a rate.

    >>> is_rate_unit("ug/kg/min"), is_rate_unit("mg/kg"), is_rate_unit("mL/h")
    (True, False, True)
    """
    return _PER_TIME.search(unit.strip()) is not None
