"""Benchmarks: commands that print ratios against a named alternative, measured in the same run."""
