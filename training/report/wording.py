"""The report in one language: labels, numbers, and sentences that a run logged in English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Literal

from crsrisk.labels import Language, labels

SAID = "report.said."
SEVERAL = "; "  # between reasons that are logged as one
Style = Literal["plain", "ratio", "share", "benefit", "count", "hours", "rate", "threshold"]
DIGITS: Mapping[str, int] = {"plain": 3, "ratio": 2, "benefit": 4, "count": 0, "hours": 1, "rate": 1}
PERCENT_DIGITS = {"share": 1, "threshold": 1}
MINUS = "−"


@dataclass(frozen=True)
class Wording:
    """Labels of one language and how it writes numbers, intervals and times."""

    language: Language

    @property
    def labels(self) -> Mapping[str, str]:
        """All labels."""
        return labels(self.language)

    def text(self, key: str, **fields: object) -> str:
        """A label of the report, its named fields filled in."""
        found = self.labels[f"report.{key}"]
        return found.format(**fields) if fields else found

    def has(self, key: str) -> bool:
        """Whether the report has such a label."""
        return f"report.{key}" in self.labels

    def name(self, kind: str, key: str) -> str:
        """A label of another table (`family`, `feature`...), the key itself where there is none."""
        return self.labels.get(f"{kind}.{key}", key)

    def therapy(self, key: str) -> str:
        """Name of a product with the key of the therapy, since a product has a therapy for each indication."""
        name = self.name("therapy", key)
        return key if name == key else self.text("therapy.named", name=name, therapy=key)

    def word(self, kind: str, key: str) -> str:
        """A label of the report such as `model.logistic`, the key itself where there is none."""
        return self.labels.get(f"report.{kind}.{key}", key)

    def number(self, value: float, style: Style = "plain") -> str:
        r"""A number as it is shown; never more digits than a reader can use.

        >>> en = Wording("en")
        >>> [en.number(x, s) for x, s in ((0.71249, "plain"), (0.0754, "share"), (-0.00123, "benefit"))]
        ['0.712', '7.5\xa0%', '−0.0012']
        """
        if not isfinite(value):
            return self.text("number.none")
        if style in PERCENT_DIGITS:
            digits = 1 if round(value * 100, 1) != round(value * 100) or style == "share" else 0
            return _signed(f"{value * 100:.{digits}f}") + self.text("number.percent")
        return _signed(f"{value:,.{DIGITS[style]}f}")

    def interval(self, low: float, high: float, style: Style = "plain") -> str:
        """Both ends of an interval."""
        return self.text("number.interval", low=self.number(low, style), high=self.number(high, style))

    def list(self, names: list[str]) -> str:
        """Names in one list."""
        return self.text("number.separator").join(names)

    def hours(self, hours: float) -> str:
        """A number of hours."""
        return self.text("number.hours", hours=f"{hours:g}")

    def horizon(self, name: str) -> str:
        """A horizon by its name in tables: `24`, `72`, `rest`, `all`."""
        return (
            self.word("horizon", name) if name in ("rest", "all") else self.text("horizon.hours", hours=name)
        )

    def moment(self, when: datetime) -> str:
        """Date and time, with the zone."""
        return self.text(
            "number.moment",
            year=f"{when.year:04d}",
            month=f"{when.month:02d}",
            day=f"{when.day:02d}",
            clock=when.strftime("%H:%M"),
            zone=when.tzname() or "",
        )

    def said(self, sentence: str) -> tuple[str, str]:
        """A logged sentence in this language, with the language it is in where that is another ('' else).

        The English labels are the forms of what the program logs; a sentence that fits none stays as it is.
        """
        if self.language == "en" or not sentence:
            return sentence, ""
        for key, form in _forms():
            found = form.fullmatch(sentence)
            if found:
                fields = {name: self._field(name, value) for name, value in found.groupdict().items()}
                return self.labels[key].format(**fields), ""
        several = [self.said(part) for part in sentence.split(SEVERAL)] if SEVERAL in sentence else []
        if several and not any(lang for _, lang in several):
            return self.text("number.several").join(text for text, _ in several), ""
        return sentence, "en"

    def _field(self, name: str, value: str) -> str:
        if name == "family":
            return self.name("family", value)
        if name in ("score", "model"):
            return self.word("logged_model", value)
        if name == "rescue":
            return self.word("logged_rescue", value)
        return self.said(value)[0] if name == "reasons" else value


def _signed(number: str) -> str:
    """Without a negative zero, with a minus sign instead of a hyphen."""
    if number.startswith("-") and not number.strip("-0.,"):
        number = number[1:]
    return number.replace("-", MINUS)


@cache
def _forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Keys of said sentences with a pattern each, the longest literal text first."""
    english = {key: text for key, text in labels("en").items() if key.startswith(SAID)}
    literal = {key: len(re.sub(r"\{\w+\}", "", text)) for key, text in english.items()}
    return tuple((key, _pattern(english[key])) for key in sorted(english, key=lambda k: -literal[k]))


def _pattern(form: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", form)
    seen: set[str] = set()
    built = []
    for part in parts:
        name = part[1:-1] if re.fullmatch(r"\{\w+\}", part) else ""
        if not name:
            built.append(re.escape(part))
        elif name in seen:
            built.append(f"(?P={name})")
        else:
            seen.add(name)
            built.append(f"(?P<{name}>.+?)" if name == "reasons" else f"(?P<{name}>(?:(?!{SEVERAL}).)+?)")
    return re.compile("".join(built))
