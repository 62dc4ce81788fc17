"""Images and parameters of a request, whichever of the three forms they came in.

`multipart/form-data` (`files`, repeated; parameters as fields), a raw image (parameters in the
query string), or JSON (`images: [{id?, data: base64}]` beside the parameters).
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
from service.errors import EclipError, ImageUndecodable, RequestMalformed

MAX_FIELDS = 64
MAX_FIELD_BYTES = 4 << 20
MAX_JSON_VALUES = 500_000
"""More values than any request needs, and few enough to be parsed between two other requests."""


def _json_text(value: Any) -> Any:
    """Form fields and query parameters carry structured values as JSON text."""
    return parse_json(value) if isinstance(value, str) else value


AsJson = BeforeValidator(_json_text)


class Parameters(BaseModel):
    """Base of every endpoint's parameters; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ImageItem(BaseModel):
    """One image in JSON."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str | None, Field(max_length=256)] = None
    data: Annotated[str, Field(description="PNG, JPEG or DICOM, base64")]


class ImageItems(BaseModel):
    """The images of a JSON request."""

    images: Annotated[list[ImageItem], Field(max_length=1024, fail_fast=True)] = []


@dataclass(frozen=True, slots=True)
class Upload:
    """One image of a request: its bytes, or why there are none."""

    id: str | None
    data: bytes | EclipError


ParametersT = TypeVar("ParametersT", bound=BaseModel)


async def read_input(
    request: Request, model: type[ParametersT], max_images: int
) -> tuple[list[Upload], ParametersT]:
    """The uploads in order, and the validated parameters; raises RequestMalformed."""
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
        raise RequestMalformed(f"{len(uploads)} images are over the bound of {max_images}.")
    return uploads, validate(model, values)


async def read_json(request: Request, model: type[ParametersT]) -> ParametersT:
    """The validated body of a request that is JSON and nothing else; raises RequestMalformed."""
    return validate(model, json_object(await request.body()))


@asynccontextmanager
async def open_form(request: Request, max_files: int) -> AsyncIterator[FormData]:
    """The multipart form; raises RequestMalformed."""
    form = request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    try:
        async with form as fields:
            for name, value in fields.multi_items():
                f"{name}{value if isinstance(value, str) else ''}".encode()
            yield fields
    except HTTPException as error:
        raise RequestMalformed(f"The form cannot be read: {error.detail}") from None
    except UnicodeEncodeError:  # a form may name a charset that decodes to lone surrogates
        raise RequestMalformed("The form cannot be read: a field is not Unicode text.") from None


def validate(model: type[ParametersT], values: Any) -> ParametersT:
    """Validate, with pydantic's message and never its input in the error."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise malformed(error.errors(include_input=False, include_url=False)) from None


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: NaN and infinities are no numbers."""
    encoded = text.encode() if isinstance(text, str) else text
    if sum(encoded.count(mark) for mark in (b"[", b"{", b",")) > MAX_JSON_VALUES:
        raise RequestMalformed(f"The JSON has more than {MAX_JSON_VALUES} values. Send less.")
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise RequestMalformed(f"The JSON cannot be read: {error}.") from None


def json_object(body: bytes) -> dict[str, Any]:
    """A body that must be one JSON object."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise RequestMalformed("The body must be a JSON object.")
    return value


def one_image(uploads: Sequence[Upload]) -> bytes:
    """The only image of a request that takes exactly one."""
    if len(uploads) != 1:
        raise RequestMalformed(f"Send exactly one image; there were {len(uploads)}.")
    return raised(uploads[0].data)


def some_images(uploads: Sequence[Upload]) -> Sequence[Upload]:
    """The images of a request that takes one or more."""
    if not uploads:
        raise RequestMalformed(
            "There is no image. Send multipart `files`, a raw image body, or JSON `images`."
        )
    return uploads


def raised(data: bytes | EclipError) -> bytes:
    """The bytes, or the error raised."""
    if isinstance(data, EclipError):
        raise data
    return data


def decode_item(item: ImageItem) -> Upload:
    """Base64 → bytes; a bad item is its own error."""
    try:
        return Upload(item.id, base64.b64decode(item.data, validate=True))
    except (binascii.Error, ValueError):
        return Upload(item.id, ImageUndecodable("`data` is not base64. Encode the file's bytes."))


def _read_json(body: bytes) -> tuple[list[Upload], dict[str, Any]]:
    values = json_object(body)
    items = validate(ImageItems, {"images": values.pop("images", [])}).images
    return [decode_item(item) for item in items], values


async def _read_form(request: Request, max_images: int) -> tuple[list[Upload], Mapping[str, str]]:
    async with open_form(request, max_images) as fields:
        files = [item for item in fields.getlist("files") if isinstance(item, UploadFile)]
        if sum(isinstance(value, UploadFile) for _, value in fields.multi_items()) > len(files):
            raise RequestMalformed("The form holds a file under another name than `files`.")
        uploads = [Upload(None, await file.read()) for file in files]
        values = {name: text for name, text in fields.items() if isinstance(text, str)}
    return uploads, values
