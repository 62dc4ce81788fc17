"""POST /embed/image and /embed/text."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.context import Services, Wired, work
from service.api.inputs import Parameters, Upload, read_input, read_json, some_images
from service.api.schemas import (
    BundleName,
    Encoding,
    FailedItem,
    ImageEmbedding,
    ImageEmbeddings,
    TextEmbedding,
    TextEmbeddings,
    checked,
    image_facts,
    pack,
)
from service.auth import reader
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed
from service.inference.encoder import EncodedImage

router = APIRouter(prefix="/embed", tags=["embed"], dependencies=[reader])


class EmbedImageParameters(Parameters):
    """Parameters of /embed/image."""

    encoding: Encoding = "float"


class EmbedTextBody(Parameters):
    """Body of /embed/text."""

    texts: Annotated[list[str], Field(min_length=1, fail_fast=True)]
    encoding: Encoding = "float"


@router.post("/image")
async def embed_image(request: Request, wired: Wired) -> ImageEmbeddings:
    """Images → unit vectors."""
    uploads, parameters = await read_input(request, EmbedImageParameters, wired.settings.max_images)
    deadline = Deadline(wired.settings.deadline_s, items=len(uploads), bulk=True)
    encoded = await work(request, deadline, encode_uploads, wired, some_images(uploads), deadline)
    items = [
        FailedItem.of(index, upload.id, result)
        if isinstance(result, EclipError)
        else ImageEmbedding(
            index=index,
            id=upload.id,
            embedding=pack(result.vector, parameters.encoding),
            image=image_facts(result.facts),
        )
        for index, (upload, result) in enumerate(zip(uploads, encoded, strict=True))
    ]
    errors = [result for result in encoded if isinstance(result, EclipError)]
    return ImageEmbeddings(bundle=BundleName.of(wired.bundle), items=checked(items, errors))


@router.post("/text")
async def embed_text(request: Request, wired: Wired) -> TextEmbeddings:
    """Texts → unit vectors in the same space."""
    body = await read_json(request, EmbedTextBody)
    if len(body.texts) > wired.settings.max_texts:
        raise RequestMalformed(
            f"{len(body.texts)} texts are over the bound of {wired.settings.max_texts}."
        )
    deadline = Deadline(wired.settings.deadline_s, items=len(body.texts), bulk=True)
    encoded = await work(request, deadline, wired.encoder.texts, body.texts, deadline)
    items = [
        TextEmbedding(
            index=index,
            embedding=pack(text.vector, body.encoding),
            tokens=text.tokens,
            truncated=text.truncated,
        )
        for index, text in enumerate(encoded)
    ]
    return TextEmbeddings(bundle=BundleName.of(wired.bundle), items=items)


def encode_uploads(
    wired: Services, uploads: Sequence[Upload], deadline: Deadline
) -> list[EncodedImage | EclipError]:
    """One answer an upload, in order."""
    good = [upload.data for upload in uploads if isinstance(upload.data, bytes)]
    encoded = iter(wired.encoder.images(good, deadline))
    return [next(encoded) if isinstance(u.data, bytes) else u.data for u in uploads]
