"""A report as one HTML file: no script, nothing fetched, print style for the browser's PDF."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from crsrisk.labels import Language
from training.report.blocks import Document
from training.report.wording import Wording

FOLDER = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def render(document: Document, language: Language) -> str:
    """The HTML of a report.

    Every text is escaped; only drawings of our own, which escape theirs, come in as markup.
    """
    style = Markup((FOLDER / "report.css").read_text(encoding="utf-8"))  # noqa: S704  # a file of this package
    return _template().render(
        document=document,
        w=Wording(language),
        style=style,
        css_title=Markup(_css_string(document.title)),  # noqa: S704  # a quoted string
        policy=POLICY,
        markup=Markup,
    )


def _css_string(text: str) -> str:
    r"""The text as a string of a style sheet, which ends neither the string nor the style element.

    >>> print(_css_string('a "b" </style>'))
    "a \22 b\22  \3c \2f style\3e "
    """
    return '"' + "".join(c if c.isalnum() or c in " .,:_-" else f"\\{ord(c):x} " for c in text) + '"'
