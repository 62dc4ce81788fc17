"""Finds out whom images are of, and when they were made: by the caller, or by the DICOM files.

An id of the caller comes first. Files of several patients are never one study.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from service.errors import RequestMalformed, StudyInvalid
from service.identifiers import RULE, canonical
from service.imaging.dicom.header import looks_like_dicom
from service.imaging.dicom.identifiers import belonging
from service.studies.samples import SEVERAL_PATIENTS

Origin = Literal["request", "dicom"]
"""Who named a patient or a study: the caller, or the header of a DICOM file."""
_SEVERAL_STUDIES = (
    "The DICOM files have several StudyInstanceUIDs. Send the images of one study, or name the "
    "study yourself."
)


@dataclass(frozen=True, slots=True)
class OwnIds:
    """The plain ids of a patient and a study, and who named each. None: nobody did."""

    patient_id: str | None
    study_id: str | None
    patient_id_from: Origin | None
    study_id_from: Origin | None
    earliest: int | None = None
    """Minutes since 1970 at which the study was made, by its DICOM files, at the earliest."""
    latest: int | None = None
    """The same, at the latest: another minute where a file has a date alone, or times differ."""


def own_ids(images: Iterable[bytes], patient_id: str | None, study_id: str | None) -> OwnIds:
    """Returns the caller's ids; in the place of None, the PatientID or the StudyInstanceUID.

    Raises StudyInvalid for files of several patients, for several StudyInstanceUIDs where the
    caller names no study, and for an id of a file that is needed and not accepted.
    """
    files = (image for image in images if looks_like_dicom(image))
    headers = [belonging(partial(_start, file)) for file in files]
    patients = {header.patient_id for header in headers} - {None}
    studies = {header.study_id for header in headers} - {None}
    made = [header.made for header in headers if header.made is not None]
    if len(patients) > 1:
        raise StudyInvalid(SEVERAL_PATIENTS)
    if len(studies) > 1 and study_id is None:
        raise StudyInvalid(_SEVERAL_STUDIES)
    return OwnIds(
        patient_id=patient_id or _accepted("PatientID", patients),
        study_id=study_id or _accepted("StudyInstanceUID", studies),
        patient_id_from=_origin(patient_id, patients),
        study_id_from=_origin(study_id, studies),
        earliest=min((span.earliest for span in made), default=None),
        latest=max((span.latest for span in made), default=None),
    )


def _start(image: bytes, limit: int) -> bytes:
    return image[:limit]


def _accepted(attribute: str, found: set[str | None]) -> str | None:
    """Returns the id that the headers name. Raises StudyInvalid if it breaks the rule of ids."""
    try:
        return next((canonical(value) for value in found if value), None)
    except RequestMalformed:
        raise StudyInvalid(
            f"The {attribute} of the DICOM file is not accepted as an id. {RULE}. Name the patient "
            "or the study yourself."
        ) from None


def _origin(given: str | None, found: set[str | None]) -> Origin | None:
    if given is not None:
        return "request"
    return "dicom" if found else None
