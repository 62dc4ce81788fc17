"""Asks each request to an endpoint for a key with the endpoint's scope."""

from collections.abc import Callable, Coroutine, Mapping
from ipaddress import ip_address
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
        secret = None if sent is None else sent.credentials.strip()
        key = guard.identify(secret, request.headers, caller(request.scope) or "")
        if key is not None:
            request.state.asked_by = key.name
            key.require(scope)

    return check


def caller(scope: Mapping[str, Any]) -> str | None:
    """Returns the caller's address; None at a Unix socket.

    None too where a proxy's header has anything but an address, which no log may repeat.
    """
    host = str((scope.get("client") or [""])[0]).partition("%")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def asked_by(request: Request) -> str | None:
    """Returns the name of the request's key; None where none was asked for."""
    name: str | None = getattr(request.state, "asked_by", None)
    return name


reader = Depends(_requires("read"))
writer = Depends(_requires("write"))
deleter = Depends(_requires("delete"))
monitor = Depends(_requires("metrics"))
