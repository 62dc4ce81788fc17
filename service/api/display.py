"""Answers POST /display: the pixels of an image for a viewer, and what it needs to show them."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from service.api.answers import Answer
from service.api.bodies import count_pixels
from service.api.context import Wired, Work
from service.api.embed import WindowOut
from service.api.inputs import one_image, read_input
from service.api.parameters import Parameters
from service.arrays import UInt8
from service.auth import reader
from service.imaging.radiograph import Pixels, Radiograph

MEDIA_TYPE = "application/octet-stream"
_ALIGNED = 8
"""Bytes: pixels begin at a multiple of it, so that a reader can use them where they lie."""
_PART = 2**18
"""Bytes that are sent at a time, each once the client has taken most of those before. So pixels
count as held until then."""
_FORM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Four bytes: the length of the facts, little-endian. The facts: JSON "
        "(DisplayFacts) in UTF-8. Then `rows` × `columns` pixels, row by row, of 8 bits, or of 16 "
        "in little-endian order.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
router = APIRouter(tags=["display"], dependencies=[reader])


class DisplayParameters(Parameters):
    """Parameters of /display. There are none besides the image."""


class ValuesOut(Answer):
    """The file's values of the darkest and the brightest pixel, which the others lie between.

    Where the image is `inverted`, `low` is the value of the brightest.
    """

    low: float
    high: float


class ScaleOut(Answer):
    """What to measure with."""

    spacing_mm: tuple[float, float]
    """Distances of rows and of columns."""
    at: Literal["calibrated", "detector", "unstated"]
    """calibrated: the file says that they were corrected to the patient. detector: on the detector,
    where the patient's parts are enlarged. unstated: the file does not say which."""


class DisplayFacts(Answer):
    """What a viewer needs to show the pixels of one image, bright = dense."""

    format: Literal["dicom", "jpeg", "png"]
    rows: int
    columns: int
    bits: Literal[8, 16]
    """Of a pixel. 0 is the darkest, 255 or 65535 the brightest."""
    values: ValuesOut
    window: WindowOut
    """The values that the file shows from black to white."""
    curve: list[float] | None
    """Where the file shows them by a curve (VOI LUT, SIGMOID): grays 0 to 1 of even steps from the
    darkest pixel to the brightest."""
    scale: ScaleOut | None
    """Null where the file has no distances."""
    view: str | None
    """PA, AP, LATERAL, LATERAL DECUBITUS or OBLIQUE; null where the file does not say."""
    laterality: Literal["R", "L", "B"] | None
    """The side of the patient that is shown (B: both); null where the file does not say."""
    directions: tuple[str, str] | None
    """To where in the patient rows run, and columns, such as L and F; null if it is not said."""
    inverted: bool
    """True when the file shows low values as white (MONOCHROME1); the pixels are turned over."""
    padded: bool
    """True when pixels that the file marks as padding became black."""
    corrections: list[str]
    """What was read otherwise than the file says, or chosen of several windows: a sentence each."""


@router.post("/display", response_class=Response, responses=_FORM)
async def display(request: Request, wired: Wired) -> StreamingResponse:
    """Returns the pixels of an image over the whole range of its values, and how to show them."""
    uploads, _ = await read_input(request, DisplayParameters, max_images=1)
    radiograph = await Work(request).run(wired.encoder.displayed, one_image(uploads))
    count_pixels(request, radiograph.pixels.nbytes)
    head, octets = _head(_facts(radiograph)), _little_endian(radiograph.pixels)
    length = {"Content-Length": str(len(head) + octets.size)}
    return StreamingResponse(_parts(head, octets), headers=length, media_type=MEDIA_TYPE)


def _facts(radiograph: Radiograph) -> DisplayFacts:
    extent = radiograph.extent
    assert extent is not None  # noqa: S101 — it was not windowed
    return DisplayFacts(
        format=radiograph.format,
        rows=radiograph.rows,
        columns=radiograph.columns,
        bits=8 if radiograph.pixels.itemsize == 1 else 16,
        values=ValuesOut.model_validate(extent),
        window=WindowOut.model_validate(extent.window),
        curve=extent.curve and [round(gray, 5) for gray in extent.curve],
        scale=radiograph.scale and ScaleOut.model_validate(radiograph.scale),
        view=radiograph.view,
        laterality=radiograph.laterality,
        directions=radiograph.directions,
        inverted=radiograph.inverted,
        padded=radiograph.padded,
        corrections=list(radiograph.corrections),
    )


def _head(facts: DisplayFacts) -> bytes:
    """Returns the length of the facts, and the facts."""
    words = facts.model_dump_json().encode()
    words += b" " * (-(4 + len(words)) % _ALIGNED)
    return len(words).to_bytes(4, "little") + words


def _little_endian(pixels: Pixels) -> UInt8:
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).view(np.uint8).reshape(-1)


async def _parts(head: bytes, octets: UInt8) -> AsyncIterator[bytes]:
    yield head
    for start in range(0, octets.size, _PART):
        yield octets[start : start + _PART].tobytes()
