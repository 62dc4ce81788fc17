"""DELETE /patients: a patient's studies leave the library."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.api.context import Wired
from service.api.schemas import PatientRemoved
from service.auth import writer

router = APIRouter(prefix="/patients", tags=["studies"])
PatientId = Annotated[str, Path(min_length=1, max_length=256, pattern=r"\S")]


@router.delete("/{patient_id}", dependencies=[writer])
def delete_patient(patient_id: PatientId, wired: Wired) -> PatientRemoved:
    """Remove every study of the patient and every trace of it; once more removes none."""
    return PatientRemoved(studies=wired.library.delete_patient(patient_id))
