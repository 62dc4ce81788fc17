"""What handlers work with: the services that app.py wired, and the work of one request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from service.bundle.manifest import Bundle
from service.cases.library import CaseLibrary
from service.deadline import Deadline
from service.inference.admission import Admission
from service.inference.encoder import Encoder
from service.inference.zero_shot import Classifier
from service.reporting.pipeline import Reporter
from service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
_BULK = CapacityLimiter(32)
"""Threads of its own: a search does not wait for one that bulk work holds."""


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the server."""

    settings: Settings
    bundle: Bundle
    encoder: Encoder
    admission: Admission
    classifiers: dict[str, Classifier]
    """One a label set of the bundle."""
    library: CaseLibrary
    reporter: Reporter


def services(request: Request) -> Services:
    """The server's services."""
    wired: Services = request.app.state.services
    return wired


Wired = Annotated[Services, Depends(services)]


async def work(
    request: Request,
    deadline: Deadline,
    function: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run blocking work off the event loop; a client that leaves cancels its deadline.

    Raises QueueFull where the request's items find no place.
    """
    with services(request).admission.hold(deadline):
        watcher = asyncio.create_task(_watch(request, deadline))
        try:
            limiter = _BULK if deadline.bulk else None
            return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)
        finally:
            watcher.cancel()


async def _watch(request: Request, deadline: Deadline) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    deadline.cancel()
