"""One HL7 v2 message as text: its characters, delimiters, segments and escape sequences."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from crsrisk.errors import CrsRiskError
from crsrisk.problems import named
from crsrisk.readers.hl7v2_files import RawMessage

BAD_HEADER = "BAD_RECORD: MSH without its delimiters; accepted: MSH|^~\\&|"
TOO_LONG = "BAD_RECORD: a message of more than 64 MiB; accepted: smaller ones"
BAD_ENCODING = (
    "BAD_ENCODING: not in the character set of MSH-18; accepted: ASCII, UNICODE UTF-8, ISO IR87, 8859/1 to 8859/15, "
    'or the one that the site map states, such as encoding = "shift_jis"'
)
CUT_OFF = "BAD_RECORD: a segment that is cut off; accepted: whole segments, each ended by CR"
TORN = (
    "BAD_RECORD: a line that is no segment follows and tore it; accepted: line ends inside a text as \\.br\\"
)
STRAY_LINE = "?"
"""Name of a line in a message that is no segment."""
ENOUGH_FIELDS = 12
"""Fields from the name on: with OBX-11 the status is there, and nothing that changes a value follows but the time."""

JAPANESE = "iso2022_jp_ext"
ESCAPE_BYTE = b"\x1b"
REPLACED = "\ufffd"

CHARACTER_SETS = {
    "ASCII": "ascii",
    "UNICODEUTF-8": "utf-8",
    "UTF-8": "utf-8",
    "ISOIR6": "ascii",
    "ISOIR14": JAPANESE,
    "ISOIR87": JAPANESE,
    "ISOIR159": JAPANESE,
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
"""HL7 table 0211 without blanks, which senders set as they like, and codecs of Python."""
_DOUBLE_BYTE = re.compile(rb"\x1b\$(?:[@B]|\(D).*?(?:\x1b\([BJ]|$)")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")


class MessageError(Exception):
    """A message that can't be taken apart; `reason` is that of the quarantine."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Delimiters:
    """The characters between the parts of a message; '' where the message states none."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


@dataclass(frozen=True)
class Segment:
    """One segment.

    name: 'OBX', or STRAY_LINE. number: its place in the message, MSH is 1. fields: as they stand, the name first;
    `field` counts as HL7 does.
    damaged: cut off, followed by a stray line, or its characters could not all be read.
    """

    name: str
    number: int
    fields: Sequence[str]
    damaged: str = ""

    def field(self, number: int) -> str:
        """The text of a field, '' when it is absent or HL7's null."""
        text = self.fields[number] if number < len(self.fields) else ""
        return "" if text == '""' else text


@dataclass(frozen=True)
class Message:
    """Segments and delimiters of one message; strays: how many of them are lines that are no segments."""

    delimiters: Delimiters
    segments: Sequence[Segment]
    strays: int


