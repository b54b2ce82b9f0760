"""Scorer, REST service and web pages; reads saved models, never trains."""

from crsrisk._version import __version__

__all__ = ["__version__"]
