"""Accepts connections of DICOM callers, and bounds what each of them may cost.

pynetdicom makes TLS handshakes in the thread that accepts connections, waits without an end for the
rest of a message, and reads a message as long as its caller sends. So here a connection has its
handshake in a thread of its own, a time for each message, and a buffer with a limit.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from service.logs import failure
from service.pacs.receive.object_buffer import BoundedDimse, ReceivingMemory
from service.telemetry import log

PDU_BYTES = 2**17
"""Bytes of a message's part (PDU) that callers are asked to send at most."""
_MOST_PDU_BYTES = 2**18
"""Bytes of a part that are read. A request for an association has no other limit."""
BEING_REFUSED = 64
"""Connections beyond the associations at a time: those that are refused, or have not asked yet."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller is waited for."""

    request_s: float = 30
    """Seconds for the TLS handshake, and then for the request for an association."""
    silent_s: float = 60
    """Seconds without anything from a caller, and for a whole part of a message."""
    closing_s: float = 10
    """Seconds for the objects that are being kept when the receiver stops."""


PATIENCE = Patience()


class Acceptor(ThreadedAssociationServer):
    """Accepts connections on a port, each in a thread of its own.

    node: the AE with its supported contexts. tls: context, or None. handlers: pairs of an event and
    what is called at it. at_once: associations at a time. memory: for objects as they arrive.
    ended: called with each association at its end.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        node: ApplicationEntity,
        address: tuple[str, int],
        tls: ssl.SSLContext | None,
        handlers: list[Any],
        *,
        at_once: int,
        memory: ReceivingMemory,
        patience: Patience,
        ended: Callable[[Any], None],
    ) -> None:
        self.memory, self.patience, self.ended = memory, patience, ended
        self.associations: set[Any] = set()
        self._tls = tls
        self._room = threading.BoundedSemaphore(at_once + BEING_REFUSED)
        contexts, all_handlers = node.supported_contexts, [*handlers, (evt.EVT_CONN_CLOSE, _wake)]
        super().__init__(
            node, address, node.ae_title, contexts, None, all_handlers, request_handler=_Connection
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Decides whether there is room for one more connection."""
        return self._room.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begins to serve one connection."""
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # no thread is left for it
            log().error("unexpected error", **failure(error))
            self.shutdown_request(request)
            self._room.release()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves one connection to its end."""
        try:
            request.settimeout(self.patience.request_s)
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except OSError as error:  # ssl.SSLError is one: no TLS, or no accepted certificate
            log().warning("connection of a DICOM caller failed", error=type(error).__name__)
        except Exception as error:
            log().error("unexpected error", **failure(error))
        finally:
            self.shutdown_request(request)
            self._room.release()

    def service_actions(self) -> None:
        """Does nothing between two connections: each frees what it held by itself."""

    def stop(self) -> None:
        """Accepts nothing more, and closes the port."""
        BaseServer.shutdown(self)
        self.server_close()


class _Connection(RequestHandler):
    """One connection, from its first byte to its last."""

    server: Acceptor

    def handle(self) -> None:
        """Runs an association in its threads, and frees what it held."""
        server = self.server
        self.request.settimeout(server.patience.silent_s)
        association = self._create_association()
        wrapper: Any = association.dul.socket
        wrapper.recv = _Reader(self.request, server.patience.silent_s)
        association.dimse = dimse = BoundedDimse(association, server.memory)
        server.associations.add(association)
        try:
            association.start()
            association.join()
        finally:
            server.associations.discard(association)
            dimse.forget()
            server.ended(association)


class _Reader:
    """Reads a number of bytes, within a limit and a time.

    pynetdicom takes an OSError for the end of the connection.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds

    def __call__(self, count: int) -> bytearray:
        """Returns the bytes, or fewer where the connection ends. Raises OSError past a bound."""
        if count > _MOST_PDU_BYTES:
            raise OSError("the caller sends a longer message than is read")
        read, late = bytearray(count), time.monotonic() + self._seconds
        view, got = memoryview(read), 0
        while got < count:
            more = self._connection.recv_into(view[got:])
            if not more:
                break
            got += more
            if time.monotonic() > late:
                raise TimeoutError
        return read[:got] if got < count else read


def _wake(event: Any) -> None:
    """Ends the wait for a request for an association, once its connection is closed."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def end(association: Any, seconds: float) -> None:
    """Aborts an association from outside, and waits for its thread so long."""
    with suppress(Exception):  # of pynetdicom, where the association ends by itself meanwhile
        association.abort()
    association.dul.to_user_queue.put(None)  # where it waits to be asked for
    association.join(seconds)
