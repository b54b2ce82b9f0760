"""The report of a registered version: one HTML file, and the model card beside it.

Every number comes from what the version's run logged; nothing is measured anew here. What a
run logs for it beyond the evaluation is made by `training.report.evidence`.
"""
