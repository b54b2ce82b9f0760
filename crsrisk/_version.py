"""The version that all four packages share."""

__version__ = "0.1.0"
