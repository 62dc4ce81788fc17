"""Bounds the HTTP connections: their number, and how long each may keep the server waiting.

uvicorn closes a connection only where it is idle after an answer. Without these bounds, clients
that connect and send nothing, or a part of a request, or read no answer, take every descriptor.
"""

import asyncio
import socket
from collections import OrderedDict
from contextlib import suppress
from enum import StrEnum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.telemetry import CONNECTIONS, CUT, log

SWEEP_S = 1.0
"""Seconds between two looks at all connections."""
SEND_BUFFER = 2**17
"""Bytes of an answer that the kernel takes at a time, so that a client that reads nothing shows."""
UNREAD_BYTES = 2**27
"""Bytes of all answers that clients have not taken yet. Past it the longest unread are dropped."""


class Awaited(StrEnum):
    """What a connection waits for its client to do."""

    HEAD = "head"
    """Send the whole head of a request: after connecting, or after the first byte of the head."""
    BODY = "body"
    """Send the body of a request that is not answered. `BodyBounds` counts its seconds."""
    REST = "rest"
    """Send the rest of the body of a request that is answered already."""
    READING = "reading"
    """Take the answer from the network."""
    REQUEST = "request"
    """Send another request. uvicorn closes the connection if none comes."""


class Connection(H11Protocol):
    """A connection of uvicorn's that `Connections` knows, and may cut."""

    waited_for: object = None
    """What the connection waited for at the last look."""
    left = 0
    """Bytes that were unread at the last look."""
    since = 0.0
    """Seconds on the loop's clock: when the client was last seen to have come further."""

    def __init__(self, connections: "Connections", **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the connection."""
        super().connection_made(transport)
        with suppress(OSError):  # macOS, where the client has left already
            connected = transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection."""
        super().connection_lost(exc)
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a request."""
        self._connections.heard(self)
        super().data_received(data)

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not taken from the network."""
        return self.transport.get_write_buffer_size()

    @property
    def awaited(self) -> Awaited | None:
        """What the client is to do; None while the service works on its request."""
        answered = self.cycle is None or self.cycle.response_complete
        if self.unread:
            return Awaited.READING
        if self.conn.their_state is h11.SEND_BODY:
            return Awaited.REST if answered else Awaited.BODY
        if not answered:
            return None
        begun = self.cycle is None or self.conn.trailing_data[0]
        return Awaited.HEAD if begun else Awaited.REQUEST


class Connections:
    """All open connections of a server, used by one event loop.

    bound: most connections. One more costs the connection whose client has been silent longest; a
    request that the service works on is not cut for it. head_s, body_s: seconds for the whole head
    of a request, and for the rest of a body that has its answer. idle_s: seconds in which a client
    must take something of its answer.
    """

    def __init__(self, bound: int, *, head_s: float, body_s: float, idle_s: float) -> None:
        self._bound = bound
        self._seconds = {
            Awaited.HEAD: head_s,
            Awaited.REST: body_s,
            Awaited.READING: idle_s,
        }
        self._by_silence: OrderedDict[Connection, None] = OrderedDict()
        """The connections, the one whose client has been silent longest first."""
        self._next_look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._by_silence)

    def protocol(self, **given: Any) -> Connection:
        """Returns a new connection, as uvicorn asks for one."""
        return Connection(self, **given)

    def add(self, new: Connection) -> None:
        """Takes a connection that has been opened, and makes room for it."""
        self._by_silence[new] = None
        if len(self._by_silence) > self._bound:
            silent = (each for each in self._by_silence if each.awaited is not None)
            self._cut(next(silent, new), "room")
        CONNECTIONS.set(len(self._by_silence))
        if self._next_look is None:
            self._look_later()

    def discard(self, lost: Connection) -> None:
        """Forgets a connection that has ended."""
        self._by_silence.pop(lost, None)
        CONNECTIONS.set(len(self._by_silence))

    def heard(self, connection: Connection) -> None:
        """Notes that the client has sent something, or has taken something of its answer."""
        if connection in self._by_silence:
            self._by_silence.move_to_end(connection)

    def _look_later(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def _look(self) -> None:
        """Cuts what has waited for too long, and what keeps too many bytes."""
        self._next_look = None
        if self._by_silence:
            self._look_later()
        now = asyncio.get_running_loop().time()
        for each in tuple(self._by_silence):
            self._look_at(each, now)
        self._drop_unread()

    def _look_at(self, connection: Connection, now: float) -> None:
        awaited, unread = connection.awaited, connection.unread
        waited_for = (awaited, connection.cycle)
        has_read = unread < connection.left
        if has_read:
            self.heard(connection)
        if has_read or waited_for != connection.waited_for:
            connection.since = now
        elif awaited in self._seconds and now - connection.since >= self._seconds[awaited]:
            self._cut(connection, awaited)
        connection.waited_for, connection.left = waited_for, unread

    def _drop_unread(self) -> None:
        kept = 0
        for each in reversed(tuple(self._by_silence)):
            if each.unread and kept + each.unread > UNREAD_BYTES:
                self._cut(each, Awaited.READING)
            else:
                kept += each.unread

    def _cut(self, connection: Connection, why: str) -> None:
        self._by_silence.pop(connection)
        CUT.labels(why).inc()
        log().warning("connection cut", why=why)
        connection.transport.abort()
