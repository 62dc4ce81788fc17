"""Reads request bodies and forms, and counts what their parts take of the memory for requests.

The middleware counts bytes as they arrive. The functions here count what is made of them, and let
go of each form of the content before they make the next.
"""

import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.api.context import services
from service.api.parameters import MAX_FIELDS
from service.api.parsing import WIDE, parsed_size
from service.cases.embedding import IMAGES_AT_ONCE
from service.cases.renditions import RENDITION_SIDE
from service.errors import RequestMalformed
from service.imaging.overlay import OVERLAY_SIDE
from service.memory import Held, require

_COPIES = 2
"""A model's input is copied into its batch; a rendition is pixels, and then a JPEG too."""

_OVERLAY_BYTES = 17
"""Bytes a pixel: gray, the map in float32, its tint, RGB twice, and base64 of the PNG."""


def held(request: Request) -> Held:
    """Returns what the request holds of the memory for requests."""
    of_request: Held = request.state.held
    return of_request


async def read_body(request: Request) -> bytes:
    """Returns the whole body. Neither the request nor its chunks keep a copy."""
    whole = io.BytesIO()
    async for chunk in request.stream():
        whole.write(chunk)
    return whole.getvalue()


def require_room_to_parse(request: Request, body: bytes) -> None:
    """Counts what the values of a JSON body take beside it. Raises QueueFull or BodyTooLarge."""
    size = parsed_size(body)
    held(request).add(size)
    require(size)


def keep_parsed(request: Request, body_bytes: int, images: Iterable[bytes]) -> None:
    """Counts only what is left of a JSON body: its images, and its texts at their widest."""
    mine, decoded = held(request), sum(map(len, images))
    texts = max(0, body_bytes - decoded * 4 // 3)
    mine.keep(min(mine.bytes, decoded + texts * WIDE))


def count_inputs(request: Request, images: int) -> None:
    """Counts what images wait as for the model. Raises QueueFull or BodyTooLarge."""
    spec = services(request).bundle.manifest.image
    held(request).add(images * spec.height * spec.width * _COPIES)


def count_renditions(request: Request, images: int) -> None:
    """Counts what the images of studies are kept as. Raises QueueFull or BodyTooLarge."""
    held(request).add(min(images, IMAGES_AT_ONCE) * RENDITION_SIDE**2 * _COPIES)


def count_overlay(request: Request) -> None:
    """Counts what drawing a map takes. Raises QueueFull or BodyTooLarge."""
    held(request).add(OVERLAY_SIDE**2 * _OVERLAY_BYTES)


def count_pixels(request: Request, size: int) -> None:
    """Counts the bytes of pixels until they are sent. Raises QueueFull or BodyTooLarge."""
    held(request).add(size)


async def read_file(request: Request, file: UploadFile) -> bytes:
    """Returns a form's file, and closes it."""
    held(request).add(file.size or 0)
    content = await file.read()
    await file.close()
    held(request).add(-(file.size or 0))
    return content


@asynccontextmanager
async def open_form(request: Request, max_files: int) -> AsyncIterator[FormData]:
    """Gives the multipart form. Raises RequestMalformed."""
    parser = _FormParser(request, max_files)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestMalformed(f"The form cannot be read: {error.message}") from None
    try:
        for name, value in form.multi_items():
            _require_unicode(name)
            _require_unicode(value if isinstance(value, str) else "")
        yield form
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Starlette's parser, which also counts what the fields take as text, and then as JSON."""

    def __init__(self, request: Request, max_files: int) -> None:
        super().__init__(
            request.headers,
            request.stream(),
            max_files=max_files,
            max_fields=MAX_FIELDS,
            max_part_size=request.app.state.settings.max_body_bytes,
        )
        self._held = held(request)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._held.add((end - start) * 2 * WIDE)
        super().on_part_data(data, start, end)


def _require_unicode(text: str) -> None:
    """Raises RequestMalformed for lone surrogates, to which the form's charset may decode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestMalformed(
            "The form cannot be read: a field is not Unicode text. Send the form in UTF-8."
        ) from None
