"""Asks each request to an endpoint for a key with the endpoint's scope."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.access.guard import Guard
from service.settings import Scope

_BEARER = HTTPBearer(
    scheme_name="key",
    description="An API key. A server without keys asks for none.",
    auto_error=False,
)


def _requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, None]]:
    async def check(
        request: Request,
        sent: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER, scopes=[scope])],
    ) -> None:
        guard: Guard = request.app.state.guard
        address = request.client.host if request.client else ""
        secret = None if sent is None else sent.credentials.strip()
        key = guard.identify(secret, request.headers, address)
        if key is not None:
            request.state.asked_by = key.name
            key.require(scope)

    return check


def asked_by(request: Request) -> str | None:
    """Returns the name of the request's key; None where none was asked for."""
    name: str | None = getattr(request.state, "asked_by", None)
    return name


reader = Depends(_requires("read"))
writer = Depends(_requires("write"))
deleter = Depends(_requires("delete"))
monitor = Depends(_requires("metrics"))
