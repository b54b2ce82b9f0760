"""What the program itself can answer of the reporting guidelines, by the name that `reporting_items.csv` uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from training.report.about import findings, horizons, limits, moments, population
from training.report.logged import Logged
from training.report.wording import Wording
from training.resampling import FEWEST_EVENTS
from training.subgroups import LEAST_EVENTS, LEAST_PATIENTS

# Inputs that ONC asks about, 45 CFR 170.315(b)(11)(iv)(A)(5)-(13), and the predictors that hold them.
DEMOGRAPHIC: Mapping[str, tuple[str, ...]] = {
    "race": (),
    "ethnicity": (),
    "language": (),
    "sexual_orientation": (),
    "gender_identity": (),
    "sex": ("sex_female_last_baseline",),
    "date_of_birth": ("age_last_baseline",),
    "social_determinants": (),
    "health_status": ("ecog_last_baseline",),
}
Answer = Callable[[Logged, Wording], str]


def answer(name: str, logged: Logged, wording: Wording) -> str:
    """An answer in the report's language; '' where this version gives the program nothing to say.

    Raises:
        KeyError: no answer of this name.
    """
    made = _MADE.get(name)
    return made(logged, wording) if made is not None else wording.text(f"answer.{name}")


def names() -> frozenset[str]:
    """Answers that depend on the version; every other name is a label `report.answer.<name>`."""
    return frozenset(_MADE)


def _title(logged: Logged, wording: Wording) -> str:
    family = wording.name("family", logged.family)
    return wording.text("answer.title", name=logged.name, version=logged.number, family=family)


def _data_source(logged: Logged, wording: Wording) -> str:
    kind = "simulated" if logged.simulated else "real"
    return wording.text(f"answer.data_source.{kind}", digest=str(logged.version["dataset_digest"]))


def _treatments(logged: Logged, wording: Wording) -> str:
    kind = "among" if _uses_treatment(logged) else "not_among"
    return wording.text(f"answer.treatments.{kind}")


def _uses_treatment(logged: Logged) -> bool:
    from features.registry import FEATURES

    given = {f.name for f in FEATURES if f.role == "treatment"}
    return bool(given & set(logged.model.feature_names))


def _preparation(logged: Logged, wording: Wording) -> str:
    return _with_findings("answer.preparation", logged, wording)


def _leakage(logged: Logged, wording: Wording) -> str:
    return _with_findings("answer.leakage", logged, wording)


def _with_findings(key: str, logged: Logged, wording: Wording) -> str:
    told = [wording.text(key), findings(logged, wording)]
    return wording.text("number.sentence_separator").join(text for text in told if text)


def _outcome(logged: Logged, wording: Wording) -> str:
    return wording.text(
        "answer.outcome", horizons=horizons(logged, wording), landmarks=moments(logged, wording)
    )


def _predictor_choice(logged: Logged, wording: Wording) -> str:
    return wording.text(f"answer.predictor_choice.{_kind(logged)}", count=len(logged.model.feature_names))


def _said(logged: Logged, mark: str, wording: Wording) -> str:
    """A logged note that holds these words, in the report's language."""
    note = next((n for n in logged.notes if mark in n), "")
    return wording.said(note)[0]


def _sample_size(logged: Logged, wording: Wording) -> str:
    counted = wording.text("answer.counts", patients=logged.patients, events=logged.events)
    said = _said(logged, "criteria of Riley", wording) or _said(logged, "no sample size can", wording)
    return f"{counted} {said}".strip()


def _data_use(logged: Logged, wording: Wording) -> str:
    return wording.text("answer.data_use", folds=logged.params.get("folds", wording.text("number.none")))


def _functional_form(logged: Logged, wording: Wording) -> str:
    return wording.text(f"answer.functional_form.{_kind(logged)}")


def _model_type(logged: Logged, wording: Wording) -> str:
    told = wording.text(f"answer.model_type.{logged.model.strategy}")
    if logged.model.booster_text is None:
        return told
    return told + " " + wording.text("answer.tuning", trials=logged.params.get("trials", "0"))


