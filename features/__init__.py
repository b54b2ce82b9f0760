"""Declared predictors and the engine that computes them; no model, no web."""

from crsrisk._version import __version__

__all__ = ["__version__"]
