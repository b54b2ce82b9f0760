"""Time zero and the dose clock of one patient: which administrations open courses, which are doses of them.

Nothing is guessed. Two candidates within 48 hours, a product of several indications without a disease, or a series
whose amounts are missing are questions for the site; its answer is a line of the site map.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

from crsrisk.readers.site_map import SiteMap, StatedCourse
from crsrisk.therapies import Therapy, is_engager, therapies
from crsrisk.times import MICROSECONDS_PER_HOUR, NOT_A_TIME

ASK_WITHIN_HOURS = 48.0
"""Two candidates for a time zero closer than this are a question; rule of the EHR specification of the design."""
STEP_APART_HOURS = 12.0
"""Rising doses of one engager this far apart are steps of its schedule; closer ones may be one dose told twice."""
BAG_HOURS = 168.0
"""A continuous infusion without a recorded end goes on when the next bag follows within this time: our convention."""
SAME_DOSE_HOURS = 6.0
"""A dose this shortly before a stated time zero is probably the one that is meant: asked about, not dropped."""
CONTINUOUS = "civ"
DISEASE_OF = {"MRD": "ALL"}
"""Second parts of therapy keys that do not name their disease: residual disease has the code of its leukaemia."""


@dataclass(frozen=True)
class Administration:
    """One recorded administration of a therapy.

    product: name of the product, or key of the therapy when the record says it.
    amount_mg: nan when it is not recorded or not readable.
    pace_mg_h: how quickly it ran, by its rate or by amount and duration; nan when not known.
    row: place of the record.
    """

    start_us: int
    product: str
    amount_mg: float = nan
    end_us: int = NOT_A_TIME
    row: int = 0
    pace_mg_h: float = nan

    @property
    def strength(self) -> float:
        """What a later bag of a continuous infusion must exceed to be a step: the pace, else the amount."""
        return self.amount_mg if isnan(self.pace_mg_h) else self.pace_mg_h


@dataclass(frozen=True)
class FoundCourse:
    """One course: therapy, time zero, rows of the administrations that are doses, rows of the others that belong."""

    therapy: str
    index_us: int
    doses: tuple[int, ...] = ()
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Question:
    """What the site has to say before a patient's courses can be made."""

    code: str
    text: str
    starts_us: tuple[int, ...] = ()


@dataclass(frozen=True)
class PatientCourses:
    """The courses of a patient in order of time, or the question that stands in the way; `stated` by the site."""

    courses: tuple[FoundCourse, ...] = ()
    question: Question | None = None
    stated: bool = False


@dataclass
class _Open:
    """A course that still takes doses."""

    therapy: Therapy
    index_us: int
    doses: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    amounts: list[float] = field(default_factory=list)
    latest: Administration | None = None

    def closed(self) -> FoundCourse:
        """The course; a single dose without an amount opens it and is no event."""
        if len(self.amounts) == 1 and isnan(self.amounts[0]):
            return FoundCourse(self.therapy.key, self.index_us, (), (*self.doses, *self.others))
        return FoundCourse(self.therapy.key, self.index_us, tuple(self.doses), tuple(self.others))


class _AskError(Exception):
    def __init__(self, question: Question) -> None:
        self.question = question


def find_courses(
    given: Sequence[Administration], diseases: Collection[str], site: SiteMap, patient_id: str
) -> PatientCourses:
    """The courses of one patient.

    Args:
        given: administrations of therapies, any order.
        diseases: tokens of the patient's diseases, as therapy keys name them.
        site: explicit time zeros, indications of products, length of a gap between two series.
        patient_id: to look up explicit time zeros.
    """
    stated = site.courses.get(patient_id, ())
    try:
        if stated:
            return PatientCourses(tuple(_stated(stated, given, site)), stated=True)
        return PatientCourses(tuple(_found(_distinct(given), diseases, site)))
    except _AskError as error:
        return PatientCourses(question=error.question)


