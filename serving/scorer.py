"""The scorer: a request, or a whole cohort, in; risks with their explanation out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from crsrisk.errors import TimeError
from crsrisk.labels import labels
from crsrisk.records import course_from_records
from crsrisk.therapies import Therapy
from features.matrix import DEFAULT_LANDMARKS, index_doses
from features.registry import FEATURES
from serving.estimate import Estimator, Explained, Models, RowEstimate
from serving.problems import parse_body
from serving.published_scores import published_scores
from serving.schema import CONTRACT, NOTICE, RiskRequest

if TYPE_CHECKING:
    import pandas as pd

    from crsrisk.cohort import Cohort

TOP = 10  # contributions in a row of a cohort file
SCORE_COLUMNS = (
    "course_id", "dose", "landmark_hours", "horizon_hours", "risk", "low", "high", "abstained", "reason",
    "therapy", "family", "therapy_seen", "model", "version", "digest", "notes", "contributions",
)  # fmt: skip
_UNITS = {feature.name: feature.unit for feature in FEATURES} | {"landmark_hours": "h", "horizon_hours": "h"}


class Scorer:
    """Answers with a fixed set of registered models, one per therapy family; immutable.

    Args:
        models: model and version by family, as `training.champions.load_champions` gives them.
        therapies: investigational therapies beside the catalogue, by key.
    """

    def __init__(self, models: Models, *, therapies: Mapping[str, Therapy] | None = None) -> None:
        self._estimator = Estimator(models)
        self._therapies = dict(therapies or {})
        self._served = [_served(family, models) for family in sorted(models)]

    def models(self) -> list[dict[str, Any]]:
        """The versions that answer, by name."""
        return self._served

    def score(self, request: RiskRequest | Mapping[str, Any]) -> dict[str, Any]:
        """The answer of POST /v1/risk (docs/rest.md) as plain JSON types.

        Raises:
            RequestError: a body that breaks the contract, with JSON pointers.
            UnknownTherapyError: the therapy must be registered.
            TimeError: as_of lies before the index time.
            ModelError: the explanation does not add up; the answer is withheld.
        """
        checked = request if isinstance(request, RiskRequest) else parse_body(request)
        hours = _hours(checked.as_of - checked.course.index_time)
        if hours < 0:
            raise TimeError("as_of lies before index_time; a prediction starts at the index time or later")
        course = checked.course.model_dump(exclude_none=True)
        observations = [one.model_dump(exclude_none=True) for one in checked.observations]
        cohort, rejected = course_from_records(course, observations, checked.as_of, self._therapies)
        [row] = self._estimator.estimate(cohort, _at([cohort.courses["course_id"].iloc[0]], [hours]))
        answer = _answer(row, checked.as_of, checked.course.index_time)
        answer["scores"] = published_scores(cohort.timeline(), hours)
        answer["quality"] = {
            "used": len(observations) - len(rejected),
            "missing": list(row.missing),
            "stale": list(row.stale),
            "rejected": [{"index": one.index, "reason": one.reason} for one in rejected],
        }
        return answer

    def score_cohort(self, cohort: Cohort, landmarks: Sequence[float] = DEFAULT_LANDMARKS) -> pd.DataFrame:
        """Risks of every course at every landmark inside a dose's window, one row per horizon or abstention.

        Args:
            cohort: the courses; its own therapies.toml is known.
            landmarks: hours after each dose.

        Returns:
            SCORE_COLUMNS; risk, low and high are probabilities; contributions is JSON of the ten largest
            contributions at the horizon that is explained, empty in the other rows.
        """
        import pandas as pd

        doses = index_doses(cohort)
        wanted = sorted({float(hours) for hours in landmarks})
        pairs = [
            (course_id, start + landmark)
            for course_id, start, end in zip(
                doses["course_id"].tolist(),
                doses["dose_hours"].tolist(),
                doses["window_end_hours"].tolist(),
                strict=True,
            )
            for landmark in wanted
            if landmark < end
        ]
        at = _at([course_id for course_id, _ in pairs], [hours for _, hours in pairs])
        rows = [
            line for row in self._estimator.estimate(cohort, at, with_quality=False) for line in _lines(row)
        ]
        return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def score_patient(models: Models, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of POST /v1/risk in Python; times may be aware datetimes."""
    return Scorer(models).score(body)


