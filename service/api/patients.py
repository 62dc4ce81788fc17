"""Answers DELETE /patients: removes all of a patient's studies from the case library."""

from fastapi import APIRouter

from service.api.answers import Answer
from service.api.context import Wired
from service.api.identifiers import PatientId
from service.auth import deleter

router = APIRouter(prefix="/patients", tags=["studies"])


class PatientRemoved(Answer):
    """Answer of DELETE /patients."""

    studies: int
    """Number of studies that were removed."""


@router.delete("/{patient_id:patient_id}", dependencies=[deleter])
def delete_patient(patient_id: PatientId, wired: Wired) -> PatientRemoved:
    """Removes every study of the patient. Repeating the request is safe and removes 0 studies."""
    return PatientRemoved(studies=wired.library.delete_patient(patient_id))
