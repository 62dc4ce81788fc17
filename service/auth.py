"""API keys, stored as sha256 hashes with scopes; no keys configured means an open server."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request

from service.errors import ScopeMissing, Unauthenticated
from service.settings import Scope, Settings


def _requires(scope: Scope) -> Callable[..., None]:
    def check(
        request: Request,
        authorization: Annotated[str, Header(description="Bearer KEY")] = "",
    ) -> None:
        settings: Settings = request.app.state.settings
        if settings.api_keys:
            _check(settings, authorization, scope)

    return check


def _check(settings: Settings, authorization: str, scope: Scope) -> None:
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    scopes = [s for known, s in settings.api_keys.items() if hmac.compare_digest(known, digest)]
    if scheme.lower() != "bearer" or not scopes:
        raise Unauthenticated("Send a known key as `Authorization: Bearer KEY`.")
    if scope not in scopes[0]:
        raise ScopeMissing(f"This key lacks the scope `{scope}`. Ask the operator for one.")


reader = Depends(_requires("read"))
writer = Depends(_requires("write"))
