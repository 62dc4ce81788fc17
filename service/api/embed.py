"""Answers POST /embed/image and POST /embed/text: images and texts become unit vectors."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.answers import (
    Answer,
    BundleName,
    Encoding,
    FailedItem,
    Vector,
    batch_items,
    encoded_vector,
)
from service.api.context import Wired, Work
from service.api.inputs import (
    check_count,
    encode_uploads,
    read_input,
    read_json,
    some_images,
)
from service.api.parameters import Parameters
from service.auth import reader
from service.inference.encoder import EncodedImage

router = APIRouter(prefix="/embed", tags=["embed"], dependencies=[reader])


class EmbedImageParameters(Parameters):
    """Parameters of /embed/image."""

    encoding: Encoding = "float"
    """Form of the vectors in the answer."""


class EmbedTextBody(Parameters):
    """Body of /embed/text."""

    texts: Annotated[list[str], Field(min_length=1, fail_fast=True)]
    encoding: Encoding = "float"
    """Form of the vectors in the answer."""


class WindowOut(Answer):
    """The range of stored pixel values that is shown from black to white."""

    low: float
    high: float
    source: str
    """Where the range comes from, such as `value-range`."""


class ImageFacts(Answer):
    """What the decoder read from the image's file."""

    format: Literal["dicom", "jpeg", "png"]
    rows: int
    columns: int
    view: str | None
    """PA, AP, LATERAL, LATERAL DECUBITUS or OBLIQUE; null where the file does not say."""
    inverted: bool
    """True when the file shows low values as white (MONOCHROME1)."""
    window: WindowOut
    corrections: list[str]
    """What was read otherwise than the file says, or chosen of several windows: a sentence each."""
    warnings: list[str]
    """Reasons to doubt that the image is an upright chest radiograph."""


class ImageEmbedding(Answer):
    """The embedding of one image."""

    index: int
    id: str | None = None
    embedding: Vector
    image: ImageFacts


class ImageEmbeddings(Answer):
    """Answer of /embed/image. Items have the order of the request."""

    bundle: BundleName
    items: list[ImageEmbedding | FailedItem]


class TextEmbedding(Answer):
    """The embedding of one text."""

    index: int
    embedding: Vector
    tokens: int
    """Number of tokens that the model read."""
    truncated: bool
    """True when the text was longer than the model reads and its end was cut."""


class TextEmbeddings(Answer):
    """Answer of /embed/text. Items have the order of the request."""

    bundle: BundleName
    items: list[TextEmbedding]


@router.post("/image")
async def embed_image(request: Request, wired: Wired) -> ImageEmbeddings:
    """Returns a unit vector for each image. An image that fails carries its own error."""
    uploads, parameters = await read_input(request, EmbedImageParameters, wired.settings.max_images)
    work = Work(request, items=len(uploads), bulk=True)
    outcomes = await work.run(encode_uploads, wired.encoder, some_images(uploads))

    def answered(index: int, encoded: EncodedImage) -> ImageEmbedding:
        return ImageEmbedding(
            index=index,
            id=uploads[index].id,
            embedding=encoded_vector(encoded.vector, parameters.encoding),
            image=ImageFacts.model_validate(encoded.facts),
        )

    items = batch_items(outcomes, answered, [upload.id for upload in uploads])
    return ImageEmbeddings(bundle=BundleName.of(wired.bundle), items=items)


@router.post("/text")
async def embed_text(request: Request, wired: Wired) -> TextEmbeddings:
    """Returns a unit vector for each text, in the same space as the images' vectors."""
    body = await read_json(request, EmbedTextBody)
    check_count(len(body.texts), wired.settings.max_texts, "texts")
    work = Work(request, items=len(body.texts), bulk=True)
    encoded = await work.run(wired.encoder.texts, body.texts)
    items = [
        TextEmbedding(
            index=index,
            embedding=encoded_vector(text.vector, body.encoding),
            tokens=text.tokens,
            truncated=text.truncated,
        )
        for index, text in enumerate(encoded)
    ]
    return TextEmbeddings(bundle=BundleName.of(wired.bundle), items=items)
