"""Turns every error into a problem: RFC 9457, application/problem+json."""

import math
from collections.abc import Container
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from service.errors import (
    BodyTooSlow,
    EclipError,
    EncodingUnsupported,
    KeyExpired,
    RequestMalformed,
    ScopeMissing,
    StoreFull,
    StoreUnavailable,
    Unauthenticated,
)
from service.files import FULL
from service.health import Health
from service.logs import failure
from service.memory import short
from service.telemetry import ERRORS, log

MEDIA_TYPE = "application/problem+json"
OPENAI = "/v1/"
"""Start of the paths whose clients look for an `error` in the answer, as OpenAI's have one."""
_HEADERS: dict[type[EclipError], dict[str, str]] = {
    BodyTooSlow: {"Connection": "close"},
    Unauthenticated: {"WWW-Authenticate": "Bearer"},
    KeyExpired: {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    ScopeMissing: {"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
    EncodingUnsupported: {"Accept-Encoding": "identity"},
}
"""Error → headers that HTTP wants with it (RFC 9110, 11.6.1, 12.5.3, 15.5.9; RFC 6750, 3.1)."""
_METHODS = {"DELETE": "DELETE", "GET": "GET", "HEAD": "GET", "POST": "POST", "PUT": "PUT"}
"""Method → the method as which it is answered."""


class Problem(JSONResponse):
    """An error as a response."""

    media_type = MEDIA_TYPE


def install(app: FastAPI) -> None:
    """Registers one handler for each kind of error."""
    app.add_exception_handler(EclipError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _disk)
    app.add_exception_handler(MemoryError, _memory)


def describe(error: EclipError) -> dict[str, Any]:
    """Returns the members that every problem and every failed item of a batch has."""
    return {"type": error.urn, "title": error.title, "detail": error.detail}


def malformed(error: Any, known: Container[str]) -> RequestMalformed:
    """Returns one of pydantic's errors without the value that caused it.

    known: the names that the place may have. Others are the caller's own words.
    """
    named = (str(part) for part in error["loc"] if isinstance(part, int) or part in known)
    where = ".".join(named) or "the request"
    return RequestMalformed(f"{where}: {error['msg']}. See /docs for what this endpoint takes.")


def problem(request: Request, error: EclipError) -> Problem:
    """Returns the response for a typed error."""
    ERRORS.labels(error.urn).inc()
    if isinstance(error, StoreUnavailable) and (health := _health(request)):
        health.doubt()
    headers = dict(_HEADERS.get(type(error), {}))
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    members = describe(error) | error.extensions
    return _problem(request.scope, error.status, members, headers)


def _health(request: Request) -> Health | None:
    """Returns the health of the running server; None for an app that was not started."""
    health: Health | None = getattr(request.app.state, "health", None)
    return health


async def _typed(request: Request, error: Exception) -> Problem:
    assert isinstance(error, EclipError)  # noqa: S101 — registered for this type only
    return problem(request, error)


async def _memory(request: Request, error: Exception) -> Problem:
    assert isinstance(error, MemoryError)  # noqa: S101
    return problem(request, short())


async def _invalid(request: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    unknown = first["type"] == "extra_forbidden"
    return problem(request, malformed(first, () if unknown else first["loc"]))


async def _disk(request: Request, error: Exception) -> Problem:
    """Answers what a disk refuses, such as the temporary file of a large upload."""
    if isinstance(error, OSError) and error.errno in FULL:
        return problem(
            request,
            StoreFull(
                "A disk of the server has no room for the request's files. Free some room in the "
                "temporary directory (TMPDIR), or send smaller files."
            ),
        )
    return unexpected(request.scope, error)


async def _http(request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101
    members = {
        "type": "about:blank",
        "title": error.detail,
        "detail": f"{error.detail}. See /docs for all endpoints.",
    }
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return _problem(request.scope, error.status_code, members, headers)


def _allowed(request: Request) -> str:
    """Returns the methods that the path has. Starlette names those of its first route only."""

    def takes(method: str) -> bool:
        asked = {**request.scope, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method, as_method in _METHODS.items() if takes(as_method))


def unexpected(scope: Scope, error: Exception) -> Problem:
    """Returns the response for a defect. The log has its type and place, never its message."""
    ERRORS.labels("urn:eclip:internal").inc()
    log().error("unexpected error", request_id=scope["state"]["request_id"], **failure(error))
    members = {
        "type": "urn:eclip:internal",
        "title": "Internal error",
        "detail": "The service has a defect. Report it to the operator with the request id.",
    }
    return _problem(scope, 500, members, {})


def _problem(
    scope: Scope, status: int, members: dict[str, Any], headers: dict[str, str]
) -> Problem:
    """Returns the problem. Under /v1/ it has `error` too, all that OpenAI's clients show."""
    whole = members | {"status": status, "request_id": scope["state"]["request_id"]}
    if scope["path"].startswith(OPENAI):
        error = {"message": members["detail"], "type": members["type"], "param": None, "code": None}
        whole["error"] = error
    return Problem(whole, status, headers)
