"""The leak report: signs that a cohort tells a model what no one could have known, or tells it twice."""
