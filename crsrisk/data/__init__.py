"""Data files of the package; no code."""