def therapy_of(product: str, diseases: Collection[str], site: SiteMap) -> Therapy:
    """The therapy that a product was given as: the only one that fits the disease, else the one that the site states.

    Raises:
        _AskError: none or several fit.
    """
    known = {**therapies(), **site.registered}
    if product in known:
        return known[product]
    possible = [one for one in therapies().values() if one.product == product]
    fitting = [one for one in possible if _fits(one, diseases)] if len(possible) > 1 else possible
    if len(fitting) == 1:
        return fitting[0]
    stated = site.therapies.get(
        product
    )  # of all patients, so it must not overrule what the data say of this one
    if stated is not None and stated in known and (not fitting or known[stated] in fitting):
        return known[stated]
    names = (
        ", ".join(one.key for one in fitting or possible)
        or "a key of the catalogue or of [investigational.KEY]"
    )
    raise _AskError(
        Question(
            "WHICH_INDICATION",
            f"{product} was given: the data do not say as which of {names}; write into the site map for this patient, "
            f'under [courses."PATIENT_ID"]: therapy = "KEY", index_time = "TIME"; or for all patients of whom the data '
            f'do not say it, under [therapies]: "{product}" = "KEY"',
        )
    )


def _fits(one: Therapy, diseases: Collection[str]) -> bool:
    """Whether the second part of a key names one of the diseases: LBCL3L, LBCL2L and DLBCL are LBCL."""
    part = one.key.split("_", 1)[1]
    part = DISEASE_OF.get(part, part)
    return any(part.startswith(disease) or part.endswith(disease) for disease in diseases)


def _distinct(given: Sequence[Administration]) -> list[Administration]:
    """Administrations in order of time; one that two records tell of stands once, with its amount.

    Records of one product at one moment are one administration when at most one amount is told.
    """
    merged: dict[tuple[int, str], list[Administration]] = {}
    for one in given:
        merged.setdefault((one.start_us, one.product), []).append(one)
    kept = []
    for group in merged.values():
        told = {one.amount_mg for one in group if not isnan(one.amount_mg)}
        if len(told) > 1:
            raise _AskError(_two_time_zeros(group))
        kept.append(min(group, key=lambda one: (isnan(one.amount_mg), one.end_us, one.row)))
    return sorted(kept, key=lambda one: (one.start_us, one.product))


def _found(given: Sequence[Administration], diseases: Collection[str], site: SiteMap) -> list[FoundCourse]:
    courses: list[_Open] = []
    course: _Open | None = None  # another product ends the series before it
    before: Administration | None = None
    for one in given:
        if one.amount_mg == 0.0:
            continue  # charted as not given
        therapy = therapy_of(one.product, diseases, site)
        same = course is not None and course.therapy.key == therapy.key and is_engager(therapy)
        if before is not None:
            _ask_when_too_close(before, one, continuous=same and therapy.route == CONTINUOUS, series=same)
        before = one
        if course is None or not same or _gap_hours(course, one) > site.series_gap_days * 24.0:
            course = _Open(therapy, one.start_us)
            courses.append(course)
        _take(course, one)
    for opened in courses:
        _ask_when_amounts_are_missing(opened)
    return [opened.closed() for opened in courses]


def _ask_when_too_close(
    before: Administration, one: Administration, *, continuous: bool, series: bool
) -> None:
    """Ask unless the later of two administrations is a bag that goes on or a step of the same series."""
    apart = (one.start_us - before.start_us) / MICROSECONDS_PER_HOUR
    step = series and one.amount_mg > before.amount_mg and apart >= STEP_APART_HOURS
    if apart < ASK_WITHIN_HOURS and not continuous and not step:
        raise _AskError(_two_time_zeros([before, one]))


def _two_time_zeros(candidates: Sequence[Administration]) -> Question:
    return Question(
        "TWO_TIME_ZEROS",
        f"{len(candidates)} administrations of therapies within {ASK_WITHIN_HOURS:.0f} h are candidates for a time "
        'zero; write into the site map under [courses."PATIENT_ID"]: therapy = "KEY", index_time = "TIME"',
        tuple(sorted({one.start_us for one in candidates})),
    )


