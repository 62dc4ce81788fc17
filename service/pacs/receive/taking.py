"""Hands received objects to the intake, and says the outcome as DICOM does, whatever their way."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from service.errors import EclipError, ImageTooLarge, MemoryShort, StoreUnavailable
from service.imaging.dicom.deflated import inflated
from service.imaging.dicom.header import BoundedFile
from service.imaging.dicom.identifiers import belonging
from service.imaging.libraries import decoding
from service.logs import failure
from service.pacs.intake import Intake
from service.telemetry import RECEIVED, log

Way = Literal["c-store", "stow"]
"""How an object came."""
_START = 2**16
"""Bytes of a file in which the tags below lie."""
_NAMES = ("SOPClassUID", "SOPInstanceUID")
_TAGS: list[BaseTag | int] = [*map(Tag, _NAMES)]


class Status(IntEnum):
    """Statuses of C-STORE (PS3.4 B.2.3), which are STOW-RS's failure reasons too (PS3.18 I.2.2)."""

    KEPT = 0x0000
    FAILED = 0x0110
    """Processing failure: a defect of this program."""
    OUT_OF_RESOURCES = 0xA700
    """The object may be sent again later. It is too large, or there is no room."""
    MISMATCH = 0xA900
    """The object is of another class, or another instance, than its sender says."""
    NOT_UNDERSTOOD = 0xC000


_OUTCOMES = {
    Status.KEPT: "kept",
    Status.FAILED: "failed",
    Status.OUT_OF_RESOURCES: "no room",
    Status.MISMATCH: "mismatch",
    Status.NOT_UNDERSTOOD: "not understood",
}


@dataclass(frozen=True, slots=True)
class Named:
    """Plain UIDs of an object: its SOP class and its SOP instance."""

    sop_class: str
    instance: str


def take(intake: Intake, file: bytes, way: Way, said: Named | None = None) -> Status:
    """Hands a DICOM file to the intake. It is kept, durably, if this returns KEPT.

    said: what the sender calls the object; None where it does not.
    """
    found = named(file)
    if found is None:
        return counted(Status.NOT_UNDERSTOOD, way)
    if said is not None and found != said:
        return counted(Status.MISMATCH, way)
    return counted(_taken(lambda: intake.take(file)), way)


def counted(status: Status, way: Way) -> Status:
    """Counts an outcome, and returns it."""
    RECEIVED.labels(way, _OUTCOMES[status]).inc()
    if status is not Status.KEPT:
        log().warning("received object refused", by=way, why=_OUTCOMES[status])
    return status


def named(file: bytes) -> Named | None:
    """Returns what a file's dataset calls itself; None where it does not, or cannot be read."""
    try:
        with decoding:
            start = inflated(file[:_START], _START, cut=True)
            header = read_partial(BoundedFile(start), _is_past, specific_tags=_TAGS, force=True)
            found = Named(*(str(header.get(name) or "").strip("\0 ") for name in _NAMES))
    except Exception:  # a damaged header makes pydicom raise anything
        return None
    return found if found.sop_class and found.instance else None


def study_of(file: bytes) -> str | None:
    """Returns the plain UID of a file's study; None where it has none, or cannot be read."""
    return belonging(lambda limit: file[:limit]).study_id


def _is_past(tag: BaseTag, *_: object) -> bool:
    return bool(tag > _TAGS[-1])


def _taken(call: Callable[[], None]) -> Status:
    try:
        call()
    except (StoreUnavailable, MemoryShort, MemoryError, ImageTooLarge):
        return Status.OUT_OF_RESOURCES
    except EclipError:
        return Status.NOT_UNDERSTOOD
    except Exception as error:
        log().error("unexpected error", **failure(error))
        return Status.FAILED
    return Status.KEPT
