"""The files of a FHIR source and their resources, one after the other in bounded memory."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.fhir_json import (
    CHUNK_BYTES,
    DAMAGED,
    RESOURCE_BYTES,
    TOO_LONG,
    Document,
    Entry,
    UnreadableError,
    decoded_line,
)

NOT_JSON = "NOT_SUPPORTED: FHIR in XML; accepted: JSON or NDJSON"

_MEMBER = re.compile(rb'\s*"\w+"\s*:')
_BOM = b"\xef\xbb\xbf"
_NDJSON = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
_JSON = (".json", ".json.gz")


@dataclass(frozen=True)
class FhirFile:
    """A file of the source; `name` is its path below the source."""

    path: Path
    name: str

    @property
    def is_json(self) -> bool:
        """Whether its name says JSON or NDJSON."""
        return self.name.lower().endswith((*_NDJSON, *_JSON))

    @property
    def is_xml(self) -> bool:
        """Whether its name says XML."""
        return self.name.lower().endswith(".xml")

    def open(self) -> BinaryIO:
        """The bytes of the file, decompressed.

        Raises:
            CrsRiskError: the file can't be opened.
        """
        try:
            if self.name.lower().endswith(".gz"):
                return cast(BinaryIO, gzip.open(self.path, "rb"))
            return self.path.open("rb")
        except OSError as error:
            raise CrsRiskError(f"{named(self.name)} can't be read: {error.strerror}") from error


def fhir_files(source: Path) -> tuple[FhirFile, ...]:
    """The files of a source, sorted by name: those below a folder without hidden ones, or the file itself.

    Raises:
        CrsRiskError: there is no such file or folder.
    """
    if source.is_file():
        return (FhirFile(source, source.name),)
    if not source.is_dir():
        raise CrsRiskError(
            f"{named(source.name)}: no such file or folder; accepted: a FHIR Bundle (.json), an NDJSON file, or a "
            "folder of them"
        )
    found = []
    for path in source.rglob("*"):
        inside = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            found.append(FhirFile(path, inside.as_posix()))
    return tuple(sorted(found, key=lambda file: file.name))


def entries(
    file: FhirFile, encoding: str = "utf-8", wanted: Callable[[bytes], bool] | None = None
) -> Iterator[Entry]:
    """Every resource of a file, in its order; a Bundle's entries come singly and the Bundle itself last.

    Args:
        file: a JSON or NDJSON file.
        encoding: of the text; a byte order mark of UTF-8 is left out.
        wanted: give only lines of NDJSON of which this is true; the rest is not even decoded.
    """
    with file.open() as stream:
        if _is_ndjson(file, stream):
            yield from _lines(file, stream, encoding, wanted)
        else:
            yield from Document(file.name, stream, encoding).entries()


def _is_ndjson(file: FhirFile, stream: BinaryIO) -> bool:
    """One resource per line: by its name, unless it opens as an indented document; else by its first lines."""
    try:
        first = stream.readline(CHUNK_BYTES)
        begins = first.removeprefix(_BOM).strip()
        if file.name.lower().endswith(_NDJSON):
            return begins != b"{" or _MEMBER.match(stream.readline(CHUNK_BYTES)) is None
        return first.endswith(b"\n") and bool(stream.read(CHUNK_BYTES).strip()) and _is_object(begins)
    except (EOFError, OSError, zlib.error):
        return False
    finally:
        stream.seek(0)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(decoded_line(line, "utf-8"), dict)
    except UnreadableError:
        return False


def _lines(
    file: FhirFile, stream: BinaryIO, encoding: str, wanted: Callable[[bytes], bool] | None
) -> Iterator[Entry]:
    number = 0
    name = file.name
    try:
        while line := stream.readline(RESOURCE_BYTES):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            if len(line) >= RESOURCE_BYTES and not line.endswith(b"\n"):
                _skip_line(stream)
                yield Entry(f"{name} line {number}", None, reason=TOO_LONG, what="NDJSON line")
                continue
            if wanted is not None and not wanted(line):
                continue
            position = f"{name} line {number}"
            try:
                yield Entry(position, decoded_line(line, encoding))
            except UnreadableError as error:
                if not line.isspace():
                    yield Entry(position, None, "", error.reason, "NDJSON line")
    except (EOFError, OSError, zlib.error):
        yield Entry(f"{name} line {number + 1}", None, reason=DAMAGED, what="NDJSON line")


def _skip_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(CHUNK_BYTES)) and not rest.endswith(b"\n"):
        pass
