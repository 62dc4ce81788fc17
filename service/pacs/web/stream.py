"""Bounds the whole time of an HTTP request, and ends requests from another thread.

An HTTP client bounds the wait for the next bytes. A server that sends one byte now and then, within
its headers or its body, never exceeds that bound. So every read and write of a connection also ends
with the time of its request.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import httpcore2

_PIECE = 2**16
"""Bytes written at a time."""
_until: ContextVar[float] = ContextVar("until", default=float("inf"))
"""Monotonic time at which the request of this thread must have ended."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bounds the requests made meanwhile in this thread: then they raise a timeout of httpcore."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


class TimedNetwork(httpcore2.NetworkBackend):
    """Opens TCP connections whose requests are bounded by `within`. Thread-safe."""

    def __init__(self) -> None:
        self._network = httpcore2.SyncBackend()
        self._streams: WeakSet[_TimedStream] = WeakSet()
        self._lock, self._ended = threading.Lock(), False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connects, as httpcore asks for it."""
        seconds = _left(timeout, httpcore2.ConnectTimeout)
        stream = self._network.connect_tcp(host, port, seconds, local_address, socket_options)
        return self._timed(stream)

    def end(self) -> None:
        """Ends all connections, also later ones: a thread that reads from one meets its end."""
        with self._lock:
            self._ended, streams = True, tuple(self._streams)
        for stream in streams:
            with suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _timed(self, stream: httpcore2.NetworkStream) -> "_TimedStream":
        timed = _TimedStream(stream, self)
        with self._lock:
            self._streams.add(timed)
            ended = self._ended
        if ended:
            stream.close()
            raise httpcore2.ConnectError("No connection is made any more.")
        return timed


class _TimedStream(httpcore2.NetworkStream):
    """One connection."""

    def __init__(self, stream: httpcore2.NetworkStream, network: TimedNetwork) -> None:
        self._stream, self._network = stream, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Reads the next bytes."""
        return self._stream.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes all bytes."""
        for start in range(0, len(buffer), _PIECE):
            piece = buffer[start : start + _PIECE]
            self._stream.write(piece, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        """Closes the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Returns the connection under TLS."""
        seconds = _left(timeout, httpcore2.ConnectTimeout)
        return self._network._timed(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        """Returns what httpcore asks of a connection."""
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, expired: type[httpcore2.TimeoutException]) -> float | None:
    """Returns the shorter of the timeout and the time that the request has left."""
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise expired("The answer takes too long.")
    if left == float("inf"):
        return timeout
    return left if timeout is None else min(timeout, left)
