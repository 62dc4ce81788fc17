"""POST /attention: where in the image a text is found."""

import base64

from fastapi import APIRouter, Request

from service.api.context import Services, Wired, work
from service.api.inputs import Parameters, Upload, one_image, read_input
from service.api.schemas import AttentionMap, BundleName
from service.auth import reader
from service.bundle.preprocess import preprocess
from service.deadline import Deadline
from service.inference import attention

router = APIRouter(tags=["attention"], dependencies=[reader])


class AttentionParameters(Parameters):
    """Parameters of /attention."""

    text: str
    overlay: bool = False


@router.post("/attention")
async def attend(request: Request, wired: Wired) -> AttentionMap:
    """Cosine of every image patch with the text."""
    uploads, parameters = await read_input(request, AttentionParameters, max_images=1)
    deadline = Deadline(wired.settings.deadline_s)
    return await work(request, deadline, _attend, wired, uploads, parameters, deadline)


def _attend(
    wired: Services, uploads: list[Upload], parameters: AttentionParameters, deadline: Deadline
) -> AttentionMap:
    image = one_image(uploads)
    radiograph, grid = attention.attention(wired.encoder, image, parameters.text, deadline)
    picture = None
    if parameters.overlay:
        pixels = preprocess(radiograph.pixels, wired.bundle.manifest.image)
        picture = base64.b64encode(attention.overlay(pixels, grid)).decode("ascii")
    return AttentionMap(bundle=BundleName.of(wired.bundle), grid=grid.tolist(), overlay=picture)
