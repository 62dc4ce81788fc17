"""Gives request handlers the running services and runs their blocking work."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from opentelemetry.trace import NoOpTracer, Tracer

from service.bundle.manifest import Bundle
from service.cases.library import CaseLibrary
from service.deadline import Deadline
from service.errors import DeadlineExceeded
from service.inference.admission import Admission
from service.inference.encoder import Encoder
from service.inference.maps import Mapper
from service.inference.zero_shot import Classifier
from service.pacs.intake import Intake
from service.reporting.pipeline import Reporter
from service.settings import Settings

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
BULK_THREADS = 32
"""Threads for bulk requests. Searches and reports have other threads and do not wait for these."""


@dataclass(frozen=True)
class Services:
    """The parts of a server that live from its start to its end."""

    settings: Settings
    bundle: Bundle
    encoder: Encoder
    admission: Admission
    classifiers: dict[str, Classifier]
    """Label set of the bundle → its classifier."""
    mapper: Mapper
    library: CaseLibrary
    reporter: Reporter
    tracer: Tracer = field(default_factory=NoOpTracer)
    intake: Intake | None = None
    """Takes received objects in; None where none are received."""
    pacs_state: Callable[[], str] | None = None
    """How receiving and sending go; None where nothing is received. See `service.health.Part`."""
    unfinished: set[asyncio.Task[Any]] = field(default_factory=set)
    """Work that goes on although its request was answered. The server's end waits for it."""
    bulk_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(BULK_THREADS))


def services(request: Request) -> Services:
    """Returns the server's services."""
    wired: Services = request.app.state.services
    return wired


Wired = Annotated[Services, Depends(services)]


class Work:
    """The blocking work of one request, done off the event loop under one deadline.

    The request takes its places in the queue at the first step, and a client that leaves cancels
    the deadline. Example: `await Work(request).run(encoder.texts, texts)` calls
    `encoder.texts(texts, deadline)` in a thread.

    items: number of items in the request. bulk: whether interactive requests go first. seconds:
    time for all steps together; None takes the setting `deadline_s`.
    """

    def __init__(
        self,
        request: Request,
        *,
        items: int = 1,
        bulk: bool = False,
        seconds: float | None = None,
    ) -> None:
        self._request, self._services = request, services(request)
        allowed = self._services.settings.deadline_s if seconds is None else seconds
        self._deadline = Deadline(allowed, items=items, bulk=bulk)

    async def run(self, function: Callable[[*Ts, Deadline], T], *args: *Ts) -> T:
        """Returns `function(*args, deadline)`. Raises QueueFull when the first step finds no place.

        What the function raises is raised here.
        """
        return await self._step(partial(function, *args, self._deadline))

    async def finish(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Returns `function(*args)`, a change that is carried through once it is admitted.

        Raises QueueFull as `run` does. Raises DeadlineExceeded where time is up first; the function
        goes on then, as it does where the client leaves.
        """
        going = asyncio.create_task(self._step(partial(function, *args)))
        self._services.unfinished.add(going)
        going.add_done_callback(self._services.unfinished.discard)
        await asyncio.wait({going}, timeout=self._deadline.remaining)
        if not going.done():
            raise DeadlineExceeded(
                "The deadline passed before all was done. The work goes on to its end. Send the "
                "same request again to learn when it is done."
            )
        return going.result()

    async def iterate(
        self, function: Callable[[*Ts, Deadline], Iterator[T]], *args: *Ts
    ) -> AsyncIterator[T]:
        """Yields what `function(*args, deadline)` yields. Each item is a step of its own.

        The deadline is cancelled at the end, also when the client leaves between two items.
        """
        items = function(*args, self._deadline)
        try:
            while (item := await self._step(partial(next, items, None))) is not None:
                yield item
        finally:
            self._deadline.cancel()

    async def _step(self, call: Callable[[], T]) -> T:
        with self._services.admission.hold(self._deadline):
            watcher = asyncio.create_task(self._cancel_when_the_client_leaves())
            try:
                threads = self._services.bulk_threads if self._deadline.bulk else None
                return await to_thread.run_sync(call, limiter=threads)
            finally:
                watcher.cancel()

    async def _cancel_when_the_client_leaves(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._deadline.cancel()
