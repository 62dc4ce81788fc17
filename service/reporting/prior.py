"""The report of an earlier study of the same patient.

A language model reads it. No sentence may rest on it: it tells what was, not what the radiograph
shows. So it is no evidence.
"""

from dataclasses import dataclass

from service.cases.library import CaseLibrary
from service.errors import RequestMalformed
from service.reporting.evidence import Subject, citable


@dataclass(frozen=True, slots=True)
class Prior:
    """Whose it is, as a keyed hash, and what it says of findings and impression."""

    patient_id: str
    passages: tuple[str, ...]


def read_prior(library: CaseLibrary, subject: Subject) -> Prior | None:
    """What the prior study that the subject names says; raises StudyUnknown where the library has
    it not, RequestMalformed where it is of nobody, of another patient than the subject, or says
    nothing. Where the subject names no patient, the caller vouches that it is the same.
    """
    if subject.prior_study_id is None:
        return None
    study = library.get(subject.prior_study_id)
    named = library.exclusion(subject.patient_id, subject.study_id)
    if study.study_id == named.study_id:
        raise _refused("is the study that `exclude` names")
    if study.patient_id is None:
        raise _refused("names no patient, so that nobody can tell whose it is")
    if {*named.patient_ids} - {study.patient_id}:
        raise _refused("is of another patient than `exclude` names")
    if not (passages := citable(study.passages)):
        raise _refused("has no findings and no impression")
    return Prior(study.patient_id, tuple(passage.text for passage in passages))


def _refused(why: str) -> RequestMalformed:
    return RequestMalformed(
        f"prior_study_id: that study {why}. Name an earlier study of the patient, or leave it out."
    )
