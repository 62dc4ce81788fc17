"""Reads the images and parameters of a request, in each of the three forms a caller may send.

The forms are `multipart/form-data` (`files`, repeated, and parameters as fields), a raw image with
parameters in the query string, and JSON (`images: [{id?, data: base64}]` and the parameters).
"""

import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.api.problems import malformed
from service.deadline import Deadline
from service.errors import EclipError, ImageUndecodable, RequestMalformed
from service.inference.encoder import EncodedImage, Encoder

MAX_FIELDS = 64
"""Fields of a form, files not counted."""
MAX_FIELD_BYTES = 4 << 20
"""Bytes of one field of a form."""
MAX_JSON_VALUES = 500_000
"""Values in a JSON text: more than any request needs, and quick enough to parse."""


def _json_text(value: Any) -> Any:
    """Returns the value of a form field or query parameter, which holds structures as JSON text."""
    return parse_json(value) if isinstance(value, str) else value


AsJson = BeforeValidator(_json_text)


class Parameters(BaseModel):
    """Base of every endpoint's parameters. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ImageItem(BaseModel):
    """One image in JSON."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    id: Annotated[str | None, Field(max_length=256)] = None
    """The caller's id of the image. The answer repeats it."""
    data: str
    """The bytes of a PNG, JPEG or DICOM file, in base64."""


class ImageItems(BaseModel):
    """The images of a JSON request."""

    images: Annotated[list[ImageItem], Field(max_length=1024, fail_fast=True)] = []


@dataclass(frozen=True, slots=True)
class Upload:
    """One image of a request: its bytes, or the reason why they could not be read."""

    id: str | None
    data: bytes | EclipError


ParametersT = TypeVar("ParametersT", bound=BaseModel)


async def read_input(
    request: Request, model: type[ParametersT], max_images: int
) -> tuple[list[Upload], ParametersT]:
    """Returns the uploads in order and the validated parameters. Raises RequestMalformed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads, values = await _read_form(request, max_images)
    elif kind == "application/json":
        uploads, values = _read_json(await request.body())
    else:
        body = await request.body()
        uploads = [Upload(None, body)] if body else []
        values = dict(request.query_params)
    if len(uploads) > max_images:
        raise RequestMalformed(
            f"The request has {len(uploads)} images, over the limit of {max_images}. Send fewer."
        )
    return uploads, validate(model, values)


async def read_json(request: Request, model: type[ParametersT]) -> ParametersT:
    """Returns the validated body of a request that must be JSON. Raises RequestMalformed."""
    return validate(model, json_object(await request.body()))


@asynccontextmanager
async def open_form(request: Request, max_files: int) -> AsyncIterator[FormData]:
    """Gives the multipart form. Raises RequestMalformed."""
    form = request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    try:
        async with form as fields:
            for name, value in fields.multi_items():
                _require_unicode(name)
                _require_unicode(value if isinstance(value, str) else "")
            yield fields
    except HTTPException as error:
        raise RequestMalformed(f"The form cannot be read: {error.detail}") from None


def validate(model: type[ParametersT], values: Any) -> ParametersT:
    """Returns the validated values. Raises RequestMalformed without repeating any input."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise malformed(error.errors(include_input=False, include_url=False)) from None


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text. Raises RequestMalformed, also for NaN and infinities."""
    encoded = text.encode() if isinstance(text, str) else text
    if sum(encoded.count(mark) for mark in (b"[", b"{", b",")) > MAX_JSON_VALUES:
        raise RequestMalformed(f"The JSON has more than {MAX_JSON_VALUES} values. Send fewer.")
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise RequestMalformed(f"The JSON cannot be read: {error}.") from None


def json_object(body: bytes) -> dict[str, Any]:
    """Returns the JSON object that is the body. Raises RequestMalformed."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise RequestMalformed('The body must be a JSON object, such as {"text": "Effusion."}.')
    return value


def one_image(uploads: Sequence[Upload]) -> bytes:
    """Returns the image of a request that takes exactly one. Raises RequestMalformed."""
    if len(uploads) != 1:
        raise RequestMalformed(f"The request has {len(uploads)} images. Send exactly one.")
    return raised(uploads[0].data)


def some_images(uploads: Sequence[Upload]) -> Sequence[Upload]:
    """Returns the images of a request that takes one or more. Raises RequestMalformed."""
    if not uploads:
        raise RequestMalformed(
            "The request has no image. Send multipart `files`, a raw image body, or JSON `images`."
        )
    return uploads


def raised(data: bytes | EclipError) -> bytes:
    """Returns the bytes of an upload. Raises its error."""
    if isinstance(data, EclipError):
        raise data
    return data


def encode_uploads(
    encoder: Encoder, uploads: Sequence[Upload], deadline: Deadline
) -> list[EncodedImage | EclipError]:
    """Encodes the images of a request. Returns one outcome per upload, in order."""
    readable = [upload.data for upload in uploads if isinstance(upload.data, bytes)]
    encoded = iter(encoder.images(readable, deadline))
    return [next(encoded) if isinstance(u.data, bytes) else u.data for u in uploads]


def decode_item(item: ImageItem) -> Upload:
    """Decodes the base64 of one image. An image that cannot be decoded carries its own error."""
    try:
        return Upload(item.id, base64.b64decode(item.data, validate=True))
    except (binascii.Error, ValueError):
        return Upload(
            item.id, ImageUndecodable("`data` is not base64. Send the file's bytes in base64.")
        )


def _require_unicode(text: str) -> None:
    """Raises RequestMalformed for lone surrogates, to which the form's charset may decode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestMalformed(
            "The form cannot be read: a field is not Unicode text. Send the form in UTF-8."
        ) from None


def _read_json(body: bytes) -> tuple[list[Upload], dict[str, Any]]:
    values = json_object(body)
    items = validate(ImageItems, {"images": values.pop("images", [])}).images
    return [decode_item(item) for item in items], values


async def _read_form(request: Request, max_images: int) -> tuple[list[Upload], Mapping[str, str]]:
    async with open_form(request, max_images) as fields:
        files = [item for item in fields.getlist("files") if isinstance(item, UploadFile)]
        if sum(isinstance(value, UploadFile) for _, value in fields.multi_items()) > len(files):
            raise RequestMalformed("The form has a file in another field. Send files as `files`.")
        uploads = [Upload(None, await file.read()) for file in files]
        values = {name: text for name, text in fields.items() if isinstance(text, str)}
    return uploads, values
