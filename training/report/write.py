"""From a registered version to its report: one HTML file, and the model card beside it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crsrisk._version import __version__
from crsrisk.errors import CrsRiskError
from crsrisk.labels import LANGUAGES, Language
from training.registry import DEFAULT_TRACKING_URI
from training.report import about, checklists, further, inside, people, performance, treatment, use
from training.report.blocks import Block, Document, Items, Section, Table, Text, text_cell
from training.report.card import FILE, card_text
from training.report.logged import TABLES, Logged, read_logged
from training.report.page import render
from training.report.wording import Wording

SUFFIXES = (".html", ".htm")
Files = Mapping[str, str]  # text by file name
SECTIONS: Sequence[Callable[[Logged, Wording], Section]] = (
    about.short,
    about.purpose,
    about.limitations,
    people.flow,
    people.therapies,
    performance.performance,
    performance.calibrated,
    use.benefit,
    use.alert_load,
    further.groups,
    further.elsewhere,
    further.stability,
    treatment.treatment,
    inside.overview,
    inside.predictors,
    inside.recipe,
    checklists.tripod,
    checklists.probast,
    checklists.onc,
)


@dataclass(frozen=True)
class Report:
    """What was written, and about which version."""

    name: str
    version: str
    language: Language
    html: Path
    card: Path
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "name": self.name,
            "version": self.version,
            "language": self.language,
            "report": str(self.html),
            "model_card": str(self.card),
            "not_logged": list(self.absent),
        }

    def to_text(self) -> str:
        """Where it lies, and what the version lacks."""
        lines = [f"{self.name} version {self.version}: {self.html} and {self.card}"]
        if self.absent:
            lines.append(f"not logged with this version, and said so in the report: {', '.join(self.absent)}")
        return "\n".join(lines)


def write_report(
    name: str,
    version: str | None,
    out: str | Path,
    *,
    language: str = "en",
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
    now: datetime | None = None,
) -> Report:
    """Write the report of a version as one HTML file and `model_card.json` into the same folder.

    Args:
        name: registered name, `crsrisk-<family>`.
        version: its number; None: the champion, or the newest where none was promoted.
        out: file to write, .html; or a folder, for `report.<language>.html` in it.
        language: en or ja; the card is always English.
        tracking_uri: MLflow tracking and registry address.
        store_url: address of the store of champions; None: beside a registry in SQLite.
        now: the moment that the report states; None: the present.

    Raises:
        CrsRiskError: another ending, an unknown language, or a card of another version in the same folder.
        ModelError: no such version, or what it logged can't be read or contradicts itself.
    """
    chosen = next((one for one in LANGUAGES if one == language), None)
    if chosen is None:
        raise CrsRiskError(f"language {language!r}; accepted: {', '.join(LANGUAGES)}")
    file = _file(Path(out), chosen)
    logged = read_logged(name, version, tracking_uri=tracking_uri, store_url=store_url)
    card = file.parent / FILE
    _same_version(card, logged)
    page = _page(logged, chosen, now)
    file.parent.mkdir(parents=True, exist_ok=True)
    _replace(file, page)
    _replace(card, card_text(logged))
    return Report(logged.name, logged.number, chosen, file, card, logged.absent)


def report_files(
    name: str,
    version: str,
    *,
    tracking_uri: str = DEFAULT_TRACKING_URI,
    store_url: str | None = None,
    now: datetime | None = None,
) -> Files:
    """The report of a version in every language, and its card, for the version's own run; see `write_report`."""
    logged = read_logged(name, version, tracking_uri=tracking_uri, store_url=store_url)
    pages = {_named(language): _page(logged, language, now) for language in LANGUAGES}
    return {**pages, FILE: card_text(logged)}


def _page(logged: Logged, language: Language, now: datetime | None) -> str:
    return render(document(logged, Wording(language), now or datetime.now(UTC)), language)


def _named(language: Language) -> str:
    return f"report.{language}.html"


def _file(out: Path, language: Language) -> Path:
    """The file to write: the one that is named, or the usual one of a folder.

    Raises:
        CrsRiskError: it names a file that is no HTML.
    """
    if out.is_dir() or not out.suffix:
        if out.is_file():
            raise CrsRiskError(f"--out {out.name} is a file there already; name a folder or a file .html")
        return out / _named(language)
    if out.suffix.lower() not in SUFFIXES:
        raise CrsRiskError(
            f"--out {out.name}: the report is an HTML file; name one that ends in .html, or a folder"
        )
    return out


def document(logged: Logged, wording: Wording, now: datetime) -> Document:
    """The whole report as data."""
    family = wording.name("family", logged.family)
    return Document(
        title=wording.text("title", name=logged.name, version=logged.number),
        lead=wording.text("lead", family=family),
        banners=about.banners(logged, wording),
        sections=[*(make(logged, wording) for make in SECTIONS), _notes(logged, wording)],
        foot=[
            wording.text("foot.made", time=wording.moment(now), program=__version__),
            wording.text("foot.numbers", run=str(logged.version["run_id"])),
        ],
    )


def _notes(logged: Logged, wording: Wording) -> Section:
    """Every sentence that the run logged, and which tables it lacks."""
    blocks: list[Block] = [Text(text=wording.text("notes.text"))]
    if logged.notes:
        blocks.append(Items(items=[wording.said(note) for note in logged.notes]))
    else:
        blocks.append(Text(text=wording.text("notes.none"), weight="note"))
    if logged.absent:
        rows = [
            (text_cell(stem), text_cell(wording.text(f"table.{stem}")))
            for stem in TABLES
            if stem in logged.absent
        ]
        heads = (wording.text("column.table"), wording.text("column.holds"))
        blocks.append(Table(caption=wording.text("notes.absent"), head=heads, rows=rows))
    return Section(key="notes", title=wording.text("section.notes"), blocks=blocks)


def _same_version(card: Path, logged: Logged) -> None:
    """A card that is there already must be of this version, or writing would lose another's.

    Raises:
        CrsRiskError: it is another's, or no card of ours.
    """
    if not card.exists():
        return
    try:
        there = json.loads(card.read_text(encoding="utf-8"))["model"]
        known = f"{there['name']} version {there['version']}"
        same = there["digest"] == logged.version["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CrsRiskError(
            f"{FILE} in the folder of the report is no card of crsrisk; write the report into another folder"
        ) from None
    if not same or known != f"{logged.name} version {logged.number}":
        raise CrsRiskError(
            f"{FILE} in the folder of the report belongs to {known}; write this report into another folder"
        )


def _replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
