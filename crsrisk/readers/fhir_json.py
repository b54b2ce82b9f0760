"""JSON of FHIR piece by piece: one value of text, or a document as it streams, Bundles entry by entry.

A piece that can't be decoded is given with its reason and position; the rest is given all the same. Numbers stay
the text that the file holds.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

BAD_JSON = "BAD_JSON: not JSON; accepted: complete JSON as in RFC 8259"
BROKEN_OFF = (
    "BAD_JSON: the JSON breaks off or is damaged here; accepted: complete JSON; what follows is not read"
)
TOO_DEEP = "BAD_JSON: nested too deeply; accepted: the depth of FHIR resources"
BAD_ENCODING = (
    "BAD_ENCODING: bytes that are no text in this encoding; accepted: UTF-8, or encoding in the site map"
)
TOO_LONG = "BAD_RECORD: too large; accepted: resources of up to 64 MiB"
DAMAGED = "BAD_RECORD: the compressed file is damaged from here on; accepted: a complete gzip file"
NO_RESOURCE = "BAD_RECORD: an entry without a resource; accepted: entries with a resource"
DELETED = (
    "NOT_SUPPORTED: a deletion, which does not tell the patient; accepted: the resource with status "
    "entered-in-error"
)

RESOURCE_BYTES = 64 << 20
"""Most bytes of one resource; images and documents inside resources stay far below."""
CHUNK_BYTES = 1 << 20

# Numbers as text keep their digits (38.40), cost nothing, and no number is too long to be read.
_decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rf'{_STRING.pattern}|"|[{{}}\[\]]', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}\s]+")


class Entry(NamedTuple):
    """One resource as it stands in a file, or why it can't be read.

    position: 'Observation.ndjson line 17', 'bundle.json entry 3'.
    resource: decoded JSON with numbers as text; None when there is a reason.
    what: how the item is called in the account when it is no resource.
    """

    position: str
    resource: Any
    full_url: str = ""
    reason: str = ""
    what: str = ""


class UnreadableError(Exception):
    """Text that is no usable JSON value."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class SkippedError(UnreadableError):
    """A broken value whose end was found."""


def decoded_line(line: bytes, encoding: str) -> Any:
    """The one JSON value of a line.

    Raises:
        UnreadableError: there is none, with the reason.
    """
    try:
        text = line.decode(encoding)
        value, end = _decode(text)
        if end != len(text) and not text[end:].isspace():
            raise UnreadableError(BAD_JSON)
    except UnicodeDecodeError:
        raise UnreadableError(BAD_ENCODING) from None
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except ValueError:
        raise UnreadableError(BAD_JSON) from None
    if b"\\" in line and not writable(text, value):
        raise UnreadableError(BAD_ENCODING)
    return value


def writable(text: str, value: Any) -> bool:
    r"""Whether text holds whole characters only: no half of one (\ud800 alone), no bytes of another encoding."""
    try:
        text.encode("utf-8")
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


