"""Decides who may use an endpoint: API keys with scopes, or only this machine.

The settings hold the SHA-256 of each key. Without keys the server trusts everybody at its machine.
It then refuses requests under a foreign host name or from another site's page, which a visited page
could make a browser send (DNS rebinding, cross-site requests).
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.errors import ForeignRequest, ScopeMissing, Unauthenticated
from service.settings import LOOPBACK, Scope, Settings

_BEARER = HTTPBearer(
    scheme_name="key",
    description="An API key. A server without keys asks for none.",
    auto_error=False,
)


def _requires(scope: Scope) -> Callable[..., None]:
    def check(
        request: Request,
        _sent: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        settings: Settings = request.app.state.settings
        if settings.api_keys:
            _check_key(settings, request.headers.get("authorization", ""), scope)
        else:
            _check_local(settings, request)

    return check


def _check_key(settings: Settings, authorization: str, scope: Scope) -> None:
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    scopes = [s for known, s in settings.api_keys.items() if hmac.compare_digest(known, digest)]
    if scheme.lower() != "bearer" or not scopes:
        raise Unauthenticated(
            "The request has no known API key. Send one as `Authorization: Bearer KEY`."
        )
    if scope not in scopes[0]:
        raise ScopeMissing(
            f"This API key lacks the scope `{scope}`. Ask the operator for a key that has it."
        )


def _check_local(settings: Settings, request: Request) -> None:
    host = request.headers.get("host", "")
    if _name(f"//{host}") not in LOOPBACK | set(settings.allowed_hosts):
        raise ForeignRequest(
            "Without API keys the server answers only to this machine's own names. Set "
            "ECLIP_API_KEYS, or add this host name to ECLIP_ALLOWED_HOSTS."
        )
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ForeignRequest(
            "Another site's page may not use a server without API keys. Set ECLIP_API_KEYS and "
            "send a key."
        )


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


reader = Depends(_requires("read"))
writer = Depends(_requires("write"))
