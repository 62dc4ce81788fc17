"""Sends server-sent events past proxies: unbuffered, and never silent for long."""

import asyncio
from collections.abc import AsyncIterator

from anyio import CancelScope
from fastapi.responses import StreamingResponse

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_S = 15.0
"""Seconds without an event after which a comment is sent. nginx closes a silent answer after 60."""
_COMMENT = ": still working\n\n"


class EventStream(StreamingResponse):
    """Events as they come. `X-Accel-Buffering: no` tells nginx to pass each on at once."""

    def __init__(self, events: AsyncIterator[str]) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(_never_silent(events), headers=headers, media_type=EVENT_STREAM)


def event(name: str, data: str) -> str:
    """Returns one event. data: one line of JSON."""
    return f"event: {name}\ndata: {data}\n\n"


async def _never_silent(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yields the events, and comments between them, which a client passes over."""
    while True:
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not (await asyncio.wait([coming], timeout=KEEP_ALIVE_S))[0]:
                yield _COMMENT
        finally:  # a client that leaves cancels the work's deadline (see `Work`): wait for its end
            with CancelScope(shield=True):
                await asyncio.wait([coming])
        if (made := coming.result()) is None:
            return
        yield made
