"""Completes FastAPI's OpenAPI document with the request bodies and the problems."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.attention import AttentionParameters
from service.api.classify import ClassifyParameters
from service.api.display import DisplayFacts, DisplayParameters
from service.api.embed import EmbedImageParameters, EmbedTextBody
from service.api.inputs import ImageItems
from service.api.openai import EmbeddingsBody
from service.api.problems import MEDIA_TYPE
from service.api.reports import ReportParameters
from service.api.retrieve import RetrieveParameters
from service.api.studies import StudyLine, StudyParameters

WITH_IMAGES: dict[tuple[str, str], type[BaseModel]] = {
    ("/embed/image", "post"): EmbedImageParameters,
    ("/classify", "post"): ClassifyParameters,
    ("/retrieve", "post"): RetrieveParameters,
    ("/generate-report", "post"): ReportParameters,
    ("/attention", "post"): AttentionParameters,
    ("/display", "post"): DisplayParameters,
    ("/studies/{study_id}", "put"): StudyParameters,
}
"""Endpoint → its parameters, where a request has images in one of three forms."""
WITH_JSON: dict[tuple[str, str], type[BaseModel]] = {
    ("/embed/text", "post"): EmbedTextBody,
    ("/v1/embeddings", "post"): EmbeddingsBody,
}
"""Endpoint → its body, where a request is JSON."""
RAW_TYPES = ("image/png", "image/jpeg", "application/dicom")
"""Media types of a raw image body."""
_REF = "#/components/schemas/{model}"
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:eclip:image/undecodable"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "error": {"type": "object", "description": "Under /v1/ only: the error in OpenAI's form."},
    },
}


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` return the whole contract."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models: list[type[BaseModel]] = [
        *WITH_IMAGES.values(),
        *WITH_JSON.values(),
        StudyLine,
        ImageItems,
        DisplayFacts,
    ]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    schemas = document["components"]["schemas"]
    schemas.update(definitions["$defs"])
    schemas["Problem"] = _PROBLEM
    for (path, method), model in WITH_IMAGES.items():
        document["paths"][path][method]["requestBody"] = _image_body(model)
    for (path, method), model in WITH_JSON.items():
        content = {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
        document["paths"][path][method]["requestBody"] = {"required": True, "content": content}
    document["paths"]["/studies"]["post"]["requestBody"] = _study_batch_body()
    for operations in document["paths"].values():
        for operation in operations.values():
            _problem_responses(operation)
    return document


def _image_body(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the three forms of a body with images: JSON with base64, form, one raw image."""
    parameters = {"$ref": _REF.format(model=model.__name__)}
    items = {"$ref": _REF.format(model=ImageItems.__name__)}
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "properties": {
            "files": {"type": "array", "items": binary},
            **{name: {"type": "string"} for name in model.model_fields},
        },
    }
    content: dict[str, Any] = {raw: {"schema": binary} for raw in RAW_TYPES}
    content["multipart/form-data"] = {"schema": form}
    content["application/json"] = {"schema": {"allOf": [items, parameters]}}
    return {"required": True, "content": content}


def _study_batch_body() -> dict[str, Any]:
    line = {"$ref": _REF.format(model=StudyLine.__name__)}
    form = {
        "type": "object",
        "properties": {
            "studies": {"type": "string", "description": "a JSON list of studies"},
            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    }
    content = {
        "application/x-ndjson": {"schema": line},
        "application/json": {"schema": {"type": "array", "items": line}},
        "multipart/form-data": {"schema": form},
    }
    return {"required": True, "content": content}


def _problem_responses(operation: dict[str, Any]) -> None:
    """Replaces FastAPI's own 422 answer by the problem with which any operation may answer."""
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "Problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
