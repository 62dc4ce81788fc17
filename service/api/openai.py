"""POST /v1/embeddings: the OpenAI form, for clients that speak it."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from service.api.context import Services, Wired, work
from service.api.inputs import ImageItem, Parameters, decode_item, raised, read_json
from service.api.schemas import (
    Encoding,
    OpenAIEmbedding,
    OpenAIEmbeddings,
    OpenAIUsage,
    pack,
)
from service.auth import reader
from service.deadline import Deadline
from service.errors import BundleUnknown, RequestMalformed
from service.inference.encoder import EncodedImage, EncodedText

router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[reader])


class EmbeddingsBody(Parameters):
    """OpenAI's request. An input that begins with `data:` is an image as a data URI."""

    model_config = ConfigDict(extra="ignore")

    model: str
    """The bundle's name or id."""
    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]
    encoding_format: Encoding = "float"


@router.post("/embeddings")
async def embeddings(request: Request, wired: Wired) -> OpenAIEmbeddings:
    """Texts and images → unit vectors."""
    body = await read_json(request, EmbeddingsBody)
    manifest = wired.bundle.manifest
    if body.model not in (manifest.name, manifest.id):
        raise BundleUnknown(f"This server serves the bundle {manifest.name!r}, and no other.")
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if len(inputs) > wired.settings.max_images:
        raise RequestMalformed(
            f"{len(inputs)} inputs are over the bound of {wired.settings.max_images}."
        )
    deadline = Deadline(wired.settings.deadline_s, items=len(inputs), bulk=True)
    encoded = await work(request, deadline, _encode, wired, inputs, deadline)
    tokens = sum(one.tokens for one in encoded if isinstance(one, EncodedText))
    return OpenAIEmbeddings(
        model=manifest.name,
        data=[
            OpenAIEmbedding(index=index, embedding=pack(one.vector, body.encoding_format))
            for index, one in enumerate(encoded)
        ],
        usage=OpenAIUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _encode(
    wired: Services, inputs: list[str], deadline: Deadline
) -> list[EncodedImage | EncodedText]:
    """OpenAI's answer has no place for an item's error, so a bad item fails the request."""
    texts = [text for text in inputs if not _is_image(text)]
    encoded_texts = iter(wired.encoder.texts(texts, deadline) if texts else [])
    return [
        wired.encoder.image(_image_bytes(item), deadline)
        if _is_image(item)
        else next(encoded_texts)
        for item in inputs
    ]


def _is_image(item: str) -> bool:
    return item.startswith("data:")


def _image_bytes(uri: str) -> bytes:
    header, comma, data = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise RequestMalformed("A data URI must read `data:image/png;base64,…`.")
    return raised(decode_item(ImageItem(data=data)).data)
