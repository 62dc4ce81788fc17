"""Evidence for a report: passages of the studies that lie nearest to the radiograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.cases.library import CaseLibrary, Query
from service.cases.schema import CaseFilter, Hit, Vector

FloatArray = npt.NDArray[np.float32]
PASSAGES_A_STUDY = 12


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage that may be cited. `number` is how the prompt and the report name it."""

    number: int
    passage_id: str
    study_id: str
    section: str
    text: str
    score: float
    """Cosine of the radiograph and the report that the passage stands in."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the report is about: the caller's own ids, so that no evidence comes from them."""

    patient_id: str | None = None
    study_id: str | None = None


def gather(
    library: CaseLibrary, image: Vector, k: int, subject: Subject, where: CaseFilter
) -> list[Evidence]:
    """Passages of the k studies whose reports are nearest to the image, nearest study first.

    The subject's own patient and study are left out by the store's filter.
    """
    query = Query(
        target="report",
        k=k,
        where=where,
        patient_id=subject.patient_id,
        study_id=subject.study_id,
        group_by_study=True,
    )
    hits = library.search(image, query)
    found = [(hit, passage) for hit in hits for passage in _passages(library, hit)]
    return [
        Evidence(number, passage_id, hit.study_id, section, text, hit.score)
        for number, (hit, (passage_id, section, text)) in enumerate(found, start=1)
    ]


def mean_unit(vectors: Sequence[Vector]) -> Vector:
    """One query for several views of a study: the unit mean, float32[D]."""
    mean = np.mean(vectors, axis=0)
    unit: Vector = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def _passages(library: CaseLibrary, hit: Hit) -> list[tuple[str, str, str]]:
    passages = library.get(hit.study_id).passages[:PASSAGES_A_STUDY]
    return [(passage.id, passage.section, passage.text) for passage in passages]
