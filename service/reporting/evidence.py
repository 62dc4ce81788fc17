"""Gathers the evidence for a report: passages of the studies nearest to the radiograph."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from service.bundle.report_sentences import is_administrative
from service.bundle.report_text import kind_of
from service.cases.library import DEPTH, CaseLibrary, Query
from service.cases.own_ids import OwnIds
from service.cases.schema import EmbeddedStudy, Hit, Passage, Vector
from service.deadline import Deadline
from service.imaging.deidentify import PatientRef, StudyRef
from service.reporting.injection import instructs
from service.reporting.polarity import normalise

PASSAGES_A_STUDY = 12
"""Most passages that one study may contribute."""
_DEEPER = (4, 16)
"""Multiples of k: how deep to search if the nearest k studies have too little to cite."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage that a report may cite.

    number: its name in the prompt and the report, from 1 on. score: cosine of the radiograph and
    the report that the passage is from. vector: the stored embedding of its text, float32[D].
    patient_id: the patient whose passage it is, if the study was stored with one.
    """

    number: int
    passage_id: str
    study_id: StudyRef
    section: str
    text: str
    score: float
    vector: Vector = field(repr=False, compare=False)
    patient_id: PatientRef | None = None

    @property
    def concludes(self) -> bool:
        """Whether it belongs to an impression."""
        return kind_of(self.section) == "impression"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the report is about, by the caller's own ids; no evidence comes from them."""

    patient_id: str | None = None
    study_id: str | None = None
    prior_study_id: str | None = None
    """An earlier study of the same patient: see `service.reporting.background`."""
    moment: int | None = None
    """Minutes since 1970 at which the study was made, at the earliest; None if nobody knows."""

    @classmethod
    def of(cls, ids: OwnIds, prior_study_id: str | None = None) -> "Subject":
        """Returns the subject whom the caller or the DICOM files name."""
        return cls(ids.patient_id, ids.study_id, prior_study_id, ids.earliest)


def gather(
    library: CaseLibrary, embedding: Vector, query: Query, deadline: Deadline
) -> list[Evidence]:
    """Returns the passages of the k studies whose reports are nearest, nearest study first.

    embedding: of the radiograph, a unit float32[D]. The search leaves out the patient and the study
    that the query excludes; a study that has nothing to cite makes room for the next.
    """
    nearest = _nearest(library, embedding, query, deadline)
    found = [(hit, passage) for hit, passages in nearest for passage in passages]
    return [
        Evidence(
            number=number,
            passage_id=passage.id,
            study_id=hit.study_id,
            section=passage.section,
            text=passage.text,
            score=hit.score,
            vector=vector,
            patient_id=hit.patient_id,
        )
        for number, (hit, (passage, vector)) in enumerate(found, start=1)
    ]


def citable(passages: Sequence[Passage]) -> list[Passage]:
    """Returns the passages that describe the image, in reading order.

    It leaves out sections of kind `other` (an indication is about another patient's case),
    administrative sentences and instructions. Of more than `PASSAGES_A_STUDY`, those of the
    impression come first.
    """
    described = [
        passage
        for passage in passages
        if kind_of(passage.section) != "other"
        and not is_administrative(passage.text)
        and not instructs(passage.text)
    ]
    by_worth = sorted(described, key=lambda passage: kind_of(passage.section) != "impression")
    chosen = by_worth[:PASSAGES_A_STUDY]
    return [passage for passage in described if passage in chosen]


def said_once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Returns the nearest of the passages that say the same in the same words.

    Findings and impressions count apart.
    """
    nearest: dict[tuple[bool, str], Evidence] = {}
    for item in evidence:
        nearest.setdefault((item.concludes, normalise(item.text)), item)
    return list(nearest.values())


def mean_unit(vectors: Sequence[Vector]) -> Vector:
    """Returns one query for several views of a study: their mean at unit length, float32[D]."""
    mean = np.mean(vectors, axis=0)
    unit: Vector = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


_Citable = Sequence[tuple[Passage, Vector]]
"""The citable passages of one study, with their embeddings."""


def _nearest(
    library: CaseLibrary, embedding: Vector, query: Query, deadline: Deadline
) -> list[tuple[Hit, _Citable]]:
    """Returns the k nearest studies that have something to cite; reads no study twice."""
    read: dict[StudyRef, _Citable] = {}
    for depth in (query.k, *(min(query.k * times, DEPTH) for times in _DEEPER)):
        deadline.check()
        hits = library.search(embedding, replace(query, k=depth))
        found: list[tuple[Hit, _Citable]] = []
        for start in range(0, len(hits), query.k):
            batch = hits[start : start + query.k]
            read |= _read(library, [hit.study_id for hit in batch if hit.study_id not in read])
            found += [(hit, read[hit.study_id]) for hit in batch if read[hit.study_id]]
            if len(found) >= query.k:
                return found[: query.k]
        if len(hits) < depth:
            break
    return found


def _read(library: CaseLibrary, references: Sequence[StudyRef]) -> dict[StudyRef, _Citable]:
    """Returns what each study has to cite: nothing, if it was deleted since the search."""
    studies = library.get_many(references)
    return {reference: _citable_of(studies.get(reference)) for reference in references}


def _citable_of(study: EmbeddedStudy | None) -> _Citable:
    if study is None:
        return ()
    passages = study.study.passages
    vectors = dict(zip((passage.id for passage in passages), study.passage_vectors, strict=True))
    return [(passage, vectors[passage.id]) for passage in citable(passages)]