def _gap_hours(course: _Open, one: Administration) -> float:
    latest = course.latest
    if latest is None:
        return 0.0
    end = max(latest.start_us, latest.end_us)
    return (one.start_us - end) / MICROSECONDS_PER_HOUR


def _take(course: _Open, one: Administration) -> None:
    """Note an administration as a dose of the course, or as one that goes on."""
    latest = course.latest
    if course.therapy.route == CONTINUOUS and latest is not None:
        _ask_when_not_comparable(latest, one)
    goes_on = (
        course.therapy.route == CONTINUOUS
        and latest is not None
        and not one.strength > latest.strength
        and _gap_hours(course, one) <= (BAG_HOURS if latest.end_us == NOT_A_TIME else ASK_WITHIN_HOURS)
    )
    if goes_on or not is_engager(course.therapy):
        course.others.append(one.row)
    else:
        daily = course.therapy.route == CONTINUOUS and not isnan(one.pace_mg_h)
        course.doses.append(one.row)
        course.amounts.append(one.pace_mg_h * 24.0 if daily else one.amount_mg)
    course.latest = one


def _ask_when_not_comparable(latest: Administration, one: Administration) -> None:
    """A bag is a step when it runs faster: both paces must be known, or both amounts and neither pace."""
    same_kind = isnan(latest.pace_mg_h) == isnan(one.pace_mg_h)
    if not same_kind or isnan(latest.strength) or isnan(one.strength):
        raise _AskError(
            Question(
                "RATE_OF_INFUSION",
                "bags of a continuous infusion do not all tell their rate, or amount and duration: whether one is a "
                "step is not known; deliver rates",
                (latest.start_us, one.start_us),
            )
        )


def _ask_when_amounts_are_missing(course: _Open) -> None:
    """Every dose opens a window; one that can't be written down would shift the windows of the others."""
    missing = [amount for amount in course.amounts if isnan(amount)]
    if missing and len(course.amounts) > 1:
        raise _AskError(
            Question(
                "DOSE_WITHOUT_AMOUNT",
                f"{len(missing)} of {len(course.amounts)} doses of a series have no amount in mg or ug; deliver them "
                "with their amounts",
                (course.index_us,),
            )
        )


def _stated(
    stated: Sequence[StatedCourse], given: Sequence[Administration], site: SiteMap
) -> list[FoundCourse]:
    """Courses as the site states them; administrations of the therapy from its time zero on are its doses."""
    known = {**therapies(), **site.registered}
    ends = [*(course.index_us for course in stated[1:]), None]
    distinct, found = _distinct(given), []
    for course, end in zip(stated, ends, strict=True):
        therapy = known.get(course.therapy)
        if therapy is None:
            raise _AskError(
                Question(
                    "UNKNOWN_THERAPY",
                    "[courses] names a therapy that neither the catalogue nor the map lists",
                )
            )
        inside = []
        for one in distinct:
            after = (one.start_us - course.index_us) / MICROSECONDS_PER_HOUR
            if one.amount_mg == 0.0 or (end is not None and one.start_us >= end):
                continue
            mine = one.product in (therapy.product, therapy.key)
            if is_engager(therapy) and mine and after >= 0.0:
                inside.append(one)
            elif (is_engager(therapy) and mine and after > -SAME_DOSE_HOURS) or after >= ASK_WITHIN_HOURS:
                raise _AskError(_not_as_stated(one))
        opened = _Open(therapy, course.index_us)
        for one in inside:
            _take(opened, one)
        _ask_when_amounts_are_missing(opened)
        found.append(opened.closed())
    return found


def _not_as_stated(one: Administration) -> Question:
    return Question(
        "NOT_AS_STATED",
        "[courses] states the time zeros of this patient, but a therapy was also given shortly before one, or more "
        f"than {ASK_WITHIN_HOURS:.0f} h after it without being part of it; correct the time, or state that course too",
        (one.start_us,),
    )
