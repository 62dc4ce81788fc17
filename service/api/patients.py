"""Answers DELETE /patients: removes all of a patient's studies from the case library."""

from fastapi import APIRouter, Request

from service.api.answers import Answer
from service.api.context import Wired, Work
from service.api.identifiers import PatientId
from service.auth import writer

router = APIRouter(prefix="/patients", tags=["studies"])


class PatientRemoved(Answer):
    """Answer of DELETE /patients."""

    studies: int
    """Number of studies that were removed."""


@router.delete("/{patient_id:patient_id}", dependencies=[writer])
async def delete_patient(patient_id: PatientId, request: Request, wired: Wired) -> PatientRemoved:
    """Removes every study of the patient. Repeating the request is safe and removes 0 studies."""
    await request.body()  # what is cut short or too large changes nothing
    removed = await Work(request).finish(wired.library.delete_patient, patient_id)
    return PatientRemoved(studies=removed)
