"""Reads the answers of a DICOMweb service: bounded, and JSON where JSON was asked for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from service.errors import PeerRefused

MOST_JSON = 2**25
"""Bytes of the largest JSON answer. A page of 200 studies has about 0.3 MB."""


class Passing(Exception):
    """The service could not answer now. `what` ends the sentence "The DICOMweb service ...".

    retry_after_s: seconds after which it asks to be asked again, if it says so.
    """

    def __init__(self, what: str, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.what, self.retry_after_s = what, retry_after_s


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body is read as it comes. headers: by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    @property
    def media_type(self) -> str:
        """Its media type without parameters, in lower case; empty if it names none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def bounded(self, most: int, remedy: str) -> Iterator[bytes]:
        """Yields the body's pieces. Raises PeerRefused once it has more than `most` bytes.

        remedy: the error's last sentence.
        """
        size = 0
        for piece in self.pieces:
            size += len(piece)
            if size > most:
                raise PeerRefused(
                    f"The DICOMweb service answers with more than {most // 2**20} MiB, the most "
                    f"that is read. {remedy}"
                )
            yield piece

    def read(self, most: int, remedy: str) -> bytes:
        """Returns the body. Raises like `bounded`."""
        body = BytesIO()
        for piece in self.bounded(most, remedy):
            body.write(piece)
        return body.getvalue()


def read_items(reply: Reply) -> list[dict[str, Any]]:
    """Returns the datasets of a JSON answer (PS3.18 F.2). Raises PeerRefused if it is none."""
    body = reply.read(MOST_JSON, "Ask for less, such as studies since a later date.")
    if reply.status == 204 or not body.strip():
        return []
    if "json" not in reply.media_type:
        raise not_dicomweb("another type than DICOM JSON")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise not_dicomweb("JSON that cannot be read") from None
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise not_dicomweb("JSON of another form")
    return items


def not_dicomweb(what: str) -> PeerRefused:
    """Returns the error for an answer that no DICOMweb service gives."""
    return PeerRefused(
        f"The DICOMweb service answers with {what}. Check that its address is the base of a "
        "DICOMweb service, and that no login page or proxy answers in its place."
    )


def values(item: Mapping[str, Any], tag: str) -> list[Any]:
    """Returns the values of an attribute in DICOM JSON; none if it is missing or malformed.

    tag: eight hexadecimal digits in upper case.
    """
    attribute = item.get(tag)
    found = attribute.get("Value") if isinstance(attribute, dict) else None
    return [each for each in found if each is not None] if isinstance(found, list) else []


def text(item: Mapping[str, Any], tag: str) -> str:
    """Returns the first value of an attribute as text, without its padding; empty if none."""
    found = values(item, tag)
    return found[0].strip("\0 ") if found and isinstance(found[0], str) else ""
