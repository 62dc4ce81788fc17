"""Evidence for a report: passages of the studies that lie nearest to the radiograph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from service.bundle.report_text import kind_of
from service.cases.library import DEPTH, CaseLibrary, Query
from service.cases.schema import Hit, Passage, Vector
from service.deadline import Deadline
from service.errors import StudyUnknown
from service.reporting.instructions import instructs
from service.reporting.polarity import plain

PASSAGES_A_STUDY = 12
TEMPERATURE = 0.1
"""How steeply a study's weight falls with its distance to the nearest one."""
_DEEPER = (4, 16)
"""Times k: how deep to look where the nearest studies have nothing to cite."""


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

    @property
    def concludes(self) -> bool:
        """Whether it is of an impression."""
        return kind_of(self.section) == "impression"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the report is about: the caller's own ids, so that no evidence comes from them."""

    patient_id: str | None = None
    study_id: str | None = None
    prior_study_id: str | None = None
    """An earlier study of the same patient: see `service.reporting.prior`."""


def gather(library: CaseLibrary, image: Vector, query: Query, deadline: Deadline) -> list[Evidence]:
    """Passages of the k studies whose reports are nearest to the image, nearest study first.

    The patient and the study that the query names are left out by the store's filter, and studies
    that have nothing to cite make room for the next.
    """
    nearest = _nearest(library, image, query, deadline)
    found = [(hit, passage) for hit, passages in nearest for passage in passages]
    return [
        Evidence(number, passage.id, hit.study_id, passage.section, passage.text, hit.score)
        for number, (hit, passage) in enumerate(found, start=1)
    ]


def citable(passages: Sequence[Passage]) -> list[Passage]:
    """Returns the passages that describe the image, in reading order; instructions are left out.

    Of a report with more than `PASSAGES_A_STUDY`, the impression comes first. Sections of kind
    `other`, such as an indication or a comparison, are about another patient's case.
    """
    described = [one for one in passages if kind_of(one.section) != "other"]
    may = [one for one in described if not instructs(one.text)]
    kept = sorted(may, key=lambda one: kind_of(one.section) != "impression")[:PASSAGES_A_STUDY]
    return [passage for passage in may if passage in kept]


def said_once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The nearest of those that say the same in the same words, of findings and of impressions."""
    kept: dict[tuple[bool, str], Evidence] = {}
    for item in evidence:
        kept.setdefault((item.concludes, plain(item.text)), item)
    return list(kept.values())


def study_weights(evidence: Sequence[Evidence]) -> dict[str, float]:
    """How much each study counts, by its nearness to the radiograph; together 1."""
    scores = {item.study_id: item.score for item in evidence}
    best = max(scores.values(), default=0.0)
    raw = {study: float(np.exp((score - best) / TEMPERATURE)) for study, score in scores.items()}
    total = sum(raw.values())
    return {study: weight / total for study, weight in raw.items()}


def mean_unit(vectors: Sequence[Vector]) -> Vector:
    """One query for several views of a study: the unit mean, float32[D]."""
    mean = np.mean(vectors, axis=0)
    unit: Vector = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def _nearest(
    library: CaseLibrary, image: Vector, query: Query, deadline: Deadline
) -> list[tuple[Hit, list[Passage]]]:
    """The nearest studies that have passages to cite, with these."""
    for depth in (query.k, *(min(query.k * times, DEPTH) for times in _DEEPER)):
        deadline.check()
        hits = library.search(image, replace(query, k=depth))
        passages = ((hit, _passages(library, hit.study_id)) for hit in hits)
        found = list(islice(((hit, own) for hit, own in passages if own), query.k))
        if len(found) == query.k or len(hits) < depth:
            break
    return found


def _passages(library: CaseLibrary, study_id: str) -> list[Passage]:
    try:
        return citable(library.get(study_id).passages)
    except StudyUnknown:  # deleted since the search
        return []
