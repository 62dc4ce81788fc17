"""Bounds what a DICOM peer can cost: the bytes it may send, and the seconds it may take.

pynetdicom reads a message as long as a peer sends it, and its thread waits for the rest of one
without an end. So the bytes are counted where they are read, and the connection is cut in the end.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from service.pacs.node.reactor import pause_surely

MOST_BYTES = 256 * 2**20
"""Bytes that a peer may send in one operation, such as an object or all answers to a query."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Message parts follow each other only once the one before is acknowledged, 40 ms later by default.
A query of Orthanc took 56 ms with that delay."""


class Meter:
    """Reads from a connection, at most so many bytes until it is reset.

    pynetdicom takes the OSError that it raises beyond them for the end of the connection.
    """

    def __init__(self, read: Callable[[int], bytearray], acknowledge: Callable[[], None]) -> None:
        self._read, self._acknowledge = read, acknowledge
        self.reset()

    def __call__(self, count: int) -> bytearray:
        """Reads so many bytes, or fewer where the connection ends."""
        self._left -= count
        if self._left < 0:
            raise OSError("the peer sends more than is accepted")
        found = self._read(count)
        self._acknowledge()
        return found

    def reset(self) -> None:
        """Starts the count again."""
        self._left = MOST_BYTES

    @property
    def exceeded(self) -> bool:
        """Whether the peer has sent too much."""
        return self._left < 0


def _acknowledge(connection: socket.socket) -> None:
    """Acknowledges at once what was read; Linux forgets the wish each time."""
    if _QUICKACK is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def metered(association: Any) -> Meter:
    """Returns the meter that an association reads through from now on."""
    wrapper = association.dul.socket
    connection: socket.socket = wrapper.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wrapper.recv = Meter(wrapper.recv, partial(_acknowledge, connection))
    return wrapper.recv  # type: ignore[no-any-return] # pynetdicom's object


def cut(association: Any) -> None:
    """Ends an association's connection at once: a thread that reads or writes there goes on."""
    wrapper = association.dul.socket
    connection: socket.socket | None = wrapper.socket if wrapper is not None else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class ConnectionGuard:
    """Guards one connection to a peer. Bind `opened` to pynetdicom's EVT_CONN_OPEN."""

    def __init__(self) -> None:
        self._association: Any = None
        self._meter: Meter | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection was made, TLS included."""
        return self._association is not None

    @property
    def exceeded(self) -> bool:
        """Whether the peer has sent too much."""
        return self._meter is not None and self._meter.exceeded

    def opened(self, event: Any) -> None:
        """Takes the connection over."""
        pause_surely(event.assoc)
        self._meter = metered(event.assoc)
        self._association = event.assoc

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bounds an operation: its bytes, and its seconds, after which the connection is cut."""
        if self._meter is not None:
            self._meter.reset()
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def cut(self) -> None:
        """Ends the connection at once."""
        if self._association is not None:
            cut(self._association)
