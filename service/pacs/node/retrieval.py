"""Retrieves objects from a DICOM node, by C-GET or by C-MOVE to ourselves."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID

from service.errors import EclipError, PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs.archive import Instance, ListedStudy
from service.pacs.contexts import (
    GET,
    IMAGE_SYNTAXES,
    MOST_CONTEXTS,
    MOVE,
    NATIVE_SYNTAXES,
    REPORTS_RECEIVED,
    USUAL_CLASSES,
    query_contexts,
    single_contexts,
)
from service.pacs.node.associations import Caller
from service.pacs.node.link import Link
from service.pacs.node.move_receiver import Awaited, MoveReceiver
from service.pacs.node.query import retrieval
from service.pacs_settings import PacsSettings

ARRIVAL_S = 30
"""Seconds for an object that the node says it has sent by C-MOVE: some answer before they send."""
_SUCCESS = 0x0000
_BUSY = 0xA701
_NOT_SENT = (0xA702, 0xB000)
"""Out of resources to count the matches; and the sending failed, of all or of some objects."""
_MOVE_ADVICE = (
    " To send it by C-MOVE, it must know ECLIP_AE_TITLE, with this host and ECLIP_LISTEN_PORT."
)


class NotSent(PeerRefused):
    """The node has an object, and could not send it, perhaps not in a syntax that was accepted."""


class Retriever:
    """Retrieves one object at a time: no more is held in memory than that. Thread-safe."""

    def __init__(self, caller: Caller, settings: PacsSettings) -> None:
        self._caller, self._settings = caller, settings
        self._lock = threading.Lock()
        self._receiver: MoveReceiver | None = None
        self._gets, self._moves = False, False
        """Whether an object has come by C-GET; whether one came by C-MOVE, and not by C-GET."""
        self._proposals: tuple[Sequence[UID], ...] = (IMAGE_SYNTAXES, NATIVE_SYNTAXES)

    def fetch(
        self, study: ListedStudy, instances: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields each object as a file, or with the error why it did not come."""
        for classes, group in _groups(instances):
            yield from self._group(study, classes, group)

    def close(self) -> None:
        """Listens no more."""
        with self._lock:
            if self._receiver is not None:
                self._receiver.close()

    def _group(
        self, study: ListedStudy, classes: Sequence[str], group: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields the objects of one group, proposing fewer transfer syntaxes for what did not come.

        dcmqrscp sends each object under the first context of its class, whatever its own syntax,
        and fails where it would have to compress or decompress.
        """
        first, second = self._proposals
        left = list[Instance]()
        for instance, result in self._fetch(study, group, classes, first):
            if isinstance(result, NotSent):
                left.append(instance)
            else:
                yield instance, result
        for instance, result in self._fetch(study, left, classes, second):
            if isinstance(result, bytes):
                self._proposals = (second, first)
            yield instance, result

    def _fetch(
        self,
        study: ListedStudy,
        group: Sequence[Instance],
        classes: Sequence[str],
        syntaxes: Sequence[UID],
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        contexts = [*query_contexts(GET, MOVE), *single_contexts(classes, syntaxes)]
        waits = (0.0, *self._caller.patience.waits_s)
        left, failures = deque(group), 0
        while left:
            inbox = Awaited("")
            with self._caller.connect(contexts, receives=classes, on_store=inbox.take) as link:
                while left:
                    try:
                        result = self._one(link, inbox, study, left[0], again=failures > 0)
                    except PeerUnavailable as error:  # the association is gone
                        if failures < len(waits):
                            break
                        result = error
                    failures = 0
                    yield left.popleft(), result
            if left:
                self._caller.pause(waits[failures])
                failures += 1

    def _one(
        self, link: Link, inbox: Awaited, study: ListedStudy, instance: Instance, *, again: bool
    ) -> bytes | EclipError:
        """Returns one object or why it does not come. Raises PeerUnavailable, SettingInvalid.

        Orthanc accepts C-GET also where it does not allow it, and ends the association then: so
        again, the object is asked for by C-MOVE, if that is set up and C-GET never worked.
        """
        what = retrieval(study, instance)
        can_get = link.accepts(GET) and any(map(link.sends, _classes(instance)))
        rather_move = self._moves or (again and not self._gets)
        try:
            if can_get and not (rather_move and link.accepts(MOVE) and self._listens()):
                file = self._get(link, inbox, what)
                self._gets |= isinstance(file, bytes)
                return file
            if link.accepts(MOVE):
                file = self._move(link, what)
                self._moves |= isinstance(file, bytes)
                return file
        except PeerRefused as error:
            return error
        return PeerRefused(
            "The DICOM node sends no objects of this class, neither over our association (C-GET) "
            "nor over its own (C-MOVE). Allow one of them there."
        )

    def _get(self, link: Link, inbox: Awaited, what: Dataset) -> bytes | EclipError:
        inbox.expect(what.SOPInstanceUID)
        status = link.get(what)
        file, inbox.file = inbox.file, None
        return file or _failure(status)

    def _move(self, link: Link, what: Dataset) -> bytes | EclipError:
        with self._listening().awaiting(what.SOPInstanceUID) as awaited:
            status = link.move(what, self._settings.ae_title)
            if status == _SUCCESS:
                awaited.came.wait(ARRIVAL_S)
        if awaited.file is None and status == _SUCCESS:
            return PeerRefused(
                "The DICOM node says that it sent an object, and none came to ECLIP_LISTEN_PORT. "
                "Check the host and port that it has for ECLIP_AE_TITLE."
            )
        return awaited.file or _failure(status, _MOVE_ADVICE)

    def _listens(self) -> bool:
        try:
            self._listening()
        except SettingInvalid:
            return False
        return True

    def _listening(self) -> MoveReceiver:
        with self._lock:
            if self._receiver is None:
                self._receiver = MoveReceiver(self._settings)
            return self._receiver


def _failure(status: int, advice: str = "") -> EclipError:
    text = f"The DICOM node did not send an object (status {status:04X}).{advice} See its log."
    if status == _BUSY:
        return PeerUnavailable(text)
    return NotSent(text) if status in _NOT_SENT else PeerRefused(text)


def _classes(instance: Instance) -> Sequence[str]:
    """Returns the SOP classes that an object may have."""
    if instance.sop_class:
        return (instance.sop_class,)
    return REPORTS_RECEIVED if instance.modality == "SR" else USUAL_CLASSES


def _groups(instances: Iterable[Instance]) -> Iterator[tuple[list[str], list[Instance]]]:
    """Yields objects whose classes fit into one association, and these classes."""
    classes, group = dict[str, None](), list[Instance]()
    for instance in instances:
        more = classes | dict.fromkeys(_classes(instance))
        if len(single_contexts(more)) > MOST_CONTEXTS - len((GET, MOVE)):
            yield list(classes), group
            more, group = dict.fromkeys(_classes(instance)), []
        classes = more
        group.append(instance)
    if group:
        yield list(classes), group
