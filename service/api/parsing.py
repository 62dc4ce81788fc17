"""Parses what requests hold: media types, JSON, URL-encoded fields, base64 and data URIs."""

import base64
import io
import re
from typing import Any
from urllib.parse import unquote

from fastapi import Request
from pydantic_core import from_json

from service.errors import ImageUndecodable, RequestMalformed

MAX_JSON_VALUES = 100_000
"""Values in a JSON text: more than any request needs, and quick enough to parse."""
_VALUE_BYTES = 256
"""Bytes that a JSON value takes in Python, at most, besides the characters of its texts."""
WIDE = 4
"""Bytes that a character takes in Python where another one of its text is an emoji."""
_BOM = b"\xef\xbb\xbf"
_JSON_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{")
_JSON_LIST = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
_FIELDS = re.compile(rb"[!-~]+")
"""URL-encoded fields: printable ASCII, which no image is."""
_DATA_URI = re.compile(r"data:[^\s,]*,", re.IGNORECASE)
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""The two letters of URL-safe base64 → those of the standard one (RFC 4648)."""
_BLANKS = b" \t\r\n"
_PIECE = 2**20
"""Characters of base64 that are decoded at a time."""
_MAY_END_A_NAME = re.compile(rb'"[ \t\r\n]*+:')
_NAMES = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+(:)?', re.DOTALL)
"""The strings of a JSON text; the group is set for names of members."""
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+', re.DOTALL)
"""As well, in a text that may be no JSON: it matches at every quote, so it never reads on twice."""


def media_type(request: Request) -> str:
    """Returns the request's media type in lower case, without parameters. Empty if it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json_object(body: bytes) -> bool:
    """Returns whether the body begins as a JSON object does, and is not a DICOM file."""
    return _JSON_OBJECT.match(body) is not None and body[128:132] != b"DICM"


def is_json_list(body: bytes) -> bool:
    """Returns whether the body begins as a JSON list does."""
    return _JSON_LIST.match(body) is not None


def is_fields(body: bytes) -> bool:
    """Returns whether the body can be URL-encoded fields. An image never can."""
    return _FIELDS.fullmatch(body) is not None


def parsed_size(body: bytes) -> int:
    """Returns the most bytes that the values of a JSON text take in Python, all together."""
    wide = not body.isascii() or b"\\u" in body
    copied = len(body) if body.startswith(_BOM) else 0
    return len(body) * (WIDE if wide else 1) + copied + _values(body) * _VALUE_BYTES


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text. Raises RequestMalformed, also for NaN and infinities.

    So it does for an object that has a name twice, because one of the two values would be lost. A
    byte order mark at the start is passed over (RFC 8259, 8.1).
    """
    encoded = (text.encode() if isinstance(text, str) else text).removeprefix(_BOM)
    if _values(encoded) > MAX_JSON_VALUES:
        raise RequestMalformed(f"The JSON has more than {MAX_JSON_VALUES} values. Send fewer.")
    try:
        value = from_json(encoded, allow_inf_nan=False)
    except ValueError as error:
        raise RequestMalformed(
            f"The JSON cannot be read: {error}. Send one JSON text in UTF-8."
        ) from None
    if _has_a_name_twice(encoded, value):
        raise RequestMalformed("An object of the JSON has a name twice. Send each name once.")
    return value


def _has_a_name_twice(text: bytes, value: Any) -> bool:
    """Decides whether the text has more names than its value has members."""
    members = _members(value)
    if len(_MAY_END_A_NAME.findall(text)) <= members:  # quick, and right but for rare strings
        return False
    return _NAMES.findall(text).count(b":") > members


def _members(value: Any) -> int:
    """Returns the number of members of all objects in a value."""
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


def json_object(body: bytes) -> dict[str, Any]:
    """Returns the JSON object that is the body. Raises RequestMalformed."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise RequestMalformed('The body must be a JSON object, such as {"text": "Effusion."}.')
    return value


def is_data_uri(text: str) -> bool:
    """Returns whether the text is a data URI. "data: no effusion, no mass" is none."""
    return _DATA_URI.match(text) is not None


def decode_base64(text: str) -> bytes:
    """Returns the bytes of base64, or of a data URI in base64 (RFC 2397).

    Line breaks, the URL-safe alphabet and absent padding are accepted. The text is decoded in
    pieces, so that besides it there is only its result. Raises ImageUndecodable, or
    RequestMalformed for a data URI that is not in base64.
    """
    start, escaped = 0, False
    if is_data_uri(text):
        start = text.index(",") + 1
        if not text[:start].lower().endswith(";base64,"):
            raise RequestMalformed(
                "A data URI is not in base64. Send images as `data:image/png;base64,…`."
            )
        escaped = "%" in text
    try:
        return _decoded(text, start, escaped=escaped)
    except ValueError:
        raise ImageUndecodable("`data` is not base64. Send the file's bytes in base64.") from None


def _decoded(text: str, start: int, *, escaped: bool) -> bytes:
    """Decodes base64 from `start` on. Raises ValueError."""
    decoded, rest, ended = io.BytesIO(), b"", False
    while start < len(text):
        end = _end_of_piece(text, start + _PIECE) if escaped else start + _PIECE
        piece = unquote(text[start:end]) if escaped else text[start:end]
        padded = piece.encode("ascii").translate(_STANDARD, _BLANKS)
        letters = padded.rstrip(b"=")
        if ended and letters:
            raise ValueError
        ended = ended or letters != padded
        rest += letters
        whole = len(rest) // 4 * 4
        decoded.write(base64.b64decode(rest[:whole], validate=True))
        rest, start = rest[whole:], end
    decoded.write(base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True))
    return decoded.getvalue()


def _end_of_piece(text: str, end: int) -> int:
    """Moves the end of a piece behind a percent-encoded letter that it would cut."""
    tail = text[end - 2 : end]
    return end + (2 if tail.endswith("%") else 1 if tail.startswith("%") else 0)


def _values(body: bytes) -> int:
    """Returns how many values a JSON text may have. Beyond `MAX_JSON_VALUES` it counts no further.

    Texts hold commas too. They are left out where it matters, because that takes longer.
    """
    count = _marks(body, 0, len(body))
    if count <= MAX_JSON_VALUES:
        return count
    count = end = 0
    for number, string in enumerate(_STRINGS.finditer(body)):
        count += _marks(body, end, string.start())
        end = string.end()
        if count > MAX_JSON_VALUES or number > 2 * MAX_JSON_VALUES:
            return MAX_JSON_VALUES + 1
    return min(count + _marks(body, end, len(body)), MAX_JSON_VALUES + 1)


def _marks(body: bytes, start: int, end: int) -> int:
    return sum(body.count(mark, start, end) for mark in (b"[", b"{", b","))
