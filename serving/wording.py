"""Numbers, times and units as words of one language; every sentence comes from the label tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from math import floor
from typing import Literal

Language = Literal["en", "ja"]
Labels = Callable[[Language], Mapping[str, str]]
MINUS = "−"
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOWEST, _HIGHEST = 0.01, 0.95  # outside these no whole percentage is claimed


@dataclass(frozen=True)
class Wording:
    """The label table of one language, and how it writes numbers and times.

    `zone` is the time zone in which clock times are shown.
    """

    language: Language
    labels: Mapping[str, str]
    zone: tzinfo

    def text(self, key: str, **fields: object) -> str:
        """The label, its named fields filled in."""
        return self.labels[key].format(**fields) if fields else self.labels[key]

    def text_or(self, key: str, otherwise: str) -> str:
        """The label, or `otherwise` where the table has no such key."""
        return self.labels.get(key, otherwise)

    def name(self, variable: str) -> str:
        """An analyte's name; the key itself where the table has none."""
        return self.text_or(f"analyte.{variable}", variable)

    def names(self, variables: Sequence[str]) -> str:
        """Several analytes' names in one list."""
        return self.text("page.list_separator").join(self.name(v) for v in variables)

    def percent(self, risk: float) -> str:
        r"""A risk (0 to 1) as a whole percentage; below 1 % and above 95 % no number is claimed.

        >>> from datetime import UTC
        >>> from crsrisk.labels import labels
        >>> [Wording("en", labels("en"), UTC).percent(p) for p in (0.004, 0.064, 0.97)]
        ['<1\xa0%', '6\xa0%', '>95\xa0%']
        """
        return self._bounded("page.percent", risk)

    def of_100(self, risk: float) -> str:
        """How many of 100 patients that is, bounded like the percentage."""
        if risk < _LOWEST:
            return self.text("page.number.below")
        return self.text("page.number.above") if risk > _HIGHEST else str(whole_percent(risk))

    def interval(self, low: float, high: float) -> str:
        """Both ends as percentages."""
        return self.text("page.interval.short", low=self.percent(low), high=self.percent(high))

    def frequency(self, risk: float, low: float, high: float) -> str:
        """The risk as a natural frequency with its interval, out of 100 patients."""
        return self._bounded("page.frequency", risk, low=self.of_100(low), high=self.of_100(high))

    def _bounded(self, key: str, risk: float, **fields: object) -> str:
        if risk < _LOWEST:
            return self.text(f"{key}.below", **fields)
        if risk > _HIGHEST:
            return self.text(f"{key}.above", **fields)
        number = whole_percent(risk)
        return self.text(key, number=number, count=number, **fields)

    def points(self, change: float) -> str:
        """A change of risk in whole percentage points, without sign."""
        return str(whole_percent(abs(change)))

    def horizon(self, hours: float, *, fixed: bool) -> str:
        """A horizon in words; `fixed` is False for the rest of the window."""
        if fixed:
            return self.text("page.horizon", hours=number(hours))
        if hours >= 48:
            return self.text("page.horizon.rest_days", days=number(round(hours / 24)))
        return self.text("page.horizon.rest", hours=number(round(hours)))

    def age(self, hours: float) -> str:
        """A span of time: minutes below 2 hours, hours below 3 days, then days."""
        if hours < 2:
            return self.text("page.minutes", minutes=round(hours * 60))
        if hours < 72:
            return self.text("page.hours", hours=round(hours))
        return self.text("page.days", days=round(hours / 24))

    def clock(self, moment: datetime) -> str:
        """Date and time of day in the site's zone, which is named."""
        there = moment.astimezone(self.zone)
        return self.text(
            "page.time.clock",
            year=f"{there.year:04d}",
            month=f"{there.month:02d}",
            day=f"{there.day:02d}",
            clock=there.strftime("%H:%M"),
            zone=there.tzname() or "",
        )

    def moment(self, hours: float, index_time: datetime | None) -> str:
        """A time of a course: by the clock when its index time is known, else in hours since it."""
        if index_time is None:
            return self.text("page.time.relative", hours=number(round(hours)))
        return self.clock(index_time + timedelta(hours=hours))

    def since(self, hours: float, dose: int | None) -> str:
        """Time since the infusion, or since the dose of an engager."""
        if dose is None:
            return self.text("page.since_infusion", hours=number(round(hours)))
        return self.text("page.since_dose", hours=number(round(hours)), dose=dose)

    def day(self, course_hours: float, hours: float, dose: int | None) -> str:
        """Day of the course (0 is the first day) and time since the infusion or the dose."""
        key = "page.day_infusion" if dose is None else "page.day_dose"
        day = number(floor(course_hours / 24))
        return self.text(key, day=day, hours=number(round(hours)), dose=dose)

    def unit(self, unit: str | None) -> str:
        """A unit as people write it; a unit that a site reported stays as it is."""
        if not unit:
            return ""
        if unit.endswith("/d") and f"unit.{unit}" not in self.labels:
            return self.text("page.unit_per_day", unit=self.unit(unit.removesuffix("/d")))
        return self.text_or(f"unit.{unit}", readable_unit(unit))

    def value(self, value: float, unit: str | None) -> str:
        """A value with its unit."""
        shown = self.unit(unit)
        if not shown:
            return number(value)
        return self.text("page.value", value=number(value), unit=shown)

    def log_odds(self, value: float) -> str:
        """A contribution in log odds, always with its sign."""
        return f"{signed(value, 2)}"


def readable_unit(unit: str) -> str:
    """A unit as a site reports it, in signs that people read.

    >>> [readable_unit(u) for u in ("[degF]", "10*9/L", "umol/L", "10^4/uL", "mg/dL")]
    ['°F', '×10⁹/L', 'µmol/L', '×10⁴/µL', 'mg/dL']
    """
    shown = unit.replace("[degF]", "°F").replace("[", "").replace("]", "")
    shown = re.sub(r"10[*^](\d)", lambda power: "×10" + power[1].translate(_SUPERSCRIPT), shown)
    return re.sub(r"(^|/)u(?=[gklLm])", r"\1µ", shown)


def whole_percent(risk: float) -> int:
    """A risk as a whole percentage, halves rounded up as people do.

    >>> whole_percent(0.125)
    13
    """
    return floor(risk * 100 + 0.5)


def number(value: float) -> str:
    """A number in at most three figures after large digits, without trailing zeros, with a true minus sign.

    >>> [number(x) for x in (5400.0, 37.8, 0.1234, -2.50, 12345.6)]
    ['5400', '37.8', '0.123', '−2.5', '12346']
    """
    magnitude = abs(value)
    decimals = 0 if magnitude >= 1000 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.replace("-", MINUS)


def signed(value: float, decimals: int) -> str:
    """A number with fixed decimals and its sign; zero carries none.

    >>> [signed(x, 2) for x in (0.7, -0.254, 0.001)]
    ['+0.70', '−0.25', '0.00']
    """
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text
