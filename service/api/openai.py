"""Answers POST /v1/embeddings and GET /v1/models in OpenAI's form, for clients that speak it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from service.api.answers import Answer, Encoding, Vector, encoded_vector
from service.api.context import Services, Wired, Work
from service.api.inputs import check_count, read_json
from service.api.parameters import Parameters
from service.api.parsing import decode_base64, is_data_uri
from service.auth import reader
from service.bundle.manifest import MANIFEST, Bundle, Manifest
from service.deadline import Deadline
from service.errors import BundleUnknown, RequestMalformed
from service.inference.encoder import EncodedImage, EncodedText

router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[reader])


def _texts(value: Any) -> Any:
    """Refuses, in words, what OpenAI's clients send in the place of texts."""
    items = value if isinstance(value, list) else [value]
    parts = [part for item in items for part in (item if isinstance(item, list) else [item])]
    if any(isinstance(part, int) for part in parts):
        raise PydanticCustomError(
            "token_ids",
            "Token ids are not accepted, because they belong to the tokenizer of another model. "
            "Send the texts (LangChain: `check_embedding_ctx_length=False`)",
        )
    if not items or not all(isinstance(item, str) for item in items):
        raise PydanticCustomError("texts", "Send a text, or a list of texts and data URIs")
    return value


class EmbeddingsBody(Parameters):
    """OpenAI's request. An input that begins as a data URI is an image. Other names are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str
    """Name or id of the bundle."""
    input: Annotated[str | Annotated[list[str], Field(min_length=1)], BeforeValidator(_texts)]
    encoding_format: Encoding = "float"
    dimensions: int | None = None
    """Length of the vectors. The bundle's own is the only one."""


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


class OpenAIModel(Answer):
    """The bundle, in OpenAI's form of a model."""

    id: str
    """Name of the bundle."""
    object: Literal["model"] = "model"
    created: int
    """Unix time at which the bundle came to this server."""
    owned_by: str = "eclip"

    @classmethod
    def of(cls, bundle: Bundle) -> "OpenAIModel":
        """Returns the bundle as a model."""
        created = int((bundle.path / MANIFEST).stat().st_mtime)
        return cls(id=bundle.manifest.name, created=created)


class OpenAIModels(Answer):
    """Answer of /v1/models: the one bundle that this server serves."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


@router.get("/models/", include_in_schema=False)
@router.get("/models")
def models(wired: Wired) -> OpenAIModels:
    """Returns the bundle in use, as a list of one model."""
    return OpenAIModels(data=[OpenAIModel.of(wired.bundle)])


@router.get("/models/{model:path}")
def model(model: str, wired: Wired) -> OpenAIModel:
    """Returns the bundle in use, by its name or id."""
    _check_model(wired.bundle.manifest, model)
    return OpenAIModel.of(wired.bundle)


@router.post("/embeddings")
async def embeddings(request: Request, wired: Wired) -> OpenAIEmbeddings:
    """Returns a unit vector for each text and image. An input that fails fails the request."""
    body = await read_json(request, EmbeddingsBody)
    manifest, settings = wired.bundle.manifest, wired.settings
    _check_model(manifest, body.model)
    if body.dimensions not in (None, manifest.dimension):
        raise RequestMalformed(
            f"dimensions: the vectors of this bundle have {manifest.dimension} numbers and lose "
            f"their meaning when cut. Leave `dimensions` out, or send {manifest.dimension}."
        )
    inputs = [body.input] if isinstance(body.input, str) else body.input
    images = sum(map(is_data_uri, inputs))
    check_count(images, settings.max_images, "images")
    check_count(len(inputs) - images, settings.max_texts, "texts")
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


def _check_model(manifest: Manifest, name: str) -> None:
    if name not in (manifest.name, manifest.id):
        raise BundleUnknown(
            f"This server serves only the bundle {manifest.name!r}. Send its name as `model`."
        )


def _encode(
    wired: Services, inputs: list[str], deadline: Deadline
) -> list[EncodedImage | EncodedText]:
    texts = [item for item in inputs if not is_data_uri(item)]
    images = [decode_base64(item) for item in inputs if is_data_uri(item)]
    encoded_texts = iter(wired.encoder.texts(texts, deadline) if texts else ())
    encoded_images = iter(wired.encoder.views(images, deadline) if images else ())
    return [next(encoded_images) if is_data_uri(item) else next(encoded_texts) for item in inputs]
