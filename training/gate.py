"""The gate: may a challenger replace the champion? One row per question, each with number, interval and limit.

Both are judged on the same rows, by risks that were given without having seen the patient (`gate_pairs`), by
paired differences with patient-bootstrap intervals. The limits and their reasons stand in `gate_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import pandas as pd

from training.gate_evidence import Leaks
from training.gate_judged import Judged, fewest, reaches, standard_error, widened
from training.gate_pairs import Compared
from training.gate_rules import LIMITS, THRESHOLDS
from training.gate_verdict import Figure, GateRow, Verdict
from training.resampling import FEWEST_EVENTS, RESAMPLES
from training.sample_size import development_size
from training.single_thread import single_thread
from training.subgroups import LEAST_EVENTS, LEAST_PATIENTS


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a challenger learned from.

    patients, events: with labelled rows, and with severe CRS among them. predictors: candidate predictors.
    leaks: what its cohort's leak report found; None when none was kept. leaks_elsewhere: of the validation
    cohort, None without one. care: in words, how CRS was treated otherwise than where the champion learned.
    simulated: the patients do not exist. champion_real: the champion learned from real ones.
    """

    strategy: str
    patients: int
    events: int
    predictors: int
    leaks: Leaks | None
    leaks_elsewhere: Leaks | None = None
    care: str = ""
    simulated: bool = False
    champion_real: bool = False


