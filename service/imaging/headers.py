"""Whose study a DICOM file belongs to, by its header alone."""

from dataclasses import dataclass
from pathlib import Path

import pydicom

from service.imaging.dicom import looks_like_dicom

_HEAD = 132


@dataclass(frozen=True, slots=True)
class Belonging:
    """The plain ids of a file's study and patient; what takes them stores keyed hashes."""

    study_id: str | None
    patient_id: str | None


def is_dicom(path: Path) -> bool:
    """By its bytes: PACS exports name files by UIDs, or without a suffix."""
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(_HEAD))
    except OSError:  # whoever reads it whole will tell
        return False


def belonging(path: Path) -> Belonging:
    """What the header of a DICOM file says, with a preamble or without."""
    tags = ["StudyInstanceUID", "PatientID"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
        study_id, patient_id = (str(header.get(tag) or "").strip() for tag in tags)
    except Exception:  # a damaged header can make pydicom raise anything; its decoder will tell
        return Belonging(None, None)
    return Belonging(study_id or None, patient_id or None)