class Document:
    """A JSON document that is decoded piece by piece from a stream."""

    def __init__(self, name: str, stream: BinaryIO, encoding: str) -> None:
        self._name = name
        self._stream = stream
        # Undecodable bytes become halves of characters, so that only the entries that hold them are refused.
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
        self._text, self._at = "", 0
        self._ended = False
        self._damaged = ""
        self._given = 0
        self._fill()
        self._text = self._text.removeprefix("\ufeff")

    def entries(self) -> Iterator[Entry]:
        """Entries of a Bundle, then the Bundle without them; or the one resource; or those of a list."""
        try:
            opening = self._peek()
            if opening == "{":
                yield from self._object()
            elif opening == "[":
                yield from self._items("item", bundle=False)
            else:
                yield Entry(self._name, None, reason=BAD_JSON, what="file")
                return
            if self._peek():
                yield Entry(f"{self._name}, after the end", None, reason=BAD_JSON, what="file")
        except UnreadableError as error:
            place = f"{self._name}, after {self._given}" if self._given else self._name
            yield Entry(place, None, reason=self._damaged or error.reason, what="file")

    def _object(self) -> Iterator[Entry]:
        fields: dict[str, Any] = {}
        self._at += 1
        while (sign := self._peek()) != "}":
            if sign == ",":
                self._at += 1
                continue
            key = self._value() if sign == '"' else None
            if not isinstance(key, str) or self._peek() != ":":
                raise UnreadableError(BROKEN_OFF)
            self._at += 1
            bundle = fields.get("resourceType", "Bundle") == "Bundle"
            if key == "entry" and bundle and self._peek() == "[":
                yield from self._items("entry", bundle=True)
            else:
                fields[key] = self._value()
        self._at += 1
        yield Entry(self._name, fields)

    def _items(self, word: str, *, bundle: bool) -> Iterator[Entry]:
        """The values of an array; a broken one whose end can be found is set aside alone."""
        self._at += 1
        number = 0
        while (sign := self._peek()) != "]":
            if sign == ",":
                self._at += 1
                continue
            number += 1
            position = f"{self._name} {word} {number}"
            try:
                value = self._value()
            except SkippedError as error:
                yield Entry(position, None, reason=error.reason, what=f"Bundle {word}")
                continue
            self._given = number
            yield bundle_entry(position, value) if bundle else Entry(position, value)
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no space, '' at the end."""
        while True:
            self._at = cast("re.Match[str]", _SPACE.match(self._text, self._at)).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _value(self) -> Any:
        """The JSON value at this place.

        Raises:
            SkippedError: it is broken, and the place is now behind it.
            UnreadableError: its end can't be found.
        """
        self._peek()
        while True:
            reason = BAD_JSON
            try:
                value, end = _decode(self._text, self._at)
                if end < len(self._text) or self._ended:
                    piece, self._at = self._text[self._at : end], end
                    if not writable(piece, value):
                        raise SkippedError(BAD_ENCODING)
                    return value
            except RecursionError:
                reason = TOO_DEEP
            except ValueError:
                pass
            if (end := _end_of_value(self._text, self._at)) and (end < len(self._text) or self._ended):
                self._at = end
                raise SkippedError(reason)
            if len(self._text) - self._at > RESOURCE_BYTES:
                raise UnreadableError(TOO_LONG)
            if self._ended:
                raise UnreadableError(BROKEN_OFF)
            self._fill()

    def _fill(self) -> bool:
        """Read on; False at the end."""
        if self._ended:
            return False
        try:
            # Twice as much each time, so that a long value is not looked through again and again.
            chunk = self._stream.read(max(CHUNK_BYTES, len(self._text) - self._at))
            more = self._decoder.decode(chunk, final=not chunk)
        except (EOFError, OSError, zlib.error):
            self._damaged, more, chunk = DAMAGED, "", b""
        except UnicodeDecodeError:
            self._damaged, more, chunk = BAD_ENCODING, "", b""
        self._ended = not chunk
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(chunk) or bool(more)


def _end_of_value(text: str, at: int) -> int:
    """The place behind a JSON value that need not be correct; 0 when its end is not there."""
    sign = text[at : at + 1]
    if sign == '"':
        match = _STRING.match(text, at)
        return match.end() if match else 0
    if sign not in ("{", "["):
        match = _SCALAR.match(text, at)
        return match.end() if match else 0
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text, at):
        found = match.group()
        if found in ("{", "["):
            depth += 1
        elif found in ("}", "]"):
            depth -= 1
            if depth == 0:
                return match.end()
        elif found == '"':
            return 0
    return 0


def bundle_entry(position: str, value: Any) -> Entry:
    """The resource of one entry of a Bundle."""
    if not isinstance(value, dict):
        return Entry(position, None, reason=NO_RESOURCE, what="Bundle entry")
    request = value.get("request")
    if isinstance(request, dict) and request.get("method") == "DELETE":
        return Entry(position, None, reason=DELETED, what="Bundle entry")
    resource = value.get("resource")
    if not isinstance(resource, dict):
        answered = "resource" not in value and isinstance(value.get("response"), dict)
        return Entry(position, None, reason="" if answered else NO_RESOURCE, what="Bundle entry")
    full_url = value.get("fullUrl")
    return Entry(position, resource, full_url if isinstance(full_url, str) else "")
