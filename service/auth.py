"""Who may ask: API keys, stored as sha256 hashes with scopes.

Without keys the server trusts whoever sits at its machine, and so answers only what is addressed to
that machine and comes from no other site's page: a browser would otherwise lend that trust to any
page it visits (cross-site requests, DNS rebinding).
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Header, Request

from service.errors import ForeignRequest, ScopeMissing, Unauthenticated
from service.settings import LOOPBACK, Scope, Settings


def _requires(scope: Scope) -> Callable[..., None]:
    def check(
        request: Request,
        authorization: Annotated[str, Header(description="Bearer KEY")] = "",
    ) -> None:
        settings: Settings = request.app.state.settings
        if settings.api_keys:
            _check_key(settings, authorization, scope)
        else:
            _check_local(settings, request)

    return check


def _check_key(settings: Settings, authorization: str, scope: Scope) -> None:
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    scopes = [s for known, s in settings.api_keys.items() if hmac.compare_digest(known, digest)]
    if scheme.lower() != "bearer" or not scopes:
        raise Unauthenticated("Send a known key as `Authorization: Bearer KEY`.")
    if scope not in scopes[0]:
        raise ScopeMissing(f"This key lacks the scope `{scope}`. Ask the operator for one.")


def _check_local(settings: Settings, request: Request) -> None:
    host = request.headers.get("host", "")
    if _name(f"//{host}") not in LOOPBACK | set(settings.allowed_hosts):
        raise ForeignRequest(
            "Without API keys the server answers to this machine's own names only. Set "
            "ECLIP_API_KEYS, or name the host in ECLIP_ALLOWED_HOSTS."
        )
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ForeignRequest("Another site's page may not use a server without API keys.")


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


reader = Depends(_requires("read"))
writer = Depends(_requires("write"))
