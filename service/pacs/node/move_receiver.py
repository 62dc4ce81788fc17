"""Receives the objects that a node sends by C-MOVE, for as long as the pull goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, evt

from service.errors import SettingInvalid
from service.pacs.contexts import storage_contexts
from service.pacs.node.connection_guard import Meter, cut, metered
from service.pacs.tls import server_tls
from service.pacs_settings import PacsSettings

ACCEPTED, UNEXPECTED = 0x0000, 0x0124
"""Status of an object that was asked for, and of one that was not ("not authorised")."""


@dataclass
class Awaited:
    """An object that was asked for, and its file once it has come."""

    uid: str
    file: bytes | None = None
    came: threading.Event = field(default_factory=threading.Event)

    def expect(self, uid: str) -> None:
        """Awaits another object from now on."""
        self.uid, self.file = uid, None

    def take(self, event: Any) -> int:
        """Takes the object of pynetdicom's EVT_C_STORE, and returns the status for the node."""
        if str(event.request.AffectedSOPInstanceUID) != self.uid:
            return UNEXPECTED
        self.file = event.encoded_dataset()
        self.came.set()
        return ACCEPTED


class MoveReceiver:
    """A storage SCP on `listen_host` and `listen_port`, under `ae_title`. Thread-safe.

    It takes only objects that are awaited. Raises SettingInvalid if it cannot listen there.
    """

    def __init__(self, settings: PacsSettings) -> None:
        if not settings.listen_port:
            raise SettingInvalid(
                "The DICOM node does not send objects over our association (C-GET), and to send "
                "them by C-MOVE it must know a port. Set ECLIP_LISTEN_PORT to one, and "
                "ECLIP_LISTEN_HOST to an address that it reaches. Add both there with "
                "ECLIP_AE_TITLE."
            )
        self._lock, self._awaited = threading.Lock(), dict[str, Awaited]()
        self._meters = WeakKeyDictionary[Any, Meter]()
        self._node = AE(ae_title=settings.ae_title)
        self._node.maximum_associations = settings.listen_at_once
        self._node.require_called_aet = True
        self._node.require_calling_aet = list(settings.listen_callers)
        try:
            self._node.start_server(
                (settings.listen_host, settings.listen_port),
                block=False,
                ssl_context=server_tls(settings),
                contexts=storage_contexts(),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, self._opened),
                    (evt.EVT_C_STORE, self._stored),
                ],
            )
        except OSError:
            raise SettingInvalid(
                "Cannot listen on ECLIP_LISTEN_HOST and ECLIP_LISTEN_PORT. Choose a port that no "
                "program listens on, such as a running `eclip listen`."
            ) from None

    @contextmanager
    def awaiting(self, uid: str) -> Iterator[Awaited]:
        """Accepts the object of this UID, until the end of the block."""
        awaited = Awaited(uid)
        with self._lock:
            self._awaited[uid] = awaited
        try:
            yield awaited
        finally:
            with self._lock:
                self._awaited.pop(uid, None)

    def close(self) -> None:
        """Ends all associations, and listens no more."""
        for association in self._node.active_associations:
            cut(association)
        self._node.shutdown()

    def _opened(self, event: Any) -> None:
        self._meters[event.assoc] = metered(event.assoc)

    def _stored(self, event: Any) -> int:
        self._meters[event.assoc].reset()
        with self._lock:
            awaited = self._awaited.get(str(event.request.AffectedSOPInstanceUID))
        return awaited.take(event) if awaited else UNEXPECTED
