"""Reads from a DICOM file's header which study and patient it belongs to, and whether it shows any.

A PACS export holds objects without pixels beside its images: structured reports, presentation
states, dose reports, key object selections, documents, and the DICOMDIR. Their SOP class says so
(PS3.4 B.5, PS3.3 F).
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.dicom.header import BoundedFile
from service.imaging.libraries import decoding

_IDS = ["StudyInstanceUID", "PatientID"]
_TAGS: list[BaseTag | int] = [*map(Tag, (*_IDS, "SOPClassUID", "Manufacturer", "Rows"))]
_LAST = max(_TAGS)
_REPORTS = frozenset(
    {BasicTextSRStorage, EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage}
)
"""SOP classes of structured reports that may hold a radiologist's report (PS3.3 A.35)."""

_LIMITS = (2**14, 2**20, 2**31)
"""Bytes of the beginning that are read. The first holds most headers. The last is the whole file,
for one with large private elements before the ids."""


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
            kinds = _is_image(header), _sop_class(header) in _REPORTS
            found = Belonging(study_id or None, patient_id or None, *kinds, maker)
            return found, file.tell() < len(beginning)
    except Exception:  # a damaged header makes pydicom raise anything
        return None, False


def _is_past(tag: BaseTag, *_: object) -> bool:
    """Decides whether all wanted elements are passed: a file has them in ascending order."""
    return bool(tag > _LAST)


def _is_image(header: FileDataset) -> bool:
    sop_class = _sop_class(header)
    return "Rows" in header or not sop_class or "Image" in sop_class.keyword


def _sop_class(header: FileDataset) -> UID:
    named = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return UID(str(named or ""))