def _overfitting(logged: Logged, wording: Wording) -> str:
    return wording.text(f"answer.overfitting.{_kind(logged)}")


def _kind(logged: Logged) -> str:
    return "offset" if logged.model.booster_text is None else "trees"


def _heterogeneity(logged: Logged, wording: Wording) -> str:
    return wording.text(f"answer.heterogeneity.{'none' if logged.table('validation') is None else 'done'}")


def _heterogeneity_found(logged: Logged, wording: Wording) -> str:
    return "" if logged.table("validation") is None else wording.text("answer.heterogeneity.done")


def _measures(logged: Logged, wording: Wording) -> str:
    resamples = logged.params.get("resamples", wording.text("number.none"))
    return wording.text("answer.measures", resamples=resamples, least=FEWEST_EVENTS)


def _calculated(logged: Logged, wording: Wording) -> str:
    return wording.text(
        "answer.calculated", name=logged.name, version=logged.number, digest=str(logged.version["digest"])
    )


def _fairness(_: Logged, wording: Wording) -> str:
    return wording.text("answer.fairness", patients=LEAST_PATIENTS, events=LEAST_EVENTS)


def _code(logged: Logged, wording: Wording) -> str:
    told = wording.text("answer.code", program=logged.tags.get("crsrisk_version", "?"))
    commit = logged.params.get("git_commit") or logged.tags.get("git_commit")
    return told if not commit else told + " " + wording.text("answer.commit", commit=commit)


def _flow(logged: Logged, wording: Wording) -> str:
    if logged.table("attrition") is None:
        return ""
    others = logged.patients - logged.events
    return wording.text("answer.flow", patients=logged.patients, events=logged.events, others=others)


def _counts(logged: Logged, wording: Wording) -> str:
    return wording.text("answer.counts", patients=logged.patients, events=logged.events)


def _characteristics(logged: Logged, wording: Wording) -> str:
    there = logged.table("predictors") is not None or logged.table("therapies") is not None
    return wording.text("answer.characteristics") if there else ""


def _shown(logged: Logged, wording: Wording) -> str:
    return wording.text("answer.performance") if logged.metrics else ""


def _internal_fairness(logged: Logged, wording: Wording) -> str:
    if logged.table("subgroups") is None:
        return ""
    return wording.text("answer.internal_fairness", patients=LEAST_PATIENTS, events=LEAST_EVENTS)


def _limitations(logged: Logged, wording: Wording) -> str:
    return wording.text("number.sentence_separator").join(limits(logged, wording))


def _inputs(logged: Logged, wording: Wording) -> str:
    there = set(logged.model.feature_names)
    used = [k for k, features in DEMOGRAPHIC.items() if there & set(features)]
    unused = [k for k in DEMOGRAPHIC if k not in used]
    if logged.model.booster_text is None:
        return wording.text("answer.inputs.offset")
    return wording.text(
        "answer.inputs.trees",
        used=wording.list([wording.text(f"demographic.{k}") for k in used]) or wording.text("number.none"),
        unused=wording.list([wording.text(f"demographic.{k}") for k in unused]),
    )


_MADE: Mapping[str, Answer] = {
    "title": _title,
    "population": population,
    "data_source": _data_source,
    "treatments": _treatments,
    "preparation": _preparation,
    "leakage": _leakage,
    "outcome": _outcome,
    "predictor_choice": _predictor_choice,
    "sample_size": _sample_size,
    "data_use": _data_use,
    "functional_form": _functional_form,
    "model_type": _model_type,
    "overfitting": _overfitting,
    "heterogeneity": _heterogeneity,
    "heterogeneity_found": _heterogeneity_found,
    "measures": _measures,
    "calculated": _calculated,
    "fairness": _fairness,
    "code": _code,
    "flow": _flow,
    "counts": _counts,
    "characteristics": _characteristics,
    "performance": _shown,
    "internal_fairness": _internal_fairness,
    "limitations": _limitations,
    "inputs": _inputs,
}
