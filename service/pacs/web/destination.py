"""Sends results to a PACS over DICOMweb (STOW-RS), and reads what became of them.

An archive that already has an object of the same SOP Instance UID reports success and keeps the old
one, whatever the new one holds (Orthanc 1.10 does). So the same result may be sent again without
harm, and a corrected draft must have a UID of its own.

Success alone proves nothing: with a full disk, Orthanc's plugin 1.7 answers with status 200 and
names the object neither as stored nor as failed. So an object that is not named is looked for.
"""

from io import BytesIO
from typing import Any
from uuid import uuid4

from pydicom import dcmread

from service.errors import EclipError, PeerRefused, PeerUnavailable
from service.pacs.address import WebAddress
from service.pacs.web.query import STUDY_UID
from service.pacs.web.reply import Reply, read_items, text, values
from service.pacs.web.session import Patience, Question, WebSession
from service.pacs_settings import PacsSettings
from service.telemetry import log

BRIEF = Patience(answer_s=60, tries=2, total_s=120)
"""For a single result: its sender keeps it, and sends it again later."""
_FAILED, _STORED = "00081198", "00081199"
_REASON, _WARNING = "00081197", "00081196"
_INSTANCE_UID = "00081155"
_DUPLICATE = 0x0111
"""Failure: the PACS has an object of this UID."""
_UNLISTED = frozenset({404, 405, 501})
"""Statuses of a service that cannot be searched."""
_REFUSED = frozenset({400, 409})
"""Statuses by which a service answers that it stored nothing, and says why in its body."""


def open_web_destination(
    address: WebAddress, settings: PacsSettings, patience: Patience = BRIEF
) -> "WebDestination":
    """Returns the destination; connections are made as they are needed.

    Raises SettingInvalid for credentials that cannot be used.
    """
    return WebDestination(WebSession(address, settings, patience))


class WebDestination:
    """A PACS with a DICOMweb service. Thread-safe."""

    def __init__(self, session: WebSession) -> None:
        self._session = session

    def send(self, file: bytes) -> None:
        """Stores a DICOM file.

        Returns once the PACS names it among what it stored, or lists it if the answer names
        nothing. An object of the same UID that is there already counts as this one.

        Raises PeerUnavailable where trying again may help: the PACS is away or full, or failed.
        Raises PeerRefused where it would not: it does not take such objects, or not from here.
        """
        header = dcmread(BytesIO(file), stop_before_pixels=True)
        answered = self._session.ask(_question(file), _read)
        if answered is None or not _has_stored(answered, str(header.SOPInstanceUID)):
            self._check(str(header.StudyInstanceUID), str(header.SOPInstanceUID))

    def has_study(self, study_uid: str) -> bool | None:
        """Tells whether the PACS has a study; None if it cannot be asked."""
        query = [("StudyInstanceUID", study_uid), ("limit", "1")]
        question = Question(("studies",), query, answers=_UNLISTED)

        def read(reply: Reply) -> bool | None:
            if reply.status in _UNLISTED:
                return None
            return any(text(item, STUDY_UID) == study_uid for item in read_items(reply))

        return self._session.ask(question, read)

    def close(self) -> None:
        """Ends its connections, and the requests that wait."""
        self._session.close()

    def _check(self, study_uid: str, instance_uid: str) -> None:
        """Raises PeerUnavailable unless the PACS lists the object."""
        path, query = ("studies", study_uid, "instances"), [("SOPInstanceUID", instance_uid)]
        found = self._session.ask(Question(path, query), read_items)
        if not any(text(item, "00080018") == instance_uid for item in found):
            raise PeerUnavailable(
                "The PACS acknowledged the result without naming it, and does not list it. Its "
                "disk may be full: look into its log."
            )


def _question(file: bytes) -> Question:
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return Question(
        ("studies",),
        method="POST",
        content_type=f'multipart/related; type="application/dicom"; boundary={boundary}',
        body=head + file + f"\r\n--{boundary}--\r\n".encode(),
        answers=_REFUSED,
    )


def _read(reply: Reply) -> dict[str, Any] | None:
    """Returns the answer to a STOW-RS request (PS3.18 I.2); None if it has none.

    Raises the error for an object that was not stored.
    """
    refused = reply.status in _REFUSED
    try:
        items = read_items(reply)
    except PeerRefused:
        items = []  # some services answer in XML or with a page
    answer = items[0] if items else None
    failed = _items(answer, _FAILED)
    reasons = [reason for each in failed if isinstance(reason := _code(each, _REASON), int)]
    if _DUPLICATE in reasons:
        return None
    if refused or failed:
        raise _failure(reasons[0] if reasons else None)
    return answer


def _failure(reason: int | None) -> EclipError:
    """Returns the error for a FailureReason (PS3.18 I.2.2)."""
    if reason is None:
        return PeerRefused(
            "The PACS does not store the result and gives no reason. Look into its log."
        )
    says = f"The PACS does not store the result (failure reason {reason:04X})"
    if 0xA700 <= reason <= 0xA7FF:
        return PeerUnavailable(f"{says}: it is out of resources. Make room on its disk.")
    if reason == 0x0110:
        return PeerUnavailable(f"{says}: processing failed there. Look into its log.")
    if reason == 0x0122:
        return PeerRefused(f"{says}: it takes no objects of this SOP class. Allow it there.")
    return PeerRefused(f"{says}. Look into its log.")


def _has_stored(answer: dict[str, Any], instance_uid: str) -> bool:
    """Tells whether the answer names the object as stored; logs a warning that it has of it."""
    for item in _items(answer, _STORED):
        if text(item, _INSTANCE_UID) == instance_uid:
            warning = _code(item, _WARNING)
            if warning is not None:
                log().warning("stored with a warning", reason=f"{warning:04X}")
            return True
    return False


def _items(answer: dict[str, Any] | None, tag: str) -> list[dict[str, Any]]:
    return [item for item in values(answer or {}, tag) if isinstance(item, dict)]


def _code(item: dict[str, Any], tag: str) -> int | None:
    found = values(item, tag)
    return found[0] if found and isinstance(found[0], int) and 0 <= found[0] <= 0xFFFF else None
