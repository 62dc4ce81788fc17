"""Answers DELETE /patients: removes all of a patient's studies from the case library."""

from fastapi import APIRouter

from service.api.answers import Answer
from service.api.context import Wired
from service.api.identifiers import PatientId
from service.auth import writer

router = APIRouter(prefix="/patients", tags=["studies"])


class PatientRemoved(Answer):
    """Answer of DELETE /patients."""

    studies: int
    """Number of studies that were removed."""
    erased_within_s: int | None
    """Seconds after which no file of the case library holds their content. Null with a Qdrant
    server, whose files are its own."""


@router.delete("/{patient_id:patient_id}", dependencies=[writer])
def delete_patient(patient_id: PatientId, wired: Wired) -> PatientRemoved:
    """Removes every study of the patient. Repeating the request is safe and removes 0 studies."""
    removed = wired.library.delete_patient(patient_id)
    return PatientRemoved(studies=removed, erased_within_s=wired.library.store.erased_within_s)
