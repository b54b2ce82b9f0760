"""Risk of severe cytokine release syndrome (ASTCT grade 3 or above) after T-cell-engaging therapy.

The functions below do the same as the verbs of the command line; each loads what it needs when first used.
"""

from crsrisk._version import __version__

__all__ = ["__version__"]
