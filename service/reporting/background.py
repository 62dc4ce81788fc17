"""Reads what the case library knows of a report's subject.

A language model may read the report of an earlier study of the same patient. No sentence may cite
it, because it says what was and not what the radiograph shows. No study of the patient is evidence.
"""

from dataclasses import dataclass, replace

from service.cases.library import CaseLibrary
from service.cases.schema import Exclusion
from service.errors import RequestMalformed
from service.reporting.evidence import Subject, citable


@dataclass(frozen=True, slots=True)
class Background:
    """What the library knows of the subject.

    exclude: the patient and study that no evidence may come from.
    prior: the findings and impression of the earlier study; empty without one.
    """

    exclude: Exclusion
    prior: tuple[str, ...] = ()


def read_background(library: CaseLibrary, subject: Subject) -> Background:
    """Returns what the library knows of the subject.

    If the subject names a prior study and no patient, the caller vouches that it is the same
    patient's. Raises StudyUnknown if the library does not have the prior study, and
    RequestMalformed if that study has no patient, is another patient's or the subject's own, or has
    nothing to cite.
    """
    exclude = library.exclusion(subject.patient_id, subject.study_id)
    if subject.prior_study_id is None:
        return Background(exclude)
    study = library.get(subject.prior_study_id)
    if study.study_id == exclude.study_id:
        raise _refused("is the study that `exclude` names")
    if study.patient_id is None:
        raise _refused("was stored without a patient id, so its patient cannot be checked")
    if {*exclude.patient_ids} - {study.patient_id}:
        raise _refused("belongs to another patient than `exclude` or a DICOM file names")
    if not (passages := citable(study.passages)):
        raise _refused("has no findings and no impression")
    return Background(
        exclude=replace(exclude, patient_ids=(study.patient_id,)),
        prior=tuple(passage.text for passage in passages),
    )


def _refused(why: str) -> RequestMalformed:
    return RequestMalformed(
        f"prior_study_id: that study {why}. Name an earlier study of the patient, or leave it out."
    )
