"""Answers POST /attention: how well each patch of an image matches a text."""

import base64

from fastapi import APIRouter, Request

from service.api.answers import Answer, BundleName
from service.api.context import Services, Wired, Work
from service.api.inputs import one_image, read_input
from service.api.parameters import Parameters
from service.auth import reader
from service.deadline import Deadline
from service.inference import attention

router = APIRouter(tags=["attention"], dependencies=[reader])


class AttentionParameters(Parameters):
    """Parameters of /attention."""

    text: str
    overlay: bool = False
    """Whether the answer has a picture of the image with the map."""


class AttentionMap(Answer):
    """Answer of /attention: the cosine of each patch with the text, rows from top to bottom."""

    bundle: BundleName
    grid: list[list[float]]
    overlay: str | None
    """The image with the map, PNG in base64, if the request asks for it."""


@router.post("/attention")
async def attend(request: Request, wired: Wired) -> AttentionMap:
    """Returns the cosine of every image patch with the text."""
    uploads, parameters = await read_input(request, AttentionParameters, max_images=1)
    return await Work(request).run(_attend, wired, one_image(uploads), parameters)


def _attend(
    wired: Services, image: bytes, parameters: AttentionParameters, deadline: Deadline
) -> AttentionMap:
    pixels, grid = attention.attention(wired.encoder, image, parameters.text, deadline)
    picture = None
    if parameters.overlay:
        picture = base64.b64encode(attention.overlay(pixels, grid)).decode("ascii")
    return AttentionMap(bundle=BundleName.of(wired.bundle), grid=grid.tolist(), overlay=picture)
