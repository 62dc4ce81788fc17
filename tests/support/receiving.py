"""Takes objects in for tests, and sends them as a modality would, wholly or in part."""

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from service.telemetry import REGISTRY


@dataclass
class Kept:
    """An intake in memory. refusal: raised instead of keeping. gate: waited for before."""

    files: list[bytes] = field(default_factory=list)
    full: bool = False
    refusal: Exception | None = None
    gate: threading.Event | None = None
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def take(self, file: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.gate is not None:
            self.waiting.release()
            self.gate.wait(60)
        self.files.append(file)

    @property
    def datasets(self) -> list[bytes]:
        return [dataset_bytes(each) for each in self.files]


def dataset_bytes(file: bytes) -> bytes:
    """Returns what follows the file meta information: what a sender must not change."""
    group_length = int.from_bytes(file[140:144], "little")
    return file[144 + group_length :]


def instance_uid(file: bytes) -> str:
    return str(dcmread(BytesIO(file), stop_before_pixels=True).SOPInstanceUID)


@contextmanager
def association(
    port: int,
    *files: bytes,
    called: str = "ECLIP",
    calling: str = "MODALITY",
    tls: ssl.SSLContext | None = None,
) -> Iterator[object]:
    """Asks for an association with a context for the class and syntax of each file."""
    node = AE(ae_title=calling)
    node.connection_timeout = node.acse_timeout = node.dimse_timeout = node.network_timeout = 60
    proposed = {(Verification, "1.2.840.10008.1.2")}
    for file in files:
        meta = dcmread(BytesIO(file), stop_before_pixels=True).file_meta
        proposed.add((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)))
    for sop_class, syntax in sorted(proposed):
        node.add_requested_context(sop_class, syntax)
    secured = {} if tls is None else {"tls_args": (tls, "localhost")}
    made = node.associate("127.0.0.1", port, ae_title=called, **secured)
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def send(made: object, file: bytes) -> int | None:
    """Sends a file as it is encoded, and returns the status; None where no answer came."""
    (answer,) = exchange(made, parts(made, file))
    return None if answer is None else answer.Status


def exchange(made: object, sent: Sequence[object], answers: int = 1) -> list[C_STORE | None]:
    """Sends parts of messages, and returns so many answers; None once the association has ended.

    Meanwhile pynetdicom's own thread, which would take the answers, waits.
    """
    made._reactor_checkpoint.clear()
    while not made._is_paused:
        time.sleep(0.001)
    try:
        for each in sent:
            made.dul.send_pdu(each)
        return [_answer(made) for _ in range(answers)]
    finally:
        made._reactor_checkpoint.set()


def _answer(made: object) -> C_STORE | None:
    while made.dul.is_alive() and not made.acse.is_aborted():
        if made.dimse.msg_queue.qsize():
            return made.dimse.get_msg()[1]
        time.sleep(0.001)
    return None


def parts(made: object, file: bytes, content: bytes | None = None, **said: str) -> list[object]:
    """Returns the parts of the message by which a file is sent.

    content: sent instead of the dataset. said: other names of the object.
    """
    header = dcmread(BytesIO(file), stop_before_pixels=True)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = said.get("sop_class", header.SOPClassUID)
    request.AffectedSOPInstanceUID = said.get("instance", header.SOPInstanceUID)
    request.DataSet = BytesIO(dataset_bytes(file) if content is None else content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    syntax = header.file_meta.TransferSyntaxUID
    context = next(
        each.context_id
        for each in made.accepted_contexts
        if each.transfer_syntax == [syntax]
        and each.abstract_syntax == header.file_meta.MediaStorageSOPClassUID
    )
    return list(message.encode_msg(context, made.acceptor.maximum_length))


def counted(name: str, **labels: str) -> float:
    """Returns the value of a metric; 0 before it was counted."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def echoed(made: object) -> int | None:
    """Sends a C-ECHO and returns its status."""
    answer: Dataset = made.send_c_echo()
    return answer.get("Status")
