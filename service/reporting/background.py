"""Reads what the case library knows of a report's subject.

A language model may read the report of an earlier study of the same patient. The request names that
study; else it is the latest stored one that is earlier than the subject. No sentence may cite it,
because it says what was and not what the radiograph shows. No study of the patient is evidence.
"""

from dataclasses import dataclass, replace
from typing import Literal

from service.cases.library import CaseLibrary
from service.cases.schema import Exclusion, Study
from service.errors import RequestMalformed
from service.imaging.deidentify import StudyRef
from service.reporting.evidence import Subject, citable

MOST_STUDIES = 1000
"""Studies of a patient, at most. More have the id of nobody, such as ANONYMOUS, and no prior."""
PriorFrom = Literal["request", "library"]
"""Who named the prior study: the request, or the library by its moment."""


@dataclass(frozen=True, slots=True)
class Background:
    """What the library knows of the subject.

    exclude: the patient and study that no evidence may come from.
    prior: the findings and impression of the earlier study; empty without one.
    prior_study_id, prior_from: that study, and who named it; None without one.
    """

    exclude: Exclusion
    prior: tuple[str, ...] = ()
    prior_study_id: StudyRef | None = None
    prior_from: PriorFrom | None = None


def read_background(library: CaseLibrary, subject: Subject) -> Background:
    """Returns what the library knows of the subject.

    If the subject names a prior study and no patient, the caller vouches that it is the same
    patient's. Raises StudyUnknown if the library does not have the prior study, and
    RequestMalformed if that study has no patient, is another patient's or the subject's own, or has
    nothing to cite.
    """
    exclude = library.exclusion(subject.patient_id, subject.study_id)
    if subject.prior_study_id is None:
        study = _latest_before(library, subject.moment, exclude)
        return Background(exclude) if study is None else _with_prior(exclude, study, "library")
    study = library.get(subject.prior_study_id)
    if study.study_id == exclude.study_id:
        raise _refused("is the study that `exclude` names")
    if study.patient_id is None:
        raise _refused("was stored without a patient id, so its patient cannot be checked")
    if {*exclude.patient_ids} - {study.patient_id}:
        raise _refused("belongs to another patient than `exclude` or a DICOM file names")
    if not citable(study.passages):
        raise _refused("has no findings and no impression")
    return _with_prior(replace(exclude, patient_ids=(study.patient_id,)), study, "request")


def _latest_before(library: CaseLibrary, moment: int | None, exclude: Exclusion) -> Study | None:
    """Returns the latest stored study before this moment that has anything to read.

    None if the subject has no moment, or not exactly one patient, or one of over `MOST_STUDIES`.
    """
    if moment is None or len(exclude.patient_ids) != 1:
        return None
    (patient,) = exclude.patient_ids
    before = moment + library.pseudonyms.shift(patient)
    earlier = [
        (study.moment, study.study_id, study)
        for study in library.store.studies_of(patient, MOST_STUDIES)
        if study.moment is not None
        and study.moment < before
        and study.study_id != exclude.study_id
        and study.digest  # else it is being replaced
        and citable(study.passages)
    ]
    return max(earlier)[-1] if earlier else None


def _with_prior(exclude: Exclusion, study: Study, named_by: PriorFrom) -> Background:
    prior = tuple(passage.text for passage in citable(study.passages))
    return Background(exclude, prior, study.study_id, named_by)


def _refused(why: str) -> RequestMalformed:
    return RequestMalformed(
        f"prior_study_id: that study {why}. Name an earlier study of the patient, or leave it out."
    )
