"""Reads bodies of `multipart/related`, whose parts are DICOM files (PS3.18 8.6.1.2, RFC 2387)."""

import io

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import ImageUnsupported, RequestMalformed

MEDIA_TYPE = 'multipart/related; type="application/dicom"'
"""What a body must be. Its boundary is another parameter."""
_HEADER_BYTES = 2**14
"""Bytes of all headers of a part."""


async def read_parts(request: Request, most: int, most_bytes: int) -> list[bytes | None]:
    """Returns the parts of the body, each a file; None for a part of more than `most_bytes`.

    Raises ImageUnsupported for another media type, and RequestMalformed for a body that cannot be
    read, has no part or more than `most`.
    """
    parts = _Parts(most, most_bytes)
    try:
        parser = MultipartParser(
            _boundary(request),
            {
                "on_part_begin": parts.begin,
                "on_part_data": parts.add,
                "on_part_end": parts.end,
                "on_end": parts.finish,
            },
            max_header_size=_HEADER_BYTES,
        )
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise _unreadable() from None
    if not parts.finished or not parts.files:
        raise _unreadable()
    return parts.files


class _Parts:
    """Collects the parts as they arrive."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.files: list[bytes | None] = []
        self.finished = False
        self._most, self._most_bytes = most, most_bytes
        self._part = io.BytesIO()
        self._too_large = False

    def begin(self) -> None:
        if len(self.files) == self._most:
            raise RequestMalformed(
                f"The body has more than {self._most} parts. Send fewer, or raise ECLIP_MAX_IMAGES."
            )
        self._part, self._too_large = io.BytesIO(), False

    def add(self, data: bytes, start: int, end: int) -> None:
        if self._part.tell() + end - start > self._most_bytes:
            self._part, self._too_large = io.BytesIO(), True
        if not self._too_large:
            self._part.write(memoryview(data)[start:end])

    def end(self) -> None:
        self.files.append(None if self._too_large else self._part.getvalue())

    def finish(self) -> None:
        self.finished = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    of = options.get(b"type", b"application/dicom").lower()
    if kind.lower() != b"multipart/related" or of != b"application/dicom":
        raise ImageUnsupported(f"The body is no list of DICOM files. Send {MEDIA_TYPE}.")
    if not options.get(b"boundary"):
        raise _unreadable()
    return options[b"boundary"]


def _unreadable() -> RequestMalformed:
    return RequestMalformed(
        f"The body cannot be read as {MEDIA_TYPE}: its boundary is missing, it has no part, or it "
        "is cut off. Send it again, whole."
    )
