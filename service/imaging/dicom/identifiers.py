"""Reads from a DICOM file's header which study and patient it belongs to."""

from dataclasses import dataclass
from pathlib import Path

import pydicom

from service.imaging.dicom.header import looks_like_dicom
from service.imaging.libraries import decoding

_HEAD = 132
"""Bytes that show whether a file is DICOM: the preamble and `DICM`."""
_TAGS = ["StudyInstanceUID", "PatientID"]


@dataclass(frozen=True, slots=True)
class Belonging:
    """The plain ids of a file's study and patient. Their keyed hashes are stored, never they."""

    study_id: str | None
    patient_id: str | None


def is_dicom(path: Path) -> bool:
    """Decides whether a file's first bytes are DICOM's; False if it cannot be read.

    File names do not decide, because a PACS exports files named by UIDs and without a suffix.
    """
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(_HEAD))
    except OSError:  # the reader of the whole file reports it
        return False


def belonging(path: Path) -> Belonging:
    """Reads the ids of a DICOM file, with a preamble or without.

    Absent and blank ids are None, and so are both ids of a damaged file: its decoder reports it.
    """
    try:
        with decoding:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            study_id, patient_id = (str(header.get(tag) or "").strip() for tag in _TAGS)
    except Exception:  # a damaged header makes pydicom raise anything
        return Belonging(None, None)
    return Belonging(study_id or None, patient_id or None)
