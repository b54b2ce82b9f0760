"""The way in for `mlflow models serve`: MLflow runs this file (a "model from code") beside its packages.

`/invocations` takes {"inputs": [<body of POST /v1/risk>, ...]} and answers {"predictions": [<answer>, ...]}.
A bad body gets problem details in its place, because MLflow's own errors repeat what was sent.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from serving.problems import problem_of_error
from serving.scorer import Scorer
from training.track import model_beside, without_hint_warnings

with without_hint_warnings():
    import mlflow
    from mlflow.pyfunc import PythonModel, PythonModelContext

    class RiskEntry(PythonModel):
        """Answers REST bodies with the model beside it."""

        def load_context(self, context: PythonModelContext) -> None:
            """Read and verify the data of the version; code and data must belong together."""
            model, info = model_beside(Path(context.artifacts["model"]))
            self.scorer = Scorer({str(model.family): (model, info)})

        def predict(self, model_input: list[dict[str, Any]]) -> list[dict[str, Any]]:
            """An answer, or problem details, per body and in the order of the bodies."""
            return [self._one(body) for body in model_input]

        def _one(self, body: dict[str, Any]) -> dict[str, Any]:
            try:
                return self.scorer.score(body)
            except Exception as error:  # one bad body must not cost the others their answer
                return problem_of_error(error).body(str(uuid.uuid4()))


mlflow.models.set_model(RiskEntry())
