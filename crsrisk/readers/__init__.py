"""Readers of other people's data: each turns a source into records; `convert` makes a cohort folder of them."""
