"""Answers DELETE /patients: removes all of a patient's studies from the case library."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.answers import Answer
from service.api.context import Services, Wired, Work
from service.api.identifiers import PatientId
from service.api.parameters import declared_query
from service.auth import deleter
from service.reporting.audit_erasure import erase

router = APIRouter(prefix="/patients", tags=["studies"])


class AuditErased(Answer):
    """What was erased from the audit log."""

    removed: int
    """Number of records that were removed: those of reports about the patient."""
    changed: int
    """Number of records of other reports that no longer have what they cited of the patient."""


class PatientRemoved(Answer):
    """Answer of DELETE /patients."""

    studies: int
    """Number of studies that were removed."""
    erased_within_s: int | None
    """Seconds after which no file of the case library holds their content. Null with a Qdrant
    server, whose files are its own."""
    audit: Annotated[AuditErased | None, Field(exclude_if=lambda value: value is None)] = None
    """What was erased from the audit log; absent unless the request asks for it."""


@router.delete("/{patient_id:patient_id}", dependencies=[deleter, declared_query])
async def delete_patient(
    patient_id: PatientId, request: Request, wired: Wired, audit: Literal["erase"] | None = None
) -> PatientRemoved:
    """Removes every study of the patient. Repeating the request is safe and removes 0 studies.

    With `audit=erase` it first erases the patient from the audit log, which otherwise stays.
    """
    return await Work(request).finish(_remove, wired, patient_id, audit is not None)


def _remove(wired: Services, patient_id: str, from_audit: bool) -> PatientRemoved:
    erased = None
    if from_audit:
        library = wired.library
        studies = library.store.studies_of(library.pseudonyms.patient(patient_id))
        known = [study.study_id for study in studies]
        erased = AuditErased.model_validate(erase(wired.reporter.audit, patient_id, known))
    return PatientRemoved(
        studies=wired.library.delete_patient(patient_id),
        erased_within_s=wired.library.store.erased_within_s,
        audit=erased,
    )
