"""Ends a request from another thread, also while it waits for a server's first word.

Only a shutdown of its socket wakes a thread that reads from it. The HTTP client shows the sockets
that it opens to the `trace` of a request.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")


class Connection:
    """The connection of one request. Thread-safe."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._ended = False

    def of(self, call: Callable[[], T]) -> T:
        """Returns `call()`, whose request is the one."""
        context = copy_context()
        context.run(_current.set, self)
        return context.run(call)

    def end(self) -> None:
        """Ends the request: whoever reads its answer meets the end of the connection."""
        self._ended = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def trace(self, _event: str, info: Mapping[str, Any]) -> None:
        """Takes the newest socket: TLS and proxies wrap the first one."""
        if described := getattr(info.get("return_value"), "get_extra_info", None):
            self._socket = described("socket")
            if self._ended:
                self.end()


_current: ContextVar[Connection | None] = ContextVar("connection", default=None)


def trace_connection(request: httpx2.Request) -> None:
    """Has the client show the sockets of a request that a `Connection` is of."""
    if connection := _current.get():
        request.extensions["trace"] = connection.trace
