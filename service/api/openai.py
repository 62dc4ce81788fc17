"""Answers POST /v1/embeddings in OpenAI's form, for clients that speak it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from service.api.answers import Answer, Encoding, Vector, encoded_vector
from service.api.context import Services, Wired, Work
from service.api.inputs import ImageItem, Parameters, decode_item, raised, read_json
from service.auth import reader
from service.deadline import Deadline
from service.errors import BundleUnknown, RequestMalformed
from service.inference.encoder import EncodedImage, EncodedText

router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[reader])


class EmbeddingsBody(Parameters):
    """OpenAI's request. An input that begins with `data:` is an image as a data URI."""

    model_config = ConfigDict(extra="ignore")

    model: str
    """Name or id of the bundle."""
    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]
    encoding_format: Encoding = "float"


class OpenAIEmbedding(Answer):
    """The embedding of one input, in OpenAI's form."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Vector


class OpenAIUsage(Answer):
    """Number of tokens that the model read. Images count 0."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(Answer):
    """Answer of /v1/embeddings."""

    object: Literal["list"] = "list"
    model: str
    data: list[OpenAIEmbedding]
    usage: OpenAIUsage


@router.post("/embeddings")
async def embeddings(request: Request, wired: Wired) -> OpenAIEmbeddings:
    """Returns a unit vector for each text and image. An input that fails fails the request."""
    body = await read_json(request, EmbeddingsBody)
    manifest = wired.bundle.manifest
    if body.model not in (manifest.name, manifest.id):
        raise BundleUnknown(
            f"This server serves only the bundle {manifest.name!r}. Send its name as `model`."
        )
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if len(inputs) > wired.settings.max_images:
        raise RequestMalformed(
            f"The request has {len(inputs)} inputs, over the limit of "
            f"{wired.settings.max_images}. Send them in several requests."
        )
    encoded = await Work(request, items=len(inputs), bulk=True).run(_encode, wired, inputs)
    tokens = sum(item.tokens for item in encoded if isinstance(item, EncodedText))
    return OpenAIEmbeddings(
        model=manifest.name,
        data=[
            OpenAIEmbedding(
                index=index, embedding=encoded_vector(item.vector, body.encoding_format)
            )
            for index, item in enumerate(encoded)
        ],
        usage=OpenAIUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _encode(
    wired: Services, inputs: list[str], deadline: Deadline
) -> list[EncodedImage | EncodedText]:
    texts = [item for item in inputs if not _is_image(item)]
    images = [_image_bytes(item) for item in inputs if _is_image(item)]
    encoded_texts = iter(wired.encoder.texts(texts, deadline) if texts else ())
    encoded_images = iter(wired.encoder.views(images, deadline) if images else ())
    return [next(encoded_images) if _is_image(item) else next(encoded_texts) for item in inputs]


def _is_image(item: str) -> bool:
    return item.startswith("data:")


def _image_bytes(uri: str) -> bytes:
    header, comma, data = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise RequestMalformed(
            "A data URI is not in base64. Send images as `data:image/png;base64,…`."
        )
    return raised(decode_item(ImageItem(data=data)).data)
