"""Bounds how long the body of an HTTP response may take.

HTTPX bounds the wait for each piece of a body. A server that sends a byte now and then, or a
server-sent comment, would never exceed that bound.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx2


def bound_body(response: httpx2.Response) -> None:
    """Bounds the whole body of a response by the read timeout of its request.

    Reading raises httpx2.ReadTimeout at the first piece that arrives later.
    """
    read_s = response.request.extensions["timeout"]["read"]
    response.stream = _TimedBody(response.stream, read_s)


class _TimedBody(httpx2.SyncByteStream):
    """The bytes of a response, for so many seconds from now."""

    def __init__(self, stream: Any, seconds: float) -> None:
        self._stream, self._until = stream, time.monotonic() + seconds

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("The answer takes too long.")
            yield piece

    def close(self) -> None:
        """Closes the response."""
        self._stream.close()
