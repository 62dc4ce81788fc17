"""Whose study a DICOM file belongs to, by its header alone."""

from dataclasses import dataclass
from pathlib import Path

import pydicom


@dataclass(frozen=True, slots=True)
class Belonging:
    """The plain ids of a file's study and patient; what takes them stores keyed hashes."""

    study_id: str
    patient_id: str | None


def belonging(path: Path) -> Belonging | None:
    """None where the file is no DICOM, or names no study."""
    tags = ["StudyInstanceUID", "PatientID"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        study_id, patient_id = (str(header.get(tag) or "").strip() for tag in tags)
    except Exception:  # a damaged header can make pydicom raise anything
        return None
    return Belonging(study_id, patient_id or None) if study_id else None