def judge(
    name: str,
    version: str,
    learned: Learned,
    compared: Compared,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Every row of the gate.

    Args:
        name: registered name.
        version: of the challenger.
        learned: what the challenger learned from.
        compared: both versions' risks of the same rows.
        resamples: bootstrap resamples of the intervals.
        seed: of the resampling.
    """
    enough = _same_patients(compared)
    rows = [_provenance(learned), _sample_size(learned), enough]
    if not enough.passed:  # without a fair comparison there is nothing to say about who is better
        return Verdict(name, version, (*rows, _leaks(learned, None)))
    with single_thread():
        return Verdict(name, version, (*rows, *_compared_rows(learned, compared, resamples, seed)))


def _compared_rows(learned: Learned, compared: Compared, resamples: int, seed: int) -> list[GateRow]:
    judged = list(_populations(compared, resamples, seed))
    everyone = judged[0]
    return [
        _leaks(learned, everyone.alone("auroc")),
        _discrimination(judged, compared.against),
        _calibration(judged, compared.against),
        _net_benefit(judged, compared.against),
        _worst_subgroup(everyone, compared.against),
        _published_score(everyone, compared.scores),
        _batch(compared, resamples, seed),
        _care(learned),
    ]


def _populations(compared: Compared, resamples: int, seed: int) -> Iterator[Judged]:
    """All compared rows, and those of patients whom both versions' cohorts have.

    The data of the known passed the gate before. A batch with wrong labels makes whoever believed it look
    good on itself, but not on them.
    """
    rows = compared.rows
    yield Judged(rows, "all", resamples, seed)
    known = rows[rows["group"] == "known"]
    if 0 < len(known) < len(rows) and fewest(known) >= LIMITS["same_patients", "least_events"]:
        yield Judged(known, "known patients", resamples, seed)


# ---- what is known about the challenger


def _provenance(learned: Learned) -> GateRow:
    limit = "patients that exist, where the champion learned from such"
    if learned.simulated and learned.champion_real:
        said = "trained on simulated patients, while the champion learned from real ones"
        return GateRow("provenance", False, said, limit)
    kind = "simulated" if learned.simulated else "real"
    return GateRow("provenance", True, f"trained on {kind} patients", limit)


def _sample_size(learned: Learned) -> GateRow:
    need = LIMITS["sample_size", "own_events" if learned.strategy == "own" else "shared_events"]
    limit = f"at least {need:g} patients with severe CRS and {need:g} without"
    events, patients = learned.events, learned.patients
    least = min(events, patients - events)
    sentence = (
        f"{events} of {patients} patients had severe CRS; a model like this one needs {need:g} with and {need:g} "
        "without"
    )
    figures = [Figure("patients", patients), Figure("patients with severe CRS", events)]
    if 0 < events < patients and learned.predictors:
        size = development_size(events / patients, learned.predictors)
        figures.append(Figure("patients that the criteria of Riley ask for", size.required))
    deciding = Figure("patients of the rarer outcome", least)
    return GateRow("sample_size", least >= need, sentence, limit, deciding, tuple(figures))


def _same_patients(compared: Compared) -> GateRow:
    need = LIMITS["same_patients", "least_events"]
    limit = (
        f"at least {need:g} patients with severe CRS and {need:g} without, known to the champion or of a validation "
        "cohort, each judged by models that had not seen it"
    )
    if compared.problem:
        return GateRow("same_patients", False, compared.problem, limit)
    rows = compared.rows
    patients = int(rows["patient"].nunique())
    events = int(rows.loc[rows["severe"] > 0, "patient"].nunique())
    least = fewest(rows[rows["group"] != "new"])  # a batch of new patients alone would be its own judge
    told = f"{patients} patients, {events} with severe CRS, compared with {compared.against}"
    groups = {str(group): int(part["patient"].nunique()) for group, part in rows.groupby("group", sort=True)}
    if len(groups) > 1:
        told += " (" + ", ".join(f"{n} {group}" for group, n in groups.items()) + ")"
    if compared.left_out:
        told += "; left out: " + ", ".join(f"{n} rows {why}" for why, n in compared.left_out.items())
    if least < need:
        told += (
            f"; {need:g} with and {need:g} without are needed among those not new: train with more of the champion's "
            "patients, or give a validation cohort"
        )
    figures = tuple(Figure("patients", n, among=group) for group, n in groups.items())
    deciding = Figure("patients of the rarer outcome", least)
    return GateRow("same_patients", least >= need, told, limit, deciding, figures)


def _leaks(learned: Learned, auroc: Figure | None) -> GateRow:
    """A certain leak refuses; a suspicion does where the comparison rests on the cohort that it is about."""
    most, highest = LIMITS["leaks", "findings"], LIMITS["leaks", "highest_auroc"]
    limit = (
        "no certain leak, no suspicion in the cohort that is compared on that predictors tell the outcome, and no "
        f"AUROC above {highest:g} for certain"
    )
    if learned.leaks is None:
        return GateRow("leaks", False, "no leak report was kept with this version; train it again", limit)
    cohorts = {"training cohort": learned.leaks}
    if learned.leaks_elsewhere is not None:
        cohorts["validation cohort"] = learned.leaks_elsewhere
    *others, last = cohorts.values()
    count = last.certain + last.suspected + sum(other.certain for other in others)
    sentence = "; ".join(f"{name}: {_found(leaks)}" for name, leaks in cohorts.items())
    if count > most:
        sentence += ", see: crsrisk check"
    implausible = auroc is not None and isfinite(auroc.low) and auroc.low > highest
    if implausible:
        sentence += f"; the AUROC is {auroc}: too good to be a prediction"
    figures = () if auroc is None else (auroc,)
    deciding = Figure("findings that count", count)
    return GateRow("leaks", count <= most and not implausible, sentence, limit, deciding, figures)


def _found(leaks: Leaks) -> str:
    """The findings of a leak report in words."""
    told = [
        f"{number} {word} leak{'' if number == 1 else 's'}"
        for number, word in zip(leaks, Leaks._fields, strict=True)
        if number
    ]
    return " and ".join(told) or "no leak found"


# ---- challenger and champion


def _discrimination(judged: Sequence[Judged], against: str) -> GateRow:
    least, least_low = (LIMITS["discrimination", key] for key in ("least_difference", "least_low"))
    limit = f"difference at least {least:g}, lower end of its interval at least {least_low:g}"

    def passes(figure: Figure) -> bool:
        return figure.number >= least and figure.low >= least_low

    figures = [part.difference("auroc") for part in judged]
    shown = min(figures, key=lambda figure: (passes(figure), figure.number))
    pair = f"{shown.second:.3f} against {shown.first:.3f} of {against}"
    sentence = f"AUROC {pair}{shown.among_whom()}, difference {shown}"
    return GateRow("discrimination", passes(shown), sentence, limit, shown, tuple(figures))


def _calibration(judged: Sequence[Judged], against: str) -> GateRow:
    level, slope_low, slope_high = (LIMITS["calibration", k] for k in ("level", "slope_low", "slope_high"))
    limit = (
        f"calibration in the large within {level:g} of 0 and slope {slope_low:g} to {slope_high:g} (intervals reach "
        "into it), ICI not larger"
    )
    faults: list[str] = []
    figures: list[Figure] = []
    for part in judged:
        faults += _calibration_faults(part, against)
        figures += [part.alone(name) for name in ("calibration_intercept", "calibration_slope", "ici")]
        figures.append(part.difference("ici"))
    shown, slope = (judged[0].alone(name) for name in ("calibration_intercept", "calibration_slope"))
    sentence = "; ".join(faults) or f"calibration in the large {shown}, slope {slope}"
    return GateRow("calibration", not faults, sentence, limit, shown, tuple(figures))


def _calibration_faults(part: Judged, against: str) -> list[str]:
    level, far = LIMITS["calibration", "level"], LIMITS["calibration", "level_estimate"]
    worse, clearly = (LIMITS["calibration", key] * part.rate for key in ("ici_worse", "ici_estimate"))
    intercept, slope = part.alone("calibration_intercept"), part.alone("calibration_slope")
    ici = part.difference("ici")
    faults = []
    if not reaches(intercept, -level, level) or abs(intercept.number) > far:
        faults.append(f"calibration in the large {intercept}{intercept.among_whom()}")
    if isfinite(slope.number) and not reaches(
        slope, LIMITS["calibration", "slope_low"], LIMITS["calibration", "slope_high"]
    ):
        faults.append(f"slope {slope}{slope.among_whom()}")
    if (ici.low > 0 and ici.number > worse) or ici.number > clearly:
        faults.append(
            f"mean distance from the observed risk larger than that of {against} by {ici}{ici.among_whom()}"
        )
    return faults


def _net_benefit(judged: Sequence[Judged], against: str) -> GateRow:
    least, certain = LIMITS["net_benefit", "least_difference"], LIMITS["net_benefit", "least_certain"]
    limit = (
        f"at thresholds {', '.join(f'{t:g}' for t in THRESHOLDS)}: not lower by {-least:g} of the event rate, nor for "
        f"certain by {-certain:g}"
    )
    places = []
    for part in judged:
        for threshold in THRESHOLDS:
            figure = part.difference(f"net_benefit_{threshold:g}")
            share = figure.number / part.rate
            lost = widened(figure, len(judged) * len(THRESHOLDS)).high < 0
            passed = share >= least and not (lost and share < certain)
            places.append((passed, share, threshold, figure))
    passed, share, threshold, shown = min(places, key=lambda place: place[:2])
    sentence = (
        f"at {threshold:g} the net benefit differs from that of {against} by {shown}, {share:+.1%} of the event rate"
        f"{shown.among_whom()}"
    )
    return GateRow("net_benefit", passed, sentence, limit, shown, tuple(place[3] for place in places))


def _worst_subgroup(everyone: Judged, against: str) -> GateRow:
    least, level = LIMITS["worst_subgroup", "least_difference"], LIMITS["worst_subgroup", "level"]
    limit = f"in no subgroup an AUROC lower by {-least:g} or a level off by {level:g} for certain"
    groups = everyone.subgroups()
    if not groups:
        said = f"no subgroup has {LEAST_PATIENTS} patients and {LEAST_EVENTS} of each outcome"
        return GateRow("worst_subgroup", True, said, limit)
    faults, figures = [], []
    for part in groups:
        gap, mine = part.difference("auroc"), part.alone("calibration_intercept")
        theirs = part.alone("calibration_intercept", "champion")
        figures += [gap, mine]
        if gap.number < least and widened(gap, 2 * len(groups)).high < 0:
            faults.append(f"{part.among}: AUROC differs from that of {against} by {gap}")
        off = not reaches(widened(mine, 2 * len(groups)), -level, level)
        if off and abs(mine.number) > abs(theirs.number) + LIMITS["worst_subgroup", "closer"]:
            faults.append(f"{part.among}: calibration in the large {mine}")
    shown = min((part.difference("auroc") for part in groups), key=lambda figure: figure.number)
    sentence = "; ".join(faults) or (
        f"of {len(groups)} subgroups {shown.among} has the lowest difference of AUROC, {shown}"
    )
    return GateRow("worst_subgroup", not faults, sentence, limit, shown, tuple(figures))


def _published_score(everyone: Judged, scores: Sequence[str]) -> GateRow:
    least, least_low = (LIMITS["published_score", key] for key in ("least_difference", "least_low"))
    limit = (
        f"AUROC above that of the best, lower end of the interval of the difference at least {least_low:g}"
    )
    figures = {score: everyone.difference("auroc", score) for score in scores}
    best = max(figures, key=lambda score: figures[score].first)
    shown = figures[best]
    passed = shown.number > least and shown.low >= least_low
    sentence = (
        f"AUROC {shown.second:.3f} against {shown.first:.3f} of {best}, the best of {', '.join(scores)}; difference "
        f"{shown}"
    )
    return GateRow("published_score", passed, sentence, limit, shown, tuple(figures.values()))


def _batch(compared: Compared, resamples: int, seed: int) -> GateRow:
    """Whether patients new to the champion are like those it knows, and those it knows have their outcome still.

    Only therapies that both have count: one that comes for the first time may well have another level than
    was published.
    """
    auroc, level, changed = (LIMITS["batch", name] for name in ("auroc", "level", "labels"))
    limit = (
        f"new patients' AUROC not different by {auroc:g}, nor the level by {level:g}, for certain; other labels than "
        f"before in at most {changed:g} of as many known patients as had severe CRS"
    )
    relabelled = _relabelled(compared.rows)
    faults, figures = [], [relabelled]
    if relabelled.number > changed:
        faults.append(
            f"{relabelled.second:g} known patients have another label than before, where {relabelled.first:g} had "
            "severe CRS"
        )
    before, after = _known_and_new(compared.rows, resamples, seed)
    if min(before.fewest(), after.fewest()) < FEWEST_EVENTS:
        sentence = (
            f"fewer than {FEWEST_EVENTS} of an outcome among known or new patients of the same therapies: nothing to "
            "compare"
        )
    else:
        sentence = "new patients are like the known ones of the same therapies"
        found, further = _shifts(before, after)
        faults, figures = faults + found, figures + further
    if faults:
        sentence = "; ".join(faults) + (
            ": labels, units, care or patients changed. Find out which; when it is no error, judge on a validation "
            "cohort of today's patients"
        )
    return GateRow("batch", not faults, sentence, limit, figures=tuple(figures))


def _relabelled(rows: pd.DataFrame) -> Figure:
    """Known patients with another label than the champion was judged on, per patient with severe CRS."""
    known = rows[rows["severe_then"].notna()]
    other = known.loc[known["severe"] != known["severe_then"], "patient"].nunique()
    severe = known.loc[(known["severe"] > 0) | (known["severe_then"] > 0), "patient"].nunique()
    return Figure(
        "known patients with another label than before, per patient with severe CRS",
        other / severe if severe else 0.0,
        first=severe,
        second=other,
        among="known patients",
    )


def _known_and_new(rows: pd.DataFrame, resamples: int, seed: int) -> tuple[Judged, Judged]:
    """Patients that the champion knows and those that it does not, of the therapies that both have."""
    known, new = (rows[rows["group"] == group] for group in ("known", "new"))
    both = set(known["therapy"]) & set(new["therapy"])
    before, after = (part[part["therapy"].isin(both)] for part in (known, new))
    return (
        Judged(before, "known patients", resamples, seed),
        Judged(after, "new patients", resamples, seed),
    )


def _shifts(before: Judged, after: Judged) -> tuple[list[str], list[Figure]]:
    """Figures in which new patients differ from known ones for certain, in words; and all of them."""
    z = LIMITS["batch", "z"]
    faults, figures = [], []
    for model, metric, limit in (
        ("champion", "auroc", "auroc"),
        ("challenger", "auroc", "auroc"),
        ("champion", "calibration_intercept", "level"),
    ):
        old, late = before.alone(metric, model), after.alone(metric, model)
        figures += [old, late]
        gap = abs(late.number - old.number)
        far = gap > z * float(np.hypot(standard_error(old), standard_error(late)))
        if far and gap > LIMITS["batch", limit]:
            faults.append(f"{old.name} is {old.number:.2f} in known and {late.number:.2f} in new patients")
    return faults, figures


def _care(learned: Learned) -> GateRow:
    """Whether CRS was treated as where the champion learned; on a validation cohort the risks themselves tell."""
    limit = "no change of treatment policy, or a validation cohort of today's patients"
    told = learned.care or "no change of treatment policy was found"
    elsewhere = learned.leaks_elsewhere is not None
    if learned.care:
        told += (
            " Judged on a validation cohort."
            if elsewhere
            else " Judge on a validation cohort of today's patients."
        )
    return GateRow("care", not learned.care or elsewhere, told, limit)
