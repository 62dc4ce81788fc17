"""Copies one case library into another: another engine or place, schema version, or bundle.

Studies are known by their references, so both libraries must have the same hash key. A copy that
was stopped or killed goes on when it is run again, as any ingestion.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from service.cases.base import CaseStore
from service.cases.embedding import StudyEncoder, embed_texts
from service.cases.grouping import grouped
from service.cases.ingest import BATCH, BATCH_DEADLINE_S, Outcome, ingest_in_batches, outcome_of
from service.cases.library import CaseLibrary, image_lost
from service.cases.passages import split_report
from service.cases.records import NewStudy, StudyRecord
from service.cases.renditions import Renditions
from service.cases.schema import (
    EVERYTHING,
    NOBODY,
    EmbeddedStudy,
    Hit,
    Passage,
    Search,
    Study,
)
from service.cases.sources import Entry
from service.deadline import Deadline
from service.errors import BundleMismatch, EclipError, StudyInvalid
from service.imaging.deidentify import Pseudonymiser

_COMPARED = 1000
"""Studies whose references are compared at a time."""
SEARCHED = 10
"""Hits that `searched_alike` compares."""
_ROUNDED = 1e-3
"""What a score may differ by in the other library: an engine may store vectors in float16."""


def copy(source: CaseStore, renditions: Renditions, library: CaseLibrary) -> Iterator[Outcome]:
    """Copies the studies that `library` lacks and yields the outcome of each batch.

    A study that the library has stays as it is. What is kept of the others:

    - Same bundle and schema version: all vectors and renditions.
    - Same bundle, older schema version: image and report vectors and renditions. Reports are split
      into passages again, and these are embedded.
    - Another bundle: nothing. Texts are embedded, and images from their renditions; an 8-bit JPEG
      gives nearly, not exactly, the vector of its original.

    Raises BundleMismatch for another hash key.
    """
    theirs, ours = source.identity, library.store.identity
    require_same_key(source, ours.key_fingerprint)
    lacking = _lacking(source, library.store)
    if theirs.same_vectors(ours):
        return _adopted(lacking, renditions, library, split=theirs != ours)
    again = partial(_as_new, renditions=renditions, pseudonyms=library.pseudonyms)
    entries = (Entry(e.study.study_id, again(e.study)) for e in lacking)
    return ingest_in_batches(library, entries)


def require_same_key(source: CaseStore, fingerprint: str | None) -> None:
    """Raises BundleMismatch unless the hash key of `source` has this fingerprint."""
    if source.identity.key_fingerprint != fingerprint:
        raise BundleMismatch(
            "The two libraries hash identifiers with different keys. Give both the same "
            "identifiers.key before anything is stored."
        )


def missing(source: CaseStore, target: CaseStore) -> int:
    """Counts the studies of `source` that the target lacks."""
    references = source.references()
    batches = iter(lambda: list(islice(references, _COMPARED)), [])
    return sum(len(batch) - len(target.digests(batch)) for batch in batches)


def searched_alike(source: CaseStore, target: CaseStore, searches: int) -> tuple[int, int]:
    """Searches both libraries by the reports of some studies, by images where these have no vector.

    Returns how many searches find the same ten studies in both, but for those that score as the
    tenth, and how many were made.
    """
    some = islice(source.studies(), searches)
    asked = [search for embedded in some if (search := _search_of(embedded)) is not None]
    alike = sum(_alike(_hits(source, search), _hits(target, search)) for search in asked)
    return alike, len(asked)


def _search_of(embedded: EmbeddedStudy) -> Search | None:
    if embedded.report_vector is not None:
        return Search("report", embedded.report_vector)
    return Search("image", embedded.image_vectors[0]) if embedded.image_vectors else None


def _hits(store: CaseStore, search: Search) -> list[Hit]:
    return store.search(search, k=SEARCHED, where=EVERYTHING, exclude=NOBODY)


def _alike(some: Sequence[Hit], others: Sequence[Hit]) -> bool:
    """Tells whether two answers are as long and differ only in studies that score as the last."""
    return len(some) == len(others) and _within(some, others) and _within(others, some)


def _within(some: Sequence[Hit], others: Sequence[Hit]) -> bool:
    there = {hit.study_id for hit in others}
    return all(hit.study_id in there or hit.score < others[-1].score + _ROUNDED for hit in some)


def _lacking(source: CaseStore, target: CaseStore) -> Iterator[EmbeddedStudy]:
    for batch in grouped(source.studies(), BATCH):
        stored = target.digests(embedded.study.study_id for embedded in batch)
        yield from (embedded for embedded in batch if embedded.study.study_id not in stored)


def _adopted(
    studies: Iterable[EmbeddedStudy], renditions: Renditions, library: CaseLibrary, *, split: bool
) -> Iterator[Outcome]:
    """split: whether reports are split into passages again."""
    first = 1
    for batch in grouped(studies, BATCH):
        places = [embedded.study.study_id for embedded in batch]
        yield outcome_of(first, places, _adopt(batch, renditions, library, split=split))
        first += len(batch)


def _adopt(
    batch: Sequence[EmbeddedStudy], renditions: Renditions, library: CaseLibrary, *, split: bool
) -> list[Study | EclipError]:
    studies = _split_again(batch, library.encoder) if split else batch
    adopted = iter(library.adopt([s for s in studies if isinstance(s, EmbeddedStudy)], renditions))
    return [study if isinstance(study, EclipError) else next(adopted) for study in studies]


def _split_again(
    studies: Sequence[EmbeddedStudy], encoder: StudyEncoder
) -> list[EmbeddedStudy | EclipError]:
    """Returns each study with new passages and their vectors, or the error of its passages.

    An error of the encoder's call (queue full, deadline passed) is the error of every study.
    """
    passages = [_passages(embedded.study, encoder) for embedded in studies]
    texts = [[p.text for p in group] for group in passages if not isinstance(group, EclipError)]
    try:
        vectors = iter(embed_texts(texts, encoder, Deadline(BATCH_DEADLINE_S, bulk=True)))
    except EclipError as error:
        return [error] * len(studies)
    return [
        group
        if isinstance(group, EclipError)
        else replace(
            embedded,
            study=replace(embedded.study, passages=group),
            passage_vectors=tuple(next(vectors)),
        )
        for embedded, group in zip(studies, passages, strict=True)
    ]


def _passages(study: Study, encoder: StudyEncoder) -> tuple[Passage, ...] | EclipError:
    """Returns the passages of the study's report, or the error of one that cannot be embedded."""
    passages = split_report(study.report or "", study.study_id)
    try:
        encoder.check_texts([passage.text for passage in passages])
    except EclipError as error:
        return error
    return passages


def _as_new(
    study: Study, renditions: Renditions, pseudonyms: Pseudonymiser
) -> NewStudy | StudyInvalid:
    """Returns the study as if its caller sent it again."""
    record = StudyRecord(
        patient_id=study.patient_id,
        source=study.source,
        report=study.report,
        findings=list(study.findings),
        metadata=study.metadata,
    )
    try:
        images = [renditions.read(image.rendition) for image in study.images]
    except OSError:
        return image_lost()
    views, moment = tuple(image.view for image in study.images), study.moment
    if moment is not None and study.patient_id is not None:
        moment -= pseudonyms.shift(study.patient_id)
    return NewStudy(study.study_id, record, tuple(images), views, moment)
