"""Reads the images and parameters of a request, in each of the three forms a caller may send.

The forms are `multipart/form-data` (`files`, repeated, and parameters as fields), a raw image with
parameters in the query string, and JSON (`images: [{id?, data: base64}]` and the parameters). A
URL-encoded form is a form without images. Each form may have parameters in the query string too:
`service.api.parameters` has the rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from service.api.bodies import (
    count_inputs,
    keep_parsed,
    open_form,
    read_body,
    read_file,
    require_room_to_parse,
)
from service.api.parameters import (
    Pairs,
    ParametersT,
    parse_pairs,
    query_pairs,
    validate,
    validate_once,
)
from service.api.parsing import (
    decode_base64,
    is_fields,
    is_json_object,
    json_object,
    media_type,
    parse_json,
)
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed
from service.inference.encoder import EncodedImage, Encoder

FORM = "multipart/form-data"


def _json_text(value: Any) -> Any:
    """Returns the value of a form field or query parameter, which holds structures as JSON text."""
    return parse_json(value) if isinstance(value, str) else value


AsJson = BeforeValidator(_json_text)


class ImageItem(BaseModel):
    """One image in JSON."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    id: Annotated[str | None, Field(max_length=256)] = None
    """The caller's id of the image. The answer repeats it."""
    data: str
    """The bytes of a PNG, JPEG or DICOM file, in base64 or as a data URI."""


class ImageItems(BaseModel):
    """The images of a JSON request."""

    images: Annotated[list[ImageItem], Field(fail_fast=True)] = []


@dataclass(frozen=True, slots=True)
class Upload:
    """One image of a request: its bytes, or the reason why they could not be read."""

    id: str | None
    data: bytes | EclipError


async def read_input(
    request: Request, model: type[ParametersT], max_images: int
) -> tuple[list[Upload], ParametersT]:
    """Returns the uploads in order and the validated parameters. Raises RequestMalformed.

    The content type names the form. What has another type is JSON if it begins as an object does,
    and else a raw image.
    """
    uploads, pairs = await _read(request, max_images)
    count_inputs(request, len(uploads))
    return uploads, validate_once(model, query_pairs(request) + pairs)


async def _read(request: Request, max_images: int) -> tuple[list[Upload], Pairs]:
    kind = media_type(request)
    if kind == FORM:
        return await _read_form(request, max_images)
    body = await read_body(request)
    if kind == "application/json" or is_json_object(body):
        size = len(body)
        require_room_to_parse(request, body)
        values = json_object(body)
        del body  # before its images are decoded
        uploads = _take_images(values, max_images)
        keep_parsed(request, size, _readable(uploads))
        return uploads, [*values.items()]
    if kind == "application/x-www-form-urlencoded" and is_fields(body):
        return [], parse_pairs(body, "form")
    return [Upload(None, body)] if body else [], []


async def read_json(request: Request, model: type[ParametersT]) -> ParametersT:
    """Returns the validated parameters of a request whose body is JSON. Raises RequestMalformed."""
    body = await read_body(request)
    require_room_to_parse(request, body)
    pairs = [*json_object(body).items()]
    parsed = validate_once(model, query_pairs(request) + pairs)
    keep_parsed(request, len(body), ())
    return parsed


def check_count(count: int, most: int, things: str) -> None:
    """Raises RequestMalformed for a request with too many images or texts."""
    if count > most:
        raise RequestMalformed(
            f"The request has {count} {things}, over the limit of {most}. Send fewer at a time."
        )


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
    encoded = iter(encoder.images(_readable(uploads), deadline))
    return [next(encoded) if isinstance(u.data, bytes) else u.data for u in uploads]


def decode_item(item: ImageItem) -> Upload:
    """Decodes the base64 of one image. An image that cannot be decoded carries its own error."""
    try:
        return Upload(item.id, decode_base64(item.data))
    except EclipError as error:
        return Upload(item.id, error)


def _take_images(values: dict[str, Any], max_images: int) -> list[Upload]:
    """Takes the images out of a JSON body's values. Each text is let go once it is decoded."""
    images = values.pop("images", None) or []
    check_count(len(images) if isinstance(images, list) else 0, max_images, "images")
    items = validate(ImageItems, {"images": images}).images[::-1]
    del images
    return [decode_item(items.pop()) for _ in range(len(items))]


def _readable(uploads: Sequence[Upload]) -> list[bytes]:
    return [upload.data for upload in uploads if isinstance(upload.data, bytes)]


async def _read_form(request: Request, max_images: int) -> tuple[list[Upload], Pairs]:
    async with open_form(request, max_images) as form:
        files, pairs = form_parts(form)
        return [Upload(None, await read_file(request, file)) for file in files], pairs


def form_parts(form: FormData) -> tuple[list[UploadFile], Pairs]:
    """Returns the files of a form and its other fields. Raises RequestMalformed."""
    parts = form.multi_items()
    files = [part for name, part in parts if name == "files" and isinstance(part, UploadFile)]
    if sum(isinstance(part, UploadFile) for _, part in parts) > len(files):
        raise RequestMalformed("The form has a file in another field. Send files as `files`.")
    if len(files) < sum(name == "files" for name, _ in parts):
        raise RequestMalformed(
            "A part `files` of the form has no file name, so it is text. Send it as a file, "
            'with `filename="1.png"` in its Content-Disposition.'
        )
    return files, [(name, part) for name, part in parts if isinstance(part, str)]
