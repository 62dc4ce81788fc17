"""Reads from a DICOM file's header whose it is, of which study, from when, and if it is an image.

A PACS export holds objects without pixels beside its images: structured reports, presentation
states, dose reports, key object selections, documents, and the DICOMDIR. Their SOP class says so
(PS3.4 B.5, PS3.3 F).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.dicom.header import BoundedFile
from service.imaging.dicom.sop_classes import REPORT_CLASSES
from service.imaging.libraries import decoding

_IDS = ["StudyInstanceUID", "PatientID"]
_CLOCKS = ("Study", "Acquisition", "Content", "Series")
"""Which date and time say when a study was made: the first of these that the file has."""
_TIMES = [f"{clock}{what}" for clock in _CLOCKS for what in ("Date", "Time")]
_TAGS: list[BaseTag | int] = [*map(Tag, (*_IDS, *_TIMES, "SOPClassUID", "Manufacturer", "Rows"))]
_LAST = max(_TAGS)

_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?\d\d(?:\.\d*)?)?)?")
"""Values of DA and TM (PS3.5 6.2), and those of old files, with dots and colons."""
_DAY = 24 * 60
"""Minutes of a day."""
_FIRST = date(1970, 1, 1).toordinal()

_LIMITS = (2**14, 2**20, 2**31)
"""Bytes of the beginning that are read. The first holds most headers. The last is the whole file,
for one with large private elements before the ids."""


@dataclass(frozen=True, slots=True)
class Span:
    """The minutes in which a study was made, counted from 1970 in the local time of its clock.

    Both are the same minute where the file has a date and a time. A date alone spans its day.
    """

    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class Belonging:
    """The plain ids of a file's study and patient. Their keyed hashes are stored, never they."""

    study_id: str | None
    patient_id: str | None
    image: bool = True
    """Whether the file is an image, or too damaged to say that it is none."""
    report: bool = False
    """Whether the file is a structured report that may hold a radiologist's report."""
    manufacturer: str = ""
    """Who made the object; `service.studies.own_drafts` names this program."""
    made: Span | None = None


def belonging(read: Callable[[int], bytes]) -> Belonging:
    """Reads the ids of a DICOM file, with a preamble or without.

    read: returns so many bytes of the file's beginning, or all that it has.

    Absent and blank ids are None, and so are both ids of a damaged file: its decoder reports it.
    """
    for limit in _LIMITS:
        data = read(limit)
        found, is_all = _read(data, min(limit, HEAD))
        if is_all or len(data) < limit:
            break
    return found or Belonging(None, None)


def _read(data: bytes, most: int) -> tuple[Belonging | None, bool]:
    """Reads the beginning of a file. Also returns whether all wanted elements lie in it.

    most: bytes that are inflated of a deflated file.
    """
    try:
        with decoding:
            beginning = inflated(data, most, cut=True)
            file = BoundedFile(beginning)
            header = read_partial(file, _is_past, specific_tags=_TAGS, force=True)
            study_id, patient_id = (str(header.get(tag) or "").strip() for tag in _IDS)
            maker = str(header.get("Manufacturer") or "").strip()
            kinds = _is_image(header), _sop_class(header) in REPORT_CLASSES
            made = _made(header)
            found = Belonging(study_id or None, patient_id or None, *kinds, maker, made)
            return found, file.tell() < len(beginning)
    except Exception:  # a damaged header makes pydicom raise anything
        return None, False


def _is_past(tag: BaseTag, *_: object) -> bool:
    """Decides whether all wanted elements are passed: a file has them in ascending order."""
    return bool(tag > _LAST)


def _made(header: FileDataset) -> Span | None:
    """Returns when the study was made; None without a valid date."""
    for clock in _CLOCKS:
        day, time = (str(header.get(f"{clock}{what}") or "").strip() for what in ("Date", "Time"))
        if (midnight := _midnight(day)) is not None:
            span = _span(time)
            return Span(midnight + span.earliest, midnight + span.latest)
    return None


def _midnight(day: str) -> int | None:
    """Returns the minute in which a day begins, from 1970 on; None for what is no date (DA)."""
    found = _DATE.fullmatch(day)
    try:
        return _DAY * (date(*map(int, found.groups())).toordinal() - _FIRST) if found else None
    except ValueError:
        return None


def _span(time: str) -> Span:
    """Returns the minutes of a day in which a time (TM) lies: all of them for what is none."""
    found = _TIME.fullmatch(time)
    hour, minute = found.groups() if found else (None, None)
    if hour is None:
        return Span(0, _DAY - 1)
    if minute is None:
        return Span(60 * int(hour), 60 * int(hour) + 59)
    return Span(60 * int(hour) + int(minute), 60 * int(hour) + int(minute))


def _is_image(header: FileDataset) -> bool:
    sop_class = _sop_class(header)
    return "Rows" in header or not sop_class or "Image" in sop_class.keyword


def _sop_class(header: FileDataset) -> UID:
    named = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return UID(str(named or ""))
