"""Who is at risk when, splits, fit, calibration, evaluation and MLflow tracking."""

from crsrisk._version import __version__

__all__ = ["__version__"]
