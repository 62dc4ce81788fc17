"""What handlers work with: the services that app.py wired, and the work of one request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from service.bundle.manifest import Bundle
from service.cases.library import CaseLibrary
from service.inference.batching import Deadline
from service.inference.encoder import Encoder
from service.inference.zero_shot import Classifier
from service.reporting.pipeline import Reporter
from service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the server."""

    settings: Settings
    bundle: Bundle
    encoder: Encoder
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
    """Run blocking work off the event loop; a client that leaves cancels its deadline."""
    watcher = asyncio.create_task(_watch(request, deadline))
    try:
        return await run_in_threadpool(function, *args, **kwargs)
    finally:
        watcher.cancel()


async def _watch(request: Request, deadline: Deadline) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    deadline.cancel()
