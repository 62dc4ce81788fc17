"""Receives objects by C-STORE (PS3.4 B), and acknowledges what the intake keeps durably."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made as it is asked

from service.errors import SettingInvalid
from service.pacs.contexts import storage_contexts
from service.pacs.intake import Intake
from service.pacs.receive.acceptor import (
    BEING_REFUSED,
    PATIENCE,
    PDU_BYTES,
    Acceptor,
    Patience,
    end,
)
from service.pacs.receive.object_buffer import COPIES, ObjectBuffer, ReceivingMemory
from service.pacs.receive.taking import Named, Status, Way, counted, take
from service.pacs.silence import silence_pynetdicom
from service.pacs.tls import server_tls
from service.settings import Settings
from service.telemetry import ASSOCIATIONS, log

_WAY: Way = "c-store"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why an association is refused. reason: result, source and diagnostic (PS3.8 9.3.4)."""

    outcome: str
    reason: tuple[int, int, int]


_CALLED = _Refusal("refused-name", (1, 1, 7))
_CALLER = _Refusal("refused-name", (1, 1, 3))
_FULL = _Refusal("refused-full", (2, 3, 1))
_BUSY = _Refusal("refused-busy", (2, 3, 2))


class Receiver:
    """A storage SCP. Use it as a context manager, or call `start` and `close`.

    Every object goes to the intake, from several threads. Its sender is told success once the
    intake has it durably. Associations are refused for a while where the intake is full, or
    `listen_at_once` are open; C-ECHO is answered.

    Raises SettingInvalid for certificates that cannot be read.
    """

    def __init__(self, intake: Intake, settings: Settings, patience: Patience = PATIENCE) -> None:
        silence_pynetdicom()
        self._intake, self._settings, self._patience = intake, settings, patience
        self._callers = {title.strip() for title in settings.listen_callers}
        self._tls = server_tls(settings)
        self._node = _node(settings, patience)
        self._acceptor: Acceptor | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._open: set[Any] = set()
        """Associations that were accepted and have not ended."""
        self._being_kept = 0
        self._closing = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """TCP port that it listens on. Raises RuntimeError unless it was started."""
        if self._acceptor is None:
            raise RuntimeError("The receiver was not started.")
        return int(self._acceptor.server_address[1])

    @property
    def alive(self) -> bool:
        """Whether the thread lives that accepts connections."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begins to listen. Raises SettingInvalid where the port cannot be had."""
        settings = self._settings
        memory = ReceivingMemory(
            max(settings.request_bytes, COPIES * settings.max_image_bytes),
            settings.max_image_bytes,
        )
        address = (settings.listen_host, settings.listen_port or 0)
        handlers = [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_STORE, self._store)]
        try:
            self._acceptor = Acceptor(
                self._node, address, self._tls, handlers, at_once=settings.listen_at_once,
                memory=memory, patience=self._patience, ended=self._ended,
            )  # fmt: skip
        except OSError as error:
            raise SettingInvalid(
                "Cannot listen on ECLIP_LISTEN_HOST and ECLIP_LISTEN_PORT: another program has the "
                "port, or the address is not this machine's. Choose another."
            ) from error
        serve = partial(self._acceptor.serve_forever, poll_interval=0.1)
        self._thread = threading.Thread(target=serve, name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening, lets objects be kept that have arrived, and ends the associations."""
        if self._acceptor is None:
            return
        self._closing = True
        self._acceptor.stop()
        late = time.monotonic() + self._patience.closing_s
        with self._changed:
            self._changed.wait_for(lambda: not self._being_kept, self._patience.closing_s)
        enders = [
            threading.Thread(target=end, args=(each, self._patience.closing_s), daemon=True)
            for each in tuple(self._acceptor.associations)
        ]
        for each in enders:
            each.start()
        for each in enders:
            each.join(max(0.0, late - time.monotonic()) + 1)
        self._acceptor = None

    def _requested(self, event: Any) -> None:
        """Accepts an association, or refuses it."""
        association = event.assoc
        refusal = self._refusal(association)
        outcome = "accepted" if refusal is None else refusal.outcome
        ASSOCIATIONS.labels(outcome).inc()
        if refusal is not None:
            log().warning("association refused", why=outcome)
            association.acse.send_reject(*refusal.reason)
            association.kill()

    def _refusal(self, association: Any) -> _Refusal | None:
        """Returns why the association is refused; None counts it as open."""
        asked = association.requestor.primitive
        if (asked.called_ae_title or "").strip() != self._settings.ae_title.strip():
            return _CALLED
        if self._callers and (asked.calling_ae_title or "").strip() not in self._callers:
            return _CALLER
        if self._closing or self._intake.full:
            return _FULL
        with self._changed:
            if len(self._open) >= self._settings.listen_at_once:
                return _BUSY
            self._open.add(association)
        return None

    def _ended(self, association: Any) -> None:
        with self._changed:
            accepted = association in self._open
            self._open.discard(association)
        if accepted and not association.is_released:
            ASSOCIATIONS.labels("aborted").inc()

    def _store(self, event: Any) -> int:
        """Answers a C-STORE request with its status."""
        buffer = event.request.DataSet
        if not isinstance(buffer, ObjectBuffer):
            return counted(Status.NOT_UNDERSTOOD, _WAY)
        try:
            if buffer.refused:
                return counted(Status.OUT_OF_RESOURCES, _WAY)
            file = event.encoded_dataset()
            buffer.empty()
            with self._keeping():
                return take(self._intake, file, _WAY, _said(event))
        finally:
            buffer.free()

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Counts an object that is being kept."""
        with self._changed:
            self._being_kept += 1
        try:
            yield
        finally:
            with self._changed:
                self._being_kept -= 1
                self._changed.notify_all()


def _node(settings: Settings, patience: Patience) -> Any:
    node = AE(ae_title=settings.ae_title)
    node.supported_contexts = storage_contexts()
    node.add_supported_context(Verification)
    node.maximum_pdu_size = PDU_BYTES
    node.maximum_associations = 2 * (settings.listen_at_once + BEING_REFUSED)  # we count ourselves
    node.acse_timeout = patience.request_s
    node.network_timeout = patience.silent_s
    return node


def _said(event: Any) -> Named | None:
    """Returns what a request calls its object."""
    request = event.request
    return Named(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
