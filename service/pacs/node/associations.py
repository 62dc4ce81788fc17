"""Opens associations to a DICOM node, with bounds, retries, TLS and typed errors."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import PresentationContext

from service.errors import EclipError, PeerRefused, PeerUnavailable
from service.pacs.address import NodeAddress
from service.pacs.node.connection_guard import ConnectionGuard
from service.pacs.node.link import Link
from service.pacs.silence import silence_pynetdicom
from service.pacs.tls import client_tls
from service.pacs_settings import PacsSettings

T = TypeVar("T")
PDU_BYTES = 128 * 2**10
"""Bytes of the largest unit that a peer may send: the most that DCMTK's programs take or send."""
_TRANSIENT, _CALLER_UNKNOWN, _CALLED_UNKNOWN = 2, (1, 3), (1, 7)
"""Result of a rejection that may pass; source and reason of two that do not (PS3.8 9.3.4)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer is waited for. It is asked once more than there are waits."""

    connect_s: float = 10
    """Seconds for a connection, and for each step of its TLS handshake."""
    answer_s: float = 30
    """Seconds for the answer to a request for an association."""
    release_s: float = 5
    """Seconds for the answer to its release: the work is done by then."""
    operation_s: float = 120
    """Seconds for one object, or for the next answer to a query."""
    listing_s: float = 900
    """Seconds for all answers to a query."""
    waits_s: tuple[float, ...] = (1, 4)
    """Seconds before each further attempt."""


PATIENCE = Patience()


class NothingAccepted(PeerRefused):
    """The node accepts an association, but nothing of what was to be done in it."""


class Caller:
    """Calls one DICOM node. Thread-safe: each thread has associations of its own."""

    def __init__(
        self, address: NodeAddress, settings: PacsSettings, patience: Patience = PATIENCE
    ) -> None:
        silence_pynetdicom()
        self.patience = patience
        self._address = address
        self._tls = client_tls(settings) if settings.pacs_ca else None
        self._node = AE(ae_title=settings.ae_title)
        self._node.connection_timeout = patience.connect_s
        self._node.acse_timeout = patience.answer_s
        self._node.dimse_timeout = patience.operation_s
        self._node.network_timeout = None
        self._lock, self._links, self._closed = threading.Lock(), set[Link](), threading.Event()

    def run(self, contexts: Sequence[PresentationContext], work: Callable[[Link], T]) -> T:
        """Does work in an association, and again in a new one where the node drops the first.

        Raises PeerUnavailable after the last attempt, and PeerRefused.
        """
        for wait in self.patience.waits_s:
            with self.connect(contexts) as link, suppress(PeerUnavailable):
                return work(link)
            self.pause(wait)
        with self.connect(contexts) as link:
            return work(link)

    @contextmanager
    def connect(
        self,
        contexts: Sequence[PresentationContext],
        *,
        receives: Iterable[str] = (),
        on_store: Callable[[Any], int] | None = None,
    ) -> Iterator[Link]:
        """Yields an association, and ends it.

        receives: SOP classes of which the node may send objects in it (C-GET). on_store: takes
        them. Raises PeerUnavailable after some attempts, and PeerRefused.
        """
        link = self._link(contexts, receives, on_store)
        with self._lock:
            self._links.add(link)
        if self._closed.is_set():
            link.cut()
        try:
            yield link
            link.release()
        finally:
            link.end()
            with self._lock:
                self._links.discard(link)

    def pause(self, seconds: float) -> None:
        """Waits, unless this is closed meanwhile."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Ends all associations, and lets no more begin."""
        self._closed.set()
        with self._lock:
            for link in self._links:
                link.cut()

    def _link(
        self,
        contexts: Sequence[PresentationContext],
        receives: Iterable[str],
        on_store: Callable[[Any], int] | None,
    ) -> Link:
        roles = [build_role(each, scp_role=True) for each in receives]
        handlers = [(evt.EVT_C_STORE, on_store)] if on_store else []
        for wait in self.patience.waits_s:
            try:
                return self._attempt(contexts, roles, handlers)
            except PeerUnavailable:
                self.pause(wait)
        return self._attempt(contexts, roles, handlers)

    def _attempt(
        self, contexts: Sequence[PresentationContext], roles: list[Any], handlers: list[Any]
    ) -> Link:
        if self._closed.is_set():
            raise PeerUnavailable("The connection to the DICOM node was closed here.")
        guard = ConnectionGuard()
        to = self._address
        try:
            with guard.within(self.patience.connect_s + self.patience.answer_s):
                association = self._node.associate(
                    to.host,
                    to.port,
                    contexts=list(contexts),
                    ae_title=to.ae_title,
                    max_pdu=PDU_BYTES,
                    ext_neg=roles,
                    tls_args=(self._tls, to.host) if self._tls else None,
                    evt_handlers=[(evt.EVT_CONN_OPEN, guard.opened), *handlers],
                )
        except OSError:  # the host's name has no address
            raise self._unreachable() from None
        link = Link(association, guard, self.patience)
        if not association.is_established:
            link.end()
            raise self._why(association, guard)
        return link

    def _why(self, association: Any, guard: ConnectionGuard) -> EclipError:
        """Returns the error for an association that was not established."""
        answer = association.acceptor.primitive
        if not guard.is_open:
            return self._unreachable()
        if answer is None:
            return PeerUnavailable(
                "The DICOM node ends the connection, or does not answer. See its log, and whether "
                "it expects TLS: it is called by TLS if ECLIP_PACS_CA is set."
            )
        if answer.result == 0:
            return NothingAccepted(
                "The DICOM node accepts nothing of what it was asked to do. Allow it there: to be "
                "queried, to send, or to store objects of this class."
            )
        if answer.result == _TRANSIENT:
            return PeerUnavailable("The DICOM node takes no more associations now. Try later.")
        reason = (answer.result_source, answer.diagnostic)
        if reason == _CALLER_UNKNOWN:
            return PeerRefused(
                "The DICOM node does not know the AE title that it is called from. Add it there, "
                "or set ECLIP_AE_TITLE to one that it knows."
            )
        if reason == _CALLED_UNKNOWN:
            return PeerRefused(
                "The DICOM node has another AE title than the address says. Correct the part "
                "before the @."
            )
        return PeerRefused("The DICOM node refuses the association. Its log says why.")

    def _unreachable(self) -> PeerUnavailable:
        tls = " It is called by TLS: check ECLIP_PACS_CA, and the node's certificate."
        return PeerUnavailable(
            "The DICOM node cannot be reached. Check that it runs, and the host and port of its "
            "address." + (tls if self._tls else "")
        )
