"""Text for people, in English and Japanese: one flat table of dotted keys per language.

Names of analytes, groups and therapies come from their own tables, all other text from
`data/labels*.LANGUAGE.toml`. The key sets of the two languages are equal (tests/registry).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from crsrisk.analytes import analytes
from crsrisk.data_files import table
from crsrisk.therapies import groups, therapies

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
FILES = ("labels", "labels.features", "labels.pages", "labels.report")


@cache
def labels(language: Language) -> Mapping[str, str]:
    """All labels of a language by dotted key, such as `analyte.crp` or `grade.state.review`.

    Raises:
        ValueError: the language is neither `en` nor `ja`, or two files give one key.

    >>> labels("en")["family.cd19_cart"]
    'CD19 CAR-T cells'
    """
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r}; accepted: {', '.join(LANGUAGES)}")
    found = dict(_names(language))
    for name in FILES:
        file = f"{name}.{language}.toml"
        for key, text in _flat(table(file) or {}, ""):
            if key in found:
                raise ValueError(f"{file}: {key!r} is given twice; a label stands in one place")
            found[key] = text
    return MappingProxyType(found)


def label(key: str, language: Language) -> str:
    """One label.

    Raises:
        KeyError: no such label.
    """
    return labels(language)[key]


def _names(language: Language) -> Iterator[tuple[str, str]]:
    """Names that stand in the tables; a therapy without a Japanese name keeps its international one."""
    english = language == "en"
    for analyte in analytes().values():
        yield f"analyte.{analyte.key}", analyte.name_en if english else analyte.name_ja
    for group in groups().values():
        yield f"group.{group.key}", group.name_en if english else group.name_ja
    for therapy in therapies().values():
        yield f"therapy.{therapy.key}", therapy.name if english else therapy.name_ja or therapy.name


def _flat(tables: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
