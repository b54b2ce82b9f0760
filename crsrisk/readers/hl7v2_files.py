"""Files of HL7 v2 messages: which files of a folder hold some, where each message begins and ends in them.

One or many messages in a file, ends of segments of any kind, MLLP frames, batch headers, and the tree of an SS-MIX2
storage, whose file names say for which patient a message is and whether it still holds.
"""

import os
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crsrisk.errors import CrsRiskError
from crsrisk.readers.account import Account

FILE = "HL7 file"
ENDINGS = frozenset({"", ".hl7", ".txt", ".er7", ".msg"})
ACCEPTED = "a folder (also an SS-MIX2 storage) or a file of HL7 v2 messages: .hl7, .txt, .er7, .msg or without ending"
CHUNK_BYTES = 1 << 20
LONGEST_SEGMENT = 16 << 20
"""Bytes; a longer segment is set aside (documents inside a message may be long, values are not)."""
LONGEST_MESSAGE = 64 << 20

MLLP_START, MLLP_END = b"\x0b", b"\x1c"
BOM = b"\xef\xbb\xbf"
_BATCH = (b"FHS", b"BHS", b"BTS", b"FTS")
_SEPARATORS = frozenset(bytes([mark]) for mark in string.punctuation.encode())
_LINE = re.compile(rb"[\r\n]+")
_STORED = re.compile(
    r"(?P<patient>[^_]+)_(?:\d{8}|-)_(?P<type>[^_]+)_[^_]+_\d{12,20}(?:_[^_]*)?_(?P<flag>[012])(?:\.txt|\.hl7)?"
)
_NUMBERS = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class Stored:
    """What the name of a file in an SS-MIX2 storage says.

    patient: for whom. kind: of data, such as OML-11. flag: 1 valid, 0 deleted, 2 an older version of a valid one.
    """

    patient: str
    kind: str
    flag: str


@dataclass(frozen=True)
class SourceFile:
    """One file; name: number in the sorted order of files and what may be shown of its name: no identifiers."""

    path: Path
    name: str
    stored: Stored | None


@dataclass
class RawMessage:
    """The segments of one message as bytes.

    lines: segments, the first one is MSH; broken: places of segments that are cut off or too long.
    stray: lines before it that belong to no message. batch: headers and trailers of batches before it.
    too_long: the message was longer than LONGEST_MESSAGE, its lines are gone.
    """

    lines: list[bytes] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    stray: int = 0
    batch: int = 0
    too_long: bool = False
    bytes_held: int = 0


def source_files(source: Path, account: Account) -> Iterator[SourceFile]:
    """The files of messages in a folder by name, those of its folders after its own; others are not needed.

    Raises:
        CrsRiskError: nothing is there.
    """
    if source.is_file():
        yield SourceFile(source, f"file 1 ({_shown(source.name)})", _stored(source))
        return
    if not source.is_dir():
        raise CrsRiskError(f"{source.name}: no such file or folder; accepted: {ACCEPTED}")
    number = 0
    for path in _walk(source):
        stored = _stored(path)
        if path.name.startswith(".") or (stored is None and path.suffix.lower() not in ENDINGS):
            account.read(FILE)
            account.not_needed(FILE)
            continue
        number += 1
        shown = _shown(stored.kind if stored is not None else path.name)
        yield SourceFile(path, f"file {number} ({shown})", stored)
    if not number:
        raise CrsRiskError(f"{source.name}: no file of HL7 v2 messages in it; accepted: {ACCEPTED}")


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield Path(root) / name


def _stored(path: Path) -> Stored | None:
    """What an SS-MIX2 storage says in the name of the file, or of its folder in the extended storage."""
    for name in (path.name, path.parent.name):
        found = _STORED.fullmatch(name)
        if found is not None:
            return Stored(found["patient"], found["type"], found["flag"])
    return None


def _shown(name: str) -> str:
    """A name without the numbers in it, which may be those of a patient or an order."""
    return _NUMBERS.sub("*", name)[:80]


def raw_messages(path: Path) -> Iterator[RawMessage]:
    """The messages of one file, the memory bounded by the longest; a last one without lines carries what is left.

    Raises:
        OSError: the file can't be read.
    """
    message = RawMessage()
    for line, whole in _lines(path):
        text = line.strip(MLLP_START + MLLP_END + b" \t")
        if not text:
            continue
        head = text[:3]
        begins = head == b"MSH" and text[3:4] in _SEPARATORS and len(text) > 4
        if begins or head in _BATCH:
            if message.lines or message.too_long:
                yield message
                message = RawMessage()
            if not begins:
                message.batch += 1
                continue
        elif not message.lines and not message.too_long:
            message.stray += 1
            continue
        _take(message, text, whole=whole)
    yield message


def _take(message: RawMessage, text: bytes, *, whole: bool) -> None:
    message.bytes_held += len(text)
    if message.too_long or message.bytes_held > LONGEST_MESSAGE:
        message.too_long = True
        message.lines.clear()
        return
    if not whole:
        message.broken.add(len(message.lines))
    message.lines.append(text)


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Lines of a file, and whether each is whole: ended by CR or LF and not longer than LONGEST_SEGMENT."""
    rest = b""
    long = False
    first = True
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            if first:
                chunk, first = chunk.removeprefix(BOM), False
            *whole, rest = _LINE.split(rest + chunk)
            for line in whole:
                yield line[:LONGEST_SEGMENT], not long
                long = False
            if len(rest) > LONGEST_SEGMENT:
                rest, long = rest[:CHUNK_BYTES], True
    if rest.strip():
        ended = rest.rstrip().endswith(MLLP_END)
        yield rest, ended and not long