def site_codec(encoding: str) -> str:
    """The codec of Python for the encoding that a site map states.

    Raises:
        CrsRiskError: there is no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise CrsRiskError(
            f"site map: encoding {named(encoding)} is not known; accepted: utf-8, shift_jis, iso2022_jp, latin-1"
        ) from None
    return (
        "cp932" if name == "shift_jis" else name
    )  # what Windows writes under that name, with its extensions


def parse(raw: RawMessage, site_encoding: str) -> Message:
    """The message in raw segments.

    Args:
        raw: lines without their ends.
        site_encoding: codec tried where MSH-18 is empty or not true.

    Raises:
        MessageError: its header can't be read.
    """
    if raw.too_long:
        raise MessageError(TOO_LONG)
    charsets = _stated_codecs(raw.lines[0])
    header = _decoded(raw.lines[0], charsets, site_encoding)
    if REPLACED in header:
        raise MessageError(BAD_ENCODING)
    delimiters = _delimiters(header)
    segments: list[Segment] = []
    strays = 0
    for place, line in enumerate(raw.lines):
        text = _decoded(line, charsets, site_encoding)
        fields = text.split(delimiters.field)
        if _SEGMENT.fullmatch(fields[0]) is None:
            strays += 1  # the segment before it was torn by it
            segments[-1] = _torn(segments[-1])
            segments.append(Segment(STRAY_LINE, place + 1, fields))
            continue
        if place == 0:
            fields = ["MSH", delimiters.field, *fields[1:]]  # HL7 counts the delimiter as MSH-1
        damaged = (
            BAD_ENCODING
            if REPLACED in text
            else CUT_OFF
            if place in raw.broken and len(fields) < ENOUGH_FIELDS
            else ""
        )
        segments.append(Segment(fields[0], place + 1, fields, damaged))
    return Message(delimiters, segments, strays)


def _torn(segment: Segment) -> Segment:
    return replace(segment, damaged=segment.damaged or TORN)


def _stated_codecs(header: bytes) -> tuple[str, ...]:
    """Codecs for the character sets of MSH-18, in its order."""
    single = _DOUBLE_BYTE.sub(b"", header)
    separator = single[3:4]
    fields = single.split(separator)
    if len(fields) < 18:
        return ()
    stated = fields[17].decode("ascii", "replace").upper()
    names = [name.replace(" ", "").replace("_", "") for name in re.split("[~^]", stated)]
    return tuple(dict.fromkeys(CHARACTER_SETS[name] for name in names if name in CHARACTER_SETS))


def _decoded(line: bytes, charsets: tuple[str, ...], site_encoding: str) -> str:
    """The text of a segment; characters that no character set gives are U+FFFD."""
    if ESCAPE_BYTE not in line and line.isascii():
        return line.decode("ascii")
    tried = (JAPANESE,) if ESCAPE_BYTE in line else ()
    for codec in dict.fromkeys((*tried, *charsets, site_encoding)):
        try:
            return line.decode(codec)
        except UnicodeDecodeError:
            continue
    return line.decode(site_encoding, "replace")


def _delimiters(header: str) -> Delimiters:
    separator = header[3]
    stated = header[4:].split(separator, 1)[0]
    four = (stated + "    ")[:4]
    marks = [mark.strip() for mark in four]
    given = [separator, *(mark for mark in marks if mark)]
    usable = all(mark.isprintable() and not mark.isalnum() for mark in given)
    if not usable or not marks[0] or len(set(given)) < len(given) or len(stated) > 5:
        raise MessageError(BAD_HEADER)
    return Delimiters(separator, *marks)


def split(text: str, mark: str) -> list[str]:
    """Parts of a text; the text itself when the message has no such delimiter."""
    return text.split(mark) if mark else [text]


def components(text: str, marks: Delimiters) -> list[str]:
    """The components of a field or repetition, without escape sequences and surrounding blanks.

    Of a component with subcomponents the first one.
    """
    return [
        unescape(split(part, marks.subcomponent)[0], marks).strip() for part in split(text, marks.component)
    ]


def component(text: str, number: int, marks: Delimiters) -> str:
    """One component, counted from 1; '' when it is absent or HL7's null."""
    if not text:
        return ""
    parts = split(text, marks.component)
    if number > len(parts):
        return ""
    found = unescape(split(parts[number - 1], marks.subcomponent)[0], marks).strip()
    return "" if found == '""' else found


def unescape(text: str, marks: Delimiters) -> str:
    r"""A text without escape sequences.

    >>> unescape(r"10\S\3/uL \X2B\ \T\ \H\more\N\ ", Delimiters("|", "^", "~", "\\", "&"))
    '10^3/uL + & more '
    """
    if not marks.escape or marks.escape not in text:
        return text
    stands_for = {
        "F": marks.field, "S": marks.component, "T": marks.subcomponent, "R": marks.repetition, "E": marks.escape,
        "H": "", "N": "", ".br": "\n",
    }  # fmt: skip

    def replaced(match: re.Match[str]) -> str:
        inside = match.group(1)
        if inside in stands_for:
            return stands_for[inside]
        if inside[:1] == "X":
            try:
                return bytes.fromhex(inside[1:]).decode("utf-8")
            except ValueError:
                return match.group()
        return match.group()

    return _escapes(marks.escape).sub(replaced, text)


@lru_cache(maxsize=16)
def _escapes(mark: str) -> re.Pattern[str]:
    escaped = re.escape(mark)
    return re.compile(f"{escaped}([^{escaped}]{{1,80}}){escaped}")