def _answer(row: RowEstimate, as_of: datetime, index_time: datetime) -> dict[str, Any]:
    info = row.info
    return {
        "prediction_id": str(uuid.uuid4()),
        "as_of": as_of.isoformat(),
        "dose": row.dose,
        "landmark_hours": round(row.landmark_hours, 6),
        "contract": CONTRACT,
        "therapy": row.therapy.key,
        "family": row.therapy.family,
        "therapy_seen": row.therapy_seen,
        "model": None if info is None else info._asdict(),
        "risks": [risk._asdict() for risk in row.risks],
        "explanation": None if row.explained is None else _explanation(row.explained, index_time),
        "scores": [],
        "grade": {"now": row.grade.grade, "state": row.grade.state, "rule": row.grade.rule},
        "quality": {},
        "abstained": row.reason is not None,
        "reason": row.reason,
        "notes": list(row.notes),
        "notice": NOTICE,
    }


def _explanation(explained: Explained, index_time: datetime) -> dict[str, Any]:
    words = labels("en")
    return {
        "horizon_hours": explained.horizon_hours,
        "base": explained.base,
        "contributions": [
            {
                "feature": share.feature,
                "label": words.get(f"feature.{share.feature}", share.feature),
                "value": share.value if isfinite(share.value) else None,
                "unit": _UNITS[share.feature],
                "time": _moment(index_time, share.hours),
                "log_odds": share.log_odds,
            }
            for share in explained.shares
        ],
        "calibration": {"intercept": explained.intercept, "slope": explained.slope},
        "log_odds": explained.log_odds,
    }


def _lines(row: RowEstimate) -> list[dict[str, Any]]:
    shared = {
        "course_id": row.course_id,
        "dose": row.dose,
        "landmark_hours": round(row.landmark_hours, 6),
        "abstained": row.reason is not None,
        "reason": row.reason,
        "therapy": row.therapy.key,
        "family": row.therapy.family,
        "therapy_seen": row.therapy_seen,
        "model": None if row.info is None else row.info.name,
        "version": None if row.info is None else row.info.version,
        "digest": None if row.info is None else row.info.digest,
        "notes": " ".join(row.notes),
    }
    if not row.risks:
        return [shared]
    explained = row.explained
    return [
        shared
        | {"horizon_hours": r.horizon_hours, "risk": r.probability, "low": r.low, "high": r.high}
        | (
            {"contributions": _top(explained)}
            if explained is not None and explained.horizon_hours == r.horizon_hours
            else {}
        )
        for r in row.risks
    ]


def _top(explained: Explained) -> str:
    shown = [
        {
            "feature": share.feature,
            "value": share.value if isfinite(share.value) else None,
            "unit": _UNITS[share.feature],
            "hours": share.hours if isfinite(share.hours) else None,
            "log_odds": share.log_odds,
        }
        for share in explained.shares[:TOP]
    ]
    return json.dumps(shown, ensure_ascii=False)


def _served(family: str, models: Models) -> dict[str, Any]:
    model, info = models[family]
    return {
        **info._asdict(),
        "family": family,
        "strategy": model.strategy,
        "feature_digest": model.feature_digest,
        "n_patients": model.n_patients,
        "n_events": model.n_events,
        "therapies_seen": sorted(model.therapies_seen),
    }


def _at(course_ids: list[str], hours: list[float]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"course_id": pd.array(course_ids, dtype="str"), "as_of_hours": hours})


def _hours(span: timedelta) -> float:
    return span // timedelta(microseconds=1) / 3_600_000_000


def _moment(index_time: datetime, hours: float) -> str | None:
    if not isfinite(hours):
        return None
    return (index_time + timedelta(microseconds=round(hours * 3_600_000_000))).isoformat()
