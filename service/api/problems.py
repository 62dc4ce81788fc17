"""Turns every error into a problem: RFC 9457, application/problem+json."""

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import EclipError, RequestMalformed
from service.telemetry import ERRORS, log

MEDIA_TYPE = "application/problem+json"


class Problem(JSONResponse):
    """An error as a response."""

    media_type = MEDIA_TYPE


def install(app: FastAPI) -> None:
    """Registers one handler for each kind of error."""
    app.add_exception_handler(EclipError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def describe(error: EclipError) -> dict[str, Any]:
    """Returns the members that every problem and every failed item of a batch has."""
    return {"type": error.urn, "title": error.title, "detail": error.detail}


def malformed(errors: list[Any]) -> RequestMalformed:
    """Returns the first of pydantic's errors, without the value that caused it."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
    return RequestMalformed(f"{where}: {first['msg']}. See /docs for what this endpoint takes.")


def problem(request: Request, error: EclipError) -> Problem:
    """Returns the response for a typed error."""
    ERRORS.labels(error.urn).inc()
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    members = {**describe(error), "status": error.status, "request_id": _request_id(request)}
    return Problem(members | error.extensions, error.status, headers)


async def _typed(request: Request, error: Exception) -> Problem:
    assert isinstance(error, EclipError)  # noqa: S101 — registered for this type only
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem(request, malformed(list(error.errors())))


async def _http(request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101
    members = {
        "type": "about:blank",
        "title": error.detail,
        "status": error.status_code,
        "detail": f"{error.detail}. See /docs for all endpoints.",
        "request_id": _request_id(request),
    }
    return Problem(members, error.status_code, error.headers)


def unexpected(request_id: str, error: Exception) -> Problem:
    """Returns the response for a defect. The log has its type and place, never its message."""
    ERRORS.labels("urn:eclip:internal").inc()
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "unknown"
    log().error("unexpected error", request_id=request_id, error=type(error).__name__, place=place)
    members = {
        "type": "urn:eclip:internal",
        "title": "Internal error",
        "status": 500,
        "detail": "The service has a defect. Report it to the operator with the request id.",
        "request_id": request_id,
    }
    return Problem(members, 500)


def _request_id(request: Request) -> str:
    request_id: str = request.scope["state"]["request_id"]
    return request_id
