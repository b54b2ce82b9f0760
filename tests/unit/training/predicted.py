"""Held-out risks of a made-up family: several rows a patient, alike, as cross-validation gives them."""

import numpy as np
import pandas as pd

from training.offset import sigmoid


def predicted(
    n: int = 200,
    *,
    landmarks: tuple[float, ...] = (0.0, 24.0),
    models: tuple[str, ...] = ("crsrisk",),
    seed: int = 0,
    slope: float = 1.0,
) -> pd.DataFrame:
    """Rows of n patients for 24 h and the rest of the window; `slope` spoils the risks of all models but the first."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(-1.2, 1.2, n)
    severe = rng.random(n) < sigmoid(margin)
    hours = rng.uniform(30.0, 90.0, n)
    parts = []
    for landmark in landmarks:
        for horizon, rest in ((24.0, False), (336.0 - landmark, True)):
            within = severe & (hours > landmark) & (hours <= landmark + horizon)
            noise = rng.normal(0, 0.2, n)
            for k, model in enumerate(models):
                parts.append(
                    pd.DataFrame(
                        {
                            "model": model, "repeat": 0, "fold": 0, "family": "cd19_cart",
                            "therapy": "axi-cel_LBCL3L", "course_id": [f"c{i}" for i in range(n)],
                            "patient_id": [f"p{i}" for i in range(n)], "dose": 1, "landmark_hours": landmark,
                            "horizon_hours": horizon, "rest_of_window": rest, "severe": within.astype(int),
                            "weight": 1.0, "risk": sigmoid((margin + noise) * (slope if k else 1.0)),
                        }
                    )
                )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
